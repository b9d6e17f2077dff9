"""What the tests of the search share: a small search, run in this process or in one that can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from weft.config.search import SearchConfig
from weft.search.coordinator import search
from weft.search.workers import InlineWorkers

from . import toy

EVALUATE = f"{toy.__name__}:evaluate"
SETTINGS = {
    "trials": 12,
    "population": 4,
    "objectives": ["accuracy", "lut"],
    "constraints": {"lut": "<= 500"},
    "workers": 1,
    "seed": 3,
}


def run(
    directory,
    space=None,
    workers="inline",
    evaluate=EVALUATE,
    folds=1,
    payload=None,
    keep=None,
    compared=(),
    **settings,
):
    """Search the toy space; `workers` is `inline` or what the configuration takes."""
    if workers != "inline":
        settings["workers"] = workers
    return search(
        SearchConfig(**{**SETTINGS, **settings}),
        space or toy.ToySpace(),
        evaluate,
        directory,
        folds=folds,
        baselines=[{"a": 3, "b": 4}, {"a": 9, "b": 9}] if space is None else [],
        payload=payload,
        keep=keep,
        compared=compared,
        workers=InlineWorkers(evaluate) if workers == "inline" else None,
    )


def tables(directory) -> tuple[str, str]:
    """Return both tables as text."""
    return tuple((Path(directory) / name).read_text() for name in ("trials.csv", "pareto.csv"))


def begin(directory, **arguments) -> subprocess.Popen[bytes]:
    """Start `run` in a process of its own, in a process group of its own."""
    code = (
        "import importlib, json, sys; sys.path[:], module, directory, arguments = json.loads(sys.argv[1]); "
        "importlib.import_module(module).main(directory, arguments)"
    )
    argument = json.dumps([sys.path, __name__, str(directory), arguments])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, argument], process_group=0, stderr=subprocess.PIPE
    )


def main(directory: str, arguments: dict) -> None:
    """Run under the run's lock, as the command line does; exit code 130 after an interrupt."""
    from weft.lock import RunLock

    try:
        with RunLock(directory):
            run(directory, **arguments)
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"interrupted by {interrupt}\n")
        sys.exit(130)
