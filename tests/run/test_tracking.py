"""Tracking against a real MLflow server, and what happens where there is none."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.tune.helpers import LISTS, experiment, study
from weft.config import Experiment, load, loads
from weft.errors import ConfigError, ToolError
from weft.objectives import OBJECTIVES
from weft.run import Run
from weft.run.tracking import Entry, entries, flat, tracked, trial_entry

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

DATA = "version: 1\nname: x\ndata: {name: jets-hlf}\n"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of an MLflow server with a store and an artifact folder of its own."""
    place, port = tmp_path_factory.mktemp("server"), free_port()
    options = {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
        "--backend-store-uri": f"sqlite:///{place}/server.db",
        "--artifacts-destination": str(place),
    }
    command = [sys.executable, "-m", "mlflow", "server", *(word for option in options.items() for word in option)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(place / "log.txt", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 240
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                break
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, (place / "log.txt").read_text()
            time.sleep(0.2)
    yield address
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def with_tracking(uri: str, **more: str) -> Experiment:
    made = experiment(LISTS, sampler="grid")
    section = {"mlflow": True, "uri": uri, "experiment": "tests", **more}
    return made.model_copy(update={"tracking": made.tracking.model_validate(section)})


def begun(directory: Path, made: Experiment) -> Run:
    """Return a run directory that holds a study, the trail of a compression and a design."""
    run = Run.create(directory, made, "# as written\n")
    study(directory, made)
    trail = "point,epoch,accuracy,ebops\nepoch-0,0,0.5,900\nepoch-1,1,0.6,800\n"
    place = directory / "compress" / "trial-3"
    place.mkdir(parents=True)
    (place / "trail.csv").write_text(trail)
    (place / "designs.json").write_text('["t003-epoch-1"]')
    design = directory / "designs" / "t003-epoch-1"
    design.mkdir(parents=True)
    (design / "model.keras").write_bytes(b"PK")
    for name, value in {
        "training.json": {"trial": 3, "recipe": "hgq", "log": {"accuracy": 0.6, "ebops": 800.0}},
        "architecture.json": {"blocks": [{"units": [8, 4]}]},
    }.items():
        (design / name).write_text(json.dumps(value))
    return run


def put_all(run: Run, results) -> None:
    with tracked(run) as put:
        for trial in results.trials:
            put(trial_entry(run, trial, trial.genotype, {"config.yaml": "x: 1\n"}))
        for entry in entries(run):
            put(entry)


@pytest.fixture(scope="module")
def client(server):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        yield MlflowClient(server)


def nested(client, run: Run) -> dict:
    noted = json.loads((run.path / "tracking.json").read_text())
    wanted = f"tags.`mlflow.parentRunId` = '{noted['run_id']}'"
    found = client.search_runs([client.get_experiment_by_name("tests").experiment_id], wanted)
    return {one.info.run_name: one for one in found}


@pytest.fixture(scope="module")
def told(server, client, tmp_path_factory) -> Run:
    """A run whose results are with the server."""
    import warnings

    run = begun(tmp_path_factory.mktemp("told") / "run", with_tracking(server))
    from weft.search.results import read

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        put_all(run, read(run.path, "tune"))
    return run


def test_a_server_holds_every_trial_compression_and_design(told, client, tmp_path):
    found = nested(client, told)
    assert found.keys() == {*(f"trial {i}" for i in range(6)), "compress trial-3", "design t003-epoch-1"}
    trial = found["trial 2"]
    assert trial.info.status == "FINISHED"
    assert trial.data.tags["ebops.unit"] == "bit operations"
    assert trial.data.tags["ebops.stage"] == "predicted"
    assert trial.data.tags["ebops.source"] == "toy 1"
    assert trial.data.metrics["seconds"] == 0.5 and trial.data.tags["seconds.unit"] == "s"
    assert trial.info.end_time - trial.info.start_time >= 500
    assert set(trial.data.params) == {"compress.learning_rate", "compress.bits0"}
    config = client.download_artifacts(trial.info.run_id, "config.yaml", str(tmp_path))
    assert Path(config).read_text() == "x: 1\n"
    front = [one for one in found.values() if "model.txt" in {a.path for a in client.list_artifacts(one.info.run_id)}]
    assert front
    recipe = found["compress trial-3"]
    history = client.get_metric_history(recipe.info.run_id, "trail.accuracy")
    tags = recipe.data.tags
    assert (tags["trail.accuracy.unit"], tags["trail.accuracy.stage"]) == ("fraction", "validation")
    assert (tags["trail.ebops.unit"], tags["trail.ebops.stage"]) == (OBJECTIVES["ebops"].unit, "training")
    assert [(point.step, point.value) for point in history] == [(0, 0.5), (1, 0.6)]
    assert recipe.data.params["designs"] == "t003-epoch-1"
    design = found["design t003-epoch-1"]
    assert design.data.params["architecture.blocks.0.units.1"] == "4"
    assert design.data.tags["verification"] == "not run"


def test_the_whole_run_has_its_configuration_its_results_with_units_and_its_figures(told, client, tmp_path):
    from weft.run.summary import summarize
    from weft.search.results import read

    results = read(told.path, "tune")
    best = {"trial": 2, "metrics": {"accuracy": {"mean": 0.7, "std": None}}, "cost": {"ebops": {
        "value": 900.0, "unit": "bit operations", "stage": "predicted", "source": "toy 1"}}}  # fmt: skip
    summary = {**summarize(told, "finished", 12.5), "search": results.summary(), "best": best}
    (told.path / "summary.json").write_text(json.dumps(summary))
    with tracked(told):
        pass
    number = json.loads((told.path / "tracking.json").read_text())["run_id"]
    whole = client.get_run(number).data
    assert whole.params["tune.parameters.compress.learning_rate.0"] == "0.001"
    assert whole.metrics["search.hypervolume"] == pytest.approx(results.hypervolume().value)
    assert (whole.metrics["search.trials"], whole.tags["search.trials.unit"]) == (6.0, "count")
    assert (whole.metrics["seconds"], whole.tags["seconds.unit"]) == (12.5, "s")
    assert (whole.metrics["best.ebops"], whole.tags["best.ebops.stage"]) == (900.0, "predicted")
    assert (whole.metrics["best.accuracy"], whole.tags["best.accuracy.stage"]) == (0.7, "validation")
    assert whole.tags["best"] == "trial 2"
    names = {one.path for one in client.list_artifacts(number, "figures")}
    x, y = [name for name in results.objectives]
    drawn = {f"figures/front_{a}_{b}.{kind}" for a, b in ((x, y), (y, x)) for kind in ("svg", "png")}
    assert names and names <= drawn
    assert not (told.path / "figures").exists()
    png = client.download_artifacts(number, next(name for name in names if name.endswith("png")), str(tmp_path))
    assert Path(png).read_bytes().startswith(b"\x89PNG")


def test_the_best_design_is_that_of_the_best_test_metric(tmp_path):
    from weft.run.tracking import overall

    run = Run.create(tmp_path / "run", load("jets-demo"), "")
    cost = {"value": 300.0, "unit": "count", "stage": "synthesis", "source": "yosys 0.70"}
    designs = [{"id": name, "metrics": {"accuracy": {"value": value}}, "cost": {"lut": {**cost, "value": 1000 * value}}}
               for name, value in (("a", 0.6), ("b", 0.7), ("c", 0.5))]  # fmt: skip
    summary = {"designs": designs, "status": "finished", "seconds": 1.0, "search": None}
    (run.path / "summary.json").write_text(json.dumps(summary))
    found, tags = overall(run)
    assert tags == {"best": "design b"}
    assert (found["best.accuracy"]["value"], found["best.accuracy"]["stage"]) == (0.7, "test")
    assert (found["best.lut"]["value"], found["best.lut"]["stage"]) == (700.0, "synthesis")
    assert overall(Run.create(tmp_path / "new", load("jets-demo"), "")) == ({}, {})


def test_what_is_there_is_not_written_again_and_what_is_new_is_added_to_its_run(told, client):
    from weft.search.results import read

    before = nested(client, told)
    design = told.design("t003-epoch-1")
    quantity = {"value": 300.0, "unit": "count", "stage": "synthesis", "source": "yosys 0.70", "low": None,
                "high": None, "reason": None}  # fmt: skip
    design.write("cost.json", {"lut": quantity})
    put_all(told, read(told.path, "tune"))
    after = nested(client, told)
    assert after.keys() == before.keys()
    for name, run in after.items():
        changed = run.data.to_dictionary() != before[name].data.to_dictionary()
        assert changed == (name == "design t003-epoch-1")
        assert run.info.run_id == before[name].info.run_id
    assert after["design t003-epoch-1"].data.metrics["lut"] == 300.0
    assert after["design t003-epoch-1"].data.tags["lut.stage"] == "synthesis"


def test_a_write_that_was_cut_off_is_completed_in_the_same_run(told, client):
    from weft.search.results import read

    number = nested(client, told)["trial 1"].info.run_id
    client.delete_tag(number, "weft.digest")
    client.update_run(number, status="RUNNING")
    put_all(told, read(told.path, "tune"))
    after = nested(client, told)["trial 1"]
    assert after.info.run_id == number
    assert (after.info.status, "weft.digest" in after.data.tags) == ("FINISHED", True)


def test_a_run_that_was_removed_from_the_server_is_written_anew(told, client):
    from weft.search.results import read

    noted = json.loads((told.path / "tracking.json").read_text())["run_id"]
    client.delete_run(noted)
    put_all(told, read(told.path, "tune"))
    assert json.loads((told.path / "tracking.json").read_text())["run_id"] != noted
    assert len(nested(client, told)) == 8


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt("SIGINT"), "KILLED"), (ConfigError("no"), "FAILED"), (None, "FINISHED")]
)
def test_the_whole_run_says_how_it_ended(server, client, tmp_path, error, status):
    run = Run.create(tmp_path / "run", with_tracking(server), "")
    try:
        with tracked(run):
            if error is not None:
                raise error
    except (KeyboardInterrupt, ConfigError) as caught:
        assert caught is error
    whole = client.get_run(json.loads((run.path / "tracking.json").read_text())["run_id"])
    assert whole.info.status == status
    assert "config.resolved.yaml" in {one.path for one in client.list_artifacts(whole.info.run_id)}


