"""What has no quantised counterpart, and what to use in its place."""

from __future__ import annotations

from typing import Any

from weft.quantize.operations import is_keras, is_pure, kind_of

_REMEDIES = {
    "LSTM": "use GRU or SimpleRNN, which HGQ2 has",
    "Bidirectional": "write two layers, one with go_backwards=True, and join them with Concatenate",
    "RNN": "use GRU or SimpleRNN",
    "TimeDistributed": "use the layer itself: Dense works on the last axis",
    "GroupNormalization": "use BatchNormalization, whose scale is fixed once training is over",
    "RMSNormalization": "use BatchNormalization, whose scale is fixed once training is over",
    "UnitNormalization": "normalise the data before the model",
    "Normalization": "scale the data before the model",
    "Rescaling": "scale the data before the model",
    "Embedding": "give the model one-hot rows, and use Dense",
    "Masking": "pad with zeros, and leave the mask out",
    "Lambda": "write its function with keras.ops on the tensors themselves",
    "Attention": "use MultiHeadAttention",
    "AdditiveAttention": "use MultiHeadAttention",
    "GroupQueryAttention": "use MultiHeadAttention",
    "Conv1DTranspose": "use UpSampling1D and Conv1D",
    "Conv2DTranspose": "use UpSampling2D and Conv2D",
    "Conv3DTranspose": "use UpSampling3D and Conv3D",
    "UpSampling2D": "use interpolation='nearest'",
    "PReLU": "use LeakyReLU, whose slope is fixed",
    "Square": "write x * x",
    "Divide": "multiply by a constant instead",
    "TrueDivide": "multiply by a constant instead",
}


def why_missing(operation: Any) -> str:
    """Return why an operation cannot be replaced, and what to do about it."""
    if not is_keras(operation):
        return "it is no layer of Keras or HGQ2, and what it computes is not known; build it of layers that are"
    what = "has no fixed-point form that weft knows" if is_pure(operation) else "has no quantised counterpart in HGQ2"
    remedy = _REMEDIES.get(type(operation).__name__)
    if remedy is None and is_pure(operation) and kind_of(operation) == "function":
        remedy = (
            "put it into a function of your own, with @keras.saving.register_keras_serializable() before it, and use "
            "keras.layers.Activation: that becomes a table"
        )
    return f"it {what}" + (f"; {remedy}" if remedy else "")
