"""What is different in single layers: settings and pruning methods, chosen by names and patterns.

A pattern is matched against a layer's name, and against its place, which begins with the names of the models around
it: `dense`, `encoder/dense`, `encoder/*`.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from weft.config.explain import explain
from weft.config.numbers import LayerSettings
from weft.errors import ConfigError, NoEffectWarning
from weft.prune import Method, method_of
from weft.section import did_you_mean


def matches(pattern: str, place: str) -> bool:
    """Whether a pattern means the layer at a place.

    Example:
        >>> matches("dense*", "encoder/dense_1"), matches("decoder/*", "encoder/dense_1")
        (True, False)
    """
    return fnmatchcase(place, pattern) or fnmatchcase(place.rsplit("/", 1)[-1], pattern)


def settings_of(layers: Mapping[str, LayerSettings], place: str) -> LayerSettings:
    """Return what a layer does differently: of the entries that mean it, names go before patterns, later ones first."""
    merged: dict[str, Any] = {}
    for named in (False, True):
        for pattern, settings in layers.items():
            is_name = pattern in (place, place.rsplit("/", 1)[-1])
            if is_name is named and matches(pattern, place):
                _merge(merged, settings.model_dump(exclude_unset=True))
    return LayerSettings.model_validate(merged)


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def method_for(method: Method | None, settings: LayerSettings, place: str) -> Method | None:
    """Return the pruning method of one layer, with the parameters that its settings change; None leaves it whole.

    Raises:
        ConfigError: The settings' method or parameters are not valid.
    """
    prune = settings.prune
    if prune is False:
        return None
    if isinstance(prune, dict):
        return _changed(method, prune, place)
    if prune and method is None:
        raise ConfigError(
            f"layer '{place}' is to be pruned (prune: true), but the network has no pruning method; give one in prune"
        )
    if method is None or prune:
        return method
    chosen = any(matches(pattern, place) for pattern in method.only)
    return method if chosen and not any(matches(pattern, place) for pattern in method.skip) else None


def _changed(method: Method | None, prune: Mapping[str, Any], place: str) -> Method:
    name = prune.get("method", None if method is None else method.method)
    if name is None:
        raise ConfigError(
            f"layer '{place}' changes how it is pruned ({', '.join(prune)}), but the network has no pruning method; "
            "name one here with method"
        )
    try:
        kind = method_of(str(name))
    except ValueError as error:
        raise ConfigError(f"layer '{place}' cannot be pruned so: {error}") from error
    base = method.model_dump(exclude_unset=True) if method is not None and method.method == name else {}
    values = {**base, **prune, "method": name}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, path))}: {text}" for path, text in explain(error, values, kind))
        raise ConfigError(f"layer '{place}' cannot be pruned so: prune.{found}") from error


def warn_of_unmatched(patterns: Iterable[str], places: Collection[str], what: str, stacklevel: int) -> None:
    """Warn of each pattern that means none of the layers at `places`; `what` says where the patterns were given."""
    names = {name for place in places for name in (place, place.rsplit("/", 1)[-1])}
    for pattern in patterns:
        if not any(matches(pattern, place) for place in places):
            there = ", ".join(sorted(places)) or "none"
            warnings.warn(
                f"'{pattern}' in {what} matches no layer that this could mean{did_you_mean(pattern, names)} "
                f"(there are: {there})",
                NoEffectWarning,
                stacklevel=stacklevel + 1,
            )
