"""An export target: the ports of the design as a text file."""

from __future__ import annotations

from pathlib import Path

from weft.adder_graph import AdderGraph
from weft.firmware import Project


def write_ports(project: Project, graph: AdderGraph, directory: Path, name: str, version: str) -> None:
    """Write `ports.txt`: name and width of each port.

    Args:
        project: Verilog or VHDL of the design.
        graph: Its adder graph.
        directory: The bundle, which holds the sources already.
        name: Name of the model in a framework.
        version: Its version.
    """
    lines = [f"{name} {version}", f"input {project.input_kif.sum()} bits", f"output {project.output_kif.sum()} bits"]
    (directory / "ports.txt").write_text("\n".join(lines) + "\n", "utf-8")
