"""How long the hardware's numbers take: estimators, verification, synthesis, and how each grows with the design.

One run gives two tables. The first times each estimator on a 16-64-32-32-5 network: sampled at 4 bits with 80 % zeros,
some 3 000 EBOPs as an HGQ network of that size has, or a finalised one of your own. Everything is imported and one
estimate was made before; the caches on disk are those of a temporary directory. `cold` is the solver on a design that
was never seen, `cached` an estimate that another process left on disk (the model's configuration is written once
before), and `cached, in memory` the same again. rule4ml 0.2.0 is asked in both ways, where it is installed (`weft
surrogate install-rule4ml`): as weft does it, a process a network, and as SNAC-Pack does it, in one that lives on.

The second takes 16-w-w/2-w/2-5 networks of several widths w (some 500 to 50 000 LUT), and times, each in a process of
its own with a limit, and each repetition from empty caches: `estimate`, the solver on a design that was never seen;
`verify`, 10 000 rows through Keras, adder graph and RTL with the build of the simulation; `yosys`, synthesis for
UltraScale+. What ran out of the limit says so.

    python benchmarks/hardware.py [--rounds 9] [--design MODEL.keras] [--widths WIDTH ...] [--repetitions 3]
                                  [--limit 300] [--write]

`--write` puts both tables into docs/firmware.md, with a plot beside the second.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _measure import emit, machine, put, spread

from weft.cost import CostInput, FixedTarget, Rule4ml, _cache, find
from weft.cost.rule4ml import interpreter
from weft.errors import ToolError, ToolNotFoundError

TARGET = FixedTarget("xcu250-figd2104-2L-e", 5.0)
WIDTHS = (27, 40, 60, 92, 132, 200, 288, 360)
SAMPLES = 10_000
DOCUMENT = Path(__file__).parents[1] / "docs" / "firmware.md"
PLOT = DOCUMENT.parent / "img" / "growth.svg"
BEGIN, END = "<!-- written by benchmarks/hardware.py -->", "<!-- end of the times -->"

GOALS = {"ebops": "2 ms", "adder_graph, cold": "1 s", "adder_graph, cached": "5 ms"}
"""What an estimate may take at most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--design", type=Path, help="a finalised .keras file")
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS, help="of the networks that grow")
    parser.add_argument("--repetitions", type=int, default=3, help="of each time of a network that grows")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that each tool may take on one of them")
    parser.add_argument("--write", action="store_true", help="write tables and plot into docs/")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is not None:
        name, width, directory = options.step
        emit(**_STEPS[name](int(width), Path(directory)))
        return
    about = {"benchmark": "hardware", **machine()}
    emit(**about)
    try:
        rule4ml = str(interpreter())
    except ToolNotFoundError as error:
        print(f"rule4ml is not timed: {error}", file=sys.stderr)
        rule4ml = None
    with tempfile.TemporaryDirectory() as directory:
        os.environ["WEFT_CACHE"] = directory
        estimators = _estimators(_design(options.design), options.rounds)
        if rule4ml:
            os.environ["WEFT_RULE4ML_PYTHON"] = rule4ml
            estimators |= _rule4ml(rule4ml, min(options.rounds, 5))
    rows = _growth(options.widths, options.repetitions, options.limit)
    if options.write:
        put(DOCUMENT, BEGIN, END, "\n".join([*_estimated(estimators), "", *_grown(rows, about, options.limit)]))
        _plot(rows, options.limit)


def _design(path: Path | None) -> Any:
    from weft.blocks.mlp import MlpGenes
    from weft.cost import sampled_model
    from weft.space.architecture import Architecture

    if path is not None:
        from weft.run.design import load_model

        return load_model(path)
    network = Architecture(input_shape=(16,), n_outputs=5, blocks=(MlpGenes(units=(64, 32, 32)),))
    return sampled_model(network, bits=4, sparsity=0.8, seed=1)


def _estimators(model: Any, rounds: int) -> dict[str, dict[str, Any]]:
    """Time weft's own estimators; return what `_seconds` does, by label."""
    costs = {name: find(name).estimate([CostInput(model)], TARGET)[0] for name in ("ebops", "bops", "adder_graph")}
    emit(design="16-64-32-32-5", ebops=costs["ebops"]["ebops"].value, lut=costs["adder_graph"]["lut"].value)

    def ask(name: str) -> Callable[[], Any]:
        return lambda: find(name).estimate([CostInput(model)], TARGET)

    def cold() -> None:
        for path in _cache.directory().rglob("*.json"):
            path.unlink()
        _cache._memory.clear()

    found = {}
    for label, name, before in (
        ("ebops", "ebops", None),
        ("bops", "bops", None),
        ("adder_graph, cold", "adder_graph", cold),
        ("adder_graph, cached", "adder_graph", _cache._memory.clear),
        ("adder_graph, cached, in memory", "adder_graph", None),
    ):
        found[label] = _seconds(ask(name), rounds if before is cold else 20 * rounds, before)
        emit(estimator=label, **found[label])
    return found


