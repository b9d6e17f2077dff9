"""One table of a run's designs: what was estimated, solved, synthesised, routed and simulated, side by side.

A row is one quantity of one stage and one source, a column is a design. Nothing is chosen: what two sources give has
two rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from weft import atomic
from weft.config import Experiment, HlsConfig
from weft.run.directory import Design, Run
from weft.types import Quantity, Stage

LEVELS = ("adder_graph", "rtl", "hls_csim")
"""The levels that a design has beside its model; those that were not run are named, too."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Record):
    """One quantity of one stage and source; `values` are by design, and hold those that have it."""

    quantity: str
    unit: str
    stage: Stage
    source: str
    values: dict[str, Quantity]

    @property
    def notes(self) -> list[str]:
        """What is to be known about the quantity: what all values say alike, and why one is missing."""
        said = [one.reason for one in self.values.values()]
        missing = [one.reason for one in self.values.values() if one.value is None]
        return [note for note in dict.fromkeys(missing if len(set(said)) > 1 else said) if note]


class Verdict(_Record):
    """How one level of one design compares with the level before it; `reason` says why where it was not run.

    Attributes:
        cycles: The latency that the simulation shows, where it has a clock.
    """

    status: Literal["exact", "mismatch", "not run"]
    samples: int = 0
    mismatches: int = 0
    cycles: int | None = None
    reason: str | None = None


class Level(_Record):
    """One level of verification, and what computes it; `values` are by design, one for each."""

    level: str
    source: str
    values: dict[str, Verdict]


class Comparison(_Record):
    """All designs of a run; of the part and the clock that they were made for.

    Attributes:
        metrics: Of the test rows: name to `{"value", "error"}` by design.
    """

    name: str
    part: str
    clock_period_ns: float
    designs: tuple[str, ...]
    metrics: dict[str, dict[str, dict[str, Any]]]
    rows: tuple[Row, ...]
    levels: tuple[Level, ...]


def complete(experiment: Experiment) -> Experiment:
    """Return an experiment that measures designs in every way that needs no vendor's tool, and in those it asks for."""
    firmware = experiment.firmware
    asked = {
        "hls": firmware.hls or HlsConfig(),
        "synth": "yosys" if firmware.synth == "none" else firmware.synth,
        "route": "nextpnr" if firmware.route == "none" else firmware.route,
    }
    return experiment.model_copy(update={"firmware": firmware.model_copy(update=asked)})


def compare(run: Run) -> Comparison:
    """Return what the run directory holds about its designs."""
    designs, target = run.designs(), run.experiment.target
    rows: dict[tuple[str, str, str, str], dict[str, Quantity]] = {}
    metrics: dict[str, dict[str, dict[str, Any]]] = {}
    for design in designs:
        for name, found in _quantities(design):
            one = Quantity.model_validate(found)
            rows.setdefault((name, one.unit, one.stage, one.source), {})[design.id] = one
        for name, value in (design.read("metrics.json") or {}).get("test", {}).items():
            metrics.setdefault(name, {})[design.id] = {"value": value["value"], "error": value.get("error")}
    names = list(dict.fromkeys(name for name, *_ in rows))
    stages = get_args(Stage)
    ordered = sorted(rows.items(), key=lambda item: (names.index(item[0][0]), stages.index(item[0][2])))
    verdicts = {design.id: _verdicts(design) for design in designs}
    levels = dict.fromkeys([*LEVELS, *(level for found in verdicts.values() for level in found)])
    unknown = Verdict(status="not run", reason="not verified at this level yet")
    return Comparison(
        name=run.experiment.name,
        part=target.part,
        clock_period_ns=target.clock_period_ns,
        designs=tuple(design.id for design in designs),
        metrics=metrics,
        rows=tuple(
            Row.model_validate(
                {**dict(zip(("quantity", "unit", "stage", "source"), key, strict=True)), "values": found}
            )
            for key, found in ordered
        ),
        levels=tuple(
            Level(
                level=level,
                source=_tool(level, designs),
                values={name: found.get(level, unknown) for name, found in verdicts.items()},
            )
            for level in levels
        ),
    )


def _quantities(design: Design) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every quantity of a design by name, from all files that hold some."""
    estimates = design.read("estimates.json") or {"quantities": {}}
    for name, by_model in estimates["quantities"].items():
        yield from ((name, one) for one in by_model.values())
    hls = design.read("hls.json") or {"estimates": {}, "quantities": {}}
    made = design.read("synthesis.json"), design.read("routing.json")
    for found in (hls["estimates"], *hls["quantities"].values(), *made):
        yield from (found or {}).items()


def _verdicts(design: Design) -> dict[str, Verdict]:
    """Return how each level of a design compares with the one that it was compared with."""
    found = design.read("verification.json")
    if found is None:
        return {}
    cycles = (found.get("latency_cycles") or {}).get("measured")
    verdicts = {level: Verdict(status="not run", reason=reason) for level, reason in found.get("skipped", {}).items()}
    for pair in found["pairs"]:
        level, wrong = pair["levels"][1], pair["mismatches"]
        verdicts[level] = Verdict(
            status="mismatch" if wrong else "exact",
            samples=found["samples"],
            mismatches=wrong,
            cycles=cycles if level == "rtl" else None,
        )
    return verdicts


def _tool(level: str, designs: Sequence[Design]) -> str:
    """Return what computes a level, as the first design says that has it."""
    if level == "keras":
        return "finalised model"
    for design in designs:
        path, hls = design.firmware / "project.json", (design.read("hls.json") or {}).get("project")
        if level == "hls_csim" and hls:
            return f"{hls['compiler']} for {hls['backend']}, strategy {hls['strategy']}, in g++"
        if level in ("adder_graph", "rtl") and path.exists():
            project = atomic.read_json(path)
            written = {"adder_graph": project["compiler"], "rtl": f"{project.get('language', 'verilog')} in Verilator"}
            return written[level]
    return "not run"
