"""DSP slices, block RAM, shares of a part, energy, and functions of the user's own: numbers by hand, and refusals."""

from __future__ import annotations

import math
import sys
import textwrap

import numpy as np
import pytest

from tests.firmware.models import PART, mlp, randomised
from weft.adder_graph import AdderGraph
from weft.config import find_part
from weft.cost import CostInput, FixedTarget, FunctionCost, HlsTarget, costs_of, find, providing
from weft.cost.fabric import slices
from weft.cost.fractions import shares_of
from weft.cost.horowitz import ADD_PJ, MULTIPLY_PJ
from weft.errors import ConfigError, UnsupportedError
from weft.firmware import emit
from weft.firmware.synth import synthesise
from weft.testing.cost_models import CHECKS
from weft.types import Quantity

TARGET = FixedTarget(PART, 4.0)


@pytest.fixture(scope="module")
def model():
    return randomised(mlp(3, (4, 2)))


def asked(name, model, target=TARGET):
    return find(name).estimate([CostInput(model)], target)[0]


def test_wired_weights_need_no_dsp_and_no_block_ram_and_the_quantity_says_why(model):
    found = asked("fabric", model)
    assert (found["dsp"].value, found["bram_18k"].value) == (0, 0)
    assert found["dsp"].reason == "weights are wired: shifts and additions" and found["bram_18k"].reason
    assert providing("dsp").name == "fabric" and providing("dsp", ["hls4ml"]).name == "hls4ml"


def product_of_two(bits):
    import keras
    from hgq.layers import QMultiply
    from hgq.quantizer import QuantizerConfig

    x = keras.Input((3,))
    given = [
        QuantizerConfig("kif", "datalane", i0=1, f0=bits - 2, trainable=False, overflow_mode="WRAP") for _ in range(2)
    ]
    return keras.Model(x, QMultiply(iq_confs=given, enable_oq=False)([x, x]))


def table(bits):
    import keras
    from hgq.layers import QUnaryFunctionLUT
    from hgq.quantizer import QuantizerConfig

    read = QuantizerConfig("kif", "datalane", i0=1, f0=bits - 2, trainable=False, overflow_mode="WRAP")
    given = QuantizerConfig("kif", "table", i0=1, f0=6, trainable=False, overflow_mode="SAT", round_mode="RND")
    x = keras.Input((2,))
    return keras.Model(x, QUnaryFunctionLUT("tanh", iq_conf=read, oq_conf=given, enable_oq=True)(x))


def counted(found):
    return found["dsp"].value, found["bram_18k"].value


SYNTHESISED = [
    (product_of_two, 4, (0, 0)),
    (product_of_two, 5, (3, 0)),
    (table, 10, (0, 0)),
    (table, 11, (0, 2)),
    (table, 12, (0, 4)),
]
"""What Yosys makes of these."""


@pytest.mark.parametrize(("make", "bits", "made"), SYNTHESISED)
def test_what_is_left_to_synthesis_is_counted_by_its_rules(make, bits, made):
    model = make(bits)
    graph = AdderGraph.from_model(model)
    assert [counted(find("fabric").estimate([one], TARGET)[0]) for one in (
        CostInput(model), CostInput(model, graph), CostInput(graph=graph)
    )] == [made] * 3  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("make", "bits", "made"), SYNTHESISED)
def test_yosys_makes_of_it_what_was_counted(tmp_path, make, bits, made):
    emit(AdderGraph.from_model(make(bits)), tmp_path / "firmware", PART, 5.0)
    assert counted(synthesise(tmp_path / "firmware", PART)) == made


