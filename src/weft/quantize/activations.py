"""Quantised activations: each nonlinear function as a layer that the adder graph computes exactly.

Piecewise linear functions stay as they are, but for their constants: a slope becomes a sum of at most `SLOPE_DIGITS`
signed powers of two (shifts and additions; off by at most 4 %), a bound or threshold gets `BOUND_BITS` significant
bits. The other functions of one variable become tables with quantised inputs and values, softmax three steps with two
tables. As in the whole package, HGQ2's layers are used where it has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hgq.layers
import keras
from hgq.constraints import Constant
from hgq.quantizer import Quantizer
from hgq.quantizer.config import HardSigmoidConfig
from hgq.regularizers import MonoL1
from keras import ops

from weft.config.numbers import (
    FixedNumbers,
    FloatNumbers,
    HgqNumbers,
    LayerSettings,
    QuantizerSettings,
)
from weft.errors import UnsupportedError
from weft.quantize import quantizers
from weft.section import did_you_mean

SLOPE_DIGITS = 3
"""Signed powers of two that a slope is the sum of, at most."""

BOUND_BITS = 8
"""Significant bits of a bound or a threshold."""

NONNEGATIVE = frozenset({"relu", "relu6", "sigmoid", "hard_sigmoid", "softmax", "softplus", "exponential"})
"""Functions that are never negative."""

_NOT_UNARY = {
    "log_softmax": "take the logarithm outside of the network, or use softmax",
    "glu": "write it as a product of two layers",
    "sparsemax": "use softmax",
}
_TO_RANGE = QuantizerSettings(integer_bits="auto", overflow_mode="SAT")
_BELOW_ONE = QuantizerSettings(integer_bits=0, overflow_mode="SAT")


def activation_layer(
    function: str | Callable[..., Any] | keras.Layer,
    numbers: FloatNumbers | FixedNumbers | HgqNumbers,
    settings: LayerSettings | None = None,
    name: str | None = None,
    *,
    first: bool = False,
    signed: bool = True,
) -> keras.Layer | None:
    """Return the layer that computes a nonlinear function in fixed point, or None where there is nothing to compute.

    With float numbers, and no settings of its quantisers, the function stays exactly as it is.

    Args:
        function: A name that Keras knows, a function of one tensor, or a Keras layer that is such a function.
        numbers: The network's numbers.
        settings: What the layer does differently: `input` and `table` are the quantisers of a table.
        name: The new layer's name; a given layer's own if None.
        first: Whether it reads the network's input.
        signed: Whether what it reads may be negative.

    Raises:
        UnsupportedError: The function has no exact fixed-point form; the message says what to use.
        ConfigError: The settings do not fit the numbers.
    """
    settings = settings or LayerSettings()
    of = _of_layer if isinstance(function, keras.Layer) else _of_function
    return of(function, numbers, settings, name, first, signed)


def _of_layer(
    layer: keras.Layer,
    numbers: FloatNumbers | FixedNumbers | HgqNumbers,
    settings: LayerSettings,
    name: str | None,
    first: bool,
    signed: bool,
) -> keras.Layer | None:
    name = layer.name if name is None else name
    exact = isinstance(numbers, FloatNumbers)
    if isinstance(layer, keras.layers.Activation):
        function = layer.activation
    elif isinstance(layer, keras.layers.LeakyReLU):
        return _leaky_relu(layer.negative_slope, name, exact)
    elif isinstance(layer, keras.layers.ReLU):
        plain = (layer.max_value, layer.negative_slope, layer.threshold) == (None, 0, 0)
        if not plain:
            return _bounded_relu(layer, name, exact)
        function = "relu"
    elif isinstance(layer, keras.layers.Softmax):
        return softmax_layer(layer.axis, numbers, settings, name)
    elif isinstance(layer, keras.layers.ELU):
        if layer.alpha != 1:
            raise UnsupportedError(
                f"layer '{name}' (ELU) has alpha={layer.alpha:g}, and only alpha=1 has a table; write the function "
                "yourself, register it with keras.saving.register_keras_serializable, and use Activation"
            )
        function = "elu"
    else:
        raise UnsupportedError(
            f"layer '{name}' ({type(layer).__name__}) is no function with a fixed-point form; use Activation, ReLU, "
            "LeakyReLU, ELU or Softmax"
        )
    return _of_function(function, numbers, settings, name, first, signed)


def _of_function(
    function: Any,
    numbers: FloatNumbers | FixedNumbers | HgqNumbers,
    settings: LayerSettings,
    name: str | None,
    first: bool,
    signed: bool,
) -> keras.Layer | None:
    function = _known(function, name)
    word = function.__name__
    exact = isinstance(numbers, FloatNumbers)
    if word == "linear":
        return None
    if word == "softmax":
        return softmax_layer(-1, numbers, settings, name)
    if word == "relu" and settings.multiplier:
        return PowerOfTwoReLU(name=name)
    if word == "leaky_relu":
        return _leaky_relu(0.2, name, exact)
    if word in ("relu", "relu6", "hard_tanh") or (word == "tanh" and settings.hard):
        return keras.layers.Activation("hard_tanh" if word == "tanh" else word, name=name)
    if word == "sigmoid" and settings.hard:
        return Quantizer(_hard_sigmoid(numbers, settings.table), name=name)
    quantised = settings.input != quantizers.NONE or settings.table != quantizers.NONE
    if exact and not quantised:
        return keras.layers.Activation(function, name=name)
    return hgq.layers.QUnaryFunctionLUT(
        function,
        iq_conf=quantizers.activation(numbers, settings.input, first=first, signed=signed),
        oq_conf=quantizers.table(numbers, settings.table, signed=word not in NONNEGATIVE),
        beta0=quantizers.beta(numbers),
        name=name,
    )


def _known(function: Any, name: str | None) -> Any:
    """Return a function that can be computed in fixed point, and saved."""
    place = f"activation '{function}'" if isinstance(function, str) else "the activation"
    place += f" of layer '{name}'" if name else ""
    try:
        found = keras.activations.get(function)
    except ValueError as error:
        words = [word for word in dir(keras.activations) if not word.startswith("_")]
        raise UnsupportedError(
            f"{place} is not known to Keras{did_you_mean(str(function), words)}; give a name of keras.activations, or "
            "a function of your own"
        ) from error
    word = getattr(found, "__name__", type(found).__name__)
    if word in _NOT_UNARY:
        raise UnsupportedError(
            f"{place} ({word}) depends on several values at once, which no table holds; {_NOT_UNARY[word]}"
        )
    registered = keras.saving.get_registered_object(keras.saving.get_registered_name(found))
    if getattr(keras.activations, word, None) is not found and registered is not found:
        raise UnsupportedError(
            f"{place} is the function {word}, which a saved model could not find again; put "
            "@keras.saving.register_keras_serializable() before it"
        )
    return found


def softmax_layer(
    axis: Any, numbers: FloatNumbers | FixedNumbers | HgqNumbers, settings: LayerSettings, name: str | None = None
) -> keras.Layer:
    """Softmax as exp(x - max) through a table, a sum, 1 / sum through a table, and a product; saturating throughout."""
    if isinstance(numbers, FloatNumbers):
        if settings.input == quantizers.NONE and settings.table == quantizers.NONE:
            return keras.layers.Softmax(axis=axis, name=name)
        numbers = FixedNumbers()

    def within(signed: bool = False) -> Any:
        chosen = _TO_RANGE.model_copy(update=settings.input.model_dump(exclude_none=True))
        return quantizers.activation(numbers, chosen, signed=signed)

    def values() -> Any:
        chosen = _BELOW_ONE.model_copy(update=settings.table.model_dump(exclude_none=True))
        return quantizers.table(numbers, chosen, signed=False)

    return hgq.layers.QSoftmax(
        axis=axis,
        exp_iq_conf=within(),
        exp_oq_conf=values(),
        inv_iq_conf=within(),
        inv_oq_conf=values(),
        beta0=quantizers.beta(numbers),
        name=name,
    )


def _hard_sigmoid(numbers: FloatNumbers | FixedNumbers | HgqNumbers, settings: QuantizerSettings) -> Any:
    """x / 4 + 1/2 in [0, 1), which is two shifts; the slope is that of sigmoid at 0."""
    if isinstance(numbers, FloatNumbers):
        numbers = FixedNumbers()
    default = numbers.bits0 if isinstance(numbers, HgqNumbers) else numbers.total_bits
    fraction = (settings.bits or default) - 2  # the other two are in front of the binary point before the shift
    if isinstance(numbers, HgqNumbers) and settings.learned is not False:
        return HardSigmoidConfig(f0=fraction, fr=MonoL1(numbers.gamma), ir=None)
    alike = {"homogeneous_axis": None, "heterogeneous_axis": ()}
    return HardSigmoidConfig(f0=fraction, fc=Constant(fraction), fr=None, ir=None, **alike)


def _leaky_relu(slope: float, name: str | None, exact: bool) -> keras.Layer:
    return keras.layers.LeakyReLU(negative_slope=slope if exact else few_digits(slope), name=name)


def _bounded_relu(layer: keras.layers.ReLU, name: str | None, exact: bool) -> keras.Layer:
    if exact:
        return keras.layers.ReLU(layer.max_value, layer.negative_slope, layer.threshold, name=name)
    top = None if layer.max_value is None else few_bits(layer.max_value)
    return keras.layers.ReLU(top, few_digits(layer.negative_slope), few_bits(layer.threshold), name=name)


def few_digits(value: float, digits: int = SLOPE_DIGITS) -> float:
    """Return the nearest sum of signed powers of two that greedy choice finds: off by less than 3^-digits of `value`.

    Example:
        >>> few_digits(0.2), few_digits(0.1875), few_digits(0.3, 1)
        (0.203125, 0.1875, 0.25)
    """
    result = 0.0
    for _ in range(digits):
        rest = value - result
        if rest == 0:
            break
        low = 2.0 ** math.floor(math.log2(abs(rest)))
        result += math.copysign(low if abs(rest) <= 1.5 * low else 2 * low, rest)
    return result


def few_bits(value: float, bits: int = BOUND_BITS) -> float:
    """Return the nearest number with at most so many significant bits.

    Example:
        >>> few_bits(6.0), few_bits(0.3)
        (6.0, 0.30078125)
    """
    if value == 0:
        return 0.0
    scale = 2.0 ** (bits - 1 - math.floor(math.log2(abs(value))))
    return round(value * scale) / scale


def power_of_two(m: Any) -> Any:
    """Return 2^round(m), half to even, with the gradient of 2^m at the rounded exponent."""
    return 2.0 ** (ops.stop_gradient(ops.round(m)) + (m - ops.stop_gradient(m)))


@keras.saving.register_keras_serializable(package="weft")
class PowerOfTwoReLU(keras.layers.Layer):
    """ReLU times 2^round(m) with a learned m, straight through the rounding: in hardware a shift, which costs nothing.

    Attributes:
        exponent: m, a scalar.
    """

    def __init__(self, exponent0: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.exponent0 = exponent0
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        self.exponent = self.add_weight(
            name="exponent", shape=(), initializer=keras.initializers.Constant(self.exponent0)
        )

    def call(self, inputs: Any) -> Any:
        return ops.relu(inputs) * power_of_two(ops.convert_to_tensor(self.exponent))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "exponent0": self.exponent0}

    def plain(self) -> keras.Sequential:
        """Return the same without the variable, as Keras layers."""
        scale = 2.0 ** round(float(ops.convert_to_numpy(self.exponent)))
        return keras.Sequential([keras.layers.Activation("relu"), keras.layers.Rescaling(scale)], name=self.name)
