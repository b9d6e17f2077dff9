"""The products of a network as arrays: who is multiplied with whom, how wide both are, and which of it is alive.

Hardware is unrolled: a layer that is applied at several positions, or in several steps of time, has its products at
each of them. A product is alive if both of its numbers may differ from 0 and somebody reads what it is added to;
`weft.quantize.dead` follows that through the network, and a convolution's padding and a recurrent layer's first state
are zeros, too. Sums, biases, tables and scalings by constants are no products. EBOPs and BOPs are sums over this view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weft.quantize.contraction import Einsum, Floats, Form, convolution_of

if TYPE_CHECKING:
    from weft.quantize.dead import Followed

Alive = NDArray[np.bool_]
Shape = tuple[int, ...]

_MANTISSA_BITS = 53


@dataclass(frozen=True, eq=False)
class Operand:
    """One array of numbers that are multiplied; no batch axis.

    Attributes:
        bits: Declared width of each as HGQ2 counts EBOPs, signs left out.
        width: Declared width of each with its sign.
        values: The numbers, where they are weights; None for what appears as data runs through.
    """

    bits: Floats
    width: Floats
    values: Floats | None = None

    @cached_property
    def least_bits(self) -> Floats:
        """The bits that a multiplier sees: of weights those from the highest to the lowest one that is not zero."""
        if self.values is None:
            return self.bits
        return np.minimum(significant_bits(self.values), self.bits)


@dataclass(frozen=True, eq=False)
class Product:
    """All products of two arrays in one call of a layer.

    Attributes:
        name: The place of the layer, and what is multiplied where it has several.
        form: Which numbers are multiplied, and where the products are added.
        first: What the layer reads.
        second: Its weights, or what else is multiplied with.
        alive: Where `first` may differ from 0.
        read: Which numbers of the result are read.
        second_alive: Where `second` may differ from 0.
    """

    name: str
    form: Form
    first: Operand
    second: Operand
    alive: Alive
    read: Alive
    second_alive: Alive

    @property
    def ebops(self) -> float:
        """Effective bit operations of what is alive."""
        bits = self.form.weigh(self.first.bits * self.alive, self.read)
        return float(np.sum(bits * self.second.least_bits * self.second_alive))

    @property
    def declared(self) -> float:
        """Effective bit operations by declared widths, dead or alive: HGQ2's own count without what is no product."""
        bits = self.form.weigh(self.first.bits, np.ones(self.form.result_shape))
        return float(np.sum(bits * self.second.bits))

    @property
    def used(self) -> Alive:
        """Which numbers of `second` take part in a product that is alive."""
        alive = self.alive & (self.first.width > 0)
        return np.asarray(self.second_alive & (self.form.weigh(alive, self.read) > 0))

    @property
    def count(self) -> float:
        """How many products there are, dead or alive."""
        return float(np.sum(self.form.weigh(np.ones(self.first.bits.shape), np.ones(self.form.result_shape))))


def significant_bits(weights: Any) -> NDArray[np.int64]:
    """Count the bits of each weight from its highest to its lowest one that is not zero; signs are left out.

    Args:
        weights: Weights, any shape, finite.

    Returns:
        Counts of the same shape: 0 for zero, 1 for a power of two, at most 53.

    Example:
        >>> significant_bits([0.0, -0.5, 0.75, 10.0])
        array([0, 1, 2, 3])
    """
    mantissa, _ = np.frexp(np.abs(np.asarray(weights, dtype=np.float64)))
    integers = np.ldexp(mantissa, _MANTISSA_BITS).astype(np.int64)  # the highest bit of all but zero is bit 52
    _, lowest = np.frexp((integers & -integers).astype(np.float64))  # the lowest bit is bit `lowest - 1`
    return np.where(integers == 0, 0, _MANTISSA_BITS + 1 - lowest.astype(np.int64))


def products(model: Any) -> list[Product]:
    """Return the products of a finalised model, in the order of its calls; `objection(model)` must be None."""
    from weft.quantize.dead import follow
    from weft.quantize.formats import at_once

    with at_once():
        return [product for one in follow(model) for product in _products(one)]


def objection(model: Any) -> str | None:
    """Return why the products of a model are not known, or None."""
    from weft.quantize.graph import walk

    return next(filter(None, (_objection(call) for call in walk(model))), None)


