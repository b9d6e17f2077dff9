"""What a counterpart is: the rule that makes quantised layers of one float layer, and the kit it takes quantisers from.

A rule knows one class of Keras layers: which HGQ2 layers compute the same, which quantiser goes where, and how weights
get from the one to the other. It knows neither graphs nor patterns of names. The same rule makes a layer that is
written by hand (`weft.quantize.layers`), where there are no weights yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import keras
import numpy as np
from hgq.quantizer import Quantizer, QuantizerConfig

from weft.config.numbers import FixedNumbers, FloatNumbers, HgqNumbers, LayerSettings, QuantizerSettings
from weft.prune import Geometry, Method
from weft.quantize import quantizers
from weft.quantize.graph import Call, Step
from weft.quantize.pruned import MaskedConfig, PrunedConfig


@dataclass(frozen=True)
class Read:
    """What is known of a tensor that a layer reads.

    Attributes:
        shape: Its shape with the batch axis; None if it is not known yet.
        first: Whether it is the network's input, which no layer has quantised yet.
        signed: Whether it may be negative.
    """

    shape: tuple[int | None, ...] | None = None
    first: bool = False
    signed: bool = True


@dataclass(frozen=True)
class Kit:
    """The quantisers of one layer, by place.

    Attributes:
        numbers: The network's numbers. Float ones give quantisers that change nothing, where settings ask for none.
        settings: What the layer does differently.
        method: The pruning method of its kernels, with the layer's own parameters; None leaves them whole.
        prune_first: Whether the mask comes before the quantiser.
        reads: What the layer reads, one entry for each tensor.
        taken: Names that the layers which this one becomes must not have.
    """

    numbers: FloatNumbers | FixedNumbers | HgqNumbers
    settings: LayerSettings = field(default_factory=LayerSettings)
    method: Method | None = None
    prune_first: bool = True
    reads: tuple[Read, ...] = (Read(),)
    taken: frozenset[str] = field(default=frozenset(), repr=False)

    def weight(self, outputs: Sequence[int] = (-1,), n_taps: int = 0) -> QuantizerConfig:
        """Return the quantiser of a kernel whose axes `outputs` number outputs, and `n_taps` others a window."""
        return self.pruned(quantizers.weight(self.numbers, self.settings.weight, tuple(outputs)), outputs, n_taps)

    def pruned(self, inside: QuantizerConfig, outputs: Sequence[int] = (-1,), n_taps: int = 0) -> QuantizerConfig:
        """Put the pruning method around the quantiser of a kernel, if there is one."""
        if self.method is None:
            return inside
        return PrunedConfig(inside, self.method, tuple(outputs), n_taps, self.prune_first)

    def bias(self) -> QuantizerConfig:
        """Return the quantiser of a bias."""
        inside = quantizers.bias(self.numbers, self.settings.bias)
        return MaskedConfig(inside) if self.method is not None and self.method.structured else inside

    def input(self, i: int | None = None) -> QuantizerConfig:
        """Return the quantiser of the i-th tensor that the layer reads, or one that suits all of them."""
        reads = self.reads if i is None else self.reads[i : i + 1]
        first, signed = any(read.first for read in reads), any(read.signed for read in reads)
        return quantizers.activation(self.numbers, self.settings.input, first=first, signed=signed)

    def inner(self, *, signed: bool = True) -> QuantizerConfig:
        """Return the quantiser of a value that one part of the layer hands to another."""
        return quantizers.activation(self.numbers, signed=signed)

    def again(self) -> QuantizerConfig:
        """Return the quantiser of what else weights of the layer are multiplied with: as wide as its input."""
        return quantizers.activation(self.numbers, QuantizerSettings(bits=self.settings.input.bits))

    def table(self, *, signed: bool = True) -> QuantizerConfig:
        """Return the quantiser of a table's values."""
        return quantizers.table(self.numbers, self.settings.table, signed=signed)

    @property
    def beta(self) -> float:
        """The weight of the EBOPs in the loss at the start."""
        return quantizers.beta(self.numbers)

    def rest(self) -> dict[str, Any]:
        """Return what every HGQ2 layer takes: the weight of its EBOPs, and its output's quantiser if it has one."""
        output = self.output()
        return {"beta0": self.beta} | ({} if output is None else {"enable_oq": True, "oq_conf": output})

    def output(self) -> QuantizerConfig | None:
        """Return the quantiser of what the layer gives, if its settings ask for one."""
        return None if self.settings.output is None else quantizers.activation(self.numbers, self.settings.output)

    def before(self) -> Kit:
        """Return the kit of a layer after which more follow in place of the same float layer."""
        return replace(self, settings=self.settings.model_copy(update={"output": None}))

    def after(self) -> Kit:
        """Return the kit of a layer that reads what another made in place of the same float layer."""
        return replace(self, settings=self.settings.model_copy(update={"input": quantizers.NONE}), reads=(Read(),))

    def name(self, layer: Any, suffix: str) -> str:
        """Return a name for one of several layers that a float layer becomes."""
        name = f"{layer.name}_{suffix}"
        while name in self.taken:
            name += "_"
        return name


