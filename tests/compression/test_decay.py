"""p-norm weight decay against the paper's formula in NumPy, its limits, and every way to train with it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weft.compression.decay import PNormAdam, PNormSGD
from weft.errors import ConfigError, NoEffectWarning

pytestmark = pytest.mark.backends

values = st.floats(-4, 4, width=32, allow_subnormal=False)
kernels = arrays(np.float32, (2, 3), elements=values)


class Sgd:
    """SGD with momentum, in float64, as in its text book."""

    def __init__(self, momentum: float) -> None:
        self.momentum, self.velocity = momentum, 0.0

    def __call__(self, w: np.ndarray, g: np.ndarray, rate: float) -> np.ndarray:
        self.velocity = self.momentum * self.velocity - rate * g
        return w + self.velocity


class Adam:
    """Adam as in its paper, with Keras' place of epsilon."""

    def __init__(self) -> None:
        self.m = self.v = 0.0
        self.t = 0

    def __call__(self, w: np.ndarray, g: np.ndarray, rate: float) -> np.ndarray:
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        return w - rate * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t) * self.m / (np.sqrt(self.v) + 1e-7)


def decay(after: np.ndarray, before: np.ndarray, p: float, strength: float) -> np.ndarray:
    """The paper's update, weight by weight; |0|^(p-2) is infinite for p < 2."""
    result = np.empty_like(after)
    for i in np.ndindex(*after.shape):
        size = abs(before[i])
        if size == 0 and p < 2:
            result[i] = 0.0
        else:
            result[i] = after[i] / (1 + p * strength * size ** (p - 2.0))
    return result


def steps(optimizer, w: np.ndarray, gradients: list[np.ndarray], name: str = "layer/kernel") -> np.ndarray:
    variable = keras.Variable(w, name="kernel")
    variable._path = name
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    return keras.ops.convert_to_numpy(variable)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
@settings(max_examples=20)
@given(w=kernels, gs=st.lists(kernels, min_size=1, max_size=3), p=st.sampled_from([0.5, 0.8, 1.0, 1.5, 2.0, 3.0]))
def test_every_step_agrees_with_the_reference(kind, w, gs, p):
    rate, strength = 0.03, 0.4
    if kind == "adam":
        optimizer, reference = PNormAdam(rate, p=p, decay=strength), Adam()
    else:
        optimizer, reference = PNormSGD(rate, momentum=0.9, p=p, decay=strength), Sgd(0.9)
    expected = w.astype(np.float64)
    for g in gs:
        expected = decay(reference(expected, g.astype(np.float64), rate), expected, p, rate * strength)
    found = steps(optimizer, w, gs)
    sure = np.abs(expected) > 1e-4  # near zero and p < 2 rounding of float32 grows with each step
    np.testing.assert_allclose(found[sure], expected[sure], rtol=2e-3)
    assert (np.abs(found[~sure]) < 1e-3).all()


def test_p_2_is_decoupled_l2():
    w, g = np.array([[1.0, -2.0, 0.0]], np.float32), np.array([[0.5, 0.0, -1.0]], np.float32)
    found = steps(PNormSGD(0.1, p=2, decay=0.3), w, [g])
    np.testing.assert_allclose(found, (w - 0.1 * g) / (1 + 2 * 0.1 * 0.3), rtol=1e-6)


def test_without_gradient_p_1_takes_the_same_amount_from_every_weight_until_it_is_gone():
    w = np.array([[1.0, -0.5, 0.01]], np.float32)
    found = steps(PNormSGD(0.004, p=1, decay=1.0), w, [np.zeros_like(w)] * 100)
    assert abs(found[0, 0]) == pytest.approx(0.6, abs=0.005)
    assert abs(found[0, 1]) == pytest.approx(0.1, abs=0.01)
    assert abs(found[0, 2]) < 1e-20


