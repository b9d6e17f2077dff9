"""Run directories made without training: real writers, a real search, real models, and invented numbers."""

from __future__ import annotations

import functools
import hashlib
import itertools
import tempfile
from pathlib import Path

import numpy as np

from weft import atomic
from weft.compression.finalize import finalize
from weft.compression.recipe import table
from weft.config import load
from weft.errors import TrainingError
from weft.run import Design, Run
from weft.run.directory import DATA, SELECTION
from weft.run.summary import summarize
from weft.search.coordinator import search
from weft.search.job import Job, Result
from weft.search.results import read
from weft.search.workers import InlineWorkers
from weft.space.architecture import Architecture, parse
from weft.space.model import build
from weft.space.sampling import Space
from weft.train.metrics import evaluate as measure

JETS = ("gluon", "light quark", "top", "W", "Z")
HOSTILE = ("<script>alert(1)</script>", 'a "b" & c', "$x_1$ <b>", "-->", "it's")
EVALUATE = f"{__name__}:evaluate"
N_TEST = 4000

TASKS = {
    "classification": {"preset": "jets-demo", "input_shape": (16,), "n_outputs": 5, "metric": "accuracy"},
    "binary": {"preset": "qubit-readout", "input_shape": (12,), "n_outputs": 1, "metric": "fidelity"},
    "regression": {"preset": "jets-demo", "input_shape": (8,), "n_outputs": 2, "metric": "mse"},
}


TWO = (("epoch-40", 1), ("epoch-80", 1))


def make_run(path, task="classification", classes=JETS, trials=30, points=TWO, upto="report", settings=()):
    """Make a run of `task` with designs at `points`, (point, how many trials have it), up to a stage."""
    run = begin(path, task, trials, settings=settings)
    write_data(run, task, classes)
    run.log("stage", name="data", state="ends", seconds=0.4)
    if upto == "data":
        return finish(run, "running")
    run_search(run, task)
    run.log("stage", name="search", state="ends", seconds=312.5)
    if upto == "search":
        return finish(run, "interrupted")
    picked = select(run, max((count for _, count in points), default=1))
    for i, (point, count) in enumerate(points):
        for j, number in enumerate(picked[:count]):
            write_design(run, task, number, point, upto, seed=10 * i + j)
    run.log("stage", name="compress", state="ends", seconds=401.0)
    run.log("stage", name="verify", state="ends", seconds=41.0)
    return finish(run, "finished")


def begin(path, task="classification", trials=30, source="", settings=()) -> Run:
    """Create the run directory."""
    settings = [*settings, 'search.constraints={lut: "<= 12000"}', f"search.trials={trials}", "search.population=10"]
    if task == "regression":
        settings += ["search.objectives=[mse, lut, latency_cycles]", "data.name=null", "data.files={all: data.npz}"]
        settings += ["data.task=regression"]
    experiment = load(TASKS[task]["preset"], settings)
    return Run.create(path, experiment, f"# as written\nname: {experiment.name}\n{source}")


def write_data(run, task, classes):
    names = {"classification": list(classes), "binary": ["ground", "excited"], "regression": []}[task]
    atomic.write_json(
        run.path / DATA,
        {
            "name": run.experiment.data.name or "springs",
            "task": task,
            "n_train": 70000,
            "n_validation": 10000,
            "n_test": N_TEST,
            "input_shape": list(TASKS[task]["input_shape"]),
            "n_outputs": TASKS[task]["n_outputs"],
            "classes": names,
            "scale": "standard",
            "sha256": hashlib.sha256(task.encode()).hexdigest(),
            "source": "16 observables of jets simulated with Pythia 8, bundled with weft",
            "seed": None,
            "notes": ["rows limited to test: first 4000"],
        },
    )


def run_search(run, task):
    """Search with `evaluate` in place of training."""
    config, shape = run.experiment.search, TASKS[task]["input_shape"]
    space = Space(run.experiment.space, shape, TASKS[task]["n_outputs"])
    search(
        config,
        space,
        EVALUATE,
        run.path,
        baselines=space.baselines(config.baselines),
        payload={"task": task},
        workers=InlineWorkers(EVALUATE),
    )


