"""Numbers and settings to quantisers: HGQ2's own where it has them, with equal training; each setting; each refusal."""

from __future__ import annotations

from typing import get_args

import hgq.layers
import keras
import numpy as np
import pytest
from hgq.constraints import Constant
from hgq.quantizer import Quantizer, QuantizerConfig
from hgq.regularizers import MonoL1
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from pydantic import ValidationError

from tests.conftest import blobs
from tests.quantize.reference import quantized
from weft.config.numbers import (
    FixedNumbers,
    FloatNumbers,
    HgqNumbers,
    LayerSettings,
    OverflowMode,
    QuantizerSettings,
    RoundMode,
)
from weft.errors import ConfigError
from weft.quantize import quantizers
from weft.quantize.fixed import FixedPointConfig
from weft.quantize.held import HeldConfig
from weft.quantize.plain import plain_path

pytestmark = pytest.mark.backends

HGQ = HgqNumbers(bits0=5, gamma=1e-6, beta=1e-4)
ALIKE = {"homogeneous_axis": None, "heterogeneous_axis": ()}


def number(value):
    return ops.convert_to_numpy(value)


def following(place, bits, axes, *, signed=True):
    """Write the configuration of a fixed width whose binary point follows the data, by HGQ2's own means."""
    decay = 0.01 if place == "datalane" else float("inf")
    return QuantizerConfig(
        "kbi", place, k0=signed, b0=bits, i0=0, bc=Constant(bits), br=None, overflow_mode="WRAP", i_decay_speed=decay,
        homogeneous_axis=None, heterogeneous_axis=axes,
    )  # fmt: skip


def saturating(place, k, i, f, axes):
    """Write the configuration of an `ap_fixed` that saturates, by HGQ2's own means."""
    return QuantizerConfig(
        "kif", place, k0=k, i0=i, f0=f, ic=Constant(i), fc=Constant(f), ir=None, fr=None, overflow_mode="SAT",
        homogeneous_axis=None, heterogeneous_axis=axes,
    )  # fmt: skip


def hgq_by_hand():
    price = MonoL1(1e-6)
    return {
        "kq_conf": QuantizerConfig("kbi", "weight", b0=5, br=price),
        "bq_conf": QuantizerConfig("kbi", "bias", b0=5, br=price),
        "iq_conf": QuantizerConfig("kif", "datalane", i0=2, f0=3, ir=price, fr=price),
        "beta0": 1e-4,
    }


BY_HAND = {
    "hgq": (HGQ, hgq_by_hand),
    "fixed tensor": (
        FixedNumbers(total_bits=6),
        lambda: {
            "kq_conf": following("weight", 5, ()),
            "bq_conf": following("bias", 5, ()),
            "iq_conf": following("datalane", 5, ()),
            "beta0": 0.0,
        },
    ),
    "fixed channel": (
        FixedNumbers(total_bits=6, granularity="channel"),
        lambda: {
            "kq_conf": following("weight", 5, (1,)),
            "bq_conf": following("bias", 5, (0,)),
            "iq_conf": following("datalane", 5, ()),
            "beta0": 0.0,
        },
    ),
    "fixed weight, given": (
        FixedNumbers(total_bits=6, integer_bits=-1, granularity="weight"),
        lambda: {
            "kq_conf": saturating("weight", 1, -2, 7, (0, 1)),
            "bq_conf": saturating("bias", 1, -2, 7, (0,)),
            "iq_conf": saturating("datalane", 1, -2, 7, ()),
            "beta0": 0.0,
        },
    ),
}


def ours(numbers):
    return {
        "kq_conf": quantizers.weight(numbers),
        "bq_conf": quantizers.bias(numbers),
        "iq_conf": quantizers.activation(numbers),
        "beta0": quantizers.beta(numbers),
    }


