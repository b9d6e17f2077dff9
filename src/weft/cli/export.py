"""`weft export`: a design as a bundle that stands alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli._app import Json, command, print_json
from weft.errors import ConfigError, RunError


@command
def export(
    source: Annotated[Path, typer.Argument(help="A run directory, or a design directory with its firmware.")],
    out: Annotated[Path, typer.Option("--out", help="Where the bundle goes; a bundle that is there is replaced.")],
    design: Annotated[str | None, typer.Option("--design", help="The design of a run, where it has several.")] = None,
    target: Annotated[
        str, typer.Option("--target", help="ip, cmssw-emulator, pynq or cocotb; each holds what ip does.")
    ] = "ip",
    name: Annotated[str, typer.Option("--name", help="Name of the model in a framework.")] = "weft_model",
    model_version: Annotated[str, typer.Option("--model-version", help="Version in its namespace.")] = "v1",
    data: Annotated[
        Path | None, typer.Option("--data", help="Inputs of the golden vectors, for a design directory: .npy or .npz.")
    ] = None,
    vectors: Annotated[int, typer.Option("--vectors", min=1, help="How many golden vectors, at most.")] = 200,
    as_json: Json = False,
) -> None:
    """Write sources, a self-checking testbench, golden vectors, types, licences and checksums of a design.

    The golden inputs are the run's validation rows, or those of --data; without them random ones that fill the port.
    """
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
