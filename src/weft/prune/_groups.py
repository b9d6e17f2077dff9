"""The largest of a group: which weights are kept, and the magnitude at which keeping begins.

N:M sparsity keeps n of every m consecutive weights along the input axis (Zhou et al., "Learning N:M Fine-grained
Structured Sparse Neural Networks From Scratch", ICLR 2021, arXiv:2102.04010). Here a group is the last axis of a
tensor of scores >= 0, so that a whole kernel, its rows and its N:M groups are one case.
"""

from __future__ import annotations

from weft import ops
from weft.types import Tensor

SMALL = 32
"""Groups up to this size are ranked by comparing all pairs, which is faster than sorting."""

HALVINGS = 24
"""Of the interval from 0 to the largest score in which the threshold of a large group is sought."""


def rank(score: Tensor) -> Tensor:
    """Return the place of each score in its group, 0 for the largest; of two equal scores the earlier comes first."""
    if score.shape[-1] > SMALL:
        return ops.argsort(ops.argsort(-score, axis=-1), axis=-1)
    mine, other = score[..., :, None], score[..., None, :]
    ahead = ops.logical_or(other > mine, ops.tril(ops.cast(ops.equal(other, mine), "int32"), k=-1) > 0)
    return ops.sum(ops.cast(ahead, "int32"), axis=-1)


def keep_largest(score: Tensor, kept: int | Tensor) -> Tensor:
    """Return the mask, 0 or 1, of exactly `kept` scores of each group; of two equal scores the earlier is kept."""
    return ops.cast(ops.cast(rank(score), "float32") < kept, score.dtype)


def threshold(score: Tensor, pruned: Tensor) -> Tensor:
    """Return what lies midway between the largest pruned and the smallest kept score of each group, (..., 1).

    Args:
        score: Scores >= 0, (..., size).
        pruned: How many of each group are pruned, a scalar, at most size - 1.
    """
    low = _below(score, pruned)
    largest = ops.max(ops.where(low, score, 0.0), axis=-1, keepdims=True)
    smallest = ops.min(ops.where(low, float("inf"), score), axis=-1, keepdims=True)
    all_found = _count(low) >= pruned
    return ops.where(all_found, (largest + smallest) / 2.0, smallest)


def _below(score: Tensor, pruned: Tensor) -> Tensor:
    """Return which scores are pruned; equal scores at the border, not all of which would be, are left out."""
    size = score.shape[-1]
    if size <= SMALL:
        return ops.cast(rank(score), "float32") >= size - pruned
    ends = ops.full_like(score[..., :1], -1e-30), ops.max(score, axis=-1, keepdims=True)
    return score <= ops.fori_loop(0, HALVINGS, _halve, (*ends, score, pruned))[0]


def _halve(_: int, search: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Halve the interval; no closure, so that JAX compiles it once. At most `pruned` scores are <= its lower end."""
    low, high, score, pruned = search
    middle = (low + high) / 2.0
    enough = _count(score <= middle) > pruned
    return ops.where(enough, low, middle), ops.where(enough, middle, high), score, pruned


def _count(found: Tensor) -> Tensor:
    return ops.sum(ops.cast(found, "float32"), axis=-1, keepdims=True)