def test_a_slice_multiplies_27_by_18_bits_with_signs():
    widths = ((1, 30), (4, 4), (4, 5), (17, 26), (26, 17), (27, 17), (18, 18))
    assert [slices(*each) for each in widths] == [0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("part", [PART, "xc7a35ticsg324-1L"])
def test_shares_are_the_counts_of_the_models_that_decide_over_what_the_part_has(model, part):
    one = find_part(part)
    for among in ((), ("hls4ml",)):
        names = ("lut", "ff", "dsp", "bram_18k")
        counts = costs_of(model, names, part, 4.0, among=among)
        found = costs_of(model, [*find("fractions").provides], part, 4.0, among=among)
        shares = [counts[name].value / getattr(one, name) for name in names]
        assert [
            found[name].value for name in ("lut_fraction", "ff_fraction", "dsp_fraction", "bram_fraction")
        ] == pytest.approx(shares)
        assert found["avg_resource"].value == pytest.approx(100 * sum(shares) / 4)
        assert found["lut_fraction"].stage == counts["lut"].stage
        assert found["lut_fraction"].source == f"{counts['lut'].source}; of {one.lut:,} on {one.device}"
        assert found["avg_resource"].low <= found["avg_resource"].value <= found["avg_resource"].high


def test_a_part_without_dsp_has_a_share_of_none_unless_some_are_used(model):
    found = asked("fractions", model, FixedTarget("ice40hx8k", 20.0))
    assert found["dsp_fraction"].value == 0
    used = asked("fractions", product_of_two(6), FixedTarget("ice40hx8k", 20.0))
    assert used["dsp_fraction"].value is None and used["avg_resource"].value is None
    assert "ice40hx8k has no dsp, and 3 are used" in used["avg_resource"].reason


def test_a_share_above_one_or_above_a_super_logic_region_says_so():
    def counts(lut):
        return {name: Quantity(value=lut if name == "lut" else 0, unit="count", stage="solver", source="a model",
                               reason="a guess") for name in ("lut", "ff", "dsp", "bram_18k")}  # fmt: skip

    for lut, said in (
        (1e6, "spans super logic regions: 1,000,000 LUT of 432,000 in one; a guess"),
        (2e6, "does not fit: 2,000,000 LUT of 1,728,000; a guess"),
        (9.0, "a guess"),
    ):
        assert shares_of(counts(lut), "xcvu13p")["lut_fraction"].reason == said


def test_each_count_is_asked_for_once(model, monkeypatch):
    counted = find("adder_graph")
    calls = []
    estimate = type(counted).estimate
    monkeypatch.setattr(
        type(counted), "estimate", lambda self, designs, target: calls.append(1) or estimate(self, designs, target)
    )
    costs_of(model, ["lut", "lut_fraction", "avg_resource", "ff"], PART, 4.0)
    assert len(calls) == 1


def test_the_energy_is_that_of_every_live_product_and_addition(model):
    total = 0.0
    for product in CostInput(model).products:
        kernel = product.second.values
        inputs, weights = product.first.bits.reshape(-1), product.second.least_bits
        for i, j in np.ndindex(kernel.shape):
            live = (
                kernel[i, j] != 0 and weights[i, j] > 0 and product.alive.reshape(-1)[i] and product.read.reshape(-1)[j]
            )
            if live and inputs[i] > 0:
                total += MULTIPLY_PJ * inputs[i] * weights[i, j]
                total += ADD_PJ * (inputs[i] + weights[i, j] + math.log2(kernel.shape[0]))
    found = asked("horowitz", model)["energy_nj"]
    assert found.value == pytest.approx(1e-3 * total) and found.value > 0
    assert "Horowitz, ISSCC 2014" in found.source and "not what an FPGA draws" in found.reason


def test_the_scaled_energies_are_near_those_published_for_eight_bits():
    assert pytest.approx(0.2, rel=0.05) == MULTIPLY_PJ * 8 * 8
    assert pytest.approx(0.03, rel=0.2) == ADD_PJ * 8


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine_for_tests.py").write_text(
        textwrap.dedent("""
        from weft.types import Quantity
        N = 3
        def weights(design, target) -> float:
            return sum(w.size for w in design.model.get_weights()) / target.clock_period_ns
        def nothing(design, target): return float("nan")
        def words(design, target): return "many"
        def one(design): return 1.0
        def said(design, target) -> str: return "1"
        def broken(design, target): raise RuntimeError("no luck")
    """)
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    yield "mine_for_tests"
    sys.modules.pop("mine_for_tests", None)


def test_a_function_of_the_working_directory_is_a_cost(model, module):
    name = f"{module}:weights max [pJ]"
    found = costs_of(model, ["lut", name], PART, 4.0)[name]
    expected = sum(w.size for w in model.get_weights()) / 4.0
    assert (found.value, found.unit, found.source) == (expected, "pJ", f"what {module}:weights returns")
    for one, passes in CHECKS.items():
        if one != "imports_nothing_heavy":  # it is made for a name
            passes(FunctionCost(f"{module}:weights"))


@pytest.mark.parametrize(("function", "returned"), [("nothing", "nan"), ("words", "'many'")])
def test_what_is_no_number_is_refused(model, module, function, returned):
    with pytest.raises(
        UnsupportedError, match=rf"the objective '.*:{function}' returned {returned}, which is no finite"
    ):
        costs_of(model, [f"{module}:{function}"], PART, 4.0)


def test_an_error_of_a_function_says_which_objective_it_was(model, module):
    with pytest.raises(RuntimeError, match="no luck") as caught:
        costs_of(model, [f"{module}:broken"], PART, 4.0)
    assert caught.value.__notes__ == [f"in the objective '{module}:broken'"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no_such_module_at_all:f",
            r"cannot import 'no_such_module_at_all' .*: ModuleNotFoundError.*put its folder on",
        ),
        ("{}:wights", r"'mine_for_tests' has no function 'wights'; it has broken, nothing, one, said, weights, words"),
        ("{}:N", r"'mine_for_tests' has no function 'N'; it has"),
        ("{}:one", r"must take \(design, target\), a weft.cost.CostInput and its target; it takes \(design\)"),
        ("{}:said", r"must return a number; it says that it returns <class 'str'>"),
    ],
)
def test_a_function_that_cannot_be_one_is_refused_when_the_file_is_read(module, name, message):
    from weft.config import loads

    text = f"version: 1\nname: a\ndata: {{name: jets-hlf}}\nsearch: {{objectives: [accuracy, {name.format(module)!r}]}}"
    with pytest.raises(ConfigError, match=rf"e.yaml:4: search.objectives.1: .*{message}"):
        loads(text, "e.yaml")


