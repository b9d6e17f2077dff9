"""Verilog projects: what they say of themselves, and the bits on their ports."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.firmware.models import PART, samples
from weft.adder_graph import to_codes
from weft.errors import RunError
from weft.firmware import Project
from weft.firmware.rtl import Response, pack, port_bytes, unpack

formats = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-4, 20), st.integers(-4, 20)).filter(lambda kif: sum(kif) >= 0),
    min_size=1,
    max_size=20,
)


def bits_by_hand(codes, widths):
    """Join two's complement numbers into one, the first in the lowest bits."""
    word, start = 0, 0
    for code, width in zip(codes, widths, strict=True):
        word |= (int(code) % 2**width) << start
        start += width
    return word


@given(formats, st.integers(0, 2**32))
def test_ports_hold_the_first_value_in_the_lowest_bits(kifs, seed):
    kif = np.array(kifs).T
    codes = to_codes(np.random.default_rng(seed).normal(0, 1000, (3, len(kifs))), kif)
    data = pack(codes, kif)
    size = port_bytes(int(kif.sum()))
    widths = [int(w) for w in kif.sum(axis=0)]
    assert len(data) == 3 * size
    for row in range(3):
        assert int.from_bytes(data[row * size : (row + 1) * size], "little") == bits_by_hand(codes[row], widths)
    assert np.array_equal(unpack(data, kif), codes)


@pytest.mark.parametrize(
    ("width", "size"), [(1, 1), (8, 1), (9, 2), (16, 2), (17, 4), (33, 8), (64, 8), (65, 12), (96, 12), (97, 16)]
)
def test_ports_are_as_wide_as_verilator_makes_them(width, size):
    assert port_bytes(width) == size


def test_a_project_says_what_its_users_must_know(small):
    text = json.loads((small.project.directory / "project.json").read_text())
    assert text["part"] == PART and text["clock_period_ns"] == 2.0 and text["top"] == "model"
    assert text["input"]["width_bits"] == small.graph.input_kif.sum() and len(text["output"]["k"]) == 3
    assert text["stages"] == text["latency_cycles"] == small.graph.pipelined(2.0).stages and text["ii_cycles"] == 1
    verilog = (small.project.directory / "src" / "model.v").read_text()
    assert f"input wire [{text['input']['width_bits'] - 1}:0] model_inp" in verilog
    assert str(small.project.directory) not in "".join(
        p.read_text() for p in small.project.directory.rglob("*") if p.suffix in (".v", ".json", ".tcl", ".xdc")
    )


def test_a_project_opens_as_it_was_written(small):
    again = Project.open(small.project.directory)
    assert again.pipeline == small.project.pipeline and again.sources == small.project.sources
    assert np.array_equal(again.input_kif, small.graph.input_kif)
    assert np.array_equal(again.output_kif, small.graph.output_kif)
    assert not any("wrapper" in path.name for path in again.sources)


def test_a_directory_without_a_project_is_named(tmp_path):
    with pytest.raises(RunError, match=r"cannot open the RTL project .*build the design again"):
        Project.open(tmp_path)
    (tmp_path / "project.json").write_text('{"schema": 99}')
    with pytest.raises(RunError, match=r"its schema is 99, this weft reads 1"):
        Project.open(tmp_path)


def test_the_latency_is_the_one_shift_that_explains_the_outputs():
    expected = samples(20, 2).astype(float)
    outputs = np.concatenate([np.zeros((3, 2)), expected, np.zeros((4, 2))])
    assert Response(outputs).latency(expected) == 3
    assert np.array_equal(Response(outputs).after(3, 20), expected)
    assert Response(outputs + 1).latency(expected) is None
    assert Response(np.ones((30, 2))).latency(np.ones((20, 2))) is None
