"""Products with weights and of two tensors: `Linear`, `matmul`, `einsum`, `Embedding`.

An embedding reads whole numbers. Row n of the weight is chosen by relu(1 - |x - n|), which is 1 where x = n and 0 at
all other whole numbers, and multiplied by a dense layer: exact, and hardware can have it. So the numbers of the words
are inputs of the Keras model as they were of the module.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from weft.errors import UnsupportedError
from weft.pytorch.builder import Builder, array
from weft.pytorch.value import Value


def linear(at: Builder, x: Value, weight: Any, bias: Any = None) -> Value:
    """x W^T + b on the last axis; the weight has shape (n_out, n_in)."""
    x = at.with_last(x)
    config = {"units": int(weight.shape[0]), "use_bias": bias is not None}
    weights = [array(weight).T] if bias is None else [array(weight).T, array(bias)]
    return x.like(at.weighted(keras.layers.Dense, config, (weight, bias), weights, x.tensor))


def matmul(at: Builder, x: Any, y: Any) -> Value:
    """Matrix product, of two tensors or of one and a constant matrix."""
    if isinstance(x, Value) and isinstance(y, Value):
        if x.rank != y.rank or x.rank < 3:
            raise UnsupportedError(
                f"it multiplies tensors of {x.rank} and {y.rank} axes; give both the same axes, of which the first is "
                "the batch (unsqueeze one of them)"
            )
        x, y = at.rows_first(x), at.rows_first(y)
        if x.sizes[:-2] != y.sizes[:-2]:
            raise UnsupportedError(
                f"it multiplies matrices of shapes {x.sizes} and {y.sizes}, one of which is repeated; give both the "
                "same leading axes (expand one of them)"
            )
        return x.like(keras.ops.matmul(x.tensor, y.tensor))
    if isinstance(x, Value):
        _check_constant(y)
        if y.ndim == 1:
            from weft.pytorch.operations.shapes import squeeze

            return squeeze(at, linear(at, x, y[None, :]), -1)
        return linear(at, x, y.T)
    _check_constant(x)
    swapped = _swapped(y)
    if x.ndim == 1:
        from weft.pytorch.operations.shapes import squeeze

        return squeeze(at, linear(at, swapped, x[None, :]), -1)
    return _swapped(linear(at, swapped, x))


def addmm(at: Builder, bias: Any, x: Value, weight: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    """Bias + x W, as exported programs have it."""
    if isinstance(weight, Value) or isinstance(bias, Value) or (beta, alpha) != (1, 1):
        raise UnsupportedError("it scales its terms, or multiplies two tensors; use torch.matmul")
    return linear(at, x, weight.T, bias)


def _swapped(x: Value) -> Value:
    return x.transposed((*range(x.rank - 2), x.rank - 1, x.rank - 2))


def _check_constant(weight: Any) -> None:
    if weight.ndim > 2:
        raise UnsupportedError(
            f"it multiplies by a constant of shape {tuple(weight.shape)}; use nn.Linear, or torch.einsum"
        )


def einsum(at: Builder, equation: str, *operands: Any) -> Value:
    """A sum of products of two tensors, or of a tensor and a weight."""
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = tuple(operands[0])
    equation = equation.replace(" ", "")
    if "..." in equation or "->" not in equation or len(operands) != 2 or not isinstance(operands[0], Value):
        raise UnsupportedError(
            f"einsum '{equation}' has no plain form; write two operands, the tensor first, all letters, and an arrow"
        )
    terms, output = equation.split("->")
    letters = terms.split(",")
    x, y = operands
    batch = letters[0][x.batch]
    mixed = letters[1][y.batch] != batch if isinstance(y, Value) else batch in letters[1]
    if mixed or batch not in output:
        raise UnsupportedError(
            f"einsum '{equation}' mixes rows of the batch; give them one letter, in each tensor and behind the arrow, "
            "and in no weight"
        )
    end = (batch, *(letter for letter in output if letter != batch))
    axes = tuple(output.index(letter) for letter in end)
    left = "".join(letters[0][axis] for axis in x.axes)
    if isinstance(y, Value):
        right = "".join(letters[1][axis] for axis in y.axes)
        return Value(keras.ops.einsum(f"{left},{right}->{''.join(end)}", x.tensor, y.tensor), axes)
    sizes = dict(zip(left, x.tensor.shape, strict=True)) | dict(zip(letters[1], y.shape, strict=True))
    config = {
        "equation": f"{left},{letters[1]}->{''.join(end)}",
        "output_shape": tuple(int(sizes[letter]) for letter in end[1:]),
        "bias_axes": None,
    }
    return Value(at.weighted(keras.layers.EinsumDense, config, (y,), [array(y)], x.tensor), axes)


def one_hot(at: Builder, x: Value, num_classes: int = -1) -> Value:
    """Ones where numbers are those of a class."""
    if num_classes < 0:
        raise UnsupportedError("the number of classes is found in the data; give num_classes")
    tensor = at.reshaped(x.tensor, (*x.sizes, 1))
    apart = keras.ops.abs(keras.ops.subtract(tensor, np.arange(num_classes, dtype=np.float32)))
    chosen = keras.ops.relu(keras.ops.subtract(1.0, apart))
    return Value(chosen, (*x.axes, x.rank))


def embedding(
    at: Builder,
    x: Value,
    weight: Any,
    padding_idx: Any = None,
    max_norm: Any = None,
    *_: Any,
    **__: Any,
) -> Value:
    """Rows of a weight of shape (n, n_out), by their numbers."""
    if isinstance(max_norm, int | float) and not isinstance(max_norm, bool):
        raise UnsupportedError("max_norm changes the weights while they are read; normalise them before")
    chosen = one_hot(at, x, int(weight.shape[0]))
    config = {"units": int(weight.shape[1]), "use_bias": False}
    return chosen.like(at.weighted(keras.layers.Dense, config, (weight,), [array(weight)], chosen.tensor))


def _module(at: Builder, module: Any, x: Value) -> Value:
    return linear(at, x, module.weight, module.bias)


def _embedding_module(at: Builder, module: Any, x: Value) -> Value:
    return embedding(at, x, module.weight, None, module.max_norm)


MODULES = {"Linear": _module, "NonDynamicallyQuantizableLinear": _module, "Embedding": _embedding_module}

FUNCTIONS = {
    "linear": linear,
    "matmul": matmul,
    "mm": matmul,
    "bmm": matmul,
    "addmm": addmm,
    "einsum": einsum,
    "embedding": embedding,
    "one_hot": one_hot,
}

EXPORTED = {"embedding": lambda at, weight, x, *_, **__: embedding(at, x, weight)}
"""Operations whose arguments exported programs have in another order."""
