"""One network that holds every type of layer with kernels, and a trainer of it that shows what happens in each step.

All methods are tried on it: it is built and compiled once a method, and each test looks at one of its kernels. Sizes
recur, so that what runs operation by operation is compiled for three shapes of kernels only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers as L

from weft.compression.finalize import finalize
from weft.compression.stages import FINETUNE, Stages
from weft.config import FixedCompression
from weft.config.numbers import FloatNumbers
from weft.prune import Method
from weft.quantize.convert import convert
from weft.quantize.kernels import Kernel, pruned_kernels

INPUTS = {"row": (4,), "sequence": (2, 4), "line": (5, 4), "image": (3, 2, 4), "volume": (2, 2, 3, 4)}

LAYERS: dict[str, tuple[str, Any]] = {
    "dense": ("row", lambda: L.Dense(4, name="dense")),
    "shared": ("row", lambda: L.Dense(4, name="shared")),
    "einsum": ("sequence", lambda: L.EinsumDense("abc,cd->abd", (2, 4), bias_axes="d", name="einsum")),
    "conv1d": ("line", lambda: L.Conv1D(4, 4, name="conv1d")),
    "conv2d": ("image", lambda: L.Conv2D(4, 2, name="conv2d")),
    "conv3d": ("volume", lambda: L.Conv3D(4, (1, 2, 2), name="conv3d")),
    "depthwise": ("image", lambda: L.DepthwiseConv2D(2, name="depthwise")),
    "separable": ("image", lambda: L.SeparableConv2D(4, 2, name="separable")),
    "attention": ("sequence", lambda: L.MultiHeadAttention(2, 2, name="attention")),
    "gru": ("sequence", lambda: L.GRU(4, name="gru")),
    "rnn": ("sequence", lambda: L.SimpleRNN(4, name="rnn")),
}
"""Every type of layer: what it reads, and how it is made. `shared` is called twice."""

KERNELS = {
    "dense": ["dense"],
    "shared": ["shared"],
    "einsum": ["einsum"],
    "conv1d": ["conv1d"],
    "conv2d": ["conv2d"],
    "conv3d": ["conv3d"],
    "depthwise": ["depthwise"],
    "separable": ["separable_depthwise", "separable"],
    "attention": [f"attention/{name}" for name in ("query", "key", "value", "attention_output")],
    "gru": [f"gru/qgru_cell/{name}" for name in ("kernel", "recurrent_kernel")],
    "rnn": [f"rnn/simple_rnn_cell/{name}" for name in ("kernel", "recurrent_kernel")],
}
"""The kernels of each layer once it is converted."""


def float_model(names: Any) -> keras.Model:
    """Return a model with one branch for each of these layers, and random weights and biases."""
    used = {LAYERS[name][0] for name in names}
    inputs = {name: keras.Input(shape, name=name) for name, shape in INPUTS.items() if name in used}
    ends = []
    for name in names:
        source, make = LAYERS[name]
        layer, x = make(), inputs[source]
        y = layer(x, x) if name == "attention" else layer(x)
        y = layer(y) if name == "shared" else y
        ends.append(L.Flatten(name=f"{name}_flat")(y))
    y = ends[0] if len(ends) == 1 else L.Concatenate(name="all")(ends)
    model = keras.Model(list(inputs.values()), L.Dense(3, name="head")(y), name="zoo")
    rng = np.random.default_rng(5)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.6, variable.shape))
    return model


def rows(seed: int, n: int = 8) -> tuple[list[np.ndarray], np.ndarray]:
    """Return random rows for all inputs, and classes."""
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (n, *shape)).astype(np.float32) for shape in INPUTS.values()], rng.integers(0, 3, n)


def values(variables: Any) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


@dataclass
class Step:
    """What one training step showed: the terms of the loss beside the task's, and gradients by the variables' ids."""

    stage: int
    terms: float
    penalties: float
    gradients: dict[int, np.ndarray]


@dataclass
class Read:
    """What inference computes: loss, outputs, and each kernel as its layer multiplies with it, by name."""

    loss: float
    outputs: np.ndarray
    kernels: dict[str, np.ndarray]


@dataclass
class Trial:
    """One method, trained through all stages on the network of all layers that it can prune.

    Attributes:
        method: The method.
        skip: Layers that are left out of the network.
    """

    method: Method
    skip: tuple[str, ...] = ()
    rate: float = 0.05
    steps: list[Step] = field(default_factory=list, init=False)
    reads: dict[str, Read] = field(default_factory=dict, init=False)

    PRETRAIN, EPOCHS, ROUNDS, TUNE = 1, 2, 2, 1
    STOP = 4

    def __post_init__(self) -> None:
        if keras.backend.backend() == "torch":
            import torch

            torch.set_num_threads(1)
        self.model = self.build()
        self.kernels: list[Kernel] = pruned_kernels(self.model)
        rng = np.random.default_rng(6)
        for kernel in self.kernels:  # thresholds and masks that have learnt already, each something else
            for slot in (slot for slot in kernel.pruned.slots.values() if slot.trainable):
                slot.assign(values([slot])[0] + rng.normal(0, 0.1, slot.shape))
        self.start = values(self.model.variables)
        self._train, self._infer = self._programs()

    def build(self) -> keras.Model:
        keras.utils.set_random_seed(0)
        names = [name for name in LAYERS if name not in self.skip]
        return convert(float_model(names), FloatNumbers(), method=self.method)

    @classmethod
    def plan_of(cls, method: Method) -> FixedCompression:
        """Return a plan of one step an epoch."""
        plan = {"pretrain_epochs": cls.PRETRAIN, "epochs": cls.EPOCHS, "rounds": cls.ROUNDS}
        return FixedCompression.model_validate({**plan, "finetune_epochs": cls.TUNE, "prune": method})

    @property
    def config(self) -> FixedCompression:
        return self.plan_of(self.method)

    def kernel(self, name: str) -> Kernel:
        return next(kernel for kernel in self.kernels if kernel.name == name)

    def stages(self) -> Stages:
        return Stages(self.model, self.config)

    def run(self, start: int = 0, stop: int | None = None, stages: Stages | None = None) -> None:
        """Train from one epoch to another, one step each."""
        stages = stages or self.stages()
        for epoch in range(start, self.config.total_epochs if stop is None else stop):
            if epoch == self.STOP and start == 0:
                self.middle, self.memory = values(self.model.variables), stages.memory()
            ends = stages.position(epoch).stage == FINETUNE
            if ends:
                self.reads["soft"], self.soft = self.read(), values(self.model.variables)
            if epoch == self.PRETRAIN and self.method.method == "zeros":  # what it keeps has to be there
                for kernel in self.kernels:
                    w = values([kernel.variable])[0]
                    w.flat[::2] = 0
                    kernel.variable.assign(w)
            position = stages.begin_epoch(epoch)
            if ends:
                self.reads["hard"], self.hard = self.read(), values(self.model.variables)
            self.steps.append(self.step(position.stage, epoch))

    def put(self, state: list[np.ndarray]) -> None:
        for variable, value in zip(self.model.variables, state, strict=True):
            variable.assign(value)

    def step(self, stage: int, epoch: int) -> Step:
        """Take one step of plain gradient descent, and return what was seen."""
        model = self.model
        penalties = self._penalties() if stage == 1 else 0.0
        x, y = self.data(epoch)
        terms, gradients, state = self._train(x, y)
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(value)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            variable.assign(np.array(keras.ops.convert_to_numpy(variable)) - self.rate * gradient)
        found = zip(model.trainable_variables, gradients, strict=True)
        return Step(stage, terms, penalties, {id(variable): gradient for variable, gradient in found})

    def data(self, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
        x, y = rows(seed)
        return [x[list(INPUTS).index(one.name)] for one in self.model.inputs], y

    def read(self) -> Read:
        """Return what inference computes; no variable may change."""
        x, y = self.data(99)
        before = values(self.model.non_trainable_variables)
        loss, outputs, kernels, state = self._infer(x, y)
        for variable, one, two in zip(self.model.non_trainable_variables, before, state, strict=True):
            np.testing.assert_array_equal(one, two, err_msg=f"reading changed {variable.path}")
        return Read(loss, outputs, dict(zip([k.name for k in self.kernels], kernels, strict=True)))

    def _penalties(self) -> float:
        """Return the sum of the methods' penalties, each kernel once."""
        found = []
        for kernel in self.kernels:
            pruned = kernel.pruned
            w = pruned.matrix(keras.ops.convert_to_tensor(kernel.variable))
            found.append(pruned.method.penalty(w, pruned.state(), pruned.clock()))
        return sum(float(keras.ops.convert_to_numpy(_detached(one))) for one in found if one is not None)

    def _programs(self) -> tuple[Any, Any]:
        return _jax_programs(self) if keras.backend.backend() == "jax" else _eager_programs(self)

    def plain(self) -> np.ndarray:
        """Return the outputs of the finalised model for the rows of `read`."""
        final = finalize(self.model)
        x, _ = self.data(99)
        return np.array(keras.ops.convert_to_numpy(_detached(_compiled(final)(x))))


