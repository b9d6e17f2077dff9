"""The empirical Fisher information of kernels and of the values they read: the mean of squared gradients over samples.

Squares of the gradients of single samples are wanted, while one backward pass gives only sums over a batch. With a
random sign on the loss of each sample the square of the sum is on average the sum of the squares: the products of two
different samples cancel (Hutchinson's estimator). A batch of one sample gives the exact value. What a layer reads
belongs to one sample each, so those squares are exact in any batch.

Source: Zandonati et al., "FIT: A Metric for Model Sensitivity", ICLR 2023, arXiv:2210.08502.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from weft import ops
from weft.compression._products import FloatKernel
from weft.compression._taps import tapped
from weft.errors import DataError
from weft.types import Tensor

if TYPE_CHECKING:
    import keras

LEAST_DRAWS = 8
"""Draws of signs without which the spread of the trace says nothing."""

Batch = tuple[Any, Any]
"""Inputs and targets of some samples, each an array or a structure of arrays."""

_State = tuple[list[Tensor], list[Tensor]]
"""Values of the kernels, and of the model's other variables."""


@dataclass(frozen=True)
class Fisher:
    """What a change of kernels and of the values they read does to the loss, to second order.

    Attributes:
        kernels: For each kernel the mean squared gradient of each weight, shape of the kernel.
        step: For each kernel the distance that its input moves from its present format to the next one.
        now: For each kernel the distance of its input, in its present format, from zero.
        then: The same in the next format.
        draws: How many draws of signs this is the mean of.
    """

    kernels: tuple[np.ndarray, ...]
    step: np.ndarray
    now: np.ndarray
    then: np.ndarray
    draws: int


