"""Low-rank factorisation: a layer's kernel W becomes U V, two layers with fewer weights than the one.

The kernel is a matrix of what an output reads by outputs, U V its singular value decomposition cut at rank r, which is
the nearest matrix of that rank (Eckart and Young, 1936); both factors take the root of the singular values. A
convolution becomes one with r filters and one of size 1 behind it (Zhang et al., 2015, arXiv:1505.06798).

For a budget, the ranks of all layers are lowered together. A layer's error is the share of its squared singular values
that is cut off. Of all steps to a lower rank, along the convex hull of each layer's choices, the one with the least
error for what it saves is taken next, and what the last one saves beyond need is given back to its layer.
"""

from __future__ import annotations

import string
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from weft.compression._products import einsum_labels, float_kernels
from weft.config.low_rank import LowRankBudget, LowRankConfig
from weft.errors import BudgetError, ConfigError, NoEffectWarning, ShapeError

if TYPE_CHECKING:
    import keras

    from weft.quantize.counterparts import Made
    from weft.quantize.graph import Call

Budget = LowRankBudget | Mapping[str, int]
_KNOWN = ("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D")


def factorize(
    model: keras.Model,
    *,
    energy: float | None = None,
    rank: int | Mapping[str, int] | None = None,
    budget: Budget | None = None,
    layers: Sequence[str] = ("*",),
) -> keras.Model:
    """Return a model in which layers are factorised where that saves weights; ranks are chosen in one of three ways.

    Dense, EinsumDense and Conv1D to Conv3D layers can be factorised. The others, a layer whose kernel has a constraint,
    and one without saving stay as they are. A layer `name` becomes `name_u`, linear and without bias, and `name_v`.
    Weights, topology and the other names stay.

    Args:
        model: A built Sequential or functional Keras model; it is not changed.
        energy: Share of the sum of squared singular values that each layer keeps, in (0, 1].
        rank: Rank of every layer, or ranks of layers by name, place or pattern, of which the first that matches counts.
        budget: What the whole network may have: `{"parameters": n}`, as `model.count_params()` counts them, or
            `{"macs": n}`, products with weights in one inference.
        layers: Layers that may be factorised, by name, place or pattern.

    Warns:
        NoEffectWarning: A pattern matches no layer that can be factorised, or no layer has a saving.

    Raises:
        ConfigError: Not exactly one of energy, rank and budget is given, or it is out of range.
        BudgetError: The network is above the budget with rank 1 everywhere; the message names what it comes to.
        ShapeError: MACs are asked for, and the shape of an input is not known.
        UnsupportedError: The model has no graph, or products that are not known, and MACs are asked for.
    """
    from weft.quantize.counterparts import copied
    from weft.quantize.graph import rebuild

    chosen = ranks(model, energy=energy, rank=rank, budget=budget, layers=layers)
    made: list[Made] = []

    def replace(call: Call) -> Sequence[Any]:
        factors = _factors(call) if call.place in chosen else None
        made.append(copied(call.operation) if factors is None else factors.pair(chosen[call.place]))
        return made[-1].steps

    new = rebuild(model, replace)
    for one in made:
        one.copy()
    return new


def ranks(
    model: keras.Model,
    *,
    energy: float | None = None,
    rank: int | Mapping[str, int] | None = None,
    budget: Budget | None = None,
    layers: Sequence[str] = ("*",),
) -> dict[str, int]:
    """Return the ranks of the layers that `factorize` replaces, by place; it takes the same arguments."""
    from weft.quantize.graph import walk
    from weft.quantize.selection import matches, warn_of_unmatched

    each = rank if isinstance(rank, Mapping) else {"*": rank} if rank is not None else {}
    config = _read(energy=energy, rank=min(each.values(), default=None), budget=budget, layers=list(layers))
    calls = {id(call.operation): call for call in reversed(list(walk(model)))}  # the first call of each
    found = [factors for call in calls.values() if (factors := _factors(call)) is not None]
    for patterns, what in ((layers, "layers"), (each, "rank")):
        warn_of_unmatched(patterns, [factors.place for factors in found], what, stacklevel=2)
    found = [factors for factors in found if any(matches(pattern, factors.place) for pattern in layers)]
    if config.budget is not None:
        chosen = _within(model, found, config.budget)
    elif config.energy is not None:
        chosen = {factors.place: factors.rank_for(config.energy) for factors in found}
    else:
        first = {f.place: next((r for pattern, r in each.items() if matches(pattern, f.place)), None) for f in found}
        chosen = {place: r for place, r in first.items() if r is not None}
    if config.budget is None:
        chosen = {f.place: chosen[f.place] for f in found if f.place in chosen and f.saves(chosen[f.place])}
    if not chosen:
        warnings.warn(
            f"no layer of '{model.name}' becomes smaller at the ranks that were asked for, so none is factorised",
            NoEffectWarning,
            stacklevel=2,
        )
    return chosen


