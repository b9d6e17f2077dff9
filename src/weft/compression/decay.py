"""Weight decay in any p-norm, decoupled from the gradient: after the optimizer's step every kernel shrinks.

Source: Outmezguine and Levi, "Decoupled Weight Decay for Any p Norm", 2024, arXiv:2404.10824. With w the weight before
the step and v after it, v becomes `v / (1 + p · lr · λ · |w|^(p-2))`: for p = 2 the usual decay with a factor of 2, for
p < 2 small weights fall to zero, and one that is zero stays there. No term of the loss is involved, so that the
moments of Adam do not see the decay.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from weft.errors import ConfigError, NoEffectWarning

if TYPE_CHECKING:
    from keras.optimizers import Optimizer as _Mixin
else:
    _Mixin = object


class _PNormDecay(_Mixin):
    """The part that both optimizers share; it stands before Keras' own class."""

    def __init__(
        self, *args: Any, p: float = 1.0, decay: float = 0.01, decayed: Sequence[str] = ("*kernel",), **kwargs: Any
    ) -> None:
        for name, value, good in (("p", p, p > 0), ("decay", decay, decay >= 0)):
            if not good:
                raise ConfigError(f"p-norm weight decay needs {name} {'>' if name == 'p' else '>='} 0; got {value:g}")
        super().__init__(*args, **kwargs)
        self.p, self.decay, self.decayed = float(p), float(decay), tuple(decayed)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built and not any(map(self._decays, variables)):
            warnings.warn(
                f"no trainable variable matches decayed={list(self.decayed)}, so nothing decays; the first are "
                f"{', '.join(variable.path for variable in list(variables)[:3])}",
                NoEffectWarning,
                stacklevel=2,
            )
        super().build(variables)

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        if not self._decays(variable):
            super().update_step(gradient, variable, learning_rate)
            return
        size = ops.abs(variable)
        strength = self.p * self.decay * ops.cast(learning_rate, variable.dtype)
        if self.p < 2:  # |w|^(p-2) has no value at 0
            inverse = ops.power(size, 2 - self.p)
            total = inverse + strength
            factor = ops.where(total > 0, inverse / ops.where(total > 0, total, 1.0), 1.0)
        else:
            factor = 1 / (1 + strength * ops.power(size, self.p - 2))
        super().update_step(gradient, variable, learning_rate)
        self.assign(variable, variable * factor)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"p": self.p, "decay": self.decay, "decayed": list(self.decayed)}

    def _decays(self, variable: keras.Variable) -> bool:
        return any(fnmatchcase(variable.path, pattern) for pattern in self.decayed)


@keras.saving.register_keras_serializable(package="weft")
class PNormAdam(_PNormDecay, keras.optimizers.Adam):
    """Adam with p-norm weight decay.

    Args:
        p: The norm, > 0: 2 shrinks all weights alike, 1 and less make many of them zero.
        decay: λ, the strength, >= 0; multiplied with the learning rate of each step.
        decayed: Variables that decay, by path or pattern; the others, biases and widths among them, do not.

    The other arguments are those of `keras.optimizers.Adam`.

    Raises:
        ConfigError: `p` or `decay` is out of range.
    """


@keras.saving.register_keras_serializable(package="weft")
class PNormSGD(_PNormDecay, keras.optimizers.SGD):
    """SGD, with momentum or without, with p-norm weight decay; the arguments as for `PNormAdam`.

    Raises:
        ConfigError: `p` or `decay` is out of range.
    """
