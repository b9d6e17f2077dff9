"""What recurrent layers show pruning methods of their input, their state and the price of their weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from weft.compression.api import compress
from weft.config.numbers import FloatNumbers
from weft.errors import UnsupportedError
from weft.prune.wanda import Wanda
from weft.quantize.convert import convert
from weft.quantize.kernels import pruned_kernels
from weft.quantize.observe import look, observe
from weft.quantize.pruned import TRAIN

pytestmark = pytest.mark.backends
numpy = keras.ops.convert_to_numpy
LAYERS = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU}
WANDA = Wanda(method="wanda", sparsity=0.5, t_delta=1)


def network(kind: str, sequences: bool = False, **options) -> keras.Model:
    keras.utils.set_random_seed(2)
    x = keras.Input((4, 3))
    return keras.Model(x, LAYERS[kind](5, name="loop", return_sequences=sequences, **options)(x))


def rows(n: int = 7) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_kernel_reads_all_steps_of_the_input_and_the_other_all_states_but_the_last(kind, unroll):
    plain = network(kind, unroll=unroll)
    states = network(kind, sequences=True)
    states.set_weights(plain.get_weights())
    model, x = convert(plain, FloatNumbers(), method=WANDA), rows()
    observe(model)
    before = numpy(model(x))
    seen = look(model, x, n_batch=4)
    h = numpy(states(x))[:, :-1]  # before the first step the state is 0
    kernel, recurrent = pruned_kernels(model)
    for one, read in ((kernel, x), (recurrent, h)):
        found = seen[one.name]
        expected = np.broadcast_to((read.astype(np.float64) ** 2).sum(axis=(0, 1)), one.pruned.geometry.shape)
        np.testing.assert_allclose(numpy(found.square), expected, rtol=1e-4)
        assert float(found.rows) == 7 * 4
    active = (np.concatenate([np.zeros((7, 1, 5)), h], axis=1) > 0).mean(axis=(0, 1))
    gates = kernel.pruned.geometry.n_out // 5
    np.testing.assert_allclose(numpy(seen[kernel.name].active), np.tile(active, gates), atol=1e-6)
    np.testing.assert_array_equal(numpy(model(x)), before)


@pytest.mark.parametrize("kind", LAYERS)
def test_training_prunes_each_kernel_by_what_it_read(kind):
    model = convert(network(kind), FloatNumbers(), method=WANDA)
    observe(model)
    observe(model)  # a second time adds nothing
    for kernel in pruned_kernels(model):
        kernel.pruned.stage.assign(TRAIN)
    seen = look(model, rows())
    model(rows(), training=True)
    for kernel in pruned_kernels(model):
        pruned = kernel.pruned
        score = np.abs(numpy(pruned.matrix(kernel.variable))) * np.sqrt(numpy(seen[kernel.name].square))
        order = np.argsort(-score, axis=1, kind="stable")[:, : score.shape[1] - round(score.shape[1] / 2)]
        expected = np.zeros_like(score)
        np.put_along_axis(expected, order, 1, axis=1)
        np.testing.assert_array_equal(numpy(pruned.matrix(pruned.mask)), expected)
        assert float(pruned.slots["batches"]) == 1


@pytest.mark.parametrize("kind", LAYERS)
def test_what_the_weights_of_a_step_cost_is_what_hgq2_counts(kind):
    prune = {"method": "mdmm", "metric": "ebops", "count": 10**6, "epsilon": 1e-6}
    model = compress(network(kind, use_bias=False), {"recipe": "hgq", "prune": prune})
    kernels = pruned_kernels(model)
    rng = np.random.default_rng(0)
    cell = kernels[0].layer
    for quantizer in (*(kernel.pruned.inside for kernel in kernels), cell.iq.quantizer, cell.sq.quantizer):
        for variable in quantizer.trainable_variables:
            if variable.path.endswith(("/b", "/f")):
                variable.assign(rng.integers(3, 8, variable.shape).astype(np.float32))
    for kernel in kernels:
        kernel.pruned.stage.assign(TRAIN)
    observe(model)
    model(rows(), training=True)
    cost = sum(numpy(kernel.pruned.slots["cost"]).sum() for kernel in kernels)
    widths = [numpy(q.bits_((1, n))) for q, n in ((cell.iq, 3), (cell.sq, 5))]
    matrices = [numpy(q.bits_(k.variable.shape)) for q, k in zip((cell.kq, cell.rkq), kernels, strict=True)]
    counted = sum((one @ two).sum() for one, two in zip(widths, matrices, strict=True))
    assert cost == pytest.approx(4 * counted)  # each of the four steps has hardware of its own


def test_gates_that_read_different_states_are_refused():
    model = convert(network("gru", reset_after=False), FloatNumbers(), method=WANDA)
    with pytest.raises(
        UnsupportedError, match=r"'loop/.*' reads, and with reset_after=False its gates read different states"
    ):
        observe(model)
