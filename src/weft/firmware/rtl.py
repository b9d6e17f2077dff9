"""Verilog and VHDL projects: written from an adder graph, described by `project.json`, and driven through their ports.

`project.json` beside the sources says what a user of the module must know: which bits of a port are which value, in
which format, and how many cycles the module takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from weft import atomic
from weft.adder_graph import SOURCE, TOP, AdderGraph, Pipeline, from_codes, to_codes
from weft.firmware._description import described

DESCRIPTION = "project.json"
_SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Project:
    """A Verilog or VHDL project on disk.

    Attributes:
        directory: Where it is.
        part: The device it was written for.
        clock_period_ns: The clock it was pipelined for.
        pipeline: Its stages and registers; none of them in a combinational design.
        input_kif: Formats of the values on `model_inp`, (3, n_in), the first value in the lowest bits.
        output_kif: Formats of the values on `model_out`, (3, n_out), the first value in the lowest bits.
        language: Of its sources.
    """

    directory: Path
    part: str
    clock_period_ns: float
    pipeline: Pipeline
    input_kif: np.ndarray
    output_kif: np.ndarray
    language: Literal["verilog", "vhdl"] = "verilog"

    @classmethod
    def open(cls, directory: Path | str) -> Self:
        """Open a project that `emit` wrote.

        Raises:
            RunError: The directory holds none, or a damaged one.
        """
        directory = Path(directory)
        with described(directory / DESCRIPTION, _SCHEMA, "RTL project", "build the design again") as data:
            read, written = (
                np.array([data[port][row] for row in "kif"], dtype=np.int64) for port in ("input", "output")
            )
            pipeline = Pipeline(data["stages"], data["ff"], data["latency_cycles"], data["ii_cycles"])
            language = data.get("language", "verilog")
            return cls(directory, data["part"], data["clock_period_ns"], pipeline, read, written, language)

    @property
    def clocked(self) -> bool:
        """Whether the module has registers, and so a port `clk`."""
        return self.pipeline.stages > 0

    @property
    def sources(self) -> tuple[Path, ...]:
        """The source files of the module, relative to `directory`, each after those that it uses."""
        end = {"verilog": "v", "vhdl": "vhd"}[self.language]
        own = sorted(self.directory.glob(f"src/*.{end}"), key=lambda p: (p.stem == TOP, "tables" not in p.stem, p.name))
        found = sorted(self.directory.glob(f"src/static/*.{end}")) + own
        return tuple(p.relative_to(self.directory) for p in found if p.stem != f"{TOP}_wrapper")


def emit(graph: AdderGraph, directory: Path | str, part: str, clock_period_ns: float) -> Project:
    """Write the project of a graph, as its `rtl` says, in place of a project that is there.

    Raises:
        UnsupportedError: Every output is constant.
        RunError: `directory` holds something else than a project.
    """
    directory = Path(directory)
    pipeline = graph.write(directory, part, clock_period_ns)
    description = {
        "schema": _SCHEMA,
        "top": TOP,
        "language": graph.rtl.language,
        "part": part,
        "clock_period_ns": clock_period_ns,
        "compiler": SOURCE,
        "licences": {"src/static": "LGPL-3.0-or-later, part of alkaid"},
        "stages": pipeline.stages,
        "ff": pipeline.ff,
        "latency_cycles": pipeline.latency_cycles,
        "ii_cycles": pipeline.ii,
        "input": _port("model_inp", graph.input_kif),
        "output": _port("model_out", graph.output_kif),
    }
    atomic.write_json(directory / DESCRIPTION, description)
    return Project.open(directory)


def pack(codes: np.ndarray, kif: np.ndarray) -> bytes:
    """Put port codes on the bits of a port, as a Verilated model keeps them.

    Args:
        codes: Codes (n, m) as `weft.adder_graph.to_codes` gives them.
        kif: Formats, (3, m).

    Returns:
        n times the bytes of the port, the lowest first.
    """
    widths = kif.sum(axis=0)
    bits = np.zeros((len(codes), 8 * port_bytes(int(widths.sum()))), dtype=np.uint8)
    start = 0
    for column, width in zip(codes.T, widths, strict=True):
        bits[:, start : start + width] = (column[:, None] >> np.arange(width)) & 1
        start += width
    return np.packbits(bits, axis=1, bitorder="little").tobytes()


def port_words(codes: np.ndarray, kif: np.ndarray) -> list[int]:
    """Return what is on a port for codes (n, m), as n numbers without a sign."""
    size = port_bytes(int(kif.sum()))
    data = pack(codes, kif)
    return [int.from_bytes(data[n * size : (n + 1) * size], "little") for n in range(len(codes))]


def unpack(data: bytes, kif: np.ndarray) -> np.ndarray:
    """Read port codes (n, m) off the bytes of a port; the inverse of `pack`."""
    widths = kif.sum(axis=0)
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, port_bytes(int(widths.sum())))
    bits = np.unpackbits(rows, axis=1, bitorder="little").astype(np.int64)
    codes = np.zeros((len(rows), len(widths)), dtype=np.int64)
    start = 0
    for j, width in enumerate(widths):
        codes[:, j] = bits[:, start : start + width] @ (1 << np.arange(width))
        if width and kif[0, j]:
            codes[:, j] -= bits[:, start + width - 1] << width
        start += width
    return codes


def port_bytes(width: int) -> int:
    """Return how many bytes a Verilated model keeps a port of `width` bits in."""
    return next((size for size in (1, 2, 4, 8) if width <= 8 * size), 4 * -(-width // 32))


@dataclass(frozen=True, eq=False)
class Response:
    """What a module put out, one row for each clock cycle.

    Attributes:
        outputs: Values on the output port after each clock edge, (n_cycles, n_out), float64.
    """

    outputs: np.ndarray

    def after(self, cycles: int, n: int) -> np.ndarray:
        """Return the outputs that belong to the first n inputs if the module takes `cycles` cycles."""
        return self.outputs[cycles : cycles + n]

    def latency(self, expected: np.ndarray) -> int | None:
        """Return the latency at which the outputs are the expected ones, (n, n_out), one in every cycle.

        None if they are so at no latency, or at several because the outputs never change.
        """
        n = len(expected)
        fits = [c for c in range(len(self.outputs) - n + 1) if np.array_equal(self.after(c, n), expected)]
        return fits[0] if len(fits) == 1 else None


def stimulus(project: Project, x: np.ndarray, flush: int) -> bytes:
    """Return the bytes for the input port: one row of `x`, (n, ...), in each cycle, then `flush` cycles of zeros."""
    codes = to_codes(np.asarray(x).reshape(len(x), -1), project.input_kif)
    return pack(np.concatenate([codes, np.zeros((flush, codes.shape[1]), dtype=np.int64)]), project.input_kif)


def response(project: Project, data: bytes) -> Response:
    """Return what the bytes of the output port say."""
    return Response(from_codes(unpack(data, project.output_kif), project.output_kif))


def _port(name: str, kif: np.ndarray) -> dict[str, str | int | Sequence[int]]:
    return {"name": name, "width_bits": int(kif.sum()), **{row: kif[j].tolist() for j, row in enumerate("kif")}}
