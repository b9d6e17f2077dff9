"""Recipe `imp`: quantisation-aware iterative magnitude pruning with rewinding, over a list of precisions.

For each precision: train for a warm-up and remember the complete state; then, in each round, remove a share of the
weights that are alive (by the magnitudes that the previous training ended with), rewind everything else to the
remembered state, and train again. Every round is a point of the trail. This is the local search of arXiv:2605.16138
with the rewinding of arXiv:1912.05671.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.compression.fixed import label, numbers_of
from weft.compression.outcome import Candidate, Outcome
from weft.compression.stages import FINETUNE
from weft.compression.training import Material, Training, prepare, rate
from weft.config import ImpCompression
from weft.prune.magnitude import Magnitude, magnitude_mask
from weft.quantize.kernels import pruned_kernels
from weft.train.engine import State
from weft.train.track import KeepBest, Snapshot
from weft.types import Progress, no_progress

if TYPE_CHECKING:
    from weft.compression.network import Network
    from weft.config.numbers import FixedNumbers


def parts(config: ImpCompression) -> int:
    """Return how many sequences of rounds there are: one for each precision and fold."""
    return len(config.precisions) * config.folds


def run(
    network: Network,
    material: Material,
    config: ImpCompression,
    seed: int,
    directory: Path,
    progress: Progress = no_progress,
    part: int | None = None,
) -> Outcome:
    """Prune in rounds at every precision; checkpoints in `directory` make the call resumable.

    With `part` one fold of one precision is trained, for its checkpoints alone; folds run fastest.

    With `folds` the whole sequence runs once for each fold; the trail holds mean and standard deviation over folds, and
    the candidates carry the weights of the first.
    """
    materials = [material]
    if config.folds > 1:
        assert material.dataset is not None  # folds are of a run, whose rows come from a data set
        materials = [material.fold(splits) for splits in material.dataset.folds(config.folds, seed)]
    n_steps = len(config.precisions) * len(materials) * (config.rounds + 1)
    trail: list[dict[str, float | str]] = []
    candidates: list[Candidate] = []
    done = 0
    for number, precision in enumerate(config.precisions):
        numbers = numbers_of(precision, config, network.input_bits(config.io_bits))
        per_fold = []
        for fold, rows in enumerate(materials):
            if part not in (None, number * len(materials) + fold):
                continue
            sequence = _Sequence(network, numbers, rows, config, seed + fold)
            place = directory / f"{label(precision)}-fold{fold}"
            per_fold.append(sequence.run(place, lambda note, start=done: progress(start, n_steps, note)))
            done += config.rounds + 1
            progress(done, n_steps, f"{network.label}, {label(precision)}")
        if part is not None:
            continue
        means = _average(per_fold, label(precision))
        trail += means
        first = per_fold[0]
        for row, point in zip(means, first, strict=True):
            log = {name: value for name, value in row.items() if isinstance(value, float)}
            candidates.append(Candidate(str(row["point"]), log, point.model, network.in_numbers(numbers)))
    return Outcome(trail, candidates)


class _Point:
    """One round of one fold."""

    def __init__(self, training: Training, snapshot: Snapshot, state: State, log: dict[str, float]) -> None:
        self.log = log
        self._training, self._snapshot, self._state = training, snapshot, state

    def model(self) -> Any:
        return self._training.model_of(self._snapshot.onto(self._state))


class _Sequence:
    """Warm-up and rounds of one precision on one fold."""

    def __init__(
        self, network: Network, numbers: FixedNumbers, material: Material, config: ImpCompression, seed: int
    ) -> None:
        self.config, self.seed = config, seed
        model = network.build(numbers, seed, prune=Magnitude(fraction=config.fraction), layers={})
        self.training = prepare(model, material, config, config.learning_rate, network.l1)
        self.kernels = pruned_kernels(model)
        for kernel in self.kernels:
            kernel.pruned.stage.assign(FINETUNE)
            kernel.pruned.mask.assign(np.not_equal(kernel.variable, 0))  # what was pruned before stays so

    def run(self, directory: Path, report: Any) -> list[_Point]:
        engine = self.training.engine
        start = engine.state()
        if self.config.warmup_epochs:
            start = self._train(start, self.config.warmup_epochs, directory / "warmup.npz")[0]
        rewind = Snapshot.take(0, {}, start)
        optimizer = [np.array(value) for value in start.optimizer]
        state = start
        points: list[_Point] = []
        for number in range(self.config.rounds + 1):
            if number:
                masks = self._prune(state)
                state = self._rewound(rewind, optimizer, state, masks)
            state, best = self._train(state, self.config.epochs, directory / f"round-{number}.npz")
            snapshot = best.best
            log = {**snapshot.log, "round": float(number), "sparsity": self._sparsity(snapshot.onto(state))}
            points.append(_Point(self.training, snapshot, state, log))
            report(f"round {number}: sparsity {log['sparsity']:.2f}, {self.training.metric} "
                   f"{log[self.training.metric]:.4f}")  # fmt: skip
        return points

    def _train(self, state: State, epochs: int, path: Path) -> tuple[State, KeepBest]:
        best = KeepBest(self.training.metric)
        controls = {"learning_rate": rate(self.config, self.config.learning_rate, epochs)}
        plan = self.training.plan(self.config, controls, self.seed, epochs)
        state, _ = self.training.fit(plan, state=state, trackers=[best], path=path)
        return state, best

    def _prune(self, state: State) -> dict[str, np.ndarray]:
        """Return the next mask of each kernel from the weights that training ended with."""
        self.training.engine.write_back(state)
        masks = {}
        for kernel in self.kernels:
            pruned = kernel.pruned
            w, alive = pruned.matrix(kernel.seen()), pruned.matrix(pruned.mask.value)
            masks[kernel.name] = np.array(pruned.kernel(magnitude_mask(w, alive, self.config.fraction)))
        return masks

    def _rewound(
        self, rewind: Snapshot, optimizer: Sequence[np.ndarray], state: State, masks: dict[str, np.ndarray]
    ) -> State:
        """Return the state after the warm-up, optimizer and normalisation included, with new masks."""
        import jax.numpy as jnp

        earlier = rewind.onto(state)._replace(optimizer=[jnp.array(value) for value in optimizer])
        self.training.engine.write_back(earlier)
        for kernel in self.kernels:
            kernel.pruned.mask.assign(masks[kernel.name])
        return self.training.engine.state()

    def _sparsity(self, state: State) -> float:
        """Return the share of kernel weights that are zero once quantised, in [0, 1]."""
        self.training.engine.write_back(state)
        weights = [kernel.quantized() for kernel in self.kernels]
        return float(sum((w == 0).sum() for w in weights) / sum(w.size for w in weights))


def _average(per_fold: Sequence[Sequence[_Point]], precision: str) -> list[dict[str, float | str]]:
    rows: list[dict[str, float | str]] = []
    for number, points in enumerate(zip(*per_fold, strict=True)):
        row: dict[str, float | str] = {"point": f"{precision}-round-{number}"}
        for name in points[0].log:
            values = [point.log[name] for point in points]
            row[name] = float(np.mean(values))
            if len(values) > 1:
                row[f"{name}_std"] = float(np.std(values, ddof=1))
        rows.append(row)
    return rows
