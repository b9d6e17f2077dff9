"""The conformance suite of cost models: weft's own pass it, and each check fails for a model that breaks its rule."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
import pytest

from weft.cost import CostInput, _base, find, names, providing
from weft.errors import ConfigError, UnsupportedError
from weft.testing.cost_models import CHECKS, check, design
from weft.types import Estimate, Quantity

OWN = ("adder_graph", "bops", "ebops", "fabric", "fractions", "hls4ml", "horowitz", "parameters")
"""Those that need no other program; rule4ml has tests of its own."""


@pytest.mark.parametrize("name", OWN)
def test_wefts_own_cost_models_conform(name):
    check(find(name))


class Good:
    """A cost model in few lines: products of weights that are not zero, with live inputs."""

    name = "good"
    provides = ("lut",)

    def supports(self, design):
        return None if design.model is not None else "it needs a model"

    def estimate(self, designs, target):
        return [self.one(d) for d in designs]

    def one(self, design):
        if self.supports(design):
            raise UnsupportedError(f"refused: {self.supports(design)}")
        return Estimate(quantities={"lut": self.quantity(design)})

    def quantity(self, design):
        return Quantity(value=self.value(design), unit="count", stage="predicted", source="good 1.0")

    def value(self, design):
        return sum(p.ebops for p in design.products)


class Wrong(Good):
    pass


def broken(**parts):
    return type("Broken", (Good,), parts)()


class Counting(Good):
    n = 0.0

    def value(self, design):
        Counting.n += 1
        return Counting.n


class Batched(Good):
    def estimate(self, designs, target):
        mean = np.mean([self.value(d) for d in designs if self.supports(d) is None] or [0.0])
        return [
            Estimate(quantities={"lut": self.quantity(d).model_copy(update={"value": float(mean)})})
            for d in designs
            if self.one(d)
        ]


def bits_of(design):
    return float(np.array(design.model.layers[1].kq.quantizer._b).ravel()[0])


def raises_nothing(self, designs, target):
    return [Estimate(quantities={"lut": self.quantity(d)}) if d.model else Estimate() for d in designs]


BROKEN = {
    "gives_what_it_says": broken(provides=("lut", "ff")),
    "names_unit_stage_and_source": broken(
        quantity=lambda self, d: Quantity(value=self.value(d), unit="count", stage="predicted", source="")
    ),
    "ignores_order_and_company": Batched(),
    "repeats_itself": Counting(),
    "grows_with_bits": broken(value=lambda self, d: 1000.0 / bits_of(d) * (sum(p.ebops for p in d.products) > 0)),
    "costs_nothing_without_weights": broken(value=lambda self, d: 100.0 + Good.value(self, d)),
    "leaves_dead_neurons_out": broken(value=lambda self, d: sum(p.second.least_bits.sum() for p in d.products)),
    "refuses_with_a_reason": broken(estimate=raises_nothing),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_check_fails_for_a_model_that_breaks_its_rule(name):
    with pytest.raises(AssertionError):
        CHECKS[name](BROKEN[name])
    CHECKS[name](Good())


def test_a_size_without_weights_is_compared_with_one_with_them():
    def quantity(self, design):
        value = None if self.value(design) else 0.0
        return Quantity(value=value, unit="count", stage="predicted", source="good 1.0", reason="it counts zeros only")

    with pytest.raises(AssertionError, match=r"'lut' of a network of zeros is 0\.0; with weights it is None"):
        CHECKS["costs_nothing_without_weights"](broken(quantity=quantity))


def test_a_heavy_import_is_seen(tmp_path, monkeypatch):
    text = "{}from weft.cost import Ebops\nclass Light(Ebops):\n    pass\n"
    (tmp_path / "heavy_plugin.py").write_text(text.format("import alkaid\n"))
    (tmp_path / "light_plugin.py").write_text(text.format(""))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    import heavy_plugin
    import light_plugin

    CHECKS["imports_nothing_heavy"](light_plugin.Light())
    with pytest.raises(AssertionError, match=r"importing heavy_plugin and making Light loads alkaid; import it later"):
        CHECKS["imports_nothing_heavy"](heavy_plugin.Light())


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(
        AssertionError, match=r"(?s)Broken fails \d of 9 checks.*gives_what_it_says: provides says.*lut"
    ):
        check(broken(provides=("lut", "ff")))


class FakeDistribution:
    name, version = "acme-cost", "1.2"


@pytest.fixture
def offer(monkeypatch):
    """Offer cost models under entry points."""
    monkeypatch.setattr(_base, "_MODELS", dict(_base._MODELS))

    def put(**values):
        points = []
        for name, value in values.items():
            point = EntryPoint(name, value, _base.GROUP)
            vars(point)["dist"] = FakeDistribution
            points.append(point)
        monkeypatch.setattr(_base, "entry_points", lambda group: points if group == _base.GROUP else [])
        monkeypatch.setattr(_base, "_offered", None)

    return put


class Watts:
    name = "watts"
    provides = ("power_w",)

    def supports(self, design):
        return None

    def estimate(self, designs, target):
        quantity = Quantity(value=1.0, unit="W", stage="predicted", source="acme")
        return [Estimate(quantities={"power_w": quantity}) for _ in designs]


def test_a_plug_in_is_found_by_name_and_by_what_it_gives(offer):
    offer(watts=f"{__name__}:Watts")
    assert set(names()) == {*OWN, "learned", "rule4ml", "watts"}
    assert "watts" not in _base._MODELS
    assert providing("power_w").name == "watts"
    assert find("watts").estimate([design()], None)[0]["power_w"].unit == "W"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:Model", r"cost model 'bad' of acme-cost 1.2 \(no_such_module:Model\) cannot be loaded: Modul"),
        (f"{__name__}:Missing", r"of acme-cost 1.2 .*cannot be loaded: AttributeError.*repair that package, or unins"),
        ("fractions:Fraction", r"is no cost model: it has no name and no provides and no supports and no estimate"),
        (f"{__name__}:Watts", r"of acme-cost 1.2 .* calls itself 'watts'; its entry point must have the same name"),
    ],
)
def test_a_broken_plug_in_names_its_distribution(offer, value, message):
    offer(bad=value)
    with pytest.raises(ConfigError, match=message):
        find("bad")
    assert find("ebops").name == "ebops"


def test_two_models_of_one_name_are_refused(offer):
    offer(ebops=f"{__name__}:Watts")
    with pytest.raises(ConfigError, match=r"acme-cost 1.2 offers a cost model 'ebops', and so does weft itself; unins"):
        names()


def test_a_design_of_the_suite_is_what_it_says():
    dead, none = design(dead=2), design(scale=0.0)
    assert CostInput(dead.model).objection is None
    assert not np.array(none.model.layers[1].qkernel).any()
    assert not np.array(dead.model.layers[1].qkernel)[:, -1].any()
