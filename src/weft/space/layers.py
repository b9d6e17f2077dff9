"""The layers of a network in three number representations: float, fixed point, and HGQ's learned bits.

A block asks for a dense layer and does not know which representation it gets. In the quantised ones a layer quantises
its own input, so the value range of an activation is a property of the layer that reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from weft.space.architecture import FixedNumbers, FloatNumbers, HgqNumbers

LEAKY_SLOPE = 0.125
"""Slope of leaky ReLU below zero: a power of two, which is a shift in hardware."""

_TABLES = ("tanh", "sigmoid")


class LayerFactory(ABC):
    """Makes the layers of one model, in one number representation."""

    def flatten(self, x: Any, name: str) -> Any:
        """Return `x` as (n, size)."""
        import keras

        return x if len(x.shape) == 2 else keras.layers.Flatten(name=name)(x)

    def dropout(self, x: Any, rate: float, name: str) -> Any:
        """Drop values in training; nothing in inference."""
        import keras

        return keras.layers.Dropout(rate, name=name)(x) if rate else x

    @abstractmethod
    def dense(self, x: Any, units: int, activation: str, normalization: str, name: str) -> Any:
        """Add a dense layer with normalisation and activation; (n, n_in) becomes (n, units)."""


class FloatLayers(LayerFactory):
    """Plain Keras layers."""

    def dense(self, x: Any, units: int, activation: str, normalization: str, name: str) -> Any:
        import keras

        x = keras.layers.Dense(units, use_bias=normalization == "none", name=name)(x)
        if normalization == "batch":
            x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
        if activation == "leaky_relu":
            return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=f"{name}_act")(x)
        return x if activation == "none" else keras.layers.Activation(activation, name=f"{name}_act")(x)


class QuantizedLayers(LayerFactory):
    """HGQ2 layers; subclasses say how kernels, biases, inputs and tables are quantised."""

    def __init__(self, wrap_kernel_quantizer: Callable[[Any], Any] | None) -> None:
        self._wrap = wrap_kernel_quantizer
        self._first = True
        self._unsigned = False

    def dense(self, x: Any, units: int, activation: str, normalization: str, name: str) -> Any:
        import hgq.layers as hgq
        import keras

        inline = activation if activation in ("relu",) else None
        quantizers = {
            "iq_conf": self._input(first=self._first, unsigned=self._unsigned),
            "kq_conf": self._kernel(),
            "bq_conf": self._bias(),
            "beta0": self._beta(),
        }
        if normalization == "batch":
            layer = hgq.QEinsumDenseBatchnorm(
                "...a,ab->...b", units, bias_axes="b", activation=inline, name=name, **quantizers
            )
        else:
            layer = hgq.QDense(units, activation=inline, name=name, **quantizers)
        if self._wrap is not None:
            layer._kq = self._wrap(layer._kq)
        self._first, self._unsigned = False, activation in ("relu", "sigmoid")
        x = layer(x)
        if activation == "leaky_relu":
            return keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=f"{name}_act")(x)
        if activation in _TABLES:
            table = hgq.QUnaryFunctionLUT(
                activation,
                iq_conf=self._input(first=False, unsigned=False),
                oq_conf=self._table(unsigned=activation == "sigmoid"),
                beta0=self._beta(),
                name=f"{name}_act",
            )
            return table(x)
        return x

    @abstractmethod
    def _kernel(self) -> Any: ...

    @abstractmethod
    def _bias(self) -> Any: ...

    @abstractmethod
    def _input(self, *, first: bool, unsigned: bool) -> Any: ...

    @abstractmethod
    def _table(self, *, unsigned: bool) -> Any: ...

    @abstractmethod
    def _beta(self) -> float: ...


class HgqLayers(QuantizedLayers):
    """One learned width for each weight and each input; ranges of inputs follow the data."""

    def __init__(self, numbers: HgqNumbers, wrap_kernel_quantizer: Callable[[Any], Any] | None = None) -> None:
        super().__init__(wrap_kernel_quantizer)
        self._numbers = numbers

    def _regularizer(self) -> Any:
        from hgq.regularizers import MonoL1

        return MonoL1(self._numbers.gamma)

    def _kernel(self) -> Any:
        from hgq.quantizer import QuantizerConfig

        return QuantizerConfig("kbi", "weight", b0=self._numbers.bits0, br=self._regularizer())

    def _bias(self) -> Any:
        from hgq.quantizer import QuantizerConfig

        return QuantizerConfig("kbi", "bias", b0=self._numbers.bits0, br=self._regularizer())

    def _input(self, *, first: bool, unsigned: bool) -> Any:
        from hgq.quantizer import QuantizerConfig

        fractional = max(self._numbers.bits0 - 2, 1)
        return QuantizerConfig("kif", "datalane", i0=2, f0=fractional, ir=self._regularizer(), fr=self._regularizer())

    def _table(self, *, unsigned: bool) -> Any:
        from hgq.quantizer import QuantizerConfig

        return QuantizerConfig("kbi", "table", b0=self._numbers.bits0, k0=not unsigned)

    def _beta(self) -> float:
        return self._numbers.beta


class FixedLayers(QuantizedLayers):
    """One width for all weights and one for all activations.

    With `integer_bits: auto` the binary point follows the largest magnitude of each group (of weights, at every step;
    of activations, over the data), so that small weights do not waste bits. With a number, both are `ap_fixed<W, I>`
    that saturates. The network's input is `io_bits` wide, and its binary point always follows the data.
    """

    def __init__(self, numbers: FixedNumbers, wrap_kernel_quantizer: Callable[[Any], Any] | None = None) -> None:
        super().__init__(wrap_kernel_quantizer)
        self._numbers = numbers

    _HETEROGENEOUS: dict[str, tuple[int, ...]] = {"tensor": (), "channel": (1,), "weight": (0, 1)}  # noqa: RUF012

    def _kernel(self) -> Any:
        return self._config(self._numbers.total_bits, "weight", self._HETEROGENEOUS[self._numbers.granularity])

    def _bias(self) -> Any:
        per_output = () if self._numbers.granularity == "tensor" else (0,)
        return self._config(self._numbers.total_bits, "bias", per_output)

    def _input(self, *, first: bool, unsigned: bool) -> Any:
        if first:
            return self._following(self._numbers.io_bits, "datalane", (), unsigned=False)
        return self._config(self._numbers.total_bits, "datalane", (), unsigned=unsigned)

    def _table(self, *, unsigned: bool) -> Any:
        return self._config(self._numbers.total_bits, "table", (), unsigned=unsigned)

    def _beta(self) -> float:
        return 0.0

    def _config(self, total: int, place: str, axes: tuple[int, ...], *, unsigned: bool = False) -> Any:
        from hgq.constraints import Constant
        from hgq.quantizer import QuantizerConfig

        integer = self._numbers.integer_bits
        if integer == "auto":
            return self._following(total, place, axes, unsigned=unsigned)
        sign = 0 if unsigned else 1
        whole, fraction = integer - sign, total - integer
        return QuantizerConfig(
            "kif", place, k0=sign, i0=whole, f0=fraction, ic=Constant(whole), fc=Constant(fraction), ir=None, fr=None,
            overflow_mode="SAT", homogeneous_axis=None, heterogeneous_axis=axes,
        )  # fmt: skip

    def _following(self, total: int, place: str, axes: tuple[int, ...], *, unsigned: bool) -> Any:
        from hgq.constraints import Constant
        from hgq.quantizer import QuantizerConfig

        magnitude = total if unsigned else total - 1
        return QuantizerConfig(
            "kbi", place, k0=not unsigned, b0=magnitude, i0=0, bc=Constant(magnitude), br=None, overflow_mode="WRAP",
            i_decay_speed=0.01 if place == "datalane" else float("inf"),
            homogeneous_axis=None, heterogeneous_axis=axes,
        )  # fmt: skip


def factory_for(
    numbers: FloatNumbers | FixedNumbers | HgqNumbers, wrap_kernel_quantizer: Callable[[Any], Any] | None = None
) -> LayerFactory:
    """Return the layer factory of a number representation; float layers have no kernel quantiser to wrap."""
    if isinstance(numbers, FloatNumbers):
        return FloatLayers()
    factory = FixedLayers if isinstance(numbers, FixedNumbers) else HgqLayers
    return factory(numbers, wrap_kernel_quantizer)
