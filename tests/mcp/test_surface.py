"""What needs no run: prompts, the schema, parts, the documentation."""

from __future__ import annotations

import json
import zipfile

import pytest

from weft.config import schema
from weft.errors import AccessError


def test_resources_without_a_run(server):
    assert json.loads(server.read("schema://config").text) == json.loads(json.dumps(schema()))
    board = json.loads(server.read("boards://zcu216").text)
    assert (board["device"], board["lut"]) == ("xczu49dr", 425_280)
    assert "- docs://mcp" in server.read("docs://index").text
    assert server.read("docs://mcp").text.startswith("# weft for agents")


def test_prompts_lead_through_the_tools(server):
    async def ask(client):
        names = [prompt.name for prompt in (await client.list_prompts()).prompts]
        trigger = await client.get_prompt("design_trigger_model", {"goal": "tag jets", "max_latency_ns": "50"})
        mismatch = await client.get_prompt("diagnose_mismatch", {"run": "jets"})
        return names, trigger.messages[0].content.text, mismatch.messages[0].content.text

    names, trigger, mismatch = server.with_client(ask)
    assert names == ["design_trigger_model", "diagnose_mismatch"]
    assert "Goal: tag jets" in trigger and "at most 50 ns" in trigger and "start_firmware" in trigger
    assert "explain_failure with run 'jets'" in mismatch


def test_what_the_documentation_does_not_have_is_named(server):
    assert server.lacks("docs://nope") == "there is no page 'nope'; docs://index lists them"


def test_files_that_are_none_of_weft_are_refused_with_the_reason(server, tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("run.sh", "echo")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is no plain Keras model: it holds run.sh; write it with model.save" in server.refused(
        "estimate_hardware", model="m.keras"
    )
    assert "is no UTF-8 text" in server.refused("validate_config", config="binary.yaml")
    with pytest.raises(AccessError, match=r"'\.' is a folder; name a file"):
        server.sandbox.open(".")


def test_wishes_without_data_or_of_great_length_are_refused(server):
    said = server.refused("draft_config", sentence="under 30 ns, with a purple border")
    assert "no data were named; give data: a file of the workspace, or one of jets-hlf" in said
    assert "not understood:" in said and "purple border" in said
    long = server.refused("draft_config", sentence="under 30 ns " * 200)
    assert "the sentence is longer than 2000 characters; say it in one" in long


def test_data_that_take_long_are_a_job_to_wait_for(server, monkeypatch):
    monkeypatch.setattr("weft.mcp.desk.AT_ONCE_S", 0.0)
    said = server.refused("inspect_dataset", data="events.csv", label="kind")
    assert "reading events.csv takes longer than a call may; wait_for_job with job_id '" in said
    job = said.split("job_id '")[1].split("'")[0]
    assert server.ask("wait_for_job", job_id=job)["status"] == "finished"
    assert server.ask("inspect_dataset", data="events.csv", label="kind")["rows"]["train"] > 0