@dataclass(frozen=True)
class _Factors:
    """A layer that can be factorised.

    Attributes:
        place: Its place in the model.
        layer: The layer.
        read: The axes of its kernel that number what an output reads; the others number outputs.
        input_shape: Shape of what it reads, with the batch axis.
    """

    place: str
    layer: Any
    read: tuple[int, ...]
    input_shape: tuple[int | None, ...]

    @cached_property
    def sizes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        shape = tuple(int(size) for size in self.layer.kernel.shape)
        own = tuple(size for axis, size in enumerate(shape) if axis not in self.read)
        return tuple(shape[axis] for axis in self.read), own

    @cached_property
    def n_in(self) -> int:
        return int(np.prod(self.sizes[0]))

    @cached_property
    def n_out(self) -> int:
        return int(np.prod(self.sizes[1]))

    @cached_property
    def decomposed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """U, singular values from the largest, and V of the kernel as a matrix (n_in, n_out), in float64."""
        kernel = _array(self.layer.kernel).astype(np.float64)
        own = [axis for axis in range(kernel.ndim) if axis not in self.read]
        return np.linalg.svd(kernel.transpose(*self.read, *own).reshape(self.n_in, self.n_out), full_matrices=False)

    @cached_property
    def energies(self) -> np.ndarray:
        """Share of the squared singular values that each rank keeps, from rank 1."""
        squares = np.square(self.decomposed[1])
        total = squares.sum()
        return np.cumsum(squares) / total if total > 0 else np.ones(len(squares))

    def rank_for(self, energy: float) -> int:
        """Return the smallest rank that keeps a share; rounding of the sums is not held against it."""
        return min(int(np.searchsorted(self.energies, energy - 1e-12)) + 1, len(self.energies))

    def saves(self, rank: int) -> bool:
        """Whether two layers of this rank have fewer weights than the one."""
        return rank * (self.n_in + self.n_out) < self.n_in * self.n_out

    def pair(self, rank: int) -> Made:
        """Make the two layers."""
        from weft.quantize.counterparts import Made

        config = self.layer.get_config()
        linear = {"use_bias": False, "activation": None, "activity_regularizer": None}
        names = {"name": f"{self.layer.name}_u"}, {"name": f"{self.layer.name}_v"}
        kind = type(self.layer)
        if kind.__name__ == "EinsumDense":
            del linear["use_bias"]
            first, second = self._equations(rank)
            u, v = linear | {"bias_axes": None} | first, second
        elif kind.__name__ == "Dense":
            u, v = linear | {"units": rank}, {}
        else:
            once = (1,) * self.layer.rank
            u = linear | {"filters": rank}
            v = {"kernel_size": once, "strides": once, "dilation_rate": once, "padding": "valid"}
        one, two = kind.from_config(config | u | names[0]), kind.from_config(config | v | names[1])
        return Made([one, two], lambda: self._copy(one, two, rank))

    def _equations(self, rank: int) -> tuple[dict[str, Any], dict[str, Any]]:
        data, kernel, output = einsum_labels(self.layer.equation)
        new = next(label for label in string.ascii_letters if label not in self.layer.equation)
        read = "".join(kernel[axis] for axis in self.read)
        own = "".join(label for label in kernel if label not in read)
        before, dots, after = data.partition("...")
        sizes = dict(zip(before, self.input_shape, strict=False))
        sizes |= dict(zip(reversed(after), reversed(self.input_shape), strict=False))
        before, after = ("".join(label for label in part if label not in read) for part in (before, after))
        before, after = (before, after + new) if after or (dots and not before) else (before + new, after)
        labels = before + after if dots and not before else (before + after)[1:]  # without that of the batch axis
        shape = tuple(rank if label == new else sizes[label] for label in labels)
        between = before + dots + after
        first = {"equation": f"{data},{read}{new}->{between}", "output_shape": shape}
        return first, {"equation": f"{between},{new}{own}->{output}"}

    def _copy(self, one: Any, two: Any, rank: int) -> None:
        u, s, v = self.decomposed
        root = np.sqrt(s[:rank])
        one.kernel.assign((u[:, :rank] * root).reshape(one.kernel.shape))
        two.kernel.assign((root[:, None] * v[:rank]).reshape(two.kernel.shape))
        if self.layer.bias is not None:
            two.bias.assign(self.layer.bias)