def test_names_that_mlflow_does_not_take_are_changed_and_many_of_them_arrive(server, client, tmp_path):
    run = Run.create(tmp_path / "run", with_tracking(server), "")
    params = {'compress.layers."out*".weight.bits': 4, **{f"p{i}": "x" * 9000 for i in range(250)}}
    quantities = {f"m{i}": {"value": float(i), "unit": "u", "stage": "s", "source": "t"} for i in range(150)}
    with tracked(run) as put:
        put(Entry("trial 0", params, quantities))
    found = nested(client, run)["trial 0"].data
    assert found.params["compress.layers._out__.weight.bits"] == "4"
    assert len(found.params) == 251 and len(found.metrics) == 150
    assert len(found.params["p0"]) == 6000


def test_a_store_that_stops_working_stops_the_tracking_and_nothing_else(tmp_path, caplog):
    """The folder of the artifacts turns into a file on the way."""
    run = Run.create(tmp_path / "run", with_tracking(f"sqlite:///{tmp_path}/all.db"), "")
    with tracked(run) as put:
        put(Entry("trial 0", texts={"a.txt": "a"}))
        (tmp_path / "mlartifacts").rename(tmp_path / "away")
        (tmp_path / "mlartifacts").write_text("")
        put(Entry("trial 1", texts={"a.txt": "a"}))
        put(Entry("trial 2", texts={"a.txt": "a"}))
    (warning,) = (record.message for record in caplog.records if record.name == "weft.run.tracking")
    assert warning.startswith("trial 1 was not tracked: ")
    assert "tracking stops here, the run goes on, and the same command writes what is missing" in warning


