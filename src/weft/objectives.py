"""What a search can optimise and constrain: each name once, with its direction, unit and meaning.

A function of the user's own is an objective, too. Its name is a text that says all there is to know of it:
`my_module:my_cost`, or with direction and unit `my_module:my_gain max [pJ]`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from weft import user_code
from weft.errors import ConfigError

Direction = Literal["max", "min"]


@dataclass(frozen=True)
class ObjectiveSpec:
    """One objective: `kind` says whether it is measured on data (`metric`) or computed from the design (`cost`).

    `of_part` says that it is a share of what an FPGA has.
    """

    name: str
    direction: Direction
    unit: str
    kind: Literal["metric", "cost"]
    doc: str
    of_part: bool = False

    def loss(self, value: float) -> float:
        """Return `value` turned so that smaller is better."""
        return -value if self.direction == "max" else value


_ALL = (
    ObjectiveSpec("accuracy", "max", "fraction", "metric", "share of samples whose class is predicted"),
    ObjectiveSpec("auc", "max", "fraction", "metric", "area under the ROC curve, mean over one-against-rest classes"),
    ObjectiveSpec("fidelity", "max", "fraction", "metric", "assignment fidelity 1 - (P(0|1) + P(1|0)) / 2"),
    ObjectiveSpec("efficiency", "max", "fraction", "metric", "signal efficiency at a background efficiency of 1 %"),
    ObjectiveSpec("mse", "min", "squared target unit", "metric", "mean squared error"),
    ObjectiveSpec("bops", "min", "bit operations", "cost", "bit operations, arXiv:2102.11289"),
    ObjectiveSpec("ebops", "min", "bit operations", "cost", "effective bit operations, arXiv:2405.00645"),
    ObjectiveSpec("lut", "min", "count", "cost", "look-up tables"),
    ObjectiveSpec("ff", "min", "count", "cost", "flip-flops"),
    ObjectiveSpec("dsp", "min", "count", "cost", "DSP slices"),
    ObjectiveSpec("bram_18k", "min", "count", "cost", "block RAMs of 18 kbit"),
    ObjectiveSpec("lut_fraction", "min", "fraction", "cost", "share of the part's look-up tables", of_part=True),
    ObjectiveSpec("ff_fraction", "min", "fraction", "cost", "share of the part's flip-flops", of_part=True),
    ObjectiveSpec("dsp_fraction", "min", "fraction", "cost", "share of the part's DSP slices", of_part=True),
    ObjectiveSpec("bram_fraction", "min", "fraction", "cost", "share of the part's block RAMs", of_part=True),
    ObjectiveSpec("avg_resource", "min", "percent", "cost",
                  "mean of the shares of LUT, FF, DSP and BRAM, as SNAC-Pack has it, arXiv:2605.16138", of_part=True),
    ObjectiveSpec("latency_cycles", "min", "cycles", "cost", "clock cycles from input register to output register"),
    ObjectiveSpec("latency_ns", "min", "ns", "cost", "latency in cycles times the clock period asked for"),
    ObjectiveSpec("ii_cycles", "min", "cycles", "cost", "clock cycles from one input to the next"),
    ObjectiveSpec("energy_nj", "min", "nJ", "cost", "energy of the arithmetic of one inference, a model"),
    ObjectiveSpec("parameters", "min", "count", "cost", "weights and biases"),
)  # fmt: skip

_FUNCTION = re.compile(r"([A-Za-z_][\w.]*:[A-Za-z_]\w*)(?: (max|min))?(?: \[([^\[\]]+)\])?")


class _Objectives(dict[str, ObjectiveSpec]):
    """weft's own objectives by name; a text that names a function is looked up as well, and not listed."""

    def __missing__(self, name: str) -> ObjectiveSpec:
        match = _FUNCTION.fullmatch(name)
        if match is None:
            raise KeyError(name)
        direction = cast(Direction, match[2] or "min")
        return ObjectiveSpec(name, direction, match[3] or "", "cost", f"what {match[1]} returns")

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or is_function(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the objective, or `default`."""
        return self[name] if name in self else default


OBJECTIVES: dict[str, ObjectiveSpec] = _Objectives({spec.name: spec for spec in _ALL})
METRICS: tuple[str, ...] = tuple(spec.name for spec in _ALL if spec.kind == "metric")
COSTS: tuple[str, ...] = tuple(spec.name for spec in _ALL if spec.kind == "cost")
SHARES = {"lut_fraction": "lut", "ff_fraction": "ff", "dsp_fraction": "dsp", "bram_fraction": "bram_18k"}
"""What each share is a share of."""


def is_function(name: object) -> bool:
    """Return whether a name is that of a function."""
    return isinstance(name, str) and _FUNCTION.fullmatch(name) is not None


def function_text(function: str, direction: Direction = "min", unit: str = "") -> str:
    """Return the name of a function as an objective.

    Example:
        >>> function_text("power:of", unit="mW"), function_text("power:gain", "max")
        ('power:of [mW]', 'power:gain max')
    """
    return function + (" max" if direction == "max" else "") + (f" [{unit}]" if unit else "")


def load_function(name: str) -> Callable[[Any, Any], float]:
    """Return the function that an objective names: `f(design, target) -> float`, as `weft.cost.CostModel` has them.

    Modules are sought where Python seeks them, and then in the working directory.

    Raises:
        ConfigError: there is none, or it cannot be called so.
    """
    match = _FUNCTION.fullmatch(name)
    assert match is not None, name
    function = user_code.load(match[1], "the objective")
    signature = inspect.signature(function)
    try:
        signature.bind(None, None)
    except TypeError:
        raise ConfigError(
            f"the objective '{match[1]}' must take (design, target), a weft.cost.CostInput and its target; "
            f"it takes {signature.replace(return_annotation=signature.empty)}"
        ) from None
    said = signature.return_annotation
    if said is not signature.empty and getattr(said, "__name__", str(said)).rpartition(".")[2] not in _NUMBERS:
        raise ConfigError(f"the objective '{match[1]}' must return a number; it says that it returns {said}")
    return function


_NUMBERS = ("float", "int", "float32", "float64", "Any", "Real")
