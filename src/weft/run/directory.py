"""The run directory: the only interface between commands. Every file in it appears whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weft import atomic
from weft.config import Experiment, dump, loads
from weft.errors import ConfigError, RunError
from weft.run.environment import environment

CONFIG, RESOLVED, ENVIRONMENT, LOG = "config.yaml", "config.resolved.yaml", "environment.json", "log.jsonl"
SUMMARY, REPORT, DATA, SELECTION = "summary.json", "report.html", "data.json", "selection.json"
NOTES = "notes.md"


class Design:
    """One design of a run: `designs/<id>/`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """The design's name, unique in its run."""
        return self.path.name

    @property
    def model(self) -> Path:
        """The finalised Keras model."""
        return self.path / "model.keras"

    @property
    def graph(self) -> Path:
        """The adder graph of the model."""
        return self.path / "graph.json.gz"

    @property
    def firmware(self) -> Path:
        """The firmware project."""
        return self.path / "firmware"

    @property
    def hls(self) -> Path:
        """The HLS project."""
        return self.path / "hls"

    def read(self, name: str) -> Any:
        """Return the contents of one of the design's JSON files, or None where that stage has not run."""
        path = self.path / name
        return atomic.read_json(path) if path.exists() else None

    def write(self, name: str, value: Any) -> None:
        """Write one of the design's JSON files."""
        atomic.write_json(self.path / name, value)


class Run:
    """A run directory that exists.

    Attributes:
        path: The directory.
        experiment: Its resolved configuration.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        config = self.path / RESOLVED
        if not config.exists():
            raise RunError(
                f"{self.path} is not a run directory: it has no {RESOLVED}; "
                f"begin a run with 'weft run EXPERIMENT --out {self.path}'"
            )
        self.experiment: Experiment = loads(config.read_text(), str(config), user_code=False)

    @classmethod
    def create(cls, path: Path | str, experiment: Experiment, source: str) -> Run:
        """Begin a run, or open the one that was begun here with the same configuration.

        Args:
            path: The directory; made where missing.
            experiment: Validated, with data paths resolved.
            source: The text that the user wrote, kept beside the resolved form.

        Raises:
            RunError: The directory holds a run of another configuration, or cannot be written.
        """
        path, text = Path(path), dump(experiment)
        resolved = path / RESOLVED
        if resolved.exists():
            changed = _differences(loads(resolved.read_text(), str(resolved), user_code=False), experiment)
            if changed:
                raise RunError(
                    f"{path} holds a run of another configuration; different are: {', '.join(changed)}. "
                    "Give another directory with --out, or remove this one"
                )
            run = cls(path)
            run.experiment = experiment  # equal but for how many workers there are, and for tracking
            return run
        try:
            path.mkdir(parents=True, exist_ok=True)
            atomic.write_text(path / CONFIG, source)
            atomic.write_json(path / ENVIRONMENT, environment())
            atomic.write_text(resolved, text)
        except OSError as error:
            raise RunError(
                f"cannot begin a run in {path}: {error.strerror}; give another directory with --out"
            ) from error
        return cls(path)

    def design(self, name: str) -> Design:
        """Return a design by id.

        Raises:
            RunError: There is none of this name.
        """
        design = Design(self.path / "designs" / name)
        if not design.model.exists():
            known = ", ".join(found.id for found in self.designs()) or "none yet"
            raise RunError(f"run {self.path} has no design '{name}'; it has: {known}")
        return design

    def designs(self) -> list[Design]:
        """Return all designs, by name."""
        root = self.path / "designs"
        found = sorted(root.iterdir()) if root.exists() else []
        return [Design(path) for path in found if (path / "model.keras").exists()]

    def note(self, text: str) -> None:
        """Add a paragraph to `notes.md`, with the day; the report shows it.

        Raises:
            ConfigError: There is nothing in it.
        """
        if not text.strip():
            raise ConfigError("the note is empty; write something, as in weft report RUN --note 'chosen for run 4'")
        path = self.path / NOTES
        before = f"{path.read_text().rstrip()}\n\n" if path.exists() else ""
        atomic.write_text(path, f"{before}**{datetime.now(UTC):%Y-%m-%d %H:%M} UTC**\n\n{text.strip()}\n")

    def log(self, event: str, **values: Any) -> None:
        """Append one event to `log.jsonl`."""
        line = json.dumps({"time": datetime.now(UTC).isoformat("T", "milliseconds"), "event": event, **values})
        descriptor = os.open(self.path / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)

    def events(self) -> list[dict[str, Any]]:
        """Return the events of `log.jsonl`; a line torn by a kill is left out."""
        path = self.path / LOG
        events = []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                events.append(json.loads(line))
            except ValueError:
                logging.getLogger(__name__).warning("%s: left out a damaged line: %.80s", path, line)
        return events


def _differences(before: Experiment, now: Experiment) -> list[str]:
    """Return the dotted names of the values that differ."""

    def flat(value: Any, name: str = "") -> dict[str, Any]:
        if isinstance(value, dict):
            return {k: v for key, inner in value.items() for k, v in flat(inner, f"{name}.{key}".strip(".")).items()}
        return {name: value}

    old, new = flat(before.model_dump(mode="json")), flat(now.model_dump(mode="json"))
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    free = re.compile(r"(search|tune)\.workers(\.|$)|tracking\.")
    return [name for name in changed if not free.match(name)]
