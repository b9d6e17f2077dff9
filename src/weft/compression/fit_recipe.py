"""Recipe `fitcompress`: pretrain in float, find widths and masks for a goal, then train with both fixed.

The search is `weft.compression.fitcompress` (arXiv:2302.07612). Weights are kept in range while the network pretrains,
since widths grow with them otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weft.compression.fitcompress import fitcompress, weights_within
from weft.compression.fixed import IO_BITS
from weft.compression.outcome import Candidate, Outcome
from weft.compression.training import Material, prepare, rate
from weft.config import FitCompression
from weft.config.numbers import FixedNumbers, LayerSettings
from weft.errors import ShapeError
from weft.prune.magnitude import Magnitude
from weft.quantize.graph import walk
from weft.quantize.kernels import pruned_kernels
from weft.quantize.operations import is_pure
from weft.quantize.pruned import FINETUNE
from weft.quantize.selection import settings_of
from weft.train.track import KeepBest
from weft.types import Progress, no_progress

if TYPE_CHECKING:
    import keras

    from weft.compression.network import Network

CALIBRATION_BATCHES = 100
CALIBRATION_ROWS = 128
"""Rows of one batch that the Fisher information is measured with."""


def run(
    network: Network,
    material: Material,
    config: FitCompression,
    seed: int,
    directory: Path,
    progress: Progress = no_progress,
) -> Outcome:
    """Pretrain, search and train; checkpoints in `directory` make the call resumable.

    Raises:
        BudgetError: The goal cannot be reached; the message names the closest rate.
    """
    model = _pretrained(network, material, config, seed, directory / "pretrain.npz", progress)
    train = material.splits[0]
    rows = np.random.default_rng(seed).permutation(len(train.x))[: CALIBRATION_BATCHES * CALIBRATION_ROWS]
    parts = [rows[i : i + CALIBRATION_ROWS] for i in range(0, len(rows), CALIBRATION_ROWS)]
    training = prepare(model, material, config, config.learning_rate)
    batches = [(training.train.x[part], training.train.y[part]) for part in parts]
    found = fitcompress(model, training.engine.loss, batches, config.search, granularity=config.granularity)

    numbers = FixedNumbers(
        total_bits=config.search.weight_bits[0],
        granularity=config.granularity,
        io_bits=network.input_bits(config.io_bits) or IO_BITS,
    )
    compressed = replace(network, make=lambda seed: model).build(
        numbers, seed, prune=Magnitude(), layers=_merged(found.layers, config.layers)
    )
    _fix(compressed, found.masks)
    training = prepare(compressed, material, config, config.learning_rate, network.l1)
    best = KeepBest(training.metric)
    state, history = training.fit(
        training.plan(config, {"learning_rate": rate(config, config.learning_rate)}, seed),
        trackers=[best],
        path=directory / "checkpoint.npz",
        progress=lambda done, _, note: progress(config.pretrain_epochs + done, config.total_epochs, note),
        note=f"{network.label}, {config.search.goal.kind} {found.rate:,.4g}",
    )
    candidate = Candidate(
        name=f"epoch-{best.best.epoch}",
        log={**best.best.log, found.goal.kind: found.rate},
        model=lambda: training.model_of(best.best.onto(state)),
        architecture=network.in_numbers(numbers),
    )
    return Outcome([{"point": f"epoch-{int(e['epoch'])}", **e} for e in history.epochs], [candidate])


def _merged(found: Mapping[str, LayerSettings], given: Mapping[str, LayerSettings]) -> dict[str, LayerSettings]:
    """Return the settings of layers, where what was given goes before what was found, setting by setting."""
    both = {**found, **given}
    for name in found.keys() & given.keys():
        both[name] = settings_of({f"{name}*": found[name], name: given[name]}, name)
    return both


def _pretrained(
    network: Network, material: Material, config: FitCompression, seed: int, path: Path, progress: Progress
) -> keras.Model:
    """Return the float network after its pretraining, its weights kept in [-1, 1]."""
    model = network.make(seed)
    if config.pretrain_epochs == 0:
        return model
    with weights_within(model, config.weight_limit):
        training = prepare(model, material, config, config.learning_rate, network.l1)
        epochs = config.pretrain_epochs
        state, _ = training.fit(
            training.plan(config, {"learning_rate": rate(config, config.learning_rate, epochs)}, seed, epochs),
            path=path,
            progress=lambda done, _, note: progress(done, config.total_epochs, note),
            note=f"{network.label}, float",
        )
        return training.model_of(state)


def _fix(model: keras.Model, masks: Mapping[str, np.ndarray]) -> None:
    """Set the masks of a model's kernels for good; kernels without one stay whole."""
    places = {
        id(layer): call.place + layer.path.removeprefix(call.operation.path)
        for call in walk(model)
        if not is_pure(call.operation)
        for layer in call.operation._flatten_layers()
    }
    left = dict(masks)
    for kernel in pruned_kernels(model):
        kernel.pruned.stage.assign(FINETUNE)
        name = places[id(kernel.layer)] + kernel.name.removeprefix(kernel.layer.path)
        mask = left.pop(name.replace("/qgru_cell/", "/gru_cell/"), None)  # as HGQ2 and Keras call the same
        if mask is not None:  # a depthwise kernel is one of groups by now, of the same order
            kernel.pruned.mask.assign(mask.reshape(kernel.variable.shape).astype(np.float32))
    if left:
        raise ShapeError(
            f"no kernel of '{model.name}' takes the masks of {', '.join(sorted(left))}; list layers that are to stay "
            "whole in search.skip"
        )
