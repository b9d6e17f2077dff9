"""Quantised layers to write a model with by hand: `QDense(64, activation="relu", weight={"bits": 6}, prune="dst")`.

Each takes the constructor arguments of the Keras layer of that name without the Q, with that layer's defaults, and
returns the layer of HGQ2 that `convert` would put in its place. Besides these it takes

- `weight`, `bias`, `input`, `output`, `table`: `QuantizerSettings`, or a mapping of them, for the quantiser of that
  place; what is left out follows the numbers;
- `hard` and `multiplier`: as in `LayerSettings`, for tanh, sigmoid and ReLU;
- `numbers`: how values are represented, `FixedNumbers`, `HgqNumbers` or `FloatNumbers`, or a mapping;
- `prune`: a pruning method, its name, or a mapping of its parameters.

Where one layer does not do it (an activation that is a table, a separable convolution), what is returned is a
`keras.Sequential` of several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from inspect import Parameter, signature
from typing import Any

import keras
from pydantic import TypeAdapter, ValidationError

from weft.config.explain import explain
from weft.config.numbers import FixedNumbers, FloatNumbers, HgqNumbers, LayerSettings, Numbers
from weft.errors import ConfigError
from weft.prune import Method, method_of
from weft.quantize.counterparts import LAYERS, Kit
from weft.section import Section

_PLACES = ("weight", "bias", "input", "output", "table", "hard", "multiplier")
_defaults: ContextVar[tuple[Any, Any]] = ContextVar("defaults", default=(HgqNumbers(), None))


@contextmanager
def defaults(
    *, numbers: Numbers | Mapping[str, Any] | None = None, prune: Method | Mapping[str, Any] | str | None = None
) -> Iterator[None]:
    """Give all layers that are made in the context these numbers and this pruning method, where they say nothing else.

    Raises:
        ConfigError: The numbers or the method are not valid.
    """
    before = _defaults.get()
    token = _defaults.set((_numbers(numbers) or before[0], _method(prune) or before[1]))
    try:
        yield
    finally:
        _defaults.reset(token)


def _quantized(name: str) -> Callable[..., Any]:
    kind, rule = getattr(keras.layers, name), LAYERS[name]

    def make(
        *args: Any,
        numbers: Numbers | Mapping[str, Any] | None = None,
        prune: Method | Mapping[str, Any] | str | bool | None = None,
        **kwargs: Any,
    ) -> Any:
        given = {place: kwargs.pop(place) for place in _PLACES if kwargs.get(place) is not None}
        wrong = [part for part in (*given, *(["prune"] if prune else [])) if part not in rule.parts]
        if wrong:
            raise ConfigError(
                f"Q{name} has no {' and no '.join(wrong)} to quantise or prune; it has {', '.join(rule.parts)}"
            )
        usual, method = _defaults.get()
        if prune is not None:
            method = _method(prune)
        layer = kind(*args, **kwargs)
        if getattr(layer, "lora_rank", None) is not None:
            raise ConfigError(
                f"Q{name} has no lora_rank: its kernel would be a sum of two, and hardware multiplies with one; train "
                f"with keras.layers.{name}, merge, and compress the model, or factorise it with low_rank in a recipe"
            )
        kit = Kit(_numbers(numbers) or usual, _settings(name, given), method if "prune" in rule.parts else None)
        steps = rule.make(layer, kit).steps
        return steps[0] if len(steps) == 1 else keras.Sequential(list(steps), name=layer.name)

    mine = [Parameter(place, Parameter.KEYWORD_ONLY, default=None) for place in (*_PLACES, "numbers", "prune")]
    theirs = list(signature(kind.__init__).parameters.values())[1:]
    rest = [parameter for parameter in theirs if parameter.kind is Parameter.VAR_KEYWORD]
    first = [parameter for parameter in theirs if parameter.kind is not Parameter.VAR_KEYWORD]
    make.__signature__ = signature(make).replace(parameters=[*first, *mine, *rest], return_annotation=Any)  # type: ignore[attr-defined]
    make.__name__ = make.__qualname__ = f"Q{name}"
    make.__doc__ = (
        f"Return a quantised `keras.layers.{name}`; it takes that layer's arguments, and {', '.join(rule.parts)}.\n\n"
        "Raises:\n    ConfigError: A quantiser or the pruning method is not valid."
    )
    return make


def _settings(name: str, given: Mapping[str, Any]) -> LayerSettings:
    values = {
        place: one.model_dump(exclude_unset=True) if isinstance(one, Section) else one for place, one in given.items()
    }
    try:
        return LayerSettings.model_validate(values)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, path))} {text}" for path, text in explain(error, values, LayerSettings))
        raise ConfigError(f"Q{name} cannot be quantised so: {found}") from error


def _numbers(given: Any) -> FloatNumbers | FixedNumbers | HgqNumbers | None:
    if given is None or isinstance(given, FloatNumbers | FixedNumbers | HgqNumbers):
        return given
    try:
        return TypeAdapter(Numbers).validate_python(given)
    except ValidationError as error:
        raise ConfigError(f"numbers={given!r} are not valid: {error.errors()[0]['msg']}") from error


def _method(given: Any) -> Method | None:
    if given is None or given is False or isinstance(given, Method):
        return given or None
    if not isinstance(given, str | Mapping):
        raise ConfigError(f"prune must be a method, its name, or a mapping of its parameters; got {given!r}")
    values = {"method": given} if isinstance(given, str) else dict(given)
    if "method" not in values:
        raise ConfigError(f"prune={given!r} names no method; give it as method")
    try:
        kind = method_of(str(values["method"]))
    except ValueError as error:
        raise ConfigError(f"prune={given!r} is not valid: {error}") from error
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, path))} {text}" for path, text in explain(error, values, kind))
        raise ConfigError(f"prune={given!r} is not valid: {found}") from error


_MADE = {f"Q{name}": _quantized(name) for name in LAYERS}
globals().update(_MADE)

__all__ = ["defaults", *_MADE]
