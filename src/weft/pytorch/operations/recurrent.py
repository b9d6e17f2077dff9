"""Recurrent layers: `GRU` and `RNN` as Keras has them, `LSTM` step by step.

HGQ2 has no LSTM. Hardware is unrolled in any case, so an LSTM is written as what it computes in each step: two dense
layers, shared by all steps, four gates and four products, all of which have counterparts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from weft.errors import UnsupportedError
from weft.pytorch.builder import Builder, array
from weft.pytorch.operations.activations import dropout
from weft.pytorch.operations.linear import linear
from weft.pytorch.operations.shapes import cat, flip, getitem, select, stack
from weft.pytorch.value import Value

Pass = Callable[[Builder, Any, Value, str], tuple[Value, tuple[Value, ...]]]
"""One direction of one layer: (batch, n, n_in) to (batch, n, units), and what it remembers at the end."""


def _layers(at: Builder, m: Any, x: Value, run: Pass) -> tuple[Value, list[Value]]:
    """Run all layers in all directions; returns outputs and memories, (layers * directions, batch, units) each."""
    place, n_memories = at.place, 0
    x = at.arranged(x, (x.batch, 1 - x.batch, 2))
    order, x = x.axes, Value(x.tensor, (0, 1, 2))
    memories: list[tuple[Value, ...]] = []
    for layer in range(m.num_layers):
        outputs = []
        for reverse in ("", "_reverse") if m.bidirectional else ("",):
            at.place = f"{place}.l{layer}{reverse}" if m.num_layers > 1 or m.bidirectional else place
            y, memory = run(at, m, flip(at, x, 1) if reverse else x, f"l{layer}{reverse}")
            outputs.append(flip(at, y, 1) if reverse else y)
            memories.append(memory)
            n_memories = len(memory)
        x = cat(at, outputs, 2) if len(outputs) > 1 else outputs[0]
        if layer < m.num_layers - 1:
            x = dropout(at, x, m.dropout)
    at.place = place
    ends = [stack(at, [memory[i] for memory in memories], 1) for i in range(n_memories)]
    return Value(x.tensor, order), [Value(end.tensor, (1, 0, 2)) for end in ends]


def _check(m: Any, x: Value, state: Any) -> None:
    if m.batch_first != (x.batch == 0):
        raise UnsupportedError(
            f"it has batch_first={m.batch_first} and reads rows along axis {x.batch}; set batch_first to "
            f"{not m.batch_first}, or transpose before it"
        )
    states = state if isinstance(state, tuple | list) else [state]
    if any(isinstance(one, Value) or (one is not None and bool((one != 0).any())) for one in states):
        raise UnsupportedError("it begins with a state that is given to it; let it begin with zeros")
    if getattr(m, "proj_size", 0):
        raise UnsupportedError("it projects its state (proj_size); put a Linear behind it")


def _weights(m: Any, part: str) -> tuple[Any, ...]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if m.bias else ("weight_ih", "weight_hh")
    return tuple(getattr(m, f"{name}_{part}") for name in names)


def _last(at: Builder, y: Value) -> Value:
    return select(at, y, 1, -1)


def gru(at: Builder, m: Any, x: Value, state: Any = None) -> tuple[Value, Value]:
    """Gated recurrent units; torch's gates are reset, update, new, and Keras' update, reset, new."""
    _check(m, x, state)
    outputs, (memory,) = _layers(at, m, x, _gru_pass)
    return outputs, memory


def _gru_pass(at: Builder, m: Any, x: Value, part: str) -> tuple[Value, tuple[Value, ...]]:
    sources = _weights(m, part)

    def reordered(weight: Any) -> np.ndarray:
        reset, update, new = np.split(array(weight), 3)
        return np.concatenate([update, reset, new])

    weights = [reordered(one) for one in sources]
    arrays = [weights[0].T, weights[1].T, *([np.stack(weights[2:])] if m.bias else [])]
    config = {"units": m.hidden_size, "use_bias": m.bias, "return_sequences": True, "reset_after": True}
    y = x.like(at.weighted(keras.layers.GRU, config, sources, arrays, x.tensor))
    return y, (_last(at, y),)


def rnn(at: Builder, m: Any, x: Value, state: Any = None) -> tuple[Value, Value]:
    """Plain recurrent units."""
    _check(m, x, state)
    outputs, (memory,) = _layers(at, m, x, _rnn_pass)
    return outputs, memory


def _rnn_pass(at: Builder, m: Any, x: Value, part: str) -> tuple[Value, tuple[Value, ...]]:
    sources = _weights(m, part)
    weights = [array(one) for one in sources]
    arrays = [weights[0].T, weights[1].T, *([weights[2] + weights[3]] if m.bias else [])]
    config = {"units": m.hidden_size, "use_bias": m.bias, "return_sequences": True, "activation": m.nonlinearity}
    y = x.like(at.weighted(keras.layers.SimpleRNN, config, sources, arrays, x.tensor))
    return y, (_last(at, y),)


def lstm(at: Builder, m: Any, x: Value, state: Any = None) -> tuple[Value, tuple[Value, Value]]:
    """Long short-term memory, step by step."""
    _check(m, x, state)
    outputs, (hidden, cell) = _layers(at, m, x, _lstm_pass)
    return outputs, (hidden, cell)


def _lstm_pass(at: Builder, m: Any, x: Value, part: str) -> tuple[Value, tuple[Value, ...]]:
    """Gates are input, forget, cell and output; the two biases are one, and the first state is 0."""
    place, n = at.place, m.hidden_size
    sources = _weights(m, part)

    def function(x: Value, kind: str) -> Value:
        return x.like(at.step(keras.layers.Activation, x.tensor, activation=kind))

    def join(kind: Any, one: Value, two: Value) -> Value:
        return one.like(at.step(kind, [one.tensor, two.tensor]))

    at.place = f"{place}.inputs"
    config = {"units": 4 * n, "use_bias": m.bias}
    arrays = [array(sources[0]).T, *([array(sources[2]) + array(sources[3])] if m.bias else [])]
    read = x.like(at.weighted(keras.layers.Dense, config, sources, arrays, x.tensor))
    hidden: Value | None = None
    cell: Value | None = None
    outputs = []
    for t in range(x.size(1)):
        at.place = f"{place}.state"
        gates = select(at, read, 1, t)
        if hidden is not None:
            gates = join(keras.layers.Add, gates, linear(at, hidden, sources[1]))
        i, f, g, o = (getitem(at, gates, (slice(None), slice(k * n, (k + 1) * n))) for k in range(4))
        new = join(keras.layers.Multiply, function(i, "sigmoid"), function(g, "tanh"))
        if cell is not None:
            new = join(keras.layers.Add, join(keras.layers.Multiply, function(f, "sigmoid"), cell), new)
        cell = new
        hidden = join(keras.layers.Multiply, function(o, "sigmoid"), function(cell, "tanh"))
        outputs.append(hidden)
    at.place = place
    assert hidden is not None and cell is not None
    return stack(at, outputs, 1), (hidden, cell)


MODULES = {"GRU": gru, "RNN": rnn, "LSTM": lstm}
