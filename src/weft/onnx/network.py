"""The Keras model while it is made of an ONNX graph: layers with quantisers of given formats, and what reaches them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import hgq.layers as hgq
import keras
import numpy as np
from hgq.quantizer import Quantizer
from numpy.typing import ArrayLike

from weft.errors import UnsupportedError
from weft.naming import unique
from weft.onnx.number import Floats, Number, assign, config_of, smallest, uniform
from weft.onnx.recognise import joined, refused
from weft.onnx.values import Base, Done, Known, Value, made_of, turned

_WIDEST, _WIDEST_CONSTANT = 24, 20
"""Bits of values that float32 holds exactly; bits of constants, of which float32 has to add up some."""


class Network:
    """Layers that are made of nodes, with names of their own.

    Args:
        port: The format (k, i, f) in which inputs arrive; None for that of the quantiser that reads them.
    """

    def __init__(self, port: tuple[int, int, int] | None) -> None:
        self._port = port
        self._names: set[str] = set()

    def name(self, wanted: str) -> str:
        """Return a name for a layer that no other has."""
        return unique(re.sub(r"[^A-Za-z0-9_]+", "_", wanted).strip("_") or "layer", self._names)

    def read(
        self, value: Value, node: str, order: Sequence[int] | None = None
    ) -> tuple[Any, Number | None, Known | None]:
        """Return a tensor of Keras, the quantiser that is still to be applied to it, and what is known of its values.

        Args:
            value: The tensor of ONNX.
            node: What reads it.
            order: The order in which Keras' tensor is to have its axes; its own, as ONNX has them, if None.

        Raises:
            UnsupportedError: Something that was to be done to it has no layer.
        """
        before, number = joined(value.todo)
        bias, before = self._bias(value, list(before))
        base, known = value.base.tensor(bias), value.base.known if bias is None else None
        raw = value.base.raw
        wanted = tuple(range(value.rank)) if order is None else tuple(order)
        perm = tuple(value.axes.index(axis) for axis in wanted)
        if perm != tuple(range(value.rank)):
            base = keras.layers.Permute(perm[1:], name=self.name(f"{node}_permute"))(base)
        for one in before:
            base, known = self._computed(base, known, one, raw)
        if number is None:
            return base, None, known
        number = turned(number, wanted)
        if raw:
            base, number = self._arrived(base, number, node)
        known = Known(float(number.low.min()), float(number.high.max()), float(number.step.min()))
        return base, number, known

    def settled(self, value: Value, node: str, order: Sequence[int] | None = None) -> tuple[Any, Known | None]:
        """Return a tensor of Keras with its quantiser applied, and what is known of its values."""
        tensor, number, known = self.read(value, node, order)
        return (tensor if number is None else self.quantized(tensor, number, node)), known

    def quantized(self, tensor: Any, number: Number, node: str) -> Any:
        """Return a tensor behind a quantiser of its own."""
        made = Quantizer(config_of(number, "datalane"), name=self.name(f"{node}_quantizer"))
        found = made(tensor)
        assign(made, number)
        return found

    def layer(self, kind: str, value: Value, node: str, known: Callable[[Known], Known | None], order: Any = None,
              **settings: Any) -> Value:  # fmt: skip
        """Return what a layer of HGQ2 without weights gives; its input quantiser is the one that is to be applied."""
        tensor, number, seen = self.read(value, node, order)
        made = getattr(hgq, f"Q{kind}")(
            **settings, **self._input(number), enable_oq=False, name=self.name(node)
        )  # fmt: skip
        found = made(tensor)
        if number is not None:
            assign(made.iq, number)
        return self._given(found, seen and known(seen), value.rank, order)

    def merged(self, kind: str, values: Sequence[Value], node: str, known: Callable[[Known, Known], Known]) -> Value:
        """Return what a layer of HGQ2 makes of several tensors, one number of each."""
        order = values[0].axes if all(one.axes == values[0].axes for one in values) else None
        read = [self.read(one, node, order) for one in values]
        numbers = [number for _, number, _ in read]
        every = [number for number in numbers if number is not None]
        if len(every) == len(numbers):
            config: dict[str, Any] = {"enable_iq": True, "iq_confs": [config_of(one, "datalane") for one in every]}
            tensors = [tensor for tensor, _, _ in read]
        else:
            config = {"enable_iq": False}
            tensors = [t if n is None else self.quantized(t, n, node) for t, n, _ in read]
        made = getattr(hgq, f"Q{kind}")(**config, enable_oq=False, name=self.name(node))
        found = made(tensors)
        if config["enable_iq"]:
            for quantizer, number in zip(made.iq, every, strict=True):
                assign(quantizer, number)
        seen = [one for _, _, one in read]
        total = seen[0]
        for one in seen[1:]:
            total = None if total is None or one is None else known(total, one)
        return self._given(found, total, values[0].rank, order)

    def plain(self, layer: Callable[[str], Any], value: Value, node: str, known: Callable[[Known], Known | None],
              order: Any = None) -> Value:  # fmt: skip
        """Return what a layer of Keras without quantisers gives."""
        tensor, seen = self.settled(value, node, order)
        return self._given(layer(self.name(node))(tensor), seen and known(seen), value.rank, order)

    def linear(self, kind: str, value: Value, kernel: Floats, node: str, order: Any = None, rank: int | None = None,
               **settings: Any) -> Value:  # fmt: skip
        """Return what a layer with weights gives, which can still be given a bias.

        Args:
            kind: The layer's class without its Q.
            value: What it reads.
            kernel: Its kernel, in Keras' order.
            node: The node.
            order: The order in which it reads axes, and gives them.
            rank: Axes of what it gives; those of what it reads if None.
            settings: Of the layer.

        Raises:
            UnsupportedError: It reads what no quantiser has rounded, or its weights are not quantised.
        """
        tensor, number, known = self.read(value, node, order)
        if number is None:
            number = self._number(known, value.rank, node)
        weights = self._weights(kernel, node, "weight")

        def make(bias: Floats | None) -> Any:
            biases = smallest(np.zeros(1)) if bias is None else self._weights(bias, node, "bias")
            made = getattr(hgq, f"Q{kind}")(
                **settings, iq_conf=config_of(number, "datalane"), kq_conf=config_of(weights, "weight"),
                **({} if bias is None else {"bq_conf": config_of(biases, "bias")}),
                **({"bias_axes": settings["equation"][-1]} if kind == "EinsumDense" and bias is not None else {}),
                **({} if kind == "EinsumDense" else {"use_bias": bias is not None}),
                enable_iq=True, enable_oq=False, name=self.name(node),
            )  # fmt: skip
            found = made(tensor)
            assign(made.iq, number)
            assign(made.kq, weights)
            made._kernel.assign(kernel)
            if bias is not None:
                assign(made.bq, biases)
                made.bias.assign(bias)
            return found

        axes = tuple(range(value.rank if rank is None else rank))
        return Value(Base(make, takes_bias=True), axes if order is None else tuple(order))

    def _given(self, tensor: Any, known: Known | None, rank: int, order: Any) -> Value:
        made = made_of(tensor, known)
        return made if order is None else Value(made.base, tuple(order))

    def _input(self, number: Number | None) -> dict[str, Any]:
        return {"enable_iq": False} if number is None else {"enable_iq": True, "iq_conf": config_of(number, "datalane")}

    def _bias(self, value: Value, before: list[Done]) -> tuple[Floats | None, list[Done]]:
        """Take from the front of what is to be done what can be a bias of the layer that comes before it."""
        if not (value.base.takes_bias and before and before[0].kind == "Add"):
            return None, before
        constant = np.asarray(before[0].what, np.float64)
        constant = constant.reshape((1,) * (value.rank - constant.ndim) + constant.shape)
        channels = value.axes[-1]
        if any(size > 1 for axis, size in enumerate(constant.shape) if axis != channels):
            return None, before
        size = value.base.tensor().shape[-1] if constant.size == 1 else constant.size
        return np.broadcast_to(constant.ravel(), (size,)).copy(), before[1:]

    def _computed(self, tensor: Any, known: Known | None, one: Done, raw: bool) -> tuple[Any, Known | None]:
        """Do what a single constant does."""
        value = float(np.ravel(one.what)[0]) if one.what is not None and np.size(one.what) == 1 else None
        if value is None or raw or one.kind not in ("Add", "Mul"):
            raise UnsupportedError(refused(one))
        if one.kind == "Add":
            if value == 0:
                return tensor, known
            self._weights(np.array([value]), one.node, "bias")
            step = float(smallest(np.array([value])).step[0])
            known = known and Known(known.low + value, known.high + value, min(known.step, step))
            return keras.ops.add(tensor, value), known
        if abs(math.frexp(value)[0]) != 0.5:
            raise UnsupportedError(refused(one))
        made = keras.layers.Rescaling(value, name=self.name(one.node))(tensor)
        return made, known and scaled(known, value)

    def _arrived(self, tensor: Any, number: Number, node: str) -> tuple[Any, Number]:
        """Put the network's port before the quantiser of its input: hardware wraps there, and rounds ties up."""
        fits = number.overflow_mode == "WRAP" and number.round_mode in ("TRN", "RND")
        if self._port is not None:
            return self.quantized(tensor, uniform(self._port, number.k.ndim), f"{node}_port"), number
        if fits:
            return tensor, number
        mode = "TRN" if number.round_mode == "TRN" else "RND"
        port = Number(number.k, number.i, number.f, mode, "WRAP")
        if number.overflow_mode == "SAT_SYM":
            return self.quantized(tensor, port, f"{node}_port"), number
        return tensor, port

    def _number(self, known: Known | None, rank: int, node: str) -> Number:
        """Return a format that holds values of which the ends are known."""
        if known is None:
            raise UnsupportedError(
                f"node '{node}' multiplies values that no Quant node has rounded, so they have no width; put one "
                "before it (Brevitas: QuantIdentity, or return_quant_tensor of the layer before)"
            )
        k, f = float(known.low < 0), -math.log2(known.step)
        ends = smallest(np.array([known.low, known.high]))
        number = uniform((k, float(ends.i.max()), f), rank)
        if number.width.max() > _WIDEST:
            raise UnsupportedError(
                f"node '{node}' multiplies values of {number.width.max():.0f} bits, {number}; put a Quant node of at "
                f"most {_WIDEST} bits before it"
            )
        return number

    def _weights(self, values: Floats, node: str, what: str) -> Number:
        """Return the format of each constant; all of them together have to fit into 20 bits."""
        number = smallest(values)
        some = number.width > 0
        span = number.i[some].max() + number.f[some].max() if some.any() else 0
        if span > _WIDEST_CONSTANT:
            raise UnsupportedError(
                f"node '{node}' has a {what} of {span:.0f} bits, from {np.abs(values).max():g} down to steps of "
                f"2^{-number.f[some].max():.0f}: it is not quantised; put a Quant node behind it (Brevitas: "
                f"{what}_quant)"
            )
        return number


def scaled(known: Known, factor: float) -> Known:
    """Return what is known of values times a power of two."""
    ends = known.low * factor, known.high * factor
    return Known(min(ends), max(ends), known.step * abs(factor))


def array(value: ArrayLike) -> Floats:
    """Return constants as float64."""
    return np.asarray(value, np.float64)
