"""What a recipe compresses: a float network with its weights, and the ways to build it in other numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weft.config.numbers import LayerSettings, Numbers
from weft.config.stages import RecipeConfig, StagesConfig

if TYPE_CHECKING:
    import keras

    from weft.prune import Method
    from weft.space.architecture import Architecture
    from weft.space.model import Weights


@dataclass(frozen=True)
class Network:
    """A network in float.

    Attributes:
        label: A short text such as `16-64-32-5 relu`.
        make: Builds the float model with the weights to start from; the seed is that of what is random in it.
        l1: Factor of the L1 penalty that it is trained with.
        architecture: What the search found, if it comes from one.
    """

    label: str
    make: Callable[[int], keras.Model] = field(repr=False)
    l1: float = 0.0
    architecture: Architecture | None = None

    @staticmethod
    def of_architecture(architecture: Architecture, weights: Weights | None = None) -> Network:
        """Take an architecture, with trained weights (`space.model.export_weights`) or random ones."""
        from weft.space.architecture import FloatNumbers
        from weft.space.model import build, import_weights

        architecture = architecture.whole()  # the recipe says what it prunes
        plain = architecture.with_numbers(FloatNumbers())

        def make(seed: int) -> keras.Model:
            model = build(plain, seed)
            if weights is not None:
                import_weights(model, weights)
            return model

        return Network(architecture.describe().rsplit(",", 1)[0], make, architecture.l1, architecture)

    @staticmethod
    def of_model(model: keras.Model) -> Network:
        """Take a Keras model as it is; it is not changed."""
        return Network(model.name, lambda seed: model)

    def changed(self, change: Callable[[keras.Model], keras.Model]) -> Network:
        """Return the network with a step before quantisation, such as a factorisation."""
        return replace(self, make=lambda seed: change(self.make(seed)))

    def prepared(self, config: RecipeConfig) -> Network:
        """Return the network with what a recipe does to it before quantisation."""
        low_rank = config.low_rank
        if low_rank is None:
            return self
        from weft.compression.low_rank import factorize

        return self.changed(lambda model: factorize(model, **dict(low_rank)))

    def build(
        self,
        numbers: Numbers,
        seed: int,
        *,
        prune: Method | None = None,
        prune_first: bool = True,
        layers: Mapping[str, LayerSettings] | None = None,
        keep_float: Sequence[str] = (),
    ) -> keras.Model:
        """Return the network in other numbers, with a pruning method in its kernels' quantisers."""
        from weft.quantize.convert import convert

        return convert(self.make(seed), numbers, layers or {}, prune, prune_first=prune_first, keep_float=keep_float)

    def build_for(self, config: StagesConfig, numbers: Numbers, seed: int) -> keras.Model:
        """Return the network as a recipe's configuration wants it."""
        made = self.build(
            numbers,
            seed,
            prune=config.prune,
            prune_first=config.prune_first,
            layers=config.layers,
            keep_float=config.keep_float,
        )
        if config.float_epochs == 0:
            return made
        from weft.quantize.switch import switched

        return switched(made)

    def input_bits(self, given: int | None, *, learned: bool = False) -> int | None:
        """Return the width of the input: the one that is given, or else what the search chose, if it did.

        Where widths are to be `learned`, what a search in fixed numbers had to choose does not count.
        """
        searched = None if self.architecture is None else self.architecture.numbers
        if given is not None or searched is None or searched.mode == "float" or (learned and searched.mode != "hgq"):
            return given
        return searched.io_bits

    def in_numbers(self, numbers: Numbers) -> Architecture | None:
        """Return the architecture with other numbers."""
        return None if self.architecture is None else self.architecture.with_numbers(numbers)
