"""The wrapper that carries a pruning method into any HGQ2 layer: it takes the place of the kernel's quantiser.

A HGQ2 layer reads its kernel only through its quantiser, and its cost only through the quantiser's bits. `PrunedConfig`
describes a quantiser with a method around it, `Pruned` is that quantiser: the mask and what the method keeps are
variables that exist once the layer is built, so they are part of every checkpoint, and of a saved model. `MaskedConfig`
and `Masked` do the same for a bias, whose values go when a method removes whole outputs.

What a training step does depends on the variable `stage`: in `PRETRAIN` the kernel is whole, in `TRAIN` the method
works on it, in `FINETUNE` a fixed mask does. Only a call with `training=True` in `TRAIN` changes any of it; reading a
weight changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import keras
import numpy as np
from hgq.quantizer import QuantizerConfig
from hgq.quantizer.internal import TrainableQuantizerBase
from keras import ops
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.stateless_scope import get_stateless_scope, in_stateless_scope

from weft.errors import ConfigError, ShapeError
from weft.prune import Clock, Geometry, Method, Seen, method_of

PRETRAIN, TRAIN, FINETUNE = 0, 1, 2
"""The values of the variable `stage`."""


class _AroundConfig(QuantizerConfig):
    """A quantiser's configuration with something around it."""

    def __init__(self, quantizer: QuantizerConfig) -> None:
        self.inside = quantizer
        self.config, self.place, self.q_type = quantizer.config, quantizer.place, quantizer.q_type
        self.scaler, self.affine, self.qnoise_factor = quantizer.scaler, quantizer.affine, quantizer.qnoise_factor
        for name in ("scaler", "affine", "qnoise_factor"):
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"a quantiser with {name}={getattr(self, name)} cannot be masked, since that is applied outside of "
                    f"the mask; leave {name} out, or leave the layer whole with prune.skip"
                )

    def get_config(self) -> dict[str, Any]:
        return {"quantizer": keras.saving.serialize_keras_object(self.inside)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "quantizer": keras.saving.deserialize_keras_object(config["quantizer"])})


@keras.saving.register_keras_serializable(package="weft")
class PrunedConfig(_AroundConfig):
    """A quantiser's configuration with a pruning method around it.

    Args:
        quantizer: The configuration of the quantiser inside.
        method: The pruning method, or its configuration as a dictionary.
        output_axes: The axes of the kernel that number the outputs; the others number what an output reads.
        n_taps: How many of the other axes, from the first, are positions of a convolution's window.
        prune_first: Whether the mask comes before the quantiser, or after it.

    Raises:
        ConfigError: The quantiser scales or shifts what it returns, or the method changes the weights that it keeps
            and comes after the quantiser, so that they would leave its grid.
    """

    def __init__(
        self,
        quantizer: QuantizerConfig,
        method: Method | dict[str, Any],
        output_axes: Sequence[int] = (-1,),
        n_taps: int = 0,
        prune_first: bool = True,
    ) -> None:
        if isinstance(method, dict):
            method = method_of(method["method"]).model_validate(method)
        super().__init__(quantizer)
        if not prune_first and getattr(method, "rescales", False):
            raise ConfigError(
                f"method '{method.method}' changes the weights that it keeps, and with prune_first=False they would "
                "leave the quantiser's grid; set prune_first to true"
            )
        self.method = method
        self.output_axes, self.n_taps, self.prune_first = tuple(output_axes), n_taps, prune_first

    def get_quantizer(self) -> Pruned:
        return Pruned(self)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "method": self.method.model_dump(mode="json"),
            "output_axes": self.output_axes,
            "n_taps": self.n_taps,
            "prune_first": self.prune_first,
        }


@keras.saving.register_keras_serializable(package="weft")
class MaskedConfig(_AroundConfig):
    """The configuration of a bias quantiser whose values may go; `weft.quantize.observe` says when.

    Args:
        quantizer: The configuration of the quantiser inside.
    """

    def get_quantizer(self) -> Masked:
        return Masked(self)


