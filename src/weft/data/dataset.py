"""The data set that every other room sees: scaled splits, their provenance, folds, and one door to the test rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weft.config.data import DataConfig
from weft.data import check, split
from weft.data.roles import default_names
from weft.data.scale import Fitted, Scaler
from weft.errors import DataError
from weft.types import Task

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Rows for one purpose.

    Attributes:
        x: Features, shape (n, *features); float32 and scaled wherever a `Dataset` hands them out.
        y: int32 class numbers (n,), or float32 targets (n, k) of a regression.
        weight: float32 weights of the rows (n,), or None if all are equal.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: np.ndarray | slice) -> Split:
        """Return some of the rows."""
        return Split(self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows])


@dataclass(frozen=True)
class Provenance:
    """Where data come from.

    Attributes:
        name: Name of the data set.
        source: One sentence for people.
        sha256: Hash of the bytes of the files, or of the arrays where there are no files.
        seed: Seed of the split (and of the simulation); None where the data came already split.
        notes: What was decided or left out on the way.
    """

    name: str
    source: str
    sha256: str
    seed: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Training and validation rows as the network, and the input of its firmware, see them.

    The test rows are reached through `test()` only.

    Attributes:
        name: Name of the data set.
        task: What is learnt.
        train: The rows to train on, scaled.
        validation: The rows to choose by, scaled as the training rows are.
        feature_names: One name for each feature, in the order of a flattened row.
        class_names: Name of each class; empty for a regression.
        provenance: Where the data come from.
        scaler: How raw features became scaled ones; fitted on the training rows.
    """

    name: str
    task: Task
    train: Split
    validation: Split
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    provenance: Provenance
    scaler: Scaler
    _raw: Mapping[str, Split] = field(repr=False)

    @staticmethod
    def build(
        raw: Mapping[str, Split],
        *,
        name: str,
        task: Task,
        provenance: Provenance,
        class_names: Sequence[str] = (),
        feature_names: Sequence[str] = (),
        scale: Fitted | Scaler = "standard",
    ) -> Dataset:
        """Fit the scaler on the training rows and scale.

        Args:
            raw: The splits `train`, `validation` and `test`, with unscaled features of any real type.
            name: Name of the data set.
            task: What is learnt.
            provenance: Where the data come from.
            class_names: Name of each class; empty for a regression.
            feature_names: One name for each feature; x0, x1, ... if empty.
            scale: Kind of the scaler to fit, or a scaler to use as it is.

        Raises:
            DataError: a split is empty or lacks a class, or a regression target is constant.
        """
        check.splits({name: part.y for name, part in raw.items()}, class_names)
        train = raw["train"]
        names = tuple(feature_names) or default_names(train.x.shape[1:])
        constant = check.constant_features(train.x, names)
        if constant:
            note = f"constant in the training rows: {', '.join(constant[:20])}"
            provenance = Provenance(**{**vars(provenance), "notes": (*provenance.notes, note)})
        scaler = scale if isinstance(scale, Scaler) else Scaler.fit(scale, train.x)
        return Dataset(
            name,
            task,
            _scaled(train, scaler),
            _scaled(raw["validation"], scaler),
            names,
            tuple(class_names),
            provenance,
            scaler,
            dict(raw),
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.train.x.shape[1:]

    @property
    def n_in(self) -> int:
        """Number of features of one row."""
        return int(np.prod(self.input_shape))

    @property
    def n_outputs(self) -> int:
        """Outputs of a network for this task: one a class, 1 logit for a binary task, one a target."""
        if self.task == "regression":
            return self.train.y.shape[1]
        return 1 if self.task == "binary" else len(self.class_names)

    def test(self) -> Split:
        """Open the test split, scaled as the training rows are. This is logged: it belongs at the end, once."""
        _log.info("the test split of %s was opened: %d rows", self.name, len(self._raw["test"]))
        return _scaled(self._raw["test"], self.scaler)

    def folds(self, k: int, seed: int = 0) -> list[tuple[Split, Split]]:
        """Return `k` pairs of training and validation rows; for k = 1 the fixed ones.

        For k >= 2 the training and validation rows are pooled, shuffled by `seed` and dealt into k parts with equal
        shares of each class; each part validates once, scaled by a scaler fitted on the other parts. The test rows stay
        out.

        Raises:
            DataError: a class has fewer rows than there are folds.
        """
        return [self.fold(n, k, seed) for n in range(max(k, 1))]  # no folds at all are refused

    def fold(self, n: int, k: int, seed: int = 0) -> tuple[Split, Split]:
        """Return the training and validation rows of fold `n`, from 0, of `folds(k, seed)`."""
        if k == 1:
            return self.train, self.validation
        pool = _joined(self._raw["train"], self._raw["validation"])
        check.folds(pool.y, k, self.class_names)
        classes = pool.y if self.class_names else np.zeros(len(pool), int)
        train, validation = split.folds(classes, k, seed)[n]
        part = pool.take(train)
        scaler = self.scaler.refit(part.x)
        return _scaled(part, scaler), _scaled(pool.take(validation), scaler)

    def class_weights(self, config: DataConfig) -> np.ndarray | None:
        """Return the weight of each class in the loss, float32 (n_classes,), or None if all are equal.

        `balanced` weighs a class by n / (n_classes * its training rows), so that classes count alike and the mean
        weight of a row is 1.

        Raises:
            DataError: the task has no classes, or the list has not one weight for each.
        """
        wanted = config.class_weights
        if wanted == "none":
            return None
        if self.task == "regression":
            raise DataError(f"data.class_weights={wanted} needs classes, but {self.name} is a regression; remove it")
        if wanted == "balanced":
            counts = np.bincount(self.train.y, minlength=len(self.class_names))
            return (len(self.train) / (len(self.class_names) * counts)).astype(np.float32)
        if len(wanted) != len(self.class_names):
            raise DataError(
                f"data.class_weights has {len(wanted)} numbers for the {len(self.class_names)} classes "
                f"{', '.join(self.class_names)}; give one for each"
            )
        return np.array(wanted, np.float32)

    def summary(self) -> dict[str, Any]:
        """Return what `summary.json` says about the data."""
        return {
            "name": self.name,
            "task": self.task,
            "n_train": len(self.train),
            "n_validation": len(self.validation),
            "n_test": len(self._raw["test"]),
            "input_shape": list(self.input_shape),
            "n_outputs": self.n_outputs,
            "classes": list(self.class_names),
            "scale": self.scaler.kind,
            "sha256": self.provenance.sha256,
            "source": self.provenance.source,
            "seed": self.provenance.seed,
            "notes": list(self.provenance.notes),
        }


def _scaled(part: Split, scaler: Scaler) -> Split:
    return Split(scaler.transform(part.x), part.y, part.weight)


def _joined(first: Split, second: Split) -> Split:
    if (first.weight is None) != (second.weight is None):
        raise DataError("of training and validation rows only one has weights; give weights to both, or to none")
    weight = None
    if first.weight is not None and second.weight is not None:
        weight = np.concatenate([first.weight, second.weight])
    return Split(np.concatenate([first.x, second.x]), np.concatenate([first.y, second.y]), weight)
