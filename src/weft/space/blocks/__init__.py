"""Block types, one file each: the genes, how they are chosen, how they are built."""

from __future__ import annotations

from types import ModuleType

from weft.space.blocks import mlp
from weft.space.blocks.mlp import MlpGenes

BlockGenes = MlpGenes
"""The genes of any block; a union discriminated by `type` once there is a second block."""

BLOCKS: dict[str, ModuleType] = {"mlp": mlp}
"""Each module offers `sample(config, choose)`, `params(config, genes)` and `build(genes, x, prefix)`, in float."""

__all__ = ["BLOCKS", "BlockGenes", "MlpGenes"]
