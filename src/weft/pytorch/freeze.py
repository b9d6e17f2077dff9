"""From a finalised Keras model to an `nn.Module` that computes the same numbers, bit for bit.

The graph of the Keras model becomes a `torch.fx.GraphModule` of the same operations under the same names; what each is
made of is in `weft.pytorch.frozen`. What only moves values is asked of Keras itself, with numbers in place of values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from weft.errors import UnsupportedError
from weft.quantize.graph import Call, flow, graph_of
from weft.quantize.operations import function_of, is_pure, is_quantized, kind_of, name_of

if TYPE_CHECKING:
    from torch import nn


def to_torch(model: keras.Model) -> nn.Module:
    """Return a finalised model as a frozen torch module.

    It takes and gives float32, in the layout of the Keras model, which for a model of `weft.from_torch` is that of the
    module it came from. It computes in float64, where fixed-point numbers of up to 53 bits are exact: its outputs are
    those of the Keras model as `weft verify` checks them. Weights, formats and tables are in `state_dict`, under the
    names of the layers; there is nothing to train. `torch.jit.trace`, `torch.jit.script` and `torch.export.export`
    take it.

    Args:
        model: What `weft.finalize` returned, or a file of it, loaded.

    Raises:
        UnsupportedError: The model is not finalised, or holds a layer that has no form in torch.
    """
    import torch

    from weft.pytorch import frozen

    graph = graph_of(model)
    if model.trainable_variables:
        raise UnsupportedError(
            f"'{model.name}' still has trainable variables, and a frozen module is made of a finalised model; use "
            "weft.finalize(model, x) first"
        )
    root, code = torch.nn.Module(), torch.fx.Graph()
    inputs = []
    for tensor in graph.inputs:
        node = code.placeholder(_word(tensor.name))
        inputs.append(code.call_method("float", (node,)))
    made: dict[tuple[int, ...], str] = {}
    problems: list[str] = []

    def visit(call: Call, nodes: list[Any]) -> Any:
        key = (
            id(call.operation),
            id(call.node) if is_pure(call.operation) or kind_of(call.operation) == "moves" else 0,
        )
        if key not in made:
            try:
                part = _make(call)
            except UnsupportedError as error:
                problems.append(f"'{call.place}' ({type(call.operation).__name__}): {error}")
                return nodes[0]
            made[key] = _unused(root, _word(call.place))
            root.add_module(made[key], part)
        if isinstance(root.get_submodule(made[key]), frozen.Merge | frozen.Attention):
            return code.call_module(made[key], (nodes,))
        if len(nodes) > 1:
            joined = f"{made[key]}_inputs"
            if not hasattr(root, joined):
                root.add_module(joined, frozen.Join(len(nodes)))
            nodes = [code.call_module(joined, (nodes,))]
        return code.call_module(made[key], (nodes[0],))

    ends = flow(model, inputs, visit)
    if problems:
        raise UnsupportedError(f"cannot make a torch module of '{model.name}':\n- " + "\n- ".join(problems))
    ends = [code.call_method("float", (end,)) for end in ends]
    code.output(ends[0] if len(ends) == 1 else tuple(ends))
    module = torch.fx.GraphModule(root, code, class_name=re.sub(r"\W", "_", model.name.title()) or "Frozen")
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def _word(name: str) -> str:
    word = re.sub(r"\W", "_", name)
    return f"layer_{word}" if word[:1].isdigit() or word in ("input", "float") else word


def _unused(root: nn.Module, name: str) -> str:
    while hasattr(root, name):
        name += "_"
    return name


def _numpy(x: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(x))


def _exact(x: Any) -> np.ndarray:
    return _numpy(x).astype(np.float64)


def _make(call: Call) -> nn.Module:
    """Return the module that computes what a call does."""
    operation = call.operation
    if kind_of(operation) == "moves":
        return _move(call)
    name = name_of(operation)
    maker = _MAKERS.get(name)
    if maker is None:
        raise UnsupportedError("it has no exact form in torch; use layers that weft.compress makes")
    if name in _QUANTISED and not is_quantized(operation):
        raise UnsupportedError("its values have no fixed-point formats; use the layer of HGQ2 that weft.compress makes")
    return maker(call)


# Quantisers and tables


def quantizer(layer: Any) -> nn.Module:
    """Return a HGQ2 quantiser in torch."""
    from weft.pytorch import frozen

    inside = layer.quantizer
    if not hasattr(inside, "kif"):  # it changes nothing
        return frozen.Clip(None, None)
    k, i, f = map(_exact, inside.kif)
    made: nn.Module = frozen.Quantize(k, i, f, inside.round_mode.removeprefix("S_"), inside.overflow_mode)
    if layer.scaler is not None or layer.affine is not None:
        factor, offset = (1.0, 0.0) if layer.affine is None else map(float, layer.affine)
        made = frozen.Affine(made, float(layer.scaler or 1.0), (factor, offset))
    return made


def _input(layer: Any) -> nn.Module:
    from weft.pytorch import frozen

    return quantizer(layer.iq) if layer.enable_iq else frozen.Clip(None, None)


def _with_output(layer: Any, made: nn.Module) -> nn.Module:
    """Put the quantiser of a layer's output behind it, if it has one."""
    from torch import nn

    return nn.Sequential(made, quantizer(layer.oq)) if getattr(layer, "enable_oq", False) else made


