"""Random small designs of every type of layer: all levels agree, and the latency is the claimed one.

The levels are Keras, adder graph, RTL, and HLS C simulation for those that hls4ml can do.

Each design is a draw of Hypothesis; its Verilog is simulated with that of many others, since a build of a simulation
takes longer than a design; its C++ is compiled by itself. `make test-nightly` sets WEFT_RANDOM_DESIGNS and takes other
designs every time.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from benchmarks import support
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st

from tests.firmware.batch import batch
from tests.firmware.kinds import ALL, SAME, draw
from tests.firmware.models import PART
from weft.adder_graph import AdderGraph
from weft.config import HlsConfig, RtlConfig, SolverConfig
from weft.errors import UnsupportedError
from weft.firmware import Project, emit, extreme_inputs, hls, reference
from weft.quantize.dead import remove_dead

ROWS, BATCH = 400, 50
NIGHTLY = os.environ.get("WEFT_RANDOM_DESIGNS")
GHDL = shutil.which("ghdl") is not None
QUICK = (
    "average pool",
    "batch norm",
    "conv1d",
    "dense table",
    "einsum",
    "max pool",
    "one dense",
    "softmax",
    "Conv1D, dilated",
    "Conv1D, same, stride 2",
    "DepthwiseConv2D",
    "ZeroPadding1D",
    "Concatenate of three",
    "Average",
    "Dot",
    "LeakyReLU",
    "slice",
    "a layer called twice",
)
"""Types of layers that take little time to build; all others are in the slow test."""

LINES = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in support.TABLE.read_text().partition(support.BEGIN)[2].partition(support.END)[0].splitlines()
]
HEAD = next(line for line in LINES if line[0] == "layer")
CELLS = {
    SAME.get(line[0], line[0]): dict(zip(HEAD[1:], line[1:], strict=True))
    for line in LINES
    if len(line) == len(HEAD) and line is not HEAD
}
"""The table of support: what comes out by flow, by kind."""


@dataclass(frozen=True)
class Draw:
    """What makes a design."""

    kind: str
    seed: int
    bits: int
    dead: float
    clock_period_ns: float
    rtl: RtlConfig


def flows(vhdl: bool) -> st.SearchStrategy[RtlConfig]:
    """Return ways to write a design; the clock's stages are the most frequent."""
    solver = st.builds(
        lambda sharing, decompose: SolverConfig(decompose=decompose, **sharing),
        sharing=st.sampled_from(
            [
                {},
                {},
                {"extra_depth": 0},
                {"extra_depth": 2},
                {"sharing": "wmc-dc"},
                {"sharing": "wmc-pdc"},
                {"sharing": "mc", "extra_depth": 1},
                {"sharing": "none"},
            ]
        ),
        decompose=st.sampled_from(["best", "best", "none", 1]),
    )
    shape = st.sampled_from([{}, {}, {"pipeline": False}, {"stages": 1}, {"stages": 4}])
    language = st.sampled_from(["verilog"] * 7 + ["vhdl"]) if vhdl else st.just("verilog")
    return st.builds(
        lambda solver, shape, language, ternary: RtlConfig(
            solver=solver, language=language, ternary_adders=ternary, **shape
        ),
        solver,
        shape,
        language,
        st.booleans(),
    )


def draws(kind: str, vhdl: bool) -> st.SearchStrategy[Draw]:
    return st.builds(
        Draw,
        kind=st.just(kind),
        seed=st.integers(0, 2**32 - 1),
        bits=st.integers(1, 5),
        dead=st.sampled_from([0.0, 0.0, 0.2]),
        clock_period_ns=st.sampled_from([0.5, 1.0, 2.0, 5.0, 50.0]),
        rtl=flows(vhdl),
    )


@dataclass
class Made:
    """A design down to its RTL, with inputs and the outputs of its adder graph."""

    draw: Draw
    project: Project
    x: np.ndarray
    outputs: np.ndarray


def make(one: Draw, directory: Path) -> Made | None:
    """Make a design and compare Keras with its adder graph; None if its outputs are constant."""
    model = draw(one.kind, one.seed, one.bits, one.dead)
    try:
        graph = AdderGraph.from_model(model, one.rtl)
    except UnsupportedError as error:
        assert "are constant" in str(error), (one, error)
        return None
    x = extreme_inputs(graph, seed=one.seed)[:ROWS]
    outputs = graph.predict(x)
    assert np.array_equal(reference.in_float32(model, x), outputs), one
    if graph.is_constant:
        with pytest.raises(UnsupportedError, match="no output depends on any input"):
            emit(graph, directory, PART, one.clock_period_ns)
        return None
    return Made(one, emit(graph, directory, PART, one.clock_period_ns), x, outputs)


