"""QONNX files as finalised models, from weft or from Brevitas: the same intermediate form, and the same numbers.

A `Quant` node saturates, and most round ties to even; the input port of hardware does neither. So the network's inputs
are read in the format of the first quantiser, rounded with ties up and wrapped around beyond its range: on every input
of that format the model equals the file. With `port` the input arrives in a wider one, and rounding and saturation are
part of the hardware.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.errors import ConfigError, UnsupportedError
from weft.onnx.execute import need

if TYPE_CHECKING:
    import keras

_ALIASES = ("onnx.brevitas", "finn.custom_op.general")
"""Domains that QONNX' operations had in older files."""


def from_qonnx(path: Path | str, port: tuple[int, int, int] | None = None) -> keras.Model:
    """Read a QONNX file as a finalised model of HGQ2 layers.

    Inputs and outputs have the file's order of axes. The model is compared with qonnx' execution of the file before it
    is returned, on random and extreme inputs of the format that the first quantisers read.

    Args:
        path: The file; its shapes are fixed, but for the batch.
        port: The format (k, i, f) in which inputs arrive, k + i + f >= 1; None for that of their first quantiser.

    Returns:
        A finalised model, which `weft.finalize` would give of a model like it.

    Raises:
        ConfigError: The file is no ONNX model, or the port no format.
        UnsupportedError: A node has no exact form in fixed point; the message names it.
        VerificationError: The model does not compute what the file does.
        ToolNotFoundError: A library is missing.
    """
    need("onnx", "onnxruntime", "qonnx")
    if port is not None and (len(port) != 3 or port[0] not in (0, 1) or sum(port) < 1):
        raise ConfigError(f"port takes (k, i, f) with k 0 or 1 and k + i + f >= 1; got {port}")
    from weft.compression.finalize import frozen
    from weft.onnx import check
    from weft.onnx.number import uniform

    path = Path(path)
    file = _prepared(path)
    made, ports = _made(file, port, path.stem)
    model = frozen(made)
    if port is not None:
        ranks = [len(tensor.shape) for tensor in model.inputs]
        ports = [uniform(port, rank) for rank in ranks]
    rows = check.samples(ports, [tuple(tensor.shape[1:]) for tensor in model.inputs], beyond=False)
    check.compare(model, file, rows, f"what was read from {path}")
    return model


def _prepared(path: Path) -> Any:
    """Return the model of a file, with constants folded and the shape of every tensor, for a batch of 1."""
    from google.protobuf.message import DecodeError
    from qonnx.transformation.fold_constants import FoldConstants

    import onnx
    from weft.onnx.execute import at_batch, inputs_of, with_shapes
    from weft.onnx.graph import QONNX_DOMAIN, shape_of
    from weft.onnx.nodes import HANDLERS, REMEDIES

    try:
        model = onnx.load(str(path))
    except (OSError, DecodeError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read as an ONNX model: {error}; give a file that onnx.load reads"
        ) from error
    if not inputs_of(model) or not model.graph.output:
        raise ConfigError(f"{path} cannot be read as an ONNX model: its graph has no input or no output")
    for tensor in inputs_of(model):
        shape = shape_of(tensor)
        if None in shape[1:] or len(shape) < 2:
            raise UnsupportedError(
                f"input '{tensor.name}' of {path} has the shape {list(shape)}, and hardware needs one that is "
                "fixed but for the batch; export with a fixed example, or fix it (python -m onnxruntime.tools."
                "make_dynamic_shape_fixed)"
            )
    for node in model.graph.node:
        node.domain = QONNX_DOMAIN if node.domain in _ALIASES else node.domain
        if node.op_type not in HANDLERS and node.op_type not in (
            "Constant",
            "Shape",
            "Cast",
            "Slice",
            "ConstantOfShape",
        ):
            remedy = REMEDIES.get(node.op_type, "replace it by one of them")
            raise UnsupportedError(
                f"node '{node.name or node.output[0]}' ({node.op_type}) is none that weft reads "
                f"({', '.join(HANDLERS)}): {remedy}"
            )
    quantizers = ["Quant", "IntQuant", "BipolarQuant"]
    return with_shapes(at_batch(model, 1)).transform(FoldConstants(exclude_op_types=quantizers)).model


