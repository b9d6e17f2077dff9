"""Networks that are kin share one program to the last letter, so that one may train with what was compiled for another.

A width, a binary point or a rate that came into a program as a constant would silently train the wrong network.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tests.space.test_blocks import ROWS, SMALL, drawn, space
from weft.blocks import BLOCKS
from weft.space.architecture import FixedNumbers, HgqNumbers
from weft.space.model import build
from weft.train.engine import Engine
from weft.train.losses import loss_for

NUMBERS = {
    "auto": [FixedNumbers(total_bits=4, io_bits=6), FixedNumbers(total_bits=9, io_bits=12)],
    "point": [FixedNumbers(total_bits=6, integer_bits=2), FixedNumbers(total_bits=9, integer_bits=-1, io_bits=5)],
    "learned": [HgqNumbers(bits0=4, beta=1e-6), HgqNumbers(bits0=9, beta=1e-4)],
    "held": [HgqNumbers(bits0=4, io_bits=5), HgqNumbers(bits0=9, io_bits=12)],
}
ACTIVATIONS = ["relu", "tanh", "sigmoid", "leaky_relu", "none"]
BUILDER = f"{__name__}:odd"


def odd(x, name, units):
    """A user's builder with the functions that no block has."""
    import keras

    x = keras.layers.Dense(units, activation="hard_sigmoid", name=f"{name}_a")(x)
    x = keras.layers.Dense(units, activation="silu", name=f"{name}_b")(x)
    return keras.layers.Softmax(name=f"{name}_c")(x)


CASES = {
    **{name: ({"type": name, **SMALL[name]}, ROWS[min(BLOCKS[name].takes)]) for name in SMALL if name != "mlp"},
    **{f"mlp-{one}": ({"type": "mlp", "units": 2, "activation": one}, (7,)) for one in ACTIVATIONS},
    "odd": ({"type": "custom", "builder": BUILDER, "parameters": {"units": 2}}, (7,)),
}


def programs(architecture):
    """Return what XLA would compile for training and for inference, as text."""
    import jax
    import jax.numpy as jnp
    import keras

    keras.backend.clear_session()
    model = build(architecture, 0)
    engine = Engine(model, keras.optimizers.Adam(architecture.learning_rate), loss_for("auto", "classification"))
    data = engine.put(np.zeros((64, *architecture.input_shape), np.float32), np.zeros(64, np.int32))
    controls = {name: jnp.zeros(2, "float32") for name in ("learning_rate", *(["beta"] if engine.learns_bits else []))}
    state, order = engine.state(), jnp.zeros((2, 32), "int32")
    forward = state.trainable, state.non_trainable, jnp.zeros((1, 8, *architecture.input_shape))
    return (
        jax.jit(engine._epoch_program()).lower(state, data, order, controls).as_text(),
        jax.jit(engine._forward_program).lower(*forward).as_text(),
    )


QUICK = [("mlp-tanh", "auto"), ("mlp-relu", "point"), ("mlp-relu", "learned"), ("deepsets", "auto")]


@pytest.mark.parametrize(
    ("case", "numbers"),
    [pytest.param(*both, marks=[] if both in QUICK else [pytest.mark.slow]) for both in product(CASES, NUMBERS)],
)
def test_kin_have_one_program(case, numbers):
    block, shape = CASES[case]
    found = drawn(space(block, shape=shape), 0)
    one, other = (
        found.with_numbers(given).model_copy(update={"learning_rate": rate})
        for given, rate in zip(NUMBERS[numbers], (1e-3, 1e-2), strict=True)
    )
    assert one.kin == other.kin and one.key != other.key
    assert programs(one) == programs(other)


def test_a_number_that_is_a_constant_of_the_program_shows():
    block, shape = CASES["mlp-relu"]
    found = drawn(space(block, shape=shape), 0)
    one, other = (found.with_numbers(HgqNumbers(gamma=gamma)) for gamma in (1e-8, 1e-7))
    assert one.kin != other.kin
    assert programs(one)[0] != programs(other)[0]
