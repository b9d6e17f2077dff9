"""What needs no run: prompts, the schema, parts, the documentation."""

from __future__ import annotations

import json

from weft.config import schema


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
