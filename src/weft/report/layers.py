"""A finalised model layer by layer: the bits of its weights and of the inputs they meet, and what each layer costs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from weft.run.directory import Design


@dataclass(frozen=True)
class LayerBits:
    """One quantised layer.

    Attributes:
        name: The layer's name.
        weights: Width of each weight, (n,), in bits without sign: from its highest to its lowest bit that is not zero;
            0 for a weight that is zero.
        inputs: Declared width of each input, (m,), in bits without sign.
    """

    name: str
    weights: NDArray[np.int64]
    inputs: NDArray[np.int64]


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs, cut out of the network.

    Attributes:
        name: The layer's name.
        outputs: How many values it puts out.
        lut: The compiler's count, a `weft.types.Quantity` as JSON.
        made: Quantities of its synthesis by name, where `firmware.synth_layers` asked for it.
        ebops: EBOPs of its weights; None where its products are not known, or it has none.
    """

    name: str
    outputs: int
    lut: Mapping[str, Any]
    made: Mapping[str, Any]
    ebops: float | None


def bits_of(design: Design) -> list[LayerBits]:
    """Return the quantised layers of a design's model, in order."""
    return list(_model(*_stamp(design.model))[0])


def costs_of(design: Design, clock_period_ns: float) -> list[LayerCost]:
    """Return the layers of a design's adder graph that have operations, in order; none before it is built."""
    if not design.graph.exists():
        return []
    ebops = _model(*_stamp(design.model))[1]
    made: Mapping[str, Mapping[str, Any]] = (design.read("layers.json") or {"layers": {}})["layers"]
    return [
        LayerCost(name, outputs, lut, {k: q for k, q in made.get(name, {}).items() if k != "estimate"}, ebops.get(name))
        for name, outputs, lut in _graph(*_stamp(design.graph), clock_period_ns)
    ]


def _stamp(path: Path) -> tuple[Path, int, int]:
    found = path.stat()
    return path, found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=64)  # a dashboard reads the same designs again and again
def _model(path: Path, *stamp: int) -> tuple[tuple[LayerBits, ...], dict[str, float]]:
    """Return the bits of a saved model's layers, and their EBOPs by name."""
    from weft._backend import set_backend

    set_backend()
    import hgq  # noqa: F401 - registers the layers that the model is made of
    import keras

    from weft.cost.products import objection, products

    model: Any = keras.models.load_model(path, compile=False)
    bits = tuple(_bits(layer) for layer in model.layers if hasattr(layer, "kq") and hasattr(layer, "iq"))
    ebops: dict[str, float] = {}
    if objection(model) is None:
        names: set[str] = {layer.name for layer in model.layers}
        for product in products(model):
            place = next((name for name in names if product.name == name or product.name.startswith(f"{name}/")), "")
            ebops[place] = ebops.get(place, 0.0) + product.ebops
    return bits, ebops


@functools.lru_cache(maxsize=64)
def _graph(path: Path, mtime: int, size: int, clock_period_ns: float) -> tuple[tuple[str, int, Mapping[str, Any]], ...]:
    from weft.adder_graph import AdderGraph

    whole = AdderGraph.load(path)
    return tuple(
        (name, whole.layers[name], one.cost(clock_period_ns)["lut"].model_dump(mode="json"))
        for name, one in whole.layer_graphs().items()
        if not one.is_constant
    )


def _bits(layer: Any) -> LayerBits:
    from weft.cost.products import significant_bits
    from weft.ops import convert_to_numpy

    shape = tuple(layer.input.shape[1:])
    declared = np.broadcast_to(convert_to_numpy(layer.iq.bits_((1, *shape)))[0], shape)
    inputs = np.maximum(np.ravel(declared), 0).astype(np.int64)
    return LayerBits(layer.name, significant_bits(convert_to_numpy(layer.qkernel)).ravel(), inputs)