def evaluate(job: Job) -> Result:
    """Invent the numbers of a genotype: larger networks are better, and cost more."""
    genes = parse(job.genotype)
    draw = np.random.default_rng(int(job.key, 16) % 2**32)
    if int(job.key, 16) % 13 == 0:
        raise TrainingError("the loss became nan in epoch 2, step 7 of 68; lower the learning rate")
    sizes = [int(np.prod(genes.input_shape)), *(u for block in genes.blocks for u in block.units), genes.n_outputs]
    products = sum(a * b for a, b in itertools.pairwise(sizes))
    beta = getattr(genes.numbers, "beta", 1e-5)
    lut = products * 3.0 * (1e-5 / beta) ** 0.18 * draw.uniform(0.8, 1.2)
    good = 0.725 - 0.09 / (1 + lut / 900) + draw.normal(0, 0.004)
    weights = Path(job.directory) / "weights.npz"
    weights.touch()
    names = {"classification": ("accuracy", "auc"), "binary": ("accuracy", "fidelity"), "regression": ("mse",)}
    if job.synthesise is not None:
        found = quantity(round(lut * draw.uniform(1.05, 1.1)), "count", "synthesis", "Yosys 0.70, xcup")
        return Result(job.number, job.fold, costs={"lut": found})
    if "final" in job.directory:  # each seed another one, and none as lucky as the search's
        good += np.random.default_rng(job.seed).normal(-0.005, 0.003)
    metrics = {name: 1 - good if name == "mse" else good for name in names[job.payload["task"]]}
    return Result(
        job.number,
        job.fold,
        metrics,
        {"lut": solver(lut), "latency_cycles": solver(len(sizes) * 2 + round(lut / 4000), "cycles")},
        seconds=float(draw.uniform(4, 12)),
        weights=str(weights),
    )


def solver(value, unit="count", **more):
    return quantity(round(value), unit, "solver", "alkaid 0.8.2", **more)


def quantity(value, unit, stage, source, **more):
    return {"value": value, "unit": unit, "stage": stage, "source": source,
            "low": None, "high": None, "reason": None, **more}  # fmt: skip


def select(run, count):
    """Pick trials of the front, spread evenly, and note them."""
    front = read(run.path).front()
    picked = [front[i].number for i in np.linspace(0, len(front) - 1, min(count, len(front))).astype(int)]
    reasons = [{"number": n, "reason": f"knee of accuracy, lut, place {i} of {len(front)} designs on the front",
                "rule": {}} for i, n in enumerate(picked, 1)]  # fmt: skip
    atomic.write_json(run.path / SELECTION, reasons)
    return picked


def write_design(run, task, number, point, upto="report", seed=0, mismatches=0):
    """Write one design; `upto` is the last stage: compress, build, verify or report."""
    draw = np.random.default_rng(seed)
    design = Design(run.path / "designs" / f"t{number:03d}-{point}")
    trail = make_trail(task, draw)
    log = next((row for row in trail if row["point"] == point), trail[-1])
    design.write("architecture.json", architecture_of(task).model_dump(mode="json"))
    atomic.write_text(design.path / "trail.csv", table(trail))
    numbers = {name: value for name, value in log.items() if isinstance(value, float)}
    design.write("training.json", {"trial": number, "recipe": "hgq", "log": numbers})
    atomic.write_bytes(design.model, model_file())
    if upto == "compress":
        return design
    lut = 0.8 * log["ebops"] * (1 + 0.1 * draw.normal())
    ff, cycles = 0.45 * lut, 5 + seed % 4
    period = run.experiment.target.clock_period_ns
    atomic.write_bytes(design.graph, graph_file())
    estimates = {
        "bops": quantity(lut * 41, "bit operations", "predicted", "BOPs, arXiv:2102.11289"),
        "ebops": quantity(log["ebops"], "bit operations", "predicted", "EBOPs of the weights, arXiv:2405.00645"),
        "lut": solver(lut, low=0.9 * lut, high=1.1 * lut),
        "ff": solver(ff, low=0.9 * ff, high=ff),
        "latency_cycles": solver(cycles, "cycles", reason="from input register to output register"),
        "latency_ns": solver(cycles * period, "ns"),
    }
    design.write("cost.json", estimates)
    wide = {**estimates["lut"], "value": 0.7 * lut, "low": 0.6 * lut, "high": 0.9 * lut, "source": "learned 1"}
    models = {name: {"adder_graph": estimates[name]} for name in ("lut", "ff", "latency_ns")}
    models["lut"]["learned"] = {**wide, "stage": "predicted"}
    design.write("estimates.json", {"quantities": models, "refused": {}, "notes": {}})
    if upto == "build":
        return design
    outputs, y = predict(task, draw, 1.5 + 0.25 * np.log10(lut))
    test = measure(outputs, y, task)
    found = {n: {"value": v, "std": None, "error": error_of(n, v), "n": len(y)} for n, v in test.items()}
    design.write("metrics.json", {"validation": {**found}, "test": found})
    atomic.write_arrays(design.path / "predictions.npz", {"outputs": outputs, "y": y})
    design.write("verification.json", verification(cycles, len(y) * outputs.shape[1], mismatches))
    if upto == "verify":
        return design
    made = {"lut": 0.96 * lut, "ff": 0.97 * ff, "dsp": 0, "carry": 0.11 * lut, "bram_18k": 0}
    routed = {"lut": quantity(round(2.1 * lut), "count", "post_route", "nextpnr 0.11 on lfe5u-85f")}
    design.write("routing.json", routed) if seed == 0 else None
    design.write("synthesis.json", {n: quantity(round(v), "count", "synthesis", "yosys 0.70") for n, v in made.items()})
    return design


