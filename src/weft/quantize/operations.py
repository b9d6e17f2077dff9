"""What an operation does to its values, as far as fixed point is concerned: it moves, adds, chooses, multiplies, ...

Keras layers, their HGQ2 counterparts and the pure operations of `keras.ops` share their names, so one table knows all
of them: `Add` is a layer, `QAdd` its counterpart, and `x + y` an operation of class `Add`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import keras

from weft.quantize.activations import NONNEGATIVE

Kind = Literal["moves", "adds", "selects", "multiplies", "function", "linear", "quantizer", "other"]
"""What a call makes of the values that it reads:

- `moves`: they are copied, left out, or joined by zeros;
- `adds`: sums, differences, averages and scalings, whose format follows from those of the operands;
- `selects`: each result is one of the operands, or one of them with a bound or a shift;
- `multiplies`: products of values;
- `function`: a nonlinear function, which hardware looks up in a table;
- `linear`: products with weights;
- `quantizer`: a HGQ2 quantiser as a layer;
- `other`: nothing of all that.
"""

NOISE = frozenset({"AlphaDropout", "GaussianDropout", "GaussianNoise"})
_DIMENSIONS = ("1D", "2D", "3D")


def _each(*names: str) -> set[str]:
    return {f"{name}{dimension}" for name in names for dimension in _DIMENSIONS}


_KINDS: dict[Kind, set[str]] = {
    "moves": {
        *("Flatten", "Reshape", "Permute", "RepeatVector", "Concatenate", "Identity", "Dropout", *NOISE),
        *_each("SpatialDropout", "ZeroPadding", "Cropping", "UpSampling"),
        *(
            "ActivityRegularization",
            "Transpose",
            "Squeeze",
            "ExpandDims",
            "Ravel",
            "Stack",
            "Split",
            "GetItem",
            "Repeat",
        ),
        *("Tile", "Flip", "Roll", "Moveaxis", "Swapaxes", "BroadcastTo", "Hstack", "Vstack", "StopGradient", "Copy"),
    },
    "adds": {
        *("Add", "Subtract", "Average", "AveragePow2", "Sum", "Mean", "MeanPow2", "Negative", "Rescaling"),
        *_each("AveragePooling", "GlobalAveragePooling"),
    },
    "selects": {
        *("Maximum", "Minimum", "Max", "Min", "Amax", "Amin", "Abs", "Absolute", "Clip", "Sort"),
        *("ReLU", "Relu", "Relu6", "LeakyReLU", "LeakyRelu", "HardTanh", "PowerOfTwoReLU"),
        *_each("MaxPooling", "GlobalMaxPooling"),
    },
    "multiplies": {"Multiply", "Dot", "Einsum", "Matmul", "Square"},
    "function": {
        *("Activation", "Softmax", "LogSoftmax", "ELU", "PReLU", "UnaryFunctionLUT", "AffinedUnaryFunctionLUT"),
        *("Sigmoid", "Tanh", "Silu", "Gelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "LogSigmoid", "Exp"),
        *("HardSigmoid", "HardSilu", "Log", "Sqrt", "Rsqrt", "Reciprocal", "Sin", "Cos", "Erf", "Log1p", "Expm1"),
    },
    "linear": {
        *("Dense", "EinsumDense", "EinsumDenseBatchnorm", "BatchNormDense", "BatchNormalization"),
        *("MultiHeadAttention", "SimpleRNN", "GRU", "LayerNormalization"),
        *_each("Conv", "DepthwiseConv", "SeparableConv"),
        *(f"{name}Batchnorm" for name in _each("Conv")),
    },
    "quantizer": {"Quantizer"},
}
_KIND_OF: dict[str, Kind] = {name: kind for kind, names in _KINDS.items() for name in names}

BINARY = frozenset({"Add", "Subtract", "Multiply", "Maximum", "Minimum", "Matmul", "Einsum"})
"""Pure operations that take two operands, of which one may be a constant."""

FUNCTIONS = {
    **{"ReLU": "relu", "Relu": "relu", "PowerOfTwoReLU": "relu", "Relu6": "relu6", "HardTanh": "hard_tanh"},
    **{"LeakyReLU": "leaky_relu", "LeakyRelu": "leaky_relu", "ELU": "elu", "Elu": "elu", "PReLU": "prelu"},
    **{"Sigmoid": "sigmoid", "Tanh": "tanh", "Silu": "silu", "Gelu": "gelu", "Selu": "selu", "Celu": "celu"},
    **{"Softplus": "softplus", "Softsign": "softsign", "LogSigmoid": "log_sigmoid", "Exp": "exponential"},
    **{"HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "Softmax": "softmax", "LogSoftmax": "log_softmax"},
}
"""The function that layers and operations of a class compute, as `keras.activations` calls it."""

PIECEWISE = ("linear", "relu", "relu6", "leaky_relu", "hard_tanh")
"""Functions whose values have as few digits as what they are applied to."""

_CAN_TURN_NEGATIVE = frozenset({"Subtract", "Negative", *NOISE})


def is_quantized(operation: Any) -> bool:
    """Whether the operation is a layer of HGQ2, or one of weft's in its manner."""
    return type(operation).__module__.startswith(("hgq.", "weft."))


def is_keras(operation: Any) -> bool:
    """Whether the operation is one of Keras itself, and not of a subclass."""
    return type(operation).__module__.startswith("keras.")


def is_pure(operation: Any) -> bool:
    """Whether the operation is one of `keras.ops`, not a layer."""
    return not isinstance(operation, keras.Layer)


def name_of(operation: Any) -> str:
    """Return the name of the operation's class, the same for a layer and its HGQ2 counterpart."""
    name = type(operation).__name__
    return name[1:] if is_quantized(operation) and name.startswith("Q") and name != "Quantizer" else name


def kind_of(operation: Any) -> Kind:
    """Return what the operation does to its values."""
    if not (is_keras(operation) or is_quantized(operation)):
        return "other"
    name = name_of(operation)
    if name == "Activation" and function_of(operation) in PIECEWISE:
        return "moves" if function_of(operation) == "linear" else "selects"
    if name.startswith("UpSampling") and getattr(operation, "interpolation", "nearest") != "nearest":
        return "other"
    return _KIND_OF.get(name, "other")


def function_of(operation: Any) -> str:
    """Return the name of the function that the operation ends with, such as `relu`; `linear` if there is none."""
    activation = getattr(operation, "activation", None)
    if activation is not None:
        return getattr(activation, "__name__", type(activation).__name__)
    name = name_of(operation)
    if name == "ReLU" and (operation.negative_slope or operation.threshold < 0):
        return "leaky_relu"
    return FUNCTIONS.get(name, "linear")


def is_nonnegative(operation: Any, operands: Sequence[bool]) -> bool:
    """Return whether no result of the operation can be negative, given which of the tensors it reads cannot be."""
    name, kind = name_of(operation), kind_of(operation)
    if function_of(operation) in NONNEGATIVE or name in ("Abs", "Absolute", "Square"):
        return True
    if name in _CAN_TURN_NEGATIVE or kind not in ("moves", "adds", "selects", "multiplies"):
        return False
    if is_pure(operation) and name in BINARY and len(operands) < 2:  # the other operand is a constant
        return False
    return any(operands) if name == "Maximum" else all(operands)
