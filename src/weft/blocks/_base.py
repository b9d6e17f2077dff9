"""What a block is: what may be chosen of it, what was chosen (its genes), and how that is built in Keras.

A block type is one file with two classes. `<Name>Block` is a section of the experiment file, whose fields are choices;
`<Name>Genes` has a field of the same name for each, with the value taken, or a tuple with one value a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from weft.choice import Choice, one_of, whole
from weft.conditions import When, choices_of, holds, problems
from weft.section import Found, Section, refuse, shape_of

Shape = tuple[int, ...]
"""Shape of one row, without the batch axis: (features,), (length, features) or (height, width, channels)."""

RANKS = {1: "(features)", 2: "(length, features)", 3: "(height, width, channels)"}

Chooser = Callable[[str, Choice], Any]
"""Takes a parameter's name and its choice, returns the value taken."""

Activation = Literal["relu", "tanh", "sigmoid", "leaky_relu", "none"]
Normalization = Literal["none", "batch"]

Count = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, strict=True)]
NonNegative = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(ge=0, lt=1)]


def _layers_shape(value: Any) -> str:
    """A list that holds a list or a mapping is one choice for each layer; everything else is one choice for all."""
    if shape_of(value) == "list" and any(shape_of(item) != "scalar" for item in value):
        return "(per layer)"
    return "(all layers)"


if TYPE_CHECKING:
    T = TypeVar("T", int, float, str)
    PerLayer = Choice[T] | list[Choice[T]]
else:

    class PerLayer:
        """`PerLayer[int]`: one choice that each layer takes for itself, or a list with a choice for each layer."""

        def __class_getitem__(cls, item: Any) -> Any:
            all_layers, each = (
                Annotated[Choice[item], Tag("(all layers)")],
                Annotated[list[Choice[item]], Tag("(per layer)")],
            )
            return Annotated[all_layers | each, Discriminator(_layers_shape)]


class Genes(BaseModel):
    """What was chosen of one block; frozen, and a part of the genotype.

    A subclass has a literal `type` and gives `output_shape` and `build`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str

    def fitted(self, shape: Shape) -> Self:
        """Return the genes as they are for rows of a shape: choices that such rows do not allow fall away."""
        return self

    def objection(self, shape: Shape) -> str | None:
        """Return why rows of this shape cannot be read, or None."""
        return None

    def output_shape(self, shape: Shape) -> Shape | None:
        """Return the shape of a row behind the block; None where only building it would tell."""
        raise NotImplementedError

    def build(self, x: Any, prefix: str) -> Any:
        """Add the block to a Keras graph, in float; every layer's name begins with `prefix`."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        """The block in a one-line description of a network."""
        return self.type

    @property
    def words(self) -> tuple[str, ...]:
        """Words for the end of such a line."""
        return ()


GenesType = type[Genes]


