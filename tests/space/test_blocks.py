"""Blocks: what is drawn of each is legal, comes back from its parameters, is built as it says, and reaches firmware."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from weft.blocks import BLOCKS, options
from weft.config import Experiment
from weft.config.load import loads
from weft.errors import ConfigError
from weft.space.architecture import Architecture, FixedNumbers, FloatNumbers, HgqNumbers, parse
from weft.space.model import build, export_weights, import_weights
from weft.space.sampling import Space

BUILDER = f"{__name__}:dense"
RICH = {
    "attention": {"kind": ["linformer", "multi_head"], "depth": [1, 2], "projection": [2, 9], "feed_forward": [0, 3]},
    "conv1d": {"kernel": [1, 3, 9], "stride": [1, 2, 7], "pool": [1, 2, 4], "depth": [1, 3], "filters": [2, 3]},
    "conv2d": {"kernel": [1, 3, 9], "stride": [1, 2, 5], "pool": [1, 2, 4], "depth": [1, 3], "filters": [2, 3]},
    "conv_attention": {"kernel": [1, 3, 9], "pool": [1, 2, 9], "filters": [2, 3]},
    "custom": {"builder": BUILDER, "parameters": {"units": [2, 3], "activation": ["relu", "tanh"]}},
    "deepsets": {"aggregation": ["sum", "mean", "max"], "rho_depth": [0, 2], "dropout": [0.0, 0.1]},
    "gru": {"depth": [1, 2]},
    "interaction": {"normalization": ["none", "batch"]},
    "lut_dense": {"hidden": [2, 4]},
    "mlp": {"units": [[2, 3], [4, 5], 6], "depth": [1, 2, 3], "l1": [0.0, 1e-5]},
    "mlp_mixer": {"dropout": [0.0, 0.2]},
    "particles": {"count": [1, 2, 9], "features": ["all", "some"], "sets": {"some": [2, 0]}},
    "reshape": {"shape": [3, 7]},
    "residual": {"activation": ["relu", "tanh"]},
    "separable_conv": {"kernel": [1, 3, 9], "stride": [1, 2], "pool": [1, 2]},
    "skip": {},
    "window": {"start": [0, 2, 5], "length": [2, 4, 6], "channels": 3},
}
"""Of every block many choices; some fall away for short rows."""

SMALL = {
    "attention": {"heads": 1, "key_dim": 1, "feed_forward": 2},
    "conv1d": {"filters": 2, "depth": 1},
    "conv2d": {"filters": 2, "depth": 1},
    "conv_attention": {"filters": 1, "hidden": 1, "pool": 2},
    "custom": {"builder": BUILDER, "parameters": {"units": 2, "activation": "relu"}},
    "deepsets": {"phi": 2, "phi_depth": 1, "aggregation": "mean", "rho": 2},
    "gru": {"units": 1},
    "interaction": {"units": 2, "depth": 1, "normalization": "batch"},
    "lut_dense": {"units": 2, "depth": 1},
    "mlp": {"units": 2},
    "mlp_mixer": {"places": 2, "features": 2, "depth": 1},
    "particles": RICH["particles"] | {"count": 2, "features": "some"},
    "reshape": RICH["reshape"],
    "residual": {"units": 2, "depth": 1},
    "separable_conv": {"filters": 2, "depth": 1, "pool": 2},
    "skip": {},
    "window": {"start": 2, "length": 2, "channels": 3},
}
"""Of every block one, as small as it can be."""

ROWS = {1: (21,), 2: (7, 3), 3: (7, 3, 1)}


def dense(x, name, units, activation):
    """A builder as a user writes one."""
    import keras

    x = keras.layers.Flatten(name=f"{name}_flat")(x) if len(x.shape) > 2 else x
    return keras.layers.Dense(units, activation=activation, name=f"{name}_dense")(x)


def space(*blocks, shape, **quantization) -> Space:
    raw = {"version": 1, "name": "x", "data": {"name": "jets-hlf"}}
    raw["space"] = {"blocks": list(blocks), "quantization": {"mode": "hgq", "bits0": 2, **quantization}}
    return Space(Experiment.model_validate(raw).space, shape, 3)


def drawn(found: Space, seed: int) -> Architecture:
    """Return a random architecture, which its parameters give again."""
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    genotype = found.sample(study.ask())
    assert found.key(found.sample(FixedTrial(found.params_of(genotype)))) == found.key(genotype)
    return parse(genotype)


def cases(blocks):
    return [(name, ROWS[rank]) for name in blocks for rank in BLOCKS[name].takes]


def dear(name, shape):
    """Say whether a case takes long, or is much like one of rows of a lower rank."""
    return name in ("attention", "gru", "conv_attention") or len(shape) > min(BLOCKS[name].takes)


def test_every_block_is_tried_here():
    assert set(RICH) == set(SMALL) == set(BLOCKS)


@pytest.mark.parametrize(("name", "shape"), cases(RICH))
@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_what_is_drawn_comes_back_from_its_parameters(name, shape, seed):
    architecture = drawn(space({"type": name, **RICH[name]}, shape=shape), seed)
    assert parse(architecture.model_dump(mode="json")) == architecture
    assert architecture.describe().endswith(", hgq") and str(architecture.n_outputs) in architecture.describe()
    assert all(genes.fitted(shape) == genes for genes in architecture.blocks)


@pytest.mark.parametrize(("name", "shape"), cases(RICH))
def test_what_is_built_has_the_shape_it_says(name, shape, monkeypatch):
    import keras

    monkeypatch.setattr(keras.initializers.GlorotUniform, "__call__", lambda self, shape, dtype=None: np.zeros(shape))
    found = space({"type": name, **RICH[name]}, shape=shape)
    for genes in {genes for seed in range(5) for genes in drawn(found, seed).blocks}:
        keras.backend.clear_session()
        assert tuple(genes.build(keras.Input(shape), "b").shape[1:]) == genes.output_shape(shape) or name == "custom"


@pytest.mark.parametrize(
    ("name", "shape"),
    [pytest.param(name, shape, marks=[pytest.mark.slow] if dear(name, shape) else []) for name, shape in cases(SMALL)],
)
def test_a_block_reaches_firmware_exactly_and_its_weights_travel(name, shape):
    from weft.adder_graph import AdderGraph
    from weft.compression.finalize import finalize

    bits = 6 if name == "lut_dense" else 2  # tables give small numbers, which 2 bits round to 0
    architecture = drawn(space({"type": name, **SMALL[name]}, shape=shape, bits0=bits), 0)
    plain = build(architecture.with_numbers(FloatNumbers()), 1)
    weights = export_weights(plain)
    model = build(architecture, 2)
    import_weights(model, weights)
    again = export_weights(model)
    assert set(again) == set(weights) and all(
        np.allclose(again[k], v.reshape(again[k].shape)) for k, v in weights.items()
    )
    x = np.random.default_rng(0).normal(0.0, 1.0, (60, *shape)).astype(np.float32)
    final = finalize(model, x)
    found = AdderGraph.from_model(final)
    np.testing.assert_array_equal(found.predict(x), np.array(final(x)))
    assert found.lut > 0


@pytest.mark.parametrize("name", ["deepsets", "residual", "window"])
def test_a_float_network_keeps_its_function_in_wide_numbers(name):
    from weft.quantize.calibrate import calibrate

    architecture = drawn(space({"type": name, **SMALL[name]}, shape=ROWS[max(BLOCKS[name].takes[:2])]), 3)
    plain = build(architecture.with_numbers(FloatNumbers()), 1)
    wide = build(architecture.with_numbers(FixedNumbers(total_bits=20, io_bits=20, granularity="channel")))
    import_weights(wide, export_weights(plain))
    x = np.random.default_rng(0).normal(0.0, 1.0, (60, *architecture.input_shape)).astype(np.float32)
    calibrate(wide, x)
    np.testing.assert_allclose(wide.predict(x, verbose=0), plain.predict(x, verbose=0), atol=2e-3)


# The order of blocks


def test_only_orders_in_which_each_block_can_read_what_the_one_before_gives_are_drawn():
    every = [{"type": name, **SMALL[name]} for name in ("conv1d", "deepsets", "mlp", "skip")]
    found = space({"one_of": every}, {"one_of": every}, shape=(7, 3))
    legal = {
        f"{a} > {b}"
        for a, b in itertools.product(("conv1d", "deepsets", "mlp", "skip"), repeat=2)
        if a in ("conv1d", "skip") or b in ("mlp", "skip")
    }
    assert set(found.orders) == legal
    seen = {tuple(genes.type for genes in drawn(found, seed).blocks) for seed in range(60)}
    assert ("conv1d", "deepsets") in seen and () in seen and ("mlp", "conv1d") not in seen


def test_a_skipped_block_is_no_part_of_the_network():
    found = space({"one_of": [{"type": "skip"}, {"type": "residual"}]}, {"type": "mlp", **SMALL["mlp"]}, shape=(21,))
    keys = {drawn(found, seed).key for seed in range(40) if len(drawn(found, seed).blocks) == 1}
    assert len(keys) == len({drawn(found, seed).blocks for seed in range(40) if len(drawn(found, seed).blocks) == 1})


def test_a_space_without_a_legal_network_says_why():
    with pytest.raises(
        ConfigError,
        match=r"no sequence of these blocks suits rows of shape \(21,\): block 0, conv1d, reads \(length, features\), "
        r"and gets \(features\); a block reshape gives rows another shape",
    ):
        space({"type": "conv1d"}, shape=(21,))
    with pytest.raises(ConfigError, match=r"block 1, deepsets, reads \(length, features\), and gets \(features\)"):
        space({"type": "mlp"}, {"type": "deepsets"}, shape=(7, 3))


def test_more_orders_than_can_be_told_apart_are_refused():
    with pytest.raises(ConfigError, match=r"has 16,384 sequences of types, and 4,096 are the most; take away places"):
        space(*[{"one_of": [{"type": "residual"}, {"type": "skip"}]}] * 14, shape=(7, 3))


def test_a_type_is_listed_once_in_a_place():
    with pytest.raises(
        ConfigError, match=r"blocks.0.one_of.1: is the second 'mlp' here; widen the choices of the first"
    ):
        loads(
            "version: 1\nname: x\ndata: {name: jets-hlf}\nspace: {blocks: [{one_of: [{type: mlp}, {type: mlp}]}]}", "f"
        )


# Shapes


@given(st.integers(1, 40), st.lists(st.integers(0, 40), min_size=1, unique=True), st.integers(1, 40), st.data())
def test_a_window_never_leaves_the_trace_and_every_legal_one_can_be_drawn(length, starts, samples, data):
    block = {"type": "window", "start": sorted(starts), "length": [length], "channels": 2}
    if min(starts) + length > samples:
        with pytest.raises(ConfigError, match=rf"window, ends at sample {min(starts) + length}, and a trace has"):
            space(block, shape=(2 * samples,))
        return
    found = space(block, shape=(2 * samples,))
    (window,) = options(found.config.blocks[0])
    start = data.draw(st.sampled_from(starts))
    taken = window.decide({"start": start, "length": length}, (2 * samples,))
    assert taken.start in starts and taken.start + taken.length <= samples
    assert start + length > samples or taken.start == start


@given(st.integers(0, 30), st.integers(1, 30))
def test_a_range_of_windows_ends_where_the_last_one_fits(start, length):
    found = space({"type": "window", "start": [0, 30, "lin"], "length": [1, 30, "lin"]}, shape=(30, 2))
    (window,) = options(found.config.blocks[0])
    taken = window.decide({"start": start, "length": length}, (30, 2))
    assert (taken.start, taken.length) == (min(start, 30 - length), length)


def test_a_window_reads_the_samples_it_names():
    architecture = drawn(space({"type": "window", **SMALL["window"]}, shape=(21,)), 0)
    import keras

    inputs = keras.Input((21,))
    model = keras.Model(inputs, architecture.blocks[0].build(inputs, "w"))
    row = np.arange(21, dtype=np.float32)[None]
    np.testing.assert_array_equal(model(row), row[:, 6:12])


def test_particles_are_the_first_and_features_those_named():
    architecture = drawn(space({"type": "particles", **SMALL["particles"]}, shape=(7, 3)), 0)
    import keras

    inputs = keras.Input((7, 3))
    model = keras.Model(inputs, architecture.blocks[0].build(inputs, "p"))
    rows = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(rows), rows[:, :2, [2, 0]])


def test_a_mixture_of_as_many_places_as_there_are_is_attention_to_all():
    found = space({"type": "attention", "kind": "linformer", "projection": 9}, shape=(7, 3))
    (genes,) = drawn(found, 0).blocks
    assert (genes.kind, genes.projection) == ("multi_head", None)


@pytest.mark.parametrize(
    ("block", "shape", "message"),
    [
        ({"type": "reshape", "shape": [4, 5]}, (21,), r"reshape, has 20 numbers, and rows of shape \(21,\) have 21"),
        ({"type": "window", "start": 0, "length": 3}, (21,), r"window, reads samples of 2 channels, and a row has 21"),
        (
            {"type": "particles", "count": 2, "features": "a", "sets": {"a": [0, 3]}},
            (7, 3),
            r"particles, a has feature 3, and a particle has 3, numbered from 0",
        ),
    ],
)
def test_a_block_that_rows_leave_nothing_to_choose_says_so(block, shape, message):
    with pytest.raises(ConfigError, match=message):
        space(block, shape=shape)


def test_a_shape_that_choices_decide_cannot_be_reshaped():
    with pytest.raises(ConfigError, match="block 1, reshape, has 4 numbers, and rows of shape"):
        space({"type": "mlp"}, {"type": "reshape", "shape": [4]}, shape=(21,))


# Conditions, numbers, flows


def test_a_condition_makes_a_choice_only_where_it_holds():
    block = {"type": "mlp", "units": 4, "normalization": ["none", "batch"], "dropout": [0.1, 0.2]}
    found = space({**block, "when": {"dropout": {"normalization": ["none"]}}}, shape=(21,))
    seen = {(drawn(found, seed).blocks[0].normalization, drawn(found, seed).blocks[0].dropout) for seed in range(40)}
    assert seen == {("none", 0.1), ("none", 0.2), ("batch", 0.0)}


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("{dropuot: {normalization: [none]}}", r"when.dropuot: 'dropuot' is no choice .*; did you mean 'dropout'\?"),
        (
            "{dropout: {normalization: []}}",
            r"when.dropout.normalization: 'normalization' needs values; list values that",
        ),
        (
            "{dropout: {normalization: [bach]}}",
            r"when.dropout.normalization: 'normalization' never takes 'bach'; list values",
        ),
        (
            "{dropout: {normalization: [none]}, normalization: {activation: [relu]}}",
            r"when.dropout.normalization: 'normalization' is no choice that a condition can name here",
        ),
        ("{units: {normalization: [none]}}", r"when.units: 'units' is no choice that a condition can name"),
        ("{dropout: {normalisation: [none]}}", r"when.dropout.normalisation: .*; did you mean 'normalization'\?"),
        ("{dropout: {dropout: [0.0]}}", r"when.dropout.dropout: 'dropout' is no choice"),
    ],
)
def test_a_condition_on_what_is_no_choice_is_refused(when, message):
    with pytest.raises(ConfigError, match=message):
        loads(f"version: 1\nname: x\ndata: {{name: jets-hlf}}\nspace: {{blocks: [{{type: mlp, when: {when}}}]}}", "f")


def test_a_block_of_learned_widths_needs_learned_widths():
    with pytest.raises(
        ConfigError, match=r"blocks.0: 'lut_dense' learns its widths, and quantization.mode is fixed; set"
    ):
        loads(
            "version: 1\nname: x\ndata: {name: jets-hlf}\nspace: {blocks: [{type: lut_dense}], quantization: fixed}",
            "f",
        )


@pytest.mark.parametrize("asked", ["search: {objectives: [accuracy, ebops]}", "search: {constraints: {bops: '<= 9'}}"])
def test_bit_operations_of_tables_are_not_asked_for(asked):
    text = "version: 1\nname: x\ndata: {name: jets-hlf}\nspace: {blocks: [{type: lut_dense}]}\n"
    with pytest.raises(
        ConfigError, match=r"blocks.0: 'lut_dense' is made of tables, which multiply nothing, and e?bops is"
    ):
        loads(text + asked, "f")


@pytest.mark.parametrize("choices", ["[sum]", "[mean, sum]"])
def test_sums_over_particles_that_hls_cannot_have_are_refused_before_the_search(choices):
    text = "version: 1\nname: x\ndata: {name: jets-constituents}\nfirmware: {hls: {}}\nspace: {blocks: [{type: deepsets"
    with pytest.raises(
        ConfigError, match=r"blocks.0: 'deepsets' cannot become HLS: hls4ml sums over no axis, and aggreg"
    ):
        loads(f"{text}, aggregation: {choices}}}]}}", "f")
    loads(f"{text}, aggregation: [mean, max]}}]}}", "f")


@pytest.mark.parametrize("name", [name for name, block in BLOCKS.items() if block.no_hls])
def test_what_hls_cannot_have_is_refused_before_the_search(name):
    given_ = ", ".join(f"{key}: {value}" for key, value in SMALL[name].items()).replace("'", "")
    text = f"version: 1\nname: x\ndata: {{name: jets-hlf}}\nspace: {{blocks: [{{type: {name}, {given_}}}]}}\n"
    with pytest.raises(ConfigError, match=rf"space.blocks.0: '{name}' cannot become HLS: .*; leave firmware.hls out"):
        loads(f"{text}firmware: {{hls: {{backend: vitis}}}}", "f")


def test_numbers_and_training_are_chosen_too():
    raw = {"version": 1, "name": "x", "data": {"name": "jets-hlf"}, "space": {
        "blocks": [{"type": "mlp", "units": 4, "depth": 1}],
        "optimizer": {"batch_size": [64, 128], "weight_decay": [0.0, 0.01], "schedule": ["constant", "cosine"]},
        "quantization": {"mode": "fixed", "total_bits": [4, 6], "granularity": ["tensor", "channel"], "io_bits": [6, 8],
                         "integer_bits": [1, "auto"]}}}  # fmt: skip
    found = Space(Experiment.model_validate(raw).space, (21,), 3)
    seen = [drawn(found, seed) for seed in range(60)]
    for name, values in (
        ("batch_size", {64, 128}),
        ("weight_decay", {None, 0.01}),
        ("schedule", {"constant", "cosine"}),
    ):
        assert {getattr(one, name) for one in seen} == values
    assert {one.numbers.io_bits for one in seen} == {6, 8} and {one.numbers.integer_bits for one in seen} == {1, "auto"}
    plain = drawn(space({"type": "mlp"}, shape=(21,)), 0).model_dump(mode="json")
    assert not {"batch_size", "weight_decay", "schedule"} & set(plain)  # keys of older runs stay
    assert "io_bits" not in plain["numbers"]
    found = space({"type": "mlp"}, shape=(21,), io_bits=[4, 9])
    assert {drawn(found, seed).numbers.io_bits for seed in range(30)} == {4, 9}
    found = space({"type": "mlp"}, shape=(21,), bits0=[2, 3], io_bits=[4, 9], when={"io_bits": {"bits0": [3]}})
    seen = {(one.numbers.bits0, one.numbers.io_bits) for one in (drawn(found, seed) for seed in range(40))}
    assert seen == {(2, None), (3, 4), (3, 9)}


def test_a_baseline_may_have_any_blocks():
    text = """
