"""MLflow beside the run directory: one run for the whole, and one nested in it for each trial, compression and design.

The run directory stays where everything is. What MLflow shows is a copy, written as results come in; what it lacks,
because a process was killed or a server was away, is written the next time. MLflow is imported where tracking is on.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from weft import __version__, atomic
from weft.errors import BudgetError, ToolError, ToolNotFoundError
from weft.objectives import METRICS, OBJECTIVES
from weft.run.directory import CONFIG, ENVIRONMENT, REPORT, RESOLVED, SUMMARY

if TYPE_CHECKING:
    from weft.run.directory import Run
    from weft.search.results import TrialRecord

STORE, ARTIFACTS, NOTE = "mlflow.db", "mlartifacts", "tracking.json"
"""In the run directory: the default store, its files, and which of MLflow's runs is this one."""

_WHOLE = (CONFIG, RESOLVED, ENVIRONMENT, SUMMARY, REPORT, "trials.csv", "pareto.csv", "best.yaml")
"""What of the run directory itself goes along, where it is there."""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing leaves the machine unasked
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # training does not wait for minutes
}
"""How MLflow behaves, unless the user has said otherwise."""

Status = Literal["FINISHED", "FAILED", "KILLED"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """What one nested run of MLflow says.

    Attributes:
        name: Such as `trial 3`; an entry of the same name goes into the same run.
        params: What was chosen.
        quantities: What came of it, each with `value`, `unit`, `stage` and `source`.
        tags: Words about it.
        rows: Numbers by epoch or round.
        texts: Contents of files by name.
        files: Files by name in the artifacts.
        status: How it ended.
        seconds: How long it took.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    quantities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    status: Status = "FINISHED"
    seconds: float = 0.0

    @property
    def digest(self) -> str:
        """A hash of what it says, files left out: of trials off the front they do not stay."""
        said = [dict(self.params), {k: dict(v) for k, v in self.quantities.items()}, dict(self.tags), self.status]
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:16]


Put = Callable[[Entry], None]
"""Writes an entry, unless MLflow has it already."""


@contextlib.contextmanager
def tracked(run: Run) -> Iterator[Put]:
    """Open the MLflow run of a run directory and give the function that adds to it; without tracking it does nothing.

    A store that cannot be written any more stops the tracking with a warning, and nothing else.

    Raises:
        ToolNotFoundError: tracking is on, and MLflow is not installed.
        ToolError: the store or the server cannot be reached at the beginning.
    """
    if not run.experiment.tracking.mlflow:
        yield lambda entry: None
        return
    whole = _Whole(run)
    try:
        yield whole.put
    except BudgetError:  # a result like any other
        whole.close("FINISHED")
        raise
    except KeyboardInterrupt:
        whole.close("KILLED")
        raise
    except BaseException:
        whole.close("FAILED")
        raise
    whole.close("FINISHED")


def trial_entry(run: Run, trial: TrialRecord, params: Mapping[str, Any], texts: Mapping[str, str]) -> Entry:
    """Return what to say of a trial of a search or of a tuning.

    Args:
        run: Whose it is.
        trial: Finished.
        params: What was drawn.
        texts: Its own configuration, as files by name.
    """
    tags = {"weft.kind": "trial", "trial.key": trial.key, "trial.duplicate_of": trial.duplicate_of}
    tags |= {"trial.error_kind": trial.error_kind, "trial.reason": trial.reason}
    if trial.state == "complete":
        tags |= {"trial.feasible": str(trial.feasible).lower()}
    quantities = _measured({name: spread["mean"] for name, spread in trial.metrics.items()}, "validation")
    quantities |= {name: cost["quantity"] for name, cost in trial.costs.items()}
    stored = [run.path / path for path in trial.weights if path is not None and trial.duplicate_of is None]
    return Entry(
        name=f"trial {trial.number}",
        params=params,
        quantities=quantities,
        tags={name: str(value) for name, value in tags.items() if value is not None},
        rows=_rows(stored[0].with_name("trail.csv")) if stored else (),
        texts=texts,
        files={path.name if len(stored) == 1 else f"fold{fold}/{path.name}": path for fold, path in enumerate(stored)},
        status="FAILED" if trial.state == "failed" else "FINISHED",
        seconds=trial.seconds or 0.0,
    )


def entries(run: Run) -> Iterator[Entry]:
    """Give what the run directory holds of compressions and designs by now."""
    from weft.config.document import write

    section = run.experiment.compress.model_dump(mode="json", by_alias=True)
    for place in sorted((run.path / "compress").glob("trial-*")):
        if (place / "designs.json").exists():
            label = "-".join(place.name.split("-")[2:])  # trial-<number>-<label>
            mine = section["recipes"][label] if label else section
            yield Entry(
                name=f"compress {place.name}",
                params={**flat(mine, "compress"), "designs": ", ".join(atomic.read_json(place / "designs.json"))},
                tags={"weft.kind": "compression"},
                rows=_rows(place / "trail.csv"),
                texts={"compress.yaml": write({"compress": mine})},
                files=_there(place, "trail.csv"),
            )
    for design in run.designs():
        yield _design_entry(run, design)


def _design_entry(run: Run, design: Any) -> Entry:
    from weft.run.summary import describe

    said = describe(design)
    names = ("model.keras", "architecture.json", "training.json", "trail.csv", "metrics.json", "cost.json",
             "verification.json", "synthesis.json", "routing.json", "hls.json")  # fmt: skip
    quantities: dict[str, Any] = {}
    for split, part in (("test", said["metrics"]), ("validation", said["validation"])):
        measured = {name: entry["value"] for name, entry in part.items() if entry["value"] is not None}
        quantities |= {f"{split}.{name}": found for name, found in _measured(measured, split).items()}
    verdict = said["verification"]
    return Entry(
        name=f"design {design.id}",
        params={"trial": said["trial"], "recipe": said["recipe"], **flat(said["architecture"] or {}, "architecture")},
        quantities={**quantities, **said["cost"]},
        tags={"weft.kind": "design", "verification": verdict["status"] if verdict else "not run"},
        files=_there(design.path, *names),
    )


def overall(run: Run) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Return what the run as a whole came to, as quantities and as tags: its search, and its best design or trial."""
    path = run.path / SUMMARY
    summary = atomic.read_json(path) if path.exists() else {}
    found: dict[str, Mapping[str, Any]] = {}
    source = f"weft {__version__}"
    for name in ("trials", "failed", "evaluated", "front", "hypervolume"):
        if (value := (summary.get("search") or {}).get(name)) is not None:
            unit = "share of the box of this search" if name == "hypervolume" else "count"
            found[f"search.{name}"] = {"value": value, "unit": unit, "stage": "search", "source": source}
    if "seconds" in summary:
        found["seconds"] = {"value": summary["seconds"], "unit": "s", "stage": summary["status"], "source": source}
    best, where, split = _best(run, summary)
    if best is None:
        return found, {}
    measured = {name: one.get("value", one.get("mean")) for name, one in best["metrics"].items()}
    found |= {f"best.{name}": one for name, one in _measured(measured, split).items()}
    found |= {f"best.{name}": one for name, one in best["cost"].items()}
    return found, {"best": where}


def _best(run: Run, summary: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str, str]:
    """Return the best design by its first test metric, or of a tuning its best trial; its name; and the split."""
    if summary.get("best"):
        return summary["best"], f"trial {summary['best']['trial']}", "validation"
    designs = [one for one in summary.get("designs", ()) if one["metrics"]]
    if not designs:
        return None, "", ""
    name = next((one for one in run.experiment.search.objectives if one in designs[0]["metrics"]), None)
    name = name or next(iter(designs[0]["metrics"]))
    best = min(designs, key=lambda one: OBJECTIVES[name].loss(one["metrics"][name]["value"]))
    return best, f"design {best['id']}", "test"


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return nested mappings and lists as one mapping with dotted names."""
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if parts is None:
        return {name: value}
    return {k: v for key, inner in parts for k, v in flat(inner, f"{name}.{key}".strip(".")).items()}


def _measured(values: Mapping[str, float | None], split: str) -> dict[str, dict[str, Any]]:
    source = f"weft {__version__}"
    units = {name: OBJECTIVES[name].unit if name in OBJECTIVES else "" for name in values}
    return {
        name: {"value": value, "unit": units[name], "stage": split, "source": source} for name, value in values.items()
    }


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="") as lines:
        return list(csv.DictReader(lines))


def _there(directory: Path, *names: str) -> dict[str, Path]:
    return {name: directory / name for name in names if (directory / name).exists()}


@contextlib.contextmanager
def _figures(run: Run) -> Iterator[Path | None]:
    """Give a folder with the figures of a run: those of its report, or where there is none yet the fronts."""
    if (run.path / "figures").is_dir():
        yield run.path / "figures"
        return
    from weft.report.figures import draw_fronts, store
    from weft.search.study import SEARCH

    drawn = draw_fronts(run.path, SEARCH) or draw_fronts(run.path, "tune")
    with tempfile.TemporaryDirectory(prefix="weft-figures-") as place:
        store(drawn, Path(place))
        yield Path(place) if drawn else None


class _Whole:
    """The MLflow run of a run directory, and the runs nested in it."""

    def __init__(self, run: Run) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import mlflow
        except ImportError as error:
            raise ToolNotFoundError(
                "tracking.mlflow is on, but MLflow is not installed: pip install 'weft[mlflow]', or set "
                "tracking.mlflow: false; the run directory keeps everything"
            ) from error
        self._run, self._config = run, run.experiment.tracking
        self._uri = self._config.uri or f"sqlite:///{(run.path / STORE).absolute()}"
        self._works = True
        self._client = mlflow.MlflowClient(self._uri)
        try:
            self._experiment = self._find_experiment()
            self._id = self._find_run()
            self._nested = {one.data.tags.get("weft.entry", ""): one for one in self._search_nested()}
        except (mlflow.MlflowException, OSError) as error:
            raise ToolError(
                f"cannot track to '{self._uri}': {_first_line(error)}; see that it is there and may be written, or set "
                "tracking.mlflow: false; the run directory keeps everything"
            ) from error

    def put(self, entry: Entry) -> None:
        """Write an entry, unless it is there already."""
        known = self._nested.get(entry.name)
        if known is None or known.data.tags.get("weft.digest") != entry.digest:
            self._try(entry.name, lambda: self._write(entry, known))

    def close(self, status: Status) -> None:
        """Write what is about the whole run, and end it."""

        def end() -> None:
            quantities, tags = overall(self._run)
            self._quantities(self._id, quantities, tags)
            self._files(self._id, _there(self._run.path, *_WHOLE))
            with _figures(self._run) as folder:
                if folder is not None:
                    self._client.log_artifacts(self._id, str(folder), "figures")
            self._client.set_terminated(self._id, status)

        self._try("the run", end)

    def _try(self, what: str, write: Callable[[], None]) -> None:
        from mlflow import MlflowException

        if not self._works:
            return
        try:
            write()
        except (MlflowException, OSError) as error:
            self._works = False
            logger.warning(
                "%s was not tracked: %s; tracking stops here, the run goes on, and the same command writes what is "
                "missing in %s", what, _first_line(error), self._uri,
            )  # fmt: skip

    def _find_experiment(self) -> str:
        from mlflow import MlflowException

        name = self._config.experiment
        found = self._client.get_experiment_by_name(name)
        if found is None:
            file = re.fullmatch(r"sqlite:///(.+)", self._uri)
            place = (Path(file[1]).absolute().parent / ARTIFACTS).as_uri() if file else None
            try:
                return self._client.create_experiment(name, place)
            except MlflowException:  # another process was faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return found.experiment_id

    def _find_run(self) -> str:
        """Go on with the MLflow run that is noted in the run directory, or begin one and note it."""
        from mlflow import MlflowException

        note = self._run.path / NOTE
        noted = atomic.read_json(note) if note.exists() else {}
        if noted.get("uri") == self._uri:
            with contextlib.suppress(MlflowException):  # somebody has removed it
                if self._client.get_run(noted["run_id"]).info.lifecycle_stage == "active":
                    self._client.update_run(noted["run_id"], status="RUNNING")
                    return noted["run_id"]
        tags = {"weft.version": __version__, "weft.kind": "run", "weft.directory": str(self._run.path.absolute())}
        name = self._run.experiment.name
        begun: str = self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id
        self._log(begun, params=flat(self._run.experiment.model_dump(mode="json", by_alias=True)))
        atomic.write_json(note, {"uri": self._uri, "experiment": self._config.experiment, "run_id": begun})
        return begun

    def _search_nested(self) -> Iterator[Any]:
        token = None
        while True:
            wanted = f"tags.`mlflow.parentRunId` = '{self._id}'"
            page = self._client.search_runs([self._experiment], wanted, max_results=1000, page_token=token)
            yield from page
            if not (token := page.token):
                return

    def _write(self, entry: Entry, known: Any) -> None:
        now = int(1000 * time.time())
        if known is None:
            tags = {"mlflow.parentRunId": self._id, "weft.entry": entry.name}
            begun = now - int(1000 * entry.seconds)
            known = self._client.create_run(self._experiment, begun, tags, entry.name)
        number = known.info.run_id
        quantities = dict(entry.quantities)
        if entry.seconds:
            quantities["seconds"] = {"value": entry.seconds, "unit": "s"}
        self._log(number, entry.params)
        self._quantities(number, quantities, entry.tags)
        trail = [_numbers(row) for row in entry.rows]
        self._log(number, metrics=trail, tags=_said_of(trail), prefix="trail.")
        for name, text in entry.texts.items():
            self._client.log_text(number, text, name)
        self._files(number, entry.files)
        self._log(number, tags={"weft.digest": entry.digest})
        self._client.set_terminated(number, entry.status)
        self._nested[entry.name] = self._client.get_run(number)

    def _quantities(self, number: str, quantities: Mapping[str, Mapping[str, Any]], tags: Mapping[str, str]) -> None:
        """Write quantities as metrics, and what is known about each as tags."""
        values = {name: one["value"] for name, one in quantities.items() if one["value"] is not None}
        said = {
            f"{name}.{what}": str(one[what])
            for name, one in quantities.items()
            for what in ("unit", "stage", "source", "low", "high", "reason")
            if one.get(what) is not None
        }
        self._log(number, metrics=[values], tags={**tags, **said})

    def _files(self, number: str, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            if path.exists():
                self._client.log_artifact(number, str(path), str(Path(name).parent).strip("."))

    def _log(
        self,
        number: str,
        params: Mapping[str, Any] | None = None,
        metrics: Sequence[Mapping[str, float]] = (),
        tags: Mapping[str, str] | None = None,
        prefix: str = "",
    ) -> None:
        """Write parameters, metrics by step, and tags, in batches of the size that a server takes."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(1000 * time.time())
        points = [
            Metric(_key(prefix + name), float(value), now, step)
            for step, row in enumerate(metrics)
            for name, value in row.items()
        ]
        named = [Param(_key(name), str(value)[:6000]) for name, value in (params or {}).items()]
        words = [RunTag(_key(name), value[:5000]) for name, value in (tags or {}).items()]
        for start in range(0, max(len(points), len(named), len(words)), 100):
            part = slice(start, start + 100)
            self._client.log_batch(number, points[part], named[part], words[part])


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for name, text in row.items():
        with contextlib.suppress(TypeError, ValueError):
            found[name] = float(text)
    return found


def _said_of(trail: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Return units and stages of what a training logs: metrics are of validation rows, EBOPs of the last step."""
    names = dict.fromkeys(name for row in trail for name in row)
    units = {f"trail.{name}.unit": OBJECTIVES[name].unit if name in OBJECTIVES else "1" for name in names}
    return units | {f"trail.{name}.stage": "validation" if name in METRICS else "training" for name in names}


def _key(name: str) -> str:
    """Return a name as MLflow takes it."""
    return re.sub(r"[^\w\-./: ]", "_", name)[:250]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