@dataclass(frozen=True)
class Made:
    """What takes the place of a layer: steps that are called one after the other, and how they get its weights."""

    steps: Sequence[Step]
    copy: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Axes:
    """A kernel of a float layer: its shape, the axes that number outputs, and how many others are a window's."""

    shape: tuple[int, ...]
    outputs: tuple[int, ...] = (-1,)
    n_taps: int = 0

    @property
    def geometry(self) -> Geometry:
        """The kernel as pruning methods see it."""
        outputs = {axis % len(self.shape) for axis in self.outputs}
        others = [size for axis, size in enumerate(self.shape) if axis not in outputs]
        n_out = prod(self.shape[axis] for axis in outputs)
        return Geometry(n_out, prod(others[self.n_taps :]), tuple(others[: self.n_taps]))


Parts = tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """How one class of Keras layers, or of pure operations, is replaced.

    Attributes:
        make: Makes the quantised layers.
        parts: The settings that mean something for them, as in `LayerSettings`.
        kernels: Returns the kernels of a built float layer that pruning methods may work on.
        objection: Returns why this call of the layer cannot be replaced and what to do about it, or None.
        fuse: Makes the quantised layers of it and the batch normalisation behind it, if there are such.
    """

    make: Callable[[Any, Kit], Made]
    parts: Parts = ("input", "output")
    kernels: Callable[[Any], list[Axes]] = lambda layer: []
    objection: Callable[[Call], str | None] = lambda call: None
    fuse: Callable[[Any, Any, Kit], Made] | None = None


KERNEL_PARTS: Parts = ("weight", "bias", "input", "output", "prune")
FUNCTION_PARTS: Parts = ("table", "hard", "multiplier")


def config_of(layer: Any, *without: str, **changed: Any) -> dict[str, Any]:
    """Return the constructor arguments of a layer, but for those that its HGQ2 counterpart does not take."""
    dropped = {*without, "quantization_config", "lora_rank", "lora_alpha"}
    return {name: value for name, value in layer.get_config().items() if name not in dropped} | changed


def weights_of(layer: Any) -> dict[str, keras.Variable]:
    """Return the weights of a built layer by their path below it, such as `kernel` or `query/kernel`."""
    return {variable.path.removeprefix(f"{layer.path}/"): variable for variable in layer.weights}


def copy_weights(old: Any, new: Any, renamed: Mapping[str, str] | None = None) -> None:
    """Give a layer the weights of another that have the same name, but for those in `renamed`; `""` drops a weight."""
    renamed, target = renamed or {}, weights_of(new)
    for name, variable in weights_of(old).items():
        name = renamed.get(name, name)
        if name:
            target[name].assign(array(variable))
    freeze_like(old, new)


def freeze_like(old: Any, new: Any) -> None:
    """Keep a frozen layer frozen; its quantisers go on following the data, or it could not be calibrated."""
    if not old.trainable:
        new.trainable = False
        for layer in new._flatten_layers():
            if isinstance(layer, Quantizer):
                layer.trainable = True
        for variable in new.variables:
            variable.trainable = False


def array(variable: Any) -> np.ndarray:
    """Return a tensor or variable as an array of its own: JAX gives away the memory of the variables it trains."""
    return np.array(keras.ops.convert_to_numpy(variable))


def computes_in_float32(call: Call) -> str | None:
    """Object to layers that compute in another precision, or that Keras itself has changed."""
    layer = call.operation
    if layer.compute_dtype != "float32" or layer.variable_dtype != "float32":
        return f"it computes in {layer.compute_dtype}; build the model with dtype float32"
    if getattr(layer, "quantization_mode", None) is not None:
        return f"Keras has quantised it to {layer.quantization_mode} already; give the float model"
    if getattr(layer, "lora_enabled", False):
        return "it carries LoRA weights; merge them into its kernel first"
    return None


def first_objection(*objections: Callable[[Call], str | None]) -> Callable[[Call], str | None]:
    """Return an objection that is the first of several."""
    return lambda call: next((found for object_to in objections if (found := object_to(call)) is not None), None)
