"""The `mlp` block: dense layers of chosen widths, one activation and one normalisation for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from weft.config import MlpBlock
    from weft.space.sampling import Chooser

Activation = Literal["relu", "tanh", "sigmoid", "leaky_relu", "none"]
Normalization = Literal["none", "batch"]


class MlpGenes(BaseModel):
    """The choices of one `mlp` block: `units` holds the width of each hidden layer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["mlp"] = "mlp"
    units: tuple[int, ...] = Field(min_length=1)
    activation: Activation = "relu"
    normalization: Normalization = "none"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    l1: float = Field(default=0.0, ge=0.0)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths for a one-line description."""
        return self.units

    @property
    def words(self) -> tuple[str, ...]:
        """Words for a one-line description."""
        words = [self.activation]
        words += ["batchnorm"] if self.normalization == "batch" else []
        words += [f"dropout {self.dropout:g}"] if self.dropout else []
        words += [f"L1 {self.l1:g}"] if self.l1 else []
        return tuple(words)


def sample(config: MlpBlock, choose: Chooser) -> MlpGenes:
    """Choose a block.

    Every parameter is asked for in every trial, the widths of layers beyond the depth too: a space that is the same
    in all trials is one in which crossover sees all parameters. Choices without effect fall away in the genotype.
    """
    depth = choose("depth", config.depth)
    deepest = config.depth.bounds[1]
    choices = config.units if isinstance(config.units, list) else [config.units] * deepest
    widths = [choose(f"units.{i}", choice) for i, choice in enumerate(choices[:deepest])]
    return MlpGenes(
        units=tuple(widths[:depth]),
        activation=choose("activation", config.activation),
        normalization=choose("normalization", config.normalization),
        dropout=choose("dropout", config.dropout),
        l1=choose("l1", config.l1),
    )


def params(config: MlpBlock, genes: MlpGenes) -> dict[str, Any]:
    """Return the choices that give these genes, for enqueueing a known design; the inverse of `sample`."""
    chosen: dict[str, Any] = {f"units.{i}": width for i, width in enumerate(genes.units)}
    chosen |= {"depth": len(genes.units), "activation": genes.activation, "normalization": genes.normalization}
    return chosen | {"dropout": genes.dropout, "l1": genes.l1}


def build(genes: MlpGenes, x: Any, prefix: str) -> Any:
    """Add the block to a Keras graph; `x` is (n, ...) and is flattened, the result is (n, units[-1])."""
    from weft.space.layers import dense, dropout, flatten

    x = flatten(x, f"{prefix}_flatten")
    for i, units in enumerate(genes.units):
        x = dense(x, units, genes.activation, genes.normalization, f"{prefix}_dense{i}")
        x = dropout(x, genes.dropout, f"{prefix}_dropout{i}")
    return x