class Block(Section):
    """What the search may choose of one block."""

    type: str
    when: When = Field(
        default={},
        description="Choices that are made only for some values of another one, such as dropout: {normalization: "
        "[none]}; for others they take their default.",
    )

    genes: ClassVar[GenesType]
    layered: ClassVar[dict[str, str]] = {}  # fields with a value for each layer, and the field that counts the layers
    conditions: ClassVar[When] = {}  # of the block itself, in the form of `when`
    takes: ClassVar[tuple[int, ...]] = (1, 2, 3)  # ranks of the rows it can read
    needs_hgq: ClassVar[bool] = False  # whether it has learned widths, whatever the space's numbers
    blind: ClassVar[str | None] = None  # what it has against rows of a shape that is not known
    no_products: ClassVar[str | None] = None  # why its bit operations cannot be counted
    no_hls: ClassVar[str | None] = None  # why HLS cannot have it

    def gives(self, rank: int) -> int:
        """Return the rank of its output."""
        return rank

    def shapes(self, shape: Shape) -> Iterable[Shape] | None:
        """Return every shape that rows of a shape may have behind the block; None where only building it would tell."""
        return None

    def hls_objection(self) -> str | None:
        """Return why HLS cannot have the block with one of its choices, or None."""
        return self.no_hls

    def objection(self, shape: Shape) -> str | None:
        """Return why rows of this shape leave nothing to choose, or None."""
        return None

    def fault(self) -> str | None:
        """Return why it cannot be built, whatever it reads, or None."""
        return None

    @property
    def choices(self) -> dict[str, Any]:
        """The fields that are choices, and the lists of choices."""
        return choices_of(self)

    def ask(self, choose: Chooser) -> dict[str, Any]:
        """Return a value for every parameter.

        Every parameter is asked for in every trial, those of layers beyond the depth too: a space that is the same in
        all trials is one in which crossover sees all parameters. Choices without effect fall away in the genes.
        """
        asked: dict[str, Any] = {}
        for name, choice in self.choices.items():
            if name in self.layered:
                asked |= {f"{name}.{i}": choose(f"{name}.{i}", one) for i, one in enumerate(self._each(name))}
            else:
                asked[name] = choose(name, choice)
        return asked

    def decide(self, asked: Mapping[str, Any], shape: Shape | None) -> Genes:
        """Return the genes that values for every parameter mean for rows of a shape; None if it is not known."""
        values: dict[str, Any] = {}
        for name in self.choices:
            if name in self.layered:
                values[name] = tuple(asked[f"{name}.{i}"] for i in range(asked[self.layered[name]]))
            elif name not in self.layered.values() and self._active(name, asked):
                values[name] = asked[name]
        genes = self.genes(type=self.type, **self._fixed(), **values)
        return genes if shape is None else genes.fitted(shape)

    def params(self, genes: Genes) -> dict[str, Any]:
        """Return values of the parameters that give these genes, but of those without effect."""
        found: dict[str, Any] = {}
        for name in self.choices:
            if name in self.layered:
                taken = getattr(genes, name)
                found |= {self.layered[name]: len(taken), **{f"{name}.{i}": value for i, value in enumerate(taken)}}
            elif name not in self.layered.values():
                found[name] = getattr(genes, name)
        return {name: value for name, value in found.items() if self._active(name, found)}

    def _fixed(self) -> dict[str, Any]:
        """Return the genes that are no choice."""
        names = set(self.genes.model_fields) & set(type(self).model_fields) - set(self.choices) - {"type"}
        return {name: getattr(self, name) for name in names}

    def _active(self, name: str, values: Mapping[str, Any]) -> bool:
        return holds(self._conditions(name), values)

    def _conditions(self, name: str) -> dict[str, list[Any]]:
        return {**self.conditions.get(name, {}), **self.when.get(name, {})}

    def last(self, name: str) -> Iterator[int]:
        """Give the values that a layered field may have in the last layer, whatever the depth."""
        each = self._each(name)
        return (
            value for depth in whole(getattr(self, self.layered[name])) if depth for value in whole(each[depth - 1])
        )

    def taken(self, name: str) -> Sequence[int]:
        """Return the values that a gene of whole numbers may have, with the default for where a condition fails."""
        default = (self.genes.model_fields[name].default,) if self._conditions(name) else ()
        return (*whole(getattr(self, name)), *default)

    def _each(self, name: str) -> Sequence[Any]:
        """Return the choice of each layer, up to the deepest."""
        value, deepest = getattr(self, name), getattr(self, self.layered[name]).bounds[1]
        return value[:deepest] if isinstance(value, list) else [value] * deepest

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Describe each of the genes as the choice of the same name is described."""
        if "genes" in vars(cls):
            for name, field in cls.genes.model_fields.items():
                field.description = field.description or cls.model_fields[name].description
            cls.genes.model_rebuild(force=True)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        found: Found = []
        for name, depth in self.layered.items():
            value, deepest = getattr(self, name), getattr(self, depth).bounds[1]
            if isinstance(value, list) and deepest > len(value):
                what = f"lists choices for {len(value)} layers, but {depth} goes up to {deepest}"
                found.append(((name,), f"{what}; list one more for each missing layer, or lower {depth}"))
        once = [name for name in self.choices if name not in {*self.layered, *self.layered.values(), *self.conditions}]
        free = [name for name in once if name not in self.when]
        optional = [name for name in once if not _is_required(self.genes, name)]
        refuse([*found, *problems(self.when, self.choices, free, optional)])
        return self


def _is_required(genes: type[Genes], name: str) -> bool:
    return name not in genes.model_fields or genes.model_fields[name].is_required()


class HiddenGenes(Genes):
    """Genes of a block with layers that share an activation, a normalisation, dropout and an L1 penalty."""

    activation: Activation = "relu"
    normalization: Normalization = "none"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    l1: float = Field(default=0.0, ge=0.0)

    @property
    def words(self) -> tuple[str, ...]:
        words = [self.activation]
        words += ["batchnorm"] if self.normalization == "batch" else []
        words += [f"dropout {self.dropout:g}"] if self.dropout else []
        words += [f"L1 {self.l1:g}"] if self.l1 else []
        return tuple(words)


class HiddenBlock(Block):
    """What may be chosen of such a block."""

    activation: Choice[Activation] = Field(default=one_of("relu"), description="Activation after each layer.")
    normalization: Choice[Normalization] = Field(
        default=one_of("none"), description="Normalisation before the activation."
    )
    dropout: Choice[Rate] = Field(
        default=one_of(0.0), description="Share of activations dropped in training, in [0, 1)."
    )
    l1: Choice[NonNegative] = Field(default=one_of(0.0), description="Factor of the L1 penalty on the weights, >= 0.")
