"""Jobs that outlive the server: a folder each, with what was asked, what came of it, and who works on it.

A job is commands of `weft`, each a process in a session of its own, with `weft.mcp.supervise` beside it. All that is
known of it is in its folder, so any server on the same write root can tell how far it is, and cancel it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import psutil

from weft import atomic
from weft.errors import AccessError, RunError
from weft.mcp import supervise

Status = Literal["queued", "running", "finished", "failed", "cancelled"]

ENDED: tuple[Status, ...] = ("finished", "failed", "cancelled")

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY", re.IGNORECASE)
_DROPPED = {"HDF5_PLUGIN_PATH", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONHOME", "OLDPWD"}

_STARTING_S = 20.0
"""How long a supervisor may take to say that it is there."""


@dataclass(frozen=True)
class Limits:
    """What the owner of the server lets jobs take.

    Attributes:
        concurrency: Jobs that run at a time; others wait.
        hours: Longest run of a job.
        memory_gib: Most resident memory of all processes of a job together.
        trials: Most candidates of a search.
        grace_s: Seconds from SIGINT to SIGKILL.
    """

    concurrency: int = 1
    hours: float = 12.0
    memory_gib: float = 16.0
    trials: int = 1000
    grace_s: float = 20.0


@dataclass(frozen=True)
class Job:
    """One job as its folder shows it now.

    Attributes:
        id: Its name.
        kind: What it does: search, compression, firmware, estimate, dataset.
        run: The run it works on; None for one that leaves nothing.
        status: As the folder and the process table say.
        created: Time of the call, in seconds since 1970.
        seconds: Wall time of its commands so far.
        stage: The stage that the command line is in, from its last line of progress.
        done: Steps of that stage so far.
        total: Steps of that stage.
        eta_s: The command line's own guess, for that stage.
        note: What the last line of progress says.
        reason: Why it failed or was cancelled.
        exit_code: Of the last command.
        peak_memory_gib: Most memory that its processes had together.
    """

    id: str
    kind: str
    run: str | None
    status: Status
    created: float
    seconds: float
    stage: str | None = None
    done: int | None = None
    total: int | None = None
    eta_s: float | None = None
    note: str = ""
    reason: str | None = None
    exit_code: int | None = None
    peak_memory_gib: float | None = None


class JobStore:
    """The jobs of a write root."""

    def __init__(self, state: Path, limits: Limits) -> None:
        self.limits = limits
        self._jobs, self._keys, self._slots = (state / name for name in ("jobs", "keys", "slots"))
        for folder in (self._jobs, self._keys, self._slots / "long", self._slots / "short"):
            folder.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        kind: str,
        commands: Sequence[Sequence[str]],
        cwd: Path,
        *,
        run: str | None = None,
        key: str | None = None,
        minutes: float | None = None,
        memory_gib: float | None = None,
        lane: Literal["long", "short"] = "long",
        about: str = "",
    ) -> tuple[Job, bool]:
        """Start a job and return it, and whether it is one that was started before with the same key.

        Args:
            kind: What it does, for people.
            commands: Arguments of `weft`, one list a command; each begins when the one before has succeeded.
            cwd: The folder that the commands run in.
            run: The run that it works on; only one job at a time does.
            key: Idempotency key: the same key and commands give the same job again.
            minutes: Longest run; by default and at most the owner's limit.
            memory_gib: Most memory; by default and at most the owner's limit.
            lane: A short job does not wait for long ones, only for another short one.
            about: What else makes this call another one, such as the state of what it reads.

        Raises:
            RunError: another job works on this run, or the key was used for something else.
            AccessError: a cap is beyond the owner's limit.
        """
        time_s = 60 * self._within(minutes, 60 * self.limits.hours, "max_minutes")
        memory = self._within(memory_gib, self.limits.memory_gib, "max_memory_gib")
        asked = _asked(kind, run, commands, about)
        before = self._of_key(key, asked)
        if before is not None:
            return before, True
        busy = next((job for job in self.active() if run is not None and job.run == run), None)
        if busy is not None:
            raise RunError(
                f"job {busy.id} ({busy.kind}, {busy.status}) works on run '{run}'; wait for it with wait_for_job, or "
                "cancel it with cancel_job"
            )
        name = f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        folder = self._jobs / name
        folder.mkdir()
        atomic.write_json(
            folder / "job.json",
            {
                "kind": kind,
                "run": run,
                "created": time.time(),
                "asked": asked,
                "commands": [[sys.executable, "-P", "-m", "weft", *command] for command in commands],
                "cwd": str(cwd),
                "env": environment(),
                "slots": str(self._slots / lane),
                "concurrency": self.limits.concurrency if lane == "long" else 1,
                "time_s": time_s,
                "memory_bytes": int(memory * (1 << 30)),
                "grace_s": self.limits.grace_s,
            },
        )
        os.chmod(folder / "job.json", 0o600)
        if key is not None and not self._take_key(key, name):  # another server was faster
            shutil.rmtree(folder)
            found = self._of_key(key, asked)
            assert found is not None
            return found, True
        _detach([sys.executable, "-P", str(Path(supervise.__file__)), str(folder)])
        return self.get(name), False

    def all(self, run: str | None = None, limit: int | None = None) -> list[Job]:
        """Return jobs, the newest first: those of a run, or of all; at most `limit`."""
        found: list[Job] = []
        for folder in self._folders():
            if run is None or atomic.read_json(folder / "job.json")["run"] == run:
                found.append(self.get(folder.name))
            if limit is not None and len(found) == limit:
                break
        return found

    def active(self) -> list[Job]:
        """Return the jobs that have not ended."""
        found = [self.get(folder.name) for folder in self._folders() if not (folder / "result.json").exists()]
        return [job for job in found if job.status not in ENDED]

    def unclaimed(self, kind: str, commands: Sequence[Sequence[str]], about: str) -> Job | None:
        """Return a job of these commands that is under way, or has succeeded and whose output nobody has taken."""
        asked = _asked(kind, None, commands, about)
        for folder in self._folders():
            if not (folder / "taken").exists() and atomic.read_json(folder / "job.json")["asked"] == asked:
                job = self.get(folder.name)
                if job.status not in ("failed", "cancelled"):
                    return job
        return None

    def _folders(self) -> list[Path]:
        found = [folder for folder in self._jobs.iterdir() if (folder / "job.json").exists()]
        return sorted(found, key=lambda folder: folder.name.partition("-")[2], reverse=True)

    def get(self, name: str) -> Job:
        """Return a job as it stands.

        Raises:
            RunError: there is none of this name.
        """
        folder = self.folder(name)
        asked = atomic.read_json(folder / "job.json")
        job = {"id": name, "kind": asked["kind"], "run": asked["run"], "created": asked["created"]}
        result = _read(folder / "result.json")
        progress = _last_progress(folder / "log")
        process, began = _read(folder / "process.json"), (_read(folder / "progress.json") or {}).get("began")
        if result is None and not _supervised(process, asked["created"]):
            result = _read(folder / "result.json") or self._lost(folder, process)  # it may have ended just now
        if result is not None:
            memory = result["peak_memory_bytes"] / (1 << 30)
            how = {"status": result["status"], "reason": result["reason"], "exit_code": result["exit_code"]}
            return Job(**job, **how, seconds=result["seconds"], peak_memory_gib=round(memory, 3), **progress)
        status: Status = "queued" if began is None else "running"
        return Job(**job, status=status, seconds=round(time.time() - began, 1) if began else 0.0, **progress)

    def cancel(self, name: str) -> Job:
        """Ask a job to stop, which takes a moment, and return it; one that has ended stays as it is."""
        job = self.get(name)
        if job.status not in ENDED:
            (self.folder(name) / "cancel").touch()
        return job

    def log(self, name: str, lines: int = 50) -> list[str]:
        """Return the last lines of a job's log, without lines of progress."""
        found = _tail(self.folder(name) / "log")
        return [line for line in found if not line.startswith('{"stage"')][-lines:]

    def output(self, name: str) -> Any:
        """Return what the last command of a job wrote to stdout, JSON; None where that is no JSON."""
        (self.folder(name) / "taken").touch()
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.folder(name) / "stdout").read_text())
        return None

    def error(self, name: str) -> str | None:
        """Return the error that the last command of a job told on stdout; None where it told none there."""
        said = self.output(name)
        return str(cast(dict[str, Any], said)["error"]) if isinstance(said, dict) and "error" in said else None

    def folder(self, name: str) -> Path:
        """Return the folder of a job.

        Raises:
            RunError: there is none of this name.
        """
        folder = self._jobs / name
        if not re.fullmatch(r"[a-z]+-\d{8}-\d{6}-[0-9a-f]{6}", name) or not (folder / "job.json").is_file():
            raise RunError(f"there is no job '{name[:80]}'; list_jobs shows those that there are")
        return folder

    def _within(self, asked: float | None, limit: float, name: str) -> float:
        if asked is None:
            return limit
        if not 0 < asked <= limit:
            raise AccessError(f"{name} must be > 0 and at most {limit:g}, the limit of this server; got {asked:g}")
        return asked

    def _of_key(self, key: str | None, asked: str) -> Job | None:
        path = None if key is None else self._key(key)
        if path is None or not path.exists():
            return None
        job = self.get(path.read_text())
        if atomic.read_json(self.folder(job.id) / "job.json")["asked"] != asked:
            raise RunError(f"idempotency_key '{key}' was used for another call, job {job.id}; take a new key")
        return job

    def _take_key(self, key: str, name: str) -> bool:
        temporary = self._keys / f".{name}"
        temporary.write_text(name)
        try:
            os.link(temporary, self._key(key))  # fails where there is one
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def _key(self, key: str) -> Path:
        return self._keys / hashlib.sha256(key.encode()).hexdigest()

    def _lost(self, folder: Path, process: Mapping[str, Any] | None) -> dict[str, Any]:
        """End what is left of a job whose supervisor was killed, and say so."""
        for pid, created in (process or {}).get("children", ()):
            with contextlib.suppress(psutil.Error):
                one = psutil.Process(int(pid))
                if abs(one.create_time() - created) < 1:
                    for below in one.children(recursive=True):
                        below.kill()
                    one.kill()
        result = {
            "status": "failed",
            "reason": "the process that watches over it was killed, or this machine was restarted; nothing finished is "
            "lost: start the same again to go on",
            "seconds": 0.0,
            "peak_memory_bytes": 0,
            "exit_code": None,
            "ended": time.time(),
        }
        atomic.write_json(folder / "result.json", result)
        return result


