"""What learnt estimators learn from: designs, what was counted of each, and what synthesis made of it.

Some are drawn: networks of random shapes, widths and zeros. Most are trained: checkpoints on the way of trainings with
learned widths while the price of bits rises, spread over their size, and the designs of runs. A family is what was made
in one go, one training or one batch of draws, and is one file; families that are there already are not made again.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from weft import atomic
from weft.errors import DataError, UnsupportedError
from weft.types import Progress, Quantity, no_progress

if TYPE_CHECKING:
    import keras

    from weft.adder_graph import AdderGraph

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).with_name("corpus.jsonl")
"""The corpus that weft's own model is fitted to."""

PART, CLOCK_NS = "xcvu13p-flga2577-2-e", 5.0
"""All designs are made for this part and this clock; how a clock changes registers, the compiler counts itself."""

SMALLEST, LARGEST = 50, 10_000
"""Sizes by the compiler's count, in LUT, between which designs are taken; drawn ones are small by their widths."""

BATCH = 20
"""So many drawn designs are a family."""

WIDTHS = (4, 6, 8, 12, 16, 24, 32, 48)
"""Of drawn layers: few, since every shape is compiled once."""

TRAININGS: tuple[tuple[str, tuple[int, ...], str, float], ...] = (
    ("jets-hlf", (32,), "relu", 3e-3),
    ("jets-hlf", (32, 32, 16), "relu", 3e-3),
    ("jets-hlf", (8,), "relu", 3e-3),
    ("jets-hlf", (64, 32, 32), "relu", 3e-3),
    ("jets-hlf", (16, 16), "relu", 3e-3),
    ("jets-constituents", (32, 16), "relu", 3e-3),
    ("jets-hlf", (24, 24, 24, 24), "relu", 3e-3),
    ("jets-hlf", (64, 16), "leaky_relu", 3e-3),
    ("jets-constituents", (16,), "relu", 3e-3),
    ("jets-hlf", (16, 16, 16, 16, 16), "relu", 3e-3),
    ("jets-hlf", (16, 16), "tanh", 3e-3),
    ("jets-hlf", (16, 8), "relu", 1e-1),
    ("jets-constituents", (8, 8), "relu", 1e-1),
)
"""Data, hidden layers and activation of each training, and the price of a bit that it ends with; the dear ones are for
designs of some hundred LUT."""


