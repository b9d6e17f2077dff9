"""Magnitude pruning against sorting by hand, and the wrapper that carries a mask into HGQ2 layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.conftest import blobs
from weft.compress.finalize import finalize
from weft.compress.prune.magnitude import magnitude_mask
from weft.compress.prune.pruned import Pruned
from weft.space.architecture import Architecture, FixedNumbers, HgqNumbers
from weft.space.blocks import MlpGenes
from weft.space.model import build

kernels = arrays(np.float32, (4, 5), elements=st.integers(-3, 3).map(float))
masks = arrays(np.float32, (4, 5), elements=st.sampled_from([0.0, 1.0]))


@given(kernels, masks, st.floats(0.01, 0.99))
def test_each_round_removes_its_share_of_the_smallest_that_are_alive(weight, alive, fraction):
    before = alive.copy()
    mask = magnitude_mask(weight, alive, fraction)
    living = [(abs(float(weight.flat[i])), -i, i) for i in range(20) if alive.flat[i]]
    gone = {i for *_, i in sorted(living)[: round(fraction * len(living))]}
    expected = [1.0 if alive.flat[i] and i not in gone else 0.0 for i in range(20)]
    np.testing.assert_array_equal(mask.ravel(), expected)
    np.testing.assert_array_equal(alive, before)
    assert mask.dtype == alive.dtype


def test_twenty_percent_ten_times_leaves_about_a_tenth():
    weight, mask = np.random.default_rng(0).normal(size=(40, 50)), np.ones((40, 50))
    for _ in range(10):
        mask = magnitude_mask(weight, mask, 0.2)
    assert mask.sum() / mask.size == pytest.approx(0.8**10, abs=1e-3)


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("numbers", [HgqNumbers(bits0=4), FixedNumbers(total_bits=6)], ids=["hgq", "fixed"])
def test_a_masked_weight_is_zero_costs_nothing_and_is_baked_in(numbers, normalization):
    architecture = Architecture(
        input_shape=(6,), n_outputs=3, blocks=(MlpGenes(units=(4,), normalization=normalization),), numbers=numbers
    )
    x, _ = blobs(300)
    model = build(architecture, 1, Pruned)
    mask = (np.random.default_rng(2).random((6, 4)) < 0.5).astype(np.float32)
    layer = model.get_layer("block0_dense0")
    full = finalize(model, architecture, x)
    model(x, training=True)
    dense = int(layer.ebops)
    layer.kq.mask.assign(mask)
    assert (np.array(layer.qkernel)[mask == 0] == 0).all()
    model(x, training=True)
    assert 0 < int(layer.ebops) < dense

    final = finalize(model, architecture, x)
    baked = final.get_layer("block0_dense0")
    assert (np.array(baked._kernel.value)[mask == 0] == 0).all()
    assert (np.array(full.get_layer("block0_dense0").qkernel)[mask == 0] != 0).any()
    assert not hasattr(baked.kq, "mask")