def n_parameters(model: Any) -> int:
    """Return how many weights and biases a model has, zeros included, each once; normalisation is folded into them."""
    seen = {id(layer): layer for layer in model._flatten_layers() if hasattr(layer, "kq") and layer.built}
    return sum(_size(layer) for layer in seen.values())


def _size(layer: Any) -> int:
    if hasattr(layer.__class__, "qkernel"):
        parts = [layer.kernel, layer.bias, getattr(layer, "recurrent_kernel", None)]
    else:  # a batch normalisation of its own: a scale and an offset
        parts = [layer.moving_mean] * 2
    shapes: list[Shape] = [part.shape for part in parts if part is not None]
    return sum(map(math.prod, shapes))


def _objection(call: Any) -> str | None:
    from weft.quantize.operations import is_pure, is_quantized, kind_of, name_of

    layer, kind, name = call.operation, kind_of(call.operation), name_of(call.operation)
    what = f"layer '{call.place}' is a {type(layer).__name__}"
    if is_pure(layer):
        if kind == "multiplies" and len(call.inputs) > 1:
            return f"operation '{call.place}' multiplies tensors that nothing has quantised; compress the model"
        return None
    if not is_quantized(layer):
        if layer.weights or kind == "multiplies":
            return f"{what}; products are counted in layers of HGQ2 only: compress the model with recipe hgq or fixed"
        return None
    if name not in _COUNTED:
        return f"{what}, whose products weft does not know" if kind in ("other", "linear", "multiplies") else None
    if any(None in tensor.shape[1:] for tensor in call.inputs):
        shape = ", ".join(map(str, call.inputs[0].shape[1:]))
        return f"{what} that reads a tensor of shape ({shape}); hardware needs a fixed one"
    if name != "Softmax" and not layer.enable_iq:
        return f"{what} that does not quantise what it reads (enable_iq=False), so that its width is not known"
    floats = [q.name for q in _factors(layer) if getattr(q.quantizer, "__dummy__", False)]
    if floats:
        return f"{what} with numbers of float32 (quantiser '{floats[0]}'); compress the model with recipe hgq or fixed"
    return None


def _factors(layer: Any) -> Iterator[Any]:
    """Return the quantisers of what a layer multiplies: not those of biases, which are added."""
    from hgq.quantizer import Quantizer

    nested = hasattr(layer, "cell") or hasattr(layer, "_query_dense")
    inner: Iterable[Any] = layer._flatten_layers() if nested else layer.__dict__.values()
    quantizers: list[Any] = [one for one in inner if isinstance(one, Quantizer)]
    return (one for one in quantizers if not one.name.endswith("bq"))


def _products(one: Followed) -> Iterator[Product]:
    from weft.quantize.operations import is_quantized, name_of

    if is_quantized(one.call.operation):
        yield from _COUNTED.get(name_of(one.call.operation), _none)(one)


def _none(one: Followed) -> Iterator[Product]:
    return iter(())


def _of(quantizer: Any, shape: Sequence[int], values: Floats | None = None) -> Operand:
    """Return an operand of this shape, without a batch axis."""
    from weft.quantize.formats import widths

    if values is not None:
        return Operand(*widths(quantizer, values.shape), values)
    bits, width = widths(quantizer, (1, *shape))
    return Operand(bits[0], width[0])


def _shapes(one: Followed) -> list[Shape]:
    return [tuple(tensor.shape[1:]) for tensor in one.call.inputs]


def _weighted(name: str, form: Form, first: Operand, quantizer: Any, kernel: Floats, alive: Alive, read: Alive) -> Any:
    return Product(name, form, first, _of(quantizer, (), kernel), alive, read, kernel != 0)


def _layer(one: Followed, form: Form) -> Iterator[Product]:
    layer, alive = one.call.operation, one.alive[0]
    first = _of(layer.iq, alive.shape)
    yield _weighted(one.call.place, form, first, layer.kq, one.kernel, alive, one.read[0])  # type: ignore[arg-type]


def _einsum(one: Followed) -> Iterator[Product]:
    equation = getattr(one.call.operation, "equation", "...a,ab->...b")
    return _layer(one, Einsum.of(equation, (1, *_shapes(one)[0]), one.kernel.shape))  # type: ignore[union-attr]


