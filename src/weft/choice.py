"""A value that the search may choose: a few values, or a range of numbers.

Written in YAML as a scalar (no choice), a list of values, `[low, high, log]` or `[low, high, lin]` (a range), or a
mapping with the fields of `Categorical` or `Range`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, cast

from pydantic import BaseModel, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainSerializer, model_validator
from pydantic_core import CoreSchema, core_schema

from weft.section import Section

T = TypeVar("T", bound=bool | int | float | str)


class Categorical(Section, Generic[T]):
    """One of a few values; a single one is no choice at all."""

    values: tuple[T, ...] = Field(min_length=1, strict=False, description="The values to choose from, all different.")

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.values) == 1

    @property
    def bounds(self) -> tuple[T, T]:
        """The smallest and the largest value, words after numbers."""
        values = sorted(cast(tuple[Any, ...], self.values), key=lambda value: (isinstance(value, str), value))
        return values[0], values[-1]

    @model_validator(mode="after")
    def _values_differ(self) -> Categorical[T]:
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"a value is listed twice in {list(self.values)}; list each value once")
        return self


class Range(Section, Generic[T]):
    """A number between two bounds, both included."""

    low: T = Field(description="The smallest value.")
    high: T = Field(description="The largest value.")
    log: bool = Field(default=False, description="Whether the values are spread evenly in the logarithm.")
    step: T | None = Field(
        default=None, description="The distance between neighbouring values, from `low`; not with `log`."
    )

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose: never, since `low < high`."""
        return False

    @property
    def bounds(self) -> tuple[T, T]:
        """The smallest and the largest value, which may lie below `high` where `step` does not lead there."""
        low, high, step = (Decimal(str(value)) for value in (self.low, self.high, self.step or 0))
        return self.low, self.high if not step else type(self.high)(low + (high - low) // step * step)

    @model_validator(mode="after")
    def _is_a_range(self) -> Range[T]:
        low, high, step = cast(tuple[Any, Any, Any], (self.low, self.high, self.step))
        if isinstance(low, str):
            raise ValueError(f"a range needs numbers, got {low!r} and {high!r}; list the words to choose from instead")
        if not low < high:
            raise ValueError(f"a range needs low < high; got low={low}, high={high}")
        if self.log and low <= 0:
            raise ValueError(f"a logarithmic range needs low > 0; got low={low}")
        if step is not None and (self.log or not 0 < step <= high - low):
            raise ValueError(
                f"step must lie between 0 and high - low = {high - low} and needs log: false; "
                f"got step={step}, log={str(self.log).lower()}"
            )
        return self


def one_of(*values: T) -> Categorical[T]:
    """Return the choice among `values`."""
    return Categorical(values=values)


def allows(choice: Any, value: Any) -> bool:
    """Say whether a choice may take a value."""
    if isinstance(choice, Categorical):
        return value in choice.values
    return isinstance(value, int | float) and not isinstance(value, bool) and choice.low <= value <= choice.high


def whole(choice: Categorical[int] | Range[int]) -> Sequence[int]:
    """Return every value of a choice of whole numbers.

    Example:
        >>> list(whole(Range(low=2, high=9, step=3)))
        [2, 5, 8]
    """
    if isinstance(choice, Categorical):
        return choice.values
    return range(choice.low, choice.high + 1, choice.step or 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _normalise(value: Any) -> Any:
    """Turn every way of writing a choice into the mapping of a `Categorical` or a `Range`."""
    if isinstance(value, Categorical):
        return {"values": list(cast(Categorical[Any], value).values)}
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Mapping):
        return cast(Any, value)
    if not isinstance(value, list | tuple):
        return {"values": [value]}
    items = list(cast(list[Any], value))
    if len(items) == 3 and items[2] in ("log", "lin") and all(map(_is_number, items[:2])):
        return {"low": items[0], "high": items[1], "log": items[2] == "log"}
    return {"values": items}


def _kind(value: Any) -> str:
    return "(range)" if isinstance(value, Mapping) and {"low", "high"} & value.keys() else "(values)"


def _write(choice: Categorical[Any] | Range[Any]) -> Any:
    """Return the short YAML form, always a list or a mapping, so that a list of choices is no list of values."""
    if isinstance(choice, Categorical):
        return list(choice.values)
    if choice.step is not None:
        return choice.model_dump()
    return [choice.low, choice.high, "log" if choice.log else "lin"]


class _ChoiceOf:
    """The pydantic schema of a choice among values of one type.

    `Categorical` and `Range` are never parametrised at run time: a parametrised pydantic class cannot be pickled.
    """

    def __init__(self, item: Any) -> None:
        self.item = item

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        item, field = handler.generate_schema(self.item), core_schema.typed_dict_field
        values = {"values": field(core_schema.list_schema(item, min_length=1))}
        bounds = {
            "low": field(item),
            "high": field(item),
            "log": field(core_schema.bool_schema(), required=False),
            "step": field(core_schema.nullable_schema(item), required=False),
        }
        config = core_schema.CoreConfig(strict=True, allow_inf_nan=False, extra_fields_behavior="forbid")
        forms: dict[Any, CoreSchema] = {
            "(values)": core_schema.no_info_after_validator_function(
                lambda form: Categorical(**form), core_schema.typed_dict_schema(values, config=config)
            ),
            "(range)": core_schema.no_info_after_validator_function(
                lambda form: Range(**form), core_schema.typed_dict_schema(bounds, config=config)
            ),
        }
        return core_schema.no_info_before_validator_function(_normalise, core_schema.tagged_union_schema(forms, _kind))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        values, bounds = handler(schema)["oneOf"]
        item = values["properties"]["values"]["items"]
        ways: list[Any] = [item, {"type": "array", "items": item, "minItems": 1}, values]
        numbers = [form["type"] for form in item.get("anyOf", [item]) if form["type"] in ("number", "integer")]
        if numbers:
            ends = [{"type": numbers[-1]}] * 2
            triple = {"type": "array", "prefixItems": [*ends, {"enum": ["log", "lin"]}], "minItems": 3, "maxItems": 3}
            ways += [triple, bounds]
        return {"anyOf": ways}


if TYPE_CHECKING:
    Choice = Categorical[T] | Range[T]
else:

    class Choice:
        """`Choice[float]`: a field that holds a `Categorical` or a `Range` of floats."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Annotated[Categorical | Range, _ChoiceOf(item), PlainSerializer(_write)]
