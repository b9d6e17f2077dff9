"""Ways out of the sandbox, each a call that must be refused; the traps they need are laid in a workspace first.

Every trap would work if it were met: what lies outside is a sound data file, a sound model, a sound experiment.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

CANARY = "canary-7f3a"
ROWS = f"a,b,kind\n1,2,{CANARY}\n3,4,down\n5,6,{CANARY}\n"
EXPERIMENT = "version: 1\nname: try\ndata: {{files: {{all: {path}}}, label: kind}}\n"


@dataclass(frozen=True)
class Places:
    """The workspace, what lies outside, and where code that ran would leave a mark."""

    workspace: Path
    outside: Path
    mark: Path


@dataclass(frozen=True)
class Escape:
    """A call, or (without a tool) the reading of a resource, that must be refused."""

    name: str
    tool: str
    arguments: dict[str, Any]


def cost(design: Any, target: Any) -> float:
    """Return a cost; an objective of one's own, where these are allowed."""
    return 1.0


class Touch:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (open, (str(self.mark), "w"))


def lay(root: Path) -> Places:
    """Make a workspace with traps below `root`."""
    places = Places(root / "work", root / "outside", root / "mark")
    work, outside = places.workspace, places.outside
    for folder in (work / "sub", work / ".hidden", outside, root / "work-evil", work / "folder.csv"):
        folder.mkdir(parents=True)
    for folder in (outside, root / "work-evil"):
        (folder / "secret.csv").write_text(ROWS)
    for file in (work / "events.csv", work / ".hidden" / "x.csv"):
        file.write_text(ROWS)
    (outside / "secret.yaml").write_text(f"# {CANARY}\n" + EXPERIMENT.format(path="events.csv"))
    (outside / "layers.yaml").write_text(f"{CANARY}: {{}}\n")
    (work / ".hidden" / "e.yaml").write_text((outside / "secret.yaml").read_text())
    np.save(outside / "secret.npy", np.ones((3, 2)))
    np.save(work / "x.npy", np.ones((3, 2)))
    (work / "link.csv").symlink_to(outside / "secret.csv")
    (work / "chain.csv").symlink_to("link.csv")
    (work / "relative.csv").symlink_to("../outside/secret.csv")
    (work / "inward.csv").symlink_to("events.csv")
    (work / "linked").symlink_to(outside)
    (work / "sub" / "up").symlink_to("../..")
    (work / "link.yaml").symlink_to(outside / "secret.yaml")
    (work / "layers.yaml").symlink_to(outside / "layers.yaml")
    os.mkfifo(work / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(work)  # the path of a socket has to be short
        one.bind("socket.csv")
        os.chdir(here)
    _arrays(places)
    _hdf5(places)
    _models(places)
    return places


def _arrays(places: Places) -> None:
    work = places.workspace
    evil = np.array([Touch(places.mark), 1], dtype=object)
    np.save(work / "object.npy", evil, allow_pickle=True)
    np.savez(work / "object.npz", x=evil, y=np.ones(2))
    np.savez(work / "record.npz", x=np.zeros(2, dtype=[("a", "O"), ("b", "f4")]), y=np.ones(2))
    for name in ("pickle.npy", "pickle.pkl", "pickle.pt", "pickle.joblib"):
        (work / name).write_bytes(pickle.dumps(Touch(places.mark)))
    np.save(work / "good.npy", np.ones(4))
    good = (work / "good.npy").read_bytes()
    members = {"up.npz": "../../up.npy", "absolute.npz": "/tmp/absolute.npy", "back.npz": "..\\back.npy"}
    for name, member in members.items():
        with zipfile.ZipFile(work / name, "w") as archive:
            archive.writestr(member, good)
            archive.writestr("y.npy", good)
    with zipfile.ZipFile(work / "member.npz", "w") as archive:
        archive.writestr("x.npy", good)
        archive.writestr("y.pkl", pickle.dumps(Touch(places.mark)))
    with zipfile.ZipFile(work / "disguise.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Touch(places.mark)))
    with zipfile.ZipFile(work / "link.npz", "w") as archive:
        link = zipfile.ZipInfo("x.npy")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(places.outside / "secret.npy"))
    with zipfile.ZipFile(work / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("x.npy", good + bytes(40 << 20))  # packs 1000 to 1
        for i in range(4):
            archive.writestr(f"x{i}.npy", good + bytes(40 << 20))
    huge = bytearray((work / "bomb.npz").read_bytes())
    place = huge.rfind(b"PK\x01\x02")
    huge[place + 24 : place + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    (work / "huge.npz").write_bytes(bytes(huge))
    (work / "bomb.npz").unlink()
    (work / "good.npy").unlink()


def _hdf5(places: Places) -> None:
    work, outside = places.workspace, places.outside
    with h5py.File(outside / "secret.h5", "w") as file:
        file["x"], file["y"] = np.ones((3, 2)), np.arange(3)
    (outside / "raw.bin").write_bytes(np.ones(3).tobytes())
    layout = h5py.VirtualLayout(shape=(3, 2), dtype="f8")
    layout[...] = h5py.VirtualSource(str(outside / "secret.h5"), "x", shape=(3, 2))
    for name in ("external", "nested", "soft", "storage", "virtual", "deep"):
        with h5py.File(work / f"{name}.h5", "w") as file:
            file["y"] = np.arange(3)
            match name:
                case "external":
                    file["x"] = h5py.ExternalLink(str(outside / "secret.h5"), "/x")
                case "nested":
                    file.create_group("train")["x"] = h5py.ExternalLink("../outside/secret.h5", "/x")
                case "soft":
                    file["hop"] = h5py.ExternalLink(str(outside / "secret.h5"), "/")
                    file["x"] = h5py.SoftLink("/hop/x")
                case "storage":
                    file.create_dataset("x", (3,), "f8", external=[(str(outside / "raw.bin"), 0, 24)])
                case "virtual":
                    file.create_virtual_dataset("x", layout)
                case _:
                    file.create_group("a/b/c").create_virtual_dataset("x", layout)


def _models(places: Places) -> None:
    layer = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 2}, "registered_name": None}
    code = {"class_name": "__lambda__", "config": {"code": "eJw=", "defaults": None, "closure": None}}
    evil: dict[str, dict[str, Any]] = {
        "lambda": {**layer, "class_name": "Lambda", "config": {"function": code}},
        "bare": {**layer, "config": {"activation": code}},
        "system": {"module": "os", "class_name": "system", "config": {"command": f"touch {places.mark}"}},
        "popen": {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", str(places.mark)]}},
        "function": {"module": "builtins", "class_name": "function", "config": {"name": "eval"}},
        "getfile": {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://127.0.0.1/x"}},
        "private": {"module": "keras.src.utils.file_utils", "class_name": "get_file", "config": {}},
        "torch": {**layer, "class_name": "TorchModuleWrapper", "config": {"module": "x"}},
        "saved": {**layer, "class_name": "TFSMLayer", "config": {"filepath": "/etc"}},
        "custom": {"module": "builtins", "class_name": "Mine", "config": {}, "registered_name": "evil>Mine"},
        "prefix": {"module": "kerasx.layers", "class_name": "Dense", "config": {}},
        "disguised": {**layer, "registered_name": "weft>Lambda"},
    }
    weights = places.workspace / "weights.h5"
    with h5py.File(weights, "w") as file:
        file["layers"] = np.ones(2)
    model = {"module": "keras", "class_name": "Sequential"}
    contents = {key: [value] for key, value in evil.items()} | {"member": [layer], "weights": [layer]}
    for name, layers in contents.items():
        with zipfile.ZipFile(places.workspace / f"{name}.keras", "w") as archive:
            archive.writestr("config.json", json.dumps({**model, "config": {"layers": layers}}))
            archive.writestr("metadata.json", "{}")
            inner = places.workspace / ("external.h5" if name == "weights" else "weights.h5")
            archive.write(inner, "model.weights.h5")
            if name == "member":
                archive.writestr("assets/../../../up.txt", "x")
    weights.unlink()


def escapes(places: Places) -> Iterator[Escape]:
    """Yield every attempt."""
    for name, path in _paths(places).items():
        yield Escape(f"path: {name}", "validate_config", {"config": EXPERIMENT.format(path=json.dumps(path))})
    for name in ("secret.csv", "../outside/secret.csv", "link.csv", "linked/secret.csv", "pipe.csv"):
        path = str(places.outside / name) if name == "secret.csv" else name
        yield Escape(f"data: {name}", "inspect_dataset", {"data": path, "label": "kind"})
        yield Escape(f"draft: {name}", "draft_config", {"data": path, "label": "kind", "task": "classification"})
    for name in _bad_files(places):
        yield Escape(f"contents: {name}", "validate_config", {"config": EXPERIMENT.format(path=name)})
    for path in sorted(places.workspace.glob("*.keras")):
        yield Escape(f"model: {path.stem}", "estimate_hardware", {"model": path.name})
        text = _with(f"compress: {{recipe: hgq, distil: {{teacher: {path.name}}}}}")
        yield Escape(f"teacher: {path.stem}", "validate_config", {"config": text})
    for name, text in _yaml(places).items():
        yield Escape(f"yaml: {name}", "validate_config", {"config": text})
    for name in ("builder in a block", "objective", "workers: a script", "files: one of two"):
        yield Escape(f"started: {name}", "start_search", {"config": _yaml(places)[name]})
    for config in (
        "../outside/secret.yaml", str(places.outside / "secret.yaml"), "link.yaml", "linked/secret.yaml",
        ".hidden/e.yaml", "events.csv", "/etc/passwd", "~/secret.yaml", "pipe.yaml\0",
    ):  # fmt: skip
        yield Escape(f"config: {config!r}", "start_search", {"config": config})
    for run in (
        "../outside", str(places.outside), ".weft", "..", ".", "a/b", "a\\b", "a\0b", "-x", "%2e%2e", "linked-run",
        "run-with-link",
    ):  # fmt: skip
        for tool in ("get_pareto", "select_design", "start_compression"):
            yield Escape(f"run of {tool}: {run!r}", tool, {"run": run})
        yield Escape(f"runs: {run!r}", "compare_designs", {"runs": [run]})
    for run in ("../outside/new", "/tmp/weft-escape", ".weft", "a/../../b", "linked-run"):
        yield Escape(f"run of start_search: {run!r}", "start_search", {"config": _with(""), "run": run})
    for job in (
        "../../outside",
        "..",
        "search-20260101-000000-../..",
        "/etc/passwd",
        "search-20260101-000000-abcdef\0",
    ):
        yield Escape(f"job: {job!r}", "get_job", {"job_id": job, "log_lines": 50})
        yield Escape(f"cancel: {job!r}", "cancel_job", {"job_id": job})
    for uri in (
        "run://../config", "run://..%2Foutside/config", "run://%2e%2e/config", "run://.weft/config",
        "run://linked-run/config", "run://run-with-link/summary", "docs://..%2F..%2Fpyproject.toml",
        "docs://%2Fetc%2Fpasswd", "docs://../README", "job://..%2F..%2Fjobs/log",
        "run://x/figures/..%2F..%2Fsecret", "boards://..%2F..%2Fetc", "file:///etc/passwd",
    ):  # fmt: skip
        yield Escape(f"resource: {uri}", "", {"uri": uri})


def _paths(places: Places) -> dict[str, str]:
    outside, root = places.outside, places.workspace.parent
    return {
        "absolute": str(outside / "secret.csv"),
        "absolute, doubled slash": f"/{outside}/secret.csv",
        "absolute, through the workspace": f"{places.workspace}/../outside/secret.csv",
        "sibling with the same beginning": str(root / "work-evil" / "secret.csv"),
        "upwards": "../outside/secret.csv",
        "upwards from below": "sub/../../outside/secret.csv",
        "upwards with dots": "././../outside/./secret.csv",
        "upwards through a file": "events.csv/../../outside/secret.csv",
        "percent-encoded dots": "%2e%2e/outside/secret.csv",
        "percent-encoded slash": "..%2foutside%2fsecret.csv",
        "encoded twice": "%252e%252e/outside/secret.csv",
        "overlong UTF-8": "..%c0%afoutside%c0%afsecret.csv",
        "backslashes": "..\\outside\\secret.csv",
        "wide dots": "\uff0e\uff0e/outside/secret.csv",
        "wide slash": "..\u2215outside\u2215secret.csv",
        "file address": f"file://{outside}/secret.csv",
        "file address, short": f"file:{outside}/secret.csv",
        "http address": "http://127.0.0.1:1/secret.csv",
        "object store": "s3://bucket/secret.csv",
        "remote": "root://eos//secret.csv",
        "home": "~/secret.csv",
        "another's home": "~root/secret.csv",
        "variable": "$HOME/secret.csv",
        "variable in braces": "${HOME}/secret.csv",
        "variable within": "sub/$OLDPWD/secret.csv",
        "command": "$(cat secret).csv",
        "NUL": f"{outside}/secret.csv\0.csv",
        "NUL before a path": "events.csv\0/../../outside/secret.csv",
        "line break": "events\n.csv",
        "escape sequence": "\x1b[2Jevents.csv",
        "link": "link.csv",
        "link to a link": "chain.csv",
        "relative link": "relative.csv",
        "link that stays inside": "inward.csv",
        "linked folder": "linked/secret.csv",
        "link upwards, then down": "sub/up/outside/secret.csv",
        "hidden folder": ".hidden/x.csv",
        "the server's own folder": "runs/.weft/calls.csv",
        "root by /proc": f"/proc/self/root{outside}/secret.csv",
        "folder by /proc": "/proc/self/cwd/secret.csv",
        "environment": "/proc/self/environ",
        "descriptor": "/dev/fd/0",
        "device": "/dev/zero",
        "named pipe": "pipe.csv",
        "socket": "socket.csv",
        "folder": "folder.csv",
        "nothing": "",
        "too long": "a/" * 600 + "x.csv",
    }


def _bad_files(places: Places) -> Iterator[str]:
    found = (
        "*.npz",
        "external.h5",
        "nested.h5",
        "soft.h5",
        "storage.h5",
        "virtual.h5",
        "deep.h5",
        "object.npy",
        "pickle.*",
    )
    for pattern in found:
        yield from sorted(path.name for path in places.workspace.glob(pattern))


def _with(line: str) -> str:
    return EXPERIMENT.format(path="events.csv") + line + "\n"


def _yaml(places: Places) -> dict[str, str]:
    outside, mark = places.outside, places.mark
    run, head = f"touch {mark}", "version: 1\nname: try\n"
    doubled = zip("abcdefgh", "bcdefghi", strict=True)
    return {
        "tag that calls": f"{head}data: !!python/object/apply:os.system ['{run}']\n",
        "tag that makes": f"{head}data: !!python/object/new:subprocess.Popen [['touch', '{mark}']]\n",
        "tag that names": f"{head}data: !!python/name:os.system ''\n",
        "tag that imports": f"{head}data: !!python/module:os ''\n",
        "tag that includes": f"{head}data: !include {outside}/secret.yaml\n",
        "tag of bytes": f"{head}data: {{files: {{all: !!binary L2V0Yy9wYXNzd2Q=}}}}\n",
        "tag of one's own": f"{head}data: {{files: {{all: !path '{outside}/secret.csv'}}}}\n",
        "path by an alias": f"x: &p ../outside/secret.csv\n{head}data: {{files: {{all: *p}}, label: kind}}\n",
        "path by a merge": f"{head}data:\n  files:\n    <<: {{all: {outside}/secret.csv}}\n  label: kind\n",
        "aliases without end": head
        + "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in doubled),
        "alias to itself": head + "data: &a {files: *a}\n",
        "nested without end": head + "data: " + "[" * 4000 + "]" * 4000 + "\n",
        "files: one of two": f"{head}data: {{files: {{train: events.csv, test: {outside}/secret.csv}}, label: kind}}\n",
        "files: a pair": f"{head}data: {{files: {{all: {{x: x.npy, y: {outside}/secret.npy}}}}}}\n",
        "files: a pair, upwards": f"{head}data: {{files: {{train: {{x: ../outside/secret.npy, y: x.npy}}}}}}\n",
        "settings of layers": _with(f"compress: {{recipe: hgq, layers: {outside}/layers.yaml}}"),
        "settings of layers by a link": _with("compress: {recipe: hgq, layers: layers.yaml}"),
        "settings of layers, home": _with("compress: {recipe: hgq, layers: ~/layers.yaml}"),
        "settings of layers of one of several": _with(
            f"compress: {{recipe: several, recipes: {{a: {{recipe: hgq, layers: {outside}/layers.yaml}}}}}}"
        ),
        "settings of layers of a step": _with(
            f"compress: {{recipe: steps, steps: [hgq, {{recipe: fixed, layers: {outside}/layers.yaml}}]}}"
        ),
        "teacher of a step of one of several": _with(
            "compress: {recipe: several, recipes: {a: {recipe: steps, steps: [hgq, {recipe: fixed, "
            f"distil: {{teacher: {outside}/t.keras}}}}]}}}}}}"
        ),
        "teacher outside": _with(f"compress: {{recipe: hgq, distil: {{teacher: {outside}/t.keras}}}}"),
        "warm start outside": _with(f"search: {{warm_start: [{outside}]}}"),
        "warm start upwards": _with("search: {warm_start: {runs: [../outside]}}"),
        "warm start by a link": _with("search: {warm_start: [linked-run]}"),
        "builder in a block": _with("space: {blocks: [{type: custom, builder: 'os:system'}]}"),
        "builder in a baseline": _with("search: {baselines: [{blocks: [{type: custom, builder: 'os:system'}]}]}"),
        "objective": _with("search: {objectives: [accuracy, 'os:system']}"),
        "objective, spelled out": _with("search: {objectives: [accuracy, {function: 'os:system'}]}"),
        "objective with a unit": _with("search: {objectives: [accuracy, 'os:system max [pJ]']}"),
        "constraint": _with("search: {constraints: {'os:system': '<= 1'}}"),
        "rule of selection": _with("select: {rule: cheapest, cost: 'os:system'}"),
        "order of selection": _with("select: {rule: lexicographic, order: ['os:system']}"),
        "bound of selection": _with("select: {constraints: {'os:system': '<= 1'}}"),
        "tuned objective": _with("tune: {objectives: [accuracy, 'os:system'], parameters: {compress.epochs: [1, 2]}}"),
        "tuned path": _with(f"tune: {{parameters: {{compress.layers: ['{outside}/layers.yaml']}}}}"),
        "tuned path of one of several": _with(
            f"compress: {{recipe: several, recipes: {{a: hgq}}}}\n"
            f"tune: {{parameters: {{compress.recipes.a.layers: ['{outside}/layers.yaml']}}}}"
        ),
        "tuned path in quotes": _with(f"tune: {{parameters: {{'compress.\"layers\"': ['{outside}/layers.yaml']}}}}"),
        "tuned teacher": _with(f"tune: {{parameters: {{compress.distil.teacher: ['{outside}/t.keras']}}}}"),
        "store of tracking": _with(f"tracking: {{mlflow: true, uri: 'sqlite:///{mark}'}}"),
        "server of tracking": _with("tracking: {mlflow: true, uri: 'http://127.0.0.1:1'}"),
        "workers: a script": _with(f"search: {{workers: {{cluster: slurm, jobs: 1, job_script_prologue: ['{run}']}}}}"),
        "workers: elsewhere": _with("search: {workers: 'dask://127.0.0.1:1'}"),
        "workers: options": _with(f"search: {{workers: {{cluster: local, jobs: 1, options: {{preload: '{mark}'}}}}}}"),
        "tuning elsewhere": _with("tune: {workers: 'dask://127.0.0.1:1', parameters: {compress.epochs: [1, 2]}}"),
        "OpenML by number": f"{head}data: {{openml: 61}}\n",
        "OpenML by name": f"{head}data: {{name: 'openml:61'}}\n",
        "name that is a path": "version: 1\nname: ../../x\ndata: {files: {all: events.csv}, label: kind}\n",
        "larger than any": "# " + "x" * 300_000 + "\n" + _with(""),
    }
