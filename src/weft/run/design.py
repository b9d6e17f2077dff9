"""What happens to one design in a process of its own: it is compressed; it is built, verified and synthesised."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft import atomic
from weft.config import FirmwareConfig
from weft.run.directory import Design, Run
from weft.run.parallel import Report

if TYPE_CHECKING:
    from weft.firmware import Level

log = logging.getLogger(__name__)


def compress_job(job: dict[str, Any], report: Report) -> list[str]:
    """Compress one picked trial by one recipe into designs and return their ids; none where it is a part of the work.

    `job` holds `run` (the directory), `trial`, `genotype`, `weights` (relative to the run), `place` (the folder in
    `compress`), `label` (of the recipe, where there are several), and `part` if it is to train one part alone.
    """
    from weft.compression.recipe import compress, table
    from weft.compression.training import Material
    from weft.data import load
    from weft.space.architecture import parse

    run = Run(job["run"])
    experiment = run.experiment
    material = Material.of(load(experiment.data), experiment.data)
    with np.load(run.path / job["weights"]) as archive:
        weights = {name: archive[name] for name in archive.files}
    place, label, config = run.path / "compress" / job["place"], job["label"], experiment.compress
    recipe = config.recipes[label] if config.recipe == "several" else config
    seed, part = experiment.search.seed, job.get("part")
    made = compress(parse(job["genotype"]), material, recipe, seed, weights, place, report, part)
    ids = []
    for one in made:
        beginning = f"t{job['trial']:03d}-" + ("" if label is None else f"{label}-")
        design = Design(run.path / "designs" / f"{beginning}{one.name}")
        assert one.architecture is not None  # the trial's
        design.write("architecture.json", one.architecture.model_dump(mode="json"))
        trail = place / "trail.csv"
        atomic.write_text(design.path / "trail.csv", trail.read_text() if trail.exists() else table([]))
        said = {"trial": job["trial"], "recipe": recipe.recipe, "label": label, "log": one.log}
        design.write("training.json", said)
        save_model(design.model, one.model)
        ids.append(design.id)
    return ids


def save_model(path: Path, model: Any) -> None:
    """Write a Keras model so that it appears whole or not at all."""
    temporary = path.with_name(f".writing-{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(temporary)
    atomic.write_bytes(path, temporary.read_bytes())
    temporary.unlink()


def hardware_job(job: dict[str, Any], report: Report) -> None:
    """Build, verify, measure and synthesise one design; a step whose result is there already is left out.

    `job` holds `run` (the directory), `design` (the id), `steps` (of `RESULTS`) and the section `firmware` they go by.
    """
    run = Run(job["run"])
    firmware = FirmwareConfig.model_validate(job["firmware"])
    run.experiment = run.experiment.model_copy(update={"firmware": firmware})
    design, steps = run.design(job["design"]), job["steps"]
    for done, step in enumerate(steps):
        if design.read(RESULTS[step]) is None:  # asked now: a step may drop the result of a later one
            report(done, len(steps), step)
            _STEPS[step](run, design)


def _build(run: Run, design: Design) -> None:
    from weft.adder_graph import AdderGraph
    from weft.cost import CostInput, FixedTarget, costs_of, side_by_side
    from weft.firmware import emit
    from weft.objectives import COSTS, is_function

    target, model, models = run.experiment.target, load_model(design.model), run.experiment.cost.models
    graph = AdderGraph.from_model(model, run.experiment.firmware.rtl)
    graph.save(design.graph)
    emit(graph, design.firmware, target.part, target.clock_period_ns)
    asked = FixedTarget(target.part, target.clock_period_ns, hls=run.experiment.firmware.hls)
    found = side_by_side(CostInput(model, graph), models, asked)
    design.write("estimates.json", found.model_dump(mode="json"))
    costs = {name: next(iter(by_model.values())) for name, by_model in found.quantities.items()}
    search = run.experiment.search
    names = dict.fromkeys((*COSTS, *filter(is_function, (*search.objectives, *search.constraints))))
    others = [name for name in names if name not in costs]
    able = [name for name in models if name not in found.refused]
    costs |= costs_of(model, others, target.part, target.clock_period_ns, graph=graph, among=able, gaps=True,
                      firmware=run.experiment.firmware)  # fmt: skip
    design.write("cost.json", {name: costs[name].model_dump(mode="json") for name in names})


def _verify(run: Run, design: Design) -> None:
    from weft.adder_graph import AdderGraph
    from weft.data import load
    from weft.firmware import Project, simulator_of, verify

    config, model, dataset = run.experiment.firmware.verify, load_model(design.model), load(run.experiment.data)
    test = dataset.test()
    design.write("metrics.json", measure(model, dataset, test, design))
    real = test.x
    if len(real) < config.samples:
        real = np.concatenate([real, dataset.validation.x, dataset.train.x])
    simulator, skipped = simulator_of(Project.open(design.firmware))
    further, without = hls_level(design)
    found = verify(model, AdderGraph.load(design.graph), simulator, real[: config.samples], extremes=config.extremes,
                   exhaustive_bits=config.exhaustive_bits, seek=config.seek, further=further,
                   skipped=skipped | without)  # fmt: skip
    design.write("verification.json", {**found.model_dump(mode="json"), "sentence": found.sentence})


def hls_level(design: Design) -> tuple[list[Level], dict[str, str]]:
    """Return the C simulation of a design's HLS project as a further level; where there is none, the reason."""
    from weft.firmware.hls import level_of

    level, without = level_of(design.hls)
    said = design.read(RESULTS["hls"]) or {}
    if without and said.get("status") == "refused":
        without = {name: said["sentence"] for name in without}
    return ([] if level is None else [level]), without


