"""Pruning as part of a genotype: which method, how much of the weights, and its stages within a short training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from weft.prune import Method, method_of

if TYPE_CHECKING:
    from weft.config import StagesConfig


class Pruning(BaseModel):
    """What a network loses while it trains.

    Attributes:
        method: Name of a pruning method.
        sparsity: Share of the weights that goes; None for a method that finds its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    sparsity: float | None = Field(default=None, gt=0, lt=1)

    @property
    def text(self) -> str:
        """The method and the share, such as `pdp 0.5`."""
        return self.method if self.sparsity is None else f"{self.method} {self.sparsity:.3g}"

    def made(self) -> Method:
        """Return the method, ready to use."""
        kind = method_of(self.method)
        return kind.model_validate({}) if self.sparsity is None else kind.at(self.sparsity)

    def stages(self, epochs: int) -> StagesConfig:
        """Return the stages of a training of `epochs` >= 3: a quarter before weights go, and a quarter after.

        A method that prunes between rounds has two of them; one that needs no training prunes at once.
        """
        from weft.config import FixedCompression

        method = self.made()
        last = max(epochs // 4, 1)
        rounds = 2 if type(method).between_rounds is not Method.between_rounds else 1
        each = 0 if method.one_shot else (epochs - last - epochs // 4) // rounds
        return FixedCompression(
            epochs=each,
            pretrain_epochs=epochs - last - rounds * each,
            rounds=rounds,
            finetune_epochs=last,
            prune=method,
        )
