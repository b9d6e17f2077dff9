"""HGQ2's fixed-point quantisers without the gradients of widths that do not learn.

HGQ2 holds a width by a constraint, after its gradient was computed and an optimizer moved it; that is a third of a
training step at fixed widths. Here such a variable is not trainable. What the quantiser computes is HGQ2's.
"""

from __future__ import annotations

from typing import Any

import keras
from hgq.constraints import Constant
from hgq.quantizer import QuantizerConfig
from hgq.quantizer.internal import FixedPointQuantizerKBI, FixedPointQuantizerKIF


@keras.saving.register_keras_serializable(package="weft")
class HeldConfig(QuantizerConfig):
    """The configuration of a quantiser of HGQ2, `kbi` or `kif`, of which a `Constant` constraint holds a width."""

    def get_quantizer(self) -> FixedPointQuantizerKBI | FixedPointQuantizerKIF:
        kind: Any = HeldKBI if self.q_type == "kbi" else HeldKIF
        return kind(name=f"fixed_point_quantizer_{self.q_type}", **self.config)  # as HGQ2 calls its own

    def plain(self) -> QuantizerConfig:
        """Return HGQ2's configuration that computes the same."""
        return QuantizerConfig(**self.get_config())


class _Held:
    """Makes variables that a `Constant` constraint holds not trainable."""

    def add_weight(self, *args: Any, trainable: bool = True, constraint: Any = None, **kwargs: Any) -> keras.Variable:
        trainable = trainable and not isinstance(constraint, Constant)
        return super().add_weight(*args, trainable=trainable, constraint=constraint, **kwargs)  # pyright: ignore


class HeldKBI(_Held, FixedPointQuantizerKBI):
    """HGQ2's quantiser of type `kbi`, whose held widths are not trainable."""


class HeldKIF(_Held, FixedPointQuantizerKIF):
    """HGQ2's quantiser of type `kif`, whose held widths are not trainable."""
