"""Run a recipe on one network and hand back finalised designs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.atomic import write_text
from weft.compression import single, steps
from weft.compression.finalize import assign, finalize
from weft.compression.network import Network
from weft.compression.outcome import choose
from weft.compression.training import Material
from weft.config import CompressConfig
from weft.config.compress import Tried
from weft.errors import ConfigError
from weft.space.model import build
from weft.train.metrics import check_metric
from weft.types import Progress, no_progress

if TYPE_CHECKING:
    import keras

    from weft.space.architecture import Architecture
    from weft.space.model import Weights


@dataclass(frozen=True)
class Compressed:
    """A finalised design: its model, the architecture it was built from, and its numbers on validation."""

    name: str
    architecture: Architecture | None
    log: dict[str, float]
    model: keras.Model = field(repr=False)


def compress(
    architecture: Architecture,
    material: Material,
    config: CompressConfig,
    seed: int,
    weights: Weights,
    directory: Path,
    progress: Progress = no_progress,
    part: int | None = None,
) -> list[Compressed]:
    """Compress one network by the configured recipe and return the designs that cover its front best.

    `directory` receives the checkpoints, by which an interrupted call resumes, and `trail.csv`, one row for every epoch
    or round. Ranges are calibrated on training and validation rows; the test split is not touched.

    Args:
        architecture: The network, as the search found it.
        material: Scaled data.
        config: The `compress` section.
        seed: Of everything random in the recipe.
        weights: What the search trained, by `space.model.export_weights` and `compress.finalize.variables_of`.
        directory: Belongs to this call.
        progress: Called after each epoch or round.
        part: Train this part alone, see `weft.compression.single`, and return nothing.

    Raises:
        ConfigError: `recipe: none` on a float network.
    """
    if config.recipe == "several":
        return [
            replace(one, name=f"{name}-{one.name}")
            for name, recipe in config.recipes.items()
            for one in compress(architecture, material, recipe, seed, weights, directory / name, progress)
        ]
    rows = np.concatenate([split.x for split in material.splits])
    if config.recipe == "none":
        if architecture.numbers.mode == "float":
            raise ConfigError(
                "compress.recipe is 'none', but the search trained float networks, which have no firmware; "
                "choose recipe hgq, fixed or imp, or space.quantization.mode hgq or fixed"
            )
        model = build(architecture)
        assign(model, weights)
        return [Compressed("search", architecture, {}, finalize(model, rows))]
    network = Network.of_architecture(architecture, weights if config.warm_start else None)
    trained = Network.of_architecture(architecture, weights)
    return compress_network(network, replace(material, teacher=lambda: trained.make(seed)), config, seed, directory,
                            progress, part)  # fmt: skip


def compress_network(
    network: Network,
    material: Material,
    config: Tried,
    seed: int,
    directory: Path,
    progress: Progress = no_progress,
    part: int | None = None,
) -> list[Compressed]:
    """Compress any network by a recipe other than `none` and `several`, as `compress` does an architecture."""
    if config.recipe == "steps":
        outcome = steps.run(network, material, config, seed, directory, progress)
    else:
        _, outcome = single.run_single(network, material, config, seed, directory, progress, part)
        if part is not None:
            return []
    write_text(directory / "trail.csv", table(outcome.trail))
    chosen = choose(outcome, check_metric(config.metric, material.task), config.keep)
    rows = np.concatenate([split.x for split in material.splits])
    return [Compressed(c.name, c.architecture, dict(c.log), finalize(c.model(), rows)) for c in chosen]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV; the columns are those of any row, in order of appearance. What is NaN is left out."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: value for name, value in row.items() if value == value} for row in rows)
    return text.getvalue()
