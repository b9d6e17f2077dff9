"""What tools answer: typed, short, and with every number saying what it is.

A number is never bare. It carries its unit, the stage it was obtained at and the source that gave it, and each answer
says in words what the stages that occur in it mean, so that an estimate cannot be read as a routed result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from weft.objectives import OBJECTIVES

Stage = Literal["validation", "test", "count", "predicted", "solver", "hls_report", "synthesis", "post_route"]

MEANING: dict[str, str] = {
    "validation": "measured on the validation rows, which the search has seen",
    "test": "measured on the test rows, after everything was decided",
    "count": "counted",
    "predicted": "ESTIMATE by a model; neither synthesised nor routed",
    "solver": "ESTIMATE from the adder graph of the actual weights; neither synthesised nor routed",
    "hls_report": "an HLS compiler's own estimate; neither synthesised nor routed",
    "synthesis": "counted by synthesis, before placement; not routed, so no proof of the clock",
    "post_route": "measured after place and route",
}
"""What each stage is, for a reader who does not know."""

LARGEST = 6000
"""Characters of an answer as JSON: 2 000 tokens of three characters or more."""


class Answer(BaseModel):
    """The base of all answers."""

    model_config = ConfigDict(extra="forbid")

    cut: str | None = Field(default=None, description="What was left out to keep the answer short, and where it is.")


class Number(BaseModel):
    """One number."""

    model_config = ConfigDict(extra="forbid")

    name: str
    value: float | None = Field(description="null: not known; then note says why")
    unit: str
    stage: Stage = Field(description="how it was obtained; 'meaning' of the answer says it in words")
    source: str = Field(description="the program or formula that gave it, with its version")
    low: float | None = Field(default=None, description="lower end of the interval")
    high: float | None = Field(default=None, description="upper end of the interval")
    note: str | None = None


class JobAnswer(Answer):
    """A job."""

    job_id: str | None = Field(description="null: a preview, nothing was started")
    kind: str
    run: str | None = Field(description="the run it works on; results are read by this name")
    status: Literal["preview", "queued", "running", "finished", "failed", "cancelled"]
    stage: str | None = None
    done: int | None = None
    total: int | None = None
    seconds: float = Field(default=0.0, description="wall time so far")
    eta_s: float | None = Field(default=None, description="guess for this stage alone; null: unknown")
    poll_after_s: float = Field(default=0.0, description="do not ask again before")
    repeated: bool = Field(default=False, description="this idempotency_key was seen: the job is the earlier one")
    message: str = ""
    cost: str | None = Field(default=None, description="what the job will do, in numbers that are known before it")
    log: list[str] = []
    next_step: str


class JobList(Answer):
    """Jobs, newest first."""

    jobs: list[JobAnswer]
    runs: list[str]


class Tool(BaseModel):
    """A program or library."""

    name: str
    found: str | None = Field(description="version or null")
    purpose: str
    without: str


class Capabilities(Answer):
    """What this server can do."""

    weft: str
    tools: list[Tool]
    missing: list[Tool]
    limits: dict[str, float]
    may: list[str]
    workspace: list[str] = Field(description="files of the workspace that hold data or experiments")
    runs: list[str]
    parts: list[str]
    boards: list[str]
    objectives: list[str]
    blocks: list[str]
    next_step: str


class Preset(BaseModel):
    """A name with what it is."""

    name: str
    description: str


class Presets(Answer):
    """Experiments and recipes to begin with."""

    experiments: list[Preset]
    recipes: list[Preset]
    text: str | None = None
    next_step: str


class DatasetAnswer(Answer):
    """A data set as an experiment reads it."""

    name: str
    source: str
    task: str
    input_shape: list[int]
    classes: list[str]
    rows: dict[str, int]
    sha256: str
    notes: list[str]
    next_step: str


class ConfigAnswer(Answer):
    """An experiment."""

    config: str = Field(description="its name: give it to start_search as config")
    valid: bool
    problems: list[str]
    understood: list[str] = Field(default=[], description="what was read, with units")
    not_understood: list[str] = Field(default=[], description="what was not read; nothing was guessed for it")
    yaml: str = ""
    next_step: str


class Trial(BaseModel):
    """A candidate on the front."""

    trial: int
    network: str
    feasible: bool
    seeds: int | None = None
    numbers: list[Number]


class Front(Answer):
    """The front of a search."""

    run: str
    trials: int
    failed: int
    evaluated: int
    front: int = Field(description="trials on the front; 'shown' may be fewer")
    shown: list[Trial]
    objectives: list[str]
    constraints: dict[str, str]
    search_seed: int
    test_rows_used: bool = Field(description="whether any number here is of the test rows")
    meaning: dict[str, str]
    next_step: str


class Picked(BaseModel):
    """A trial that was picked."""

    trial: int
    reason: str
    numbers: list[Number]


class SelectionAnswer(Answer):
    """What goes on to compression."""

    run: str
    picked: list[Picked]
    meaning: dict[str, str]
    next_step: str


class DesignAnswer(BaseModel):
    """A finished design."""

    design: str
    network: str
    verification: str = Field(description="whether model, adder graph and RTL are equal bit for bit")
    meets_budget: bool | None = Field(default=None, description="null: there is no budget, or a number is missing")
    budget_stages: list[str] = Field(default=[], description="stages of the numbers that meets_budget compares")
    numbers: list[Number]


class Comparison(Answer):
    """Designs side by side."""

    runs: list[str]
    designs: list[DesignAnswer]
    settings_that_differ: dict[str, dict[str, str]] = {}
    hypervolume: dict[str, float | None] = Field(
        default={},
        description="of each search, in one box, in [0, 1]; of validation metrics and costs of the search",
    )
    notes: list[str] = []
    meaning: dict[str, str]
    next_step: str


class EstimateAnswer(Answer):
    """The hardware cost of models, without synthesis."""

    part: str = ""
    clock_period_ns: float | None = None
    designs: dict[str, list[Number]]
    meaning: dict[str, str]
    job_id: str | None = Field(default=None, description="set where it takes longer: ask again with this id")
    next_step: str


class Failure(Answer):
    """Why something failed."""

    subject: str
    what: str
    reasons: dict[str, int] = Field(default={}, description="reasons of failed trials, and how many")
    log: list[str] = []
    next_step: str


def number(name: str, quantity: Mapping[str, Any]) -> Number:
    """Return a `weft.types.Quantity`, as it stands in a file, as a number."""
    kept = {key: quantity.get(key) for key in ("value", "unit", "stage", "source", "low", "high")}
    return Number.model_validate({"name": name, **kept, "note": quantity.get("reason")})


def metric(name: str, value: float | None, stage: Literal["validation", "test"], source: str, error: float | None,
           note: str | None = None) -> Number:  # fmt: skip
    """Return a metric as a number, with the interval of one standard error or deviation where there is one."""
    spec = OBJECTIVES.get(name)
    low, high = (None, None) if error is None or value is None else (value - error, value + error)
    return Number(name=name, value=value, unit="" if spec is None else spec.unit, stage=stage, source=source,
                  low=low, high=high, note=note)  # fmt: skip


def meaning(numbers: Iterable[Number]) -> dict[str, str]:
    """Return in words what the stages of these numbers are."""
    return {stage: MEANING[stage] for stage in dict.fromkeys(one.stage for one in numbers)}


def short(answer: Answer, where: str) -> Answer:
    """Return an answer that is no longer than `LARGEST`: the ends of its longest lists and texts are left out.

    Args:
        answer: Complete.
        where: Where the rest can be read, for `cut`.
    """
    data = answer.model_dump(mode="json")
    lost: dict[str, int] = {}
    while _size(data) > LARGEST - 200:
        path, value = max(_long(data, ()), key=lambda one: _size(one[1]), default=(("",), None))
        if value is None:
            break
        name, keep = str(path[0]), max(len(value) * 3 // 4, 1) if len(value) > 4 else len(value) - 1
        lost[name] = lost.get(name, 0) + len(value) - keep
        _put(data, path, value[:keep])
    if lost:
        data["cut"] = "left out: " + ", ".join(f"{count} of {name}" for name, count in lost.items()) + f"; {where}"
    return type(answer).model_validate(data)


def _long(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the lists and the long texts in an answer that can be shortened."""
    if isinstance(value, dict):
        for key, inner in cast(dict[str, Any], value).items():
            if key not in ("next_step", "meaning", "cut"):
                yield from _long(inner, (*path, key))
    elif isinstance(value, list):
        found = cast(list[Any], value)
        if found and path[-1:] != ("numbers",):
            yield path, found
        if len(found) == 1:  # what is in a list of one is shortened itself
            yield from _long(found[0], (*path, 0))
    elif isinstance(value, str) and len(value) > 400:
        yield path, value


def _put(data: Any, path: tuple[str | int, ...], value: Any) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


def _size(value: Any) -> int:
    import json

    return len(json.dumps(value))
