"""`weft search`, `compress` and `tune` on the bundled jets, tracked by MLflow; the tuning is killed on its way."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.run.conftest import environment, weft
from tests.tune.helpers import LISTS, experiment, study
from weft.config import SelectConfig, load, loads
from weft.errors import BudgetError, RunError
from weft.search.journal import JOURNAL
from weft.tune.study import best_of, require_best

EXPERIMENT = """\
version: 1
name: small
data: {name: jets-hlf, seed: 1, rows: {train: 600, validation: 400, test: 300}}
space: {blocks: [{type: mlp, depth: 1, units: [4, 8]}], quantization: {mode: hgq, bits0: 4, beta: 1e-5}}
search:
  trials: 2
  population: 2
  epochs: 2
  batch_size: 128
  objectives: [accuracy, ebops]
  workers: 1
  baselines: [{units: [6], learning_rate: 1e-2}]
select: {count: 1}
compress: {recipe: hgq, epochs: 2, finetune_epochs: 0, batch_size: 128, learning_rate: 1e-2, bits0: 5, keep: 1}
tracking: {mlflow: true, uri: "sqlite:///tracked/all.db", experiment: jets}
tune:
  sampler: grid
  trials: 20
  population: 2
  objectives: [accuracy, ebops]
  constraints: {ebops: "<= 100000"}
  workers: 1
  parameters:
    compress.beta.from: [1e-6, 1e-4]
    compress.beta.to: [1e-5, 1e-3]
