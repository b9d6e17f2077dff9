"""The engine does what `keras.Model.fit` does, to the last bit, and compiles once."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import blobs
from tests.train.conftest import architecture, make_engine
from weft.errors import ShapeError
from weft.space.model import build
from weft.train.fit import row_order
from weft.train.losses import loss_for


def _values(variables) -> dict[str, np.ndarray]:
    return {v.path: np.array(v.value) for v in variables}


@pytest.mark.parametrize(
    ("mode", "genes"),
    [("float", {"normalization": "batch", "dropout": 0.2}), ("hgq", {}), ("hgq", {"normalization": "batch"})],
)
def test_weights_and_states_equal_those_of_fit(mode, genes):
    import keras

    x, y = blobs(320)
    engine = make_engine(mode, **genes)
    steps = np.arange(320, dtype=np.int32).reshape(10, 32)
    control = {"learning_rate": np.full(10, 0.01, np.float32)}
    state = engine.state()
    for _ in range(2):
        state, losses = engine.epoch(state, engine.put(x, y), steps, control)
    engine.write_back(state)
    ours = _values([*engine.model.variables, *engine.optimizer.variables])

    model = build(architecture(mode, **genes), 3)
    model.compile(keras.optimizers.Adam(0.01), loss_for("auto", "classification"))
    before = _values(model.trainable_variables)
    model.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
    theirs = _values([*model.variables, *model.optimizer.variables])

    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert np.isfinite(losses).all()
    assert all(np.abs(theirs[name] - value).max() > 0 for name, value in before.items() if name.endswith("kernel"))


def test_predictions_equal_those_of_keras_for_any_number_of_rows(hgq_engine):
    x, _ = blobs(9000)
    for n in (1, 7, 9000):
        expected = hgq_engine.model.predict(x[:n], batch_size=n, verbose=0)
        np.testing.assert_array_equal(hgq_engine.predict(hgq_engine.state(), x[:n]), expected)


def test_another_shape_is_an_error_and_not_a_recompile():
    engine = make_engine("float")
    x, y = blobs(64)
    one = {"learning_rate": np.full(2, 0.01, np.float32)}
    state, _ = engine.epoch(engine.state(), engine.put(x, y), row_order(64, 32, 0, 0), one)
    with pytest.raises(TypeError, match=r"compiled with int32\[2,32\] and called with int32\[4,16\]"):
        engine.epoch(state, engine.put(x, y), row_order(64, 16, 0, 0), {"learning_rate": np.full(4, 0.01, np.float32)})


def test_beta_reaches_the_layers_and_the_loss():
    x, y = blobs(64)
    losses = {}
    for beta in (0.0, 1e-3):
        engine = make_engine("hgq")
        control = {"learning_rate": np.zeros(1, np.float32), "beta": np.full(1, beta, np.float32)}
        state, loss = engine.epoch(engine.state(), engine.put(x, y), row_order(64, 64, 0, 0), control)
        losses[beta] = float(loss[0])
        ebops = engine.ebops(state)
    assert losses[1e-3] - losses[0.0] == pytest.approx(1e-3 * ebops, rel=1e-3)


def test_row_weights_scale_the_loss():
    x, y = blobs(64)
    losses = []
    for weight in (None, np.full(64, 2.0, np.float32)):
        engine = make_engine("float")
        control = {"learning_rate": np.zeros(1, np.float32)}
        losses.append(engine.epoch(engine.state(), engine.put(x, y, weight), row_order(64, 64, 0, 0), control)[1][0])
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-6)


def test_an_optimizer_of_another_model_is_refused():
    import keras

    from weft.train.engine import _index_of

    with pytest.raises(ShapeError, match="is not among the model's own; build the model first"):
        _index_of([], keras.Variable(1.0, name="stray"))


def test_on_another_backend_the_engine_refuses():
    program = """
import weft, keras
from weft.errors import UnsupportedError
from weft.train.engine import Engine
try:
    Engine(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), keras.optimizers.Adam(), lambda y, p: p)
except UnsupportedError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "KERAS_BACKEND": "torch"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    wanted = "the compiled engine runs on Keras' JAX backend, and KERAS_BACKEND is 'torch'; set KERAS_BACKEND=jax"
    assert done.stdout.strip() == wanted, done.stderr