def _convolution(one: Followed) -> Iterator[Product]:
    return _layer(one, convolution_of(one.call.operation, _shapes(one)[0]))


def _labels(n: int) -> str:
    return "bcdefghijklmnopqrstuvwxyz"[:n]


def _normalization(one: Followed) -> Iterator[Product]:
    from weft.quantize.formats import scale_of

    layer, shape = one.call.operation, _shapes(one)[0]
    labels, scale = _labels(len(shape)), scale_of(layer)
    axis = layer.axis - 1 if layer.axis > 0 else layer.axis
    form = Einsum(labels, labels[axis], labels, dict(zip(labels, shape, strict=True)))
    yield _weighted(one.call.place, form, _of(layer.iq, shape), layer.kq, scale, one.alive[0], one.read[0])


def _multiply(one: Followed) -> Iterator[Product]:
    """The tensors are multiplied one after the other; a product is as wide as its factors together."""
    shapes = _shapes(one)
    out = np.broadcast_shapes(*shapes)
    labels = _labels(len(out))
    form = Einsum(labels, labels, labels, dict(zip(labels, out, strict=True)))
    operands = [_of(q, shape) for q, shape in zip(one.call.operation.iq, shapes, strict=True)]
    spread = [Operand(np.broadcast_to(o.bits, out), np.broadcast_to(o.width, out)) for o in operands]
    alive = [np.broadcast_to(a, out) for a in one.alive]
    product, lives = spread[0], alive[0]
    for i in range(1, len(spread)):
        read = one.read[0] & np.logical_and.reduce([np.ones(out, bool), *alive[i + 1 :]])
        yield Product(f"{one.call.place}", form, product, spread[i], lives, read, alive[i])
        product = Operand(product.bits + spread[i].bits, product.width + spread[i].width)
        lives = lives & alive[i]


def _pair(one: Followed, equation: str) -> Iterator[Product]:
    shapes = _shapes(one)
    form = Einsum.of(equation, *((1, *shape) for shape in shapes), batched=True)
    first, second = (_of(q, shape) for q, shape in zip(one.call.operation.iq, shapes, strict=True))
    read = one.read[0].reshape(form.result_shape)
    yield Product(one.call.place, form, first, second, one.alive[0], read, one.alive[1])


def _dot(one: Followed) -> Iterator[Product]:
    from weft.quantize.counterparts.merging import dot_equation

    shapes = _shapes(one)
    return _pair(one, dot_equation(len(shapes[0]) + 1, len(shapes[1]) + 1, one.call.operation.axes))


def _einsum_of_two(one: Followed) -> Iterator[Product]:
    return _pair(one, one.call.operation.equation)


def _softmax(one: Followed) -> Iterator[Product]:
    shape = _shapes(one)[0]
    return _normalized(one.call.place, one.call.operation, shape, one.read[0])


def _normalized(place: str, layer: Any, shape: Shape, read: Alive) -> Iterator[Product]:
    """Each exponential is multiplied with the inverse of their sum."""
    labels = _labels(len(shape))
    kept = [i for i in range(len(shape)) if i + 1 not in layer.axes]
    sums = tuple(size if i in kept else 1 for i, size in enumerate(shape))
    form = Einsum(labels, "".join(labels[i] for i in kept), labels, dict(zip(labels, shape, strict=True)))
    inverse, size = _of(layer.inv_table.oq, sums), tuple(shape[i] for i in kept)
    second = Operand(inverse.bits.reshape(size), inverse.width.reshape(size))
    exponential = _of(layer.exp_table.oq, shape)
    yield Product(f"{place}/softmax", form, exponential, second, np.ones(shape, bool), read, np.ones(size, bool))