def trained(make):
    keras.backend.clear_session()  # the same names for both
    keras.utils.set_random_seed(7)
    x, y = blobs(256)
    layers = [hgq.layers.QDense(8, activation="relu", **make()), hgq.layers.QDense(3, **make())]
    model = keras.Sequential([keras.Input((6,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    first = {plain_path(v): number(v).copy() for v in model.variables}
    model.fit(x, y, epochs=3, batch_size=64, shuffle=False, verbose=0)
    return first, {plain_path(v): number(v) for v in model.variables}


@pytest.mark.parametrize("name", [pytest.param("hgq", marks=pytest.mark.slow), "fixed channel", "fixed weight, given"])
def test_training_gives_the_weights_and_bits_of_hgq2_used_directly(name):
    numbers, by_hand = BY_HAND[name]
    first, mine = trained(lambda: ours(numbers))
    _, theirs = trained(by_hand)
    assert mine.keys() == theirs.keys()
    for path, value in mine.items():
        np.testing.assert_array_equal(value, theirs[path], err_msg=path)
    assert any((first[path] != value).any() for path, value in mine.items())


def described(config, shape):
    """Return what decides how a configuration's quantiser computes and trains; what HGQ2 holds, weft does not train."""
    quantizer = config.get_quantizer()
    quantizer.build(shape)
    rules = {
        name: None if value is None else (type(value).__name__, value.get_config())
        for name in ("bc", "ic", "fc", "br", "ir", "fr")
        if name in config and (value := config[name], True)
    }
    variables = {
        v.name: (tuple(v.shape), v.trainable and not isinstance(v.constraint, Constant), number(v).tolist())
        for v in quantizer.weights
    }
    modes = (quantizer.round_mode, quantizer.overflow_mode, quantizer._is_weight)
    kind = next(kind.__name__ for kind in type(quantizer).__mro__ if kind.__module__.startswith("hgq"))
    return kind, rules, variables, modes


@pytest.mark.parametrize("name", BY_HAND)
def test_defaults_are_hgq2s_own_quantisers(name):
    numbers, by_hand = BY_HAND[name]
    theirs, mine = by_hand(), ours(numbers)
    assert theirs.pop("beta0") == mine.pop("beta0")
    for place, shape in {"kq_conf": (6, 8), "bq_conf": (8,), "iq_conf": (None, 6)}.items():
        assert type(mine[place]) is (QuantizerConfig if name == "hgq" else HeldConfig)
        assert described(mine[place], shape) == described(theirs[place], shape), place


@pytest.mark.parametrize("name", [name for name in BY_HAND if name != "hgq"])
def test_what_a_constraint_holds_is_no_variable_to_train(name):
    for config in (value for place, value in ours(BY_HAND[name][0]).items() if place != "beta0"):
        quantizer = config.get_quantizer()
        quantizer.build((4,))
        assert quantizer.trainable_variables == []
        plain = config.plain().get_quantizer()
        plain.build((4,))
        assert type(plain).__module__.startswith("hgq") and plain.trainable_variables


def test_tables_and_unsigned_activations_spend_no_bit_on_a_sign():
    fixed = FixedNumbers(total_bits=6)
    for signed in (True, False):
        bits = 6 - signed
        mine = [quantizers.table(fixed, signed=signed), quantizers.activation(fixed, signed=signed)]
        for config, place in zip(mine, ("table", "datalane"), strict=True):
            assert described(config, (None, 3)) == described(following(place, bits, (), signed=signed), (None, 3))
        expected = QuantizerConfig("kbi", "table", b0=5, k0=signed)
        assert described(quantizers.table(HGQ, signed=signed), (None, 3)) == described(expected, (None, 3))


def test_the_first_layer_reads_the_width_of_the_network_s_input_in_a_range_that_follows_it():
    numbers = FixedNumbers(total_bits=6, integer_bits=2, io_bits=12)
    config = quantizers.activation(numbers, first=True)
    assert described(config, (None, 3)) == described(following("datalane", 11, ()), (None, 3))


# Settings.

KERNEL = (3, 4, 2, 5)
SHARES = {"tensor": (1, 1, 1, 1), "channel": (1, 4, 1, 5), "weight": KERNEL}


@pytest.mark.parametrize("numbers", [HGQ, FixedNumbers(), FixedNumbers(integer_bits=2)], ids=["hgq", "fixed", "given"])
@pytest.mark.parametrize("granularity", SHARES)
def test_granularity_shares_formats_along_the_axes_that_number_outputs(numbers, granularity):
    its = QuantizerSettings(granularity=granularity)
    everywhere = numbers.model_copy(update={"granularity": granularity})
    for config in (quantizers.weight(numbers, its, (1, -1)), quantizers.weight(everywhere, output_axes=(1, -1))):
        quantizer = Quantizer(config)
        quantizer.build(KERNEL)
        assert tuple(quantizer.quantizer._i.shape) == SHARES[granularity]
    bias = Quantizer(quantizers.bias(numbers, its))
    bias.build((5,))
    assert tuple(bias.quantizer._i.shape) == ((1,) if granularity == "tensor" else (5,))
    read = Quantizer(quantizers.activation(numbers, its))
    read.build((None, 4, 3))
    shapes = {"tensor": (1, 1, 1), "channel": (1, 1, 3), "weight": (1, 4, 3)}
    assert tuple(read.quantizer._i.shape) == shapes[granularity]


def kif(config, shape=(None, 3)):
    quantizer = Quantizer(config)
    quantizer.build(shape)
    return tuple(int(number(value).ravel()[0]) for value in quantizer.quantizer.kif)


@settings(max_examples=60)
@given(
    st.integers(1, 16), st.integers(-6, 16), st.booleans(), st.sampled_from(["weight", "bias", "activation", "table"])
)
def test_bits_and_integer_bits_are_those_of_ap_fixed_in_every_place(bits, integer, signed, place):
    if integer > bits:
        return
    its = QuantizerSettings(bits=bits, integer_bits=integer, signed=signed)
    make = getattr(quantizers, place)
    for numbers in (FixedNumbers(), HGQ):
        assert kif(make(numbers, its), (3,) if place == "bias" else (3, 3)) == (
            signed,
            integer - signed,
            bits - integer,
        )


@pytest.mark.parametrize("place", ["weight", "bias", "activation", "table"])
@pytest.mark.parametrize("numbers", [HGQ, FixedNumbers()], ids=["hgq", "fixed"])
def test_zero_bits_remove_every_value_also_in_training_and_cost_nothing(numbers, place):
    quantizer = Quantizer(getattr(quantizers, place)(numbers, QuantizerSettings(bits=0)))
    shape = (4,) if place == "bias" else (3, 4)
    quantizer.build(shape)
    x = np.full(shape, 3.7, "f") * np.array([1, -1, 1e-3, 100], "f")
    for training in (False, True):
        assert not number(quantizer(x, training=training)).any()
    assert not number(quantizer.bits).any()


def test_a_width_that_is_not_learned_is_fixed_among_learned_ones():
    its = QuantizerSettings(learned=False)
    for make, place in ((quantizers.weight, "weight"), (quantizers.bias, "bias"), (quantizers.activation, "datalane")):
        assert described(make(HGQ, its), (3,)) == described(following(place, 5, ()), (3,))
    assert kif(quantizers.weight(HGQ, QuantizerSettings(learned=False, bits=4, integer_bits=1)), (3, 3)) == (1, 0, 3)


def test_a_given_binary_point_is_held_while_widths_are_learned():
    config = quantizers.activation(HGQ, QuantizerSettings(integer_bits=3))
    assert (config["i0"], config["ic"].value, config["ir"], config["overflow_mode"]) == (2, 2, None, "SAT")
    config = quantizers.weight(HGQ, QuantizerSettings(integer_bits=-1))
    assert (config["i0"], config["ic"].value, config["overflow_mode"], config["b0"]) == (-2, -2, "SAT_SYM", 5)


MODES = [
    (QuantizerSettings(), False),
    (QuantizerSettings(round_mode="TRN_ZERO"), False),
    (QuantizerSettings(round_mode="S_RND"), True),
    (QuantizerSettings(overflow_mode="WRAP_SM"), True),
    (QuantizerSettings(overflow_mode="SAT"), True),
    (QuantizerSettings(overflow_mode="WRAP"), False),
    (QuantizerSettings(integer_bits=2), False),
    (QuantizerSettings(integer_bits=2, overflow_mode="SAT_SYM"), False),
    (QuantizerSettings(integer_bits=2, overflow_mode="WRAP"), True),
    (QuantizerSettings(integer_bits="auto"), False),
]


@pytest.mark.parametrize(("its", "odd"), MODES, ids=[str(i) for i in range(len(MODES))])
@pytest.mark.parametrize("numbers", [HGQ, FixedNumbers()], ids=["hgq", "fixed"])
def test_activations_take_hgq2s_quantiser_wherever_it_is_right(numbers, its, odd):
    config = quantizers.activation(numbers, its)
    assert isinstance(config, FixedPointConfig) == odd
    assert config["overflow_mode"] == (its.overflow_mode or ("SAT" if its.integer_bits == 2 else "WRAP"))
    assert config["round_mode"] == (its.round_mode or "RND")
    if odd:
        assert config.follows == (its.integer_bits is None)


def test_float_numbers_quantise_only_what_settings_ask_for():
    numbers, layer = FloatNumbers(), quantizers.activation(FloatNumbers())
    assert layer.q_type == quantizers.weight(numbers).q_type == quantizers.bias(numbers).q_type == "dummy"
    assert quantizers.beta(numbers) == 0
    assert kif(quantizers.weight(numbers, QuantizerSettings(bits=5, integer_bits=2)), (3, 3)) == (1, 1, 3)
    assert quantizers.weight(numbers, QuantizerSettings(bits=5, learned=True))["br"] is not None


# Bad input.


def test_a_learned_width_needs_a_price():
    with pytest.raises(ConfigError, match=r"the weight quantiser was asked to learn its width .* use mode 'hgq', and"):
        quantizers.weight(FixedNumbers(), QuantizerSettings(learned=True))


@pytest.mark.parametrize(
    ("numbers", "its"),
    [
        (FixedNumbers(total_bits=4), QuantizerSettings(integer_bits=5)),
        (FixedNumbers(total_bits=8, integer_bits=5), QuantizerSettings(bits=4)),
        (FixedNumbers(total_bits=8, io_bits=16, integer_bits=5), QuantizerSettings(bits=4)),
    ],
)
def test_an_integer_part_wider_than_the_number_is_refused(numbers, its):
    with pytest.raises(
        ConfigError, match=r"the datalane quantiser cannot have integer_bits=5 in 4 bits, .* or use int"
    ):
        quantizers.activation(numbers, its)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: FixedNumbers(total_bits=4, integer_bits=5),
            r"must be <= total_bits=4, which counts the sign too; got 5",
        ),
        (lambda: QuantizerSettings(bits=4, integer_bits=5), r"must be <= bits=4, which counts the sign too; got 5"),
        (lambda: QuantizerSettings(bits=0, learned=True), r"needs bits >= 1 to start from; bits: 0 removes the value"),
        (lambda: QuantizerSettings(bits=25), r"less than or equal to 24"),
        (lambda: QuantizerSettings(integer_bits=-25), r"greater than or equal to -24"),
        (lambda: QuantizerSettings(round_mode="UP"), r"'TRN', 'TRN_ZERO', 'RND'"),
        (lambda: HgqNumbers(granularity="row"), r"'tensor', 'channel' or 'weight'"),
        (lambda: LayerSettings(kernel=QuantizerSettings()), r"Extra inputs are not permitted"),
    ],
)
def test_formats_that_are_none_are_refused(make, message):
    with pytest.raises(ValidationError, match=message):
        make()


def test_numbers_keep_the_form_that_older_designs_are_known_by():
    assert HgqNumbers().model_dump(mode="json") == {"mode": "hgq", "beta": 1e-5, "bits0": 8, "gamma": 1e-8}
    for numbers in (HgqNumbers(granularity="channel"), FixedNumbers(integer_bits=-3), FloatNumbers()):
        assert type(numbers).model_validate(numbers.model_dump(mode="json")) == numbers
    its = LayerSettings(weight=QuantizerSettings(bits=0), hard=True)
    assert LayerSettings.model_validate(its.model_dump(mode="json", exclude_unset=True)) == its


@pytest.mark.parametrize("overflow", get_args(OverflowMode))
@pytest.mark.parametrize("mode", get_args(RoundMode))
def test_every_mode_that_settings_can_name_is_exact_whoever_computes_it(mode, overflow):
    # but for the float32 next to a tie, which HGQ2 takes for the tie
    rng = np.random.default_rng(0)
    for make, numbers, (bits, integer, signed) in (
        (quantizers.weight, FixedNumbers(), (6, 3, True)),
        (quantizers.activation, FixedNumbers(), (4, -2, True)),
        (quantizers.table, HGQ, (5, 1, False)),
        (quantizers.bias, HGQ, (4, -4, True)),
    ):
        asked = {"bits": bits, "integer_bits": integer, "signed": signed}
        its = QuantizerSettings(**asked, round_mode=mode, overflow_mode=overflow)
        k, i, f = int(signed), integer - signed, bits - integer
        x = np.concatenate([rng.normal(0, 2.0**i * 1.5, 40), rng.integers(-80, 80, 80) * 2.0 ** -(f + 2)]).astype("f")
        quantizer = Quantizer(make(numbers, its))
        quantizer.build((1, x.size))
        expected = [float(quantized(float(one), k, i, f, mode.removeprefix("S_"), overflow)) for one in x]
        assert number(quantizer(x[None]))[0].tolist() == expected


@pytest.mark.parametrize(("bits", "expected"), [(3, (0, 2)), (4, (1, 2)), (5, (2, 2)), (8, (2, 5))])
def test_few_learned_bits_begin_behind_the_binary_point(bits, expected):
    config = quantizers.weight(HGQ, QuantizerSettings(bits=bits)).config
    assert (config["i0"], config["b0"] - config["i0"]) == expected
    config = quantizers.activation(HGQ, QuantizerSettings(bits=bits)).config
    assert (config["i0"], config["f0"]) == expected