class _Around(TrainableQuantizerBase):
    """A quantiser around another one: `alive` is 1 where a value is left, 0 where it is gone and costs nothing."""

    alive: Any

    def __init__(self, config: _AroundConfig) -> None:
        super().__init__(heterogeneous_axis=(), homogeneous_axis=None)
        self.inside = config.inside.get_quantizer()
        self.bw_mapper = self.inside.bw_mapper

    @property
    def bits(self) -> Any:
        return self._left(self.inside.bits)

    @property
    def fbits(self) -> Any:
        return self._left(self.inside.fbits)

    def _left(self, bits: Any) -> Any:
        alive = ops.copy(ops.convert_to_tensor(self.alive))
        return self.inside.bw_mapper.bw_to_x(bits, alive.shape) * alive

    @property
    def min(self) -> Any:
        return self.inside.min

    @property
    def max(self) -> Any:
        return self.inside.max

    @property
    def epsilon(self) -> Any:
        return self.inside.epsilon

    def __getattr__(self, name: str) -> Any:
        # PyTorch finds sublayers by this method; beyond them it is what a layer asks of a fixed-point quantiser (k, i,
        # f, kif, ...) that is not in the interface of all quantisers.
        found = getattr(super(), "__getattr__", None)
        if found is not None:
            with suppress(AttributeError):
                return found(name)
        if name.startswith("_") or name == "inside" or hasattr(type(self), name):
            raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}', or computing it failed")
        return getattr(self.inside, name)


class Masked(_Around):
    """A bias quantiser whose values go with the outputs that they belong to.

    Attributes:
        alive: Shape of the bias; 1 where the output is there, 0 where it is gone.
    """

    def build(self, shape: Sequence[int]) -> None:
        self.inside.build(shape)
        self.alive = self.add_weight(name="alive", shape=shape, initializer="ones", trainable=False)
        super().build(shape)

    def call(self, bias: Any, training: Any = None) -> Any:
        return self.inside.call(bias * _read(self.alive), training=training)

    def __repr__(self) -> str:
        return f"Masked({self.inside!r})"


