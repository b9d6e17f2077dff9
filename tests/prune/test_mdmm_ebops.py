"""MDMM with a target of EBOPs: what a weight costs in each layer type, against loops and HGQ2's count, and training."""

from __future__ import annotations

from itertools import product

import keras
import numpy as np
import pytest

from tests.conftest import blobs
from weft.compression.api import compress
from weft.compression.callback import StagesCallback
from weft.errors import UnsupportedError
from weft.prune.mdmm import Mdmm
from weft.quantize.kernels import pruned_kernels
from weft.quantize.observe import observe
from weft.quantize.pruned import TRAIN

pytestmark = pytest.mark.backends

numpy = keras.ops.convert_to_numpy
kl = keras.layers

LAYERS = {
    "dense": (lambda: kl.Dense(5, use_bias=False), (6,)),
    "dense, several positions": (lambda: kl.Dense(5, use_bias=False), (3, 6)),
    "einsum": (lambda: kl.EinsumDense("bpc,pcd->bpd", (3, 4)), (3, 5)),
    "conv1d": (lambda: kl.Conv1D(3, 3, strides=2, padding="same", use_bias=False), (7, 2)),
    "conv1d, causal": (lambda: kl.Conv1D(3, 2, padding="causal", use_bias=False), (5, 2)),
    "conv2d": (lambda: kl.Conv2D(3, (2, 3), padding="valid", use_bias=False), (4, 5, 2)),
    "conv2d, groups": (lambda: kl.Conv2D(4, 2, groups=2, padding="same", use_bias=False), (3, 3, 4)),
    "with normalisation": (None, (6,)),
}


def network(name: str, recipe: dict) -> keras.Model:
    keras.utils.set_random_seed(3)
    make, shape = LAYERS[name]
    x = keras.Input(shape)
    if make is None:
        y = kl.BatchNormalization(name="norm")(kl.Dense(5, use_bias=False, name="layer")(x))
    else:
        layer = make()
        layer.name = "layer"
        y = layer(x)
    return compress(keras.Model(x, y), recipe)


def one_step(model: keras.Model, x: np.ndarray) -> float:
    """Let the train stage see a batch; return HGQ2's EBOPs of the layer."""
    for kernel in pruned_kernels(model):
        kernel.pruned.stage.assign(TRAIN)
    observe(model)
    model(x, training=True)
    return float(numpy(pruned_kernels(model)[0].layer.ebops))


@pytest.mark.parametrize("name", LAYERS)
def test_what_all_weights_cost_is_what_hgq2_counts(name):
    prune = {"method": "mdmm", "metric": "ebops", "count": 10**6, "epsilon": 1e-6}
    model = network(name, {"recipe": "hgq", "prune": prune})
    kernel = pruned_kernels(model)[0]
    rng = np.random.default_rng(0)
    for quantizer, low in ((kernel.pruned.inside, 1), (kernel.layer.iq.quantizer, 3)):  # widths all different
        for variable in quantizer.trainable_variables:
            if variable.path.endswith(("/b", "/f")):
                variable.assign(rng.integers(low, 8, variable.shape).astype(np.float32))
    shape = (16, *LAYERS[name][1])
    counted = one_step(model, rng.normal(size=shape).astype(np.float32))
    bias = 0.0
    if getattr(kernel.layer, "bq", None) is not None:
        width = np.mean(numpy(kernel.layer.bq.bits_(kernel.layer.bias.shape)))
        bias = float(width) * np.prod(kernel.layer.compute_output_shape((1, *shape[1:])))
    cost = numpy(kernel.pruned.slots["cost"])
    assert cost.min() >= 0 and len(np.unique(cost)) > 3
    assert cost.sum() + bias == pytest.approx(counted, rel=1e-5, abs=1.0)  # HGQ2 keeps whole numbers


def test_each_weight_of_a_convolution_costs_the_widths_that_it_meets():
    prune = {"method": "mdmm", "metric": "ebops", "count": 10**6}
    model = network("conv2d, groups", {"recipe": "hgq", "prune": prune})
    kernel = pruned_kernels(model)[0]
    rng = np.random.default_rng(1)
    for variable in kernel.layer.iq.quantizer.trainable_variables:
        variable.assign(rng.integers(1, 8, variable.shape).astype(np.float32))
    one_step(model, rng.normal(size=(4, 3, 3, 4)).astype(np.float32))
    widths = numpy(kernel.layer.iq.bits_((1, 3, 3, 4)))[0]
    inside = kernel.pruned.inside
    own = np.broadcast_to(numpy(inside.bits), (2, 2, 2, 4))
    expected = np.zeros((2, 2, 2, 4))
    for i, j, c, k in product(range(2), range(2), range(2), range(4)):
        channel = (k // 2) * 2 + c
        met = sum(widths[y + i, x + j, channel] for y in range(3) for x in range(3) if y + i < 3 and x + j < 3)
        expected[i, j, c, k] = own[i, j, c, k] * met
    np.testing.assert_allclose(numpy(kernel.pruned.slots["cost"]), numpy(kernel.pruned.matrix(expected)), rtol=1e-6)


@pytest.mark.parametrize(("constraint", "count"), [("equal", 700), ("less", 10**5)])
def test_training_meets_the_target(constraint, count):
    keras.utils.set_random_seed(2)
    hidden = kl.Dense(12, activation="relu", name="hidden")
    plain = keras.Sequential([keras.Input((6,)), hidden, kl.Dense(3, name="out")])
    prune = {
        "method": "mdmm", "metric": "ebops", "count": count, "constraint": constraint, "only": ["hidden"],
        "constraint_lr": 0.1, "epsilon": 0.1, "damping": 10.0,
    }  # fmt: skip
    recipe = {"recipe": "fixed", "epochs": 80, "precisions": [{"total_bits": 6}], "io_bits": 6, "prune": prune}
    x, y = blobs(128)
    model = compress(plain, recipe, x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    callback = StagesCallback(recipe)
    model.fit(x, y, batch_size=16, epochs=callback.epochs, verbose=0, callbacks=[callback])
    kernel = pruned_kernels(model)[0]
    cost = numpy(kernel.pruned.slots["cost"])
    mask = numpy(kernel.pruned.matrix(keras.ops.convert_to_tensor(kernel.pruned.mask)))
    whole = 6 * 12 * 5 * 5  # of 6 bits, one is the sign
    assert cost.sum() == whole
    if constraint == "equal":
        assert (cost * mask).sum() == pytest.approx(count, rel=0.1)
    else:  # met from the beginning
        assert (cost * mask).sum() > 0.8 * whole


def test_a_layer_without_widths_is_refused():
    method = Mdmm(metric="ebops", count=10)
    assert method.wants_batches and method.wants_cost and not Mdmm().wants_batches
    from weft.config.numbers import FloatNumbers
    from weft.quantize.convert import convert

    keras.utils.set_random_seed(3)
    plain = keras.Sequential([keras.Input((6,)), kl.Dense(3, name="out")])
    with pytest.raises(UnsupportedError, match=r"has to know what the weights of '.*out' cost, .* have no width"):
        observe(convert(plain, FloatNumbers(), method=method))