def test_direction_and_unit_come_with_a_mapping_and_survive_being_written(module):
    from weft.config import dump, loads
    from weft.objectives import OBJECTIVES

    text = (
        f"version: 1\nname: a\ndata: {{name: jets-hlf}}\nsearch:\n  objectives: [accuracy, {module}:weights, "
        f"{{function: {module}:weights, direction: max, unit: pJ}}]\n"
        f"  constraints: {{'{module}:weights [ns]': '<= 3 ns'}}\n"
    )
    search = loads(text, "e.yaml").search
    assert search.objectives == ["accuracy", f"{module}:weights", f"{module}:weights max [pJ]"]
    assert search.constraints == {f"{module}:weights [ns]": "<= 3"}
    specs = [OBJECTIVES[name] for name in search.objectives]
    assert [(s.direction, s.unit) for s in specs[1:]] == [("min", ""), ("max", "pJ")] and specs[2].loss(2.0) == -2.0
    assert loads(dump(loads(text, "e.yaml")), "again").search == search


def test_the_hls_flow_counts_its_own_dsp_slices(model):
    hls = find("hls4ml").estimate([CostInput(model)], HlsTarget(PART, 4.0))[0]
    assert costs_of(model, ["dsp"], PART, 4.0, among=["hls4ml"])["dsp"] == hls["dsp"]