def table(layer: Any, shape: Sequence[int]) -> nn.Module:
    """Return a HGQ2 table in torch: it is asked for all values that it can read.

    Args:
        layer: A `QUnaryFunctionLUT`.
        shape: The shape of what it reads, without the batch.
    """
    from weft.pytorch import frozen

    if not layer.enable_iq:
        raise UnsupportedError("it is a table whose input is not quantised; give it a quantiser (iq_conf)")
    k, i, f = map(_exact, layer.iq.quantizer.kif)
    i = np.maximum(i, -f)
    width = k + i + f
    low, step = np.where(width > 0, -k * 2.0**i, 0.0), 2.0**-f
    n = int(2 ** max(0, width.max()))
    top = np.where(width > 0, 2.0**i - step, 0.0)
    grid = np.minimum(low + step * np.arange(n).reshape(-1, *(1,) * len(shape)), top)
    grid = np.broadcast_to(grid, (n, *shape)).astype(np.float32)
    values = _exact(layer(keras.ops.convert_to_tensor(grid), training=False))
    return frozen.Table(quantizer(layer.iq), low, step, values)


def steps(function: Any, layer: Any) -> nn.Module:
    """Return a rising function and the quantiser of its values, as thresholds found by bisection among all float32.

    Args:
        function: What Keras computes, of one tensor.
        layer: The quantiser, one format for each feature, (1, n_features).
    """
    from torch import nn

    from weft.pytorch import frozen

    after = quantizer(layer)
    if getattr(function, "__name__", "") == "linear":
        return after
    f = np.ravel(_exact(layer.quantizer.kif[2]))

    def value(x: np.ndarray) -> np.ndarray:
        scaled = _exact(function(keras.ops.convert_to_tensor(x.astype(np.float32)))) * 2.0 ** f[:, None]
        return _rounded(scaled, layer.quantizer.round_mode)

    ends = np.array([[-64.0, 64.0]]).repeat(len(f), 0)
    first, last = value(ends).T
    n = int((last - first).max())
    codes = first[:, None] + 1 + np.arange(max(n, 1))
    low = np.full(codes.shape, _order(np.float32(-64.0)))
    high = np.full(codes.shape, _order(np.float32(64.0)))
    while (high - low > 1).any():
        middle = (low + high) // 2
        reached = value(_float(middle)) >= codes
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    thresholds = np.where(codes <= last[:, None], _float(high).astype(np.float64), np.inf)
    return nn.Sequential(frozen.Steps(thresholds, first * 2.0**-f, 2.0**-f), after)


def _rounded(x: np.ndarray, mode: str) -> np.ndarray:
    match mode.removeprefix("S_"):
        case "RND":
            return np.floor(np.float32(x) + np.float32(0.5)).astype(np.float64)
        case "RND_CONV":
            return np.round(x)
        case "TRN":
            return np.floor(x)
        case other:
            raise UnsupportedError(f"its table rounds by {other}; use RND, RND_CONV or TRN")


