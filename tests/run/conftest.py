"""A small experiment on the user's own CSV file, that runs the whole way in well under a minute."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import blobs

EXPERIMENT = """
version: 1
name: small
data: {files: {all: events.csv}, label: kind, seed: 1}
space:
  blocks: [{type: mlp, depth: [1, 2], units: [4, 6], activation: [relu]}]
  optimizer: {learning_rate: [1e-2]}
  quantization: {mode: hgq, bits0: 3, beta: [1e-6, 1e-4, log]}
search: {trials: 4, population: 2, epochs: 2, batch_size: 64, objectives: [accuracy, lut], workers: 2, seed: 3}
select: {rule: best_accuracy, count: 2}
compress: {recipe: hgq, epochs: 6, batch_size: 32, learning_rate: 2e-2, bits0: 3, beta: {from: 1e-5, to: 1e-3}, keep: 1}
target: {clock_period_ns: 4.0}
firmware: {verify: {samples: 500}}
"""


def write_experiment(directory: Path, text: str = EXPERIMENT) -> Path:
    x, y = blobs(900, seed=4)
    rows = ["a,b,c,d,e,f,kind"]
    rows += [
        ",".join([*(f"{v:.5f}" for v in row), ("up", "down", "strange")[label]])
        for row, label in zip(x, y, strict=True)
    ]
    (directory / "events.csv").write_text("\n".join(rows) + "\n")
    path = directory / "experiment.yaml"
    path.write_text(text)
    return path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def weft(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "weft", *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600, **options)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A run that went the whole way without interruption; each process of one run of the tests has a copy of it."""
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    made.mkdir(exist_ok=True)
    with open(made / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "stdout.json").exists():
            text = EXPERIMENT.replace("events.csv", str(made / "events.csv"))  # one file, for the copies too
            done = weft("run", write_experiment(made, text), "--out", made / "run", "--json")
            assert done.returncode == 0, done.stderr
            (made / "stderr.txt").write_text(done.stderr)
            (made / "stdout.json").write_text(done.stdout)
    return shutil.copytree(made, tmp_path_factory.mktemp("copy") / "finished") / "run"


def fingerprint(run: Path) -> dict[str, np.ndarray | str]:
    """Return what has to be equal between two runs of one experiment: the trials, and every design's predictions."""
    lines = (run / "trials.csv").read_text().splitlines()
    header = lines[0].split(",")
    timed = {header.index(name) for name in ("seconds", "compile_seconds")}
    table = "\n".join(",".join(c for i, c in enumerate(line.split(",")) if i not in timed) for line in lines)
    found: dict[str, np.ndarray | str] = {"trials": table}
    for path in sorted(run.glob("designs/*/predictions.npz")):
        with np.load(path) as arrays:
            found[path.parent.name] = arrays["outputs"]
    return found


def assert_same(one: Path, two: Path) -> None:
    a, b = fingerprint(one), fingerprint(two)
    assert a.keys() == b.keys()
    assert a["trials"] == b["trials"]
    for name in a.keys() - {"trials"}:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
