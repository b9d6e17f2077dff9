"""Distillation: a student learns from the outputs of a teacher, and from what the teacher's layers give.

Sources: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531 (logits at a
temperature); Romero et al., "FitNets", 2015, arXiv:1412.6550 (features, through a projection where widths differ).

The teacher runs once over all training rows. What it gives becomes part of their targets, one row of numbers each
(`Layout`), so that training knows nothing of teachers: any loop that takes a Keras loss works, the compiled engine
first. For features the student is trained as a model that hands them out beside its outputs, but only in training.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from weft.config.distil import DistilConfig, FeaturePair
from weft.errors import ConfigError, DataError, ShapeError, UnsupportedError
from weft.quantize.files import read_model
from weft.quantize.graph import calls, graph_of
from weft.section import did_you_mean
from weft.types import Task, Tensor

Shape = tuple[int, ...]


def distillation(
    teacher_logits: Tensor,
    student_logits: Tensor,
    labels: Tensor,
    temperature: float = 4.0,
    alpha: float = 0.7,
    task: Task = "classification",
) -> Tensor:
    """Return the loss of each sample, (n,): alpha · T² · KL(teacher || student) + (1 - alpha) · loss on the labels.

    Axes between the first and the last are positions, over which the mean is taken.

    Args:
        teacher_logits: Logits, (n, ..., k); for regression the teacher's values.
        student_logits: The same of the student.
        labels: For classification class numbers (n, ...) or (n, ..., 1), or probabilities (n, ..., k); otherwise of the
            shape of the logits, or without their last axis if k is 1.
        temperature: T; it has no meaning for regression.
        alpha: Weight of the teacher, in [0, 1].
        task: `classification` compares softmaxes, `binary` a sigmoid for each of the k logits, and `regression` takes
            the mean squared difference from the teacher and from the labels.
    """
    k = student_logits.shape[-1]
    if task == "classification":
        if len(labels.shape) < len(student_logits.shape) or (labels.shape[-1] == 1 and k > 1):
            labels = ops.one_hot(ops.cast(ops.reshape(labels, student_logits.shape[:-1]), "int32"), k)
        teacher, student = (ops.log_softmax(v / temperature, axis=-1) for v in (teacher_logits, student_logits))
        soft = temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
        hard = -ops.sum(labels * ops.log_softmax(student_logits, axis=-1), axis=-1)
    else:
        labels = ops.cast(ops.reshape(labels, student_logits.shape), student_logits.dtype)
        if task == "binary":
            yes = [ops.log_sigmoid(v / temperature) for v in (teacher_logits, student_logits)]
            no = [ops.log_sigmoid(-v / temperature) for v in (teacher_logits, student_logits)]
            soft = temperature**2 * sum(ops.exp(teacher) * (teacher - student) for teacher, student in (yes, no))
            hard = -labels * ops.log_sigmoid(student_logits) - (1 - labels) * ops.log_sigmoid(-student_logits)
        else:
            soft, hard = ops.square(student_logits - teacher_logits), ops.square(student_logits - labels)
    return _mean_of_each(alpha * soft + (1 - alpha) * hard)


@dataclass(frozen=True)
class Layout:
    """How labels, a teacher's logits and its features lie behind one another in a row; all shapes are of one sample."""

    labels: Shape
    logits: Shape
    features: tuple[Shape, ...] = ()

    def pack(self, labels: np.ndarray, logits: np.ndarray, features: Sequence[np.ndarray] = ()) -> np.ndarray:
        """Return the targets of all rows, (n, numbers of a row) float32; class numbers are exact up to 2^24."""
        rows = [np.reshape(part, (len(logits), -1)) for part in (labels, logits, *features)]
        return np.concatenate(rows, axis=1, dtype=np.float32)

    def targets(self, packed: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return labels, logits and features of packed targets."""
        labels, logits, *features = _split(packed, (self.labels, self.logits, *self.features))
        return labels, logits, features

    def outputs(self, outputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits and features of what a student gives: packed in training, the logits alone in inference."""
        if tuple(outputs.shape[1:]) == self.logits:
            return outputs, []
        logits, *features = _split(outputs, (self.logits, *self.features))
        return logits, features


@keras.saving.register_keras_serializable(package="weft")
class Distillation(keras.losses.Loss):
    """`distillation` on packed targets, and the mean squared difference of each feature times its weight.

    Args:
        layout: Of the targets.
        task: Decides how outputs are compared.
        temperature: Divides the logits before they are compared.
        alpha: Weight of the teacher.
        weights: Weight of each feature.
        name: Of the loss.
        reduction: As for every Keras loss.
    """

    def __init__(
        self,
        layout: Layout | Mapping[str, Any],
        task: Task = "classification",
        temperature: float = 4.0,
        alpha: float = 0.7,
        weights: Sequence[float] = (),
        name: str = "distillation",
        reduction: str = "sum_over_batch_size",
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        self.layout = layout if isinstance(layout, Layout) else _layout(layout)
        self.task: Task = task
        self.temperature, self.alpha, self.weights = temperature, alpha, tuple(weights)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        labels, teacher, wanted = self.layout.targets(y_true)
        student, given = self.layout.outputs(y_pred)
        loss = distillation(teacher, student, labels, self.temperature, self.alpha, self.task)
        for weight, ours, theirs in zip(self.weights, given, wanted, strict=False):  # none are given in inference
            loss = loss + weight * _mean_of_each(ops.square(ours - theirs))
        return loss

    def get_config(self) -> dict[str, Any]:
        layout = {"labels": self.layout.labels, "logits": self.layout.logits, "features": self.layout.features}
        mine = {"task": self.task, "temperature": self.temperature, "alpha": self.alpha, "weights": self.weights}
        return super().get_config() | {"layout": layout} | mine


@keras.saving.register_keras_serializable(package="weft")
class TrainingFeatures(keras.layers.Layer):
    """Gives the first of its inputs; in training all of them, the numbers of a sample in one row, (n, numbers)."""

    def call(self, inputs: Sequence[Tensor], training: Any = None) -> Tensor:
        if training is not True:
            return inputs[0]
        return ops.concatenate([ops.reshape(one, (-1, math.prod(one.shape[1:]))) for one in inputs], axis=1)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> Shape:
        return tuple(input_shape[0])


@dataclass(frozen=True)
class Distilled:
    """What to train with: `Engine(model, optimizer, loss)` on rows (x, targets), or `model.compile` and `fit`.

    Attributes:
        model: The student itself, or a model around it that hands out features in training and has the same inputs,
            outputs and variables, but for projections.
        targets: One row of targets for each row of x, (n, numbers) float32.
        loss: Takes these targets.
    """

    model: keras.Model
    targets: np.ndarray
    loss: Distillation


def distil(
    student: keras.Model,
    teacher: Any,
    x: np.ndarray,
    labels: np.ndarray,
    config: DistilConfig,
    task: Task = "classification",
) -> Distilled:
    """Prepare the training of a student by a teacher.

    Args:
        student: A built functional or Sequential model, quantised or not; its outputs are logits.
        teacher: A Keras model or a PyTorch module on the same inputs, whose outputs are logits; a path to a `.keras`
            file; or None for that of the configuration.
        x: Training rows, (n, ...).
        labels: Their labels, as the task's loss takes them.
        config: Temperature, weights and features.
        task: Decides how outputs are compared.

    Raises:
        ConfigError: There is no teacher, it cannot be read, a layer does not exist, or widths differ without `project`.
        ShapeError: The inputs or the outputs of student and teacher have different shapes.
        DataError: The teacher's outputs are not finite, or are probabilities instead of logits.
        UnsupportedError: The teacher is neither a Keras model nor a PyTorch module, or one side has several outputs.
    """
    if len(student.outputs) != 1:
        raise UnsupportedError(f"student '{student.name}' has {len(student.outputs)} outputs; distillation is for one")
    given = config.teacher if teacher is None else teacher
    if given is None:
        raise ConfigError("distillation needs a teacher: set distil.teacher to a .keras file, or hand a model over")
    model = read_model(given) if isinstance(given, str | Path) else given
    if isinstance(model, keras.Model) and isinstance(model.input_shape, tuple) and len(model.inputs) == 1:
        wanted = model.input_shape[1:]
        if len(wanted) != x.ndim - 1 or any(n not in (None, m) for n, m in zip(wanted, x.shape[1:], strict=True)):
            raise ShapeError(
                f"teacher '{model.name}' reads rows of shape {wanted}, and the student is trained on rows of shape "
                f"{x.shape[1:]}; the teacher must read the same inputs"
            )
    logits, features = teacher_outputs(model, x, [pair.teacher for pair in config.features])
    if logits.shape[1:] != student.output_shape[1:]:
        raise ShapeError(
            f"the teacher gives {logits.shape[1:]} for each sample and the student '{student.name}' "
            f"{student.output_shape[1:]}; both must end in the same logits"
        )
    _require_logits(logits, task)
    layout = Layout(labels.shape[1:], logits.shape[1:], tuple(feature.shape[1:] for feature in features))
    weights = [pair.weight for pair in config.features]
    loss = Distillation(layout, task, config.temperature, config.alpha, weights)
    around = with_features(student, config.features, layout.features, config.project)
    return Distilled(around, layout.pack(labels, logits, features), loss)


def with_features(
    student: keras.Model, pairs: Sequence[FeaturePair], shapes: Sequence[Shape], project: bool = False
) -> keras.Model:
    """Return a model that gives in training also the outputs of layers, all packed in one row; it shares all layers.

    Args:
        student: A functional or Sequential model.
        pairs: The layers.
        shapes: What the teacher's layers give for one sample.
        project: Whether a layer of another width gets a projection of its last axis, a trained layer without bias.

    Raises:
        ConfigError: A layer does not exist, or has another shape.
    """
    if not pairs:
        return student
    graph = graph_of(student)
    each = zip(pairs, shapes, strict=True)
    outputs = [_match(_output_of(student, pair.student), pair, shape, project) for pair, shape in each]
    packed = TrainingFeatures(name="training_features")([graph.outputs[0], *outputs])
    return keras.Model(graph.input, packed, name=student.name)


def teacher_outputs(
    teacher: Any, x: np.ndarray, features: Sequence[str] = (), batch_size: int = 4096
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return what a teacher gives for all rows in inference: its outputs (n, ...), and those of layers, float32.

    Args:
        teacher: A Keras model, or a PyTorch module, which gets float32 tensors on its own device.
        x: Rows, (n, ...).
        features: Names of layers, or of modules as `named_modules` has them.
        batch_size: Rows at once.

    Raises:
        ConfigError: A layer does not exist.
        DataError: A number is not finite.
        UnsupportedError: The teacher is of neither kind, or does not give one tensor.
    """
    if isinstance(teacher, keras.Model):
        outputs = _of_keras(teacher, x, features, batch_size)
    elif "torch" in sys.modules and isinstance(teacher, sys.modules["torch"].nn.Module):
        outputs = _of_torch(teacher, x, features, batch_size)
    else:
        raise UnsupportedError(f"a teacher is a Keras model or a torch.nn.Module; got {type(teacher).__name__}")
    for name, values in zip(("output", *features), outputs, strict=True):
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
            raise DataError(
                f"the teacher's {name} is not finite for row {row}; check the rows, and the teacher's weights"
            )
    return outputs[0], outputs[1:]


def _of_keras(teacher: keras.Model, x: np.ndarray, features: Sequence[str], batch_size: int) -> list[np.ndarray]:
    model = teacher
    if features:
        graph = graph_of(teacher)
        model = keras.Model(graph.input, [*graph.outputs, *(_output_of(teacher, name) for name in features)])
    outputs = model.predict(x, batch_size=batch_size, verbose=0)
    outputs = outputs if features else [outputs]
    if len(outputs) != 1 + len(features) or not isinstance(outputs[0], np.ndarray):
        raise UnsupportedError(f"teacher '{teacher.name}' has several outputs; give a model that gives its logits only")
    return [np.asarray(one, np.float32) for one in outputs]


def _of_torch(teacher: Any, x: np.ndarray, features: Sequence[str], batch_size: int) -> list[np.ndarray]:
    import torch

    modules = dict(teacher.named_modules())
    for name in features:
        if name not in modules:
            raise _no_layer("the teacher", name, modules)
    device = next((parameter.device for parameter in teacher.parameters()), torch.device("cpu"))
    seen: dict[str, Tensor] = {}
    hooks = [modules[name].register_forward_hook(_keeper(seen, name)) for name in features]
    parts: list[list[np.ndarray]] = []
    try:
        with _inference(modules.values()), torch.no_grad():
            for i in range(0, len(x), batch_size):
                rows = torch.as_tensor(np.asarray(x[i : i + batch_size], np.float32), device=device)
                given = [teacher(rows), *(seen[name] for name in features)]
                parts.append([_array(one, name) for one, name in zip(given, ("the teacher", *features), strict=True)])
    finally:
        for hook in hooks:
            hook.remove()
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


@contextmanager
def _inference(modules: Iterable[Any]) -> Iterator[None]:
    """Put PyTorch modules into inference mode, each back into its own afterwards."""
    modes = [(module, module.training) for module in modules]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _keeper(seen: dict[str, Tensor], name: str) -> Any:
    def keep(module: Any, inputs: Any, output: Tensor) -> None:
        seen[name] = output

    return keep


def _array(value: Any, name: str) -> np.ndarray:
    if not hasattr(value, "detach"):
        raise UnsupportedError(f"{name} gives a {type(value).__name__}, and distillation needs one tensor")
    return value.detach().cpu().numpy().astype(np.float32)


def _output_of(model: keras.Model, name: str) -> Tensor:
    """Return the symbolic output of a layer in the graph of a model, that of its first call."""
    outputs = {call.place: call.outputs[0] for call in reversed(list(calls(model)))}
    if name not in outputs:
        raise _no_layer(f"'{model.name}'", name, reversed(outputs))
    return outputs[name]


def _no_layer(owner: str, name: str, known: Iterable[str]) -> ConfigError:
    known = [one for one in known if one]
    return ConfigError(
        f"{owner} has no layer '{name}' to take features from (it has {', '.join(known)}){did_you_mean(name, known)}"
    )


def _match(output: Tensor, pair: FeaturePair, wanted: Shape, project: bool) -> Tensor:
    """Return a student's feature in the shape of the teacher's."""
    given = tuple(output.shape[1:])
    if given == tuple(wanted):
        return output
    if not project or given[:-1] != tuple(wanted[:-1]):
        remedy = "choose layers that differ in the last axis only" if project else "choose others, or set project: true"
        raise ConfigError(
            f"student layer '{pair.student}' gives {given} for each sample and teacher layer '{pair.teacher}' gives "
            f"{tuple(wanted)}; {remedy}"
        )
    return keras.layers.Dense(wanted[-1], use_bias=False, name=f"{pair.student}_projection")(output)


def _require_logits(logits: np.ndarray, task: Task) -> None:
    """Refuse probabilities: all in [0, 1], and for classes with the sum 1."""
    between = ((logits >= 0) & (logits <= 1)).all()
    sums = np.abs(logits.sum(axis=-1) - 1).max() < 1e-3
    if between and (task == "binary" or (task == "classification" and sums)):
        raise DataError(
            f"all outputs of the teacher are probabilities (from {logits.min():.3g} to {logits.max():.3g}), and "
            "distillation needs logits; take the softmax or sigmoid off the teacher's last layer"
        )


def _mean_of_each(values: Tensor) -> Tensor:
    positions = tuple(range(1, len(values.shape)))
    return ops.mean(values, axis=positions) if positions else values


def _split(packed: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    parts, start = [], 0
    for shape in shapes:
        end = start + math.prod(shape)
        parts.append(ops.reshape(packed[:, start:end], (-1, *shape)))
        start = end
    return parts


def _layout(config: Mapping[str, Any]) -> Layout:
    return Layout(tuple(config["labels"]), tuple(config["logits"]), tuple(tuple(shape) for shape in config["features"]))
