"""ONNX on the command line: `weft export --format`, and QONNX files where .keras files are taken."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.onnx.models import HGQ, finalised


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("onnx")
    model, data = finalised("mlp", HGQ)
    model.save(place / "model.keras")
    np.save(place / "x.npy", data[0])
    return place


def weft(*words):
    """Run a command in this process."""
    from weft.cli import estimate, export, verify  # noqa: F401 - importing a command registers it
    from weft.cli._app import app

    return CliRunner().invoke(app, list(map(str, words)))


def test_a_model_is_exported_and_what_was_written_is_estimated(place):
    done = weft("export", place / "model.keras", "--format", "qonnx", "--out", place / "m.onnx")
    assert done.exit_code == 0, done.output
    assert "m.onnx: qonnx of" in done.stdout and "equal to it on 451 inputs" in done.stdout
    assert "quantisers that wrap around by operations: dense" in done.stdout
    done = weft("export", place, "--format", "onnx-qdq", "--out", place / "d.onnx", "--data", place / "x.npy", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["samples"] == 451 + 128
    both = [json.loads(weft("estimate", place / name, "--model", "ebops", "--json").stdout)
            for name in ("m.onnx", "model.keras")]  # fmt: skip
    costs = [next(iter(one.values()))["quantities"]["ebops"]["ebops"]["value"] for one in both]
    assert costs[0] == costs[1]


@pytest.mark.slow
def test_a_qonnx_file_is_verified_down_to_its_rtl(place):
    assert weft("export", place, "--format", "qonnx", "--out", place / "m.onnx").exit_code == 0
    done = weft("verify", place / "m.onnx", "--samples", "200", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["levels"] == ["keras", "adder_graph", "rtl"] and found["status"] == "exact"
    assert (place / "m.verification.json").exists()


def test_a_difference_is_exit_code_four_and_leaves_no_file(place):
    np.save(place / "far.npy", np.load(place / "x.npy") * 50)
    done = weft("export", place, "--format", "qonnx", "--out", place / "s.onnx", "--overflow", "saturate",
                "--data", place / "far.npy")  # fmt: skip
    assert done.exit_code == 4 and "differs from the Keras model" in done.stderr
    assert not (place / "s.onnx").exists()
    done = weft("export", place, "--format", "qdq", "--out", place / "s.onnx")
    assert done.exit_code == 2 and "--format takes qonnx, onnx-qdq; got 'qdq'" in done.stderr
