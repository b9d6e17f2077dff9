"""Recipe `steps`: one recipe after the other, each from the designs that the one before kept.

So that networks are pruned first and quantised then, or first fixed and then learnt. What a step has pruned stays
pruned in steps that have no pruning of their own; `fitcompress` finds masks anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from weft.compression.outcome import Candidate, Outcome, choose
from weft.compression.single import run_single
from weft.compression.training import Material
from weft.config import FitCompression, ImpCompression, StepsCompression
from weft.prune.zeros import Zeros
from weft.space.model import export_weights, import_weights
from weft.train.metrics import check_metric
from weft.types import Progress, no_progress, part_of

if TYPE_CHECKING:
    import keras

    from weft.compression.network import Network
    from weft.space.model import Weights


def run(
    network: Network,
    material: Material,
    config: StepsCompression,
    seed: int,
    directory: Path,
    progress: Progress = no_progress,
) -> Outcome:
    """Take a network through all steps; checkpoints in `directory`, one folder a step, make the call resumable.

    The trail holds the rows of all steps, with the column `step` from 1; candidates are those of the last step.
    """
    starts: list[tuple[str, Network]] = [("", network)]
    trail: list[dict[str, float | str]] = []
    candidates: list[Candidate] = []
    at_goal: list[Candidate] = []
    n_steps = len(config.steps)
    for number, step in enumerate(config.steps):
        finds_masks = isinstance(step, FitCompression | ImpCompression)
        pruned = number > 0 and not finds_masks and step.prune is None
        mine = step.model_copy(update={"prune": Zeros()}) if pruned else step
        place = directory / f"step-{number + 1}"
        candidates, at_goal = [], []
        ended: list[tuple[str, Network]] = []
        for index, (name, start) in enumerate(starts):
            inside = place / (name.removesuffix("-then-") or "begin")
            begin, end = ((number + share / len(starts)) / n_steps for share in (index, index + 1))
            made, outcome = run_single(start, material, mine, seed, inside, part_of(progress, begin, end))
            trail += [{**row, "point": name + str(row["point"]), "step": number + 1.0} for row in outcome.trail]
            candidates += [replace(one, name=name + one.name) for one in outcome.candidates]
            at_goal += [replace(one, name=name + one.name) for one in outcome.at_goal]
            if number < n_steps - 1:
                kept = choose(outcome, check_metric(step.metric, material.task), step.keep)
                ended += [(f"{name}{one.name}-then-", _trained(made, one.model())) for one in kept]
        starts = ended
    return Outcome(trail, candidates, at_goal)


def _trained(network: Network, model: keras.Model) -> Network:
    """Return a network with the weights of its quantised model; a model that is a user's own stays as it is."""
    weights: Weights = export_weights(model)

    def assigned(plain: keras.Model) -> keras.Model:
        from keras.models import clone_model

        made = clone_model(plain)
        made.set_weights(plain.get_weights())
        import_weights(made, weights)
        return made

    return network.changed(assigned)