@dataclass(frozen=True, eq=False)
class _Projection:
    """A dense layer inside an attention layer: what it reads, and what it makes."""

    layer: Any
    form: Einsum
    kernel: Floats
    reads: Alive

    @classmethod
    def of(cls, layer: Any, alive: Alive) -> _Projection:
        from weft.quantize.formats import kernel_of, passes

        kernel = kernel_of(layer)
        form = Einsum.of(layer.equation, (1, *alive.shape), kernel.shape)
        return cls(layer, form, kernel, alive & passes(layer.iq, (1, *alive.shape))[0])

    @cached_property
    def makes(self) -> Alive:
        from weft.quantize.formats import bias_of, passes

        found = self.form.forward(self.reads, self.kernel != 0) > 0
        bias = bias_of(self.layer)
        made = found if bias is None else found | (bias != 0)
        return made & passes(self.layer.oq, (1, *made.shape))[0] if self.layer.enable_oq else made

    def reads_for(self, made: Alive) -> Alive:
        """Return what it reads of what is alive, given which of its results are read."""
        return np.asarray((self.form.back(self.kernel != 0, made) > 0) & self.reads)

    def product(self, name: str, read: Alive) -> Product:
        first = _of(self.layer.iq, self.reads.shape)
        return _weighted(name, self.form, first, self.layer.kq, self.kernel, self.reads, read)


def _attention(one: Followed) -> Iterator[Product]:
    """Projections, scores, the softmax, and the values that scores weigh; what a mask hides is counted, too."""
    layer, place = one.call.operation, one.call.place
    query, value, key = _attended(one)
    short = {}
    if hasattr(layer, "_lin_k_proj"):  # Linformer: keys and values of fewer positions
        short = {"key": _Projection.of(layer._lin_k_proj, key), "value": _Projection.of(layer._lin_v_proj, value)}
        key, value = short["key"].makes, short["value"].makes
    q = _Projection.of(layer._query_dense, query)
    k = _Projection.of(layer._key_dense, key)
    v = _Projection.of(layer._value_dense, value)
    scores = Einsum.of(layer._dot_product_equation, (1, *k.makes.shape), (1, *q.makes.shape), batched=True)
    weighs = Einsum.of(layer._combine_equation, (1, *scores.result_shape), (1, *v.makes.shape), batched=True)
    everywhere = np.ones(scores.result_shape, bool)
    output = _Projection.of(layer._output_dense, weighs.forward(everywhere, v.makes) > 0)
    made = one.read[0].reshape(output.form.result_shape)
    mixed = output.reads_for(made)
    read = weighs.back(v.makes, mixed) > 0
    if len(one.read) > 1:  # scores are handed on
        read = read | one.read[1]
    reads = {
        "query": (scores.weigh(k.makes, read) > 0) & q.makes,
        "key": (scores.back(q.makes, read) > 0) & k.makes,
        "value": (weighs.weigh(everywhere, mixed) > 0) & v.makes,
    }
    for name, its in short.items():
        yield its.product(f"{place}/lin_{name}", {"key": k, "value": v}[name].reads_for(reads[name]))
    for name, its in (("query", q), ("key", k), ("value", v)):
        yield its.product(f"{place}/{name}", reads[name])
    ks, qs, vs = (_of(its.layer.oq, its.makes.shape) for its in (k, q, v))
    yield Product(f"{place}/scores", scores, ks, qs, k.makes, read, q.makes)
    yield from _normalized(place, layer._softmax, scores.result_shape, read)
    weights = _of(layer._softmax.oq, scores.result_shape)
    yield Product(f"{place}/weighted", weighs, weights, vs, everywhere, mixed, v.makes)
    yield output.product(f"{place}/attention_output", made)


def _attended(one: Followed) -> tuple[Alive, Alive, Alive]:
    """Return where query, value and key may differ from 0."""
    args, kwargs = one.call.node.arguments.args, one.call.node.arguments.kwargs
    given = dict(zip(("query", "value", "key"), args, strict=False)) | kwargs
    alive = {id(tensor): its for tensor, its in zip(one.call.inputs, one.alive, strict=True)}
    query = given["query"]
    value = query if given.get("value") is None else given["value"]
    key = value if given.get("key") is None else given["key"]
    return alive[id(query)], alive[id(value)], alive[id(key)]


def _recurrent(one: Followed) -> Iterator[Product]:
    """Steps of time, each with hardware of its own. The first state is 0, unless it is given or kept."""
    from weft.quantize.formats import cell_kernels

    layer, place = one.call.operation, one.call.place
    cell, (steps, n_in) = layer.cell, _shapes(one)[0]
    kernel, recurrent = cell_kernels(cell)
    state = np.ones((steps, cell.units), bool)
    state[0] = len(one.call.inputs) > 1 or layer.stateful
    data = _steps(_of(cell.iq, (n_in,)), steps)
    yield _step(f"{place}/kernel", data, _of(cell.kq, (), kernel), one.alive[0])
    parts = _gru if hasattr(cell, "rhq") else _simple
    yield from parts(place, cell, _of(cell.rkq, (), recurrent), state)