class Pruned(_Around):
    """A quantiser whose kernel a pruning method works on.

    Attributes:
        mask: Shape of the kernel; 0 where a weight is gone, otherwise the factor that stays on it.
        stage: Scalar, `PRETRAIN`, `TRAIN` or `FINETUNE`.
        slots: The method's variables by name.
        output_axes: The axes of the kernel that number its outputs.
        follow: If given, called as `follow(alive, active)` whenever the mask may change: `alive` is 1 for each output
            that has a weight left, (n_out,), and counts only where the scalar `active` is true.
        look: If given, called as `look(seen)` in inference; see `weft.quantize.observe.look`.
    """

    def __init__(self, config: PrunedConfig) -> None:
        super().__init__(config)
        self.method, self.prune_first = config.method, config.prune_first
        self.output_axes, self._n_taps = config.output_axes, config.n_taps
        self._record: Callable[[Any], None] | None = None
        self.follow: Callable[[Any, Any], None] | None = None
        self.look: Callable[[Seen], None] | None = None

    def build(self, shape: Sequence[int]) -> None:
        self.kernel_shape = tuple(int(size) for size in shape)
        rank = len(self.kernel_shape)
        outputs = [axis % rank for axis in self.output_axes]
        inputs = [axis for axis in range(rank) if axis not in outputs]
        self._order = (*outputs, *inputs)
        sizes = [self.kernel_shape[axis] for axis in inputs]
        self.geometry = Geometry(
            n_out=int(np.prod([self.kernel_shape[axis] for axis in outputs])),
            n_in=int(np.prod(sizes[self._n_taps :])),
            taps=tuple(sizes[: self._n_taps]),
        )
        self.inside.build(shape)
        self.mask = self.add_weight(name="mask", shape=self.kernel_shape, initializer="ones", trainable=False)
        reason = self.method.check(self.geometry)
        if reason is not None:
            place = self.mask.path.rsplit("/", 3)[0]  # the layer; below it the quantiser, this, and the mask
            raise ShapeError(
                f"method '{self.method.method}' cannot prune the kernel of '{place}' with shape {self.kernel_shape}: "
                f"{reason}; list the layer in prune.skip, or choose another method"
            )
        self.stage = self.add_weight(name="stage", shape=(), initializer="zeros", trainable=False, dtype="int32")
        times = ("epoch", "epochs", "round")
        self.times = {
            name: self.add_weight(name=name, shape=(), initializer="zeros", trainable=False) for name in times
        }
        self.slots = {
            name: self.add_weight(
                name=name,
                shape=slot.shape,
                initializer=keras.initializers.Constant(slot.initial),
                trainable=slot.trainable,
            )
            for name, slot in self.method.slots(self.geometry).items()
        }
        super().build(shape)

    def call(self, kernel: Any, training: Any = None) -> Any:
        if self.prune_first:
            return self.inside.call(self._prune(kernel, training), training=training)
        return self._prune(self.inside.call(kernel, training=training), training)

    @contextmanager
    def recording(self) -> Iterator[list[Any]]:
        """Collect the kernels that reach this quantiser while the context lasts."""
        seen: list[Any] = []
        self._record = seen.append
        try:
            yield seen
        finally:
            self._record = None

    def _prune(self, kernel: Any, training: Any) -> Any:
        if self._record is not None:
            self._record(kernel)
        w, state, clock = self.matrix(kernel), self.state(), self.clock()
        active = ops.equal(ops.convert_to_tensor(self.stage), TRAIN)
        soft, alive = self.method.apply(w, state, clock)
        result = ops.where(active, self.kernel(soft), kernel * _read(self.mask))
        if training is True:
            penalties = _penalties_of_this_call()
            if id(self) not in penalties:  # a shared layer reads its kernel again, and is trained once
                self._keep(alive, active)
                for name, value in self.method.step(w, state, clock).items():
                    self._assign(self.slots[name], value, active)
                penalties[id(self)] = self.method.penalty(w, state, clock)
            if penalties[id(self)] is not None:
                self._penalize(ops.where(active, penalties[id(self)], 0.0))
        return result

    def observe(self, kernel: Any, seen: Seen) -> None:
        """Let the method see a training batch; see `weft.quantize.observe`."""
        active = ops.equal(ops.convert_to_tensor(self.stage), TRAIN)
        w = ops.stop_gradient(self.matrix(kernel))
        for name, value in self.method.observe(w, self.state(), seen).items():
            self._assign(self.slots[name], value, active)
        self._keep(self.method.apply(w, self.state(), self.clock())[1], active)

    def _keep(self, mask: Any, active: Any) -> None:
        """Keep the mask (n_out, n), and tell who follows it."""
        self._assign(self.mask, self.kernel(mask), active)
        if self.follow is not None:
            self.follow(ops.cast(ops.any(ops.not_equal(mask, 0), axis=1), "float32"), active)

    @staticmethod
    def _assign(variable: keras.Variable, value: Any, active: Any) -> None:
        variable.assign(ops.stop_gradient(ops.where(active, value, ops.convert_to_tensor(variable))))

    def _penalize(self, penalty: Any) -> None:
        """Add a term to the loss once a step, even where a shared layer is called twice."""
        self._losses.clear()
        self._loss_ids.clear()
        self.add_loss(penalty)

    def state(self) -> dict[str, Any]:
        """Return the method's slots as tensors."""
        return {name: _read(variable) for name, variable in self.slots.items()}

    def clock(self) -> Clock:
        """Return where training is."""
        return Clock(**{name: ops.convert_to_tensor(variable) for name, variable in self.times.items()})

    def matrix(self, kernel: Any) -> Any:
        """Return a kernel as the matrix (n_out, n) that methods work on."""
        return ops.reshape(ops.transpose(kernel, self._order), self.geometry.shape)

    def kernel(self, matrix: Any) -> Any:
        """Return a matrix (n_out, n) as a kernel; the inverse of `matrix`."""
        sizes = [self.kernel_shape[axis] for axis in self._order]
        return ops.transpose(ops.reshape(matrix, sizes), tuple(int(i) for i in np.argsort(self._order)))

    def harden(self, kernel: Any) -> Any:
        """Fix the mask as the method's training ends, and return the kernel to go on with."""
        w, mask = self.method.harden(self.matrix(kernel), self.state(), self.clock())
        self._keep(mask, ops.convert_to_tensor(True))
        self.stage.assign(FINETUNE)
        return self.kernel(w)

    @property
    def alive(self) -> Any:
        """1 where a weight is left, 0 where it is gone; shape of the kernel."""
        return ops.cast(ops.not_equal(ops.convert_to_tensor(self.mask), 0), "float32")

    def __repr__(self) -> str:
        return f"Pruned({self.method.method}, {self.inside!r})"


def _read(variable: keras.Variable) -> Any:
    """Return a variable's value of now: PyTorch assigns in place, and would change what a gradient still needs."""
    value = ops.convert_to_tensor(variable)
    return value if variable.trainable else ops.copy(value)


def _penalties_of_this_call() -> dict[int, Any]:
    """Return a dictionary that lasts as long as one call of the model, for each quantiser's penalty in it."""
    now = get_stateless_scope() if in_stateless_scope() else get_global_attribute("current_call_ctx")
    return {} if now is None else now.__dict__.setdefault("weft_penalties", {})
