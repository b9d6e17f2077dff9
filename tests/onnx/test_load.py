"""QONNX files as finalised models: from weft, from Brevitas, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnx
import weft
from onnx import TensorProto, helper, numpy_helper
from tests.onnx.models import FIXED, HGQ, finalised
from weft.adder_graph import AdderGraph
from weft.compression.finalized import Finalized
from weft.errors import ConfigError, ToolNotFoundError, UnsupportedError, VerificationError
from weft.firmware import Simulator, emit, random_inputs, verify
from weft.onnx import export
from weft.onnx.check import outputs_of
from weft.onnx.execute import execute

GOLDEN = Path(__file__).parent / "golden" / "brevitas-0.13.4.onnx"
"""Written by Brevitas 0.13.4 under torch 2.13: see `brevitas_model`."""

DOMAIN = "qonnx.custom_op.general"


CASES = {"mlp": HGQ, "conv1d": FIXED, "residual": HGQ, "moved": FIXED, "conv2d": FIXED, "two inputs": HGQ}


@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.slow] * (one != "mlp")) for one in CASES])
def test_a_model_comes_back_from_qonnx_as_it_was(name, tmp_path):
    """It computes the same on any input, and is the same hardware; of one the Verilog is simulated."""
    model, _ = finalised(name, CASES[name])
    export(model, tmp_path / "m.onnx", format="qonnx")
    read = weft.from_qonnx(tmp_path / "m.onnx")
    assert isinstance(read, Finalized)
    x = [np.random.default_rng(2).normal(0, 4, (500, *t.shape[1:])).astype("f") for t in model.inputs]
    for mine, other in zip(outputs_of(model, x), outputs_of(read, x), strict=True):
        np.testing.assert_array_equal(mine, other)
    if len(x) > 1:
        return
    graph = AdderGraph.from_model(read)
    assert graph.lut == AdderGraph.from_model(model).lut
    simulator = Simulator(emit(graph, tmp_path / "rtl", "xcvu13p", 5.0)) if name == "mlp" else None
    found = verify(read, graph, simulator, x[0], seek=False)
    assert found.status == "exact" and found.levels[-1] == ("rtl" if simulator else "adder_graph")


def brevitas_model():
    """Return a network of a convolution and a dense layer whose scales are powers of two."""
    import brevitas.nn as qnn
    import torch
    from brevitas.quant import (
        Int8ActPerTensorFixedPoint,
        Int8BiasPerTensorFixedPointInternalScaling,
        Int8WeightPerTensorFixedPoint,
        Uint8ActPerTensorFixedPoint,
    )

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            weights = {"weight_quant": Int8WeightPerTensorFixedPoint,
                       "bias_quant": Int8BiasPerTensorFixedPointInternalScaling}  # fmt: skip
            self.q = qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint, bit_width=6, return_quant_tensor=True)
            self.c = qnn.QuantConv2d(2, 3, 3, padding=1, bias=True, weight_bit_width=4, **weights)
            self.r = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint, bit_width=4, return_quant_tensor=True)
            self.p = torch.nn.MaxPool2d(2)
            self.d = qnn.QuantLinear(12, 4, bias=True, weight_bit_width=3, **weights)

        def forward(self, x):
            return self.d(self.p(self.r(self.c(self.q(x)))).flatten(1))

    torch.manual_seed(0)
    network = Network().train()
    for _ in range(3):
        network(torch.randn(8, 2, 4, 4))
    return network.eval()


@pytest.fixture(scope="module")
def from_brevitas():
    return weft.from_qonnx(GOLDEN)


def codes(n=200, seed=0):
    """Return inputs of the format that the golden network reads: 6 bits with a sign."""
    scale = next(numpy_helper.to_array(one) for one in onnx.load(GOLDEN).graph.initializer
                 if one.name == "q.act_quant.export_handler.lifted_tensor_0")  # fmt: skip
    return (np.random.default_rng(seed).integers(-32, 32, (n, 2, 4, 4)) * scale).astype(np.float32)


def test_a_network_of_brevitas_is_equal_at_every_level(from_brevitas):
    from weft.cost import CostInput, FixedTarget, side_by_side

    x = codes()
    np.testing.assert_array_equal(outputs_of(from_brevitas, [x])[0], execute(onnx.load(GOLDEN), [x])[0])
    graph = AdderGraph.from_model(from_brevitas)
    assert verify(from_brevitas, graph, None, x, seek=False).status == "exact"
    found = side_by_side(CostInput(from_brevitas, graph), ("ebops", "adder_graph"), FixedTarget("xcvu13p", 5.0))
    assert {"ebops", "lut"} <= set(found.quantities)


def test_what_brevitas_writes_now_is_read_too(tmp_path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's and Brevitas' own
        pytest.importorskip("onnxoptimizer", reason="Brevitas' export needs it")
        torch = pytest.importorskip("torch")
        export_qonnx = pytest.importorskip("brevitas.export").export_qonnx
        network = brevitas_model()
        export_qonnx(network, torch.randn(1, 2, 4, 4), str(tmp_path / "b.onnx"), dynamo=False)
    model, x = weft.from_qonnx(tmp_path / "b.onnx"), codes(50)
    with torch.no_grad():
        expected = network(torch.tensor(x)).numpy()
    np.testing.assert_array_equal(outputs_of(model, [x])[0], expected)


def test_with_a_wider_port_hardware_rounds_and_saturates_as_the_file_does():
    model = weft.from_qonnx(GOLDEN, port=(1, 6, 8))
    x = (codes() * 3 + 2.0**-8).astype(np.float32)  # between codes, and beyond the range
    x = np.clip(np.floor(x * 2**8) / 2**8, -64, 64 - 2**-8).astype(np.float32)
    np.testing.assert_array_equal(outputs_of(model, [x])[0], execute(onnx.load(GOLDEN), [x])[0])
    graph = AdderGraph.from_model(model)
    assert verify(model, graph, None, random_inputs(graph, 100), seek=False).status == "exact"
    with pytest.raises(
        ConfigError, match=r"port takes \(k, i, f\) with k 0 or 1 and k \+ i \+ f >= 1; got \(2, 1, 1\)"
    ):
        weft.from_qonnx(GOLDEN, port=(2, 1, 1))


def quant(x, out, *, scale=0.5, zero=0.0, bits=4, signed=1, narrow=0, mode="ROUND", name=None):
    """Return a Quant node and its constants."""
    place = name or f"quant_{out}"
    parts = {f"{place}_s": scale, f"{place}_z": zero, f"{place}_b": bits}
    made = helper.make_node("Quant", [x, *parts], [out], name=place, domain=DOMAIN, signed=signed, narrow=narrow,
                            rounding_mode=mode)  # fmt: skip
    return made, parts


def written(path, steps, *, constants=None, shape=(1, 3), out=(1, 2)):
    """Write a graph from x to y."""
    nodes, values = [], dict(constants or {})
    for step in steps:
        node, parts = step if isinstance(step, tuple) else (step, {})
        nodes.append(node)
        values |= parts
    tensors = [numpy_helper.from_array(np.asarray(v, np.int64 if np.asarray(v).dtype.kind == "i" and n == "shape" else
                                                  np.float32), n) for n, v in values.items()]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", out))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


WEIGHTS = {"w": np.array([[1, -0.5], [0.25, 0], [-1, 0.75]])}
MATMUL = helper.make_node("MatMul", ["q", "w"], ["y"], name="dense")


def node(kind, inputs, out="y", name="odd", **more):
    return helper.make_node(kind, inputs, [out], name=name, **more)


QUANTS = {
    "scale": ({"scale": 0.3}, r"node 'q' \(Quant\) has the scale 0\.3\d*, which is no power of two, .*=POWER_OF_TWO"),
    "zero point": ({"zero": 3.0}, r"node 'q' \(Quant\) has the zero point 3; .*: use a symmetric quantiser"),
    "widths": (
        {"bits": [4, 4, 3]},
        r"node 'q' \(Quant\) has the bit width \[4.0, 4.0, 3.0\], .* a node for each width",
    ),
    "bipolar": ({"bits": 1}, r"node 'q' \(Quant\) has one bit with a sign, .*; use 2 bits, or an unsigned one"),
    "narrow": ({"signed": 0, "narrow": 1}, r"node 'q' \(Quant\) is unsigned with a narrow range, .*; use narrow=0"),
    "rounding": ({"mode": "CEIL"}, r"node 'q' \(Quant\) rounds by CEIL, which fixed point does not have; use ROUND"),
}


@pytest.mark.parametrize("what", list(QUANTS))
def test_a_quantiser_that_is_no_fixed_point_is_named(what, tmp_path):
    settings, message = QUANTS[what]
    path = written(tmp_path / "m.onnx", [quant("x", "q", name="q", **settings), MATMUL], constants=WEIGHTS)
    with pytest.raises(UnsupportedError, match=message):
        weft.from_qonnx(path)


GRAPHS = {
    "normalisation": (
        [node("BatchNormalization", ["x", "w", "w", "w", "w"])],
        r"node 'odd' \(BatchNormalization\) is none that weft reads .*: fold it into the layer before it",
    ),
    "softmax": ([node("Softmax", ["x"])], r"node 'odd' \(Softmax\) is none that weft reads .*: cut it off"),
    "float activations": (
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")],
        "node 'dense' multiplies values that no Quant node has rounded, so they have no width; put one before it",
    ),
    "float weights": (
        [quant("x", "q"), helper.make_node("MatMul", ["q", "pi"], ["y"], name="dense")],
        r"node 'dense' has a weight of \d+ bits, .*: it is not quantised; put a Quant node behind it .*weight_quant",
    ),
    "constant": (
        [quant("x", "q"), node("MatMul", ["q", "w"], "m", "dense"), node("Mul", ["m", "pair"])],
        r"node 'odd' \(Mul\) computes with a constant, .*; fold it into the weights before it",
    ),
    "remainder": ([quant("x", "q"), node("Mod", ["q", "w0"])], r"node 'odd' \(Mod\) .* remainder of integers"),
    "clip": (
        [quant("x", "q"), MATMUL_TO := helper.make_node("MatMul", ["q", "w"], ["m"], name="dense"),
         node("Clip", ["m", "w0", "w2"])],
        r"node 'odd' \(Clip\) cannot be read: it bounds values by 0 and 2; weft reads 0 and 6, or -1 and 1",
    ),
    "batch": (
        [quant("x", "q"), MATMUL_TO, node("Transpose", ["m"], perm=[1, 0])],
        r"node 'odd' \(Transpose\) cannot be read: it moves the batch axis",
    ),
    "shape": (
        [quant("x", "q"), node("Reshape", ["q", "q"], "m"), node("MatMul", ["m", "w"], name="dense")],
        r"node 'odd' \(Reshape\) gives a tensor whose shape is not known, .*; fix all shapes before the export",
    ),
    "gemm": (
        [quant("x", "q"), node("Gemm", ["q", "w"], alpha=2.0)],
        r"node 'odd' \(Gemm\) cannot be read: it has transA, or an alpha or beta that is not 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", list(GRAPHS))
def test_a_node_that_cannot_be_read_is_named(what, tmp_path):
    steps, message = GRAPHS[what]
    more = {"pi": np.pi * np.array([[1, 2.1], [3.3, 0.01], [5, 6]]), "w0": 0.0, "w2": 2.0, "pair": [[1.0, 2.0]]}
    path = written(tmp_path / "m.onnx", steps, constants=WEIGHTS | more)
    with pytest.raises(UnsupportedError, match=message):
        weft.from_qonnx(path)


def test_files_and_shapes_that_are_none_are_refused(tmp_path, monkeypatch):
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ConfigError, match=r"text.onnx cannot be read as an ONNX model: .*"):
        weft.from_qonnx(tmp_path / "text.onnx")
    with pytest.raises(ConfigError, match=r"none.onnx cannot be read as an ONNX model: .*; give a file that onnx.load"):
        weft.from_qonnx(tmp_path / "none.onnx")
    path = written(tmp_path / "m.onnx", [quant("x", "q"), MATMUL], constants=WEIGHTS, shape=(1, "n"))
    with pytest.raises(
        UnsupportedError, match=r"input 'x' of .* has the shape \[1, None\], .*make_dynamic_shape_fixed"
    ):
        weft.from_qonnx(path)
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else find(name, *rest))
    with pytest.raises(ToolNotFoundError, match="ONNX files need 'onnx', which is not installed"):
        weft.from_qonnx(path)


def test_a_model_that_computes_something_else_is_an_error(tmp_path, monkeypatch):
    """What the reader makes is compared with the file before anyone gets it."""
    from weft.onnx import nodes

    path = written(tmp_path / "m.onnx", [quant("x", "q"), MATMUL], constants=WEIGHTS)
    assert weft.from_qonnx(path).count_params() > 0
    dense = nodes.HANDLERS["MatMul"]
    monkeypatch.setitem(nodes.HANDLERS, "MatMul", lambda network, one: dense(network, nodes.Node(
        one.name, one.kind, [one.inputs[0], -one.constant(1)], one.attributes, one.shape)))  # fmt: skip
    with pytest.raises(VerificationError, match=r"what was read from .*m.onnx differs from the Keras model in"):
        weft.from_qonnx(path)
