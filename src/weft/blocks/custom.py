"""The `custom` block: a function of the user's own adds the layers, with parameters that the search chooses."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from weft.blocks._base import Block, Chooser, Genes, GenesType, Shape
from weft.choice import Choice
from weft.errors import ConfigError
from weft.user_code import load

Scalar = bool | int | float | str

WHAT = "the builder of a custom block,"


def _is_a_name(text: str) -> str:
    module, colon, function = text.partition(":")
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f"a builder is written 'module:function', as in 'my_module:build'; got {text!r}")
    return text


Builder = Annotated[str, AfterValidator(_is_a_name)]


class CustomGenes(Genes):
    """The builder, the values it is called with, and the rank of what it returns."""

    type: Literal["custom"] = "custom"
    builder: Builder
    parameters: dict[str, Scalar] = Field(default={})
    rank: int = 1

    def __hash__(self) -> int:
        return hash((self.builder, tuple(sorted(self.parameters.items())), self.rank))

    def output_shape(self, shape: Shape) -> Shape | None:
        """Unknown: the builder is called where networks are trained, and not where they are drawn."""
        return None

    def build(self, x: Any, prefix: str) -> Any:
        """Call the builder with `x`, `name` (what names of layers are to begin with) and the parameters."""
        result = load(self.builder, WHAT)(x, name=prefix, **self.parameters)
        shape = getattr(result, "shape", None)
        if shape is None or len(shape) != self.rank + 1:
            got = type(result).__name__ if shape is None else f"a tensor of shape {tuple(shape)}"
            raise ConfigError(
                f"the builder '{self.builder}' returned {got}, and its block says rank: {self.rank}; return the Keras "
                "tensor behind the layers, or set rank to the number of its axes without the batch"
            )
        return result

    @property
    def text(self) -> str:
        return f"{self.builder}({', '.join(f'{name}={value}' for name, value in self.parameters.items())})"


class CustomBlock(Block):
    """Layers that a function of yours adds: `build(x, name, **parameters)` returns the Keras tensor behind them."""

    type: Literal["custom"] = Field(default="custom", description="The kind of block.")
    builder: Builder = Field(description="The function, as module:function.")
    parameters: dict[str, Choice[Scalar]] = Field(default={}, description="Choices for its further arguments, by name.")
    rank: int = Field(default=1, ge=1, le=3, description="Axes of what it returns, without the batch.")

    genes: ClassVar[GenesType] = CustomGenes

    def gives(self, rank: int) -> int:
        return self.rank

    def ask(self, choose: Chooser) -> dict[str, Any]:
        return {name: choose(name, choice) for name, choice in self.parameters.items()}

    def decide(self, asked: Mapping[str, Any], shape: Shape | None) -> Genes:
        return CustomGenes(builder=self.builder, parameters=dict(asked), rank=self.rank)

    def params(self, genes: Genes) -> dict[str, Any]:
        assert isinstance(genes, CustomGenes)
        return dict(genes.parameters)

    def fault(self) -> str | None:
        arguments = inspect.signature(load(self.builder, WHAT)).parameters
        open_ended = any(one.kind is one.VAR_KEYWORD for one in arguments.values())
        missing = [name for name in ("name", *self.parameters) if name not in arguments and not open_ended]
        return f"calls {self.builder} with {', '.join(missing)}, which it does not take" if missing else None
