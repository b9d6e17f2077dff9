"""The step from a design to its HLS project: what `hls.json` holds, and what ends the command."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests.firmware.hls import recorded
from tests.firmware.models import mlp, randomised
from tests.run.conftest import EXPERIMENT, write_experiment
from weft.adder_graph import AdderGraph
from weft.compression.finalize import finalize
from weft.config import load
from weft.errors import UnsupportedError, VerificationError
from weft.run.design import _STEPS, hardware_job, hls_level, save_model
from weft.run.directory import Run
from weft.run.stages import _require_exact_hls
from weft.run.summary import describe
from weft.types import no_progress


@pytest.fixture
def run(tmp_path):
    """Return a run with one design that has its adder graph, for an HLS section."""

    def make(hls: str) -> Run:
        path = write_experiment(tmp_path, EXPERIMENT.replace("firmware: {", f"firmware: {{hls: {hls}, "))
        made = Run.create(tmp_path / "run", load(path), path.read_text())
        place = made.path / "designs" / "t000-best"
        model = finalize(randomised(mlp(6, (4, 3))))
        save_model(place / "model.keras", model)
        AdderGraph.from_model(model).save(place / "graph.json.gz")
        made.design("t000-best").write("training.json", {"trial": 0, "recipe": "hgq", "log": {}})
        return made

    return make


def job(run):
    section = run.experiment.firmware.model_dump(mode="json")
    hardware_job({"run": str(run.path), "design": "t000-best", "steps": ["hls"], "firmware": section}, no_progress)
    return run.design("t000-best")


def test_a_design_has_its_hls_project_beside_its_verilog(run, monkeypatch):
    made = run("{backend: quartus, strategy: resource, part: Arria10, reuse_factor: {d0: 6}}")
    made.design("t000-best").write("verification.json", {"status": "exact"})
    design = job(made)
    log = design.hls / "csim.log"
    log.write_text("compiled by the step")
    found, (further, without) = design.read("hls.json"), hls_level(design)
    assert log.read_text() == "compiled by the step"  # verification takes its program
    assert [level.name for level in further] == ["hls_csim"] and without == {}
    assert design.read("verification.json") is None  # that of before was without this level
    assert found["status"] == "exact" and found["sentence"].startswith("adder_graph = hls_csim on ")
    assert found["verification"]["mismatches"] == 0 and found["verification"]["inputs"] >= 1000
    assert found["project"]["part"] == "Arria10" and (design.hls / "firmware" / "model.cpp").exists()
    assert found["estimates"]["ii_cycles"]["value"] == 6 and found["estimates"]["lut"]["stage"] == "predicted"
    assert found["quantities"] == {}
    assert describe(design)["hls"] == found
    _require_exact_hls(made)

    design.write("hls.json", {**found, "status": "mismatch", "sentence": "they differ in 3 of 9 outputs"})
    with pytest.raises(
        VerificationError, match=r"1 of 1 HLS projects do not compute(.|\n)*t000-best: they differ"
    ) as error:
        _require_exact_hls(made)
    assert error.value.exit_code == 4


def test_a_design_that_hls4ml_cannot_do_is_refused_with_the_reason(run):
    made = run("{strategy: resource, reuse_factor: 5}")
    design = job(made)
    found = design.read("hls.json")
    assert found["status"] == "refused" and "cannot have reuse factor 5 under strategy resource" in found["sentence"]
    assert not design.hls.exists() and hls_level(design) == ([], {"hls_csim": found["sentence"]})
    with pytest.raises(
        UnsupportedError, match=r"no design can be written as the HLS project asked for:\n  t000-best: wil"
    ):
        _require_exact_hls(made)


def test_a_step_that_drops_the_result_of_a_later_one_has_it_made_again(run, monkeypatch):
    made, done = run("{}"), []
    design = made.design("t000-best")
    design.write("verification.json", {"status": "exact"})

    def hls(run, design):
        (design.path / "verification.json").unlink()
        design.write("hls.json", {"status": "exact"})

    monkeypatch.setitem(_STEPS, "hls", hls)
    monkeypatch.setitem(_STEPS, "verify", lambda run, design: done.append(design.id))
    section = made.experiment.firmware.model_dump(mode="json")
    hardware_job(
        {"run": str(made.path), "design": design.id, "steps": ["hls", "verify"], "firmware": section}, no_progress
    )
    assert done == ["t000-best"]


def test_the_rtl_of_the_vendors_tool_is_co_simulated_on_the_rows_of_the_design(run, tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "csynth").write_text(recorded.csynth_xml())
    (tools / "cosim").write_text(recorded.COSIM_RPT)
    (tools / "vitis-run").write_text(f"""#!/bin/sh
        mkdir -p model_prj/solution1/syn/report model_prj/solution1/sim/report
        cp {tools}/csynth model_prj/solution1/syn/report/model_csynth.xml
        cp {tools}/cosim model_prj/solution1/sim/report/model_cosim.rpt
        cp tb_data/tb_output_predictions.dat tb_data/rtl_cosim_results.log
    """)
    (tools / "vitis-run").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    design = job(run("{build: vendor, cosim: true}"))
    found = design.read("hls.json")["quantities"]["cosim"]
    assert {name: (one["value"], one["stage"]) for name, one in found.items()} == {
        "latency_cycles": (9, "hls_report"), "ii_cycles": (2, "hls_report"),
    }  # fmt: skip
    assert found["ii_cycles"]["source"] == "Vitis HLS 2023.2, C/RTL co-simulation of Verilog"
    rows = np.loadtxt(design.hls / "tb_data" / "tb_input_features.dat", dtype=np.float32)
    expected = np.loadtxt(design.hls / "tb_data" / "tb_output_predictions.dat")
    assert rows.shape == (100, 6)
    np.testing.assert_array_equal(AdderGraph.load(design.graph).predict(rows), expected)
