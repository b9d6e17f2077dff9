"""`weft estimate`: the hardware cost of a quantised model or of a run's designs, without synthesis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import _show
from weft.cli._app import Json, command, print_json
from weft.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from weft.cost import FixedTarget, SideBySide


@command
def estimate(
    model: Annotated[
        Path, typer.Argument(help="A .keras file of HGQ2 layers, a QONNX file, a design or a run directory.")
    ],
    part: Annotated[str | None, typer.Option("--part", help="The FPGA; by default the run's, or a VU13P.")] = None,
    clock_period_ns: Annotated[float | None, typer.Option("--clock", help="Clock period in ns.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="A cost model to ask; repeat it for several. By default the run's."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Estimate LUT, FF, latency, EBOPs and more of actual weights; each number says its stage and source.

    Several cost models stand side by side; the first that gives a quantity is the one that decides.
    """
    from weft.config import CostConfig, TargetConfig, find_part
    from weft.cost import FixedTarget
    from weft.run import Run
    from weft.run.directory import RESOLVED

    run_directory = next((p for p in (model, *model.parents[:3]) if (p / RESOLVED).exists()), None)
    experiment = Run(run_directory).experiment if run_directory else None
    target = experiment.target if experiment else TargetConfig()
    part = part or target.part
    find_part(part)
    asked = FixedTarget(part, clock_period_ns or target.clock_period_ns)
    names = tuple(dict.fromkeys(models or (experiment.cost if experiment else CostConfig()).models))
    found = {str(path): _estimate(path, asked, names) for path in _models(model)}
    if as_json:
        every = {path: one.model_dump(mode="json") for path, one in found.items()}
        first = {
            path: {name: next(iter(q.values())) for name, q in one["quantities"].items()} for path, one in every.items()
        }
        print_json(every if models else first)
        return
    for path, one in found.items():
        typer.echo(f"{path}: {part}, {asked.clock_period_ns:g} ns")
        rows = [
            {"quantity": name, "model": by, **quantity.model_dump(mode="json")}
            for name, quantities in one.quantities.items()
            for by, quantity in quantities.items()
        ]
        _show.trials(rows, ["quantity", "model", "value", "low", "high", "unit", "stage", "source"])
        for name, reason in one.refused.items():
            typer.echo(f"{name}: {reason}")
        for name, notes in one.notes.items():
            for note in notes:
                typer.echo(f"{name}: {note}")


def _models(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / "model.keras").exists():
        return [path / "model.keras"]
    found = sorted((path / "designs").glob("*/model.keras"))
    if not found:
        raise ConfigError(
            f"nothing to estimate in {path}: give a .keras file, a design directory or a run with designs"
        )
    return found


def _estimate(path: Path, target: FixedTarget, models: tuple[str, ...]) -> SideBySide:
    from weft.cost import CostInput, find, side_by_side
    from weft.run.design import load_model

    for name in models:
        find(name)
    design = CostInput(load_model(path))
    found = side_by_side(design, models, target)
    if not found.quantities:
        raise UnsupportedError(
            f"no cost model estimates {path}: "
            + "; ".join(f"{name}: {reason}" for name, reason in found.refused.items())
        )
    return found
