"""`weft estimate`: the hardware cost of a quantised model or of a run's designs, without synthesis."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli import _show
from weft.cli._app import Json, command, print_json
from weft.errors import ConfigError


@command
def estimate(
    model: Annotated[
        Path, typer.Argument(help="A .keras file of HGQ2 layers, a design directory, or a run directory.")
    ],
    part: Annotated[str | None, typer.Option("--part", help="The FPGA; by default the run's, or a VU13P.")] = None,
    clock_period_ns: Annotated[float | None, typer.Option("--clock", help="Clock period in ns.")] = None,
    as_json: Json = False,
) -> None:
    """Estimate LUT, FF, latency, EBOPs and more of actual weights; each number says its stage and source."""
    from weft.config import TargetConfig, find_part
    from weft.run import Run
    from weft.run.directory import RESOLVED

    run_directory = next((p for p in (model, *model.parents[:3]) if (p / RESOLVED).exists()), None)
    target = Run(run_directory).experiment.target if run_directory else TargetConfig()
    part = part or target.part
    find_part(part)
    clock = clock_period_ns or target.clock_period_ns
    found = {str(path): _estimate(path, part, clock) for path in _models(model)}
    if as_json:
        print_json(found)
        return
    for path, quantities in found.items():
        typer.echo(f"{path}: {part}, {clock:g} ns")
        rows = [{"quantity": name, **q} for name, q in quantities.items()]
        _show.trials(rows, ["quantity", "value", "low", "high", "unit", "stage", "source"])


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


def _estimate(path: Path, part: str, clock_period_ns: float) -> dict[str, Any]:
    from weft.cost import costs_of
    from weft.objectives import COSTS
    from weft.run.design import load_model

    costs = costs_of(load_model(path), (*COSTS, "ii_cycles"), part, clock_period_ns)
    return {name: quantity.model_dump(mode="json") for name, quantity in costs.items()}