class FisherMeter:
    """Measures Fisher information of one model, whose own variables it does not touch.

    Args:
        model: A built Keras model.
        kernels: Its kernels.
        loss: A Keras loss, or a function (targets, outputs) -> loss of each sample, (n,) or (n, ...).
        batches: Calibration data.
        tolerance: Relative standard error of the trace that ends a measurement.
        draws: Most draws that a measurement takes.
        seed: Of the signs.

    Raises:
        DataError: There is no batch.
    """

    def __init__(
        self,
        model: keras.Model,
        kernels: Sequence[FloatKernel],
        loss: Callable[..., Tensor],
        batches: Sequence[Batch],
        tolerance: float = 0.05,
        draws: int = 100,
        seed: int = 0,
    ) -> None:
        self.model, self.kernels, self.batches = model, kernels, [(_tensors(x), _tensors(y)) for x, y in batches]
        self.tolerance, self.draws, self.seed = tolerance, draws, seed
        if not self.batches:
            raise DataError("the Fisher information needs at least one batch of calibration data, and got none")
        kept = {id(kernel.variable) for kernel in self.kernels}
        self._others = [variable for variable in model.variables if id(variable) not in kept]
        self._values = [_copy(variable) for variable in self._others]
        self._loss = _of_each_sample(loss)
        self._add = _compiled(self._accumulated)

    def ranges(self) -> list[tuple[float, float]]:
        """Return the least and the greatest value that each kernel reads, over all batches.

        Raises:
            DataError: They are not finite.
        """
        limits = _compiled(self._limits)
        each = np.stack([ops.convert_to_numpy(limits(x)) for x, _ in self.batches])  # (batches, kernels, 2)
        found = [(float(low), float(high)) for low, high in zip(each[..., 0].min(0), each[..., 1].max(0), strict=True)]
        for kernel, (low, high) in zip(self.kernels, found, strict=True):
            if not np.isfinite([low, high]).all():
                raise DataError(
                    f"layer '{kernel.name}' reads values from {low:g} to {high:g} on the calibration data, and needs "
                    "finite ones; check the inputs, and the weights of the model"
                )
        return found

    def _limits(self, x: Any) -> Tensor:
        seen: dict[tuple[int, int], list[Tensor]] = {}

        def note(layer: keras.Layer, read: int, inputs: Tensor) -> Tensor:
            seen.setdefault((id(layer), read), []).append(inputs)
            return inputs

        with tapped([kernel.layer for kernel in self.kernels], note):
            self.model(x, training=False)
        read = [ops.concatenate([ops.ravel(v) for v in seen[id(kernel.layer), kernel.read]]) for kernel in self.kernels]
        return ops.stack([ops.stack([ops.min(v), ops.max(v)]) for v in read])

    def measure(self, weights: Sequence[np.ndarray], formats: np.ndarray) -> Fisher:
        """Return the Fisher information of a state, averaged until its trace has settled.

        Args:
            weights: The kernels of the state.
            formats: For each kernel the present and the next format of its input, float32 (n_kernels, 2, 3): step,
                least and greatest value.

        Raises:
            DataError: The loss or its gradient is not finite.
        """
        rng = np.random.default_rng(self.seed)
        state, formats = [ops.convert_to_tensor(w) for w in weights], ops.convert_to_tensor(formats)
        sums: list[Any] = [[ops.zeros(kernel.shape) for kernel in self.kernels], ops.zeros((len(self.kernels), 3))]
        traces: list[float] = []
        for x, y in islice(cycle(self.batches), self.draws):
            signs = ops.convert_to_tensor(rng.choice(np.array([-1.0, 1.0], np.float32), _rows(x)))
            *sums, trace = self._add(sums, (state, self._values), formats, x, y, signs)
            traces.append(float(ops.convert_to_numpy(trace)))
            if not np.isfinite(traces[-1]):
                raise DataError(
                    f"the squared gradient of the loss on calibration batch {(len(traces) - 1) % len(self.batches)} is "
                    f"{traces[-1]}; check that loss, targets and outputs belong together, and the inputs' scale"
                )
            if len(traces) >= LEAST_DRAWS and _settled(traces, self.tolerance):
                break
        squares, moves = sums
        means = [ops.convert_to_numpy(total).astype(np.float64) / len(traces) for total in (*squares, moves)]
        return Fisher(tuple(means[:-1]), *means[-1].T, draws=len(traces))

    def _accumulated(
        self, sums: list[Any], state: _State, formats: Tensor, x: Any, y: Any, signs: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Add a draw's means over its samples to sums; return these and the trace of this draw."""
        squares, moved = self._squares(state, formats, x, y, signs)
        squares = [square / len(signs) for square in squares]
        totals = [total + square for total, square in zip(sums[0], squares, strict=True)]
        return totals, sums[1] + moved / len(signs), sum(ops.sum(square) for square in squares)

    def _squares(self, state: _State, formats: Tensor, x: Any, y: Any, signs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return squared gradients of the signed loss by each kernel, and for each input its three distances."""
        import keras

        numbers = {(id(kernel.layer), kernel.read): n for n, kernel in enumerate(self.kernels)}
        n_rows = len(signs)
        shapes = [(n, (n_rows, *shape)) for n, kernel in enumerate(self.kernels) for shape in kernel.shapes]
        order = {n: [i for i, (other, _) in enumerate(shapes) if other == n] for n in range(len(self.kernels))}
        probes = [ops.zeros(shape) for _, shape in shapes]

        def loss(weights: Sequence[Tensor], probes: Sequence[Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
            free, read = {n: iter(places) for n, places in order.items()}, {}

            def probe(layer: keras.Layer, which: int, inputs: Tensor) -> Tensor:
                n = numbers.get((id(layer), which))
                if n is None:
                    return inputs
                place = next(free[n])
                read[place] = inputs
                rounded = _rounded(inputs, formats[n, 0])
                return inputs + ops.stop_gradient(rounded - inputs) + probes[place]

            mapping = [(kernel.variable, w) for kernel, w in zip(self.kernels, weights, strict=True)]
            mapping += zip(self._others, state[1], strict=True)
            with keras.StatelessScope(state_mapping=mapping), tapped([k.layer for k in self.kernels], probe):
                outputs = self.model(x, training=False)
            return ops.sum(signs * self._loss(y, outputs)), read

        by_weight, by_input, read = _gradients(loss, state[0], probes)
        moved = [ops.zeros(3) for _ in self.kernels]
        for place, (n, _) in enumerate(shapes):
            square = ops.square(by_input[place])
            now, then = (_rounded(read[place], formats[n, which]) for which in (0, 1))
            moved[n] += ops.stack([ops.sum(square * ops.square(v)) for v in (then - now, now, then)])
        return [ops.square(g) for g in by_weight], ops.stack(moved)


def _rounded(x: Tensor, form: Tensor) -> Tensor:
    step, low, high = form[0], form[1], form[2]
    return ops.clip(ops.floor(x / step + 0.5) * step, low, high)


def _settled(traces: Sequence[float], tolerance: float) -> bool:
    error = float(np.std(traces, ddof=1)) / len(traces) ** 0.5
    return error <= tolerance * float(np.mean(traces))


def _of_each_sample(loss: Any) -> Callable[[Any, Any], Tensor]:
    import keras

    call = loss.call if isinstance(loss, keras.losses.Loss) else loss

    def each(y: Any, outputs: Any) -> Tensor:
        values = call(y, outputs)
        if len(values.shape) == 0:
            raise DataError(
                "the loss returned one number for the whole batch, and the Fisher information needs that of each "
                "sample; give a keras.losses.Loss, or a function that returns shape (n,)"
            )
        return ops.mean(ops.reshape(values, (values.shape[0], -1)), axis=-1)

    return each


def _leaves(structure: Any) -> Iterator[Any]:
    import keras

    yield from keras.tree.flatten(structure)


def _copy(variable: keras.Variable) -> Tensor:
    return ops.convert_to_tensor(np.array(ops.convert_to_numpy(variable)))


def _tensors(structure: Any) -> Any:
    import keras

    return keras.tree.map_structure(ops.convert_to_tensor, structure)


def _rows(x: Any) -> int:
    return len(next(_leaves(x)))


def _compiled(program: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on JAX, once for each shape of a batch; the other backends run as they are."""
    import keras

    if keras.backend.backend() != "jax":
        return program
    import jax

    from weft.train.engine import use_compilation_cache

    use_compilation_cache()
    return jax.jit(program)


def _gradients(
    f: Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, Any]], a: Sequence[Tensor], b: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor], Any]:
    """Return the gradients of `f(a, b)[0]` by each tensor of `a` and of `b`, and `f(a, b)[1]`."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        (of_a, of_b), rest = jax.grad(f, argnums=(0, 1), has_aux=True)(list(a), list(b))
        return of_a, of_b, rest
    if backend == "torch":
        import torch

        a, b = ([t.detach().clone().requires_grad_() for t in group] for group in (a, b))
        value, rest = f(a, b)
        found = torch.autograd.grad(value, [*a, *b], allow_unused=True)
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            for tensor in (*a, *b):
                tape.watch(tensor)
            value, rest = f(a, b)
        found = tape.gradient(value, [*a, *b])
    found = [ops.zeros_like(t) if g is None else g for t, g in zip([*a, *b], found, strict=True)]
    return found[: len(a)], found[len(a) :], rest
