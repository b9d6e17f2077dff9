"""Legal spaces: a space is refused with the place and the reason, or every network that is drawn from it is built."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from tests.space.test_blocks import space
from weft.blocks import BLOCKS
from weft.config import SpaceConfig
from weft.errors import ConfigError
from weft.space.architecture import Architecture, FloatNumbers, parse
from weft.space.model import build
from weft.space.sampling import Space

BUILDERS = {1: "flat", 2: "sequence", 3: "image"}


def flat(x, name):
    """A builder whose result no one knows before it is called."""
    import keras

    return keras.layers.Flatten(name=f"{name}_flat")(x)


def sequence(x, name):
    import keras

    return keras.layers.Reshape((-1, 1), name=f"{name}_sequence")(x)


def image(x, name):
    import keras

    return keras.layers.Reshape((-1, 1, 1), name=f"{name}_image")(x)


def few(most: int, least: int = 1) -> st.SearchStrategy:
    """A choice of whole numbers: one, some, or a range, with steps too."""
    some = st.lists(st.integers(least, most), min_size=1, max_size=3, unique=True)
    bounds = st.tuples(st.integers(least, most), st.integers(1, most), st.integers(1, 3))
    ranges = bounds.map(lambda b: {"low": b[0], "high": b[0] + b[1], "step": min(b[2], b[1])})
    return st.one_of(st.integers(least, most), some, ranges)


def fields(draw, kind: str) -> dict:
    """Return random choices of a block of a type."""
    layers = {"depth": draw(few(3)), "units": draw(few(4))}
    convolution = {"depth": draw(few(3)), "filters": draw(few(3)), "kernel": draw(few(5)), "pool": draw(few(4))}
    match kind:
        case "mlp" | "gru" | "lut_dense" | "residual":
            return layers
        case "interaction":
            return layers | {"normalization": ["none", "batch"]}
        case "conv1d" | "conv2d" | "separable_conv":
            return convolution | {"stride": draw(few(4))}
        case "conv_attention":
            when = draw(st.sampled_from([{}, {"pool": {"activation": ["relu"]}}]))
            chosen = {"filters": draw(few(3)), "pool": draw(few(4)), "hidden": 1, "when": when}
            return chosen | {"activation": ["relu", "none"]}
        case "attention":
            return {"kind": ["linformer", "multi_head"], "projection": draw(few(4)), "heads": 1, "key_dim": 1}
        case "deepsets":
            phi = {"phi_depth": draw(few(2)), "phi": draw(few(4)), "rho_depth": draw(few(2, 0)), "rho": draw(few(4))}
            return phi | {"aggregation": ["sum", "mean", "max"]}
        case "mlp_mixer":
            return {"depth": draw(few(2)), "places": draw(few(3)), "features": draw(few(3))}
        case "particles":
            sets = draw(st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 3), min_size=1, unique=True)))
            when = {"features": {"count": [draw(st.integers(1, 6))]}} if draw(st.booleans()) else {}
            count = draw(few(6)) if not when else [when["features"]["count"][0], 7]
            return {"count": count, "features": ["all", *sets], "sets": sets, "when": when}
        case "reshape":
            return {"shape": draw(st.lists(st.integers(1, 8), min_size=1, max_size=3))}
        case "window":
            return {"start": draw(few(5, 0)), "length": draw(few(6)), "channels": draw(st.integers(1, 3))}
        case "custom":
            rank = draw(st.integers(1, 3))
            return {"builder": f"{__name__}:{BUILDERS[rank]}", "rank": rank}
    return {}


@st.composite
def places(draw) -> dict:
    """A block, or one of two."""
    kinds = draw(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=2, unique=True))
    blocks = [{"type": kind, **fields(draw, kind)} for kind in kinds]
    return blocks[0] if len(blocks) == 1 else {"one_of": blocks}


shapes = st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple)
stacks = st.lists(places(), min_size=1, max_size=3)


def legal(blocks: list[dict], shape: tuple[int, ...]) -> Space | None:
    """Return the space, or None if it is refused as it should be."""
    try:
        return space(*blocks, shape=shape)
    except ConfigError as error:
        text = str(error)
        assert "space.blocks: no sequence of these blocks suits rows of shape" in text and "block " in text
        return None


def drawn(found: Space, seed: int) -> Architecture:
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    genotype = found.sample(study.ask())
    assert found.key(found.sample(FixedTrial(found.params_of(genotype)))) == found.key(genotype)
    return parse(genotype)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(stacks, shapes, st.integers(0, 2**31))
def test_a_space_is_refused_or_each_block_that_is_drawn_can_read_what_it_gets(blocks, shape, seed):
    found = legal(blocks, shape)
    if found is None:
        return
    rows = shape
    for genes in drawn(found, seed).blocks:
        assert rows is None or len(rows) in BLOCKS[genes.type].takes
        assert rows is None or (genes.objection(rows) is None and genes.fitted(rows) == genes)
        rows = None if rows is None else genes.output_shape(rows)
        assert rows is None or all(side >= 1 for side in rows)


@settings(max_examples=100)
@given(st.data(), shapes, st.integers(0, 2**31))
def test_a_block_gives_no_shape_but_those_it_names(data, shape, seed):
    kind = data.draw(st.sampled_from([name for name in sorted(BLOCKS) if len(shape) in BLOCKS[name].takes]))
    found = legal([{"type": kind, **fields(data.draw, kind)}], shape)
    if found is None or kind == "custom":
        return
    named = set(found.config.blocks[0].shapes(shape))
    behind = [genes.output_shape(shape) for genes in drawn(found, seed).blocks] or [shape]
    assert behind[0] in named


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(stacks, shapes, st.integers(0, 2**31))
def test_a_space_is_refused_or_every_network_that_is_drawn_is_built(blocks, shape, seed):
    found = legal(blocks, shape)
    if found is None:
        return
    architecture = drawn(found, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = any(genes.type == "lut_dense" for genes in architecture.blocks)
        model = build(architecture if plain else architecture.with_numbers(FloatNumbers()))
    assert model.output_shape == (None, 3)


def test_a_builder_that_does_not_take_its_parameters_is_named():
    with pytest.raises(
        ConfigError, match=r"space\.blocks: block 0, custom, calls .*:flat with width, which it does not take"
    ):
        space({"type": "custom", "builder": f"{__name__}:flat", "parameters": {"width": [4]}, "rank": 1}, shape=(4,))


def test_conditions_hold_in_every_section_of_a_space():
    config = SpaceConfig.model_validate(
        {
            "blocks": [{"type": "mlp", "depth": 1, "units": 4}],
            "quantization": {
                "mode": "fixed",
                "total_bits": [4, 8],
                "granularity": ["channel", "weight"],
                "when": {"granularity": {"total_bits": [4]}},
            },
            "optimizer": {
                "batch_size": [64, 128],
                "weight_decay": [0.01, 0.1],
                "learning_rate": 1e-3,
                "when": {"weight_decay": {"batch_size": [128]}},
            },
        }
    )
    found = Space(config, (4,), 2)
    networks = [drawn(found, seed) for seed in range(40)]
    bits = {(one.numbers.total_bits, one.numbers.granularity) for one in networks}
    assert bits == {(4, "channel"), (4, "weight"), (8, "tensor")}
    assert {(one.batch_size, one.weight_decay) for one in networks} == {(64, None), (128, 0.01), (128, 0.1)}
