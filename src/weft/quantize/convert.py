"""From any Keras model to the same model in quantised layers.

Every layer is replaced by its counterpart (`weft.quantize.counterparts`) in the same place of the same graph, with its
weights and under its name. Nothing is skipped in silence: what cannot be replaced is an error, and all such errors are
found before anything is built.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from hgq.quantizer import Quantizer

from weft.config.numbers import FixedNumbers, FloatNumbers, HgqNumbers, LayerSettings
from weft.errors import NoEffectWarning, ShapeError, UnsupportedError
from weft.prune import Method
from weft.quantize.counterparts import Kit, Made, copied, why_missing, with_method
from weft.quantize.graph import Call, graph_of, rebuild
from weft.quantize.operations import is_pure, is_quantized, kind_of
from weft.quantize.selection import matches, method_for, settings_of, warn_of_unmatched
from weft.quantize.survey import Survey, Use


def convert(
    model: keras.Model,
    numbers: FloatNumbers | FixedNumbers | HgqNumbers,
    layers: Mapping[str, LayerSettings] | None = None,
    method: Method | None = None,
    *,
    fuse_batch_norm: bool = True,
    keep_float: Sequence[str] = (),
    prune_first: bool = True,
) -> keras.Model:
    """Return a model of quantised layers that computes the same as `model`, up to their rounding.

    Topology, names and weights stay. A layer whose function HGQ2 does not compute inline becomes two, of which the
    second is called `<name>_act`; a batch normalisation that alone reads a dense layer
    or a convolution becomes one with it. HGQ2 layers stay as
    they are, but for the pruning method. The result is not compiled.

    Args:
        model: A built Keras model, sequential or functional; it is not changed.
        numbers: How weights and activations are represented. Float numbers give quantisers that change nothing, so
            that a float network can be pruned.
        layers: What single layers do differently, by name, by place (`encoder/dense`) or by pattern. A name goes before
            a pattern, a later entry before an earlier one.
        method: The pruning method to put around the quantisers of the kernels; its `only` and `skip` choose layers.
        fuse_batch_norm: Whether a batch normalisation that alone reads a dense layer or a convolution becomes one layer
            with it.
        keep_float: Layers that stay in float, by name, place or pattern.
        prune_first: Whether the mask comes before the quantiser, or after it.

    Raises:
        UnsupportedError: Layers that have no counterpart, all of them, each with its place and a remedy.
        ShapeError: Kernels that the method cannot prune, all of them.
        ConfigError: The settings of a layer do not fit the numbers or the method.
    """
    survey = Survey(model, fuse_batch_norm, keep_float)
    plan = _Plan(survey, numbers, layers or {}, method, prune_first)
    plan.check(model)
    plan.warn(layers or {}, method, keep_float)
    made: list[Made] = []

    def replace(call: Call) -> Sequence[Any]:
        made.append(plan.make(survey.uses[id(call.operation)]))
        return made[-1].steps

    new = rebuild(model, replace, plan.quantizer)
    for one in made:
        one.copy()
    return new


class _Plan:
    """What becomes of each operation."""

    def __init__(
        self, survey: Survey, numbers: Any, layers: Mapping[str, LayerSettings], method: Method | None, first: bool
    ) -> None:
        self._survey, self._numbers = survey, numbers
        taken = frozenset(use.operation.name for use in survey.uses.values())
        self._names = set(taken)
        self._kits: dict[int, Kit] = {}
        for key, use in survey.uses.items():
            settings = settings_of(layers, use.place)
            mine = method_for(method, settings, use.place) if use.prunable else None
            self._kits[key] = Kit(numbers, settings, mine, first, use.read, taken)

    def check(self, model: Any) -> None:
        """Raise one error for all that cannot be done."""
        problems = [
            f"input '{tensor.name}' has shape {tensor.shape}, and hardware needs a fixed one; give keras.Input a shape "
            "without None"
            for tensor in graph_of(model).inputs
            if None in tensor.shape[1:]
        ]
        problems += [
            f"'{use.place}' ({type(use.operation).__name__}): {reason}"
            for use in self._survey.uses.values()
            if (reason := self._objection(use)) is not None
        ]
        if problems:
            raise UnsupportedError(
                f"cannot convert model '{model.name}' to quantised layers:\n- "
                + "\n- ".join(problems)
                + "\nChange the model, or list in keep_float the layers that are to stay in float, which firmware "
                "cannot have"
            )
        shapes = [
            problem for key, use in self._survey.uses.items() for problem in self._unprunable(use, self._kits[key])
        ]
        if shapes:
            raise ShapeError(
                f"cannot prune model '{model.name}':\n- "
                + "\n- ".join(shapes)
                + "\nList these layers in prune.skip, or choose another method"
            )

    def _objection(self, use: Use) -> str | None:
        if use.kept or use.is_fused or is_quantized(use.operation):
            return None
        if use.rule is not None:
            return next((found for call in use.calls if (found := use.rule.objection(call)) is not None), None)
        exact = ("moves", "adds", "selects") if is_pure(use.operation) else ("moves",)
        return None if kind_of(use.operation) in exact else why_missing(use.operation)

    @staticmethod
    def _unprunable(use: Use, kit: Kit) -> list[str]:
        if kit.method is None or use.rule is None:
            return []
        reasons = [(axes, kit.method.check(axes.geometry)) for axes in use.rule.kernels(use.operation)]
        return [
            f"'{use.place}' ({type(use.operation).__name__}), kernel of shape {axes.shape}: method "
            f"'{kit.method.method}' {reason}"
            for axes, reason in reasons
            if reason is not None
        ]

    def warn(self, layers: Mapping[str, LayerSettings], method: Method | None, keep_float: Sequence[str]) -> None:
        """Warn of patterns that mean no layer."""
        uses = self._survey.uses.values()
        warn_of_unmatched(layers, [use.place for use in uses if use.parts], "layers", stacklevel=3)
        for pattern, settings in layers.items():
            meant = [use for use in uses if use.parts and matches(pattern, use.place)]
            for part in settings.model_dump(exclude_defaults=True) if meant else ():
                if not any(part in use.parts for use in meant):
                    some = ", ".join(f"{use.place} ({type(use.operation).__name__})" for use in meant[:3])
                    warnings.warn(
                        f"'{pattern}' in layers sets {part}, which means nothing for {some}; leave it out",
                        NoEffectWarning,
                        stacklevel=3,
                    )
        warn_of_unmatched(keep_float, [use.place for use in uses], "keep_float", stacklevel=3)
        if method is not None:
            prunable = [use.place for use in uses if use.prunable]
            warn_of_unmatched(method.only, prunable, "prune.only", stacklevel=3)
            warn_of_unmatched(method.skip, prunable, "prune.skip", stacklevel=3)

    def make(self, use: Use) -> Made:
        """Return what takes the place of an operation."""
        kit, operation = self._kits[id(use.operation)], use.operation
        if use.is_fused:
            return Made([])
        if use.kept or use.rule is None:
            return copied(operation)
        if is_quantized(operation):
            return copied(operation) if kit.method is None else with_method(operation, kit, use.rule.kernels(operation))
        if use.fused is not None:
            assert use.rule.fuse is not None  # the survey fuses no others
            return use.rule.fuse(operation, use.fused, kit)
        return use.rule.make(operation, kit)

    def quantizer(self, call: Call | None, tensor: Any) -> Quantizer | None:
        """Return the quantiser that a pure operation, or an output, needs where it reads what nothing has quantised."""
        if isinstance(self._numbers, FloatNumbers):
            return None
        if call is None:
            end = self._survey.ends.get(id(tensor))
            if end is None:
                return None
            name = self._unused(f"{tensor._keras_history.operation.name}_output")
            return Quantizer(Kit(self._numbers, reads=(end,)).input(), name=name)
        read, use = self._survey.raw.get((id(call.node), id(tensor))), self._survey.uses.get(id(call.operation))
        if read is None or use is None:
            return None
        if use.rule is not None and len(use.read) > 1:
            return None  # its counterpart quantises what it reads
        kit = Kit(self._numbers, self._kits[id(use.operation)].settings, reads=(read,))
        name = f"{use.operation.name}_input{next(i for i, one in enumerate(call.inputs) if one is tensor)}"
        return Quantizer(kit.input(), name=self._unused(name))

    def _unused(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name
