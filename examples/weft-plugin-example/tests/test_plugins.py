"""Each plug-in is found by its name, and does what it says."""

from __future__ import annotations

import numpy as np

import weft  # noqa: F401 - before Keras, whose backend it chooses
from weft.blocks import BLOCKS
from weft.config import loads
from weft.cost import find
from weft.data import load
from weft.prune import Geometry, method_of
from weft.testing import cost_models

EXPERIMENT = "version: 1\nname: a\ndata: "


def test_the_pruning_method_keeps_one_of_two():
    method = method_of("checkerboard")(keep=2)
    w, mask = method.apply(np.ones((3, 4), "float32"), {}, None)
    assert np.asarray(mask).sum() == np.asarray(w).sum() == 6
    assert method.check(Geometry(2, 1)) == "its 1 inputs are fewer than keep=2"


def test_the_cost_model_passes_the_conformance_suite():
    cost_models.check(find("product_lut"))


def test_the_block_halves():
    block = BLOCKS["funnel"]()
    assert block.decide({"first": 8}, None).output_shape((4,)) == (4,)


def test_the_data_set_has_two_classes():
    data = load(loads(EXPERIMENT + "{name: two-rings}").data)
    assert (data.class_names, data.n_in) == (("inner", "outer"), 4)


def test_the_reader_reads(tmp_path):
    rows = "\n".join(f"{i % 7} {i % 2}" for i in range(100))
    (tmp_path / "a.dat").write_text(f"# a label\n{rows}\n")
    data = load(loads(EXPERIMENT + "{files: {all: a.dat}}").data, tmp_path)
    assert data.feature_names == ("a",)
