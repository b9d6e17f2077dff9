"""What a cost model is, and how it is found by name or by what it provides."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from weft.cost.products import Product, objection, products
from weft.errors import ConfigError, UnsupportedError
from weft.types import Estimate

if TYPE_CHECKING:
    from weft.adder_graph import AdderGraph


@dataclass(frozen=True, eq=False)
class CostInput:
    """One design, as cost models see it.

    Attributes:
        model: A finalised Keras model; None if only the graph is at hand.
        graph: Its adder graph, if it has been traced already; a model that needs it traces it otherwise.
    """

    model: Any = None
    graph: AdderGraph | None = None

    @cached_property
    def objection(self) -> str | None:
        """Why the products of the design are not known, or None."""
        if self.model is None:
            return "it needs the Keras model, and only an adder graph was given"
        return objection(self.model)

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


_MODELS: dict[str, CostModel] = {}


def register(model: Callable[[], CostModel]) -> Callable[[], CostModel]:
    """Register a cost model class under the name of its instance."""
    instance = model()
    _MODELS[instance.name] = instance
    return model


def names() -> tuple[str, ...]:
    """Return the names of all cost models, sorted."""
    return tuple(sorted(_MODELS))


def find(name: str) -> CostModel:
    """Return a cost model by name.

    Raises:
        ConfigError: There is none; the message names the nearest.
    """
    if name not in _MODELS:
        near = difflib.get_close_matches(name, _MODELS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names())}"
        raise ConfigError(f"no cost model is called '{name}'; {hint}")
    return _MODELS[name]


def providing(quantity: str) -> CostModel:
    """Return the cost model that gives a quantity.

    Raises:
        ConfigError: None gives it; the message lists those that are given.
    """
    for model in _MODELS.values():
        if quantity in model.provides:
            return model
    known = ", ".join(sorted(name for model in _MODELS.values() for name in model.provides))
    raise ConfigError(f"no cost model gives '{quantity}'; they give {known}")


def require(model: CostModel, design: CostInput) -> None:
    """Raise what a cost model has against a design."""
    reason = model.supports(design)
    if reason is not None:
        raise UnsupportedError(f"cost model '{model.name}' cannot estimate this design: {reason}")