def error_of(name, value):
    return float(np.sqrt(value * (1 - value) / N_TEST)) if name in ("accuracy", "fidelity") else None


def verification(cycles, values, mismatches=0):
    levels = ["keras", "adder_graph", "rtl"]
    pairs = [
        {"levels": levels[i : i + 2], "values": values, "mismatches": m, "samples": m, "max_difference": 0.25 * bool(m),
         "argmax_agreement": 1.0 - m / 10000, "first_sample": 3 if m else None,
         "first_diverging_layer": "block0_dense1" if m else None}
        for i, m in enumerate((mismatches, 0))
    ]  # fmt: skip
    return {
        "status": "mismatch" if mismatches else "exact",
        "samples": 10000,
        "mismatches": mismatches,
        "levels": levels,
        "pairs": pairs,
        "inputs": {"real": 9744, "extreme": 256},
        "latency_cycles": {"claimed": cycles, "measured": cycles},
        "ii_cycles": 1,
        "arithmetic": "float32",
        "float32_mismatches": 0,
        "overflows": [
            overflow("block0_dense0", "WRAP", share=0.0, largest=0.79, sought=0.79),
            overflow("block0_dense1", "WRAP", share=0.0, largest=0.99, sought=7.9),
            overflow("output", "SAT_SYM", share=0.31, largest=1.9),
        ],
    }


def overflow(layer, mode, share, largest, sought=None):
    return {"layer": layer, "quantizer": f"{layer}_iq", "format": "KIF(0..1, 2..4, -4..6)", "mode": mode,
            "share": share, "largest": largest, "sought": sought}  # fmt: skip


def make_trail(task, draw, epochs=120):
    """Invent the trail of a compression with rising beta."""
    rows = []
    for epoch in range(epochs):
        beta = 10 ** (-6 + 2 * epoch / (epochs - 1))
        ebops = 42000 * (1 + epoch / 4) ** -0.8 * (1 + 0.03 * draw.normal())
        good = 0.728 - 0.1 * np.exp(-epoch / 6) - 8 / ebops**0.9 + 0.002 * draw.normal()
        metrics = {"accuracy": good, "auc": 0.5 + good / 2, "fidelity": good, "mse": 1 - good}
        names = {"classification": ("accuracy", "auc"), "binary": ("accuracy", "fidelity"), "regression": ("mse",)}
        row = {"point": f"epoch-{epoch}", "epoch": float(epoch), "loss": 1.4 - good}
        row |= {name: metrics[name] for name in names[task]}
        rows.append({**row, "learning_rate": 3e-3, "beta": beta, "ebops": float(round(ebops))})
    return rows


def predict(task, draw, strength):
    """Invent outputs for test rows."""
    if task == "regression":
        y = draw.normal(size=(N_TEST, 2)).astype(np.float32)
        return (y + draw.normal(0, 0.3, y.shape)).astype(np.float32), y
    n_outputs = TASKS[task]["n_outputs"]
    y = draw.integers(0, max(n_outputs, 2), N_TEST).astype(np.int32)
    noise = draw.normal(size=(N_TEST, n_outputs))
    signal = np.eye(5)[y] if n_outputs == 5 else (2.0 * y[:, None] - 1)
    return np.round(strength * signal + noise, 2).astype(np.float32), y


def architecture_of(task) -> Architecture:
    """Return the first baseline of the task's preset."""
    experiment, known = load(TASKS[task]["preset"]), TASKS[task]
    space = Space(experiment.space, known["input_shape"], known["n_outputs"])
    return parse(space.baselines(experiment.search.baselines)[0])


@functools.cache
def graph_file() -> bytes:
    """Return the adder graph of that model as a file."""
    from keras import models

    from weft.adder_graph import AdderGraph

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.keras"
        path.write_bytes(model_file())
        AdderGraph.from_model(models.load_model(path, compile=False)).save(Path(directory) / "graph.json.gz")
        return (Path(directory) / "graph.json.gz").read_bytes()


@functools.cache
def model_file() -> bytes:
    """Return a finalised model as a file: widths vary, and some weights are zero. Every design gets this one."""
    architecture, draw = architecture_of("classification"), np.random.default_rng(0)
    block = architecture.blocks[0].model_copy(update={"units": (16,)})
    architecture = architecture.model_copy(update={"blocks": (block,)})
    model = build(architecture)
    for layer in model.layers:
        if hasattr(layer, "kq"):
            width = draw.poisson(2.2, layer._kernel.shape) * draw.integers(0, 2, layer._kernel.shape)
            layer.kq.quantizer._b.assign(np.minimum(width, 8).astype(np.float32))
            layer.kq.quantizer._i.assign(np.zeros(layer._kernel.shape, np.float32))
    model = finalize(model, draw.normal(size=(64, 16)).astype(np.float32))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.keras"
        model.save(path)
        return path.read_bytes()


def finish(run, status) -> Run:
    summarize(run, status, 754.2)
    return run
