"""The example package: installed by pip, found, tested by its own tests, and run through the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.conftest import environment, weft

EXAMPLE = Path(__file__).parents[2] / "examples" / "weft-plugin-example"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the example was installed into, on the path of Python."""
    source, target = tmp_path_factory.mktemp("source") / "example", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source)  # a build leaves files behind
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--target", str(target), str(source)], capture_output=True, text=True, timeout=300, env=environment()
    )
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(target))  # `weft` and its children get this path
        yield target


def test_doctor_lists_every_kind(installed):
    found = json.loads(weft("doctor", "--json").stdout)["plugins"]
    assert {one["what"] for one in found} >= {
        "pruning method", "cost model", "block", "data set", "reader of data files", "export target",
    }  # fmt: skip
    assert all(one["error"] is None and one["package"] == "weft-plugin-example 0.1.0" for one in found)


def test_its_own_tests_pass(installed):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")],
        cwd=installed,
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_its_experiment_is_valid_and_its_data_are_read(installed):
    done = weft("data", EXAMPLE / "experiment.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["classes"] == ["inner", "outer"]


@pytest.mark.slow
def test_it_runs_through_the_command_line(installed, tmp_path):
    done = weft("run", EXAMPLE / "experiment.yaml", "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["data"]["name"] == "two-rings"
    (design,) = summary["designs"]
    assert design["architecture"]["blocks"][0]["type"] == "funnel"
    assert design["estimates"]["lut"]["source"] == "0.8 LUT a EBOP"
    assert design["verification"]["status"] == "exact"
    done = weft("export", tmp_path / "run", "--target", "port-list", "--out", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bundle" / "ports.txt").read_text().startswith("weft_model v1\ninput ")
    done = weft("export", tmp_path / "run", "--target", "port-lists", "--out", tmp_path / "other")
    assert "--target takes ip, cmssw-emulator, pynq, cocotb, port-list; got 'port-lists'; did you mean" in done.stderr
