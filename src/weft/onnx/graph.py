"""An ONNX graph while it is written: nodes in order, constants once each, names that are unique."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import onnx
from onnx import TensorProto, helper, numpy_helper
from weft.naming import unique

QONNX_DOMAIN = "qonnx.custom_op.general"

_TYPES = {
    "int4": TensorProto.INT4,
    "uint4": TensorProto.UINT4,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "uint16": TensorProto.UINT16,
    "int32": TensorProto.INT32,
}


class Graph:
    """Nodes and constants of one graph.

    Attributes:
        opset: Version of ONNX' own operations.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self._nodes: list[Any] = []
        self._constants: dict[Any, str] = {}
        self._initializers: list[Any] = []
        self._names: set[str] = set()

    def constant(self, value: ArrayLike, dtype: str = "float32") -> str:
        """Return the name of a constant; equal ones are one. `dtype` is NumPy's, or `int4` or `uint4`."""
        array = np.asarray(value)
        key = (dtype, array.shape, array.astype(np.float64).tobytes())
        if key not in self._constants:
            name = self.name("c")
            if dtype in _TYPES:
                flat = array.ravel().astype(int).tolist()
                made = helper.make_tensor(name, _TYPES[dtype], array.shape, flat)
            else:
                made = numpy_helper.from_array(array.astype(dtype), name)
            self._initializers.append(made)
            self._constants[key] = name
        return self._constants[key]

    def add(self, kind: str, inputs: Sequence[str], name: str, domain: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of what it gives."""
        made = self.name(name)
        self._nodes.append(helper.make_node(kind, list(inputs), [made], name=made, domain=domain, **attributes))
        return made

    def name(self, wanted: str) -> str:
        """Return a name that nothing else has."""
        return unique(wanted, self._names)

    def model(
        self,
        inputs: Mapping[str, tuple[Any, ...]],
        outputs: Mapping[str, tuple[Any, ...]],
        notes: Mapping[str, str],
        name: str,
    ) -> Any:
        """Return the model.

        Args:
            inputs: The shape of each input, by its name; a string is an axis of any size.
            outputs: The same of the outputs.
            notes: What the file says of itself.
            name: Of the graph.
        """

        def described(tensors: Mapping[str, tuple[Any, ...]]) -> list[Any]:
            return [helper.make_tensor_value_info(one, TensorProto.FLOAT, shape) for one, shape in tensors.items()]

        graph = helper.make_graph(self._nodes, name, described(inputs), described(outputs), self._initializers)
        domains = {node.domain for node in self._nodes if node.domain}
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(one, 1) for one in sorted(domains))]
        model = helper.make_model(graph, producer_name="weft", opset_imports=opsets, ir_version=10)
        helper.set_model_props(model, dict(notes))
        return model


def shape_of(info: Any) -> tuple[int | None, ...]:
    """Return the shape of an input, an output or a value of a graph; None for an axis of any size."""
    dims = info.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims)


def attributes_of(node: Any) -> dict[str, Any]:
    """Return the attributes of a node by name; text is decoded."""
    found = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}