def test_a_server_that_is_not_there_is_named_before_anything_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = f"http://127.0.0.1:{free_port()}"
    run = Run.create(tmp_path / "run", with_tracking(address), "")
    with pytest.raises(ToolError, match=rf"cannot track to '{address}': .*; see that it is there and may be written"):
        tracked(run).__enter__()


def test_without_mlflow_tracking_says_how_to_get_it_and_a_run_without_tracking_works(tmp_path):
    code = (
        "import sys; sys.modules['mlflow'] = None\nfrom weft.config import loads\nfrom weft.run import Run\n"
        "from weft.run.tracking import Entry, tracked\n"
        f"text = {DATA!r}\n"
        "with tracked(Run.create('off', loads(text), '')) as put:\n    put(Entry('trial 0'))\n"
        "print('works')\n"
        "tracked(Run.create('on', loads(text + 'tracking: {mlflow: true}'), '')).__enter__()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "works\n"
    assert (
        "ToolNotFoundError: tracking.mlflow is on, but MLflow is not installed: pip install 'weft[mlflow]'"
        in done.stderr
    )


def test_a_run_without_tracking_does_not_load_mlflow():
    code = (
        "import sys, tempfile\nfrom weft.config import loads\nfrom weft.run import Run\n"
        f"from weft.run.tracking import tracked\nrun = Run.create(tempfile.mkdtemp(), loads({DATA!r}), '')\n"
        "with tracked(run):\n    print('mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{uri: sqlite:///a.db}", "tracking.uri: is set, but mlflow is false"),
        ("{mlflow: true, uri: runs/all}", "tracking.uri: is no store of MLflow; write sqlite:///PATH, or a server"),
        ("{mlflow: true, uri: 'file:///tmp/x'}", "tracking.uri: is no store of MLflow"),
        ("{mlflow: true, experiment: ''}", "tracking.experiment: "),
        ("{mlflow: yes}", "tracking.mlflow: must be true or false"),
    ],
)
def test_an_address_that_cannot_work_is_refused_when_the_file_is_read(section, said):
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        loads(f"{DATA}tracking: {section}\n")


@pytest.mark.parametrize("uri", ["sqlite:///a.db", "http://h:5000", "postgresql+psycopg2://h/db", "databricks"])
def test_addresses_that_mlflow_knows_are_taken(uri):
    assert loads(f"{DATA}tracking: {{mlflow: true, uri: '{uri}'}}\n").tracking.uri == uri


def test_tracking_may_be_turned_on_for_a_run_that_was_begun_without(tmp_path):
    Run.create(tmp_path, load("jets-demo"), "")
    again = Run.create(tmp_path, load("jets-demo", ["tracking.mlflow=true"]), "")
    assert again.experiment.tracking.mlflow


def test_nested_values_become_dotted_names():
    assert flat({"a": {"b": [1, {"c": None}]}, "d": 2}) == {"a.b.0": 1, "a.b.1.c": None, "d": 2}
    assert flat({"a": []}) == {}
