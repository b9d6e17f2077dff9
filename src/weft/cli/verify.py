"""`weft verify`: prove that the levels of a run's designs, of one design or of any quantised model are equal."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft import atomic
from weft.cli import _show
from weft.cli._app import Json, command, print_json
from weft.cli.stages import show, stage
from weft.errors import ConfigError, VerificationError

if TYPE_CHECKING:
    from weft.firmware import Level, Project
    from weft.run import Design

RESULT = "verification.json"
_NOT_ASKED = "not asked for; --hls simulates the project that hls4ml writes"


@command
def verify(
    design: Annotated[
        Path, typer.Argument(help="A run directory, a design directory, or a .keras or QONNX file of quantised layers.")
    ],
    data: Annotated[
        Path | None, typer.Option("--data", help="Real inputs: an .npy file (n, ...), or an .npz file with x.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="Rows of --data, or random ones without it.")] = 10_000,
    part: Annotated[str, typer.Option("--part", help="The FPGA that a model's firmware is written for.")] = "xcvu13p",
    clock_period_ns: Annotated[float, typer.Option("--clock", help="Clock period in ns, for a model.")] = 5.0,
    language: Annotated[str, typer.Option("--language", help="verilog or vhdl, for a model.")] = "verilog",
    pipeline: Annotated[bool, typer.Option(help="Whether a model's firmware has register stages.")] = True,
    hls: Annotated[
        bool | None,
        typer.Option(help="Whether HLS C simulation is a level; by default it is where a design has an HLS project."),
    ] = None,
    torch: Annotated[
        Path | None,
        typer.Option(
            "--torch",
            help="The PyTorch network that the model was made from: a file of torch.export.save or torch.jit.save, "
            "which is a program and is run.",
        ),
    ] = None,
    exhaustive_bits: Annotated[
        int, typer.Option("--exhaustive-bits", help="Check every input if the port has no more bits than this.")
    ] = 20,
    out: Annotated[
        Path | None,
        typer.Option("--out", help=f"Where the result goes; {RESULT} in the design, MODEL.{RESULT} beside a model."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove levels equal bit for bit: PyTorch, Keras, adder graph, RTL simulation, HLS C simulation.

    A run's designs are checked on its own data. A design directory or a model is checked on --data; without it on
    random inputs that fill the input port. Extreme inputs are always added, and inputs are sought that overflow a
    layer. A PyTorch network of weft.to_torch has to be equal; how far a float one agrees is said and does not decide.
    A design's firmware is checked as it lies there; that of a model is written for the check. Levels that were
    not run are named with the reason.
    """
    from weft.run.directory import RESOLVED

    if (design / RESOLVED).exists():
        if torch is not None:
            raise ConfigError(f"--torch is for designs and models, and {design} is a run; name one of its designs")
        if hls is not None:
            raise ConfigError(
                f"--hls and --no-hls are for designs and models: {design} is a run, which goes by its firmware.hls; "
                f"'weft compare {design}' adds what it leaves out"
            )
        show(stage(str(design), "verify"), as_json)
        return
    path = _model(design)
    rtl = _rtl(language, pipeline)
    found = _verify(path, design.is_dir(), data, samples, part, clock_period_ns, rtl, exhaustive_bits, hls, torch)
    result = {**found.model_dump(mode="json"), "sentence": found.sentence}
    atomic.write_json(out or (design / RESULT if design.is_dir() else path.with_name(f"{path.stem}.{RESULT}")), result)
    if as_json:
        print_json(result)
    else:
        _show.verification(found)
        if found.status == "exact":
            cycles = found.latency_cycles and found.latency_cycles.measured  # None where the outputs never change
            typer.echo(f"{design}: {found.sentence}" + (f"; {cycles} cycles, one input in each" if cycles else ""))
    if found.status != "exact":
        raise VerificationError(f"{design}: {found.sentence}; {found.suggestion}")


def _model(path: Path) -> Path:
    if path.is_dir() and (path / "model.keras").exists():
        return path / "model.keras"
    if not path.is_file():
        raise ConfigError(f"nothing to verify in {path}: give a run directory, a design directory or a .keras file")
    return path


def _rtl(language: str, pipeline: bool) -> Any:
    from weft.config import RtlConfig

    if language not in ("verilog", "vhdl"):
        raise ConfigError(f"--language takes verilog or vhdl; got '{language}'")
    return RtlConfig(language=language, pipeline=pipeline)


def _verify(
    path: Path,
    is_design: bool,
    data: Path | None,
    samples: int,
    part: str,
    clock_period_ns: float,
    rtl: Any,
    bits: int,
    hls: bool | None,
    torch: Path | None,
) -> Any:
    import numpy as np

    from weft.adder_graph import AdderGraph
    from weft.config import find_part
    from weft.firmware import Project, emit, random_inputs, simulator_of, verify
    from weft.pytorch.level import TorchLevel
    from weft.run.design import load_model
    from weft.run.directory import Design

    find_part(part)
    origin = None if torch is None else TorchLevel(torch)
    design, model = Design(path.parent), load_model(path)
    built = is_design and design.graph.exists() and design.firmware.exists()
    graph = AdderGraph.load(design.graph) if built else AdderGraph.from_model(model, rtl)
    x = random_inputs(graph, samples) if data is None else read_inputs(data)[:samples].astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="weft-verify-") as scratch:
        there = design.firmware if built else Path(scratch) / "project"
        project = Project.open(there) if built else emit(graph, there, part, clock_period_ns)
        simulator, skipped = simulator_of(project)
        further, without = _hls_level(design if is_design else None, hls, model, project, Path(scratch) / "hls")
        skipped |= without
        source = _source(path)
        return verify(model, graph, simulator, x, exhaustive_bits=bits, source=source, origin=origin, further=further,
                      skipped=skipped)  # fmt: skip


def _hls_level(
    design: Design | None, asked: bool | None, model: Any, project: Project, place: Path
) -> tuple[list[Level], dict[str, str]]:
    """Return the C simulation of a design's HLS project, or of one that is written to `place`, or why there is none."""
    from weft.config import HlsConfig
    from weft.firmware.hls import HlsSimulation, emit
    from weft.run.design import hls_level

    if design is not None and (asked is None or (asked and design.hls.exists())):
        return hls_level(design)
    if not asked:
        return [], {HlsSimulation.name: _NOT_ASKED}
    return [HlsSimulation(emit(model, place, HlsConfig(), project.part, project.clock_period_ns))], {}


class _Source:
    """The model as it was before it was finalised."""

    name = "model"

    def __init__(self, model: Any) -> None:
        self._model = model

    def run(self, x: Any) -> Any:
        from weft.firmware.reference import in_float32

        return in_float32(self._model, x)


def _source(path: Path) -> _Source | None:
    """Return a model that is not finalised as a level of its own."""
    from weft.compression.finalized import Finalized
    from weft.quantize.files import read_model

    if path.suffix == ".onnx":  # was compared with its file when it was read
        return None
    model = read_model(path)
    return None if isinstance(model, Finalized) else _Source(model)


def read_inputs(path: Path) -> Any:
    """Return the inputs that a file holds, (n, ...)."""
    import numpy as np

    try:
        found = np.load(path, allow_pickle=False)
        return found["x"] if path.suffix == ".npz" else found
    except (OSError, ValueError, KeyError) as error:
        remedy = "give an .npy file, or an .npz file with x"
        raise ConfigError(f"cannot read inputs from {path}: {error}; {remedy}") from error
