"""What a cost model is, and how it is found by name or by what it provides."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol

from weft.cost.products import Product, objection, products
from weft.errors import ConfigError, UnsupportedError
from weft.objectives import is_function
from weft.types import Estimate

if TYPE_CHECKING:
    from weft.adder_graph import AdderGraph
    from weft.config.firmware import RtlConfig


@dataclass(frozen=True, eq=False)
class CostInput:
    """One design, as cost models see it.

    Attributes:
        model: A finalised Keras model; None if only the graph is at hand.
        graph: Its adder graph, if it is at hand.
        rtl: How the graph is made and cut into stages, if it is not at hand; None for the defaults.
    """

    model: Any = None
    graph: AdderGraph | None = None
    rtl: RtlConfig | None = None
    _said: list[tuple[str, Target, Estimate]] = field(
        default_factory=list[tuple[str, "Target", Estimate]], init=False, repr=False
    )

    def ask(self, model: CostModel, target: Target) -> Estimate:
        """Return what a cost model says of this design; it is asked once for each target."""
        for name, known, said in self._said:
            if name == model.name and known == target:
                return said
        (found,) = model.estimate([self], target)
        self._said.append((model.name, target, found))
        return found

    @cached_property
    def objection(self) -> str | None:
        """Why the products of the design are not known, or None."""
        if self.model is None:
            return "it needs the Keras model, and only an adder graph was given"
        return objection(self.model)

    @cached_property
    def traced(self) -> AdderGraph:
        """The adder graph: the one given, or that of the model, traced once for all cost models."""
        from weft.adder_graph import AdderGraph

        if self.graph is not None:
            return self.graph
        return AdderGraph.from_model(self.model) if self.rtl is None else AdderGraph.from_model(self.model, self.rtl)

    @cached_property
    def products(self) -> list[Product]:
        """The products of the model as arrays, read once for all cost models."""
        return products(self.model)


class Target(Protocol):
    """What a cost model asks of a target."""

    @property
    def part(self) -> str: ...

    @property
    def clock_period_ns(self) -> float: ...


class CostModel(Protocol):
    """An estimator of quantities of hardware.

    Attributes:
        name: The name it is registered under.
        provides: Names of the quantities in its estimates, as in `weft.objectives.OBJECTIVES`.
    """

    @property
    def name(self) -> str: ...

    @property
    def provides(self) -> tuple[str, ...]: ...

    def supports(self, design: CostInput) -> str | None:
        """Return None if the design can be estimated, else the reason why not."""
        ...

    def estimate(self, designs: Sequence[CostInput], target: Target) -> list[Estimate]:
        """Estimate each design, in order.

        Raises:
            UnsupportedError: A design is not supported; the message is the reason of `supports`.
        """
        ...


GROUP = "weft.cost_models"
"""The entry points under which packages offer cost models: classes, or functions that return an instance."""

_MODELS: dict[str, CostModel] = {}
_offered: dict[str, EntryPoint] | None = None


def register(model: Callable[[], CostModel]) -> Callable[[], CostModel]:
    """Register a cost model class under the name of its instance."""
    instance = model()
    _MODELS[instance.name] = instance
    return model


def names() -> tuple[str, ...]:
    """Return the names of all cost models, sorted; a plug-in is not imported for that."""
    return tuple(sorted({*_MODELS, *_plug_ins()}))


def find(name: str) -> CostModel:
    """Return a cost model by name.

    Raises:
        ConfigError: There is none; the message names the nearest. Or it is a plug-in that cannot be used; the message
            names the distribution that offers it.
    """
    if name not in _MODELS:
        offered = _plug_ins()
        if name not in offered:
            near = difflib.get_close_matches(name, names(), 1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names())}"
            raise ConfigError(f"no cost model is called '{name}'; {hint}")
        _MODELS[name] = _load(name, offered[name])
    return _MODELS[name]


def providing(quantity: str, among: Sequence[str] = ()) -> CostModel:
    """Return the cost model that gives a quantity.

    Args:
        quantity: Its name.
        among: Names of cost models that are asked first, in this order; then weft's own, and plug-ins last.

    Raises:
        ConfigError: None gives it; the message lists those that are given.
    """
    if is_function(quantity):
        from weft.cost.function import FunctionCost

        return FunctionCost(quantity)
    every = list(dict.fromkeys((*among, *_MODELS, *names())))
    for name in every:
        if quantity in find(name).provides:
            return find(name)
    known = ", ".join(sorted({given for name in every for given in find(name).provides}))
    raise ConfigError(f"no cost model gives '{quantity}'; they give {known}")


def _plug_ins() -> dict[str, EntryPoint]:
    """Return the cost models that other packages offer, found at the first question and not imported."""
    global _offered
    if _offered is None:
        _offered = {}
        for point in entry_points(group=GROUP):
            if point.name in _MODELS or point.name in _offered:
                other = _distribution(_offered[point.name]) if point.name in _offered else "weft itself"
                raise ConfigError(
                    f"{_distribution(point)} offers a cost model '{point.name}', and so does {other}; uninstall one"
                )
            _offered[point.name] = point
    return _offered


def _load(name: str, point: EntryPoint) -> CostModel:
    whose = f"cost model '{name}' of {_distribution(point)} ({point.value})"
    try:
        model = point.load()()
    except Exception as error:
        raise ConfigError(
            f"{whose} cannot be loaded: {type(error).__name__}: {error}; repair that package, or uninstall it"
        ) from error
    lacks = [part for part in ("name", "provides", "supports", "estimate") if not hasattr(model, part)]
    if lacks:
        raise ConfigError(f"{whose} is no cost model: it has no {' and no '.join(lacks)}")
    if model.name != name:
        raise ConfigError(f"{whose} calls itself '{model.name}'; its entry point must have the same name")
    return model


def _distribution(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def require(model: CostModel, design: CostInput) -> None:
    """Raise what a cost model has against a design."""
    reason = model.supports(design)
    if reason is not None:
        raise UnsupportedError(f"cost model '{model.name}' cannot estimate this design: {reason}")
