"""Tensors of an ONNX graph while Keras layers are made of it: their order of axes, and what is still to be done.

A transposition costs nothing: a tensor remembers which axis of Keras' tensor each of its own is. Operations with
constants are remembered too, since several of them may be one thing together: the bias of the layer before, or the
rounding and the wrap-around of the quantiser behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from weft.onnx.number import Floats, Number


class Known(NamedTuple):
    """What is known of all values of a tensor: their ends, and a power of two that divides them."""

    low: float
    high: float
    step: float


class Done(NamedTuple):
    """An operation with a constant, or a quantiser, that is still to be done; arrays have the tensor's axes.

    Attributes:
        kind: `Add`, `Mul`, `Mod`, `Max`, `Min`, `Floor`, `Ceil`, `Round` or `Quant`.
        what: The constant, or the quantiser's format; None where there is neither.
        node: The node's name.
    """

    kind: str
    what: Any
    node: str


@dataclass(eq=False)
class Base:
    """A tensor of Keras, or a layer without bias that can still be given one.

    Attributes:
        make: Returns the tensor, for a bias (n_out,) or None.
        takes_bias: Whether `make` can be given a bias.
        raw: Whether its values are the network's inputs, moved at most.
        known: What is known of its values.
    """

    make: Callable[[Floats | None], Any]
    takes_bias: bool = False
    raw: bool = False
    known: Known | None = None
    _made: dict[bytes, Any] = field(default_factory=dict)

    def tensor(self, bias: Floats | None = None) -> Any:
        """Return the tensor, made once for each bias."""
        key = b"" if bias is None else bias.tobytes()
        if key not in self._made:
            self._made[key] = self.make(bias)
        return self._made[key]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the ONNX graph.

    Attributes:
        base: Where it comes from.
        axes: Of each axis of Keras' tensor, which axis of this tensor it is.
        todo: What is to be done to it, in order.
    """

    base: Base
    axes: tuple[int, ...]
    todo: tuple[Done, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.axes)

    def then(self, kind: str, what: Any, node: str) -> Value:
        """Return the tensor with one more operation to be done."""
        return replace(self, todo=(*self.todo, Done(kind, what, node)))

    def transposed(self, order: tuple[int, ...]) -> Value:
        """Return the tensor with its axes in another order, as ONNX' `Transpose` has it."""
        todo = tuple(one._replace(what=_turned(one.what, order)) for one in self.todo)
        return Value(self.base, tuple(order.index(axis) for axis in self.axes), todo)


def turned(number: Number, order: tuple[int, ...]) -> Number:
    """Return a format for a tensor whose axes come in another order."""
    k, i, f = (part.transpose(order) for part in (number.k, number.i, number.f))
    return Number(k, i, f, number.round_mode, number.overflow_mode)


def _turned(what: Any, order: tuple[int, ...]) -> Any:
    if isinstance(what, Number):
        return turned(what, order)
    return what.transpose(order) if what is not None and what.ndim == len(order) else what


def made_of(tensor: Any, known: Known | None = None, *, raw: bool = False) -> Value:
    """Return a tensor that is one of Keras as it stands."""
    return Value(Base(lambda _: tensor, raw=raw, known=known), tuple(range(len(tensor.shape))))