def _loss(y: Any, outputs: Any) -> Any:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, outputs)


def _detached(x: Any) -> Any:
    return x.detach() if hasattr(x, "detach") else x


def _numpy(tensors: Any) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(_detached(tensor))) for tensor in tensors]


def _effective(trial: Trial) -> list[Any]:
    return [getattr(kernel.layer, kernel._read) for kernel in trial.kernels]


def _compiled(model: keras.Model) -> Any:
    if keras.backend.backend() != "jax":
        return lambda x: model(x, training=False)
    import jax

    state = [[v.value for v in group] for group in (model.trainable_variables, model.non_trainable_variables)]
    return jax.jit(lambda x: model.stateless_call(*state, x, training=False)[0])


def _jax_programs(trial: Trial) -> tuple[Any, Any]:
    import jax

    model = trial.model

    def loss(trainable: Any, state: Any, x: Any, y: Any) -> Any:
        outputs, state, terms = model.stateless_call(trainable, state, x, training=True, return_losses=True)
        terms = sum(terms, 0.0)
        return _loss(y, outputs) + terms, (terms, state)

    def infer(trainable: Any, state: Any, x: Any, y: Any) -> Any:
        mapping = [*zip(model.trainable_variables, trainable, strict=True)]
        mapping += zip(model.non_trainable_variables, state, strict=True)
        with keras.StatelessScope(state_mapping=mapping) as scope:
            outputs = model(x, training=False)
            kernels = _effective(trial)
            state = [scope.get_current_value(v) for v in model.non_trainable_variables]
        return _loss(y, outputs), outputs, kernels, state

    step, read = jax.jit(jax.grad(loss, has_aux=True)), jax.jit(infer)

    def groups() -> list[list[Any]]:
        return [[v.value for v in group] for group in (model.trainable_variables, model.non_trainable_variables)]

    def train(x: Any, y: Any) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
        gradients, (terms, state) = step(*groups(), x, y)
        return float(terms), _numpy(gradients), _numpy(state)

    def look(x: Any, y: Any) -> tuple[float, np.ndarray, list[np.ndarray], list[np.ndarray]]:
        value, outputs, kernels, state = read(*groups(), x, y)
        return float(value), np.array(outputs), _numpy(kernels), _numpy(state)

    return train, look


