"""From a goal to verified firmware, by an agent at the other end of stdio, across a server that is killed."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.mcp.conftest import Server, in_a_loop, write_events
from weft.mcp.answers import LARGEST, MEANING
from weft.mcp.sandbox import Sandbox
from weft.mcp.server import KINDS

GOAL = "classify events, on a zcu216, at most 20k LUT, latency below 100 ns, purple"


class Talk:
    """What was said over stdio: every answer, and its length."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.lengths: list[int] = []
        self.pids: list[int] = []

    async def call(self, client: Client, as_: str, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, (as_, result.content)
        self.lengths.append(len(result.content[0].text))
        self.answers[as_] = result.structured_content
        return result.structured_content

    async def finish(self, client: Client, job: str, as_: str) -> None:
        for _ in range(40):
            found = await self.call(client, as_, "wait_for_job", job_id=job, timeout_s=20)
            if found["status"] not in ("queued", "running"):
                break
        assert found["status"] == "finished", (found, await self.call(client, "why", "explain_failure", job_id=job))


def smaller(text: str) -> str:
    """Return a draft as an agent changes it: the least network and the shortest training that go all the way."""
    raw = yaml.safe_load(text)
    raw["space"]["blocks"] = [{"type": "mlp", "depth": 1, "units": [4, 6], "activation": ["relu"]}]
    raw["space"]["quantization"]["bits0"] = 3
    raw["search"]["epochs"] = 2
    raw["firmware"]["verify"]["samples"] = 500
    raw["compress"] = {"recipe": "hgq", "epochs": 4, "batch_size": 64, "learning_rate": 2e-2, "bits0": 3, "keep": 1}
    return yaml.safe_dump(raw, sort_keys=False)


def client_of(workspace: Path) -> Client:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["-m", "weft", "mcp", "--workspace", str(workspace)]
    return Client(stdio_client(StdioServerParameters(command=sys.executable, args=command, env=environment)))


def server_pid() -> int:
    found = [
        process.pid
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and process.cmdline()[1:4] == ["-m", "weft", "mcp"]
    ]
    assert len(found) == 1, found
    return found[0]


async def first(talk: Talk, workspace: Path) -> None:
    """Say the goal, start the search, and be killed."""
    try:
        async with client_of(workspace) as client:
            await talk.call(client, "capabilities", "get_capabilities")
            await talk.call(client, "data", "inspect_dataset", data="events.csv", label="kind")
            draft = await talk.call(
                client, "draft", "draft_config", sentence=GOAL, data="events.csv", label="kind",
                task="classification", quick=True,
            )  # fmt: skip
            text = smaller(draft["yaml"])
            valid = await talk.call(client, "valid", "validate_config", config=text)
            assert valid["valid"], valid
            start = {"config": valid["config"], "run": "jets", "trials": 2, "idempotency_key": "one"}
            await talk.call(client, "preview", "start_search", **start, dry_run=True)
            await talk.call(client, "started", "start_search", **start)
            talk.pids.append(server_pid())
            os.kill(talk.pids[0], signal.SIGKILL)
            await client.call_tool("list_jobs", {})
    except Exception as error:  # noqa: BLE001 - the connection breaks in more than one way
        assert talk.pids, error


async def second(talk: Talk, workspace: Path) -> None:
    """Another server finds the job, and goes on to firmware."""
    async with client_of(workspace) as client:
        await talk.call(client, "found", "list_jobs")
        await talk.call(
            client, "again", "start_search", config=talk.answers["valid"]["config"], run="jets", trials=2,
            idempotency_key="one",
        )  # fmt: skip
        await talk.finish(client, talk.answers["started"]["job_id"], "searched")
        await talk.call(client, "front", "get_pareto", run="jets")
        trial = talk.answers["front"]["shown"][0]["trial"]
        await talk.call(client, "selected", "select_design", run="jets", trials=[trial], reason="best accuracy")
        job = await talk.call(client, "compressing", "start_compression", run="jets")
        await talk.finish(client, job["job_id"], "compressed")
        await talk.call(client, "before", "compare_designs", runs=["jets"])
        job = await talk.call(client, "building", "start_firmware", run="jets")
        await talk.finish(client, job["job_id"], "built")
        await talk.call(client, "designs", "compare_designs", runs=["jets"])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("flow")
    write_events(place)
    return place


@pytest.fixture(scope="module")
def talk(workspace) -> Talk:
    found = Talk()
    in_a_loop(first(found, workspace))
    in_a_loop(second(found, workspace))
    return found


@pytest.fixture(scope="module")
def server(workspace, talk) -> Server:
    """A third server, in this process, on what the two others left."""
    return Server(Sandbox.of(workspace))


def test_a_goal_becomes_verified_firmware(talk, workspace):
    [design] = talk.answers["designs"]["designs"]
    assert design["verification"].startswith("exact")
    numbers = {number["name"]: number for number in design["numbers"]}
    assert numbers["lut"]["stage"] == "synthesis"
    assert numbers["lut"]["source"].startswith("yosys")
    assert numbers["accuracy"]["stage"] == "test"
    assert 0.4 < numbers["accuracy"]["value"] <= 1
    assert design["meets_budget"] is True
    name = design["design"].partition("/")[2]
    assert list((workspace / "runs" / "jets" / "designs" / name / "firmware" / "src").glob("*.v"))


def test_nothing_is_said_to_be_verified_or_synthesised_before_it_is(talk):
    [design] = talk.answers["before"]["designs"]
    assert design["verification"] == "NOT VERIFIED yet"
    assert not {number["stage"] for number in design["numbers"]} & {"synthesis", "post_route", "test"}
    assert "start_firmware" in talk.answers["before"]["next_step"]


def test_every_number_says_what_it_is(talk):
    front, designs = talk.answers["front"], talk.answers["designs"]
    numbers = [number for trial in front["shown"] for number in trial["numbers"]]
    for number in numbers + designs["designs"][0]["numbers"]:
        assert number["source"] and number["stage"] in MEANING
    assert {number["stage"] for number in numbers if number["name"] == "lut"} == {"solver"}
    assert "ESTIMATE" in front["meaning"]["solver"]
    assert "not routed" in designs["meaning"]["synthesis"]
    assert front["test_rows_used"] is False


def test_what_was_not_understood_is_said_and_not_guessed(talk):
    assert any("purple" in words for words in talk.answers["draft"]["not_understood"])
    assert "lut = 20000" in talk.answers["draft"]["understood"]
    assert "ask the user" in talk.answers["draft"]["next_step"]


def test_long_work_answers_within_a_second(talk, workspace):
    """By the server's clock: the call was logged with the time that it took."""
    lines = [json.loads(line) for line in (workspace / "runs" / ".weft" / "calls.jsonl").read_text().splitlines()]
    seconds = [line["seconds"] for line in lines if str(line.get("name")).startswith("start_") and line["ok"]]
    assert len(seconds) >= 5
    assert max(seconds) < 1.0, seconds


def test_a_job_outlives_the_server_that_started_it(talk):
    assert not psutil.pid_exists(talk.pids[0])
    job = talk.answers["started"]["job_id"]
    found = {one["job_id"]: one for one in talk.answers["found"]["jobs"]}
    assert found[job]["status"] in ("queued", "running", "finished")
    assert talk.answers["searched"]["status"] == "finished"


def test_the_same_call_with_the_same_key_is_the_same_job(talk, server):
    assert talk.answers["again"]["repeated"] is True
    assert talk.answers["again"]["job_id"] == talk.answers["started"]["job_id"]
    told = server.refused(
        "start_search", config=talk.answers["valid"]["config"], run="jets", trials=1, idempotency_key="one"
    )
    assert "idempotency_key 'one' was used for another call" in told


def test_a_preview_starts_nothing(talk):
    preview = talk.answers["preview"]
    assert preview["job_id"] is None
    assert "at most 2 candidates x 1 fold x 2 epochs" in preview["cost"]


def test_answers_are_short_and_hold_no_absolute_path(talk, workspace):
    assert max(talk.lengths) <= LARGEST
    assert str(workspace) not in json.dumps(talk.answers)


def test_every_call_was_logged(talk, workspace):
    lines = [json.loads(line) for line in (workspace / "runs" / ".weft" / "calls.jsonl").read_text().splitlines()]
    tools = [line["name"] for line in lines if line["method"] == "tools/call"]
    assert tools.count("start_search") >= 3
    assert {"draft_config", "start_firmware", "compare_designs"} <= set(tools)
    assert all({"time", "arguments", "seconds", "ok"} <= line.keys() for line in lines)


def test_resources_of_a_run(server, talk):
    assert "version: 1" in server.read("run://jets/config").text
    assert json.loads(server.read("run://jets/summary").text)["designs"]
    for name in ("pareto", "trials"):
        rows = list(csv.DictReader(io.StringIO(server.read(f"run://jets/{name}.csv").text)))
        assert rows and {row["lut_stage"] for row in rows} <= {"estimate", "solver"}
        assert all(row["lut [count]"] and row["lut_source"] and row["accuracy_stage"] == "validation" for row in rows)
    verification = json.loads(server.read("run://jets/verify.json").text)
    assert {one["status"] for one in verification.values()} == {"exact"}
    assert "synthesis" in server.read("run://jets/report.md").text
    assert '"event"' in server.read("run://jets/log").text
    names = json.loads(server.read("run://jets/figures").text)
    assert "cost" in names
    figure = server.read("run://jets/figures/cost")
    assert figure.mime_type == "image/png"
    assert figure.blob.startswith("iVBORw0KGgo")
    assert "weft search" in server.read(f"job://{talk.answers['started']['job_id']}/log").text


def test_the_other_tools_on_a_finished_run(server, talk):
    asked = {"run": "jets", "part": "xcvu9p", "clock_period_ns": 2.5}
    estimate = server.ask("estimate_hardware", **asked)
    if estimate["job_id"]:  # a busy machine: it is a job, and the same call gets its result
        server.ask("wait_for_job", job_id=estimate["job_id"])
        estimate = server.ask("estimate_hardware", **asked)
    assert estimate["part"] == "xcvu9p"
    assert {number["stage"] for one in estimate["designs"].values() for number in one} <= {"solver", "predicted"}
    assert all(text.startswith("ESTIMATE") for text in estimate["meaning"].values())
    every = server.ask("compare_designs", runs=["jets"], every_stage=True)
    stages = {number["stage"] for number in every["designs"][0]["numbers"] if number["name"] == "lut"}
    assert stages == {"solver", "synthesis"}
    assert server.ask("explain_failure", run="jets")["what"] == "nothing failed in this run"
    assert server.ask("get_pareto", run="jets", sort_by="lut", top=1)["shown"]
    assert server.ask("get_pareto", run="jets", max_lut=1)["shown"] == []
    picked = server.ask("select_design", run="jets", rule="cheapest", count=1)["picked"]
    assert picked[0]["reason"].startswith("lowest lut")
    assert talk.answers["selected"]["picked"][0]["reason"] == "chosen by number: best accuracy"


def test_tools_refuse_with_the_next_step(server):
    assert "is not on the front" in server.refused("select_design", run="jets", trials=[99])
    assert "give either trials, or rule and count" in server.refused("select_design", run="jets", trials=[0], count=1)
    assert "the trials have no 'energy'" in server.refused("get_pareto", run="jets", sort_by="energy")
    assert "has no design 'nope'; compare_designs lists them" in server.refused(
        "estimate_hardware", run="jets", design="nope"
    )
    assert "is no name of a design" in server.refused("estimate_hardware", run="jets", design="../x")
    assert "give either run, with or without design, or model" in server.refused("estimate_hardware")
    assert "give either job_id or run" in server.refused("explain_failure")
    assert "Extra inputs are not permitted" in server.refused("get_pareto", run="jets", max_lutt=3)


def test_what_a_run_does_not_have_yet_is_said(server, workspace, monkeypatch):
    assert server.lacks("run://jets/figures/nope").startswith(
        "run 'jets' has no figure 'nope'; run://jets/figures lists"
    )
    monkeypatch.setattr("weft.mcp.resources._LARGEST_IMAGE", 10)
    assert server.lacks("run://jets/figures/cost") == "figure 'cost' is larger than 10 bytes; report.html shows it"
    run = next(path for path in workspace.rglob("config.resolved.yaml") if path.parent.name == "jets").parent
    young = run.with_name("young")
    shutil.copytree(run, young, ignore=shutil.ignore_patterns("designs", "selection.json", "summary.json", "compress"))
    assert server.lacks("run://young/summary") == "the run has no summary.json yet; its stage has not run"
    assert "run 'young' has no selection yet; call select_design first" in server.refused(
        "start_compression", run="young"
    )
    assert "run 'young' has no designs yet; call start_compression first" in server.refused(
        "start_firmware", run="young"
    )


def test_another_configuration_does_not_overwrite_a_run(server, talk):
    job = server.ask("start_search", config=talk.answers["valid"]["config"], run="jets", trials=1)
    for _ in range(6):
        found = server.ask("wait_for_job", job_id=job["job_id"])
        if found["status"] != "running" and found["status"] != "queued":
            break
    assert found["status"] == "failed"
    why = server.ask("explain_failure", job_id=job["job_id"])
    assert "holds a run of another configuration; different are: search.trials" in why["what"]
    assert "give another name as run" in why["next_step"]


def test_the_tools_are_those_that_are_documented(server):
    tools = server.with_client(lambda client: client.list_tools()).tools
    assert [tool.name for tool in tools] == list(KINDS)
    for tool in tools:
        assert tool.output_schema is not None and tool.annotations is not None and tool.description
        assert tool.annotations.open_world_hint is False
        assert tool.input_schema["additionalProperties"] is False
    costly = {tool.name for tool in tools if not tool.annotations.read_only_hint}
    assert {"start_search", "start_compression", "start_firmware", "cancel_job", "select_design"} <= costly
