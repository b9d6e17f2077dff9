"""Compress a Keras model, or a PyTorch module, without a run directory: `weft.compress`, `weft.fit`, `weft.finalize`.

For Keras' own `fit` and for loops of your own there are `weft.optimizer` and `weft.distil`, which make what a recipe
asks of them.

model = weft.compress(keras_model, {"recipe": "fixed", "prune": "dst"})
weft.fit(model, (x, y), validation=(x_val, y_val))
final = weft.finalize(model, x)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from weft.config import CompressConfig, FixedCompression, HgqCompression
from weft.config.stages import StagesConfig
from weft.errors import ConfigError
from weft.section import Section
from weft.torch_loop import as_given
from weft.types import Progress, Task, no_progress

if TYPE_CHECKING:
    import keras
    from torch import nn

    from weft.compression.distil import Distilled
    from weft.data import Dataset
    from weft.train.fit import History, Phases

Recipe = str | Mapping[str, Any] | StagesConfig
"""A recipe's name, its section of `experiment.yaml` as a mapping, or the validated section."""


class _Section(Section):
    compress: CompressConfig


def read(recipe: Recipe) -> FixedCompression | HgqCompression:
    """Return the configuration of a recipe that compresses one model in stages.

    Raises:
        ConfigError: It is not valid, or it is a recipe of another kind.
    """
    if isinstance(recipe, FixedCompression | HgqCompression):
        return recipe
    from weft.config.explain import explain

    section = {"compress": recipe}
    try:
        config = _Section.model_validate(section).compress
    except ValidationError as error:
        found = explain(error, section, _Section)
        raise ConfigError("\n".join(f"{'.'.join(map(str, path))}: {text}" for path, text in found)) from error
    if not isinstance(config, FixedCompression | HgqCompression):
        raise ConfigError(
            f"recipe '{config.recipe}' trains several models and needs a run: use 'weft run'; one model in your hands "
            "is compressed by recipe 'fixed' or 'hgq'"
        )
    return config


def compress(
    model: keras.Model | nn.Module, recipe: Recipe = "hgq", x: Any = None, *, example_input: Any = None
) -> keras.Model:
    """Return `model` with quantised layers and the pruning method of a recipe in place, ready to be trained.

    A recipe without any epoch (`ptq`, `wanda-ptq`) needs no training: the result is ready to be finalised.

    Weights, names and topology stay; `model` is not changed. The new model remembers its recipe as `weft_recipe`.
    With KERAS_BACKEND=torch a PyTorch module gives a PyTorch module (`weft.TorchModule`), for a loop of one's own.

    Args:
        model: Any Keras model, see `weft.quantize.convert` for what can be replaced; or a PyTorch module, which
            `weft.from_torch` makes a Keras model of.
        recipe: What to do.
        x: Rows to find the ranges of activations with, (n, ...); without them ranges are learnt in training, and a
            recipe that prunes without training cannot do it.
        example_input: Some rows that a PyTorch module takes, as `weft.from_torch` wants them; x, if it is not given.

    Raises:
        ConfigError: The recipe is not valid, or a PyTorch module came without rows.
        UnsupportedError: The model holds a layer that cannot be quantised; the message names all of them.
        DataError: A weight or a row is no finite number.
        ShapeError: The rows do not fit the model's inputs, or a kernel does not fit the pruning method.
    """
    given = model
    from weft.compression.network import Network
    from weft.quantize.given import check_weights, checked_rows
    from weft.quantize.graph import graph_of

    config = read(recipe)
    if _is_torch(model):
        model, x = _from_torch(model, x, example_input)
    elif example_input is not None:
        raise ConfigError("example_input is for PyTorch modules, and a Keras model knows its inputs; leave it out")
    graph_of(model)
    check_weights(model)
    x = None if x is None else checked_rows(model, x)
    made = Network.of_model(model).prepared(config).build_for(config, numbers(config), 0)
    if x is not None:
        from weft.compression.stages import find_ranges

        find_ranges(made, x)
    if config.total_epochs == 0 and config.prune is not None:
        from weft.compression.stages import Stages

        Stages(made, config, rows=x).finish()
    made.weft_recipe = config
    if config.distil is not None and config.distil.teacher is None:
        made.weft_teacher = lambda: model  # a function, since a model would be a part of this one
    return as_given(made, given)


