"""A nonlinear function as what it is in hardware: a table of the values for each code that its quantiser gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from weft.onnx.graph import Graph
from weft.onnx.layers import refusal
from weft.onnx.number import Floats, Number
from weft.quantize.graph import Call

_LARGEST = 2**20


def table_of(call: Call, number: Number) -> Floats:
    """Return the values of a table function, shape (n_codes, 1, ...) or, where each value has its own, (n_codes, ...).

    The first axis numbers the codes of what it reads, from the least on; where a format has fewer, the last one is
    repeated.

    Args:
        call: The call of a `QUnaryFunctionLUT` with an output quantiser.
        number: The format of what it reads.

    Raises:
        UnsupportedError: The table has no quantiser for its values, or more than 2^20 of them.
    """
    from keras import ops

    layer: Any = call.operation
    if not getattr(layer, "enable_oq", False):
        raise refusal(call, "give its table a quantiser (enable_oq=True)")
    alike = number.is_uniform and all(size == 1 for size in layer.oq.quantizer._k.shape)
    shape = (1,) * len(call.inputs[0].shape) if alike else (1, *call.inputs[0].shape[1:])
    n_codes = np.rint((number.high - number.low) / number.step).astype(int) + 1
    if n_codes.max() * math.prod(shape) > _LARGEST:
        raise refusal(call, f"its tables would have {n_codes.max() * math.prod(shape)} values, and weft writes at most "
                            f"{_LARGEST}; use fewer bits for what it reads")  # fmt: skip
    codes = np.minimum(np.arange(n_codes.max()).reshape(-1, *[1] * (len(shape) - 1)), n_codes - 1)
    x = np.broadcast_to(number.low + codes * number.step, (int(n_codes.max()), *shape[1:])).astype(np.float32)
    return np.asarray(ops.convert_to_numpy(layer.oq(layer.activation(ops.convert_to_tensor(x)))), np.float64)


def write(graph: Graph, x: str, number: Number, values: Floats, place: str) -> str:
    """Write nodes that look each value up in a table of `table_of`."""
    size = math.prod(values.shape[1:])
    own = np.arange(size, dtype=np.float64).reshape(1, *values.shape[1:])
    code = graph.add("Mul", [x, graph.constant(size / number.step)], f"{place}_code")
    code = graph.add("Add", [code, graph.constant(own - size * number.low / number.step)], f"{place}_place")
    index = graph.add("Cast", [code], f"{place}_index", to=7)  # INT64
    return graph.add("Gather", [graph.constant(values.ravel()), index], f"{place}_table")