version: 1
name: x
data: {name: jets-hlf}
space: {blocks: [{type: window, start: [0, 2], length: [4, 6]}, {type: mlp, depth: 1, units: [2, 4]}]}
search:
  baselines: [{blocks: [{type: window, start: 2, length: 4}, {type: mlp, units: [4]}], learning_rate: 1.0e-3}]
"""
    experiment = loads(text, "f")
    found = Space(experiment.space, (20,), 3)
    (genotype,) = found.baselines(experiment.search.baselines)
    assert parse(genotype).describe() == "20-[2:6]-4-3 relu, hgq"
    assert found.params_of(genotype) == {"block0.start": 2, "block0.length": 4, "block1.units.0": 4}
    with pytest.raises(ConfigError, match=r"baselines.0: needs units, for an mlp, or blocks, and not both"):
        loads(text.replace("learning_rate: 1.0e-3", "units: [3]"), "f")
    with pytest.raises(ConfigError, match=r"baselines.0.dropout: belongs into blocks here, to the block that has it"):
        loads(text.replace("learning_rate: 1.0e-3", "dropout: 0.1"), "f")


def test_every_network_of_a_space_is_found_again_whichever_place_was_skipped():
    wide, narrow = ({"type": "mlp", "depth": 1, "units": units} for units in ([2, 3], [4, 5]))
    found = space({"one_of": [wide, {"type": "skip"}]}, {"one_of": [narrow, {"type": "skip"}]}, shape=(21,))
    assert {drawn(found, seed).describe() for seed in range(60)} >= {"21-2-3 relu, hgq", "21-5-3 relu, hgq"}
    mixtures = space({"type": "attention", "kind": "linformer", "projection": [2, 9]}, shape=(7, 3))
    assert {drawn(mixtures, seed).blocks[0].kind for seed in range(20)} == {"linformer", "multi_head"}


def test_a_baseline_takes_what_the_space_lists_first_and_lies_in_it():
    text = """
