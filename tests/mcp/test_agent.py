"""`weft agent` against a stand-in endpoint: a real HTTP server that says what a model would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.conftest import Server, apart, write_events
from weft.errors import ConfigError, RunError
from weft.mcp.agent import Endpoint, converse
from weft.mcp.functions import schemas
from weft.mcp.sandbox import Sandbox
from weft.mcp.server import KINDS


class StandIn:
    """A chat-completions endpoint that answers from a list, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stand_in.asked.append({"path": self.path, **body})
                stand_in.headers.append(dict(self.headers))
                answer = stand_in.answers.pop(0)
                code, text = answer if isinstance(answer, tuple) else (200, answer)
                data = (text if isinstance(text, str) else json.dumps(text)).encode()
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "http://127.0.0.1:1/stolen")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def calls(self, *calls: tuple[str, Any]) -> None:
        """Answer next with these tool calls."""
        made = [
            {
                "id": f"call-{len(self.answers)}-{i}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for i, (name, arguments) in enumerate(calls)
        ]
        self.answers.append({"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": made}}]})

    def says(self, text: str) -> None:
        """Answer next with text, and no call."""
        self.answers.append({"choices": [{"message": {"role": "assistant", "content": text}}]})

    @property
    def heard(self) -> list[str]:
        """What the model was told by tools, of its last request."""
        return [message["content"] for message in self.asked[-1]["messages"] if message["role"] == "tool"]


@pytest.fixture
def model() -> Iterator[StandIn]:
    stand_in = StandIn()
    yield stand_in
    stand_in.server.shutdown()
    stand_in.server.server_close()


def talk(server: Server, model: StandIn, confirm=lambda *_: True, **options: Any) -> str:
    return apart(converse, server.server, Endpoint(model.url, "m"), "jets, please", confirm, lambda _: None, **options)


def test_the_model_works_with_the_tools_until_it_is_done(server, model):
    model.calls(("list_presets", "{}"), ("validate_config", json.dumps({"config": "jets-demo"})))
    model.calls(("start_search", json.dumps({"config": "jets-demo", "dry_run": True})))
    model.says("done: 24 candidates")
    assert talk(server, model) == "done: 24 candidates"
    assert [request["path"] for request in model.asked] == ["/v1/chat/completions"] * 3
    assert [tool["function"]["name"] for tool in model.asked[0]["tools"]] == list(KINDS)
    assert model.asked[0]["messages"][1] == {"role": "user", "content": "jets, please"}
    assert "jets-demo" in model.heard[0]
    assert json.loads(model.heard[1])["valid"] is True
    assert "at most 24 candidates" in model.heard[2]
    ids = [m["tool_call_id"] for m in model.asked[-1]["messages"] if m["role"] == "tool"]
    assert ids == ["call-0-0", "call-0-1", "call-1-0"]


def test_a_costly_call_is_confirmed_and_not_made_when_it_is_declined(server, model):
    asked: list[str] = []

    def decline(tool: str, arguments: dict[str, Any]) -> bool:
        asked.append(tool)
        return False

    model.calls(("start_search", json.dumps({"config": "jets-demo"})), ("list_jobs", "{}"))
    model.says("as you wish")
    talk(server, model, decline)
    assert asked == ["start_search"]
    assert model.heard[0].startswith("The user declined this call")
    assert json.loads(model.heard[1])["jobs"] == []


def test_what_is_wrong_with_a_call_is_told_to_the_model(server, model):
    model.calls(("rm_rf", "{}"), ("list_jobs", "{broken"), ("list_jobs", "[1]"), ("get_pareto", '{"run": "../x"}'))
    model.says("sorry")
    talk(server, model)
    assert "there is no tool 'rm_rf'; the tools are get_capabilities" in model.heard[0]
    assert "its arguments are no JSON object" in model.heard[1]
    assert "the arguments must be one JSON object" in model.heard[2]
    assert model.heard[3].startswith("error: ") and "is no name of a run" in model.heard[3]


def test_a_model_without_an_end_is_stopped(server, model):
    for _ in range(3):
        model.calls(("list_jobs", "{}"))
    with pytest.raises(RunError, match=r"has not come to an end after 3 answers; jobs it started go on"):
        talk(server, model, max_turns=3)


def test_a_broken_endpoint_is_explained(server, model):
    for answer, message in (
        ((401, "no key"), r"/v1/chat/completions answered 401: no key; see --base-url, --model and the API key"),
        ((302, ""), r"answered 302"),
        ("<html>", r"answered no chat completion: <html>"),
        ({"choices": []}, r"answered no chat completion"),
        ({"choices": [{"message": "x"}]}, r"its message is no object"),
    ):
        model.answers.append(answer)
        with pytest.raises(RunError, match=message):
            talk(server, model)
    with pytest.raises(RunError, match=r"cannot reach http://127\.0\.0\.1:1/v1/chat/completions: .*see --base-url"):
        apart(converse, server.server, Endpoint("http://127.0.0.1:1/v1", "m"), "x", lambda *_: True, lambda _: None)


def test_a_key_is_not_sent_in_the_clear():
    with pytest.raises(ConfigError, match=r"an API key is not sent in the clear to example\.org; use https://"):
        Endpoint("http://example.org/v1", "m", "key")
    with pytest.raises(ConfigError, match=r"--base-url must be an http:// or https:// address; got 'file:///etc'"):
        Endpoint("file:///etc", "m")
    assert Endpoint("https://example.org/v1", "m", "key").key == "key"


def weft(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, "-m", "weft", *arguments]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def test_the_command_asks_nobody_and_so_starts_nothing(tmp_path: Path, model):
    write_events(tmp_path)
    model.calls(("start_search", json.dumps({"config": "jets-demo"})))
    model.says("nobody agreed")
    done = weft("agent", "go", "--base-url", model.url, "--model", "m", "--workspace", str(tmp_path),
                WEFT_AGENT_KEY="secret-key")  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "nobody agreed\n"), done.stderr
    assert "start_search: not confirmed, since nobody is at a terminal; --yes waives the question" in done.stderr
    assert "secret-key" not in done.stderr + done.stdout
    assert model.headers[0]["Authorization"] == "Bearer secret-key"
    assert model.asked[0]["model"] == "m"
    assert list((tmp_path / "runs" / ".weft" / "jobs").iterdir()) == []


def test_the_command_says_what_is_wrong(tmp_path):
    done = weft("agent", " ", "--base-url", "http://127.0.0.1:1", "--model", "m", "--workspace", str(tmp_path))
    assert done.returncode == 2
    assert "the prompt is empty; say what you want" in done.stderr
    done = weft("mcp", "--http", "8000", "--host", "0.0.0.0", "--workspace", str(tmp_path))
    assert done.returncode == 2
    assert "--host 0.0.0.0 can be reached from other machines" in done.stderr


def test_tools_as_function_calling_schemas(tmp_path):
    done = weft("mcp", "--tools-json", "--workspace", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(tmp_path.iterdir()) == []
    server = Server(Sandbox.of(tmp_path))
    assert found == schemas(server.with_client(lambda client: client.list_tools()).tools)
    assert [tool["function"]["name"] for tool in found] == list(KINDS)
    for tool in found:
        assert tool["type"] == "function"
        parameters = tool["function"]["parameters"]
        assert parameters["type"] == "object" and parameters["additionalProperties"] is False
        assert "$ref" not in json.dumps(parameters)
    search = next(tool["function"] for tool in found if tool["function"]["name"] == "start_search")
    assert search["parameters"]["required"] == ["config"]
    assert search["description"].endswith("Costly: asks for consent.")