def _simple(place: str, cell: Any, kernel: Operand, alive: Alive) -> Iterator[Product]:
    state = _steps(_of(cell.sq if cell.enable_sq else cell.paq, (cell.units,)), len(alive))
    yield _step(f"{place}/recurrent_kernel", state, kernel, alive)


def _gru(place: str, cell: Any, kernel: Operand, alive: Alive) -> Iterator[Product]:
    """z, r = gates; h' = z h + (1 - z) g(W x + r (U h)), or U (r h) in place of r (U h) if the reset comes before."""
    units, steps = cell.units, len(alive)
    state, candidate, hidden = (_steps(_of(q, (units,)), steps) for q in (cell.sq, cell.paq, cell.rhq))
    gates = _steps(_of(cell.praq, (2 * units,)), steps)
    update, reset = (Operand(gates.bits[:, part], gates.width[:, part]) for part in _halves(units))
    each = Einsum("tu", "tu", "tu", {"t": steps, "u": units})
    every = np.ones((steps, units), bool)
    name, before = f"{place}/recurrent_kernel", slice(2 * units)
    after = slice(2 * units, None)
    if cell.reset_after:
        yield _step(name, state, kernel, alive)
        reached = alive.astype(np.float64) @ (_columns(kernel, after).values != 0) > 0
        yield Product(f"{place}/reset", each, reset, hidden, every, every, reached | _inner_bias(cell))
    else:
        yield _step(name, state, _columns(kernel, before), alive)
        yield Product(f"{place}/reset", each, reset, state, every, every, alive)
        yield _step(name, hidden, _columns(kernel, after), alive)
    yield Product(f"{place}/update", each, update, state, every, every, alive)
    yield Product(f"{place}/update", each, update, candidate, every, every, every)


def _halves(units: int) -> tuple[slice, slice]:
    return slice(units), slice(units, None)


def _inner_bias(cell: Any) -> Alive:
    """Return where the bias that the reset gate is multiplied with is not 0."""
    from weft.quantize.formats import bias_of

    bias, units = bias_of(cell), int(cell.units)
    return np.zeros(units, bool) if bias is None else bias[1, 2 * units :] != 0


def _columns(kernel: Operand, which: slice) -> Operand:
    return Operand(kernel.bits[:, which], kernel.width[:, which], kernel.values[:, which])  # type: ignore[index]


def _step(name: str, first: Operand, kernel: Operand, alive: Alive) -> Product:
    """Return the products of one kernel in all steps of time; all of what it makes is taken to be read."""
    n_in, n_out = kernel.bits.shape
    form = Einsum("tb", "bc", "tc", {"t": len(alive), "b": n_in, "c": n_out})
    return Product(name, form, first, kernel, alive, np.ones((len(alive), n_out), bool), kernel.values != 0)


def _steps(operand: Operand, steps: int) -> Operand:
    """Return the same numbers in each step of time."""
    return Operand(*(np.broadcast_to(one, (steps, *one.shape)) for one in (operand.bits, operand.width)))


_DIMENSIONS = ("1D", "2D", "3D")
_COUNTED: dict[str, Callable[[Followed], Iterator[Product]]] = {
    **dict.fromkeys(("Dense", "BatchNormDense", "EinsumDense", "EinsumDenseBatchnorm"), _einsum),
    **{
        f"{kind}{n}{end}": _convolution
        for n in _DIMENSIONS
        for kind in ("Conv", "DepthwiseConv")
        for end in ("", "Batchnorm")
    },
    "BatchNormalization": _normalization,
    **dict.fromkeys(("MultiHeadAttention", "LinformerAttention"), _attention),
    **dict.fromkeys(("SimpleRNN", "GRU"), _recurrent),
    "Multiply": _multiply,
    "Dot": _dot,
    "Einsum": _einsum_of_two,
    "Softmax": _softmax,
}
"""Layers of HGQ2 with products, by their names without the Q."""
