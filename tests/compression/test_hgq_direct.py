"""What weft trains is what HGQ2 trains: the same seeds, β and data give the same weights and bits, difference 0.

On one side a model written by hand with HGQ2's own layers and trained by Keras' `fit`; on the other a float model that
`weft.compress` converted and `weft.fit` trained in its compiled epochs.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L

import weft
from tests.conftest import blobs
from weft.train.fit import row_order

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="weft.fit is the compiled engine of JAX")

RATE, BETA, GAMMA, BITS, EPOCHS, BATCH, SEED = 5e-3, 3e-6, 1e-7, 5, 3, 32, 4
RECIPE = {
    "recipe": "hgq", "epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE, "schedule": "constant",
    "beta": BETA, "gamma": GAMMA, "bits0": BITS, "finetune_epochs": 0,
}  # fmt: skip


def dense(layers):
    return (6,), [layers["Dense"](8, activation="relu", name="hidden"), layers["Dense"](3, name="out")]


def conv(layers):
    return (6, 4), [
        layers["Conv1D"](4, 2, activation="relu", name="conv"),
        L.Flatten(name="flat"),
        layers["Dense"](3, name="out"),
    ]


def by_hand(make) -> keras.Model:
    """Return the model in HGQ2's own layers, in HGQ2's own words."""
    import hgq.layers as hgq
    from hgq.quantizer import QuantizerConfig
    from hgq.regularizers import MonoL1

    def conf(place):
        price = MonoL1(GAMMA)
        if place == "datalane":
            return QuantizerConfig("kif", place, i0=2, f0=BITS - 2, ir=price, fr=price)
        return QuantizerConfig("kbi", place, b0=BITS, br=price)

    def layer(kind):
        def made(*args, **kwargs):
            confs = {"kq_conf": conf("weight"), "bq_conf": conf("bias"), "iq_conf": conf("datalane"), "beta0": BETA}
            return kind(*args, **kwargs, **confs)

        return made

    shape, made = make({"Dense": layer(hgq.QDense), "Conv1D": layer(hgq.QConv1D)})
    return keras.Sequential([keras.Input(shape), *made])


@pytest.mark.parametrize("make", [dense, conv])
def test_compress_and_fit_give_the_weights_and_bits_of_hgq2_under_keras(make):
    shape, layers = make({"Dense": L.Dense, "Conv1D": L.Conv1D})
    keras.utils.set_random_seed(1)
    plain = keras.Sequential([keras.Input(shape), *layers])
    x, y = blobs(256, n_in=int(np.prod(shape)))
    x = x.reshape(-1, *shape)

    ours = weft.compress(plain, RECIPE)
    theirs = by_hand(make)
    theirs.build((None, *shape))
    for layer in plain.layers:
        found = [v for v in theirs.get_layer(layer.name).weights if v.name in ("kernel", "bias")]
        for mine, other in zip(layer.weights, found, strict=True):
            other.assign(mine)
    assert len(ours.variables) == len(theirs.variables)
    before = arrays(theirs)
    for mine, other, variable in zip(arrays(ours), before, ours.variables, strict=True):
        np.testing.assert_array_equal(mine, other, err_msg=variable.path)

    weft.fit(ours, (x, y), validation=(x[:40], y[:40]), seed=SEED)
    theirs.compile(keras.optimizers.Adam(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for epoch in range(EPOCHS):
        order = row_order(len(x), BATCH, SEED, epoch).ravel()
        theirs.fit(x[order], y[order], batch_size=BATCH, epochs=1, shuffle=False, verbose=0)

    for mine, other, first, variable in zip(arrays(ours), arrays(theirs), before, ours.variables, strict=True):
        assert np.abs(mine.astype(np.float64) - other).max() == 0.0, variable.path
        if variable.path.endswith(("kernel", "/b", "/f")):
            assert (mine != first).any(), f"{variable.path} was not trained"


def arrays(model: keras.Model) -> list[np.ndarray]:
    return [np.array(variable.value) for variable in model.variables]