def collect(n: int, directory: Path, kinds: Iterable[str], *, vhdl: bool) -> list[Made]:
    """Draw n designs of each kind that have logic."""
    found: list[Made] = []
    for number, kind in enumerate(kinds):

        @settings(
            max_examples=n,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
        )
        @given(draws(kind, vhdl))
        def one(drawn: Draw) -> None:
            made = make(drawn, directory / str(len(found)))
            assume(made is not None)
            found.append(made)

        (one if NIGHTLY else seed(number)(one))()
    return found


def check_rtl(designs: list[Made], directory: Path) -> None:
    """Simulate all designs; each puts out what its adder graph does, as late as it claims, one input in each cycle."""
    for start in range(0, len(designs), BATCH):
        part = designs[start : start + BATCH]
        simulation = batch([made.project for made in part], directory / f"batch-{start}")
        for made, response in zip(part, simulation.run([made.x for made in part]), strict=True):
            claimed = made.project.pipeline.latency_cycles
            assert np.array_equal(response.after(claimed, len(made.x)), made.outputs), made.draw
            changes = len(np.unique(made.outputs, axis=0)) > 1
            assert response.latency(made.outputs) == claimed if changes else True, made.draw


def check_hls(designs: list[Made], directory: Path) -> None:
    """Simulate the C++ of all designs that hls4ml can do, each by another strategy; the table says which it cannot."""
    strategies = ("latency", "resource", "distributed_arithmetic")
    for number, made in enumerate(designs):
        model = draw(made.draw.kind, made.draw.seed, made.draw.bits, made.draw.dead)
        remove_dead(model)  # hls4ml gets finalised models, which have it behind them
        config = HlsConfig(strategy=strategies[number % 3])
        refused = CELLS[made.draw.kind][f"vitis {config.strategy} parallel"].startswith("refused")
        reason = hls.objection(model, config)
        by_format = "exponentials with more integer bits" in (reason or "")  # of networks of the kind some, and not all
        assert by_format or (reason is not None) == refused, (made.draw, config.strategy, reason)
        if reason is None:
            project = hls.emit(model, directory / f"hls-{number}", config, PART, 5.0)
            assert np.array_equal(hls.HlsSimulation(project).run(made.x), made.outputs), (made.draw, config.strategy)


def test_random_designs_agree_on_all_levels(tmp_path):
    designs = collect(3, tmp_path, QUICK, vhdl=False)
    check_rtl(designs, tmp_path)
    assert {made.draw.kind for made in designs} == set(QUICK)


def test_the_c_simulation_of_random_designs_agrees(tmp_path):
    designs = collect(1, tmp_path, ("Conv1D, same, stride 2", "LeakyReLU", "Dot", "Conv1D, dilated"), vhdl=False)
    check_hls(designs, tmp_path)


def test_every_layer_of_the_table_of_support_is_drawn():
    exact = [kind for kind, by_flow in CELLS.items() if by_flow[support.RTL] == "exact"]
    assert len(exact) > 30 and [kind for kind in exact if kind not in ALL] == []


@pytest.mark.slow
@pytest.mark.timeout(8 * 3600)
def test_many_random_designs_agree_on_all_levels(tmp_path):
    """Of every type of layer, every way to write it, and VHDL where ghdl is."""
    designs = collect(math.ceil(int(NIGHTLY or 300) / len(ALL)), tmp_path, ALL, vhdl=GHDL)
    check_rtl(designs, tmp_path)
    assert {made.draw.kind for made in designs} == set(ALL) and len(designs) >= 300
    ways = {(made.project.clocked, made.project.language) for made in designs}
    assert ways >= {(clocked, language) for clocked in (True, False) for language in ("verilog", "vhdl")[: 1 + GHDL]}
    assert sum(len(np.unique(made.outputs, axis=0)) > 1 for made in designs) > 0.8 * len(designs)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_c_simulation_of_designs_of_every_kind_agrees(tmp_path):
    """Each design of three by a strategy of its own."""
    check_hls(collect(3, tmp_path, CELLS, vhdl=False), tmp_path)
