"""`weft verify` on models and design directories: proven equal, or told apart."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.firmware.models import mlp, randomised, samples
from tests.run.conftest import weft


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from weft.compression.finalize import finalize

    place = tmp_path_factory.mktemp("design")
    x = samples(200, 3)
    np.save(place / "x.npy", x)
    finalize(randomised(mlp(3, (4, 2))), x).save(place / "model.keras")
    return place / "model.keras"


def test_a_model_is_verified_on_random_inputs_or_on_given_ones(model):
    done = weft("verify", model, "--samples", "300", "--exhaustive-bits", "0", "--hls")
    assert done.returncode == 0, done.stderr
    assert "keras = adder_graph = rtl = hls_csim on" in done.stdout and "one input in each" in done.stdout
    found = json.loads(weft("verify", model.parent, "--data", model.parent / "x.npy", "--json").stdout)
    assert found["inputs"]["real"] == 200 and found["mismatches"] == 0
    assert found["levels"] == ["keras", "adder_graph", "rtl"]
    assert found["skipped"] == {"hls_csim": f"there is no HLS project in {model.parent / 'hls'}"}
    assert json.loads((model.parent / "verification.json").read_text()) == found
    assert json.loads((model.parent / "model.verification.json").read_text())["inputs"]["real"] == 300


def test_what_cannot_be_verified_is_named(tmp_path, model):
    done = weft("verify", tmp_path)
    assert done.returncode == 2
    assert f"nothing to verify in {tmp_path}: give a run directory, a design directory or a .keras file" in done.stderr
    done = weft("verify", model, "--data", tmp_path / "none.npy")
    assert done.returncode == 2
    assert "cannot read inputs from" in done.stderr and "give an .npy file, or an .npz file with x" in done.stderr
    (tmp_path / "config.resolved.yaml").touch()
    done = weft("verify", tmp_path, "--hls")
    assert done.returncode == 2 and "is a run, which goes by its firmware.hls" in done.stderr
    np.save(tmp_path / "wrong.npy", np.zeros((4, 7)))
    done = weft("verify", model, "--data", tmp_path / "wrong.npy")
    assert "verification takes inputs of shape (n, 3); got (4, 7)" in done.stderr


def test_a_design_is_checked_as_it_lies_there_and_the_result_is_written(model, tmp_path):
    """Its own firmware, tampered with, and its own model, changed after the build."""
    import shutil

    from weft.adder_graph import AdderGraph
    from weft.firmware import emit
    from weft.quantize.files import read_model

    design = tmp_path / "design"
    design.mkdir()
    shutil.copy(model, design / "model.keras")
    graph = AdderGraph.from_model(read_model(model))
    graph.save(design / "graph.json.gz")
    emit(graph, design / "firmware", "xc7z020", 2.0)
    options = ("--samples", "50", "--exhaustive-bits", "0")
    done = weft("verify", design, *options)
    assert done.returncode == 0, done.stderr
    assert "largest" in done.stdout and "keras – adder_graph" in done.stdout and "KIF(" in done.stdout
    assert "not run" in done.stdout and "hls_csim was not compared: there is no HLS project" in done.stdout
    found = json.loads((design / "verification.json").read_text())
    assert found["status"] == "exact" and found["overflows"] and "bit for bit" in found["sentence"]
    source = design / "firmware" / "src" / "model.v"
    text = source.read_text()
    source.write_text(re.sub(r"(model_out\[\d+:0\] <= )", r"\1~", text))
    assert source.read_text() != text
    done = weft("verify", design, *options)
    assert done.returncode == 4 and "adder_graph and rtl differ in" in done.stderr
    assert "look into verilator.log" in done.stderr.replace("\n", " ")
    assert json.loads((design / "verification.json").read_text())["status"] == "mismatch"


def test_another_language_is_refused():
    from weft.cli.verify import _rtl
    from weft.errors import ConfigError

    with pytest.raises(ConfigError, match="--language takes verilog or vhdl; got 'ada'"):
        _rtl("ada", pipeline=True)


@pytest.fixture(scope="module")
def networks(model):
    """Files of the frozen network, of another one, and of a float one that decides differently at times."""
    import torch

    import weft as library
    from weft.quantize.files import read_model

    x, frozen = torch.from_numpy(samples(10, 3)), library.to_torch(read_model(model))
    other = library.to_torch(read_model(model))
    next(buffer for name, buffer in other.named_buffers() if name.endswith("bias")).add_(0.5)
    torch.manual_seed(0)
    float_one = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    for name, network in {"frozen": frozen, "other": other, "float": float_one}.items():
        torch.export.save(torch.export.export(network, (x,)), model.parent / f"{name}.pt2")
    return model.parent


def test_the_torch_network_of_a_model_is_the_first_level(model, networks, tmp_path):
    options = ("--samples", "300", "--exhaustive-bits", "0", "--out", tmp_path / "result.json")
    done = weft("verify", model, "--torch", networks / "frozen.pt2", *options)
    assert done.returncode == 0, done.stderr
    assert "torch = keras = adder_graph = rtl on" in done.stdout and "bit for bit" in done.stdout
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["levels"] == ["torch", "keras", "adder_graph", "rtl"] and found["agreement"] is None
    assert found["pairs"][0]["values"] == 2 * found["samples"] > 600  # extreme inputs, too

    done = weft("verify", model, "--torch", networks / "other.pt2", *options)
    assert done.returncode == 4
    assert (
        "torch and keras differ in" in done.stderr and "make its file again of what weft.to_torch makes" in done.stderr
    )


def test_a_float_network_agrees_and_is_not_called_equal(model, networks, tmp_path):
    options = ("--samples", "300", "--exhaustive-bits", "0", "--out", tmp_path / "result.json")
    done = weft("verify", model, "--torch", networks / "float.pt2", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["levels"] == ["keras", "adder_graph", "rtl"] and found["status"] == "exact"
    agreement = found["agreement"]
    assert agreement["values"] == 600 and agreement["mismatches"] > 0 and 0 < agreement["argmax_agreement"] < 1
    same = round(300 * agreement["argmax_agreement"])
    assert f"; torch and keras choose the same class for {same} of 300 real inputs, and differ by" in found["sentence"]
    assert "torch ~ keras" in done.stdout and "torch = keras" not in done.stdout


def test_a_run_has_no_torch_network(tmp_path):
    (tmp_path / "config.resolved.yaml").touch()
    done = weft("verify", tmp_path, "--torch", "x.pt2")
    assert done.returncode == 2 and "--torch is for designs and models, and" in done.stderr
