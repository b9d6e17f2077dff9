"""A tensor of the Keras graph that remembers which axis of the torch tensor each of its axes holds.

Torch puts channels after the batch, Keras puts them last. Nothing is moved until an operation needs an order:
`permute`, `transpose` and the like change `axes` only, a convolution asks for channels last, `flatten` for torch's own
order, so that the weights behind it are torch's. What two neighbours agree about is never moved to and fro.

The batch is always the first axis of the Keras tensor, wherever torch has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weft.errors import UnsupportedError


@dataclass(frozen=True)
class Value:
    """A torch tensor as a Keras tensor.

    Attributes:
        tensor: The symbolic Keras tensor.
        axes: The torch axis that each of its axes holds; the first is torch's batch axis.
    """

    tensor: Any
    axes: tuple[int, ...]

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.axes)

    @property
    def batch(self) -> int:
        """The torch axis that numbers rows."""
        return self.axes[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of all Keras axes but the batch."""
        return tuple(self.tensor.shape[1:])

    def size(self, axis: int) -> int:
        """Return the size of a torch axis, which is not the batch's."""
        return self.tensor.shape[self.at(axis)]

    def at(self, axis: int) -> int:
        """Return the Keras axis that holds a torch axis.

        Raises:
            UnsupportedError: It is the batch's.
        """
        found = self.axes.index(axis % self.rank)
        if found == 0:
            raise UnsupportedError(
                "it works along the axis of the batch, and hardware sees one row at a time; keep rows apart"
            )
        return found

    def all_at(self, axes: Any) -> tuple[int, ...]:
        """Return the Keras axes that hold one torch axis or several, in order."""
        return tuple(sorted(self.at(axis) for axis in ((axes,) if isinstance(axes, int) else axes)))

    def like(self, tensor: Any) -> Value:
        """Return another tensor whose axes mean the same."""
        return Value(tensor, self.axes)

    def transposed(self, order: tuple[int, ...]) -> Value:
        """Return the value whose torch axis j is the axis order[j] of this one; nothing moves."""
        return Value(self.tensor, tuple(order.index(axis) for axis in self.axes))

    @property
    def in_order(self) -> tuple[int, ...]:
        """The axes of the same value in torch's order, behind the batch."""
        return (self.batch, *sorted(self.axes[1:]))
