"""What every cost model must do, as checks that a plug-in's author runs.

    from weft.testing.cost_models import check

    def test_my_model():
        check(MyModel())

or one test a check, with `@pytest.mark.parametrize("one", CHECKS)` and `CHECKS[one](MyModel())`. The designs are small
networks of three dense layers with known weights. What a model does not give is not asked for: a model of latency
alone has no LUT that could be near zero, and one that sees no weights (`sees_weights = False`) gives the same for all.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, get_args

import numpy as np

from weft.cost import CostInput, CostModel, FixedTarget
from weft.errors import UnsupportedError
from weft.types import Estimate, Stage

FRAMEWORKS = ("jax", "keras", "torch", "tensorflow", "alkaid", "hgq")
"""What a cost model must not import before it is asked for an estimate."""

LUT_PER_DSP = 55
"""What a DSP is worth, by EBOPs ~ LUT + 55 DSP (arXiv:2405.00645)."""

SIZES = ("lut", "ff", "dsp", "bops", "ebops")
"""Quantities that more bits do not lower."""

LOGIC = ("lut", "ebops")
"""Quantities that are about zero where nothing is multiplied."""


TARGET = FixedTarget("xcvu13p-flga2577-2-e", 5.0)
"""The target that all checks estimate for."""


def design(bits: int = 4, scale: float = 1.0, dead: int = 0, seed: int = 0) -> CostInput:
    """Return a network 4-5-4-2 with ReLU.

    Args:
        bits: Width of all weights and activations, in bits.
        scale: What weights are multiplied with; 0 leaves none.
        dead: 0: none; 1: of each hidden layer the last neuron has no reader; 2: its own weights are 0, too.
        seed: Where the weights are drawn.
    """
    return CostInput(_network(bits, scale, dead, seed))


@lru_cache(maxsize=32)
def _network(bits: int, scale: float, dead: int, seed: int) -> Any:
    import keras
    from hgq.layers import QDense
    from hgq.quantizer import QuantizerConfig

    rng = np.random.default_rng(seed)
    x = inputs = keras.Input((4,), name="x")
    sizes = (5, 4, 2)
    held = {"trainable": False, "overflow_mode": "SAT_SYM", "round_mode": "RND"}
    for i, units in enumerate(sizes):
        x = QDense(
            units,
            activation="relu" if i < 2 else None,
            kq_conf=QuantizerConfig("kbi", "weight", b0=bits, i0=0, **held),
            bq_conf=QuantizerConfig("kbi", "bias", b0=bits, i0=0, **held),
            iq_conf=QuantizerConfig("kif", "datalane", i0=1, f0=bits - 1, trainable=False, overflow_mode="WRAP"),
            enable_oq=False,
            name=f"dense{i}",
        )(x)
    model = keras.Model(inputs, x, name="conformance")
    before = 4
    for i, units in enumerate(sizes):
        layer = model.get_layer(f"dense{i}")
        kernel, bias = (scale * rng.uniform(-0.9, 0.9, shape) for shape in ((before, units), (units,)))
        if dead and i > 0:
            kernel[-1] = 0.0
        if dead == 2 and i < 2:
            kernel[:, -1], bias[-1] = 0.0, 0.0
        grid = 2.0**bits
        layer._kernel.assign(np.round(kernel * grid) / grid)
        layer.bias.assign(np.round(bias * grid) / grid)
        before = units
    return model


def _ask(model: CostModel, *designs: CostInput) -> list[Estimate]:
    found = model.estimate(list(designs), TARGET)
    assert isinstance(found, list) and len(found) == len(designs), (
        f"estimate() of {len(designs)} designs returned {_spell(found)}; it must return a list of as many estimates"
    )
    return found


def _spell(found: Any) -> str:
    return f"{len(found)} of them" if isinstance(found, list) else f"a {type(found).__name__}"


def gives_what_it_says(model: CostModel) -> None:
    """It has a name and provides quantities, and an estimate holds these."""
    assert isinstance(model.name, str) and model.name, f"name must be a text; it is {model.name!r}"
    assert isinstance(model.provides, tuple) and model.provides, f"provides must be a tuple; it is {model.provides!r}"
    (found,) = _ask(model, design())
    assert set(found.quantities) == set(model.provides), (
        f"provides says {sorted(model.provides)}, and an estimate holds {sorted(found.quantities)}"
    )


def names_unit_stage_and_source(model: CostModel) -> None:
    """Every quantity has a unit, a stage and a source, a finite value, and an interval that holds it."""
    for name, quantity in _ask(model, design())[0].quantities.items():
        assert quantity.unit and quantity.source, f"'{name}' has unit {quantity.unit!r} and source {quantity.source!r}"
        assert quantity.stage in get_args(Stage), f"'{name}' has stage {quantity.stage!r}"
        if quantity.value is not None:
            low = quantity.value if quantity.low is None else quantity.low
            high = quantity.value if quantity.high is None else quantity.high
            assert np.isfinite(quantity.value) and low <= quantity.value <= high, (
                f"'{name}' is {quantity.value} with an interval from {quantity.low} to {quantity.high}"
            )


def ignores_order_and_company(model: CostModel) -> None:
    """What is said of a design depends on no other design in the same call, nor on its place."""
    designs = [design(bits=b, seed=s) for b, s in ((3, 0), (5, 1), (4, 2))]
    alone = [_ask(model, one)[0] for one in designs]
    assert _ask(model, *designs) == alone, "a design among others is estimated otherwise than alone"
    assert _ask(model, *reversed(designs)) == alone[::-1], "the order of designs changes their estimates"
    assert _ask(model, designs[0], designs[0]) == [alone[0]] * 2, "a design given twice has two estimates"
    assert _ask(model) == [], "no designs must give no estimates"


def repeats_itself(model: CostModel) -> None:
    """The same design has the same estimate again."""
    one, two = (_ask(model, CostInput(design().model))[0] for _ in range(2))
    assert one == two, "the same design is estimated otherwise the second time"


def grows_with_bits(model: CostModel) -> None:
    """Sizes do not shrink as weights and activations get wider; look-up tables may where products move into DSPs."""
    found = [_ask(model, design(bits=bits))[0] for bits in (2, 4, 6, 8)]
    dsp = [float(one["dsp"].value or 0) if "dsp" in model.provides else 0.0 for one in found]
    for name in set(SIZES) & set(model.provides):
        values = [value for one in found if (value := one[name].value) is not None]
        if len(values) < len(found):
            continue
        if name == "lut":
            values = [value + LUT_PER_DSP * more for value, more in zip(values, dsp, strict=True)]
        assert values == sorted(values), f"'{name}' of 2, 4, 6 and 8 bits is {values}: it shrinks as bits grow"


def costs_nothing_without_weights(model: CostModel) -> None:
    """A network whose weights are all zero takes about no logic."""
    if not getattr(model, "sees_weights", True):
        return
    full, empty = _ask(model, design(), design(scale=0.0))
    for name in set(LOGIC) & set(model.provides):
        least, whole = empty[name].value, full[name].value
        assert least is None or (whole is not None and least <= 0.02 * whole), (
            f"'{name}' of a network of zeros is {least}; with weights it is {whole}"
        )


def leaves_dead_neurons_out(model: CostModel) -> None:
    """Neurons that nobody reads cost nothing, whether their own weights are there or not.

    A solver's heuristics see other matrices: such numbers may differ by a quarter, where leaving the neurons in makes
    two fifths. Its flip-flops are not compared, since one stage more or less is most of a small design's. What is
    predicted from a solver's graph (`solves = True`) is as its own numbers are.
    """
    if not getattr(model, "sees_weights", True):
        return
    unread, removed = _ask(model, design(dead=1), design(dead=2))
    for name in set(SIZES) & set(model.provides):
        one, two = unread[name], removed[name]
        solved = one.stage == "solver" or getattr(model, "solves", False)
        if name == "ff" and solved:
            continue
        if one.value is not None and two.value is not None:
            apart = abs(one.value - two.value)
            assert apart <= (0.25 if solved else 1e-9) * max(one.value, two.value), (
                f"'{name}' is {one.value} with weights in neurons that nobody reads, and {two.value} without them"
            )


def refuses_with_a_reason(model: CostModel) -> None:
    """`supports` says None or why not, and `estimate` raises an UnsupportedError with that reason."""
    assert model.supports(design()) is None, f"a plain dense network is refused: {model.supports(design())}"
    reason = model.supports(CostInput())
    assert isinstance(reason, str) and reason, f"of a design without anything, supports() says {reason!r}, no reason"
    try:
        model.estimate([CostInput()], TARGET)
    except UnsupportedError as error:
        assert reason in str(error), f"supports() says '{reason}', and estimate() raises '{error}'"
    else:
        raise AssertionError("estimate() of a design that supports() refuses must raise an UnsupportedError")


def imports_nothing_heavy(model: CostModel) -> None:
    """Importing the module of the model, and making it, loads no framework."""
    kind = type(model)
    place, name = kind.__module__, kind.__qualname__
    code = (
        f"import sys, importlib, functools; m = importlib.import_module({place!r});"
        f"functools.reduce(getattr, {name!r}.split('.'), m)();"
        f"print(*sorted(set({FRAMEWORKS!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{place}.{name} cannot be imported and made on its own: {done.stderr[-500:]}"
    assert not done.stdout.strip(), f"importing {place} and making {name} loads {done.stdout.strip()}; import it later"


CHECKS: dict[str, Callable[[CostModel], None]] = {
    one.__name__: one
    for one in (
        gives_what_it_says,
        names_unit_stage_and_source,
        ignores_order_and_company,
        repeats_itself,
        grows_with_bits,
        costs_nothing_without_weights,
        leaves_dead_neurons_out,
        refuses_with_a_reason,
        imports_nothing_heavy,
    )
}
"""All checks by name; each takes a cost model, and raises an AssertionError that says what is wrong."""


def check(model: CostModel) -> None:
    """Run all checks on a cost model.

    Raises:
        AssertionError: Some fail; the message names them all, and says of each what was seen.
    """
    wrong = []
    for name, one in CHECKS.items():
        try:
            one(model)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong with the model
            wrong.append(f"{name}: the model raised {type(error).__name__}: {error}")
    assert not wrong, f"{type(model).__name__} fails {len(wrong)} of {len(CHECKS)} checks\n" + "\n".join(wrong)