def _rule4ml(python: str, rounds: int) -> dict[str, dict[str, Any]]:
    """Time rule4ml on the network of the estimators, as weft asks it and as SNAC-Pack does."""
    one = Rule4ml()
    layers = [(64, "relu"), (32, "relu"), (32, "relu"), (5, "linear")]
    bits = iter(range(4, 4 + rounds))
    ours = _seconds(lambda: one.ask(16, layers, next(bits), "alveo-u250"), rounds)
    done = subprocess.run(
        [python, "-P", str(Path(__file__).with_name("_rule4ml.py")), "16-64-32-32-5", str(rounds)],
        env={name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "KERAS_BACKEND")},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(done.stdout)
    found = {
        "rule4ml as weft asks it, a process a network": ours,
        f"rule4ml as SNAC-Pack asks it, {theirs['rows']} rows of which one is used": {
            "seconds": spread(theirs["wall"]),
            "cpu_seconds": spread(theirs["cpu"]),
        },
    }
    for label, times in found.items():
        emit(estimator=label, **times)
    return found


def _estimated(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of the estimators."""

    def cell(seconds: float) -> str:
        return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1e3 * seconds:.2f} ms"

    rows = [
        [label, cell(times["seconds"]["median"]), cell(times["cpu_seconds"]["median"]), GOALS.get(label, "")]
        for label, times in found.items()
    ]
    head = ["estimate of a 16-64-32-32-5 network", "wall", "processor", "goal"]
    return [f"| {' | '.join(line)} |" for line in (head, ["---", *["---:"] * 3], *rows)]


def _growth(widths: Any, repetitions: int, limit_s: float) -> list[dict[str, Any]]:
    """Time every step on designs of several widths; a step is left out where one that it needs ran out of time."""
    rows = []
    for width in widths:
        with tempfile.TemporaryDirectory() as directory:
            row: dict[str, Any] = {"width": width}
            for name in _STEPS:
                row |= _step(name, width, Path(directory), repetitions, limit_s)
                if "lut" not in row:
                    break
        rows.append(row)
        emit(**row)
    return rows


def _step(name: str, width: int, directory: Path, repetitions: int, limit_s: float) -> dict[str, Any]:
    """Return the medians of a step's wall and processor seconds, and what it says of the design; or its failure."""
    from weft.firmware._process import run_logged

    found: list[dict[str, Any]] = []
    for number in range(repetitions):
        answer = directory / "answer.json"
        with answer.open("wb") as stdout:
            try:
                run_logged(
                    [sys.executable, __file__, "--step", name, str(width), str(directory)],
                    task=f"{name} a network of width {width}",
                    log=directory / "log",
                    timeout_s=limit_s + _START_S,
                    cwd=Path(__file__).parent,
                    stdout=stdout,
                    env={"WEFT_CACHE": str(directory / f"cache-{number}")},
                )
            except ToolError as error:
                late = "not done after the limit" in str(error)
                return {name: f"over {limit_s:g} s" if late else "failed", f"{name}_said": str(error)[-300:]}
        found.append(json.loads(answer.read_text().splitlines()[-1]))
    medians = {key: statistics.median(one[key] for one in found) for key in ("seconds", "cpu_seconds")}
    more = {key: value for key, value in found[0].items() if key not in medians}
    if medians["seconds"] > limit_s:
        return {name: f"over {limit_s:g} s", **more}
    return {name: medians["seconds"], f"{name}_cpu": medians["cpu_seconds"], "repetitions": repetitions, **more}


_START_S = 60.0
"""What a process may take before it begins to measure: imports, reading the model."""


def _timed(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return what a call gives, and its wall and processor seconds, those of its children too."""

    start, before = time.perf_counter(), _spent()
    result = call()
    return result, {"seconds": time.perf_counter() - start, "cpu_seconds": _spent() - before}


def _spent() -> float:
    """Return the processor seconds so far, those of children that ended too."""
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in each)


def _estimate(width: int, directory: Path) -> dict[str, Any]:
    """Time the solver, and leave model, graph and project for the other steps."""
    from weft.adder_graph import AdderGraph
    from weft.firmware import emit as emit_rtl
    from weft.run.design import save_model

    model = _of_width(width)
    AdderGraph.from_model(_of_width(4)).cost(TARGET.clock_period_ns)  # everything is imported and compiled
    graph, times = _timed(lambda: AdderGraph.from_model(model))
    cost, more = _timed(lambda: graph.cost(TARGET.clock_period_ns))
    save_model(directory / "model.keras", model)
    graph.save(directory / "graph.json.gz")
    emit_rtl(graph, directory / "project", TARGET.part, TARGET.clock_period_ns)
    return {"lut": cost["lut"].value, **{key: times[key] + more[key] for key in times}}


def _verify(width: int, directory: Path) -> dict[str, Any]:
    from weft.adder_graph import AdderGraph
    from weft.firmware import Project, Simulator, random_inputs, verify
    from weft.run.design import load_model

    model, graph = load_model(directory / "model.keras"), AdderGraph.load(directory / "graph.json.gz")
    project, x = Project.open(directory / "project"), random_inputs(graph, SAMPLES)
    found, times = _timed(lambda: verify(model, graph, Simulator(project), x, exhaustive_bits=0, seek=False))
    return {"status": found.status, "samples": found.samples, **times}


def _yosys(width: int, directory: Path) -> dict[str, Any]:
    from weft.firmware.synth import synthesise

    found, times = _timed(lambda: synthesise(directory / "project", TARGET.part, timeout_s=1e9))
    return {"yosys_lut": found["lut"].value, **times}


_STEPS: dict[str, Callable[[int, Path], dict[str, Any]]] = {"estimate": _estimate, "verify": _verify, "yosys": _yosys}


def _of_width(width: int) -> Any:
    from weft.blocks.mlp import MlpGenes
    from weft.cost import sampled_model
    from weft.space.architecture import Architecture

    units = (width, max(width // 2, 2), max(width // 2, 2))
    network = Architecture(input_shape=(16,), n_outputs=5, blocks=(MlpGenes(units=units),))
    return sampled_model(network, bits=4, sparsity=0.8, seed=1)


def _grown(rows: list[dict[str, Any]], about: dict[str, Any], limit_s: float) -> list[str]:
    """Return the table of the networks that grow."""

    def cell(row: dict[str, Any], name: str) -> str:
        value = row.get(name, "not run")
        return value if isinstance(value, str) else f"{value:.1f} ({row[f'{name}_cpu']:.1f})"

    head = ["LUT (alkaid)", "LUT (Yosys)", *(f"{name}, s" for name in _STEPS), "verified"]
    lines = [head, ["---:"] * len(head)]
    for row in rows:
        sizes = [f"{row[key]:,.0f}" if key in row else "-" for key in ("lut", "yosys_lut")]
        lines.append([*sizes, *(cell(row, name) for name in _STEPS), row.get("status", "-")])
    machine_line = f"{about['processor']}, {about['cores']} core(s), load {about['load']:.1f} at the start"
    n = max(row.get("repetitions", 0) for row in rows)
    return [
        f"Wall seconds, in brackets processor seconds; medians of {n}; {SAMPLES:,} rows verified; limit {limit_s:g} s "
        f"a tool. {machine_line}.",
        "",
        *(f"| {' | '.join(line)} |" for line in lines),
        "",
        f"![Seconds by size of the design](img/{PLOT.name})",
    ]


def _plot(rows: list[dict[str, Any]], limit_s: float) -> None:
    """Draw seconds of processor time against look-up tables; what ran out of its limit is an open mark on the limit."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "weft"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    sized = [row for row in rows if "lut" in row]
    for i, name in enumerate(_STEPS):
        color, done = f"C{i}", [row for row in sized if f"{name}_cpu" in row]
        axes.plot([row["lut"] for row in done], [row[f"{name}_cpu"] for row in done], "o-", color=color, label=name)
        late = [row["lut"] for row in sized if str(row.get(name, "")).startswith("over")]
        axes.plot(late, [limit_s] * len(late), "^", color=color, fillstyle="none")
    axes.axhline(limit_s, linestyle=":", linewidth=1, color="gray")
    axes.set(xscale="log", yscale="log", xlabel="LUT by the solver", ylabel="processor time (s)")
    axes.legend()
    PLOT.parent.mkdir(exist_ok=True)
    figure.savefig(PLOT, metadata={"Date": None})


def _seconds(call: Callable[[], Any], n: int, before: Callable[[], Any] | None = None) -> dict[str, Any]:
    """Return wall and processor seconds of a call, medians with quartiles."""
    found = []
    for _ in range(n):
        if before is not None:
            before()
        found.append(_timed(call)[1])
    return {key: spread([one[key] for one in found]) for key in ("seconds", "cpu_seconds")}


if __name__ == "__main__":
    main()
