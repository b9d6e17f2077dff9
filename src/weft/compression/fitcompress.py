"""FITCompress: a best-first search for the widths of each layer's weights and input, and for a sparsity of the network.

Source: Zandonati et al., "Towards Optimal Compression: Joint Pruning and Quantization", 2023, arXiv:2302.07612. A state
is a width for the weights and for the input of every layer, and the share of all weights that is removed; an attention
layer with its kernels is one layer here, as it is for `weft.quantize`. A step takes one of them to its next value. Its
length is the root of the Fisher distance FIT = Σ F (a-b)² between the two states, and a way is as long as its steps
together. States are expanded in the order of the length of their way plus |rate - goal| · sqrt(FIT to zero).

Deviations: All layers begin at the first width of the schedules and not as floats, since firmware has none. What layers
read is part of the state and of the distance, after arXiv:2210.08502. Ranges follow the rule of HGQ2's quantisers and
hold every value, so that a weight is zero where it is less than half a step. The search ends when no open state
promises a shorter way than the best state that meets the goal has, not when the first of these is listed.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from weft import ops
from weft.compression._fisher import Batch, Fisher, FisherMeter
from weft.compression._products import FloatKernel, float_kernels
from weft.config.fitcompress import FitCompressConfig, Goal, GoalKind
from weft.config.numbers import Granularity, LayerSettings, QuantizerSettings
from weft.cost.products import significant_bits
from weft.errors import BudgetError, DataError, ShapeError
from weft.types import Progress, Tensor, no_progress

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

_FLOAT_BITS = 32
Arrays = tuple[np.ndarray, ...]
_What = tuple[str, str | None, float]


@dataclass(frozen=True)
class Move:
    """One step of the way to a state.

    Attributes:
        what: `weights`, `input` or `sparsity`.
        layer: The layer that it is about; None for the sparsity, which is of the whole network.
        value: The new width in bits with the sign, or the new share of removed weights.
        rate: What the network costs after it, in the unit of the goal.
        distance: Length of the step, the root of its Fisher distance.
    """

    what: str
    layer: str | None
    value: float
    rate: float
    distance: float


@dataclass(frozen=True)
class Found:
    """The state that meets the goal at the least distance.

    Attributes:
        layers: For each layer, by its name (after those of nested models, joined by `/`), the widths of weights and
            input, for `weft.quantize.convert`.
        masks: For each kernel which weights are not zero, bool, shape of the kernel; by the name of its layer, and for
            an attention layer also that of the layer inside, such as `attention/query`. A weight that its width rounds
            to zero is among the zeros: the rate counts on it.
        rate: What the network costs, in the unit of the goal.
        goal: What was asked for.
        path: The steps, from all layers at their first width.
        states: How many states were expanded.
    """

    layers: dict[str, LayerSettings]
    masks: dict[str, np.ndarray]
    rate: float
    goal: Goal
    path: tuple[Move, ...]
    states: int


def fitcompress(
    model: keras.Model,
    loss: Callable[..., Tensor],
    batches: Sequence[Batch],
    config: FitCompressConfig,
    *,
    granularity: Granularity = "tensor",
    progress: Progress = no_progress,
) -> Found:
    """Find widths and masks with which a float model costs no more than a goal, and loses as little as possible.

    Args:
        model: A trained Keras model of float layers; it is not changed.
        loss: A Keras loss, or a function (targets, outputs) -> loss of each sample.
        batches: Calibration data, pairs of inputs and targets; smaller batches sharpen the Fisher information sooner.
        config: Goal, schedules and search.
        granularity: Which weights of a kernel share one range.
        progress: Called after each expanded state with the least rate so far.

    Raises:
        BudgetError: No state meets the goal; the message names the least rate that was reached.
        UnsupportedError: A layer has a kernel that cannot be counted, and is not skipped.
        ShapeError: No layer is left to compress.
        DataError: There is no batch, or the loss is not finite.
    """
    batches = list(batches)
    if not batches:
        raise DataError("fitcompress needs at least one batch of calibration data, and got none")
    kernels = float_kernels(model, _first_row(batches[0][0]), config.only, config.skip)
    if not kernels:
        raise ShapeError(
            f"fitcompress found nothing to compress in '{model.name}': it needs a layer with a kernel that "
            f"only={config.only} takes and skip={config.skip} leaves"
        )
    meter = FisherMeter(model, kernels, loss, batches, config.tolerance, config.draws, config.seed)
    return _Search(kernels, meter, config, granularity).run(progress)


@contextmanager
def weights_within(model: keras.Model, limit: float) -> Iterator[None]:
    """Keep all kernels of a model in [-limit, limit] after each step that an optimizer takes inside this context.

    Without it weights grow in a long pretraining, and widths with them. A compiled training step has the limit in it:
    make the `Engine`, or call `fit`, inside, and another one outside.
    """
    kernels = [variable for variable in model.trainable_variables if variable.path.endswith("kernel")]
    before = [kernel.constraint for kernel in kernels]
    for kernel in kernels:
        kernel.constraint = _clip_after(kernel.constraint, limit)
    try:
        yield
    finally:
        for kernel, constraint in zip(kernels, before, strict=True):
            kernel.constraint = constraint


def _clip_after(constraint: Callable[[Tensor], Tensor] | None, limit: float) -> Callable[[Tensor], Tensor]:
    return lambda w: ops.clip(w if constraint is None else constraint(w), -limit, limit)


def round_kernel(kernel: np.ndarray, bits: int, group_axes: Sequence[int] | None = None) -> np.ndarray:
    """Round a kernel half up to a fixed-point format of a width, whose range is the smallest that holds all magnitudes.

    Args:
        kernel: Weights, any shape.
        bits: Width with the sign, >= 2.
        group_axes: Axes whose entries have ranges of their own; None or () for one range.

    Returns:
        The rounded weights, float32, of the same shape.

    Example:
        >>> round_kernel(np.array([0.9, -0.3, 0.06], np.float32), 4)
        array([ 1.  , -0.25,  0.  ], dtype=float32)
    """
    own = {axis % kernel.ndim for axis in group_axes or ()}
    shared = tuple(axis for axis in range(kernel.ndim) if axis not in own)
    w = kernel.astype(np.float64)
    step = _step(np.abs(w).max(axis=shared, keepdims=True), bits - 1)
    return (np.floor(w / step + 0.5) * step).astype(np.float32)


def kernel_cost(kind: GoalKind, kernel: FloatKernel, weights: np.ndarray, bits: int, input_bits: int, k: int) -> float:
    """Return what one kernel costs: EBOPs, bit operations or bytes.

    EBOPs are products weighed with the significant bits of the weight and the bits of the input, signs left out. Bit
    operations are the products with weights that are not zero, times both widths. Bytes are those of such weights.

    Args:
        kind: Which of the three.
        kernel: Knows the number of products.
        weights: The weights as they are multiplied with.
        bits: Their width with the sign.
        input_bits: Width of the input, with the sign if it has one.
        k: 1 if the input has a sign, else 0.
    """
    if kind == "ebops":
        return float((significant_bits(weights) * kernel.products).sum() * (input_bits - k))
    if kind == "bytes":
        return np.count_nonzero(weights) * bits / 8
    return float(kernel.products[weights != 0].sum() * bits * input_bits)


def _step(magnitude: np.ndarray, bits: int) -> np.ndarray:
    """Return the step of the smallest format with so many bits besides the sign whose greatest value is no less."""
    with np.errstate(divide="ignore"):
        i = np.where(magnitude > 0, np.ceil(np.log2(magnitude / (1 - 2.0**-bits))), 0)  # all zero: any format will do
    return 2.0 ** (i - bits)


@dataclass(frozen=True)
class _Key:
    """Where a state is in the schedules: that of each layer's weights, of each layer's input, and of the sparsity."""

    bits: tuple[int, ...]
    inputs: tuple[int, ...]
    level: int

    @property
    def depth(self) -> int:
        return sum(self.bits) + sum(self.inputs) + self.level


@dataclass(eq=False)
class _Node:
    """A state with its kernels, and the way to it."""

    key: _Key
    masks: Arrays
    weights: Arrays
    costs: tuple[float, ...]
    length: float = 0.0
    estimate: float = 0.0
    parent: _Node | None = None
    move: Move | None = None

    @property
    def cost(self) -> float:
        return sum(self.costs)

    def path(self) -> tuple[Move, ...]:
        return () if self.parent is None or self.move is None else (*self.parent.path(), self.move)


class _Search:
    def __init__(
        self, kernels: Sequence[FloatKernel], meter: FisherMeter, config: FitCompressConfig, granularity: Granularity
    ) -> None:
        self.kernels, self.meter, self.config = kernels, meter, config
        self.layers = list(dict.fromkeys(kernel.unit for kernel in kernels))
        self.layer_of = [self.layers.index(kernel.unit) for kernel in kernels]
        own: Mapping[Granularity, Callable[[FloatKernel], Sequence[int]]] = {
            "tensor": lambda kernel: (),
            "channel": lambda kernel: kernel.output_axes,
            "weight": lambda kernel: range(len(kernel.shape)),
        }
        self.own_ranges = [own[granularity](kernel) for kernel in kernels]
        # copies, since the model lives on
        self.start = [np.array(ops.convert_to_numpy(kernel.variable)) for kernel in kernels]
        self.ranges = meter.ranges()
        signed = {kernel.unit for kernel, (low, _) in zip(kernels, self.ranges, strict=True) if low < 0}
        self.signs = [int(kernel.unit in signed) for kernel in kernels]
        whole = [self._cost(n, np.ones(k.shape), _FLOAT_BITS, _FLOAT_BITS) for n, k in enumerate(kernels)]
        self.whole = sum(whole) * (_FLOAT_BITS - 1 if config.goal.kind == "ebops" else 1)
        self.unit = self.whole if config.goal.kind == "bops_ratio" else 1.0
        self.limit = config.goal.value * self.unit

    def run(self, progress: Progress) -> Found:
        config, numbers = self.config, count()
        best, closest, deepest = None, math.inf, self._root()
        queue: list[tuple[float, int, _Node]] = []
        opened: dict[_Key, float] = {}
        done: set[_Key] = set()
        listed: Iterable[_Node] = [deepest]
        while True:
            for node in listed:
                closest = min(closest, node.cost)
                deepest = max(deepest, node, key=lambda node: node.key.depth)
                if node.cost <= self.limit:
                    best = node if best is None or node.length < best.length else best
                elif node.key not in done and node.length < opened.get(node.key, math.inf):
                    opened[node.key] = node.length
                    heapq.heappush(queue, (node.length + config.heuristic * node.estimate, next(numbers), node))
            if len(queue) > config.keep:
                queue = heapq.nsmallest(config.keep, queue)  # sorted, so still a heap
                opened = {node.key: node.length for _, _, node in queue}
            if not queue:  # states that were dropped must not hide the end of the schedules
                queue = [(math.inf, next(numbers), deepest)]
            priority, _, node = heapq.heappop(queue)
            if best is not None and priority >= best.length:
                return self._found(best, len(done))
            if node.key in done:
                if math.isinf(priority):
                    raise self._out_of_reach(closest, len(done), more=False)
                listed = []
                continue
            if len(done) == config.max_states:
                if best is None:
                    raise self._out_of_reach(closest, len(done), more=True)
                log.info("fitcompress stopped after max_states=%d states with the best one so far", len(done))
                return self._found(best, len(done))
            done.add(node.key)
            progress(len(done), config.max_states, f"{config.goal.kind} {closest / self.unit:.4g}")
            listed = self._children(node)

    def _root(self) -> _Node:
        key = _Key((0,) * len(self.layers), (0,) * len(self.layers), 0)
        masks = [np.ones(w.shape, bool) for w in self.start]
        return self._node(key, masks, [self._rounded(n, w, key) for n, w in enumerate(self.start)])

    def _children(self, node: _Node) -> Iterator[_Node]:
        """Yield the states one step away, with the length of their way and the estimate of what is left of it."""
        fisher = self._fisher(node)
        for move, child, square in (*self._narrower(node, fisher), *self._sparser(node, fisher)):
            child.length, child.parent = node.length + math.sqrt(square), node
            child.move = Move(*move, child.cost / self.unit, math.sqrt(square))
            if self.config.approximate:
                now = [child.key.inputs[u] == node.key.inputs[u] for u in self.layer_of]
                size = _size(fisher.kernels, child.weights) + float(np.where(now, fisher.now, fisher.then).sum())
            else:
                anew = self._fisher(child)
                size = _size(anew.kernels, child.weights) + float(anew.now.sum())
            child.estimate = abs(child.cost - self.limit) / self.whole * math.sqrt(size)
            yield child

    def _narrower(self, node: _Node, fisher: Fisher) -> Iterator[tuple[_What, _Node, float]]:
        """Yield the states in which one layer has narrower weights, or a narrower input."""
        key = node.key
        for u, layer in enumerate(self.layers):
            members = [n for n, other in enumerate(self.layer_of) if other == u]
            if key.bits[u] + 1 < len(self.config.weight_bits):
                after = replace(key, bits=_raised(key.bits, u))
                weights = list(node.weights)
                for n in members:
                    weights[n] = self._rounded(n, self.start[n] * node.masks[n], after)
                what = "weights", layer, self.config.weight_bits[after.bits[u]]
                yield what, self._node(after, node.masks, weights), _distance(fisher, node.weights, weights)
            if key.inputs[u] + 1 < len(self.config.activation_bits):
                after = replace(key, inputs=_raised(key.inputs, u))
                what = "input", layer, self.config.activation_bits[after.inputs[u]]
                yield what, self._node(after, node.masks, node.weights), float(fisher.step[members].sum())

    def _sparser(self, node: _Node, fisher: Fisher) -> Iterator[tuple[_What, _Node, float]]:
        """Yield the state in which the weights that matter least, of all layers together, are gone."""
        level = node.key.level + 1
        if level == len(self.config.sparsities):
            return
        sparsity, after = self.config.sparsities[level], replace(node.key, level=level)
        each = zip(node.masks, fisher.kernels, node.weights, strict=True)
        matters = np.concatenate([np.where(mask, f * np.float64(w) ** 2, -1.0).ravel() for mask, f, w in each])
        alive = np.ones(len(matters), bool)
        alive[np.argsort(matters, kind="stable")[: int(sparsity * len(matters))]] = False
        parts = np.split(alive, np.cumsum([w.size for w in self.start])[:-1])
        masks = [part.reshape(w.shape) for part, w in zip(parts, self.start, strict=True)]
        weights = [self._rounded(n, w * masks[n], after) for n, w in enumerate(self.start)]
        yield ("sparsity", None, sparsity), self._node(after, masks, weights), _distance(fisher, node.weights, weights)

    def _node(self, key: _Key, masks: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> _Node:
        widths = [
            (self.config.weight_bits[key.bits[u]], self.config.activation_bits[key.inputs[u]]) for u in self.layer_of
        ]
        costs = tuple(self._cost(n, w, *widths[n]) for n, w in enumerate(weights))
        return _Node(key, tuple(masks), tuple(weights), costs)

    def _cost(self, n: int, weights: np.ndarray, bits: int, input_bits: int) -> float:
        return kernel_cost(self.config.goal.kind, self.kernels[n], weights, bits, input_bits, self.signs[n])

    def _rounded(self, n: int, w: np.ndarray, key: _Key) -> np.ndarray:
        return round_kernel(w, self.config.weight_bits[key.bits[self.layer_of[n]]], self.own_ranges[n])

    def _fisher(self, node: _Node) -> Fisher:
        last = len(self.config.activation_bits) - 1
        widths = [(node.key.inputs[u], min(node.key.inputs[u] + 1, last)) for u in self.layer_of]
        formats = [[self._format(n, i) for i in now_and_next] for n, now_and_next in enumerate(widths)]
        return self.meter.measure(node.weights, np.array(formats, np.float32))

    def _format(self, n: int, i: int) -> tuple[float, float, float]:
        """Return step, least and greatest value of what a kernel reads in its i-th width."""
        k, bits = self.signs[n], self.config.activation_bits[i] - self.signs[n]
        step = float(_step(np.abs(self.ranges[n]).max(), bits))
        return step, -k * step * 2.0**bits, step * (2.0**bits - 1)

    def _found(self, node: _Node, states: int) -> Found:
        config, layers = self.config, {}
        for u, layer in enumerate(self.layers):
            signed = bool(self.signs[self.layer_of.index(u)])
            layers[layer] = LayerSettings(
                weight=QuantizerSettings(bits=config.weight_bits[node.key.bits[u]]),
                input=QuantizerSettings(bits=config.activation_bits[node.key.inputs[u]], signed=signed),
            )
        masks = {kernel.name: w != 0 for kernel, w in zip(self.kernels, node.weights, strict=True)}
        return Found(layers, masks, node.cost / self.unit, config.goal, node.path(), states)

    def _out_of_reach(self, closest: float, states: int, more: bool) -> BudgetError:
        config, goal = self.config, self.config.goal
        found = (
            f"fitcompress found no state with {goal.kind} <= {goal.value:g}; the closest of {states} states that were "
            f"expanded comes to {closest / self.unit:.6g}"
        )
        if more:
            return BudgetError(f"{found}. Raise max_states={config.max_states}, or lower keep={config.keep}")
        return BudgetError(
            f"{found}. Raise the goal, or let widths and sparsity go further (weight_bits ends at "
            f"{config.weight_bits[-1]}, activation_bits at {config.activation_bits[-1]}, max_sparsity is "
            f"{config.max_sparsity:g})"
        )


def _distance(fisher: Fisher, before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> float:
    """Return FIT between two states of the kernels, Σ F (a-b)²; what has not changed costs no time."""
    each = zip(fisher.kernels, before, after, strict=True)
    return sum(float((f * (np.float64(a) - b) ** 2).sum()) for f, a, b in each if a is not b)


def _size(fisher: Sequence[np.ndarray], weights: Sequence[np.ndarray]) -> float:
    """Return FIT between the kernels and zero, Σ F a²."""
    return sum(float((f * np.float64(w) ** 2).sum()) for f, w in zip(fisher, weights, strict=True))


def _raised(values: tuple[int, ...], u: int) -> tuple[int, ...]:
    return (*values[:u], values[u] + 1, *values[u + 1 :])


def _first_row(x: object) -> object:
    import keras

    return keras.tree.map_structure(lambda array: np.asarray(array)[:1], x)
