"""What weft knows of torch: one handler for each operation, one module for each family.

A handler takes the `Builder` and the operation's own arguments, tensors of the network as `Value`, and returns what
torch returns. Functions, tensor methods and exported operations share their names, and so their handlers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weft.pytorch.operations import (
    activations,
    attention,
    convolution,
    elementwise,
    linear,
    normalization,
    pooling,
    recurrent,
    reductions,
    shapes,
)

Handler = Callable[..., Any]

_FAMILIES = (
    linear,
    convolution,
    normalization,
    pooling,
    activations,
    elementwise,
    reductions,
    shapes,
    attention,
    recurrent,
)

MODULES: dict[str, Handler] = {}
"""Handlers of the classes of `torch.nn`, by name; they take the module after the builder."""

FUNCTIONS: dict[str, Handler] = {}
"""Handlers of functions, operators and tensor methods, by name, without the `_` of those that work in place."""

EXPORTED: dict[str, Handler] = {}
"""Handlers of exported operations whose arguments stand in another order."""

ATTRIBUTES: dict[str, Handler] = dict(shapes.ATTRIBUTES)
"""Handlers of attributes of a tensor that are tensors."""

for _family in _FAMILIES:
    MODULES |= getattr(_family, "MODULES", {})
    FUNCTIONS |= getattr(_family, "FUNCTIONS", {})
    EXPORTED |= getattr(_family, "EXPORTED", {})

REMEDIES = {
    "InstanceNorm": "use BatchNorm, whose scale is fixed once training is over",
    "GroupNorm": "use BatchNorm, whose scale is fixed once training is over, or LayerNorm",
    "RMSNorm": "use LayerNorm or BatchNorm",
    "LocalResponseNorm": "use BatchNorm",
    "Bilinear": "concatenate its inputs, and use Linear",
    "LSTMCell": "use nn.LSTM on the whole sequence",
    "GRUCell": "use nn.GRU on the whole sequence",
    "RNNCell": "use nn.RNN on the whole sequence",
    "EmbeddingBag": "use Embedding, and sum over its axis",
    "TransformerDecoderLayer": "write it with MultiheadAttention, Linear and LayerNorm",
    "TransformerDecoder": "write it with MultiheadAttention, Linear and LayerNorm",
    "Transformer": "use TransformerEncoder, or write it with MultiheadAttention, Linear and LayerNorm",
    "sort": "sort the data before the network",
    "topk": "sort the data before the network",
    "argmax": "take the class outside of the network",
    "argmin": "take the class outside of the network",
    "var": "use LayerNorm, or put it outside of the network",
    "std": "use LayerNorm, or put it outside of the network",
    "where": "use torch.clamp, torch.maximum or nn.ReLU",
    "masked_fill": "give nn.MultiheadAttention an attn_mask, or pad with zeros",
    "gather": "choose by constant numbers",
    "cumsum": "multiply by a triangular matrix",
    "log_softmax": "give out the logits, and take log_softmax in the loss",
    "reciprocal": "multiply by a constant, or put the division outside of the network",
    "setitem": "build the new tensor with torch.cat or torch.stack",
    "copy": "build the new tensor with torch.cat or torch.stack",
    "slice_scatter": "build the new tensor with torch.cat or torch.stack",
    "select_scatter": "build the new tensor with torch.cat or torch.stack",
}
"""What to write in place of what has no handler."""


def remedy_of(name: str) -> str:
    """Return what to write in place of an operation without a handler."""
    found = REMEDIES.get(name) or REMEDIES.get(name.rstrip("123d"))
    return found or "write it with the modules of docs/pytorch.md"
