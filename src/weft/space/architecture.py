"""The genotype of the search: a frozen, hashable, JSON-serialisable description that builds one Keras model."""

from __future__ import annotations

import hashlib
import json
import re
from math import prod
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from weft.blocks import AnyGenes
from weft.blocks.mlp import MlpGenes
from weft.config.explain import explain
from weft.config.numbers import FixedNumbers, FloatNumbers, HgqNumbers, Numbers
from weft.config.space import ScheduleName
from weft.errors import ConfigError
from weft.space.pruning import Pruning

__all__ = [
    "Architecture",
    "FixedNumbers",
    "FloatNumbers",
    "HgqNumbers",
    "Numbers",
    "Pruning",
    "of_widths",
    "parse",
    "read",
]


def _is_none(value: Any) -> bool:
    return value is None


class Architecture(BaseModel):
    """A network and how it is trained.

    Attributes:
        input_shape: Shape of one input row.
        n_outputs: Number of logits.
        blocks: The blocks between input and output layer.
        numbers: How weights and activations are represented.
        learning_rate: Peak of the learning-rate schedule.
        weight_decay: Share of each weight that is taken off in a step of rate 1; None for none.
        batch_size: Rows of one training step; None for that of the section that trains.
        schedule: How the learning rate changes; None for that of the section that trains.
        pruning: Which weights training removes; None for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_shape: tuple[int, ...]
    n_outputs: int = Field(ge=1)
    blocks: tuple[AnyGenes, ...]
    numbers: Numbers = HgqNumbers()
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float | None = Field(default=None, gt=0, exclude_if=_is_none)  # networks without keep their keys
    batch_size: int | None = Field(default=None, ge=1, exclude_if=_is_none)
    schedule: ScheduleName | None = Field(default=None, exclude_if=_is_none)
    pruning: Pruning | None = Field(default=None, exclude_if=_is_none)

    @property
    def key(self) -> str:
        """A short digest: equal genotypes, and only they, have equal keys."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def kin(self) -> str | None:
        """What networks share that one compiled program trains; None for one that is pruned.

        They differ in values of variables alone: the learning rate, the widths and binary points of fixed numbers, and
        the price and the beginning of learned ones. A binary point that follows the data is another program.
        """
        if self.pruning is not None:
            return None
        numbers = self.numbers
        if isinstance(numbers, HgqNumbers):
            held = numbers.io_bits and 1
            numbers = HgqNumbers(granularity=numbers.granularity, gamma=numbers.gamma, io_bits=held)
        elif isinstance(numbers, FixedNumbers):
            point = numbers.integer_bits if numbers.integer_bits == "auto" else 1
            numbers = FixedNumbers(granularity=numbers.granularity, integer_bits=point)
        return self.model_copy(update={"learning_rate": 1.0, "numbers": numbers}).key

    @property
    def l1(self) -> float:
        """Factor of the L1 penalty on all kernels: the largest that a block asks for."""
        return max((getattr(block, "l1", 0.0) for block in self.blocks), default=0.0)

    def with_numbers(self, numbers: FloatNumbers | FixedNumbers | HgqNumbers) -> Architecture:
        """Return the same network in another number representation."""
        return self.model_copy(update={"numbers": numbers})

    def whole(self) -> Architecture:
        """Return the same network with nothing that prunes it."""
        return self.model_copy(update={"pruning": None})

    def describe(self) -> str:
        """Return a short text such as `16-64-32-32-5 relu, hgq`."""
        flattened = self.blocks and self.blocks[0].type == "mlp"
        given = str(prod(self.input_shape)) if flattened else "x".join(map(str, self.input_shape))
        parts = [given, *(block.text for block in self.blocks), str(self.n_outputs)]
        words = dict.fromkeys(word for block in self.blocks for word in block.words)
        pruned = "" if self.pruning is None else f" {self.pruning.text}"
        return f"{' '.join(['-'.join(parts), *words])}{pruned}, {self.numbers.mode}"


def parse(genotype: dict[str, Any]) -> Architecture:
    """Return the architecture of a JSON genotype."""
    return Architecture.model_validate(genotype)


def read(path: Path) -> Architecture:
    """Return the architecture of a file with a JSON genotype, such as `architecture.json` of a design.

    Raises:
        ConfigError: The file holds none.
    """
    try:
        genotype = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path} as JSON: {error}") from error
    try:
        return parse(genotype)
    except ValidationError as error:
        wrong = [": ".join(filter(None, (".".join(map(str, place)), said)))
                 for place, said in explain(error, genotype, Architecture)]  # fmt: skip
        raise ConfigError(
            f"{path} holds no architecture: {'; '.join(wrong)}; give one as architecture.json of a design is"
        ) from error


def of_widths(text: str) -> Architecture:
    """Return the network of dense layers with ReLU between that a text such as `16-64-32-5` stands for.

    Raises:
        ConfigError: It stands for none.
    """
    widths = [int(width) for width in re.findall(r"\d+", text)]
    if not re.fullmatch(r"\d+(-\d+)+", text) or 0 in widths:
        raise ConfigError(
            f"'{text}' are no widths of a network: give two or more, of at least 1, from the inputs to the outputs, "
            "such as 16-64-32-5"
        )
    blocks = (MlpGenes(units=tuple(widths[1:-1])),) if widths[2:] else ()
    return Architecture(input_shape=(widths[0],), n_outputs=widths[-1], blocks=blocks)
