"""Layers and operations that join tensors: sums, products, the larger and the smaller value, inner products."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import hgq.layers as hgq

from weft.quantize.counterparts._base import Kit, Made, Rule, config_of
from weft.quantize.graph import Call

_ELEMENTWISE = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")


def _merge(layer: Any, kit: Kit) -> Made:
    return Made([_quantized(f"Q{type(layer).__name__}", kit, **config_of(layer))])


def _average(layer: Any, kit: Kit) -> Made:
    return Made([_quantized("QAveragePow2", kit, **config_of(layer))])


def _average_objection(call: Call) -> str | None:
    n = len(call.inputs)
    if n & (n - 1) == 0:
        return None
    return (
        f"it averages {n} tensors, and dividing by {n} is no shift; use Add, whose scale the next weights can take up"
    )


def _dot(layer: Any, kit: Kit) -> Made:
    shapes = [read.shape for read in kit.reads if read.shape is not None]
    if len(shapes) < 2 or all(len(shape) == 2 for shape in shapes):
        return Made([_quantized("QDot", kit, **config_of(layer, "normalize"))])
    equation = dot_equation(len(shapes[0]), len(shapes[1]), layer.axes)
    return Made([_quantized("QEinsum", kit, equation=equation, **config_of(layer, "normalize", "axes"))])


def dot_equation(rank: int, other: int, axes: int | tuple[int, int]) -> str:
    """Return the einsum of an inner product over one axis of each tensor, row by row of the batch.

    Example:
        >>> dot_equation(3, 3, (2, 1))
        'abc,acd->abd'
    """
    one, two = (axes, axes) if isinstance(axes, int) else axes
    left = ascii_lowercase[:rank]
    summed, spare = left[one % rank], iter(ascii_lowercase[rank:])
    right = "".join("a" if i == 0 else summed if i == two % other else next(spare) for i in range(other))
    return f"{left},{right}->{left.replace(summed, '')}{right[1:].replace(summed, '')}"


def _dot_objection(call: Call) -> str | None:
    if call.operation.normalize:
        return "it divides by the length of its vectors; use normalize=False, or normalise the data"
    return None


def _quantized(kind: str, kit: Kit, **config: Any) -> Any:
    n = len(kit.reads)
    inputs = kit.input() if n == 1 else [kit.input(i) for i in range(n)]
    return getattr(hgq, kind)(**config, iq_confs=inputs, **kit.rest())


def _operation(operation: Any, kit: Kit) -> Made:
    """Replace an operation on two tensors; one on a tensor and a constant is exact as it is."""
    name = type(operation).__name__
    shapes = [read.shape for read in kit.reads if read.shape is not None]
    if len(shapes) != 2:
        return Made([operation])
    if name in _ELEMENTWISE:
        layer = _quantized(f"Q{name}", kit, name=operation.name)
    else:
        equation = operation.subscripts if name == "Einsum" else _matrix_product(*map(len, shapes))
        layer = _quantized("QEinsum", kit, name=operation.name, equation=equation)
    return Made([lambda one, two: layer([one, two])])


def _rank_objection(call: Call) -> str | None:
    ranks = {len(tensor.shape) for tensor in call.inputs}
    return None if len(ranks) == 1 else f"it joins tensors of {min(ranks)} and {max(ranks)} axes; reshape one of them"


def _matrix_product(rank: int, other: int) -> str:
    batch = ascii_lowercase[: rank - 2]
    return f"{batch}yk,{batch}kz->{batch}yz"


def _matmul_objection(call: Call) -> str | None:
    if len(call.inputs) != 2:
        return "one of its operands is a constant; use a Dense layer"
    ranks = [len(tensor.shape) for tensor in call.inputs]
    if ranks[0] != ranks[1] or ranks[0] < 3 or call.inputs[0].shape[1:-2] != call.inputs[1].shape[1:-2]:
        return f"it multiplies matrices of shapes {[t.shape for t in call.inputs]}; give both the same leading axes"
    return None


def _einsum_objection(call: Call) -> str | None:
    return None if len(call.inputs) == 2 else "it has not exactly two tensors to multiply; multiply them two by two"


RULES = {
    **{name: Rule(_merge) for name in _ELEMENTWISE},
    "Average": Rule(_average, objection=_average_objection),
    "Dot": Rule(_dot, objection=_dot_objection),
}

OPERATIONS = {
    **{name: Rule(_operation, objection=_rank_objection) for name in _ELEMENTWISE},
    "Matmul": Rule(_operation, objection=_matmul_objection),
    "Einsum": Rule(_operation, objection=_einsum_objection),
}
