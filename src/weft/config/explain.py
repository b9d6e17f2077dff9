"""What pydantic found wrong, in the words of the file: the path of each problem, what was found, what would do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from weft.section import PROBLEMS, KeyPath, did_you_mean, got, nearest

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "path_type": "a path",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
    "invalid_key": "text, as every key",
}
"""What would have been right, by pydantic's error type; the words in braces come from the error."""

_SHAPES = {"(scalar)": "a single value", "(list)": "a list", "(mapping)": "a mapping"}


def explain(error: ValidationError, data: Any, model: type[BaseModel]) -> list[tuple[KeyPath, str]]:
    """Return the (path in the file, message) pairs of `error`, raised when `model` validated `data`."""
    found: dict[KeyPath, list[Any]] = {}
    for item in error.errors(include_url=False):
        found.setdefault(_path(item, data), []).append(item)
    return [pair for path, items in found.items() for pair in _explain_one(path, items, model)]


def _explain_one(path: KeyPath, items: list[Any], model: type[BaseModel]) -> Iterable[tuple[KeyPath, str]]:
    """Explain the errors at one path; several mean a value that suits none of the allowed forms."""
    expected = [_EXPECTED[item["type"]].format_map(item.get("ctx", {})) for item in items if item["type"] in _EXPECTED]
    if len(expected) == len(items):
        value = items[0]["input"]
        words = re.findall(r"'([^']*)'", " ".join(expected))
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        yield path, f"must be {' or '.join(expected)}; got {got(value)}{hint}"
        return
    for item in items:
        context = item.get("ctx", {})
        match item["type"]:
            case _ if item["type"] == PROBLEMS:
                for below, message in context["problems"]:
                    yield (*path, *below), message
            case "value_error":
                yield path, str(context["error"])
            case "missing":
                yield path, "is missing; it has no default"
            case "extra_forbidden":
                yield path, f"unknown key{_nearest_key(str(path[-1]), item['loc'], model)}"
            case "union_tag_invalid" if context["tag"] in _SHAPES:
                forms = [_SHAPES[tag] for tag in re.findall(r"'([^']*)'", context["expected_tags"])]
                yield path, f"must be {' or '.join(forms)}; got {got(item['input'])}"
            case "union_tag_invalid":
                key, words = context["discriminator"].strip("'"), context["expected_tags"]
                hint = did_you_mean(context["tag"], re.findall(r"'([^']*)'", words))
                yield (*path, key), f"must be one of {words}; got '{context['tag']}'{hint}"
            case "union_tag_not_found":
                key = context["discriminator"].strip("'")
                words = [repr(get_args(_keys(found)[key])[0]) for found in _models_at(item["loc"], model)[0]]
                yield (*path, key), f"is missing; write one of {', '.join(words)}"
            case "too_short":
                yield path, f"needs at least {context['min_length']} entry; got {got(item['input'])}"
            case _:
                yield path, f"{item['msg']}; got {got(item['input'])}"


def _path(item: Any, data: Any) -> KeyPath:
    """Return where the file holds the value: pydantic's location without the names of union members."""
    path: list[str | int] = []
    for part in item["loc"]:
        if part in _parts(data):
            path.append(part)
            data = data[part]
    if item["type"] == "missing":
        path.append(item["loc"][-1])
    return tuple(path)


def _parts(data: Any) -> Iterable[Any]:
    """Return the keys of a mapping, or the positions of a list."""
    if isinstance(data, Mapping):
        return cast(Mapping[Any, Any], data)
    return range(len(cast(list[Any], data))) if isinstance(data, list) else ()


def _nearest_key(key: str, location: KeyPath, model: type[BaseModel]) -> str:
    """Say which key was meant, or else which variant of this section, or which other section, has that key."""
    variants, here = _models_at(location[:-1], model)
    keys = {name for found in here for name in _keys(found)}
    if key in keys:
        return "; it does not go with the other keys here"
    if nearest(key, keys):
        return did_you_mean(key, keys)
    for found in variants:
        if key in _keys(found):
            literals = ((name, get_args(k)) for name, k in _keys(found).items() if get_origin(k) is Literal)
            tag, (value,) = next(pair for pair in literals if len(pair[1]) == 1)
            return f"; it belongs to {tag}: {value}"
    for section, field in model.model_fields.items():
        if any(key in _keys(found) for found in _models_in(field.annotation)):
            return f"; it belongs to '{section}'"
    return "; no key here has a similar name"


def _keys(model: type[BaseModel]) -> dict[str, Any]:
    """Return the annotation of each key, as the file spells it."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _models_at(location: KeyPath, model: type[BaseModel]) -> tuple[list[type[BaseModel]], list[type[BaseModel]]]:
    """Return the sections that can stand at pydantic's `location`, and those of them that its tags leave."""
    variants = here = [model]
    for part in location:
        below = [annotation for found in here for key, annotation in _keys(found).items() if key == part]
        tagged = [found for found in here if any((part,) == get_args(kind) for kind in _keys(found).values())]
        if below:
            variants = here = [found for annotation in below for found in _models_in(annotation)]
        elif tagged:
            here = tagged
    return variants, here


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