"""
INVALID = {"compress.beta.from": 1e-4, "compress.beta.to": 1e-5}
"""The one combination of the four that is none."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A searched and compressed run; and a tuning of its design that was killed once, and resumed."""
    place = tmp_path_factory.mktemp("tuned")
    (place / "experiment.yaml").write_text(EXPERIMENT)
    (place / "tracked").mkdir()
    script = (
        "from contextlib import nullcontext\nfrom weft.config import load\nfrom weft.run import Run\n"
        "from weft.run.stages import execute\nfrom weft.types import no_progress\n"
        "run = Run.create('run', load('experiment.yaml'), '')\n"
        "execute(run, ('data', 'search', 'select', 'compress'), lambda title: nullcontext(no_progress))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=place, env=environment())
    command = ["tune", "experiment.yaml", "--out", "tune", "--run", "run"]
    with open(place / "killed.txt", "wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "weft", *command], cwd=place, env=environment(), stderr=said, start_new_session=True
        )
    deadline = time.monotonic() + 300
    while not finished_trials(place / "tune") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (place / "before.json").write_text(json.dumps(finished_trials(place / "tune")))
    done = weft(*command, "--set", "tune.workers=2", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "stdout.json").write_text(done.stdout)
    (place / "stderr.txt").write_text(done.stderr)
    return place


def finished_trials(directory: Path) -> dict[str, float]:
    """Return the trials of a journal that have an outcome, and how long each took."""
    journal, found = directory / JOURNAL, {}
    for line in journal.read_text().splitlines() if journal.exists() else ():
        if '"outcome"' in line:
            said = json.loads(line)
            found[str(said["trial_id"])] = said["user_attr"]["outcome"]["seconds"]
    return found


def summary(place: Path) -> dict:
    return json.loads((place / "tune" / "summary.json").read_text())


def rows(place: Path, name: str = "trials.csv") -> list[dict[str, str]]:
    with open(place / "tune" / name, newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_killed_tuning_goes_on_and_evaluates_nothing_twice(place):
    before, after = json.loads((place / "before.json").read_text()), finished_trials(place / "tune")
    assert 1 <= len(before) < 3
    assert before.items() <= after.items()
    assert len(after) == 3
    assert [row["state"] for row in rows(place)].count("complete") == 3


def test_the_invalid_combination_is_a_failed_trial_with_its_reason(place):
    (failed,) = (row for row in rows(place) if row["state"] == "failed")
    assert failed["error_kind"] == "invalid"
    assert failed["reason"] == "compress.beta: needs 0 < from < to; got from=0.0001, to=1e-05"
    assert {name: float(failed[f"params_{name}"]) for name in INVALID} == INVALID


def test_the_directory_holds_what_the_documentation_says(place):
    for name in ("config.yaml", "config.resolved.yaml", "study.journal", "trials.csv", "pareto.csv", "best.yaml",
                 "summary.json", "environment.json"):  # fmt: skip
        assert (place / "tune" / name).stat().st_size > 0
    head = rows(place)[0].keys()
    assert {"accuracy [fraction]", "ebops [bit operations]", "seconds [s]", "params_compress.beta.to"} <= head
    front = [int(row["number"]) for row in rows(place, "pareto.csv")]
    for number in front:
        kept = place / "tune" / "trials" / str(number) / "fold0"
        assert {path.name for path in kept.iterdir()} == {"model.keras", "config.yaml", "trail.csv"}
    assert {path.name for path in (place / "tune" / "trials").iterdir()} == set(map(str, front))


def test_the_summary_says_unit_stage_and_source_of_every_number(place):
    told = summary(place)
    assert json.loads((place / "stdout.json").read_text()) == told
    assert (told["status"], told["search"]["trials"], told["search"]["failed"]) == ("finished", 4, 1)
    assert told["network"]["source"].startswith("design t0")
    for one in (*told["pareto"], told["best"]):
        assert one["metrics"]["accuracy"]["unit"] == "fraction"
        assert one["metrics"]["accuracy"]["split"] == "validation"
        assert {"value", "unit", "stage", "source"} <= one["cost"]["ebops"].keys()
    assert told["best"]["trial"] in [one["trial"] for one in told["pareto"]]


def test_progress_is_told_with_the_time_that_is_left(place):
    lines = [json.loads(line) for line in (place / "stderr.txt").read_text().splitlines()]
    assert [line["stage"] for line in lines if line.get("state") == "ends"] == ["data", "network", "tune"]
    assert lines[-2]["eta_seconds"] == 0.0


def test_best_yaml_is_the_experiment_with_the_best_values(place):
    best = load(place / "tune" / "best.yaml")
    written = loads(EXPERIMENT)
    values = summary(place)["best"]["values"]
    assert best.tune is None
    assert best.name == "small-tuned"
    assert best.compress == written.tuned(values).compress


def test_the_best_values_give_the_numbers_of_the_best_trial(place, tmp_path):
    """Compressing again in this process, from what best.yaml says, gives the metrics of the trial, to the last bit."""
    from weft.compression.training import Material
    from weft.data import load as load_data
    from weft.train.metrics import evaluate
    from weft.tune.subject import Subject

    best, told = load(place / "tune" / "best.yaml"), summary(place)["best"]
    dataset = load_data(best.data)
    (design,) = Subject.open(place / "tune").compress(Material.of(dataset, best.data), best, tmp_path)
    outputs = np.asarray(design.model.predict(dataset.validation.x, batch_size=8192, verbose=0))
    found = evaluate(outputs, dataset.validation.y, dataset.task)
    assert found == {name: metric["mean"] for name, metric in told["metrics"].items()}


def test_a_finished_tuning_is_not_run_again(place):
    before = (place / "tune" / JOURNAL).read_bytes()
    again = weft("tune", place / "tune", "--json", cwd=place)
    assert again.returncode == 0, again.stderr
    assert (place / "tune" / JOURNAL).read_bytes() == before


@pytest.fixture(scope="module")
def client(place):
    """MLflow's own client on the store."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        yield MlflowClient(f"sqlite:///{place}/tracked/all.db")


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def nested(client, directory: Path) -> dict:
    """Return the MLflow runs nested in that of a run directory, by name."""
    noted = json.loads((directory / "tracking.json").read_text())
    experiment = client.get_experiment_by_name("jets").experiment_id
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{noted['run_id']}'", max_results=1000)
    names = [one.info.run_name for one in found]
    assert len(names) == len(set(names))
    return dict(zip(names, found, strict=True))


def files(client, run) -> set[str]:
    return {one.path for one in client.list_artifacts(run.info.run_id)}


def text(client, run, name: str, tmp_path: Path) -> str:
    return Path(client.download_artifacts(run.info.run_id, name, str(tmp_path))).read_text()


def test_mlflow_holds_each_trial_of_the_tuning_once_with_its_own_configuration_and_model(place, client, tmp_path):
    found = nested(client, place / "tune")
    assert found.keys() == {f"trial {i}" for i in range(4)}
    for row in rows(place):
        run = found[f"trial {row['number']}"]
        values = {name: float(row[f"params_{name}"]) for name in INVALID}
        assert {name: float(value) for name, value in run.data.params.items()} == values
        if row["state"] == "failed":
            assert run.info.status == "FAILED"
            assert run.data.tags["trial.reason"] == row["reason"]
            assert run.data.metrics == {}
            continue
        assert run.info.status == "FINISHED"
        assert run.data.metrics["accuracy"] == float(row["accuracy [fraction]"])
        assert run.data.metrics["ebops"] == float(row["ebops [bit operations]"])
        assert run.data.tags["accuracy.unit"] == "fraction"
        assert run.data.tags["accuracy.stage"] == "validation"
        assert run.data.tags["ebops.unit"] == "bit operations"
        assert {"ebops.stage", "ebops.source", "accuracy.source"} <= run.data.tags.keys()
        assert {"model.keras", "config.yaml"} <= files(client, run)
        own = loads(text(client, run, "config.yaml", tmp_path))
        assert own.compress == loads(EXPERIMENT).tuned(values).compress
        assert len(client.get_metric_history(run.info.run_id, "trail.ebops")) == 2


def test_a_model_in_mlflow_is_the_one_that_was_measured(place, client, tmp_path):
    import hgq  # noqa: F401 - registers the layers
    import keras

    from weft.data import load as load_data

    best = nested(client, place / "tune")[f"trial {summary(place)['best']['trial']}"]
    model = keras.models.load_model(client.download_artifacts(best.info.run_id, "model.keras", str(tmp_path)))
    rows = load_data(loads(EXPERIMENT).data).validation
    share = np.mean(np.argmax(model.predict(rows.x, batch_size=8192, verbose=0), axis=1) == rows.y)
    assert share == best.data.metrics["accuracy"]


def test_mlflow_holds_the_whole_tuning_above_its_trials(place, client):
    noted = json.loads((place / "tune" / "tracking.json").read_text())
    whole = client.get_run(noted["run_id"])
    assert whole.info.status == "FINISHED"
    assert whole.data.params["compress.learning_rate"] == "0.01"
    assert whole.data.tags["weft.directory"] == str(place / "tune")
    assert {"config.resolved.yaml", "trials.csv", "pareto.csv", "best.yaml", "summary.json"} <= files(client, whole)


def test_mlflow_holds_the_search_the_compression_and_the_design_of_the_run(place, client, tmp_path):
    found = nested(client, place / "run")
    (design,) = (place / "run" / "designs").iterdir()
    number = json.loads((design / "training.json").read_text())["trial"]
    names = {"trial 0", "trial 1", f"compress trial-{number}", f"design {design.name}"}
    assert found.keys() == names
    with open(place / "run" / "trials.csv", newline="") as lines:
        for row in csv.DictReader(lines):
            trial = found[f"trial {row['number']}"]
            assert trial.data.metrics["ebops"] == float(row["ebops"])
            assert json.loads(text(client, trial, "architecture.json", tmp_path))["blocks"]
            assert "weights.npz" in files(client, trial)
    recipe = found[f"compress trial-{number}"]
    assert recipe.data.params["compress.bits0"] == "5"
    assert [point.step for point in client.get_metric_history(recipe.info.run_id, "trail.accuracy")] == [0, 1]
    made = found[f"design {design.name}"]
    assert made.data.tags["verification"] == "not run"
    assert {"model.keras", "architecture.json", "training.json", "trail.csv"} <= files(client, made)
    assert made.data.tags["validation.accuracy.unit"] == "fraction"


def command(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command line in this process, without tracking; return exit code, stdout and stderr."""
    import weft.cli.tune  # noqa: F401 - registers the command
    from weft.cli import app

    off = ["--set", "tracking.mlflow=false", "--set", "tracking.uri=null"]
    done = CliRunner().invoke(app, ["tune", *map(str, arguments), *(off if len(arguments) > 1 else [])])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--design", "t000"], "--design t000 needs the run that it belongs to; add --run RUN"),
        (["--run", "run", "--model", "m.keras"], "--model and --run each say what is tuned; give one of them"),
        (["--run", "run", "--design", "t9"], "has no design 't9'; it has: t0"),
        (["--model", "nothing.keras"], "nothing.keras cannot be read as a Keras model"),
        (["--set", "tune=null"], "the experiment has no section 'tune'; say which fields are tuned"),
        (["--set", "search.baselines=[]"], "search.baselines is empty, so there is no network to tune"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_told_before_anything_is_trained(place, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(place)
    code, _, error = command("experiment.yaml", "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert said in error
    assert not (tmp_path / "out" / "trials").exists()


def test_an_unknown_field_is_an_error_with_its_line_before_anything_is_made(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(EXPERIMENT.replace("compress.beta.from:", "compress.bta.from:"))
    code, out, _ = command(path, "--out", tmp_path / "out", "--json")
    line = EXPERIMENT.splitlines().index("    compress.beta.from: [1e-6, 1e-4]") + 1
    said = json.loads(out)
    assert (code, said["kind"]) == (2, "ConfigError")
    assert f"{path}:{line}: tune.parameters.compress.bta.from" in said["error"]
    assert "unknown key; did you mean 'beta'?" in said["error"]
    assert not (tmp_path / "out").exists()


def test_a_tuning_keeps_to_its_network_its_parameters_and_its_constraints(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    code, _, error = command("experiment.yaml", "--out", "tune")
    assert code == 2
    assert f"tunes {summary(place)['network']['source']}, not the first baseline; give another directory" in error
    code, _, error = command("experiment.yaml", "--out", "tune", "--run", "run", "--set", "tune.constraints={}")
    assert code == 2
    assert "holds a run of another configuration; different are: tune.constraints.ebops" in error


def test_a_front_is_printed_as_a_table_with_units(place, monkeypatch):
    monkeypatch.chdir(place)
    code, out, error = command("experiment.yaml", "--out", "tune", "--run", "run")
    assert code == 0, error
    assert "best: tune/best.yaml" in out
    assert "fraction" in out
    assert "beta.from" in out


def test_constraints_that_no_trial_meets_end_with_the_closest_and_what_it_misses(tmp_path):
    found = study(tmp_path, experiment(LISTS, sampler="grid", constraints='{ebops: "<= 300"}'))
    said = (
        r"none of 6 trials meets the constraints; the closest, trial \d, misses ebops <= 300 with 400; "
        r"loosen tune\.constraints, widen tune\.parameters"
    )
    with pytest.raises(BudgetError, match=said):
        require_best(found.results, tmp_path)
    assert best_of(found.results, SelectConfig()) is None


def test_a_tuning_without_a_complete_trial_says_why(tmp_path):
    found = study(tmp_path, experiment({**LISTS, "compress.bits0": "[5]"}, sampler="grid"), {"invalid": 5})
    with pytest.raises(RunError, match=r"none of 2 trials is complete; their reasons are in .*:\n  2 x bits0: not to"):
        require_best(found.results, tmp_path)


def test_the_best_of_one_objective_is_the_best_and_of_several_what_the_selection_prefers(tmp_path):
    one = study(tmp_path / "one", experiment(LISTS, sampler="grid", objectives="[ebops]",
                                             constraints='{accuracy: ">= 0.9"}')).results  # fmt: skip
    feasible = [trial for trial in one.trials if trial.value("accuracy") >= 0.9]
    assert best_of(one, SelectConfig())[0].value("ebops") == min(trial.value("ebops") for trial in feasible)
    several = study(tmp_path / "two", experiment(LISTS, sampler="grid")).results
    rules = {"best_metric": "best accuracy", "cheapest": "lowest ebops", "knee": "knee of accuracy, ebops"}
    for rule, words in rules.items():
        trial, reason = best_of(several, SelectConfig(rule=rule, cost="ebops"))
        assert trial in several.front()
        assert reason.startswith(words)
    assert best_of(several, SelectConfig(rule="cheapest", cost="lut"))[1].startswith("knee of")
    assert best_of(several, SelectConfig(rule="weighted", weights={"ebops": 1}))[1].startswith(
        "weighted sum of 1 ebops"
    )
    assert best_of(several, SelectConfig(rule="lexicographic", order=["ff"]))[1].startswith("knee of")
