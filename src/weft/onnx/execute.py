"""Execute an ONNX file on many rows: by onnxruntime, or by qonnx where it holds QONNX' own operations."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from weft.errors import ToolNotFoundError

INSTALL = "install weft[onnx] (onnx, onnxruntime and qonnx)"


def need(*names: str) -> None:
    """Refuse to go on where a library is missing.

    Raises:
        ToolNotFoundError: One of them is not installed.
    """
    from importlib.util import find_spec

    for name in names:
        if find_spec(name) is None:
            raise ToolNotFoundError(f"ONNX files need '{name}', which is not installed; {INSTALL}")


def execute(model: Any, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the outputs of a model, each (n, ...) float32.

    Args:
        model: An ONNX model whose first axes are the batch.
        rows: One array (n, ...) for each input, in the graph's order.
    """
    names = [one.name for one in inputs_of(model)]
    given = {name: np.ascontiguousarray(x, np.float32) for name, x in zip(names, rows, strict=True)}
    if any(node.domain not in ("", "ai.onnx") for node in model.graph.node):
        return _by_qonnx(model, given)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(one) for one in session.run(None, given)]


def inputs_of(model: Any) -> list[Any]:
    """Return the inputs of a model's graph that are no constants."""
    constants = {one.name for one in model.graph.initializer}
    return [one for one in model.graph.input if one.name not in constants]


def _by_qonnx(model: Any, given: dict[str, np.ndarray]) -> list[np.ndarray]:
    from qonnx.core.onnx_exec import execute_onnx

    wrapper = with_shapes(at_batch(model, len(next(iter(given.values())))))
    found = execute_onnx(wrapper, given)
    return [np.asarray(found[one.name]) for one in model.graph.output]


def with_shapes(model: Any) -> Any:
    """Return qonnx' wrapper of a copy of a model, in which every tensor has its shape."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    return ModelWrapper(copy.deepcopy(model)).transform(InferShapes())


def at_batch(model: Any, n_batch: int) -> Any:
    """Return a copy of a model for one size of its batch; shapes in between are forgotten."""
    from onnx import numpy_helper

    made = copy.deepcopy(model)
    del made.graph.value_info[:]
    for tensor in (*inputs_of(made), *made.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = n_batch
    shapes = {node.input[1] for node in made.graph.node if node.op_type == "Reshape"}
    for constant in made.graph.initializer:
        if constant.name in shapes:
            shape = np.array(numpy_helper.to_array(constant))
            if shape.size > 1 and shape[0] == 1:
                shape[0] = n_batch
                constant.CopyFrom(numpy_helper.from_array(shape, constant.name))
    return made
