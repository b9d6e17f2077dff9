"""The genotype of the search: a frozen, hashable, JSON-serialisable description that builds one Keras model."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from weft.config.numbers import FixedNumbers, FloatNumbers, HgqNumbers, Numbers
from weft.space.blocks import BlockGenes

__all__ = ["Architecture", "FixedNumbers", "FloatNumbers", "Genes", "HgqNumbers", "Numbers", "parse"]


class Genes(BaseModel):
    """Base of everything a genotype holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Architecture(Genes):
    """A network and how it is trained.

    Attributes:
        input_shape: Shape of one input row.
        n_outputs: Number of logits.
        blocks: The blocks between input and output layer.
        numbers: How weights and activations are represented.
        learning_rate: Peak of the learning-rate schedule.
    """

    input_shape: tuple[int, ...]
    n_outputs: int = Field(ge=1)
    blocks: tuple[BlockGenes, ...]
    numbers: Numbers = HgqNumbers()
    learning_rate: float = Field(default=1e-3, gt=0)

    @property
    def key(self) -> str:
        """A short digest: equal genotypes, and only they, have equal keys."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def l1(self) -> float:
        """Factor of the L1 penalty on all kernels: the largest that a block asks for."""
        return max((block.l1 for block in self.blocks), default=0.0)

    def with_numbers(self, numbers: FloatNumbers | FixedNumbers | HgqNumbers) -> Architecture:
        """Return the same network in another number representation."""
        return self.model_copy(update={"numbers": numbers})

    def describe(self) -> str:
        """Return a short text such as `16-64-32-32-5 relu, hgq`."""
        sizes = [str(size) for size in (_product(self.input_shape), *(u for b in self.blocks for u in b.sizes))]
        words = [word for block in self.blocks for word in block.words]
        return f"{'-'.join([*sizes, str(self.n_outputs)])} {' '.join(dict.fromkeys(words))}, {self.numbers.mode}"


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


def parse(genotype: dict[str, Any]) -> Architecture:
    """Return the architecture of a JSON genotype."""
    return Architecture.model_validate(genotype)
