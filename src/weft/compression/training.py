"""What all recipes share: a model of the chosen network in new numbers, its engine, and its training plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.config.stages import RecipeConfig
from weft.train import control
from weft.train.control import Control
from weft.train.engine import Engine, State
from weft.train.fit import History, Plan, Rows, fit
from weft.train.losses import l1_penalty, loss_for, targets
from weft.train.metrics import check_metric, evaluate
from weft.train.track import Snapshot
from weft.types import Task

if TYPE_CHECKING:
    import keras

    from weft.compression.stages import Stages
    from weft.config import DataConfig, StagesConfig, TrainingConfig
    from weft.data import Dataset, Split


FINETUNE_RATE = 0.2
"""Peak learning rate of fine-tuning as a share of that of the training before."""


@dataclass(frozen=True)
class Material:
    """What a recipe trains on.

    Attributes:
        splits: The training and the validation rows.
        task: What is learnt.
        class_weights: Weight of each class in the loss.
        dataset: Where the rows are from, for recipes that make folds.
        teacher: Makes what distillation learns from; None stands for the file that the recipe names.
    """

    splits: tuple[Split, Split]
    task: Task
    class_weights: np.ndarray | None = None
    dataset: Dataset | None = None
    teacher: Callable[[], Any] | None = None

    @staticmethod
    def of(dataset: Dataset, config: DataConfig | None = None) -> Material:
        """Take the fixed training and validation split."""
        weights = None if config is None else dataset.class_weights(config)
        return Material((dataset.train, dataset.validation), dataset.task, weights, dataset)

    def fold(self, splits: tuple[Split, Split]) -> Material:
        """Take another training and validation part."""
        return replace(self, splits=splits)


@dataclass(frozen=True)
class Training:
    """A model ready to train: its engine, its rows, and the metric to watch.

    With distillation the engine trains a model around this one, which shares its variables.
    """

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

    def fit(self, plan: Plan, *, state: State | None = None, **more: Any) -> tuple[State, History]:
        """Train by a plan, from the model's own state if none is given; `more` goes to `weft.train.fit.fit`."""
        start = self.engine.state() if state is None else state
        return fit(self.engine, start, self.train, self.validation, plan, **more)

    def with_bits_frozen(self) -> Training:
        """Return a training of the same model in which widths keep their value and weights go on learning."""
        optimizer = self.engine.optimizer
        engine = Engine(
            self.engine.model,
            type(optimizer).from_config(optimizer.get_config()),
            self.engine.loss,
            self.engine.penalty,
            frozen=lambda path: "fixed_point_quantizer" in path,
        )
        return replace(self, engine=engine)

    def stages(self, config: StagesConfig) -> Stages:
        """Return the stage machine of what the engine trains."""
        from weft.compression.stages import Stages

        return Stages(self.engine.model, config, self.engine.optimizer, rows=self.train.x)

    def snapshot(self, state: State, log: Mapping[str, float]) -> Snapshot:
        """Return a state as a point of its own, its metrics measured anew; the rest of the log is the last epoch's."""
        found = evaluate(self.engine.predict(state, self.validation.x), self.validation.y, self.task)
        return Snapshot.take(int(log["epoch"]), {**log, **found}, state)

    def model_of(self, state: State) -> keras.Model:
        """Return the model with the variables of a state; the same object each time."""
        self.engine.write_back(state)
        return self.model


def prepare(
    model: keras.Model,
    material: Material,
    config: TrainingConfig,
    learning_rate: float,
    l1: float = 0.0,
    weight_decay: float | None = None,
) -> Training:
    """Return everything that training a model by `config` needs.

    Args:
        model: A built model that ends in logits.
        material: The rows and their weights.
        config: A section that trains (`search`, or a recipe).
        learning_rate: What the optimizer is made with; the plan's controls change it.
        l1: Factor of the L1 penalty on all kernels.
        weight_decay: Share of each kernel that a step of rate 1 takes off, where the section says nothing of it.

    Raises:
        ConfigError: The loss or the metric does not fit the task, or a layer of the distillation does not exist.
        ShapeError: Teacher and student have other inputs or outputs.
    """
    task = material.task
    train, validation = material.splits
    trained, y, loss = model, targets(train.y, task), loss_for(config.loss, task)
    if isinstance(config, RecipeConfig) and config.distil is not None:
        from weft.compression.distil import distil

        made = None if material.teacher is None else material.teacher()
        given = distil(model, made, train.x, y, config.distil, task)
        trained, y, loss = given.model, given.targets, given.loss
    engine = Engine(trained, optimizer_of(config, learning_rate, weight_decay), loss, l1_penalty(l1))
    return Training(
        model=model,
        engine=engine,
        train=Rows(train.x, y, row_weights(train, material.class_weights)),
        validation=Rows(validation.x, validation.y),
        metric=check_metric(config.metric, task),
        task=task,
    )


def optimizer_of(
    config: TrainingConfig, learning_rate: float, weight_decay: float | None = None
) -> keras.optimizers.Optimizer:
    """Return the optimizer of a section that trains; Adam, with weight decay or without, if it is none of a recipe."""
    import keras

    if not isinstance(config, RecipeConfig):
        if weight_decay is None:
            return keras.optimizers.Adam(learning_rate)
        from weft.compression.decay import PNormAdam

        return PNormAdam(learning_rate, p=2, decay=weight_decay / 2)
    momentum = {} if config.optimizer.name == "adam" else {"momentum": config.optimizer.momentum}
    if config.weight_decay is None:
        kind = keras.optimizers.Adam if config.optimizer.name == "adam" else keras.optimizers.SGD
        return kind(learning_rate, **momentum)
    from weft.compression.decay import PNormAdam, PNormSGD

    kind = PNormAdam if config.optimizer.name == "adam" else PNormSGD
    return kind(learning_rate, **momentum, **config.weight_decay.model_dump())


def row_weights(split: Split, class_weights: np.ndarray | None) -> np.ndarray | None:
    """Return the weight of each row in the loss, sample weight times class weight, (n,) float32; None if all are 1."""
    if class_weights is None:
        return split.weight
    weight = np.asarray(class_weights, np.float32)[split.y]
    return weight if split.weight is None else weight * split.weight


def rate(config: TrainingConfig, peak: float, epochs: int | None = None) -> Control:
    """Return the learning-rate control of a configured section."""
    return control.learning_rate(config.schedule, peak, config.epochs if epochs is None else epochs)


def staged_rate(config: StagesConfig, peak: float) -> Control:
    """Return the learning-rate control of a recipe with stages: the schedule begins anew with each of them.

    Weights that were rewound before the finetune stage have everything to learn again, and have the full rate there.
    """
    last = peak if config.rewind != "never" else FINETUNE_RATE * peak
    parts = [(config.pretrain_epochs, peak), *[(config.epochs, peak)] * config.rounds]
    parts.append((config.finetune_epochs, last))
    return control.Sequence([(epochs, rate(config, height, epochs)) for epochs, height in parts if epochs])
