"""What all recipes share: a model of the chosen network in new numbers, its engine, and its training plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.space.model import Weights, build, import_weights
from weft.train.control import Control, learning_rate
from weft.train.engine import Engine, State
from weft.train.fit import Plan, Rows
from weft.train.losses import l1_penalty, loss_for, targets
from weft.train.metrics import check_metric
from weft.types import Task

if TYPE_CHECKING:
    import keras

    from weft.config import DataConfig, TrainingConfig
    from weft.data import Dataset, Split
    from weft.space.architecture import Architecture


@dataclass(frozen=True)
class Material:
    """What a recipe trains on: the data set, the training and validation part of it, and the weight of each class."""

    dataset: Dataset
    splits: tuple[Split, Split]
    class_weights: np.ndarray | None = None

    @staticmethod
    def of(dataset: Dataset, config: DataConfig) -> Material:
        """Take the fixed training and validation split."""
        return Material(dataset, (dataset.train, dataset.validation), dataset.class_weights(config))

    def fold(self, splits: tuple[Split, Split]) -> Material:
        """Take another training and validation part."""
        return Material(self.dataset, splits, self.class_weights)


@dataclass(frozen=True)
class Training:
    """A model ready to train: its engine, its rows, and the metric to watch."""

    model: keras.Model
    engine: Engine
    train: Rows
    validation: Rows
    metric: str
    task: Task

    def plan(
        self, config: TrainingConfig, controls: Mapping[str, Control], seed: int, epochs: int | None = None
    ) -> Plan:
        """Return the plan of a training by a configured section."""
        stopping = config.early_stopping
        return Plan(
            epochs=config.epochs if epochs is None else epochs,
            batch_size=config.batch_size,
            controls=controls,
            task=self.task,
            metric=self.metric,
            patience=stopping.patience if stopping else None,
            min_delta=stopping.min_delta if stopping else 0.0,
            seed=seed,
        )

    def with_bits_frozen(self) -> Training:
        """Return a training of the same model in which widths keep their value and weights go on learning."""
        import keras

        engine = Engine(
            self.model,
            keras.optimizers.Adam(float(self.engine.optimizer.learning_rate)),
            self.engine.loss,
            self.engine.penalty,
            frozen=lambda path: "fixed_point_quantizer" in path,
        )
        return replace(self, engine=engine)

    def model_of(self, state: State) -> keras.Model:
        """Return the model with the variables of a state; the same object each time."""
        self.engine.write_back(state)
        return self.model


def prepare(
    architecture: Architecture,
    material: Material,
    config: TrainingConfig,
    seed: int,
    weights: Weights | None = None,
    wrap_kernel_quantizer: Any = None,
) -> Training:
    """Build a model and everything that training it by `config` needs.

    Args:
        architecture: The network and its numbers.
        material: The rows and their weights.
        config: A section that trains (`search`, or a recipe).
        seed: Of initial weights, dropout and row order.
        weights: Start from these instead of random ones.
        wrap_kernel_quantizer: See `weft.space.model.build`.
    """
    task = material.dataset.task
    model = build(architecture, seed, wrap_kernel_quantizer)
    import keras

    if weights is not None:
        import_weights(model, weights)
    engine = Engine(
        model,
        keras.optimizers.Adam(architecture.learning_rate),
        loss_for(config.loss, task),
        l1_penalty(architecture.l1),
    )
    train, validation = material.splits
    return Training(
        model=model,
        engine=engine,
        train=Rows(train.x, targets(train.y, task), row_weights(train, material.class_weights)),
        validation=Rows(validation.x, validation.y),
        metric=check_metric(config.metric, task),
        task=task,
    )


def row_weights(split: Split, class_weights: np.ndarray | None) -> np.ndarray | None:
    """Return the weight of each row in the loss, sample weight times class weight, (n,) float32; None if all are 1."""
    if class_weights is None:
        return split.weight
    weight = np.asarray(class_weights, np.float32)[split.y]
    return weight if split.weight is None else weight * split.weight


def rate(config: TrainingConfig, peak: float, epochs: int | None = None) -> Control:
    """Return the learning-rate control of a configured section."""
    return learning_rate(config.schedule, peak, config.epochs if epochs is None else epochs)
