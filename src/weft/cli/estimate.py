"""`weft estimate`: the hardware cost of a quantised model, of a run's designs or of a network without weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import _show
from weft.cli._app import Json, command, print_json
from weft.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from weft.cost import FixedTarget, SideBySide
    from weft.space.architecture import Architecture


@command
def estimate(
    model: Annotated[
        Path,
        typer.Argument(
            help="A .keras file of HGQ2 layers, a QONNX file, a design or a run directory. Without weights: an "
            "architecture.json, or the widths of a network of dense layers, such as 16-64-32-5."
        ),
    ],
    part: Annotated[str | None, typer.Option("--part", help="The FPGA; by default the run's, or a VU13P.")] = None,
    clock_period_ns: Annotated[float | None, typer.Option("--clock", help="Clock period in ns.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help="A cost model to ask; repeat it for several. By default the run's."),
    ] = None,
    bits: Annotated[
        int | None, typer.Option("--bits", help="Without weights: the width of weights and activations, 1 to 24.")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option("--sparsity", help="Without weights: the share of zeros, 0 to 1; 0 if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Estimate LUT, FF, latency, EBOPs and more of actual weights; each number says its stage and source.

    Several cost models stand side by side; the first that gives a quantity is the one that decides. Where no weights
    exist yet, they are drawn at --bits and --sparsity, three times, and every number is a prediction.
    """
    from weft.config import CostConfig, TargetConfig, find_part
    from weft.cost import FixedTarget, how_drawn
    from weft.run import Run
    from weft.run.directory import RESOLVED

    run_directory = next((p for p in (model, *model.parents[:3]) if (p / RESOLVED).exists()), None)
    experiment = Run(run_directory).experiment if run_directory else None
    target = experiment.target if experiment else TargetConfig()
    part = part or target.part
    device = find_part(part)
    asked = FixedTarget(part, clock_period_ns or target.clock_period_ns)
    names = tuple(dict.fromkeys(models or (experiment.cost if experiment else CostConfig()).models))
    architecture, drawn = _without_weights(model, bits, sparsity), ""
    if architecture is not None and bits is not None:
        drawn = f", {how_drawn(bits, sparsity or 0.0)}"
        found = {str(model): _predict(architecture, asked, names, bits, sparsity or 0.0)}
    else:
        found = {str(path): _estimate(path, asked, names) for path in _models(model)}
    if as_json:
        every = {path: one.model_dump(mode="json") for path, one in found.items()}
        first = {
            path: {name: next(iter(q.values())) for name, q in one["quantities"].items()} for path, one in every.items()
        }
        print_json(every if models else first)
        return
    for path, one in found.items():
        typer.echo(f"{path}: {part}, {asked.clock_period_ns:g} ns{drawn}")
        rows = [
            {"quantity": name, "model": by, **quantity.model_dump(), "source": quantity.source.removesuffix(drawn)}
            for name, quantities in one.quantities.items()
            for by, quantity in quantities.items()
        ]
        _show.trials(rows, ["quantity", "model", "value", "low", "high", "unit", "stage", "source"])
        deciding = {name: next(iter(quantities.values())) for name, quantities in one.quantities.items()}
        for name, strain in device.strain({name: quantity.value for name, quantity in deciding.items()}).items():
            typer.echo(f"! {strain} ({device.device}, {deciding[name].stage})")
        for name, reason in one.refused.items():
            typer.echo(f"{name}: {reason}")
        for name, notes in one.notes.items():
            for note in notes:
                typer.echo(f"{name}: {note}")


def _without_weights(path: Path, bits: int | None, sparsity: float | None) -> Architecture | None:
    """Return the network that a file or a text describes, if that is all there is of it."""
    from weft.space.architecture import of_widths, read

    if path.suffix == ".json" and path.is_file():
        architecture = read(path)
    elif re.fullmatch(r"[\d-]+", str(path)) and not path.exists():
        architecture = of_widths(str(path))
    elif path.exists() and (bits is not None or sparsity is not None):
        raise ConfigError(f"--bits and --sparsity are for networks without weights, and {path} is none; leave them out")
    else:
        return None
    if bits is None:
        raise ConfigError(f"{path} has no weights yet: say by --bits how wide they are to be, as in --bits 6")
    return architecture


def _models(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / "model.keras").exists():
        return [path / "model.keras"]
    found = sorted((path / "designs").glob("*/model.keras"))
    if not found:
        raise ConfigError(
            f"nothing to estimate in {path}: give a .keras file, a design directory, a run with designs, an "
            "architecture.json, or widths such as 16-64-32-5"
        )
    return found


def _estimate(path: Path, target: FixedTarget, models: tuple[str, ...]) -> SideBySide:
    from weft.cost import CostInput, find, side_by_side
    from weft.run.design import load_model

    for name in models:
        find(name)
    return _answered(str(path), side_by_side(CostInput(load_model(path)), models, target))


def _predict(
    architecture: Architecture, target: FixedTarget, models: tuple[str, ...], bits: int, sparsity: float
) -> SideBySide:
    from weft.cost import find, sampled_side_by_side

    for name in models:
        find(name)
    found = sampled_side_by_side(architecture, models, target, bits=bits, sparsity=sparsity)
    return _answered(architecture.describe(), found)


def _answered(what: str, found: SideBySide) -> SideBySide:
    if not found.quantities:
        raise UnsupportedError(
            f"no cost model estimates {what}: "
            + "; ".join(f"{name}: {reason}" for name, reason in found.refused.items())
        )
    return found