def _is_torch(model: Any) -> bool:
    """Whether it is a PyTorch module and no Keras model, which is one, too, on that backend; torch is not imported."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return False
    import keras

    return not isinstance(model, keras.Model)


def _from_torch(module: Any, x: Any, example_input: Any) -> tuple[Any, Any]:
    """Return a PyTorch module as a Keras model, and rows as arrays."""
    from weft.pytorch.convert import from_torch

    example = x if example_input is None else example_input
    if example is None:
        raise ConfigError(
            f"{type(module).__name__} is a PyTorch module, whose inputs are not known; give weft.compress some rows, "
            "example_input=x[:1]"
        )
    torch = sys.modules["torch"]

    def arrays(one: Any) -> Any:
        if isinstance(one, Mapping):
            return {name: arrays(value) for name, value in one.items()}
        if isinstance(one, tuple | list):
            return [arrays(value) for value in one]
        return one.detach().cpu().numpy() if isinstance(one, torch.Tensor) else one

    return from_torch(module, example), arrays(x)


def numbers(config: FixedCompression | HgqCompression) -> Any:
    """Return the numbers that a recipe trains in, those of its first precision."""
    if isinstance(config, HgqCompression):
        from weft.compression import hgq

        return hgq.numbers_of(config, config.io_bits)
    from weft.compression.fixed import numbers_of

    return numbers_of(config.precisions[0], config, config.io_bits)


def fit(
    model: keras.Model,
    data: Dataset | tuple[np.ndarray, np.ndarray],
    recipe: Recipe | None = None,
    *,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    task: Task = "classification",
    directory: Path | str | None = None,
    teacher: Any = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> History:
    """Take a compressed model through all stages of its recipe with the compiled engine (JAX).

    The model ends with its masks fixed and the weights of the last epoch.

    Args:
        model: What `compress` returned.
        data: A data set, or training rows (x, y).
        recipe: If it is not the one that the model was made with.
        validation: Rows whose metrics are logged; by default a fifth of the training rows is kept for it.
        task: What kind of targets bare arrays hold.
        directory: Where a checkpoint is kept: an interrupted call goes on from it.
        teacher: What a recipe with `distil` learns from: a Keras model, a PyTorch module or a path; by default that of
            the recipe, or else the model that was given to `compress`.
        seed: Of the order of rows.
        progress: Called after each epoch.

    Returns:
        One dictionary of numbers for each epoch.

    Raises:
        ConfigError: The recipe is not valid, or the model was not made by `compress`.
        DataError: There are too few rows, a value is no finite number, or a label is none of the model's classes.
        ShapeError: Rows or targets do not fit the model.
        UnsupportedError: The model has several inputs or outputs, which only Keras' `fit` trains.
        TrainingError: A loss or weight is no longer finite.
    """
    from weft.compression import hgq
    from weft.compression.material import check_call, material
    from weft.compression.stages import EngineStages
    from weft.compression.training import prepare, staged_rate
    from weft.quantize.kernels import kernels

    check_call(model, task, seed, directory)
    if not model.trainable_variables:
        raise ConfigError(
            f"'{model.name}' has no trainable variable: a finalised model cannot be trained; train the one it came from"
        )
    if recipe is None and not hasattr(model, "weft_recipe"):
        raise ConfigError(f"'{model.name}' has no recipe: make it with weft.compress, or give fit a recipe")
    config = model.weft_recipe if recipe is None else read(recipe)
    if not kernels(model):
        raise ConfigError(f"'{model.name}' is a float model: make a quantised one with weft.compress, and fit that")
    if teacher is not None and config.distil is None:
        raise ConfigError("fit was given a teacher, and the recipe has no section distil to use it; add one")
    rows = material(model, data, validation, task, seed)
    if config.distil is not None:
        rows = replace(rows, teacher=lambda: _teacher(model, config, teacher))
    training = prepare(model, rows, config, config.learning_rate)
    main = hgq.before_finetuning(config) if isinstance(config, HgqCompression) else config
    stages = training.stages(main)
    controls = {"learning_rate": staged_rate(main, config.learning_rate)}
    phases: Phases = EngineStages(stages, training.engine)
    if isinstance(main, HgqCompression):
        controls["beta"] = hgq.beta_control(main)
        phases = hgq.phases(phases, training, main)
    place = None if directory is None else Path(directory)
    state, history = training.fit(
        training.plan(config, controls, seed, main.total_epochs),
        phases=phases,
        path=place and place / "checkpoint.npz",
        progress=progress,
    )
    training.model_of(state)
    if isinstance(config, HgqCompression):
        hgq.warn_of_missed(config, history.epochs[-1]["ebops"])
        hgq.finetuned(training.with_bits_frozen(), stages, state, config, seed, place and place / "finetune.npz")
    return history


def optimizer(recipe: Recipe, learning_rate: float | None = None) -> keras.optimizers.Optimizer:
    """Return the optimizer of a recipe, weight decay included, for Keras' `compile` or a loop of your own.

    Args:
        recipe: The recipe.
        learning_rate: If it is not that of the recipe.

    Raises:
        ConfigError: The recipe is not valid.
    """
    from weft.compression.training import optimizer_of

    config = read(recipe)
    return optimizer_of(config, config.learning_rate if learning_rate is None else learning_rate)


def distil(
    model: keras.Model, x: np.ndarray, y: np.ndarray, *, teacher: Any = None, task: Task = "classification"
) -> Distilled:
    """Return model, targets and loss with which Keras' `fit`, or a loop of your own, distils a compressed model.

    `model.compile(optimizer, made.loss)` and `model.fit(x, made.targets)` go with the returned `made.model`, whose
    variables are those of `model`. `weft.fit` does all of it by itself.

    Args:
        model: What `compress` returned, with a recipe that has a section `distil`.
        x: Training rows, (n, ...).
        y: Their targets, (n,) or (n, k).
        teacher: As for `fit`.
        task: What kind of targets they are.

    Raises:
        ConfigError: The recipe does not distil, there is no teacher, or a layer does not exist.
        ShapeError: Teacher and student have other inputs or outputs.
    """
    from weft.compression.distil import distil as made
    from weft.train.losses import targets

    config = getattr(model, "weft_recipe", None)
    if config is None or config.distil is None:
        raise ConfigError(f"'{model.name}' has no recipe with a section distil; give weft.compress one")
    return made(
        model, _teacher(model, config, teacher), np.asarray(x), targets(np.asarray(y), task), config.distil, task
    )


def _teacher(model: keras.Model, config: StagesConfig, given: Any) -> Any:
    """Return what a model learns from; None for the file of its recipe."""
    if given is not None or (config.distil is not None and config.distil.teacher is not None):
        return given
    if not hasattr(model, "weft_teacher"):
        raise ConfigError(
            f"'{model.name}' was not made by weft.compress with this recipe, so its teacher is not known; give "
            "teacher=..., or set distil.teacher to a .keras file"
        )
    return model.weft_teacher()