def _torch_gradients(model: keras.Model, total: Callable[[], tuple[Any, Any]]) -> tuple[Any, list[Any]]:
    model.zero_grad()
    loss, terms = total()
    loss.backward()
    return terms, [v.value.grad for v in model.trainable_variables]


def _tensorflow_gradients(model: keras.Model, total: Callable[[], tuple[Any, Any]]) -> tuple[Any, list[Any]]:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss, terms = total()
    return terms, tape.gradient(loss, [v.value for v in model.trainable_variables])


def _eager_programs(trial: Trial) -> tuple[Any, Any]:
    model = trial.model
    tensors = keras.ops.convert_to_tensor
    gradients_of = _torch_gradients if keras.backend.backend() == "torch" else _tensorflow_gradients

    def train(x: Any, y: Any) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
        def total() -> tuple[Any, Any]:
            outputs = model([tensors(one) for one in x], training=True)
            terms = sum(model.losses, 0.0)
            return _loss(tensors(y), outputs) + terms, terms

        terms, found = gradients_of(model, total)
        gradients = [
            np.zeros(v.shape, np.float32) if g is None else _numpy([g])[0]
            for v, g in zip(model.trainable_variables, found, strict=True)
        ]
        return float(_detached(terms)), gradients, values(model.non_trainable_variables)

    def look(x: Any, y: Any) -> tuple[float, np.ndarray, list[np.ndarray], list[np.ndarray]]:
        outputs = model([tensors(one) for one in x], training=False)
        value = float(_detached(_loss(tensors(y), outputs)))
        kernels = _numpy(_effective(trial))
        return value, _numpy([outputs])[0], kernels, values(model.non_trainable_variables)

    return train, look
