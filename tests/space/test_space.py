"""Architectures: identity, sampling, building, and weights that travel between number representations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import blobs
from weft.blocks import MlpGenes
from weft.config import Experiment
from weft.errors import ConfigError, ShapeError
from weft.space.architecture import Architecture, FixedNumbers, FloatNumbers, HgqNumbers, parse
from weft.space.model import build, export_weights, import_weights
from weft.space.sampling import Space

genes = st.builds(
    MlpGenes,
    units=st.lists(st.integers(1, 64), min_size=1, max_size=5).map(tuple),
    activation=st.sampled_from(["relu", "tanh", "sigmoid", "leaky_relu", "none"]),
    normalization=st.sampled_from(["none", "batch"]),
    dropout=st.sampled_from([0.0, 0.1]),
    l1=st.sampled_from([0.0, 1e-5]),
)
numbers = st.one_of(
    st.builds(FloatNumbers),
    st.builds(
        FixedNumbers, total_bits=st.integers(2, 16), granularity=st.sampled_from(["tensor", "channel", "weight"])
    ),
    st.builds(HgqNumbers, beta=st.floats(1e-8, 1e-3), bits0=st.integers(2, 8)),
)
architectures = st.builds(
    Architecture,
    input_shape=st.just((16,)),
    n_outputs=st.integers(1, 10),
    blocks=st.tuples(genes),
    numbers=numbers,
    learning_rate=st.floats(1e-5, 1e-1),
)


def space(blocks: dict, quantization: dict | None = None, **optimizer) -> Space:
    raw = {"version": 1, "name": "x", "data": {"name": "jets-hlf"}, "space": {"blocks": [{"type": "mlp", **blocks}]}}
    raw["space"] |= {"quantization": quantization or {"mode": "hgq"}, "optimizer": optimizer}
    return Space(Experiment.model_validate(raw).space, (16,), 5)


@given(architectures)
def test_an_architecture_survives_json_with_its_key_and_its_hash(architecture):
    again = parse(json.loads(json.dumps(architecture.model_dump(mode="json"))))
    assert again == architecture
    assert again.key == architecture.key
    assert hash(again) == hash(architecture)


@given(architectures, architectures)
def test_only_equal_architectures_share_a_key(one, two):
    assert (one.key == two.key) == (one == two)


def test_a_description_names_sizes_and_choices():
    block = MlpGenes(units=(64, 32), normalization="batch", dropout=0.1, l1=1e-6)
    text = Architecture(input_shape=(8, 3), n_outputs=5, blocks=(block,)).describe()
    assert text == "24-64-32-5 relu batchnorm dropout 0.1 L1 1e-06, hgq"


WIDE = {
    "depth": [1, 2, 3],
    "units": [[16, 32], [8, 64], [4]],
    "activation": ["relu", "tanh"],
    "normalization": ["none", "batch"],
    "dropout": [0.0, 0.1],
    "l1": [0.0, 1e-6],
}


@settings(max_examples=40)
@given(st.integers(0, 2**31))
def test_every_sample_lies_in_the_space_and_comes_back_from_its_parameters(seed):
    import optuna

    found = space(WIDE, {"mode": "hgq", "beta": [1e-6, 1e-4, "log"]}, learning_rate=[1e-3, 2e-3])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    genotype = found.sample(study.ask())
    block = parse(genotype).blocks[0]
    allowed = ([16, 32], [8, 64], [4])
    assert 1 <= len(block.units) <= 3
    assert all(width in choices for width, choices in zip(block.units, allowed, strict=False))
    again = found.sample(optuna.trial.FixedTrial(found.params_of(genotype)))
    assert found.key(again) == found.key(genotype)


def test_every_trial_asks_for_every_parameter_so_that_crossover_sees_them_all():
    import optuna

    found = space(WIDE)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = []
    for _ in range(6):
        trial = study.ask()
        found.sample(trial)
        asked.append(frozenset(trial.params))
    assert len(set(asked)) == 1


def test_choices_without_effect_do_not_make_another_genotype():
    import optuna

    found = space(WIDE)
    common = {"block0.depth": 1, "block0.units.0": 16, "block0.activation": "relu", "block0.normalization": "none"}
    common |= {"block0.dropout": 0.0, "block0.l1": 0.0}
    keys = {found.key(found.sample(optuna.trial.FixedTrial({**common, "block0.units.1": width}))) for width in (8, 64)}
    assert len(keys) == 1


def test_a_baseline_outside_the_space_is_named():
    found = space(WIDE)
    genotype = Architecture(input_shape=(16,), n_outputs=5, blocks=(MlpGenes(units=(17,)),)).model_dump(mode="json")
    with pytest.raises(ConfigError, match=r"16-17-5 relu, hgq: block0.units.0 = 17 lies outside .*16, 32"):
        found.params_of(genotype)


NUMBERS = [FloatNumbers(), FixedNumbers(), FixedNumbers(integer_bits=3, granularity="weight"), HgqNumbers()]


@pytest.mark.parametrize("representation", NUMBERS, ids=lambda n: f"{n.mode}-{getattr(n, 'integer_bits', '')}")
@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky_relu"])
def test_a_model_ends_in_logits_and_flattens_its_input(representation, activation):
    block = MlpGenes(units=(4, 3), activation=activation, dropout=0.1)
    model = build(Architecture(input_shape=(2, 3), n_outputs=5, blocks=(block,), numbers=representation))
    assert model.input_shape == (None, 2, 3)
    assert model.output_shape == (None, 5)
    assert model.layers[-1].name == "output"
    assert getattr(model.layers[-1].activation, "__name__", "") == "linear"


def test_equal_seeds_build_equal_models():
    architecture = Architecture(input_shape=(6,), n_outputs=3, blocks=(MlpGenes(units=(4,)),))
    one, two, three = (export_weights(build(architecture, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one["block0_dense0/kernel"], two["block0_dense0/kernel"])
    assert (one["block0_dense0/kernel"] != three["block0_dense0/kernel"]).any()


@pytest.mark.parametrize(
    ("activation", "normalization"),
    [
        ("relu", "batch"),
        ("tanh", "none"),
        *(
            pytest.param(activation, normalization, marks=pytest.mark.slow)
            for activation in ("relu", "tanh", "sigmoid", "leaky_relu", "none")
            for normalization in ("none", "batch")
        ),
    ],
)
def test_a_wide_fixed_point_model_computes_what_the_float_model_does(activation, normalization):
    block = MlpGenes(units=(5, 4), activation=activation, normalization=normalization)
    architecture = Architecture(input_shape=(6,), n_outputs=3, blocks=(block,), numbers=FloatNumbers())
    model = build(architecture)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if layer.name.endswith("_bn"):
            layer.gamma.assign(rng.uniform(0.5, 2.0, layer.gamma.shape))
            layer.moving_variance.assign(rng.uniform(0.1, 2.0, layer.gamma.shape))
            layer.moving_mean.assign(rng.normal(0.0, 1.0, layer.gamma.shape))
    wide = build(architecture.with_numbers(FixedNumbers(total_bits=20, io_bits=20, granularity="channel")))
    import_weights(wide, export_weights(model))
    from weft.quantize.calibrate import calibrate

    x, _ = blobs(200)
    calibrate(wide, x)
    np.testing.assert_allclose(wide.predict(x, verbose=0), model.predict(x, verbose=0), atol=2e-3)


def test_missing_and_misshapen_weights_are_named():
    architecture = Architecture(input_shape=(6,), n_outputs=3, blocks=(MlpGenes(units=(4,)),))
    model = build(architecture)
    weights = export_weights(model)
    with pytest.raises(ShapeError, match="no weight for 'output/bias' among those given"):
        import_weights(model, {k: v for k, v in weights.items() if k != "output/bias"})
    with pytest.raises(ShapeError, match=r"weight 'output/bias' has shape \(2,\), the model wants \(3,\)"):
        import_weights(model, {**weights, "output/bias": np.zeros(2)})
