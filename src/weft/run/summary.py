"""`summary.json`: what other programs read of a run. The keys are stable; `schema` says their version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft import atomic
from weft.config import Part
from weft.lock import lock_owner
from weft.run.directory import DATA, SELECTION, SUMMARY, Design, Run

SCHEMA = 1

SOFTMAX_NOTE = (
    "The networks end in logits: the final softmax (or sigmoid) is cut. It does not change which class is largest, "
    "and its tables would cost more logic than the layer before it."
)


def summarize(run: Run, status: str, seconds: float) -> dict[str, Any]:
    """Return the summary of what a run directory holds by now, and write it to `summary.json`.

    Args:
        run: The run.
        status: `running`, `finished`, `interrupted` or `failed`.
        seconds: Wall time spent on the run so far, all attempts together.
    """
    summary = {**_contents(run), "status": status, "seconds": round(seconds, 3)}
    atomic.write_json(run.path / SUMMARY, summary)
    return summary


def status_of(run: Run) -> str:
    """Return `not begun`, `running`, `finished`, `interrupted` or `failed`, as a run stands now.

    A process that was killed could not write that it ended, and one that goes on with a run writes no summary before
    its first stage is done: there the lock and the log know better than the last summary.
    """
    path = run.path / SUMMARY
    said = str(atomic.read_json(path)["status"]) if path.exists() else "not begun"
    last = next((event for event in reversed(run.events()) if event["event"] != "selection"), {"event": ""})
    if lock_owner(run.path) is not None:
        begun = not last["event"] or (last["event"] == "stage" and last["name"] != "report")
        return "running" if begun else said  # the report is written last, when the summary is final
    return "interrupted" if said == "running" or (said == "not begun" and last["event"]) else said


def state_of(run: Run) -> dict[str, Any]:
    """Return the same for a run as it stands, and how far each stage is; nothing is written."""
    path = run.path / SUMMARY
    last = atomic.read_json(path) if path.exists() else {"seconds": 0.0}
    stages: dict[str, dict[str, Any]] = {}
    for event in run.events():
        if event["event"] == "stage":
            seconds = event.get("seconds")
            stages[event["name"]] = {"name": event["name"], "state": event["state"], "seconds": seconds}
    return {**_contents(run), "status": status_of(run), "seconds": last["seconds"], "stages": list(stages.values())}


def _contents(run: Run) -> dict[str, Any]:
    path, search = run.path / DATA, _search(run)
    designs = [describe(design) for design in run.designs()]
    return {
        "schema": SCHEMA,
        "name": run.experiment.name,
        "status": "",
        "seconds": 0.0,
        "data": atomic.read_json(path) if path.exists() else None,
        "search": search,
        "selection": atomic.read_json(run.path / SELECTION) if (run.path / SELECTION).exists() else [],
        "target": run.experiment.target.model_dump(mode="json"),
        "designs": designs,
        "notes": [*_doubts(search), *_strains(designs, run.experiment.target.capacity), SOFTMAX_NOTE],
    }


def describe(design: Design) -> dict[str, Any]:
    """Return one design as the summary shows it: each cost at the best stage there is, estimates beside it.

    What was routed on another chip than the target is no cost of the target: it stands apart, under `routing`.
    """
    training, metrics = design.read("training.json"), design.read("metrics.json") or {}
    estimated, synthesised = design.read("cost.json") or {}, design.read("synthesis.json") or {}
    verification, layers = design.read("verification.json"), design.read("layers.json")
    known = {name: one for name, one in synthesised.items() if one["value"] is not None or name not in estimated}
    return {
        "id": design.id,
        "trial": training["trial"],
        "recipe": training["recipe"],
        "architecture": design.read("architecture.json"),
        "metrics": {name: {**value, "split": "test"} for name, value in metrics.get("test", {}).items()},
        "validation": metrics.get("validation") or {name: {"value": v} for name, v in training["log"].items()},
        "cost": {**estimated, **known},
        "estimates": estimated,
        "routing": design.read("routing.json"),
        "hls": design.read("hls.json"),
        "verification": verification,
        **({"layers": layers} if layers else {}),
    }


def _doubts(search: dict[str, Any] | None) -> list[str]:
    """Return what makes a search worth less than it seems."""
    return [
        f"Objective '{name}' is {value:g} in all {search['evaluated']} networks that were evaluated, so it chose "
        "nothing: leave it out of search.objectives, or widen the space."
        for name, value in (search or {}).get("constant", {}).items()
        if search
    ]


def _strains(designs: Sequence[Mapping[str, Any]], part: Part) -> list[str]:
    """Return which designs are too large for the part, or for one super logic region of it."""
    return [
        f"Design '{design['id']}' {said} ({part.device}, {design['cost'][name]['stage']})."
        for design in designs
        for name, said in part.strain({name: one["value"] for name, one in design["cost"].items()}).items()
    ]


def _search(run: Run) -> dict[str, Any] | None:
    from weft.search.study import open_to_read

    if open_to_read(run.path) is None:
        return None
    from weft.search.results import read

    return read(run.path).summary()