def _asked(kind: str, run: str | None, commands: Sequence[Sequence[str]], about: str) -> str:
    """Return what tells calls apart."""
    return hashlib.sha256(json.dumps([kind, run, [list(one) for one in commands], about]).encode()).hexdigest()


def environment() -> dict[str, str]:
    """Return the environment of a job: the server's, without what looks like a secret or has code run."""
    return {name: value for name, value in os.environ.items() if name not in _DROPPED and not _SECRET.search(name)}


def _detach(command: Sequence[str]) -> None:
    """Start a process that is nobody's child, so that none waits for it and it outlives this one."""
    start = (
        "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdin=-3, stdout=-3, stderr=-3, start_new_session=True)"
    )
    quiet = subprocess.DEVNULL
    subprocess.run([sys.executable, "-I", "-S", "-c", start, *command], check=True, timeout=30,
                   stdin=quiet, stdout=quiet, stderr=quiet)  # fmt: skip


def _supervised(process: Mapping[str, Any] | None, created: float) -> bool:
    """Return whether the supervisor of a job is there, or may still be about to begin."""
    if process is None:
        return time.time() - created < _STARTING_S
    try:
        found = psutil.Process(process["pid"])
        return abs(found.create_time() - process["created"]) < 1 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return cast(dict[str, Any], json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return None


def _tail(path: Path, size: int = 1 << 16) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []


def _last_progress(path: Path) -> dict[str, Any]:
    """Return the fields of `Job` that the last line of progress in a log has."""
    for line in reversed(_tail(path)):
        with contextlib.suppress(ValueError, AttributeError):
            found = json.loads(line) if line.startswith('{"stage"') else None
            if found is not None:
                note = str(found.get("note") or found.get("state") or "")[:200]
                return {
                    "stage": found["stage"], "done": found.get("done"), "total": found.get("total"),
                    "eta_s": found.get("eta_seconds"), "note": note,
                }  # fmt: skip
    return {}
