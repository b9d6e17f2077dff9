"""What belongs to a loop of PyTorch is refused, or absent, on another backend."""

from __future__ import annotations

import keras
import pytest

import weft
from weft.errors import ConfigError

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(keras.backend.backend() == "torch", reason="it is about other backends")


def test_a_model_of_another_backend_is_no_module():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(ConfigError, match=r"a model of backend 'jax' is no PyTorch module; set KERAS_BACKEND=torch"):
        weft.TorchModule(model)
    assert isinstance(weft.layers.QDense(3), keras.Layer)
