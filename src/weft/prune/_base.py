"""What a pruning method is: a section of the configuration, and pure functions on one kernel.

A method sees a kernel as a matrix `w` of shape (n_out, n): one row for each output, one column for each weight that
the output reads. What it learns or counts lives in named slots; `weft.quantize.pruned.Pruned` keeps them as variables
of the layer, calls these functions in the compiled step, and turns the matrix back into the kernel. So a method is one
file without layers, and works in every layer type and on every Keras backend. Nothing here may depend on the value of
a tensor in Python: use `weft.ops.where` and `weft.ops.cond`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import Field

from weft import ops
from weft.section import Section
from weft.types import Tensor

State = Mapping[str, Tensor]
"""The method's slots of one kernel, by name."""


@dataclass(frozen=True)
class Geometry:
    """How a kernel is laid out: (n_out, n) with n = n_taps * n_in, the input channel running fastest.

    Attributes:
        n_out: Outputs (neurons, filters).
        n_in: Inputs (channels) that each output reads.
        taps: Positions of a convolution's window, () for a dense kernel.
    """

    n_out: int
    n_in: int
    taps: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        """Weights of one output."""
        result = self.n_in
        for size in self.taps:
            result *= size
        return result

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix."""
        return self.n_out, self.n


@dataclass(frozen=True)
class Slot:
    """A variable of a method: its shape, its first value, and whether the optimizer moves it."""

    shape: tuple[int, ...]
    initial: float = 0.0
    trainable: bool = False


@dataclass(frozen=True)
class Clock:
    """Where training is, as scalar tensors: `epoch` of `epochs` in this round (from 0), and `round` (from 0)."""

    epoch: Tensor
    epochs: Tensor
    round: Tensor


@dataclass(frozen=True)
class Seen:
    """What one training batch showed of a layer.

    Attributes:
        square: Sum of the squares of each column's input over the batch, (n,) or (n_out, n).
        rows: Number of input vectors summed over, a scalar.
        active: Share of positive outputs of each neuron, in [0, 1], (n_out,).
        cost: EBOPs of each weight at the widths of now, as long as it is there, (n_out, n); for methods that want them.
    """

    square: Tensor
    rows: Tensor
    active: Tensor
    cost: Tensor | None = None


class Method(Section):
    """Base of all pruning methods.

    Subclasses declare `method`, a `Literal` whose default is their name, and their hyper-parameters as fields, and
    override what differs from doing nothing. `only` and `skip` choose layers by name or pattern.
    """

    wants_batches: ClassVar[bool] = False
    """Whether `observe` must see each training batch."""
    wants_cost: ClassVar[bool] = False
    """Whether `observe` must also be told what each weight costs."""
    wants_budget: ClassVar[bool] = False
    """Whether each layer has to be given its share of a global `sparsity` when the pretrain stage ends."""
    one_shot: ClassVar[bool] = False
    """Whether `at_once` can take the place of the train stage."""
    structured: ClassVar[bool] = False
    """Whether whole rows (neurons) are removed, their biases with them."""

    method: str = Field(description="The method.")
    only: list[str] = Field(default=["*"], description="Layers to prune, by name or pattern.")
    skip: list[str] = Field(default=[], description="Layers to leave whole, by name or pattern.")

    @classmethod
    def steered(cls) -> bool:
        """Say whether the method removes the share of weights that it is told."""
        return "sparsity" in cls.model_fields

    @classmethod
    def at(cls, sparsity: float) -> Self:
        """Return a steered method that removes a share of the weights, in (0, 1), the rest of it as usual."""
        return cls.model_validate({"sparsity": sparsity})

    def check(self, geometry: Geometry) -> str | None:
        """Return why this kernel cannot be pruned so, in words for the user; None if it can."""
        return None

    def slots(self, geometry: Geometry) -> dict[str, Slot]:
        """Return the variables that the method needs for one kernel."""
        return {}

    def apply(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        """Return what the train stage uses in place of `w`, differentiable, and the mask so far, 0 or 1; (n_out, n)."""
        return w, ops.ones_like(w)

    def penalty(self, w: Tensor, state: State, clock: Clock) -> Tensor | None:
        """Return the method's term of the loss for this kernel, a scalar; None if it has none."""
        return None

    def step(self, w: Tensor, state: State, clock: Clock) -> dict[str, Tensor]:
        """Return the new values of non-trainable slots after a training step."""
        return {}

    def observe(self, w: Tensor, state: State, seen: Seen) -> dict[str, Tensor]:
        """Return the new values of non-trainable slots after a batch has gone through the layer."""
        return {}

    def at_once(self, w: Tensor, state: State, seen: Seen) -> dict[str, Tensor]:
        """Return the values of slots that a method finds without training, all rows being `seen` at once."""
        return {}

    def between_rounds(self, w: Tensor, state: State) -> dict[str, Tensor]:
        """Return the new values of slots after one round and before the next."""
        return {}

    def harden(self, w: Tensor, state: State, clock: Clock) -> tuple[Tensor, Tensor]:
        """Return the kernel and the mask with which fine-tuning goes on; the product is what `apply` computed, rounded.

        The mask is 0 where a weight is gone, and otherwise the factor (usually 1) that stays on it.
        """
        return w, self.apply(w, state, clock)[1]
