"""Compressed models in a PyTorch training loop: a Keras model as an `nn.Module`, traced to run fast."""

from __future__ import annotations

from typing import Any


def keras_model(model: Any) -> Any:
    """Return the Keras model of an `nn.Module` that weft made; anything else as it is."""
    import keras

    if keras.backend.backend() != "torch":
        return model
    from weft.torch_loop.module import model_of

    return model_of(model)


def as_given(made: Any, given: Any) -> Any:
    """Return a Keras model as a module, on the device of the PyTorch module that it was made of, if it was one."""
    import keras

    if keras.backend.backend() != "torch" or isinstance(given, keras.Layer):
        return made
    from weft.torch_loop.module import TorchModule

    first = next(given.parameters(), None)
    return TorchModule(made).to("cpu" if first is None else first.device)
