"""No way out of the sandbox: every trick we know is tried through the tools, and none gets in."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcp.shared.exceptions import MCPError

from tests.mcp.conftest import Server
from tests.mcp.escapes import CANARY, EXPERIMENT, ROWS, Escape, escapes, lay
from weft.config import schema
from weft.errors import AccessError
from weft.mcp import guard, sandbox
from weft.mcp.jobs import Limits, environment
from weft.mcp.sandbox import Sandbox


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return lay(tmp_path_factory.mktemp("escapes"))


@pytest.fixture(scope="module")
def trapped(places, tmp_path_factory):
    server = Server(Sandbox.of(places.workspace))
    runs, real = server.sandbox.write_root, tmp_path_factory.mktemp("real") / "run"
    for path in (real, runs / "run-with-link", places.outside):
        path.mkdir(exist_ok=True)
        (path / "config.yaml").write_text(f"# {CANARY}\n")
        (path / "config.resolved.yaml").write_text(EXPERIMENT.format(path="events.csv"))
    (runs / "linked-run").symlink_to(real)
    (runs / "run-with-link" / "summary.json").symlink_to(places.outside / "secret.csv")
    (server.sandbox.state / "calls.csv").write_text(ROWS)
    return server


def listing(root: Path) -> set[str]:
    return {str(path) for path in root.rglob("*") if ".weft" not in path.parts}


async def attempt(client: Any, one: Escape) -> tuple[bool, str]:
    """Return whether an escape was refused, and what was said."""
    if one.tool:
        result = await client.call_tool(one.tool, one.arguments)
        told = " ".join(part.text for part in result.content)
        refused = result.is_error or result.structured_content.get("valid") is False
        return refused and told != f"Error executing tool {one.tool}", told  # a crash is no refusal
    try:
        return False, str(await client.read_resource(one.arguments["uri"]))
    except (MCPError, ValueError) as error:
        return True, str(error)


def test_no_escape_gets_in(places, trapped, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(places.outside))
    monkeypatch.setenv("OLDPWD", str(places.outside))
    before, tried = listing(places.workspace.parent), list(escapes(places))
    assert len({(one.tool, str(one.arguments)) for one in tried}) == len(tried) >= 60

    async def attempts(client):
        got_in = []
        for one in tried:
            refused, told = await attempt(client, one)
            if not refused or CANARY in told:
                got_in.append((one.name, told))
        return got_in

    assert trapped.with_client(attempts) == []
    assert not places.mark.exists()
    assert listing(places.workspace.parent) == before
    assert trapped.ask("list_jobs")["jobs"] == []
    with capsys.disabled():
        print(f"\n{len(tried)} escapes tried, none got in")  # noqa: T201 - the count is a result


MESSAGES = {
    "path: absolute": r"lies outside of what may be read: the workspace, and the folders .* as --read",
    "path: upwards": r"holds '\.\.'; paths lead downwards only",
    "path: percent-encoded slash": r"is encoded; write the path in plain characters, with '/'",
    "path: http address": r"is an address; only files are read, by their path",
    "path: variable": r"holds '~' or '\$', which is not expanded here; write the path in full",
    "path: NUL": r"holds a control character",
    "path: link": r"it is a link, or lies behind one, and links are not followed",
    "path: linked folder": r"it lies behind a link or a file, where a folder should be",
    "path: hidden folder": r"leads through '\.hidden'; hidden files and folders are not read",
    "path: folder": r"folder\.csv is no ordinary file; name a file",
    "path: too long": r"is too long for a path",
    "path: device": r"does not end in \.npz, .*; nothing else is read here",
    "contents: up.npz": r"holds a member '\.\./\.\./up\.npy', whose name leads out of the archive",
    "contents: link.npz": r"link\.npz holds a link, 'x\.npy'",
    "contents: huge.npz": r"unpacks to \d+ bytes, far more than it is; that is no data",
    "contents: member.npz": r"holds 'y\.pkl', which is no array; write it with numpy\.savez",
    "contents: object.npz": r"'x\.npy' of object\.npz holds pickled objects, which run code when read; save numbers",
    "contents: pickle.npy": r"is no NumPy array; a pickle is never read",
    "contents: external.h5": r"'x' is a link to another file; copy its data in",
    "contents: virtual.h5": r"the values of 'x' lie in other files; copy them in",
    "model: lambda": r"holds a Lambda, which runs code of its own; use a layer of Keras, HGQ2 or weft",
    "model: system": r"holds 'os:system', which is no class of Keras, HGQ2 or weft",
    "model: member": r"whose name leads out of the archive",
    "yaml: aliases without end": r"stands for more than 50000 values, once its aliases are written out",
    "yaml: alias to itself": r"holds an alias to something that it is a part of; write it out",
    "yaml: larger than any": r"is longer than 262144 characters; no experiment is",
    "yaml: objective": r"search\.objectives\.1: names a function of your own, and this server runs none",
    "yaml: workers: a script": r"search\.workers: sends work or data to machines elsewhere; leave it out",
    "yaml: store of tracking": r"tracking\.uri: sends work or data to a tracking store elsewhere; leave it out",
    "yaml: tuned path": r"compress\.layers: tunes a path; paths are given once, and checked",
    "yaml: OpenML by number": r"loads data from OpenML, and this server uses no network",
    "yaml: warm start by a link": r"search\.warm_start\.0: linked-run is a link; runs lie in the write root themselves",
    "config: 'events.csv'": r"is no preset, no stored experiment and no \.yaml file; presets: ",
    "run of get_pareto: '..'": r"is no name of a run; it is letters, digits, '\.', '_' and '-', no path",
    "run of get_pareto: 'linked-run'": r"linked-run is a link; runs lie in the write root themselves",
    "run of get_pareto: 'run-with-link'": r"run-with-link holds a link, summary\.json; a run with links is not read",
    "job: '..'": r"there is no job '\.\.'; list_jobs shows those that there are",
}


def test_refusals_say_what_where_and_what_to_do(places, trapped):
    found = {one.name: one for one in escapes(places)}

    async def ask(client):
        return {name: (await attempt(client, found[name]))[1] for name in MESSAGES}

    told = trapped.with_client(ask)
    for name, message in MESSAGES.items():
        assert re.search(message, told[name]), (name, told[name])


def test_what_lies_outside_would_be_taken_if_it_could_be_reached(places):
    """The test above can fail."""
    inside = Server(Sandbox.of(places.outside))
    assert inside.ask("validate_config", config=EXPERIMENT.format(path="secret.csv"))["valid"]
    widened = Server(Sandbox.of(places.workspace, read_roots=(places.outside,)))
    assert widened.ask("validate_config", config=EXPERIMENT.format(path=places.outside / "secret.csv"))["valid"]
    text = EXPERIMENT.format(path="events.csv") + "search: {objectives: [accuracy, 'tests.mcp.escapes:cost']}\n"
    with_code = Server(Sandbox.of(places.workspace, allow_code=True))
    assert with_code.ask("validate_config", config=text)["valid"]
    with_network = Server(Sandbox.of(places.workspace, allow_network=True))
    assert with_network.ask("validate_config", config="version: 1\nname: try\ndata: {openml: 61}\n")["valid"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_put_in_place_between_check_and_use_is_never_followed(places, tmp_path, kind):
    """One thread swaps a file (or its folder) for a link as fast as it can, and another stages it."""
    work = tmp_path / "work"
    (work / "data").mkdir(parents=True)
    (work / "data" / "x.csv").write_text("inside\n")
    (places.outside / "x.csv").write_text(ROWS)
    box, stop = Sandbox.of(work), threading.Event()
    victim = work / "data" / "x.csv" if kind == "file" else work / "data"
    (work / "spare").symlink_to(places.outside / "x.csv" if kind == "file" else places.outside)

    def swap() -> None:
        while not stop.is_set():
            os.rename(victim, work / "aside")
            os.rename(work / "spare", victim)
            os.rename(victim, work / "spare")
            os.rename(work / "aside", victim)

    thread = threading.Thread(target=swap)
    thread.start()
    seen = {"inside": 0, "refused": 0}
    try:
        while seen["inside"] + seen["refused"] < 1000 or not all(seen.values()):
            try:
                text = box.stage("data/x.csv", (".csv",)).read_text()
            except AccessError:
                seen["refused"] += 1
            else:
                assert text == "inside\n"
                seen["inside"] += 1
    finally:
        stop.set()
        thread.join()
    (places.outside / "x.csv").unlink()


def test_what_a_job_reads_is_a_copy_that_later_changes_do_not_reach(tmp_path):
    (tmp_path / "x.csv").write_text(ROWS)
    box = Sandbox.of(tmp_path)
    staged = box.stage("x.csv", (".csv",))
    (tmp_path / "x.csv").unlink()
    (tmp_path / "x.csv").symlink_to("/etc/passwd")
    assert staged.read_text() == ROWS
    assert box.is_staged(staged)


def test_an_experiment_that_was_not_checked_starts_nothing(tmp_path):
    (tmp_path / "x.csv").write_text(ROWS)
    box = Sandbox.of(tmp_path)
    found = guard.experiment(box, EXPERIMENT.format(path="x.csv"))
    assert box.is_staged(found.data.files.all)
    files = found.data.files.model_copy(update={"all": Path("/etc/x.csv")})
    other = found.model_copy(update={"data": found.data.model_copy(update={"files": files})})
    with pytest.raises(AccessError, match=r"data\.files\.all: this path was not checked"):
        guard.check(box, other)


def test_every_path_in_the_configuration_is_known_to_the_guard():
    """A new field of type Path must be added to the guard; this fails until it is."""
    found = set()

    def walk(node: Any, name: str) -> None:
        if not isinstance(node, dict):
            return
        if node.get("format") in ("path", "file-path", "directory-path", "uri"):
            found.add(name)
        for kind in ("properties", "$defs"):
            for key, inner in node.get(kind, {}).items():
                walk(inner, key if kind == "properties" else name)
        for key in ("anyOf", "oneOf", "allOf"):
            for inner in node.get(key, ()):
                walk(inner, name)
        for key in ("items", "additionalProperties"):
            walk(node.get(key), name)

    walk(schema(), "")
    assert {"all", "train", "x", "y", "runs"} <= found
    assert found <= {field.rpartition(".")[2] for field in (*guard.FILES, *guard.RUNS)}


HARMLESS = {
    "decayed", "features", "label", "name", "only", "sample_weight", "skip", "student",  # of columns, layers, weights
    "keep_float",  # layers, too
    "tree",  # of a ROOT file, which is not read here
    "constraints", "experiment", "models", "part", "route_part",  # looked up, or parsed
    "high", "low", "parameters", "step", "values",  # choices, of arguments of builders and of tuned fields
    "account", "image", "interface", "job_extra_directives", "job_script_prologue", "memory", "queue", "walltime",
}  # fmt: skip
"""Names of free text that is no path, no code and no address; those of the last line are refused with the cluster."""


def test_every_free_text_of_the_configuration_was_looked_at():
    """Text without a list or a pattern of what it may be could be a path or code: here it is said that it is not."""
    found = set()

    def walk(node: Any, name: str) -> None:
        if not isinstance(node, dict):
            return
        if node.get("type") == "string" and not {"enum", "const", "pattern", "format"} & node.keys():
            found.add(name)
        for kind in ("properties", "$defs"):
            for key, inner in node.get(kind, {}).items():
                walk(inner, key)
        for key in ("anyOf", "oneOf", "allOf"):
            for inner in node.get(key, ()):
                walk(inner, name)
        for key in ("items", "additionalProperties"):
            walk(node.get(key), name)

    walk(schema(), "")
    guarded = {field.rpartition(".")[2] for field in (*guard.FILES, *guard.RUNS, *guard.PLACES)} | {*guard.CODE}
    assert guarded & found >= {"teacher", "builder", "function", "uri", "workers", "layers"}
    assert sorted(found - guarded) == sorted(HARMLESS), sorted(found - guarded)


def test_large_files_are_linked_and_small_ones_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "_COPIED", 1000)
    np.save(tmp_path / "large.npy", np.ones(1000))
    np.save(tmp_path / "small.npy", np.ones(10))
    box = Sandbox.of(tmp_path)
    assert box.stage("large.npy", (".npy",)).stat().st_ino == (tmp_path / "large.npy").stat().st_ino
    assert box.stage("small.npy", (".npy",)).stat().st_ino != (tmp_path / "small.npy").stat().st_ino


def test_a_root_must_exist(tmp_path):
    with pytest.raises(AccessError, match=r"nowhere is no folder; a workspace and every read root must exist"):
        Sandbox.of(tmp_path / "nowhere")


def test_jobs_do_not_get_secrets(monkeypatch):
    secret = {"AWS_SECRET_ACCESS_KEY", "WEFT_MCP_TOKEN", "OPENAI_API_KEY", "DB_PASSWORD", "HDF5_PLUGIN_PATH"}
    for name in secret:
        monkeypatch.setenv(name, "x")
    assert not secret & {*environment()}
    assert "PATH" in environment()


def test_messages_hold_no_absolute_paths(trapped, places):
    told = trapped.refused("inspect_dataset", data="missing.csv")
    assert "there is no such file in the workspace" in told
    assert str(places.workspace) not in told


def test_limits_are_the_owners(tmp_path):
    (tmp_path / "x.csv").write_text(ROWS)
    small = Server(Sandbox.of(tmp_path), Limits(trials=5, hours=0.5, memory_gib=1))
    many, few = (EXPERIMENT.format(path="x.csv") + f"search: {{trials: {n}}}\n" for n in (6, 5))
    assert "6 is more than this server's limit of 5" in small.refused("start_search", config=many)
    assert "limit of 5" in small.refused("start_search", config=few, trials=6)
    assert "max_minutes must be > 0 and at most 30" in small.refused("start_search", config=few, max_minutes=31)
    assert "max_memory_gib must be > 0 and at most 1" in small.refused("start_search", config=few, max_memory_gib=2)
    assert small.ask("list_jobs")["jobs"] == []
