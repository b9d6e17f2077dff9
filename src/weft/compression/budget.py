"""Recipe `budget`: at most so many LUT or EBOPs, and the best metric under them; nothing else has to be chosen.

Widths are learnt (recipe `hgq`) and a controller leads EBOPs to a target. A LUT budget is met by learning how many LUT
an EBOP costs in this network: the designs of a first training are costed by the adder graph, and if none fits, a second
training aims at what the first one showed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weft.compression import hgq
from weft.compression.lut import LUT_OF_EBOP, MARGIN, aim, counted
from weft.compression.outcome import Outcome
from weft.compression.training import Material
from weft.config import BudgetCompression, CosineSchedule, HgqCompression, SizeTarget
from weft.errors import BudgetError
from weft.train.metrics import check_metric
from weft.types import Progress, no_progress

if TYPE_CHECKING:
    from weft.compression.network import Network

ATTEMPTS = 2


def run(
    network: Network,
    material: Material,
    config: BudgetCompression,
    seed: int,
    directory: Path,
    progress: Progress = no_progress,
) -> Outcome:
    """Train towards the budget; checkpoints in `directory` make the call resumable.

    Raises:
        BudgetError: No design came down to the budget; the message names the smallest.
    """
    if config.ebops is not None:
        return hgq.run(network, material, hgq_of(config, config.ebops), seed, directory, progress)
    assert config.lut is not None  # a BudgetCompression has one of the two
    ratio, smallest = LUT_OF_EBOP, np.inf
    metric = check_metric(config.metric, material.task)
    rows = np.concatenate([split.x for split in material.splits])
    for attempt in range(ATTEMPTS):
        place, ebops = directory / f"attempt-{attempt}", aim(config.lut, ratio)
        try:
            outcome = hgq.run(network, material, hgq_of(config, ebops), seed, place, progress)
        except BudgetError as error:
            raise BudgetError(
                f"no design came down to {config.lut:,} LUT, about {ebops:,} EBOPs of this network: {error}"
            ) from error
        known = counted(outcome.at_goal or outcome.candidates, rows, metric, 2 * config.keep + 2)
        fitting = [c for c in known if c.log["lut"] * MARGIN <= config.lut]
        if fitting:
            return Outcome(outcome.trail, fitting, fitting)
        smallest = min(smallest, *(c.log["lut"] for c in known))
        ratio = 1.05 * max(c.log["lut"] / max(c.log["ebops"], 1.0) for c in known)
    raise BudgetError(
        f"no design came down to {config.lut:,} LUT; the smallest has {smallest:,.0f} by the solver: raise the budget, "
        "give the recipe more epochs, or start from a smaller network"
    )


def hgq_of(config: BudgetCompression, ebops: int) -> HgqCompression:
    """Return the training that aims at a number of EBOPs."""
    return HgqCompression(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=5e-3,
        schedule=CosineSchedule(),
        target=SizeTarget(ebops=ebops),
        bits0=6,
        loss=config.loss,
        metric=config.metric,
        keep=config.keep,
        warm_start=config.warm_start,
        prune=config.prune,
    )
