"""What all tools share: the sandbox, the jobs, and experiments by their name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from weft import atomic
from weft.config import Experiment, presets
from weft.errors import AccessError, RunError, WeftError
from weft.mcp import guard
from weft.mcp.contents import CONFIGS
from weft.mcp.jobs import ENDED, Job, JobStore
from weft.mcp.sandbox import NAME, Sandbox
from weft.run import Run

AT_ONCE_S = 45.0
"""How long a tool waits for a short job: many clients end a call after 60 s."""

_SHORT_MINUTES = 10.0


@dataclass(frozen=True)
class Desk:
    """One server's sandbox and jobs."""

    sandbox: Sandbox
    jobs: JobStore

    def text(self, config: str) -> tuple[str, str]:
        """Return the YAML of an experiment and its name in messages.

        Args:
            config: The text itself, a name that `keep` gave, a preset, or a YAML file in the workspace.
        """
        if "\n" in config or config.lstrip().startswith("{"):
            return config, "experiment.yaml"
        if NAME.fullmatch(config):
            kept = self.sandbox.state / "configs" / f"{config}.yaml"
            if kept.is_file() and not kept.is_symlink():
                return kept.read_text("utf-8"), config
            if config in presets():
                return (files("weft.config") / "presets" / f"{config}.yaml").read_text("utf-8"), f"preset {config}"
        if not config.lower().endswith(CONFIGS):
            known = ", ".join(presets())
            raise AccessError(
                f"'{config[:80]}' is no preset, no stored experiment and no .yaml file; presets: {known}; or give the "
                "YAML itself"
            )
        return self.sandbox.read_text(config), config

    def experiment(self, config: str, changes: Sequence[str] = ()) -> Experiment:
        """Return a checked experiment, see `text` and `weft.mcp.guard`."""
        text, source = self.text(config)
        found = guard.experiment(self.sandbox, text, source, changes)
        if found.search.trials > self.jobs.limits.trials:
            raise AccessError(
                f"search.trials: {found.search.trials} is more than this server's limit of {self.jobs.limits.trials}"
            )
        return found

    def keep(self, text: str, name: str) -> str:
        """Store the YAML of an experiment, and return the name that `text` takes."""
        found = f"{name[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        atomic.write_text(self.sandbox.state / "configs" / f"{found}.yaml", text)
        return found

    def resolved(self, experiment: Experiment) -> Path:
        """Write a checked experiment where a job reads it."""
        text = guard.text_of(experiment)
        path = self.sandbox.state / "resolved" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.yaml"
        if not path.exists():
            atomic.write_text(path, text)
        return path

    def run(self, name: str) -> Run:
        """Return a run that exists.

        Raises:
            RunError: there is none of this name.
        """
        path = self.sandbox.run(name)
        if name not in self.sandbox.runs():
            raise RunError(
                f"there is no run '{name}'; the runs are: {', '.join(self.sandbox.runs()[:20]) or 'none yet'}"
            )
        return Run(path)

    def checked_run(self, name: str) -> Run:
        """Return a run that a job may go on with: its experiment is checked like one that a caller gives."""
        run = self.run(name)
        guard.check(self.sandbox, run.experiment)
        return run

    def short(self, kind: str, commands: Sequence[Sequence[str]], about: str = "") -> Job:
        """Run commands that end soon, and return the job when it has ended or `AT_ONCE_S` is over.

        A call that is repeated gets the job of the first one, where that still runs or nobody has taken its output.
        """
        minutes = min(_SHORT_MINUTES, 60 * self.jobs.limits.hours)
        job = self.jobs.unclaimed(kind, commands, about)
        if job is None:
            job, _ = self.jobs.start(kind, commands, self.cwd(), minutes=minutes, lane="short", about=about)
        return self.wait(job.id, AT_ONCE_S)

    def wait(self, name: str, seconds: float) -> Job:
        """Wait until a job has ended or `seconds` are over."""
        until = time.monotonic() + seconds
        while (job := self.jobs.get(name)).status not in ENDED and time.monotonic() < until:
            time.sleep(0.1)
        return job

    def cwd(self) -> Path:
        """Return the folder that jobs run in: an empty one, or the workspace where its modules may be loaded."""
        if self.sandbox.allow_code:
            return self.sandbox.workspace
        place = self.sandbox.state / "empty"
        place.mkdir(exist_ok=True)
        return place

    def failure(self, job: Job) -> WeftError:
        """Return the error that a failed short job stands for."""
        return RunError(self.jobs.error(job.id) or job.reason or job.status)
