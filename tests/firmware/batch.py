"""Many small designs in one module, so that one build of a simulation serves them all.

The ports of the module are those of its designs side by side, so the batch is a project like any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weft import atomic
from weft.adder_graph import TOP
from weft.firmware import Project, Simulator
from weft.firmware.rtl import Response
from weft.firmware.vhdl import verilog_of


@dataclass
class Batch:
    """Projects in one simulation."""

    projects: list[Project]
    simulator: Simulator

    def run(self, inputs: list[np.ndarray]) -> list[Response]:
        """Feed each project its own rows, (n, ...), n the same for all; return what each put out in every cycle."""
        rows = np.concatenate([np.asarray(x, dtype=np.float64).reshape(len(x), -1) for x in inputs], axis=1)
        outputs = self.simulator.run(rows).outputs
        ends = np.cumsum([project.output_kif.shape[1] for project in self.projects])[:-1]
        return [Response(part) for part in np.split(outputs, ends, axis=1)]


def batch(projects: list[Project], directory: Path) -> Batch:
    """Put designs side by side in a project of its own, and build its simulation."""
    source = directory / "src"
    (source / "static").mkdir(parents=True)
    instances, start = [], {"inp": 0, "out": 0}
    for number, project in enumerate(projects):
        files = {path: path.read_text() for path in verilog_of(project, source)}
        for path, text in files.items():
            if path.parent.name == "static":
                (source / "static" / path.name).write_text(text)
        own = "\n".join(text for path, text in files.items() if path.parent.name != "static")
        for name in set(re.findall(r"(?m)^\s*module (\w+)", own)):
            own = re.sub(rf"\b{name}\b", f"d{number}_{name}", own)
        (source / f"d{number}.v").write_text(own)
        (source / f"{TOP}.v").unlink(missing_ok=True)
        ports = [".clk(clk)"] if project.clocked else []
        for port, kif in (("inp", project.input_kif), ("out", project.output_kif)):
            width = int(kif.sum())
            ports.append(f".model_{port}(model_{port}[{start[port] + width - 1}:{start[port]}])")
            start[port] += width
        instances.append(f"d{number}_{TOP} d{number} ({', '.join(ports)});")
    clocked = any(project.clocked for project in projects)
    clock = "input clk, " * clocked
    ports = f"{clock}input [{start['inp'] - 1}:0] model_inp, output [{start['out'] - 1}:0] model_out"
    (source / f"{TOP}.v").write_text("\n".join([f"module {TOP} ({ports});", *instances, "endmodule", ""]))
    latency = max(project.pipeline.latency_cycles for project in projects)
    kifs = {
        port: np.concatenate([getattr(project, f"{port}_kif") for project in projects], axis=1)
        for port in ("input", "output")
    }
    description = {
        "schema": 1, "part": "", "clock_period_ns": 0.0, "stages": max(latency, int(clocked)), "ff": 0,
        "latency_cycles": latency, "ii_cycles": 1,
        **{port: {row: kif[j].tolist() for j, row in enumerate("kif")} for port, kif in kifs.items()},
    }  # fmt: skip
    atomic.write_json(directory / "project.json", description)
    return Batch(projects, Simulator(Project.open(directory)))
