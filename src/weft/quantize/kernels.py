"""The kernels of a model: which variable each quantiser reads, and what it sees of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

    from weft.quantize.pruned import Pruned

_READS = (("kernel", "kq", "qkernel"), ("recurrent_kernel", "rkq", "qrecurrent_kernel"))
"""Of every layer with kernels: the variable, its quantiser, and the property that reads the one through the other."""


@dataclass(frozen=True)
class Kernel:
    """One kernel of one layer.

    Attributes:
        name: The layer's path, with the kernel's own name where the layer has several.
        layer: The layer that it belongs to.
        variable: The trained variable, of Keras.
        quantizer: The HGQ2 quantiser through which the layer reads it.
    """

    name: str
    layer: keras.Layer
    variable: Any
    quantizer: Any
    _read: str

    @property
    def pruned(self) -> Pruned | None:
        """The pruning method's wrapper, if there is one."""
        from weft.quantize.pruned import Pruned

        inside = getattr(self.quantizer, "quantizer", None)
        return inside if isinstance(inside, Pruned) else None

    def read(self) -> Any:
        """Return the kernel as the layer multiplies with it, a tensor; a fused batch normalisation is part of it."""
        return getattr(self.layer, self._read)

    def quantized(self) -> np.ndarray:
        """Return the kernel as the layer multiplies with it, as an array."""
        import keras

        return keras.ops.convert_to_numpy(self.read())

    def seen(self) -> np.ndarray:
        """Return the kernel as the pruning method sees it: with a fused normalisation, before mask and quantiser."""
        import keras

        pruned = self.pruned
        if pruned is None:
            return keras.ops.convert_to_numpy(self.variable)
        with pruned.recording() as seen:
            self.read()
        return keras.ops.convert_to_numpy(seen[-1])


class PrunedKernel(Kernel):
    """A kernel that a pruning method works on."""

    @property
    def pruned(self) -> Pruned:
        """The pruning method's wrapper."""
        return self.quantizer.quantizer

    def harden(self, seen: np.ndarray) -> None:
        """Fix the mask, and change the variable as the method wants it; `seen` is what `seen()` returned before."""
        import keras

        after = keras.ops.convert_to_numpy(self.pruned.harden(keras.ops.convert_to_tensor(seen)))
        if not np.array_equal(seen, after):
            ratio = np.divide(after, seen, out=np.ones_like(seen), where=seen != 0)
            self.variable.assign(keras.ops.convert_to_numpy(self.variable) * ratio)


def kernels(model: keras.Model) -> list[Kernel]:
    """Return the quantised kernels of a model, those of nested layers too, each once, in the order of the layers."""
    found: list[Kernel] = []
    for layer in _layers(model):
        mine = [(name, q, read) for name, q, read in _READS if getattr(layer, q, None) is not None]
        mine = [one for one in mine if hasattr(type(layer), one[2])]  # batch normalisation has scales and no kernel
        for name, q, read in mine:
            variable = getattr(layer, f"_{name}", None)
            variable = getattr(layer, name) if variable is None else variable
            title = layer.path if len(mine) == 1 else f"{layer.path}/{name}"
            found.append(Kernel(title, layer, variable, getattr(layer, q), read))
    return found


def pruned_kernels(model: keras.Model) -> list[PrunedKernel]:
    """Return the kernels that a pruning method works on."""
    found = [kernel for kernel in kernels(model) if kernel.pruned is not None]
    return [PrunedKernel(k.name, k.layer, k.variable, k.quantizer, k._read) for k in found]


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    seen: set[int] = set()
    for layer in model._flatten_layers():
        if id(layer) not in seen and hasattr(layer, "kq") and layer.built:
            seen.add(id(layer))
            yield layer