def _made(file: Any, port: tuple[int, int, int] | None, name: str) -> tuple[Any, list[Any]]:
    """Return the Keras model of a graph, and the format in which each input is read."""
    import keras

    from onnx import numpy_helper
    from weft.onnx.execute import inputs_of
    from weft.onnx.graph import attributes_of, shape_of
    from weft.onnx.network import Network
    from weft.onnx.nodes import HANDLERS, Node
    from weft.onnx.number import Number
    from weft.onnx.values import Value, made_of

    network = Network(port)
    graph = file.graph
    shapes = {one.name: shape_of(one) for one in (*graph.input, *graph.value_info, *graph.output)}
    known: dict[str, Any] = {one.name: np.array(numpy_helper.to_array(one)) for one in graph.initializer}
    inputs, sources = [], {}
    for tensor in inputs_of(file):
        inputs.append(keras.Input(shapes[tensor.name][1:], name=network.name(tensor.name)))
        known[tensor.name] = made_of(inputs[-1], raw=True)
        sources[id(known[tensor.name].base)] = len(inputs) - 1
    ports: list[Number | None] = [None] * len(inputs)
    for one in graph.node:
        shape = shapes.get(one.output[0])
        title = one.name or one.output[0]
        if not shape or None in shape:  # one that is not known looks like that of a scalar
            raise UnsupportedError(
                f"node '{title}' ({one.op_type}) gives a tensor whose shape is not known, {shape and list(shape)}; fix "
                "all shapes before the export"
            )
        read = [known.get(name) if name else None for name in one.input]
        node = Node(title, one.op_type, read, attributes_of(one), tuple(size or 0 for size in shape))
        if one.op_type in ("Quant", "IntQuant", "BipolarQuant") and isinstance(read[0], np.ndarray):
            made: Any = _weights(node)
        elif one.op_type not in HANDLERS or not any(isinstance(value, Value) for value in read):
            raise node.refusal("it does not compute with constants alone, and weft has no layer for it")
        else:
            made = HANDLERS[one.op_type](network, node)
        if node.kind in ("Quant", "IntQuant") and isinstance(made, Value):
            source = sources.get(id(made.base), -1)
            if source >= 0 and ports[source] is None:
                ports[source] = _port(made)
        known[one.output[0]] = made
    outputs = [network.settled(known[one.name], one.name)[0] for one in graph.output]
    ends = [one[0] if len(one) == 1 else one for one in (inputs, outputs)]
    return keras.Model(*ends, name=network.name(name)), ports


def _port(value: Any) -> Any:
    """Return the format in which an input is read, if it was not transposed before."""
    from weft.onnx.recognise import joined

    return joined(value.todo)[1] if value.axes == tuple(range(value.rank)) else None


def _weights(node: Any) -> np.ndarray:
    """Return the values of a quantised constant, as qonnx computes them."""
    from qonnx.custom_op.general.bipolar_quant import binary_quant
    from qonnx.custom_op.general.intquant import int_quant

    from weft.onnx.recognise import number_of

    values = np.asarray(node.inputs[0], np.float32)
    if node.kind == "BipolarQuant":
        number_of(node.name, node.constant(1).astype(np.float64), np.zeros(1), np.ones(1) * 2,
                  {"signed": 1, "narrow": 0}, values.ndim)  # fmt: skip
        return binary_quant(values, node.constant(1))
    scale, zero, bits = (node.constant(place) for place in (1, 2, 3))
    has = node.attributes
    one_bit = has["signed"] and bits.size == 1 and bits.ravel()[0] == 1  # qonnx makes it -1 and 1
    number_of(node.name, scale.astype(np.float64), zero, bits + int(one_bit), has, values.ndim)
    return int_quant(values, scale, zero, bits, has["signed"], has["narrow"], has.get("rounding_mode", "ROUND"))
