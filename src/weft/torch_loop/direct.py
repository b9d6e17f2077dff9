"""Quantised layers in a hand-written `nn.Module`: built at once from the shape of what they read, or refused there.

A layer of Keras makes its variables when it is first called. In a PyTorch module that is too late: an optimizer made
before would never train them. So `weft.layers.QDense(32, input_shape=(16,))` is a `TorchModule` with all its
parameters; without the shape it stays a layer for Keras models, and says so where a PyTorch module treats it as one of
its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import keras

from weft.errors import ConfigError


def direct(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a maker of layers that, under PyTorch, also takes `input_shape`, without rows, or a list of shapes."""

    @wraps(make)
    def made(*args: Any, **kwargs: Any) -> Any:
        if keras.backend.backend() != "torch":
            return make(*args, **kwargs)
        shape = kwargs.pop("input_shape", None)
        layer = make(*args, **kwargs)
        if shape is None:
            return _guarded(layer)
        from weft.torch_loop.module import TorchModule, call

        shapes = shape if isinstance(shape[0], list | tuple) else [shape]
        call(layer, [keras.Input(tuple(one)) for one in shapes])
        return TorchModule(layer).cpu()

    return made


class _NotYet(dict[str, Any]):
    """The parameters of a layer that has none yet."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._layer = layer

    def items(self) -> Any:
        if not self._layer.built:
            raise _refusal(self._layer, "has no parameters before its first call")
        return super().items()


def _guarded(layer: Any) -> Any:
    def train(mode: bool = True) -> Any:
        raise _refusal(layer, "knows no train and eval mode, but an argument training of its call")

    layer.__dict__["train"] = train
    layer.__dict__["_parameters"] = _NotYet(layer)
    return layer


def _refusal(layer: Any, why: str) -> ConfigError:
    return ConfigError(
        f"'{layer.name}' is a Keras layer, which {why}; in an nn.Module make it with the shape of a row that it reads: "
        f"weft.layers.{type(layer).__name__}(..., input_shape=(16,))"
    )
