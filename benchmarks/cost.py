"""How well the adder graph's counts tell what synthesis finds, on designs that were trained for it.

Networks of several shapes are trained with learned widths while the price of bits rises. Checkpoints on the way, spread
over their size, are compiled, written as Verilog and synthesised by Yosys for UltraScale+. From the pairs come the
errors of the raw counts and the coverage of calibrated ranges: designs of one training are tested with the pairs of all
others.

    python benchmarks/cost.py [--out runs/cost] [--trainings 10] [--each 12] [--write]

`--write` puts the table into `docs/calibration.md`. What `--out` holds already is not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _measure import emit, machine, put

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "calibration.md"
BEGIN, END = "<!-- written by benchmarks/cost.py -->", "<!-- end of the table -->"
PART, CLOCK_NS, SMALLEST, LARGEST = "xcvu13p-flga2577-2-e", 5.0, 50, 10_000

TRAININGS: list[tuple[str, list[int], str]] = [
    ("jets-hlf", [32], "relu"),
    ("jets-hlf", [32, 32, 16], "relu"),
    ("jets-hlf", [8], "relu"),
    ("jets-hlf", [64, 32, 32], "relu"),
    ("jets-hlf", [16, 16], "relu"),
    ("jets-constituents", [32, 16], "relu"),
    ("jets-hlf", [24, 24, 24, 24], "relu"),
    ("jets-hlf", [64, 16], "leaky_relu"),
    ("jets-constituents", [16], "relu"),
    ("jets-hlf", [16, 16, 16, 16, 16], "relu"),
    ("jets-hlf", [16, 16], "tanh"),
]
"""Data, hidden layers and activation of each training."""


def candidates(number: int, place: Path) -> tuple[Sequence[Any], np.ndarray]:
    """Train one network; return the points of its front, the largest first, and rows to find ranges with."""
    from weft.compression import hgq
    from weft.compression.network import Network
    from weft.compression.training import Material
    from weft.config import load as load_config
    from weft.data import load
    from weft.space.architecture import parse

    name, units, activation = TRAININGS[number]
    experiment = load_config(
        "jets-mlp",
        [f"data.name={name}", "compress={recipe: hgq, epochs: 80, finetune_epochs: 0, batch_size: 512}",
         "compress.beta={from: 3.0e-7, to: 3.0e-3}"],
    )  # fmt: skip
    dataset = load(experiment.data)
    block = {"type": "mlp", "units": units, "activation": activation}
    shape = list(dataset.train.x.shape[1:])
    architecture = parse(
        {"input_shape": shape, "n_outputs": 5, "blocks": [block], "numbers": {"mode": "float"}, "learning_rate": 2e-3}
    )
    material = Material.of(dataset, experiment.data)
    outcome = hgq.run(Network.of_architecture(architecture), material, experiment.compress, number, place)
    rows = np.concatenate([split.x for split in material.splits])
    return sorted(outcome.candidates, key=lambda c: -c.log["ebops"]), rows


def spread_over_size(points: Sequence[Any], count: int) -> list[Any]:
    """Choose points whose EBOPs are evenly spread in the logarithm."""
    sizes = np.log([max(point.log["ebops"], 1.0) for point in points])
    wanted = np.linspace(min(sizes[0], np.log(3 * LARGEST)), max(sizes[-1], np.log(SMALLEST)), count)
    chosen = {int(np.abs(sizes - goal).argmin()) for goal in wanted}
    return [points[i] for i in sorted(chosen)]


def measured(model: Any, rows: np.ndarray, place: Path) -> dict[str, float] | None:
    """Return the counts of the compiler and of synthesis; None if the design is outside of the range of sizes."""
    from weft.adder_graph import AdderGraph
    from weft.compression.finalize import finalize
    from weft.firmware import emit as emit_verilog
    from weft.firmware.synth import synthesise

    graph = AdderGraph.from_model(finalize(model, rows))
    if graph.is_constant or not SMALLEST <= graph.lut <= LARGEST:
        return None
    estimate = graph.cost(CLOCK_NS)
    emit_verilog(graph, place, PART, CLOCK_NS)
    begin = time.perf_counter()
    found = synthesise(place, PART, timeout_s=1200)
    names = ("lut", "ff")
    return {
        **{f"{name}_solver": float(estimate[name].value or 0) for name in names},
        **{f"{name}_synthesis": float(found[name].value or 0) for name in names},
        "seconds": round(time.perf_counter() - begin, 1),
    }


def collect(out: Path, trainings: int, each: int) -> Iterator[dict[str, Any]]:
    """Give the designs that are there, and make those that are missing."""
    out.mkdir(parents=True, exist_ok=True)
    for number in range(trainings):
        file = out / f"training-{number}.jsonl"
        if not file.exists():
            points, rows = candidates(number, out / f"training-{number}")
            lines = []
            for point in spread_over_size(points, each):
                found = measured(point.model(), rows, out / f"training-{number}" / "firmware")
                if found is not None:
                    data, units, activation = TRAININGS[number]
                    lines.append({"training": number, "data": data, "units": units, "activation": activation,
                                  "point": point.name, "ebops": point.log["ebops"], **found})  # fmt: skip
                    emit(**lines[-1])
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        yield from (json.loads(line) for line in file.read_text().splitlines())


def errors(solver: np.ndarray, synthesis: np.ndarray) -> dict[str, float]:
    """Return the errors of raw counts."""
    from scipy.stats import spearmanr

    relative = solver / synthesis - 1
    return {
        "designs": len(solver),
        "mape": float(np.abs(relative).mean()),
        "bias": float(relative.mean()),
        "worst": float(np.abs(relative).max()),
        "spearman": float(spearmanr(solver, synthesis).statistic),
    }


def coverage(designs: Sequence[dict[str, Any]], name: str) -> tuple[float, float]:
    """Return the share of designs inside the 90 % interval of the others' calibration, and its median half-width."""
    from weft.cost.calibration import Calibration

    inside, widths = [], []
    for number in {design["training"] for design in designs}:
        others = [d for d in designs if d["training"] != number]
        calibration = Calibration.of((d[f"{name}_solver"], d[f"{name}_synthesis"]) for d in others)
        for design in (d for d in designs if d["training"] == number):
            found = calibration.range(design[f"{name}_solver"])
            inside.append(found.low <= design[f"{name}_synthesis"] <= found.high)
            widths.append((found.high - found.low) / 2 / found.value)
    return float(np.mean(inside)), float(np.median(widths))