def _synthesise(run: Run, design: Design) -> None:
    from weft.adder_graph import AdderGraph
    from weft.cost.fractions import shares_of
    from weft.firmware.synth import synthesise_by, synthesise_layers

    config, target = run.experiment.firmware, run.experiment.target
    found = synthesise_by(config, design.firmware, target.part)
    if config.synth_layers:
        graph, limit = AdderGraph.load(design.graph), 60.0 * config.synth_timeout_minutes
        design.write("layers.json", synthesise_layers(graph, target.part, target.clock_period_ns, limit))
    found |= shares_of(found, target.part)
    design.write("synthesis.json", {name: quantity.model_dump(mode="json") for name, quantity in found.items()})


def _route(run: Run, design: Design) -> None:
    from weft.firmware.synth import route, vivado

    config, target = run.experiment.firmware, run.experiment.target
    clock, limit = target.clock_period_ns, 60.0 * config.route_timeout_minutes
    if config.route == "vivado":
        found = vivado.route(design.firmware, target.part, clock, limit, memory_gib=config.tool_memory_gib)
    else:
        found = route(design.firmware, config.route_part, clock, timeout_s=limit)
    design.write("routing.json", {name: quantity.model_dump(mode="json") for name, quantity in found.items()})


def _hls(run: Run, design: Design) -> None:
    from weft.adder_graph import AdderGraph
    from weft.data import load
    from weft.errors import UnsupportedError
    from weft.firmware import extreme_inputs
    from weft.firmware.hls import build, emit, find, simulate
    from weft.firmware.hls.cosim import some_rows

    config, target, checks = run.experiment.firmware.hls, run.experiment.target, run.experiment.firmware.verify
    assert config is not None  # the step is left out otherwise
    found: dict[str, Any] = {"project": None, "verification": None, "estimates": {}, "quantities": {}}
    find(config.strategy)
    (design.path / RESULTS["verify"]).unlink(missing_ok=True)  # it is of a design without this level
    model = load_model(design.model)
    try:
        project = emit(model, design.hls, config, target.part, target.clock_period_ns)
    except UnsupportedError as error:
        log.warning("%s: %s", design.id, error)
        design.write("hls.json", {**found, "status": "refused", "sentence": str(error)})
        return
    found["estimates"] = _hls_estimates(design.id, model, project.part, target.clock_period_ns, config)
    found["project"], graph, dataset = project.describe(), AdderGraph.load(design.graph), load(run.experiment.data)
    x = np.concatenate([dataset.validation.x, dataset.train.x])[: checks.samples]
    if checks.extremes:
        x = np.concatenate([x, extreme_inputs(graph)])
    found |= simulate(project, graph, x)
    if config.build == "vendor" and found["status"] != "mismatch":
        rows = some_rows(x) if config.cosim else None
        built = build(project, timeout_s=60.0 * config.timeout_minutes, memory_gb=config.memory_gb,
                      cosim=None if rows is None else (rows, graph.predict(rows)))  # fmt: skip
        found["quantities"] = {
            stage: {name: quantity.model_dump(mode="json") for name, quantity in quantities.items()}
            for stage, quantities in built.items()
        }
    design.write("hls.json", found)


