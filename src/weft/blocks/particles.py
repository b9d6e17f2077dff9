"""The `particles` block: the first so many particles of a jet, and some of their features; only wires in firmware."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from weft.blocks._base import Block, Count, Genes, GenesType, Natural, Shape
from weft.choice import Categorical, Choice, one_of, whole
from weft.section import did_you_mean, refuse

ALL = "all"


class ParticlesGenes(Genes):
    """How many particles, from the first, and which features; none stands for all."""

    type: Literal["particles"] = "particles"
    count: Count
    features: tuple[Natural, ...] = ()

    def objection(self, shape: Shape) -> str | None:
        if self.count > shape[0]:
            return f"reads {self.count} particles, and a row has {shape[0]}; lower count"
        if max(self.features, default=0) >= shape[1]:
            return f"reads feature {max(self.features)}, and a particle has {shape[1]}, numbered from 0"
        return None

    def fitted(self, shape: Shape) -> Self:
        every = tuple(range(shape[1]))
        return self.model_copy(
            update={"count": min(self.count, shape[0]), "features": () if self.features == every else self.features}
        )

    def output_shape(self, shape: Shape) -> Shape:
        return (self.count, len(self.features) or shape[1])

    def build(self, x: Any, prefix: str) -> Any:
        """Add the layers; `x` is (n, particles, features), and so is the result."""
        import keras

        last = x.shape[1] - self.count
        x = keras.layers.Cropping1D((0, last), name=f"{prefix}_first")(x) if last else x
        if not self.features:
            return x
        columns = [x[:, :, i : i + 1] for i in self.features]
        return columns[0] if len(columns) == 1 else keras.layers.Concatenate(name=f"{prefix}_features")(columns)

    @property
    def text(self) -> str:
        return f"{self.count} particles" + (
            f" of features {','.join(map(str, self.features))}" if self.features else ""
        )


class ParticlesBlock(Block):
    """How many particles are read, and which of their features."""

    type: Literal["particles"] = Field(default="particles", description="The kind of block.")
    count: Choice[Count] = Field(description="Number of particles, from the first.")
    features: Choice[str] = Field(default=one_of(ALL), description="A name in `sets`, or all.")
    sets: dict[str, list[Natural]] = Field(default={}, description="Features by name, each numbered from 0.")

    genes: ClassVar[GenesType] = ParticlesGenes
    blind: ClassVar[str | None] = "cannot know how long a row is; put it before blocks of unknown shape"
    takes: ClassVar[tuple[int, ...]] = (2,)
    no_hls: ClassVar[str | None] = "hls4ml has no Cropping1D"

    @model_validator(mode="after")
    def _sets_are_known(self) -> ParticlesBlock:
        known = [ALL, *self.sets]
        wrong = [name for name in getattr(self.features, "values", ()) if name not in known]
        refuse(
            [(("features",), f"'{name}' is no name in sets{did_you_mean(name, known)}") for name in wrong]
            + [(("sets", name), "lists no feature, or one twice") for name, one in self.sets.items()
               if not one or len(set(one)) < len(one)]
        )  # fmt: skip
        return self

    def decide(self, asked: Mapping[str, Any], shape: Shape | None) -> Genes:
        name = asked["features"] if self._active("features", asked) else ALL
        genes = ParticlesGenes(count=asked["count"], features=tuple(self.sets.get(name, ())))
        return genes if shape is None else genes.fitted(shape)

    def params(self, genes: Genes) -> dict[str, Any]:
        assert isinstance(genes, ParticlesGenes)
        names = [name for name, features in self.sets.items() if tuple(features) == genes.features]
        return {"count": genes.count, "features": names[0] if names else ALL}

    def objection(self, shape: Shape) -> str | None:
        wrong = [f"{name} has feature {i}" for name, one in self.sets.items() for i in one if i >= shape[1]]
        if wrong:
            return f"{wrong[0]}, and a particle has {shape[1]}, numbered from 0"
        return ParticlesGenes(count=self.count.bounds[0]).objection(shape)

    def shapes(self, shape: Shape) -> Iterable[Shape]:
        assert isinstance(self.features, Categorical)
        names = {*self.features.values, *([ALL] if self._conditions("features") else [])}
        widths = {len(self.sets.get(name, ())) or shape[1] for name in names}
        return ((min(count, shape[0]), width) for count in whole(self.count) for width in widths)
