"""Convolutions in the manner of HGQ2 with the batch normalisation behind them in their kernel and bias.

HGQ2 has such a layer for einsums only, `QEinsumDenseBatchnorm`; these do the same for convolutions, in groups or not.
What is quantised, priced and pruned is the kernel times γ/σ, and the bias is β - μγ/σ. A training step takes μ and σ
from its batch, convolved with the kernel as it is. `plain` returns HGQ2's convolution, which computes the same once it
is given `qkernel` and `qbias`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from hgq.layers import QConv1D, QConv2D, QConv3D
from keras import ops

if TYPE_CHECKING:
    from keras.layers import Layer as _Mixin
else:
    _Mixin = object

_VARIABLES = ("gamma", "moving_mean", "moving_variance")
_ARGUMENTS = (
    *("momentum", "epsilon", "center", "scale", "synchronized", "gamma_regularizer", "gamma_constraint"),
    *(f"{name}_initializer" for name in _VARIABLES),
)


class _Normalized(_Mixin):
    """What makes a convolution of HGQ2 a normalised one; its variable `bias` is β."""

    def __init__(
        self,
        *args: Any,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        synchronized: bool = False,
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        gamma_regularizer: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs, use_bias=True)
        self.momentum, self.epsilon = float(momentum), float(epsilon)
        self.center, self.scale, self.synchronized = center, scale, synchronized
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.moving_mean_initializer = keras.initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = keras.initializers.get(moving_variance_initializer)
        self.gamma_regularizer = keras.regularizers.get(gamma_regularizer)
        self.gamma_constraint = keras.constraints.get(gamma_constraint)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.bias.trainable = self.center

        def add(name: str, **kwargs: Any) -> keras.Variable:
            initial = getattr(self, f"{name}_initializer")
            return self.add_weight(name=name, shape=(self.filters,), initializer=initial, autocast=False, **kwargs)

        if self.scale:
            self.bn_gamma = add("gamma", regularizer=self.gamma_regularizer, constraint=self.gamma_constraint)
        self.moving_mean = add("moving_mean", trainable=False)
        self.moving_variance = add("moving_variance", trainable=False)

    def call(self, inputs: Any, training: Any = None) -> Any:
        if self.enable_iq:
            inputs = self.iq(inputs, training=training)
        mean, variance = self.moving_mean, self.moving_variance
        first = self.data_format == "channels_first"
        if training and self.trainable:
            outputs = self.convolution_op(inputs, self.kernel)
            axes = [axis for axis in range(self.rank + 2) if axis != (1 if first else self.rank + 1)]
            mean, variance = ops.moments(outputs, axes, synchronized=self.synchronized)
            for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + now * (1.0 - self.momentum))
        kernel, bias = self._fused(mean, variance, training)
        outputs = self.convolution_op(inputs, kernel)
        outputs += ops.reshape(bias, (1, -1, *[1] * self.rank)) if first else bias
        return outputs if self.activation is None else self.activation(outputs)

    def _fused(self, mean: Any, variance: Any, training: Any) -> tuple[Any, Any]:
        """Return kernel and bias as they are multiplied with and added."""
        scale = (self.bn_gamma if self.scale else 1.0) / ops.sqrt(variance + self.epsilon)
        kernel = self.kq(self.kernel * scale, training=training)  # the last axis of a kernel numbers the outputs
        return kernel, self.bq(self.bias - mean * scale, training=training)

    @property
    def qkernel(self) -> Any:
        return self._fused(self.moving_mean, self.moving_variance, False)[0]

    @property
    def qbias(self) -> Any:
        return self._fused(self.moving_mean, self.moving_variance, False)[1]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["use_bias"]
        for name in _ARGUMENTS:
            value = getattr(self, name)
            for kind in ("initializer", "regularizer", "constraint"):
                if name.endswith(kind):
                    value = getattr(keras, f"{kind}s").serialize(value)
            config[name] = value
        return config

    def plain(self) -> Any:
        """Return HGQ2's convolution, unbuilt: it computes the same with this one's `qkernel` and `qbias`."""
        config = {name: value for name, value in self.get_config().items() if name not in _ARGUMENTS}
        return self._plain.from_config(config | {"use_bias": True})


@keras.saving.register_keras_serializable(package="weft")
class QConv1DBatchnorm(_Normalized, QConv1D):
    """A quantised `keras.layers.Conv1D` with batch normalisation; padding `causal` is none of it."""

    _plain = QConv1D


@keras.saving.register_keras_serializable(package="weft")
class QConv2DBatchnorm(_Normalized, QConv2D):
    """A quantised `keras.layers.Conv2D` with batch normalisation."""

    _plain = QConv2D


@keras.saving.register_keras_serializable(package="weft")
class QConv3DBatchnorm(_Normalized, QConv3D):
    """A quantised `keras.layers.Conv3D` with batch normalisation."""

    _plain = QConv3D