def _order(x: Any) -> int:
    """Return the number of a float32 among all of them."""
    bits = int(np.float32(x).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)


def _float(order: np.ndarray) -> np.ndarray:
    bits = np.where(order >= 0, order, np.abs(order) | 0x80000000).astype(np.uint32)
    return bits.view(np.float32)


# Layers


def _move(call: Call) -> nn.Module:
    """Ask Keras where every value goes."""
    from weft.pytorch import frozen

    numbered, first = [], 1
    for tensor in call.inputs:
        size = int(np.prod(tensor.shape[1:]))
        numbers = np.arange(first, first + size, dtype=np.float32).reshape(1, *tensor.shape[1:])
        if first + size >= 2**24:
            raise UnsupportedError(f"it moves {first + size - 1} values, and 16 million is the most; split it")
        numbered.append(keras.ops.convert_to_tensor(numbers))
        first += size
    if len(call.outputs) != 1:
        raise UnsupportedError("it gives out several tensors; slice them one by one")
    here = {id(tensor): value for tensor, value in zip(call.inputs, numbered, strict=True)}
    args, kwargs = call.node.arguments.fill_in(here)
    if not is_pure(call.operation) and "training" in kwargs:
        kwargs["training"] = False
    index = _numpy(
        call.operation(*args, **kwargs) if not is_pure(call.operation) else call.operation.call(*args, **kwargs)
    )
    return frozen.Move(index.reshape(-1).astype(np.int64), index.shape[1:])


def _relu(layer: Any) -> bool:
    function = function_of(layer)
    if function not in ("linear", "relu"):
        raise UnsupportedError(f"it ends with {function}; put that in a layer of its own")
    return function == "relu"


def _dense(call: Call) -> nn.Module:
    from torch import nn

    from weft.pytorch import frozen

    layer = call.operation
    bias = None if layer.bias is None else _exact(layer.qbias)
    made = frozen.Linear("...a,ab->...b", _exact(layer.qkernel), bias, _relu(layer))
    return _with_output(layer, nn.Sequential(_input(layer), made))


def _einsum_dense(layer: Any) -> nn.Module:
    from torch import nn

    from weft.pytorch import frozen

    bias = None if layer.bias is None else _exact(layer.bq(layer.bias, training=False))
    kernel = _exact(layer.kq(layer._kernel, training=False))
    made = frozen.Linear(layer.equation, kernel, bias, _relu(layer))
    return _with_output(layer, nn.Sequential(_input(layer), made))