version: 1
name: x
data: {name: jets-hlf}
space:
  blocks: [{type: mlp, depth: 1, units: 4}]
  optimizer: {batch_size: [256, 64], schedule: [cosine, constant], weight_decay: [0.01, 0.0]}
  quantization: {mode: fixed, total_bits: [8, 6], integer_bits: [auto, 1], granularity: [weight, channel]}
search: {baselines: [{units: [4]}]}
"""
    experiment = loads(text, "f")
    found = Space(experiment.space, (20,), 3)
    (genotype,) = found.baselines(experiment.search.baselines)
    one = parse(genotype)
    assert (one.batch_size, one.schedule, one.weight_decay) == (256, "cosine", 0.01)
    assert (one.numbers.total_bits, one.numbers.integer_bits, one.numbers.granularity) == (8, "auto", "weight")
    assert found.params_of(genotype)["batch_size"] == 256
    with pytest.raises(ConfigError, match=r"batch_size = None lies outside the space \(8 to 99\); widen the space, or"):
        ranged = loads(text.replace("[256, 64]", "[8, 99, lin]"), "f")
        Space(ranged.space, (20,), 3).params_of({**genotype, "batch_size": None})
    bad = loads(text.replace("{units: [4]}", "{units: [4], total_bits: 4}").replace("[auto, 1]", "6"), "f")
    with pytest.raises(ConfigError, match=r"search.baselines: .* is no network: .*integer_bits"):
        Space(bad.space, (20,), 3).baselines(bad.search.baselines)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ("[{type: mlp, units: [0]}]", r"baselines.0.blocks.0.units.0: must be >= 1; got 0"),
        ("[{type: mlp, units: ['4']}]", r"baselines.0.blocks.0.units.0: must be a whole number; got '4'"),
        (
            "[{type: conv1d, filters: [4, 8], kernel: [3], stride: [1], pool: [1]}]",
            r"baselines.0.blocks.0: needs one value a layer in each, and has {'filters': 2, 'kernel': 1",
        ),
        (
            "[{type: lut_dense, units: [4]}]",
            r"baselines.0.blocks.0: 'lut_dense' learns its widths, and quantization.mode",
        ),
    ],
)
def test_blocks_of_a_baseline_are_checked_when_the_file_is_read(blocks, message):
    text = "version: 1\nname: x\ndata: {name: jets-hlf}\nspace: {quantization: fixed}\n"
    text += f"search: {{baselines: [{{blocks: {blocks}}}]}}"
    with pytest.raises(ConfigError, match=message):
        loads(text, "f")


def test_blocks_of_a_baseline_must_suit_the_rows():
    text = "version: 1\nname: x\ndata: {name: jets-hlf}\nsearch: {baselines: [{blocks: [{type: gru, units: [4]}]}]}"
    experiment = loads(text, "f")
    with pytest.raises(ConfigError, match=r"search.baselines: block 0, gru, reads \(length, features\), and gets"):
        Space(experiment.space, (20,), 3).baselines(experiment.search.baselines)


def test_a_baseline_of_other_blocks_lies_outside():
    found = space({"type": "residual"}, shape=(21,))
    other = Architecture(input_shape=(21,), n_outputs=3, blocks=({"type": "mlp", "units": (4,)},), numbers=HgqNumbers())
    with pytest.raises(ConfigError, match=r"21-4-3 relu, hgq: the space has no network of the blocks mlp"):
        found.params_of(other.model_dump(mode="json"))


# A builder of the user's own


def broken(x, name):
    return 3


@pytest.mark.parametrize(
    ("custom", "message"),
    [
        (
            {"builder": "nowhere:build"},
            r"cannot import 'nowhere' for the builder of a custom block, 'nowhere:build': Mod",
        ),
        ({"builder": f"{__name__}:RICH"}, r"'tests.space.test_blocks' has no function 'RICH'; it has"),
        ({"builder": BUILDER, "parameters": {"wide": 2}}, r"custom, calls .*:dense with wide, which it does not take"),
    ],
)
def test_a_builder_that_cannot_be_called_is_named(custom, message):
    with pytest.raises(ConfigError, match=message):
        space({"type": "custom", **custom}, shape=(21,))


def test_a_builder_that_returns_something_else_is_named():
    with pytest.raises(
        ConfigError, match=r"the builder '.*:broken' returned int, and its block says rank: 1; return the"
    ):
        build(drawn(space({"type": "custom", "builder": f"{__name__}:broken"}, {"type": "mlp"}, shape=(21,)), 0))


def test_a_builder_is_written_as_module_and_function():
    with pytest.raises(
        ConfigError, match=r"builder: a builder is written 'module:function', .*; got 'my module.build'"
    ):
        loads(
            "version: 1\nname: x\ndata: {name: jets-hlf}\nspace: {blocks: [{type: custom, builder: my module.build}]}",
            "f",
        )
