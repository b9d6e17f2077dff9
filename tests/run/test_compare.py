"""The table of all numbers of a run's designs: what it holds, what it measures, and what it says of the rest."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from tests.firmware.models import mlp, randomised
from tests.run.conftest import EXPERIMENT, weft, write_experiment
from weft.cli import _app
from weft.config import load
from weft.errors import ToolNotFoundError
from weft.report.tables import comparison_table
from weft.run import Run
from weft.run.compare import compare, complete
from weft.run.summary import summarize
from weft.types import Quantity


def quantity(value, stage, source, reason=None):
    found = Quantity(value=value, unit="count", stage=stage, source=source, reason=reason)
    return found.model_dump(mode="json")


PAIR = {"levels": ["adder_graph", "rtl"], "mismatches": 0}


@pytest.fixture
def run(tmp_path):
    """A run of two designs, one of which is measured further than the other."""
    path = write_experiment(tmp_path, EXPERIMENT)
    made = Run.create(tmp_path / "run", load(path), path.read_text())
    for name in ("a", "b"):
        place = made.path / "designs" / name
        place.mkdir(parents=True)
        (place / "model.keras").touch()
        design = made.design(name)
        design.write("training.json", {"trial": 0, "recipe": "hgq", "log": {"accuracy": 0.7}})
        design.write("metrics.json", {"test": {"accuracy": {"value": 0.75, "error": 0.01, "n": 9}}})
        by_model = {"adder_graph": quantity(100, "solver", "alkaid"), "rules": quantity(90, "predicted", "rules")}
        design.write("estimates.json", {"quantities": {"lut": by_model}, "refused": {}, "notes": {}})
    one = made.design("a")
    one.write("synthesis.json", {"lut": quantity(95, "synthesis", "yosys 0.70")})
    one.write("routing.json", {"lut": quantity(None, "post_route", "nextpnr", "no path")})
    one.write("verification.json", {"samples": 12, "pairs": [PAIR], "latency_cycles": {"measured": 3},
                                    "skipped": {"hls_csim": "there is no HLS project"}})  # fmt: skip
    return made


def test_every_source_of_a_quantity_has_its_row_from_the_weakest_stage_to_the_strongest(run):
    found = compare(run)
    assert [(row.quantity, row.stage, row.source) for row in found.rows] == [
        ("lut", "predicted", "rules"),
        ("lut", "solver", "alkaid"),
        ("lut", "synthesis", "yosys 0.70"),
        ("lut", "post_route", "nextpnr"),
    ]
    assert {name: one.value for name, one in found.rows[1].values.items()} == {"a": 100, "b": 100}
    assert list(found.rows[2].values) == ["a"] and found.rows[3].notes == ["no path"]
    assert found.metrics["accuracy"]["b"] == {"value": 0.75, "error": 0.01}


def test_a_level_that_was_not_run_says_why(run):
    levels = {level.level: level.values for level in compare(run).levels}
    assert list(levels) == ["adder_graph", "rtl", "hls_csim"]
    assert (levels["rtl"]["a"].status, levels["rtl"]["a"].samples, levels["rtl"]["a"].cycles) == ("exact", 12, 3)
    assert (levels["hls_csim"]["a"].status, levels["hls_csim"]["a"].reason) == ("not run", "there is no HLS project")
    assert levels["rtl"]["b"].status == "not run"
    assert levels["rtl"]["b"].reason == "not verified at this level yet"


def test_what_a_run_leaves_out_is_measured_all_the_same(run):
    firmware = complete(run.experiment).firmware
    assert (firmware.synth, firmware.route, firmware.hls.backend) == ("yosys", "nextpnr", "vitis")
    assert complete(complete(run.experiment)) == complete(run.experiment)


def called(run, *options):
    import weft.cli.compare  # noqa: F401 - registers the command

    return CliRunner().invoke(_app.app, ["compare", str(run.path), *options])


def test_the_table_is_printed_as_text_markdown_and_json(run):
    done = called(run, "--no-measure", "--markdown")
    assert done.exit_code == 0, done.output
    assert "| lut | synthesis | yosys 0.70 | 95 | not run |" in done.output
    assert "| lut | post_route | nextpnr | - | not run |" in done.output
    assert "- lut, post_route, nextpnr: no path" in done.output
    assert "| mismatches / samples | rtl | not run | 0 / 12 | not run |" in done.output
    assert "- hls_csim: not run: there is no HLS project" in done.output
    assert json.loads(called(run, "--no-measure", "--json").output) == compare(run).model_dump(mode="json")


def test_a_tool_that_is_missing_leaves_the_table_and_ends_with_its_error(run, monkeypatch):
    asked = []

    def execute(run, stages, bars):
        asked.append(stages[0])
        if stages[0] in ("hls", "route"):
            raise ToolNotFoundError(f"{stages[0]} needs a package that is missing")

    monkeypatch.setattr("weft.run.stages.execute", execute)
    done = called(run)
    assert asked == ["build", "hls", "synth", "route", "report"]
    assert done.exit_code == 3 and "yosys 0.70" in done.output
    assert "hls needs a package that is missing\nroute needs a package" in done.output


def test_the_report_has_the_table(run):
    table = comparison_table(SimpleNamespace(comparison=compare(run)))
    assert [cell.text for cell in table.rows[2]] == ["LUT", "synthesis", "yosys 0.70", "95", "–"]
    assert table.rows[3][3].title == "LUT – count; stage: post_route; source: nextpnr; no path"
    assert [cell.text for cell in table.rows[-1]] == ["Mismatches", "HLS C simulation", "not run", "–", "–"]
    assert table.rows[-1][3].title == "there is no HLS project"


@pytest.mark.slow
def test_what_is_missing_is_measured(tmp_path):
    from weft.compression.finalize import finalize
    from weft.run.design import save_model

    path = write_experiment(tmp_path, EXPERIMENT)
    made = Run.create(tmp_path / "run", load(path), path.read_text())
    design = made.path / "designs" / "t000-best"
    save_model(design / "model.keras", finalize(randomised(mlp(6, (4, 3)))))
    made_design = made.design("t000-best")
    made_design.write("training.json", {"trial": 0, "recipe": "hgq", "log": {}})
    made_design.write("architecture.json", {})
    done = weft("compare", made.path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    stages = {row["stage"] for row in found["rows"] if row["quantity"] == "lut"}
    assert stages == {"predicted", "solver", "synthesis", "post_route"}
    assert {level["level"]: level["values"]["t000-best"]["status"] for level in found["levels"]} == {
        "adder_graph": "exact", "rtl": "exact", "hls_csim": "exact",
    }  # fmt: skip


def test_the_summary_notes_a_design_that_is_too_large_for_the_part_or_one_region_of_it(run):
    assert not [note for note in summarize(run, "finished", 1.0)["notes"] if note.startswith("Design")]
    run.design("a").write("synthesis.json", {"lut": quantity(2e6, "synthesis", "yosys 0.70")})
    run.design("b").write("cost.json", {"lut": quantity(500_000, "solver", "alkaid")})
    notes = [note for note in summarize(run, "finished", 1.0)["notes"] if note.startswith("Design")]
    assert notes == [
        "Design 'a' does not fit: 2,000,000 LUT of 1,728,000 (xcvu13p, synthesis).",
        "Design 'b' spans super logic regions: 500,000 LUT of 432,000 in one (xcvu13p, solver).",
    ]
    assert "does not fit: 2,000,000 LUT of 1,728,000" in weft("status", run.path).stderr