@pytest.mark.parametrize("p", [0.5, 1.0, 1.9])
@pytest.mark.parametrize("optimizer", [PNormAdam, PNormSGD])
def test_a_weight_that_is_zero_stays_zero_whatever_its_gradient(optimizer, p):
    found = steps(optimizer(0.1, p=p, decay=0.1), np.zeros((1, 2), np.float32), [np.ones((1, 2), np.float32)] * 3)
    np.testing.assert_array_equal(found, 0.0)


@pytest.mark.parametrize(("rate", "strength"), [(0.0, 0.1), (0.1, 0.0)])
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_no_learning_rate_or_no_strength_is_no_decay_even_at_zero(rate, strength, p):
    w = np.array([[0.0, 1e-30, 3.0]], np.float32)
    found = steps(PNormSGD(rate, p=p, decay=strength), w, [np.zeros_like(w)])
    np.testing.assert_array_equal(found, w)


def test_only_what_matches_decays():
    w, g = np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)
    with pytest.warns(NoEffectWarning, match=r"no trainable variable matches decayed=\['\*kernel'\].*layer/bias"):
        np.testing.assert_array_equal(steps(PNormAdam(0.1, decay=1.0), w, [g], "layer/bias"), w)
    assert (steps(PNormAdam(0.1, decay=1.0, decayed=["*bias"]), w, [g], "layer/bias") < w).all()


def _model() -> keras.Model:
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(2, name="dense", bias_initializer="ones")(inputs))


@pytest.mark.parametrize("kind", [PNormAdam, PNormSGD])
def test_fit_trains_with_it_and_takes_the_same_steps(kind):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype(np.float32), rng.normal(size=(8, 2)).astype(np.float32)
    model = _model()
    w, b = (v.copy() for v in model.get_weights())
    model.compile(kind(0.01, p=1.0, decay=0.5), "mse")
    model.fit(x, y, batch_size=8, epochs=1, verbose=0)
    error = (x @ w + b - y) / y.size * 2
    step = (lambda v, g: v - 0.01 * g) if kind is PNormSGD else (lambda v, g: v - 0.01 * g / (np.abs(g) + 1e-7))
    np.testing.assert_allclose(model.get_weights()[0], decay(step(w, x.T @ error), w, 1.0, 0.005), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[1], step(b, error.sum(0)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", [PNormAdam, PNormSGD])
def test_it_survives_serialisation_and_saving(kind, tmp_path):
    optimizer = kind(0.02, p=0.8, decay=0.3, decayed=["dense*"])
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is kind
    assert copy.get_config() == optimizer.get_config()
    model = _model()
    model.compile(optimizer, "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == optimizer.get_config()
    for mine, theirs in zip(optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(mine), keras.ops.convert_to_numpy(theirs))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 0}, r"p-norm weight decay needs p > 0; got 0"),
        ({"p": -1.5}, r"needs p > 0; got -1.5"),
        ({"decay": -0.1}, r"needs decay >= 0; got -0.1"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        PNormAdam(**arguments)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="the compiled engine runs on JAX")
@pytest.mark.parametrize("kind", [PNormAdam, PNormSGD])
def test_the_compiled_engine_gives_the_weights_of_fit(kind):
    from weft.train.engine import Engine

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(64, 3)).astype(np.float32), rng.normal(size=(64, 2)).astype(np.float32)
    ours, theirs = _model(), _model()
    theirs.set_weights(ours.get_weights())
    engine = Engine(ours, kind(0.01, p=0.8, decay=0.1), keras.losses.MeanSquaredError())
    order = np.arange(64, dtype=np.int32).reshape(4, 16)
    control = {"learning_rate": np.full(4, 0.01, np.float32)}
    state, _ = engine.epoch(engine.state(), engine.put(x, y), order, control)
    engine.write_back(state)
    theirs.compile(kind(0.01, p=0.8, decay=0.1), keras.losses.MeanSquaredError())
    theirs.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