def _convolution(call: Call) -> nn.Module:
    from torch import nn

    from weft.pytorch import frozen

    layer = call.operation
    if layer.data_format != "channels_last" or layer.padding not in ("valid", "same"):
        raise UnsupportedError(
            f"its padding is {layer.padding}, its layout {layer.data_format}; use channels_last, and valid or same"
        )
    kernel = np.moveaxis(_exact(layer.qkernel), (-1, -2), (0, 1))
    widths: list[int] = []
    for size, n, step, spread in zip(
        call.inputs[0].shape[1:-1], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
    ):
        reach = spread * (n - 1) + 1
        total = max((-(-size // step) - 1) * step + reach - size, 0) if layer.padding == "same" else 0
        widths = [total // 2, total - total // 2, *widths]  # torch counts axes from the last
    bias = _exact(layer.qbias) if layer.use_bias else None
    made = frozen.Convolution(kernel, bias, layer.strides, layer.dilation_rate, layer.groups, widths, _relu(layer))
    return _with_output(layer, nn.Sequential(_input(layer), made))


def _normalization(call: Call) -> nn.Module:
    from torch import nn

    from weft.pytorch import frozen

    layer = call.operation
    scale, offset = (_exact(one).reshape(layer._shape) for one in layer.qscaler_and_qoffset)
    return _with_output(layer, nn.Sequential(_input(layer), frozen.Scale(scale, offset)))


def _pool(call: Call) -> nn.Module:
    """Windows as lists of numbers, found by pooling none: Keras says which values each reaches."""
    from torch import nn

    from weft.pytorch import frozen

    layer = call.operation
    name, shape = name_of(layer), tuple(call.inputs[0].shape[1:])
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise UnsupportedError("it pools channels_first; use channels_last")
    numbers = np.arange(1, 1 + int(np.prod(shape))).reshape(shape)
    if name.startswith("Global"):
        window = np.moveaxis(numbers, -1, 0).reshape(shape[-1], -1)
    else:
        window = _windows(numbers, layer)
    made = frozen.Pool(window, call.outputs[0].shape[1:], "Max" in name)
    before = _input(layer) if hasattr(layer, "enable_iq") else frozen.Clip(None, None)
    return _with_output(layer, nn.Sequential(before, made))


def _windows(numbers: np.ndarray, layer: Any) -> np.ndarray:
    """Return the numbers in each window, (n_windows, size); 0 is outside."""
    for axis, (size, step) in enumerate(zip(layer.pool_size, layer.strides, strict=True)):
        n = numbers.shape[axis]
        if layer.padding == "same":
            total = max((-(-n // step) - 1) * step + size - n, 0)
            widths = [(0, 0)] * numbers.ndim
            widths[axis] = (total // 2, total - total // 2)
            numbers, n = np.pad(numbers, widths), n + total
        starts = np.arange(0, n - size + 1, step)
        parts = [np.take(numbers, starts + i, axis) for i in range(size)]
        numbers = np.stack(parts, -1)
    rank = len(layer.pool_size)
    return numbers.reshape(-1, int(np.prod(numbers.shape[rank + 1 :])))


def _merge(kind: str) -> Callable[[Call], nn.Module]:
    def make(call: Call) -> nn.Module:

        layer = call.operation
        if is_pure(layer) or not hasattr(layer, "enable_iq"):
            return _pure_merge(kind, call)
        scale = getattr(layer, "_scale", 1.0) if name_of(layer) == "AveragePow2" else 1.0
        return _joined(kind, call, scale=float(scale))

    return make


def _joined(kind: str, call: Call, **more: Any) -> nn.Module:
    from weft.pytorch import frozen

    layer = call.operation
    quantizers = [quantizer(one) for one in layer.iq] if layer.enable_iq else _nothing(len(call.inputs))
    output = quantizer(layer.oq) if layer.enable_oq else frozen.Clip(None, None)
    return frozen.Merge(kind, quantizers, output, **more)


def _nothing(n: int) -> list[nn.Module]:
    from weft.pytorch import frozen

    return [frozen.Clip(None, None) for _ in range(n)]


def _pure_merge(kind: str, call: Call) -> nn.Module:
    from weft.pytorch import frozen

    if len(call.inputs) > 1:
        return frozen.Merge(kind, _nothing(len(call.inputs)), frozen.Clip(None, None))
    args = [*call.node.arguments.args, *call.node.arguments.kwargs.values()]
    is_tensor = [isinstance(one, keras.KerasTensor) for one in args[:2]]
    if not any(is_tensor):  # a list of one
        raise UnsupportedError("it joins a single tensor; leave it out")
    constant = np.asarray(args[is_tensor.index(False)], np.float32)
    return frozen.Constant(kind, constant, first=not is_tensor[0])


def _einsum(call: Call) -> nn.Module:
    return _joined("einsum", call, equation=call.operation.equation)


def _dot(call: Call) -> nn.Module:
    from weft.quantize.counterparts.merging import dot_equation

    rank, other = (len(tensor.shape) for tensor in call.inputs)
    if rank == other == 2:  # of two vectors Keras keeps the axis that it sums over
        return _joined("dot", call)
    return _joined("einsum", call, equation=dot_equation(rank, other, call.operation.axes))


def _reduce(kind: str) -> Callable[[Call], nn.Module]:
    def make(call: Call) -> nn.Module:
        from torch import nn

        from weft.pytorch import frozen

        operation = call.operation
        rank = len(call.inputs[0].shape)
        axes = operation.axes if hasattr(operation, "axes") else operation.axis
        axes = range(rank) if axes is None else (axes,) if isinstance(axes, int) else axes
        places = sorted(axis % rank for axis in axes)
        scale = float(getattr(operation, "scale", 1.0)) if not is_pure(operation) else 1.0
        made = frozen.Reduce(kind, places, bool(operation.keepdims), scale)
        if not is_pure(operation) and getattr(operation, "enable_iq", False):
            return _with_output(operation, nn.Sequential(_input(operation), made))
        return made

    return make


def _function(call: Call) -> nn.Module:
    """A function of pieces: ReLU, LeakyReLU, hard tanh."""
    from weft.pytorch import frozen

    operation = call.operation
    match function_of(operation):
        case "linear":
            return frozen.Clip(None, None)
        case "relu6":
            return frozen.Clip(0.0, 6.0)
        case "hard_tanh":
            return frozen.Clip(-1.0, 1.0)
        case "relu" | "leaky_relu" if hasattr(operation, "negative_slope"):
            high, slope = getattr(operation, "max_value", None), float(operation.negative_slope)
            threshold = float(getattr(operation, "threshold", 0.0))
            if slope == 0 and threshold == 0:
                return frozen.Clip(0.0, high)
            if slope == 0:
                raise UnsupportedError("it has a threshold; use ReLU without one")
            return frozen.Clip(None, high, slope, threshold)
        case "relu":
            return frozen.Clip(0.0, None)
        case other:
            raise UnsupportedError(f"its function {other} is no table; compress the model with weft.compress")


def _lookup(call: Call) -> nn.Module:
    return table(call.operation, tuple(call.inputs[0].shape[1:]))


def softmax(layer: Any, shape: tuple[int, ...], mask: Any = None) -> nn.Module:
    """Return a HGQ2 softmax in torch, of tensors of a shape, without the batch."""
    from weft.pytorch import frozen

    if not layer.stable:
        raise UnsupportedError("it is a softmax without the largest value taken away; build it with stable=True")
    sums = tuple(1 if axis + 1 in layer.axes else size for axis, size in enumerate(shape))
    made = frozen.Softmax(_input(layer), table(layer.exp_table, shape), table(layer.inv_table, sums), layer.axes, mask)
    return _with_output(layer, made)


def _softmax(call: Call) -> nn.Module:
    return softmax(call.operation, tuple(call.inputs[0].shape[1:]))


def _attention(call: Call) -> nn.Module:
    from weft.pytorch import frozen

    layer = call.operation
    kwargs = call.node.arguments.kwargs
    mask = kwargs.get("attention_mask")
    if isinstance(mask, keras.KerasTensor) or kwargs.get("use_causal_mask") or kwargs.get("return_attention_scores"):
        raise UnsupportedError("its mask is a tensor, or it gives out its scores; give it a constant mask")
    if mask is not None:
        mask = _exact(mask)[:, None]
    query, value = (tuple(tensor.shape) for tensor in call.inputs[:2] or call.inputs * 2)
    parts = {
        "query": _einsum_dense(layer._query_dense),
        "key": _einsum_dense(layer._key_dense),
        "value": _einsum_dense(layer._value_dense),
        "output": _einsum_dense(layer._output_dense),
        "softmax": softmax(layer._softmax, (layer._num_heads, *query[1:-1], *value[1:-1]), mask),
    }
    return frozen.Attention(parts, layer._dot_product_equation, layer._combine_equation)


def _recurrent(layer: Any) -> dict[str, Any]:
    cell = layer.cell
    return {"kernel": _exact(cell.qkernel), "recurrent": _exact(cell.qrecurrent_kernel)}


def _check_recurrent(layer: Any) -> None:
    if layer.stateful or layer.return_state:
        raise UnsupportedError("it keeps or gives out its state; use return_sequences=True, and take the last step")


def _gru(call: Call) -> nn.Module:
    from weft.pytorch import frozen

    layer = call.operation
    cell = layer.cell
    _check_recurrent(layer)
    if not cell.reset_after:
        raise UnsupportedError("it resets before the product; build it with reset_after=True")
    bias = _exact(cell.qbias) if cell.use_bias else np.zeros((2, 3 * cell.units))
    weights = _recurrent(layer) | {"bias": bias[0], "recurrent_bias": bias[1]}
    parts = {
        "iq": quantizer(cell.iq),
        "sq": quantizer(cell.sq),
        "rhq": quantizer(cell.rhq),
        "gates": steps(cell.recurrent_activation, cell.praq),
        "new": steps(cell.activation, cell.paq),
    }
    return frozen.Gru(parts, weights, layer.return_sequences, layer.go_backwards)


def _rnn(call: Call) -> nn.Module:
    from torch import nn

    from weft.pytorch import frozen

    layer = call.operation
    cell = layer.cell
    _check_recurrent(layer)
    if not cell.enable_sq:
        raise UnsupportedError("its state is not quantised; compress the model with weft.compress")
    if function_of(cell) not in ("tanh", "linear", "relu", "sigmoid", "hard_tanh"):
        raise UnsupportedError(f"its function is {function_of(cell)}; use tanh, sigmoid, hard_tanh, relu or linear")
    bias = _exact(cell.qbias) if cell.use_bias else np.zeros(cell.units)
    after = quantizer(cell.sq) if function_of(cell) == "linear" else _table_of(cell)
    parts = {"iq": quantizer(cell.iq), "function": nn.Sequential(quantizer(cell.paq), after)}
    return frozen.Rnn(parts, _recurrent(layer) | {"bias": bias}, layer.return_sequences, layer.go_backwards)


def _table_of(cell: Any) -> nn.Module:
    from torch import nn

    from weft.pytorch import frozen

    if function_of(cell) in ("relu", "hard_tanh"):
        clip = frozen.Clip(0.0, None) if function_of(cell) == "relu" else frozen.Clip(-1.0, 1.0)
        return nn.Sequential(clip, quantizer(cell.sq))
    return steps(cell.activation, cell.sq)


def _rescaling(call: Call) -> nn.Module:
    from weft.pytorch import frozen

    return frozen.Scale(np.asarray(call.operation.scale), np.asarray(call.operation.offset))


def _clip(call: Call) -> nn.Module:
    from weft.pytorch import frozen

    return frozen.Clip(float(np.float32(call.operation.x_min)), float(np.float32(call.operation.x_max)))


def _with(kind: str) -> Callable[[Call], nn.Module]:
    def make(call: Call) -> nn.Module:
        from weft.pytorch import frozen

        return frozen.Absolute() if kind == "absolute" else frozen.Scale(-1.0, 0.0)

    return make


_QUANTISED = frozenset(
    {"Dense", "EinsumDense", "BatchNormalization", "Softmax", "MultiHeadAttention", "GRU", "SimpleRNN", "Einsum", "Dot"}
    | {f"Conv{rank}D" for rank in (1, 2, 3)}
)
"""Whose makers read what only a layer of HGQ2 has."""

_MAKERS: dict[str, Callable[[Call], Any]] = {
    "Quantizer": lambda call: quantizer(call.operation),
    "Dense": _dense,
    "EinsumDense": lambda call: _einsum_dense(call.operation),
    **{f"Conv{rank}D": _convolution for rank in (1, 2, 3)},
    "BatchNormalization": _normalization,
    **{
        f"{name}Pooling{rank}D": _pool
        for name in ("Max", "Average", "GlobalMax", "GlobalAverage")
        for rank in (1, 2, 3)
    },
    "Add": _merge("add"),
    "AveragePow2": _merge("add"),
    "Subtract": _merge("subtract"),
    "Multiply": _merge("multiply"),
    "Maximum": _merge("maximum"),
    "Minimum": _merge("minimum"),
    "Einsum": _einsum,
    "Dot": _dot,
    "Sum": _reduce("sum"),
    "MeanPow2": _reduce("sum"),
    **{name: _reduce("max") for name in ("Max", "Amax")},
    **{name: _reduce("min") for name in ("Min", "Amin")},
    **{name: _with("absolute") for name in ("Abs", "Absolute")},
    "Negative": _with("negative"),
    "Clip": _clip,
    "Rescaling": _rescaling,
    **{name: _function for name in ("Activation", "ReLU", "LeakyReLU", "Relu", "Relu6", "LeakyRelu", "HardTanh")},
    **{name: _lookup for name in ("UnaryFunctionLUT",)},
    "Softmax": _softmax,
    "MultiHeadAttention": _attention,
    "GRU": _gru,
    "SimpleRNN": _rnn,
}