def _factors(call: Call) -> _Factors | None:
    """Return the factors of a layer, or None if it has none."""
    from weft.quantize.operations import is_keras

    layer, kind = call.operation, type(call.operation).__name__
    if not is_keras(layer) or kind not in _KNOWN or layer.kernel_constraint is not None:
        return None
    if kind == "EinsumDense":
        data, kernel, output = einsum_labels(layer.equation)
        if any(label in data and label in output for label in kernel):
            return None  # it has a kernel for each position
        read = tuple(axis for axis, label in enumerate(kernel) if label in data)
    elif getattr(layer, "groups", 1) > 1:
        return None
    else:
        read = tuple(range(len(layer.kernel.shape) - 1))
    return _Factors(call.place, layer, read, tuple(call.inputs[0].shape))


@dataclass(frozen=True)
class _Choice:
    """One rank of one layer, or None for the layer as it is: what it costs, and its error."""

    place: str
    rank: int | None
    cost: float
    error: float


def _within(model: keras.Model, found: Sequence[_Factors], budget: LowRankBudget) -> dict[str, int]:
    """Return the ranks with which the network meets a budget."""
    if budget.parameters is not None:
        limit, total, unit = budget.parameters, model.count_params(), "parameters"
        prices = {f.place: (f.n_in + f.n_out, f.n_in * f.n_out) for f in found}
    else:
        limit, unit = budget.macs or 0, "macs"
        kernels = float_kernels(model, _zeros(model))
        total = sum(int(kernel.products.sum()) for kernel in kernels)
        by_layer = {id(kernel.layer): kernel for kernel in kernels}
        prices = {f.place: _macs(f, by_layer[id(f.layer)]) for f in found}
    hulls = {f.place: _hull(_choices(f, *prices[f.place])) for f in found}
    steps = [(before, after) for hull in hulls.values() for before, after in zip(hull[1:], hull, strict=False)]
    taken: dict[str, _Choice] = {}
    last: tuple[_Choice, _Choice] | None = None
    for before, after in sorted(steps, key=lambda step: _price(*step)):
        if total <= limit:
            break
        taken[after.place] = after
        total -= before.cost - after.cost
        last = before, after
    if total > limit:
        raise BudgetError(
            f"cannot factorise '{model.name}' to {unit} <= {limit}: with rank 1 in all of its {len(found)} layers that "
            f"can be factorised it has {total:g}; raise the budget, or make the network smaller"
        )
    if last is not None:
        place = last[1].place
        factors, room = next(f for f in found if f.place == place), last[1].cost + limit - total
        fits = [choice for choice in _choices(factors, *prices[place]) if choice.rank and choice.cost <= room]
        taken[place] = max(fits, key=lambda choice: choice.cost)
    return {place: choice.rank for place, choice in taken.items() if choice.rank is not None}


def _macs(factors: _Factors, kernel: Any) -> tuple[float, float]:
    """Return the products of both factors for each rank, and those of the layer as it is."""
    whole = float(kernel.products.sum())
    return whole / factors.n_out + kernel.positions * factors.n_out, whole


def _choices(factors: _Factors, each: float, whole: float) -> list[_Choice]:
    """Return the ranks that save, from the cheapest, and the layer as it is."""
    thin = [
        _Choice(factors.place, rank, rank * each, 1 - float(kept))
        for rank, kept in enumerate(factors.energies, start=1)
        if rank * each < whole
    ]
    return [*thin, _Choice(factors.place, None, whole, 0.0)]


def _hull(choices: Sequence[_Choice]) -> list[_Choice]:
    """Return the choices below which no line between two others runs."""
    hull: list[_Choice] = []
    for choice in choices:
        while len(hull) > 1 and _price(hull[-1], hull[-2]) <= _price(choice, hull[-1]):
            hull.pop()
        hull.append(choice)
    return hull


def _price(before: _Choice, after: _Choice) -> float:
    """Return the error that a step to a cheaper choice adds for what it saves."""
    return (after.error - before.error) / (before.cost - after.cost)


def _zeros(model: keras.Model) -> Any:
    import keras

    def one(tensor: Any) -> np.ndarray:
        if None in tensor.shape[1:]:
            raise ShapeError(
                f"the MACs of '{model.name}' depend on its input '{tensor.name}' of shape {tuple(tensor.shape)}; give "
                "keras.Input a shape without None, or a budget of parameters"
            )
        return np.zeros((1, *tensor.shape[1:]), tensor.dtype)

    return keras.tree.map_structure(one, model.input)


def _read(**given: Any) -> LowRankConfig:
    from weft.config.explain import explain

    section = {name: value for name, value in given.items() if value is not None}
    try:
        return LowRankConfig.model_validate(section)
    except ValidationError as error:
        found = explain(error, section, LowRankConfig)
        raise ConfigError(
            "; ".join(f"{'.'.join(map(str, path))}: {text}".removeprefix(": ") for path, text in found)
        ) from error


def _array(variable: Any) -> np.ndarray:
    import keras

    return np.array(keras.ops.convert_to_numpy(variable))