class Record(BaseModel):
    """One design of a corpus.

    Attributes:
        family: What was made in one go; designs of one family are alike.
        name: Its name in the family.
        depth: How many hidden layers it has.
        width: Neurons of its widest hidden layer.
        bits: Mean width of the weights that are used, from their highest to their lowest bit that is not 0.
        ebops: Live EBOPs (`weft.cost.ebops`).
        features: What the readout sees (`weft.cost.readout`).
        measured: What synthesis found, by quantity: a count.
        tools: Versions of compiler and synthesis.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: str
    name: str
    depth: int
    width: int
    bits: float
    ebops: float
    features: dict[str, float]
    measured: dict[str, float]
    tools: dict[str, str]


def build(out: Path, drawn: int, trainings: int, each: int, progress: Progress = no_progress) -> list[Record]:
    """Make the families of a corpus that are missing, and return all of it.

    Args:
        out: Directory of the corpus; a file for each family.
        drawn: How many designs are drawn, in families of `BATCH`.
        trainings: How many of `TRAININGS` are run.
        each: Designs of each training.
        progress: Is told about families.

    Raises:
        ToolError: Synthesis failed.
        DataError: A file of the corpus is damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    batches = -(-drawn // BATCH)
    families = {f"drawn-{n:03}": n for n in range(batches)} | {f"trained-{n:02}": n for n in range(trainings)}
    for done, (family, number) in enumerate(families.items()):
        progress(done, len(families), family)
        file = out / f"{family}.jsonl"
        if not file.exists():
            kind = _drawn(number) if family.startswith("drawn") else _trained(number, each)
            write(file, [one for name, model in kind if (one := measured(family, name, model))])
    progress(len(families), len(families), "done")
    return read([out / f"{family}.jsonl" for family in families])


def write(file: Path, records: Iterable[Record]) -> None:
    """Write a family, whole or not at all."""
    atomic.write_text(file, "".join(one.model_dump_json() + "\n" for one in records))


def read(files: Iterable[Path]) -> list[Record]:
    """Read a corpus.

    Raises:
        DataError: A file is missing, damaged, or of a weft that counted other features.
    """
    from weft.cost.readout import FEATURES

    found = []
    for file in files:
        try:
            lines = file.read_text("utf-8").splitlines()
        except OSError as error:
            reason = f"cannot read the corpus {file} ({error.strerror}); make it by `weft surrogate build`"
            raise DataError(reason) from error
        for number, line in enumerate(lines, 1):
            try:
                one = Record.model_validate_json(line)
            except ValidationError as error:
                raise DataError(f"line {number} of the corpus {file} is damaged: {error.errors()[0]['msg']}") from error
            if set(one.features) != set(FEATURES):
                raise DataError(f"line {number} of the corpus {file} has features of another version; build it again")
            found.append(one)
    return found


def measured(family: str, name: str, model: keras.Model) -> Record | None:
    """Count and synthesise one finalised model; None, and a line in the log, if it is of no use to a corpus."""
    from weft.adder_graph import AdderGraph
    from weft.firmware import emit
    from weft.firmware.synth import synthesise

    try:
        graph = AdderGraph.from_model(model)
    except UnsupportedError as error:
        log.info("%s %s is left out: %s", family, name, error)
        return None
    if graph.is_constant or not SMALLEST <= graph.lut <= LARGEST:
        log.info("%s %s is left out: %.0f LUT, and a corpus has %d to %d", family, name, graph.lut, SMALLEST, LARGEST)
        return None
    with tempfile.TemporaryDirectory(prefix="weft-corpus-") as scratch:
        emit(graph, Path(scratch) / "firmware", PART, CLOCK_NS)
        return record(family, name, model, graph, synthesise(Path(scratch) / "firmware", PART, timeout_s=1200))


def record(
    family: str,
    name: str,
    model: keras.Model,
    graph: AdderGraph,
    used: Mapping[str, Quantity],
    clock_period_ns: float = CLOCK_NS,
) -> Record:
    """Return what a corpus holds of a design that was synthesised for a clock: `used` is what synthesis found."""
    from weft.adder_graph import SOURCE
    from weft.cost import CostInput, FixedTarget, find
    from weft.cost.readout import features

    design = CostInput(model, graph)
    counted = features(graph, clock_period_ns)
    ebops = find("ebops").estimate([design], FixedTarget(PART, clock_period_ns))[0]["ebops"].value
    weighted = [product for product in design.products if product.second.values is not None]
    widths = np.concatenate([product.second.least_bits[product.used] for product in weighted])
    hidden = [int(product.second.bits.shape[-1]) for product in weighted[:-1]]
    return Record(
        family=family,
        name=name,
        depth=len(hidden),
        width=max(hidden, default=0),
        bits=float(widths.mean()),
        ebops=float(ebops or 0),
        features=counted,
        measured={quantity: float(used[quantity].value or 0) for quantity in ("lut", "ff")},
        tools={"compiler": SOURCE, "synthesis": used["lut"].source},
    )


def _drawn(number: int) -> Iterator[tuple[str, Any]]:
    """Yield networks of random shapes, bits and zeros; the same number gives the same ones."""
    from weft.cost.sampled import sampled_model
    from weft.space.architecture import parse

    rng = np.random.default_rng((2026, number))
    found = 0
    while found < BATCH:
        units = [int(n) for n in rng.choice(WIDTHS, rng.integers(1, 6))]
        n_in, n_out = int(rng.choice((4, 8, 16, 24, 32))), int(rng.choice((1, 2, 5, 10)))
        bits, sparsity, seed = int(rng.integers(2, 9)), float(rng.uniform(0.0, 0.9)), int(rng.integers(2**31))
        n_products = sum(a * b for a, b in pairwise([n_in, *units, n_out]))
        if not SMALLEST < n_products * (1 - sparsity) * bits**2 / 2 < LARGEST / 2:
            continue
        block = {"type": "mlp", "units": units, "activation": str(rng.choice(["relu", "relu", "leaky_relu"]))}
        architecture = parse(
            {"input_shape": [n_in], "n_outputs": n_out, "blocks": [block], "numbers": {"mode": "float"}}
        )
        yield f"{found:02}", sampled_model(architecture, bits, sparsity, seed)
        found += 1


def _trained(number: int, each: int) -> Iterator[tuple[str, Any]]:
    """Train one network, and yield points of its front, the largest first."""
    from weft.compression import hgq
    from weft.compression.finalize import finalize
    from weft.compression.network import Network
    from weft.compression.training import Material
    from weft.config import HgqCompression
    from weft.config import load as load_config
    from weft.data import load
    from weft.space.architecture import parse

    name, units, activation, dearest = TRAININGS[number]
    experiment = load_config(
        "jets-mlp",
        [
            f"data.name={name}",
            "compress={recipe: hgq, epochs: 80, finetune_epochs: 0, batch_size: 512}",
            f"compress.beta={{from: 3.0e-7, to: {dearest:g}}}",
        ],
    )
    config = experiment.compress
    assert isinstance(config, HgqCompression)  # the recipe above
    dataset = load(experiment.data)
    block = {"type": "mlp", "units": list(units), "activation": activation}
    shape = list(dataset.train.x.shape[1:])
    architecture = parse(
        {"input_shape": shape, "n_outputs": 5, "blocks": [block], "numbers": {"mode": "float"}, "learning_rate": 2e-3}
    )
    material = Material.of(dataset, experiment.data)
    with tempfile.TemporaryDirectory(prefix="weft-corpus-") as scratch:
        outcome = hgq.run(Network.of_architecture(architecture), material, config, number, Path(scratch))
        rows = np.concatenate([split.x for split in material.splits])
        points = sorted(outcome.candidates, key=lambda point: -point.log["ebops"])
        for point in _spread_over_size(points, each):
            yield point.name, finalize(point.model(), rows)


def _spread_over_size(points: Sequence[Any], count: int) -> list[Any]:
    """Choose points whose EBOPs are evenly spread in the logarithm."""
    sizes = np.log([max(point.log["ebops"], 1.0) for point in points])
    wanted = np.linspace(min(sizes[0], np.log(3 * LARGEST)), max(sizes[-1], np.log(SMALLEST)), count)
    chosen = {int(np.abs(sizes - goal).argmin()) for goal in wanted}
    return [points[i] for i in sorted(chosen)]