def _hls_estimates(name: str, model: Any, part: str, clock_period_ns: float, config: Any) -> dict[str, Any]:
    """Return what the rules for hls4ml expect; nothing where they do not reach, and the log says why."""
    from weft.cost import CostInput, HlsTarget, find
    from weft.errors import UnsupportedError

    try:
        [found] = find("hls4ml").estimate([CostInput(model=model)], HlsTarget(part, clock_period_ns, config))
    except UnsupportedError as error:
        log.warning("%s: %s", name, error)
        return {}
    return {name: quantity.model_dump(mode="json") for name, quantity in found.quantities.items()}


_STEPS = {"build": _build, "hls": _hls, "verify": _verify, "synth": _synthesise, "route": _route}
RESULTS = {
    "build": "cost.json",
    "hls": "hls.json",
    "verify": "verification.json",
    "synth": "synthesis.json",
    "route": "routing.json",
}
"""The steps from a design to measured firmware, in order, and the file that each leaves when it is done."""


def load_model(path: Path) -> Any:
    """Read a finalised model, from a .keras file or one of QONNX (.onnx).

    A Keras model that is not finalised is finalised here, with the ranges that it has, and a warning says so.

    Raises:
        ConfigError: The file is no model.
        UnsupportedError: It is one that cannot be finalised, such as a float model, or read exactly.
    """
    if path.suffix == ".onnx":
        from weft.onnx import from_qonnx

        return from_qonnx(path)
    from weft.compression.finalize import finalize
    from weft.compression.finalized import Finalized
    from weft.quantize.files import read_model

    model = read_model(path)
    if isinstance(model, Finalized):
        return model
    final = finalize(model)
    log.warning(
        "%s is not finalised: finalised here, with its masks fixed as they are and the ranges that it has; "
        "weft.finalize(model, x) finds ranges on data, and its result can be saved in place of this file",
        path,
    )
    return final


def measure(model: Any, dataset: Any, test: Any, design: Design) -> dict[str, Any]:
    """Return the finalised model's metrics on validation and test; its test logits are stored beside the design.

    `error` is the statistical error of a share measured on the rows of the split, where the metric is one.
    """
    from weft.train.metrics import evaluate

    found: dict[str, Any] = {}
    for name, split in (("validation", dataset.validation), ("test", test)):
        outputs = np.asarray(model.predict(split.x, batch_size=8192, verbose=0))
        found[name] = {
            metric: {"value": value, "std": None, "error": _error(metric, value, len(split)), "n": len(split)}
            for metric, value in evaluate(outputs, split.y, dataset.task).items()
        }
        if name == "test":
            atomic.write_arrays(design.path / "predictions.npz", {"outputs": outputs, "y": split.y})
    return found


def _error(metric: str, value: float, n: int) -> float | None:
    return float(np.sqrt(value * (1.0 - value) / n)) if metric in ("accuracy", "fidelity") else None
