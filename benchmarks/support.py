"""Which layers come out right by which flow: small networks of one layer each, compared bit by bit.

Every cell is a run: the layer is converted and finalised as weft does it, written as Verilog or as an HLS project,
simulated, and compared with the adder graph on 1000 random rows and on extreme ones. weft's own refusals are left aside
for that, so the table shows what lies behind each; a cell that is wrong and not refused, or refused and exact, ends the
script with exit code 1.

    python benchmarks/support.py > cells.jsonl       # run all cells, about half an hour of one core
    python benchmarks/support.py --from cells.jsonl --write    # put them into docs/firmware-support.md
    python benchmarks/support.py --only dense --flow "vitis latency parallel"
    python benchmarks/support.py --only "conv1d, dilated" --write    # that row only; the others stay as they are
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from weft._backend import set_backend

set_backend()

import keras  # noqa: E402
from keras import layers as L  # noqa: E402
from keras import ops  # noqa: E402

from weft.adder_graph import AdderGraph  # noqa: E402
from weft.compression.finalize import finalize  # noqa: E402
from weft.config import HlsConfig  # noqa: E402
from weft.config.numbers import FixedNumbers, HgqNumbers  # noqa: E402
from weft.errors import ToolError, UnsupportedError  # noqa: E402
from weft.firmware import Simulator, extreme_inputs  # noqa: E402
from weft.firmware import emit as emit_verilog  # noqa: E402
from weft.firmware.hls import HlsSimulation, objection, project  # noqa: E402
from weft.quantize.convert import convert  # noqa: E402

TABLE = Path(__file__).parents[1] / "docs" / "firmware-support.md"
BEGIN, END = "<!-- table: written by benchmarks/support.py -->", "<!-- end of table -->"
PART, CLOCK_NS, ROWS = "xcvu13p-flga2577-2-e", 5.0, 1000

ROW, LINE, IMAGE, SEQUENCE = (6,), (6, 3), (5, 5, 2), (4, 3)

Network = tuple[tuple[int, ...], Callable[[Any], Any]]
"""The shape of an input, and what is done with it."""


def _two(shape: tuple[int, ...], merge: Callable[[Any, Any], Any]) -> Network:
    return shape, lambda x: merge(L.Dense(4, activation="relu", name="left")(x), L.Dense(4, name="right")(x))


CASES: dict[str, Network] = {
    "Dense": (ROW, L.Dense(4, name="layer")),
    "Dense, relu": (ROW, L.Dense(4, activation="relu", name="layer")),
    "Dense, then a ReLU layer": (ROW, lambda x: L.Dense(3)(L.ReLU(name="layer")(L.Dense(4)(x)))),
    "Dense, then BatchNormalization": (ROW, lambda x: L.BatchNormalization(name="layer")(L.Dense(4)(x))),
    "BatchNormalization": (ROW, lambda x: L.Dense(3)(L.BatchNormalization(name="layer")(x))),
    "Dense on a sequence": (SEQUENCE, L.Dense(4, activation="relu", name="layer")),
    "EinsumDense": (SEQUENCE, L.EinsumDense("abc,cd->abd", (4, 3), bias_axes="d", name="layer")),
    "Conv1D": (LINE, L.Conv1D(2, 3, activation="relu", name="layer")),
    "Conv1D, same, stride 2": (LINE, L.Conv1D(2, 3, padding="same", strides=2, name="layer")),
    "Conv1D, dilated": (LINE, L.Conv1D(2, 2, padding="same", dilation_rate=2, name="layer")),
    "Conv2D": (IMAGE, L.Conv2D(2, 3, activation="relu", name="layer")),
    "Conv2D, same, stride 2": (IMAGE, L.Conv2D(2, 3, padding="same", strides=2, name="layer")),
    "DepthwiseConv2D": (IMAGE, L.DepthwiseConv2D(3, name="layer")),
    "SeparableConv2D": (IMAGE, L.SeparableConv2D(2, 3, name="layer")),
    "MaxPooling1D": (LINE, lambda x: L.MaxPooling1D(2, name="layer")(L.Conv1D(2, 3)(x))),
    "MaxPooling2D": (IMAGE, lambda x: L.MaxPooling2D(2, name="layer")(L.Conv2D(2, 2)(x))),
    "AveragePooling2D": (IMAGE, lambda x: L.AveragePooling2D(2, name="layer")(L.Conv2D(2, 2)(x))),
    "GlobalAveragePooling1D": (LINE, lambda x: L.GlobalAveragePooling1D(name="layer")(L.Conv1D(2, 3)(x))),
    "GlobalMaxPooling1D": (LINE, lambda x: L.GlobalMaxPooling1D(name="layer")(L.Conv1D(2, 3)(x))),
    "Flatten": (SEQUENCE, lambda x: L.Dense(3)(L.Flatten(name="layer")(L.Dense(2, activation="relu")(x)))),
    "Reshape": (ROW, lambda x: L.Dense(2)(L.Reshape((2, 3), name="layer")(L.Dense(6, activation="relu")(x)))),
    "Permute": (SEQUENCE, lambda x: L.Dense(2)(L.Permute((2, 1), name="layer")(L.Dense(2, activation="relu")(x)))),
    "ZeroPadding1D": (LINE, lambda x: L.Conv1D(2, 3)(L.ZeroPadding1D(1, name="layer")(L.Dense(2)(x)))),
    "Concatenate": _two(ROW, lambda a, b: L.Dense(3)(L.Concatenate(name="layer")([a, b]))),
    "Concatenate of three": _two(ROW, lambda a, b: L.Dense(3)(L.Concatenate(name="layer")([a, b, L.Dense(2)(a)]))),
    "Add": _two(ROW, lambda a, b: L.Add(name="layer")([a, b])),
    "Subtract": _two(ROW, lambda a, b: L.Subtract(name="layer")([a, b])),
    "Multiply": _two(ROW, lambda a, b: L.Multiply(name="layer")([a, b])),
    "Maximum": _two(ROW, lambda a, b: L.Maximum(name="layer")([a, b])),
    "Average": _two(ROW, lambda a, b: L.Average(name="layer")([a, b])),
    "Dot": _two(ROW, lambda a, b: L.Dot(axes=1, name="layer")([a, b])),
    "sum over an axis": (SEQUENCE, lambda x: ops.sum(L.Dense(3, activation="relu")(x), axis=1)),
    "slice": (ROW, lambda x: L.Dense(2)(L.Dense(4, activation="relu")(x)[:, 1:3])),
    "tanh": (ROW, L.Dense(4, activation="tanh", name="layer")),
    "sigmoid": (ROW, L.Dense(4, activation="sigmoid", name="layer")),
    "LeakyReLU": (ROW, lambda x: L.Dense(2)(L.LeakyReLU(negative_slope=0.25, name="layer")(L.Dense(4)(x)))),
    "Softmax": (ROW, L.Dense(3, activation="softmax", name="layer")),
    "Dropout": (ROW, lambda x: L.Dense(3)(L.Dropout(0.2, name="layer")(L.Dense(4, activation="relu")(x)))),
    "a layer called twice": (ROW, lambda x: (d := L.Dense(6, activation="relu", name="layer"))(d(x))),
    "MultiHeadAttention": (SEQUENCE, lambda x: L.MultiHeadAttention(2, 2, name="layer")(x, x)),
    "SimpleRNN": (SEQUENCE, L.SimpleRNN(3, name="layer")),
    "GRU": (SEQUENCE, L.GRU(3, name="layer")),
}
"""Small networks by the layer that they are about."""

PARTS = {"quartus": "Arria10", "oneapi": "Agilex7", "libero": "MPF300"}
RTL, FULL = "rtl", "Dense, relu"
FLOWS = (
    RTL,
    "vitis latency parallel",
    "vitis latency stream",
    "vitis resource parallel",
    "vitis resource stream",
    "vitis distributed_arithmetic parallel",
    "vitis distributed_arithmetic stream",
)
"""Flows of the whole table."""

BACKENDS = (
    "vivado latency parallel",
    "quartus resource parallel",
    "catapult latency parallel",
    "oneapi resource parallel",
    "libero latency parallel",
)
"""Other backends, of which the table has a dense layer."""


def options(flow: str) -> HlsConfig:
    """Return the configuration of an HLS flow by its name in the table."""
    backend, strategy, io = flow.split()
    return HlsConfig.model_validate({"backend": backend, "strategy": strategy, "io": io, "part": PARTS.get(backend)})


def network(name: str, *, uniform: bool = False) -> tuple[Any, np.ndarray]:
    """Return the finalised network of a case, and rows for it, (n, *shape) float32.

    Every weight and every activation has a format of its own; with `uniform` all values of a tensor share one.
    """
    shape, build = CASES[name]
    inputs = keras.Input(shape, name="features")
    model = keras.Model(inputs, build(inputs), name="net")
    random = np.random.default_rng(0)
    for variable in model.weights:
        if any(word in variable.path for word in ("variance", "gamma")):
            variable.assign(random.uniform(0.2, 1.5, variable.shape))
        elif variable.shape and variable.dtype == "float32":
            variable.assign(random.normal(0.0, 0.6, variable.shape))
    x = random.normal(0.0, 1.0, (ROWS, *shape)).astype(np.float32)
    numbers = FixedNumbers(total_bits=6, io_bits=8) if uniform else HgqNumbers(bits0=5)
    return finalize(convert(model, numbers), x), x


def cell(model: Any, x: np.ndarray, flow: str) -> dict[str, Any]:
    """Return what comes of a network by a flow, weft's own refusal left aside.

    `status` is exact, wrong, failed, written (no simulation without the vendor's tool) or no graph; `refusal` is what
    weft says before it begins, or None.
    """
    config = None if flow == RTL else options(flow)
    refusal = None if config is None else objection(model, config)
    try:
        graph = AdderGraph.from_model(model)
    except UnsupportedError as error:
        return {"status": "no graph", "note": str(error), "refusal": refusal}
    x = np.concatenate([x, extreme_inputs(graph)])
    expected = graph.predict(x)
    with tempfile.TemporaryDirectory(prefix="weft-support-") as scratch:
        place = Path(scratch) / "project"
        try:
            wrong = int((_outputs(model, graph, config, place, x) != expected).sum())
        except UnsupportedError as error:
            status = "written" if "cannot simulate" in str(error) else "failed"
            return {"status": status, "note": str(error), "refusal": refusal}
        except ToolError as error:
            return {"status": "failed", "note": str(error), "refusal": refusal}
    note = f"{wrong} of {expected.size} outputs"
    return {"status": "wrong" if wrong else "exact", "note": note, "refusal": refusal}


def _outputs(model: Any, graph: AdderGraph, config: HlsConfig | None, place: Path, x: np.ndarray) -> np.ndarray:
    if config is None:
        made = emit_verilog(graph, place, PART, CLOCK_NS)
        return Simulator(made).run(x).after(made.pipeline.latency_cycles, len(x))
    with mock.patch.object(project, "objection", lambda *_: None):
        return HlsSimulation(project.emit(model, place, config, PART, CLOCK_NS)).run(x)


def run(names: list[str], flows: list[str]) -> list[dict[str, Any]]:
    """Return all cells; each is printed as a line of JSON once it is there."""
    cells = []
    for name in names:
        models = {uniform: network(name, uniform=uniform) for uniform in (False, True)}
        for flow in flows if name != FULL else [*flows, *BACKENDS]:
            start = time.monotonic()
            found = {"layer": name, "flow": flow, **cell(*models[flow.endswith("stream")], flow)}
            cells.append(found)
            print(json.dumps({**found, "seconds": round(time.monotonic() - start, 1)}), flush=True)
    return cells


def disagreements(cells: list[dict[str, Any]]) -> list[str]:
    """Return the cells in which weft's refusals are wrong, in words."""
    found = []
    for one in cells:
        refused, bad = one["refusal"] is not None, one["status"] in ("wrong", "failed")
        if one["flow"] != RTL and one["status"] != "no graph" and refused != bad:
            said = "refused" if refused else "not refused"
            found.append(f"{one['layer']} by {one['flow']} is {said}, and {one['status']}: {one['note'][:200]}")
    return found


def table(cells: list[dict[str, Any]]) -> str:
    """Return the cells as Markdown: a layer a row, a flow a column, reasons below."""
    by_place = {(one["layer"], one["flow"]): one for one in cells}
    flows = [flow for flow in FLOWS if any(one["flow"] == flow for one in cells)]
    reasons: list[str] = []

    def text(one: dict[str, Any] | None) -> str:
        if one is None:
            return "not run"
        if one["status"] == "no graph":
            return "no adder graph"
        if one["refusal"] is None:
            return {"written": "written, not simulated"}.get(one["status"], one["status"])
        reason = one["refusal"].partition(": ")[2] or one["refusal"].partition(") ")[2] or one["refusal"]
        if reason not in reasons:
            reasons.append(reason)
        behind = f", {one['note']} wrong" if one["status"] == "wrong" else ""
        return f"refused [{reasons.index(reason) + 1}]{behind}"

    lines = ["| layer | " + " | ".join(flows) + " |", "|---" * (len(flows) + 1) + "|"]
    for name in CASES:
        if any((name, flow) in by_place for flow in flows):
            lines.append(f"| {name} | " + " | ".join(text(by_place.get((name, flow))) for flow in flows) + " |")
    lines += ["", f"Other backends, for one layer ({FULL}):", "", "| flow | outcome |", "|---|---|"]
    lines += [f"| {flow} | {text(by_place.get((FULL, flow)))} |" for flow in BACKENDS]
    return "\n".join([*lines, "", *(f"{i + 1}. {reason}" for i, reason in enumerate(reasons)), ""])


def cells_of(page: str) -> list[dict[str, Any]]:
    """Return the cells that a table holds, the inverse of `table`."""
    reasons = dict(re.findall(r"(?m)^(\d+)\. (.+)$", page))
    says = {"written, not simulated": "written", "no adder graph": "no graph"}
    found, flows = [], []

    def add(layer: str, flow: str, text: str) -> None:
        refused = re.fullmatch(r"refused \[(\d+)\](?:, (.+) wrong)?", text)
        if refused is not None:
            number, note = refused.groups()
            status = "failed" if note is None else "wrong"
            one = {"status": status, "note": note or "", "refusal": f": {reasons[number]}"}
        else:
            one = {"status": says.get(text, text), "note": "", "refusal": None}
        if text != "not run":
            found.append({"layer": layer, "flow": flow, **one})

    for line in page.splitlines():
        first, *rest = (text.strip() for text in line.strip("|").split(" | "))
        if first == "layer":
            flows = rest
        elif first in CASES:
            for flow, text in zip(flows, rest, strict=True):
                add(first, flow, text)
        elif first in BACKENDS:
            add(FULL, first, rest[0])
    return found


def main() -> int:
    """Run the cells that are asked for, or read them, and say where weft's refusals are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="a layer, by the beginning of its name; may be repeated")
    parser.add_argument("--flow", action="append", help="a flow, by the beginning of its name; may be repeated")
    parser.add_argument("--from", dest="read", type=Path, help="take the cells of an earlier run, lines of JSON")
    parser.add_argument("--write", action="store_true", help="put the table into docs/firmware-support.md")
    given = parser.parse_args()
    if given.read:
        cells = [json.loads(line) for line in given.read.read_text().splitlines()]
    else:
        names = [n for n in CASES if not given.only or n.lower().startswith(tuple(o.lower() for o in given.only))]
        cells = run(names, [f for f in FLOWS if not given.flow or f.startswith(tuple(given.flow))])
    if given.write:
        head, _, rest = TABLE.read_text().partition(BEGIN)
        before, _, tail = rest.partition(END)
        TABLE.write_text(f"{head}{BEGIN}\n\n{table([*cells_of(before), *cells])}\n{END}{tail}")
    wrong = disagreements(cells)
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
