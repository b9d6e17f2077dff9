"""Blocks, one file each: what may be chosen of a part of a network, and how it is built.

A new type is a new module here with a `Block` and its `Genes`, or a block class that a package offers under the entry
point `weft.blocks`.
"""

from __future__ import annotations

import functools
import importlib
import operator
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, model_validator

from weft.blocks._base import (
    RANKS,
    Activation,
    Block,
    Chooser,
    Count,
    Genes,
    GenesType,
    NonNegative,
    Normalization,
    PerLayer,
    Shape,
)
from weft.blocks.mlp import MlpBlock, MlpGenes
from weft.errors import ConfigError
from weft.plugins import offered, owner, usable
from weft.section import Section, refuse, with_default_tag

__all__ = [
    "BLOCKS",
    "RANKS",
    "Activation",
    "AnyBlock",
    "AnyGenes",
    "Block",
    "Chooser",
    "Count",
    "Genes",
    "GenesType",
    "MlpBlock",
    "MlpGenes",
    "NonNegative",
    "Normalization",
    "OneOf",
    "PerLayer",
    "Shape",
    "Slot",
    "options",
]


def _blocks() -> dict[str, type[Block]]:
    """Return all types of blocks by name."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    found = [item for module in modules for item in vars(module).values() if _is_block(item)]
    own: dict[str, type[Block]] = {item.model_fields["type"].default: item for item in found}
    return own | {name: _checked(name, item) for name, item in usable("weft.blocks", own).items()}


def _checked(name: str, item: Any) -> type[Block]:
    if not _is_block(item) or item.model_fields["type"].default != name:
        whose = owner(offered("weft.blocks")[name])
        raise ConfigError(
            f"block '{name}' of {whose} must be a subclass of weft.blocks.Block with its genes, whose field 'type' has "
            f"the default '{name}'; got {item!r}"
        )
    return item


def _is_block(item: Any) -> bool:
    return isinstance(item, type) and issubclass(item, Block) and "genes" in vars(item)


BLOCKS: dict[str, type[Block]] = _blocks()
"""The types of blocks, by name."""


def _union(kinds: Any) -> Any:
    return Annotated[functools.reduce(operator.or_, kinds), Field(discriminator="type")]


if TYPE_CHECKING:
    AnyGenes = Genes
    AnyBlock = Block
else:
    AnyGenes = _union(block.genes for block in BLOCKS.values())
    """The genes of any block, told apart by `type`."""

    _Any = _union(BLOCKS.values())

    AnyBlock = Annotated[_Any, BeforeValidator(with_default_tag("type", "mlp"), json_schema_input_type=_Any)]
    """A block of any type, told apart by `type`; without one it is an mlp."""


class OneOf(Section):
    """A place for one of several blocks, of different types; `skip` among them leaves the place empty."""

    one_of: list[AnyBlock] = Field(min_length=2, description="The blocks to choose from, of different types.")

    @model_validator(mode="after")
    def _types_differ(self) -> OneOf:
        types = [block.type for block in self.one_of]
        refuse(
            [
                (("one_of", i), f"is the second '{kind}' here; widen the choices of the first one instead")
                for i, kind in enumerate(types)
                if kind in types[:i]
            ]
        )
        return self


def _slot_shape(value: Any) -> str:
    held = value if isinstance(value, Mapping) else vars(value) if isinstance(value, BaseModel) else {}
    return "(one of)" if "one_of" in held else "(block)"


Slot = Annotated[Annotated[OneOf, Tag("(one of)")] | Annotated[AnyBlock, Tag("(block)")], Discriminator(_slot_shape)]
"""A place in the network: a block, or one of several."""


def options(slot: OneOf | Block) -> list[Block]:
    """Return the blocks that a place may have."""
    return slot.one_of if isinstance(slot, OneOf) else [slot]
