"""`weft export`: a design as a bundle that stands alone, or as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli._app import Json, command, print_json
from weft.errors import ConfigError, RunError


@command
def export(
    source: Annotated[
        Path,
        typer.Argument(
            help="A run directory, or a design directory with its firmware; for --format a model's file too."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help="Where the bundle, or the file of --format, goes; one that is there is replaced."),
    ],
    design: Annotated[str | None, typer.Option("--design", help="The design of a run, where it has several.")] = None,
    target: Annotated[
        str, typer.Option("--target", help="ip, cmssw-emulator, pynq, cocotb or a plug-in's; each holds what ip does.")
    ] = "ip",
    name: Annotated[str, typer.Option("--name", help="Name of the model in a framework.")] = "weft_model",
    model_version: Annotated[str, typer.Option("--model-version", help="Version in its namespace.")] = "v1",
    data: Annotated[
        Path | None, typer.Option("--data", help="Inputs of the golden vectors, for a design directory: .npy or .npz.")
    ] = None,
    vectors: Annotated[int, typer.Option("--vectors", min=1, help="How many golden vectors, at most.")] = 200,
    file_format: Annotated[
        str | None, typer.Option("--format", help="qonnx or onnx-qdq: write the model as such a file, and no bundle.")
    ] = None,
    overflow: Annotated[
        str,
        typer.Option(
            "--overflow",
            help="Where a model wraps around, an ONNX file shall wrap (as operations), refuse, or saturate (checked on "
            "--data alone).",
        ),
    ] = "wrap",
    as_json: Json = False,
) -> None:
    """Write sources, a self-checking testbench, golden vectors, types, licences and checksums of a design.

    The golden inputs are the run's validation rows, or those of --data; without them random ones that fill the port.
    With --format an ONNX file is written instead, and compared with the model on the same inputs and on extreme ones.
    """
    if file_format is not None:
        _onnx(source, out, design, file_format, overflow, data, as_json)
        return
    from weft.adder_graph import AdderGraph
    from weft.firmware import Project
    from weft.firmware.export import export as write

    place, x = _design(source, design), None
    if not place.graph.exists() or not place.firmware.exists():
        raise RunError(f"{place.path} has no firmware to export; run 'weft build' on its run first")
    graph = AdderGraph.load(place.graph)
    x = _inputs(source, graph, data, vectors)
    made = write(Project.open(place.firmware), graph, x, out, target=target, name=name, version=model_version)
    if as_json:
        print_json({"bundle": str(made), "target": target, "vectors": len(x), "design": place.id})
    else:
        typer.echo(f"{made}: {target} of design {place.id}, {len(x)} golden vectors")


def _onnx(
    source: Path, out: Path, design: str | None, file_format: str, overflow: str, data: Path | None, as_json: bool
) -> None:
    from weft.onnx import export as write
    from weft.run import Run
    from weft.run.design import load_model
    from weft.run.directory import RESOLVED

    path, x = source if source.is_file() else _design(source, design).model, None
    if data is not None:
        x = _read(data)
    elif (source / RESOLVED).exists():
        from weft.data import load

        x = load(Run(source).experiment.data).validation.x
    made = write(load_model(path), out, format=file_format, x=x, overflow=overflow)  # type: ignore[arg-type] # checked
    if as_json:
        print_json({"file": str(made.path), "format": made.format, "samples": made.samples, "wraps": made.wraps,
                    "unproven": made.unproven})  # fmt: skip
        return
    typer.echo(f"{made.path}: {made.format} of {path}, equal to it on {made.samples} inputs")
    for what, layers in (
        ("wrap around by operations", made.wraps),
        ("are not proven to hold all values", made.unproven),
    ):
        if layers:
            typer.echo(f"quantisers that {what}: {', '.join(dict.fromkeys(layers))}")


def _read(data: Path) -> Any:
    """Return the rows of a file; an .npz of several inputs holds one array for each, by its name."""
    import numpy as np

    from weft.cli.verify import read_inputs

    if data.suffix == ".npz":
        with np.load(data, allow_pickle=False) as archive:
            if "x" not in archive.files:
                return {name: archive[name] for name in archive.files}
    return read_inputs(data)


def _design(source: Path, name: str | None) -> Any:
    from weft.run import Run
    from weft.run.directory import RESOLVED, Design

    if not (source / RESOLVED).exists():
        if not (source / "model.keras").exists():
            raise ConfigError(f"nothing to export in {source}: give a run directory or a design directory")
        return Design(source)
    run = Run(source)
    if name is not None:
        return run.design(name)
    designs = run.designs()
    if len(designs) != 1:
        raise ConfigError(
            f"{source} has {len(designs)} designs: {', '.join(d.id for d in designs)}; choose with --design"
        )
    return designs[0]


def _inputs(source: Path, graph: Any, data: Path | None, n: int) -> Any:
    import numpy as np

    from weft.cli.verify import read_inputs
    from weft.firmware import random_inputs
    from weft.run import Run
    from weft.run.directory import RESOLVED

    if data is not None:
        return read_inputs(data)[:n].astype(np.float32)
    if (source / RESOLVED).exists():
        from weft.data import load

        return load(Run(source).experiment.data).validation.x[:n]
    return random_inputs(graph, n)
