"""`weft verify`: prove that the levels of a run's designs, of one design or of any quantised model are equal."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli._app import Json, command, print_json
from weft.cli.stages import show, stage
from weft.errors import ConfigError, VerificationError


@command
def verify(
    design: Annotated[
        Path, typer.Argument(help="A run directory, a design directory, or a .keras file of quantised layers.")
    ],
    data: Annotated[
        Path | None, typer.Option("--data", help="Real inputs: an .npy file (n, ...), or an .npz file with x.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="Rows of --data, or random ones without it.")] = 10_000,
    part: Annotated[str, typer.Option("--part", help="The FPGA that Verilog is written for.")] = "xcvu13p",
    clock_period_ns: Annotated[float, typer.Option("--clock", help="Clock period in ns.")] = 5.0,
    exhaustive_bits: Annotated[
        int, typer.Option("--exhaustive-bits", help="Check every input if the port has no more bits than this.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """Prove levels equal bit for bit: Keras, adder graph, RTL simulation.

    A run's designs are checked on its own data. A design directory or a model is checked on --data; without it on
    random inputs that fill the input port. Extreme inputs are always added.
    """
    from weft.run.directory import RESOLVED

    if (design / RESOLVED).exists():
        show(stage(str(design), "verify"), as_json)
        return
    found = _verify(_model(design), data, samples, part, clock_period_ns, exhaustive_bits)
    if as_json:
        print_json({**found.model_dump(mode="json"), "sentence": found.sentence})
    elif found.status == "exact":
        cycles = found.latency_cycles.measured  # None where the outputs never change
        typer.echo(f"{design}: {found.sentence}" + ("" if cycles is None else f"; {cycles} cycles, one input in each"))
    if found.status != "exact":
        raise VerificationError(f"{design}: {found.sentence}")


def _model(path: Path) -> Path:
    if path.is_dir() and (path / "model.keras").exists():
        return path / "model.keras"
    if not path.is_file():
        raise ConfigError(f"nothing to verify in {path}: give a run directory, a design directory or a .keras file")
    return path


def _verify(path: Path, data: Path | None, samples: int, part: str, clock_period_ns: float, bits: int) -> Any:
    import numpy as np

    from weft.adder_graph import AdderGraph
    from weft.config import find_part
    from weft.firmware import Simulator, emit, random_inputs, verify
    from weft.run.design import load_model

    find_part(part)
    model = load_model(path)
    graph = AdderGraph.from_model(model)
    x = random_inputs(graph, samples) if data is None else _read(data)[:samples].astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="weft-verify-") as scratch:
        simulator = Simulator(emit(graph, Path(scratch) / "project", part, clock_period_ns))
        return verify(model, graph, simulator, x, exhaustive_bits=bits)


def _read(path: Path) -> Any:
    import numpy as np

    try:
        found = np.load(path, allow_pickle=False)
        return found["x"] if path.suffix == ".npz" else found
    except (OSError, ValueError, KeyError) as error:
        remedy = "give an .npy file, or an .npz file with x"
        raise ConfigError(f"cannot read inputs from {path}: {error}; {remedy}") from error