def table(designs: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the document's table."""
    groups = {
        "all without tables": [d for d in designs if d["activation"] != "tanh"],
        "50 to 500 LUT": [d for d in designs if d["activation"] != "tanh" and d["lut_synthesis"] < 500],
        "500 to 2 000 LUT": [d for d in designs if d["activation"] != "tanh" and 500 <= d["lut_synthesis"] < 2000],
        "2 000 to 10 000 LUT": [d for d in designs if d["activation"] != "tanh" and d["lut_synthesis"] >= 2000],
        "with tables (tanh)": [d for d in designs if d["activation"] == "tanh"],
    }
    lines = [
        "| quantity | designs | n | MAPE | bias | worst | Spearman | inside the 90 % interval | half-width |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in ("lut", "ff"):
        for title, group in groups.items():
            if len(group) < 3:
                continue
            solver, synthesis = (np.array([d[f"{name}_{of}"] for d in group]) for of in ("solver", "synthesis"))
            found = errors(solver, synthesis)
            emit(quantity=name, group=title, **found)
            covered = "", ""
            if title == "all without tables":
                share, width = coverage(group, name)
                emit(quantity=name, group=title, coverage=share, half_width=width)
                covered = f"{share:.1%}", f"{width:.1%}"
            lines.append(
                f"| {name.upper()} | {title} | {found['designs']} | {found['mape']:.1%} | {found['bias']:+.1%} "
                f"| {found['worst']:.1%} | {found['spearman']:.4f} | {covered[0]} | {covered[1]} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/cost"))
    parser.add_argument("--trainings", type=int, default=len(TRAININGS))
    parser.add_argument("--each", type=int, default=12, help="designs of each training")
    parser.add_argument("--write", action="store_true", help="write the table into the document")
    options = parser.parse_args()
    emit(benchmark="cost", **machine())
    designs = list(collect(options.out, options.trainings, options.each))
    lines = table(designs)
    print("\n".join(lines))
    if options.write:
        put(DOCUMENT, BEGIN, END, "\n".join(lines))


if __name__ == "__main__":
    main()
