"""What hls4ml 1.3 cannot do, or gets wrong without a word, as reasons that are known before it is asked.

A layer that is not listed as right is refused. The lists rest on runs: `benchmarks/support.py` writes networks of every
layer, weft's refusals left aside, and compares them; docs/firmware-support.md holds what came out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.config.hls import HlsConfig
from weft.cost.hls4ml import illegal_reuse, too_large
from weft.section import did_you_mean

if TYPE_CHECKING:
    import keras

_RIGHT = {
    "InputLayer", "QDense", "QEinsumDense", "QEinsumDenseBatchnorm", "QBatchNormDense", "QBatchNormalization",
    "QConv1D", "QConv2D", "QMaxPooling1D", "QMaxPooling2D", "QAveragePooling1D", "QAveragePooling2D",
    "QGlobalAveragePooling1D", "QGlobalAveragePooling2D", "QGlobalMaxPooling1D", "QGlobalMaxPooling2D",
    "QAdd", "QSubtract", "QMultiply", "QMaximum", "QMinimum", "QAveragePow2", "QDot", "QUnaryFunctionLUT", "QSoftmax",
    "Activation", "LeakyReLU", "Flatten", "Reshape", "Permute", "Concatenate", "Dropout", "Quantizer",
}  # fmt: skip
_WRONG = {
    "QMultiHeadAttention": "hls4ml 1.3 looks for attention of an older HGQ2; by its fall-back it compiles and is wrong",
    "QLinformerAttention": "hls4ml 1.3 looks for attention of an older HGQ2; by its fall-back it compiles and is wrong",
    "QSimpleRNN": "hls4ml derives no exact types for recurrent layers; with types set by hand it is wrong",
    "QGRU": "hls4ml derives no exact types for recurrent layers; with types set by hand it does not compile",
    "ZeroPadding1D": "hls4ml derives no exact types for padding; pad in the convolution (padding='same')",
    "ZeroPadding2D": "hls4ml derives no exact types for padding; pad in the convolution (padding='same')",
    "QSum": "hls4ml has no layer for it",
    "ReLU": "behind a layer without output quantiser it compiles and is wrong; use activation='relu' of that layer",
    "Softmax": "it compiles and is inexact; end in logits, or use QSoftmax",
    "BatchNormalization": "its weights are float; use QBatchNormalization",
    "LayerNormalization": "its weights are float",
}


def objection(model: keras.Model, config: HlsConfig) -> str | None:
    """Return why hls4ml cannot write a finalised model in this way, or would get it wrong, or None."""
    return next(_objections(model, config), None)


def _objections(model: keras.Model, config: HlsConfig) -> Iterator[str]:
    import keras

    if len(model.inputs) != 1 or len(model.outputs) != 1:
        yield f"it has {len(model.inputs)} inputs and {len(model.outputs)} outputs, and weft checks one of each"
    for operation in model.operations:
        if not isinstance(operation, keras.layers.Layer):
            yield (
                f"'{operation.name}' is an operation on tensors ({type(operation).__name__}), and hls4ml sees layers "
                "only; use a layer in its place"
            )
    for layer in model.layers:
        yield from _of_layer(layer, config)
    if config.io == "stream":
        yield from (
            f"what '{name}' gives is read by {' and '.join(readers)}: a stream cannot be quantised for each; set io: "
            "parallel"
            for name, readers in _branches(model)
        )
    if isinstance(config.reuse_factor, dict):
        names = [layer.name for layer in model.layers if _products(layer)]
        for name in config.reuse_factor:
            if name not in names:
                known = did_you_mean(name, names) or f"; layers with products are {', '.join(names)}"
                yield f"firmware.hls.reuse_factor names '{name}', which is no layer with products{known}"


def _of_layer(layer: Any, config: HlsConfig) -> Iterator[str]:
    kind = type(layer).__name__
    called = f"layer '{layer.name}' ({kind})"
    if kind in _WRONG:
        yield f"{called}: {_WRONG[kind]}"
    elif kind not in _RIGHT:
        yield f"{called} is of no kind that was found to come out right (docs/firmware-support.md lists those)"
    if getattr(layer, "groups", 1) != 1:
        yield f"{called} is a convolution in {layer.groups} groups, and hls4ml reads its kernel as if it had one"
    if set(np.ravel(getattr(layer, "dilation_rate", 1)).tolist()) != {1}:
        yield f"{called} is a dilated convolution, and hls4ml reads its inputs as if it were not"
    joined = max((len(node.input_tensors) for node in layer._inbound_nodes), default=0)
    if joined > 2:
        yield f"{called} joins {joined} tensors, and hls4ml two; join them in pairs"
    if kind == "Concatenate" and layer.axis > 0:
        axis = layer.axis - len(layer.output.shape)
        yield f"{called} joins along axis {layer.axis}, which hls4ml counts without the batch; write axis={axis}"
    if kind.startswith("QEinsumDense") and config.strategy == "resource":
        yield f"{called}: hls4ml has no strategy resource for it; take latency or distributed_arithmetic"
    elif config.io == "stream" and kind.startswith("QEinsumDense"):
        yield f"{called}: hls4ml has it with io parallel only"
    if kind == "QSoftmax" and _widest(layer.exp_table.oq) > _widest(layer.inv_table.iq):
        yield (
            f"{called} has exponentials with more integer bits than their sum has, and hls4ml wraps them; give inv_iq "
            "as many as exp_oq"
        )
    if getattr(layer, "_allow_heterogeneous_table", False):
        yield f"{called} may have a table for each value, and hls4ml has one for all (allow_heterogeneous_table=False)"
    if config.io == "stream" and any(_is_mixed(q) for q in _quantizers(layer)):
        yield f"{called} has values of several formats, and a stream has one; quantise per tensor, or set io: parallel"
    sizes = _products(layer)
    for check in (illegal_reuse, too_large) if config.build == "vendor" else (illegal_reuse,):
        reason = check(layer.name, *sizes, config) if sizes else None
        if reason is not None:
            yield reason


def _branches(model: keras.Model) -> Iterator[tuple[str, list[str]]]:
    """Yield the tensors that several layers read, by the layer that gives them: hls4ml cannot fuse quantisers there."""
    readers: dict[int, tuple[str, list[str]]] = {}
    for operation in model.operations:
        for node in operation._inbound_nodes:
            for tensor in node.input_tensors:
                readers.setdefault(id(tensor), (tensor._keras_history.operation.name, []))[1].append(operation.name)
    yield from ((name, found) for name, found in readers.values() if len(found) > 1)


def _products(layer: Any) -> tuple[int, int] | None:
    """Return inputs and outputs of the product that hls4ml reuses multipliers in, or None where there is none."""
    kind = type(layer).__name__
    if kind in ("QDense", "QBatchNormDense", "QConv1D", "QConv2D"):
        shape = layer.qkernel.shape
        return math.prod(shape[:-1]), shape[-1]
    return None


def _quantizers(layer: Any) -> Iterator[Any]:
    """Yield the quantisers of what a layer reads and gives."""
    for name in ("iq", "oq"):
        if getattr(layer, f"_enable_{name}", False):
            found = getattr(layer, name)
            yield from getattr(found, "quantizers", (found,))  # a layer of several inputs holds one for each


def _widest(quantizer: Any) -> int:
    """Return the most integer bits of a quantiser."""
    from weft import ops

    return int(np.max(ops.convert_to_numpy(quantizer.quantizer.kif[1])))


def _is_mixed(quantizer: Any) -> bool:
    """Return whether values have different formats; values of no bits take any."""
    from weft import ops

    k, i, f = (np.asarray(ops.convert_to_numpy(part)).ravel() for part in quantizer.quantizer.kif)
    k, i, f = np.broadcast_arrays(k, i, f)
    return len({tuple(one) for one in np.stack([k, i, f], axis=1)}) > 1
