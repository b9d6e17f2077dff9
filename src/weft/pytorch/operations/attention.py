"""Attention: `nn.MultiheadAttention`, scaled products, and the layers of a transformer's encoder.

torch says with True what must not be attended to, Keras with True what may be.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from weft.errors import UnsupportedError
from weft.pytorch.builder import Builder, array
from weft.pytorch.operations.activations import FUNCTIONS as ACTIVATIONS
from weft.pytorch.operations.activations import dropout, softmax
from weft.pytorch.operations.elementwise import binary, scaled
from weft.pytorch.operations.linear import linear, matmul
from weft.pytorch.operations.normalization import layer_norm
from weft.pytorch.operations.reductions import Missing
from weft.pytorch.operations.shapes import transpose
from weft.pytorch.value import Value


def multi_head(
    at: Builder,
    m: Any,
    query: Value,
    key: Value,
    value: Value,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Value, Missing]:
    """Attention of several heads; (batch, n, features), or (n, batch, features) if batch_first is false."""
    if key_padding_mask is not None:
        raise UnsupportedError("it has a key_padding_mask, which differs by row; pad with zeros, or give an attn_mask")
    if m.bias_k is not None or m.add_zero_attn:
        raise UnsupportedError("it adds keys of its own (add_bias_kv, add_zero_attn); leave them out")
    if m.batch_first != (query.batch == 0):
        raise UnsupportedError(
            f"it has batch_first={m.batch_first} and reads rows along axis {query.batch}; set batch_first to "
            f"{not m.batch_first}, or transpose before it"
        )
    last = query.rank - 1
    order = (query.batch, 1 - query.batch, last)
    query, key, value = (at.arranged(one, order) for one in (query, key, value))
    n, size = m.embed_dim, m.head_dim
    if m.in_proj_weight is None:
        sources = [m.q_proj_weight, m.k_proj_weight, m.v_proj_weight]
        kernels = [array(one) for one in sources]
    else:
        sources, kernels = [m.in_proj_weight], np.split(array(m.in_proj_weight), 3)
    has_bias = m.in_proj_bias is not None
    biases = np.split(array(m.in_proj_bias), 3) if has_bias else []
    weights: list[np.ndarray] = []
    for i, kernel in enumerate(kernels):
        weights.append(kernel.T.reshape(-1, m.num_heads, size))
        weights += [biases[i].reshape(m.num_heads, size)] if has_bias else []
    weights.append(array(m.out_proj.weight).T.reshape(m.num_heads, size, n))
    weights += [array(m.out_proj.bias)] if has_bias else []
    config = {
        "num_heads": m.num_heads,
        "key_dim": size,
        "dropout": float(m.dropout),
        "use_bias": has_bias,
        "output_shape": n,
    }
    mask = None if attn_mask is None else _mask(attn_mask)
    call: dict[str, Any] = {} if mask is None else {"attention_mask": mask}
    made = at.weighted(
        keras.layers.MultiHeadAttention, config, sources, weights, query.tensor, value.tensor, key.tensor, **call
    )
    return query.like(made), Missing("its attention weights; call it with need_weights=False and take the output alone")


def _mask(mask: Any) -> np.ndarray:
    """Return where may be attended to, (1, n_queries, n_keys)."""
    if isinstance(mask, Value) or mask.ndim != 2:
        raise UnsupportedError(
            "its attn_mask depends on the row or the head; give one mask of two axes for all of them"
        )
    values = mask.detach().cpu().numpy()
    if values.dtype != bool:
        if not np.isin(values, (0.0, -np.inf)).all():
            raise UnsupportedError("its attn_mask adds numbers to the scores; use a mask of bool, or of 0 and -inf")
        values = values != 0
    return ~values[None]


def scaled_products(
    at: Builder,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> Value:
    """softmax(q kᵀ / sqrt(size)) v."""
    if attn_mask is not None or is_causal:
        raise UnsupportedError("it has a mask; use nn.MultiheadAttention, whose attn_mask has a counterpart")
    factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    scores = matmul(at, scaled(at, query, factor), transpose(at, key, -2, -1))
    return matmul(at, dropout(at, softmax(at, scores, -1), dropout_p), value)


def encoder_layer(
    at: Builder, m: Any, src: Value, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
) -> Value:
    """Attention and two dense layers, each with a way around it and a layer normalisation before or behind it."""
    place, x = at.place, src

    def named(part: str) -> Builder:
        at.place = f"{place}.{part}"
        return at

    def norm(part: str, x: Value) -> Value:
        mine = getattr(m, part)
        return layer_norm(named(part), x, mine.normalized_shape, mine.weight, mine.bias, mine.eps)

    def attended(x: Value) -> Value:
        found, _ = multi_head(named("self_attn"), m.self_attn, x, x, x, src_key_padding_mask, False, src_mask)
        return dropout(named("dropout1"), found, m.dropout1.p)

    def fed(x: Value) -> Value:
        x = linear(named("linear1"), x, m.linear1.weight, m.linear1.bias)
        x = dropout(named("dropout"), _activated(named("activation"), m.activation, x), m.dropout.p)
        x = linear(named("linear2"), x, m.linear2.weight, m.linear2.bias)
        return dropout(named("dropout2"), x, m.dropout2.p)

    def around(x: Value, y: Value, part: str) -> Value:
        return binary(named(part), keras.layers.Add, x, y)

    if m.norm_first:
        x = around(x, attended(norm("norm1", x)), "add1")
        x = around(x, fed(norm("norm2", x)), "add2")
    else:
        x = norm("norm1", around(x, attended(x), "add1"))
        x = norm("norm2", around(x, fed(x), "add2"))
    at.place = place
    return x


def _activated(at: Builder, function: Any, x: Value) -> Value:
    name = getattr(function, "__name__", type(function).__name__).lower()
    if name not in ACTIVATIONS or (name == "gelu" and getattr(function, "approximate", "none") != "none"):
        raise UnsupportedError(f"its activation {name} is not known; use 'relu' or 'gelu'")
    return ACTIVATIONS[name](at, x)


def encoder(
    at: Builder, m: Any, src: Value, mask: Any = None, src_key_padding_mask: Any = None, is_causal: Any = None
) -> Value:
    """Layers one behind the other, and a normalisation if there is one."""
    place, x = at.place, src
    for i, layer in enumerate(m.layers):
        at.place = f"{place}.layers.{i}"
        x = encoder_layer(at, layer, x, mask, src_key_padding_mask)
    if m.norm is not None:
        at.place = f"{place}.norm"
        x = layer_norm(at, x, m.norm.normalized_shape, m.norm.weight, m.norm.bias, m.norm.eps)
    at.place = place
    return x


MODULES = {
    "MultiheadAttention": multi_head,
    "TransformerEncoderLayer": encoder_layer,
    "TransformerEncoder": encoder,
}

FUNCTIONS = {"scaled_dot_product_attention": scaled_products}
