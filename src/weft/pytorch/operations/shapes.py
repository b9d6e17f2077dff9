"""What moves values: reshape, flatten, transpose, slices, cat, stack, padding. Only an order that matters is made."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras

from weft.errors import UnsupportedError
from weft.pytorch.builder import Builder
from weft.pytorch.value import Value


def reshape(at: Builder, x: Value, *shape: Any) -> Value:
    """Other axes behind the batch; the order of values is torch's."""
    sizes = list(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else list(shape)
    total = prod(x.sizes)
    if -1 in sizes:
        known = -prod(sizes)
        sizes[sizes.index(-1)] = at.rows * total // known if known else 0
    if not sizes or sizes[0] != at.rows or prod(sizes[1:]) != total:
        raise UnsupportedError(
            f"it makes shape {[_words(size, at.rows) for size in sizes]} of rows of {x.sizes}, so that the first axis "
            "no longer counts the batch's rows; write x.reshape(x.shape[0], ...), and let nn.Linear work on the last "
            "axis"
        )
    if x.batch != 0:
        raise UnsupportedError("it reshapes a tensor whose first axis is not the batch's; transpose before it")
    moved = at.rows_first(x)
    return Value(at.reshaped(moved.tensor, sizes[1:]), tuple(range(len(sizes))))


def _words(size: int, rows: int) -> str:
    return "batch" if size == rows else str(size)


def flatten(at: Builder, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """Axes start_dim to end_dim as one, in torch's order."""
    first, last = start_dim % x.rank, end_dim % x.rank
    if first == 0 and last > 0:
        raise UnsupportedError(f"it flattens axes {first} to {last}, the batch's too; use start_dim=1")
    shape = _shape(at, x)
    return reshape(at, x, [*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :]])


def unflatten(at: Builder, x: Value, dim: int, sizes: Sequence[int]) -> Value:
    """One axis as several."""
    dim %= x.rank
    shape, sizes = _shape(at, x), list(sizes)
    if -1 in sizes:
        sizes[sizes.index(-1)] = shape[dim] // -prod(sizes)
    return reshape(at, x, [*shape[:dim], *sizes, *shape[dim + 1 :]])


def _shape(at: Builder, x: Value) -> list[int]:
    return [at.rows if axis == x.batch else x.size(axis) for axis in range(x.rank)]


def squeeze(at: Builder, x: Value, dim: Any = None) -> Value:
    """Without axes of one value."""
    if dim is None:
        dims = [axis for axis in range(x.rank) if axis != x.batch and x.size(axis) == 1]
    else:
        dims = [axis % x.rank for axis in ((dim,) if isinstance(dim, int) else dim)]
        dims = [axis for axis in dims if axis != x.batch and x.size(axis) == 1]
    kept = [axis for axis in range(x.rank) if axis not in dims]
    axes = tuple(kept.index(axis) for axis in x.axes if axis in kept)
    sizes = [x.size(axis) for axis in x.axes[1:] if axis in kept]
    return Value(at.reshaped(x.tensor, sizes), axes)


def unsqueeze(at: Builder, x: Value, dim: int) -> Value:
    """With one more axis, of one value."""
    dim %= x.rank + 1
    axes = [axis + (axis >= dim) for axis in x.axes]
    place = next((i for i, axis in enumerate(axes) if i and axis > dim), len(axes))
    axes.insert(place, dim)
    sizes = list(x.sizes)
    sizes.insert(place - 1, 1)
    return Value(at.reshaped(x.tensor, sizes), tuple(axes))


def permute(at: Builder, x: Value, *dims: Any) -> Value:
    """Axes in another order; nothing moves."""
    order = tuple(dims[0]) if len(dims) == 1 and not isinstance(dims[0], int) else dims
    return x.transposed(tuple(axis % x.rank for axis in order))


def transpose(at: Builder, x: Value, dim0: int = 0, dim1: int = 1) -> Value:
    """Two axes for each other; nothing moves."""
    order = list(range(x.rank))
    one, two = dim0 % x.rank, dim1 % x.rank
    order[one], order[two] = two, one
    return x.transposed(tuple(order))


def movedim(at: Builder, x: Value, source: Any, destination: Any) -> Value:
    """Axes at other places; nothing moves."""
    pairs = [(source, destination)] if isinstance(source, int) else list(zip(source, destination, strict=True))
    known = {to % x.rank: axis % x.rank for axis, to in pairs}
    rest = iter(axis for axis in range(x.rank) if axis not in known.values())
    return x.transposed(tuple(known[i] if i in known else next(rest) for i in range(x.rank)))


def cat(at: Builder, tensors: Sequence[Any], dim: int = 0) -> Value:
    """Tensors one behind the other."""
    if not all(isinstance(one, Value) for one in tensors):
        raise UnsupportedError("it joins a tensor with a constant; add a column to the data, or use a bias")
    first = tensors[0]
    place = first.at(dim)
    if any(one.batch != first.batch for one in tensors):
        raise UnsupportedError("it joins tensors whose batch axes differ; transpose them to the same order")
    return first.like(at.joined([at.arranged(one, first.axes).tensor for one in tensors], place))


def stack(at: Builder, tensors: Sequence[Any], dim: int = 0) -> Value:
    """Tensors along a new axis."""
    if not all(isinstance(one, Value) for one in tensors):
        raise UnsupportedError("it joins a tensor with a constant; add a column to the data, or use a bias")
    rank = tensors[0].rank + 1
    return cat(at, [unsqueeze(at, one, dim % rank) for one in tensors], dim % rank)


def getitem(at: Builder, x: Any, index: Any) -> Any:
    """Parts of a tensor by numbers, slices, None and ...; or an element of a tuple."""
    if not isinstance(x, Value):
        return x[index]
    index = list(index) if isinstance(index, tuple) else [index]
    n_axes = sum(one is not None and one is not Ellipsis for one in index)
    if Ellipsis in [one for one in index if one is Ellipsis]:
        i = next(i for i, one in enumerate(index) if one is Ellipsis)
        index[i : i + 1] = [slice(None)] * (x.rank - n_axes)
    axis = 0
    for one in index:
        if one is None:
            x, axis = unsqueeze(at, x, axis), axis + 1
        elif isinstance(one, int):
            x = select(at, x, axis, one)
        elif isinstance(one, slice):
            if one != slice(None):
                x = slice_(at, x, axis, one.start, one.stop, one.step)
            axis += 1
        elif isinstance(one, list | tuple) or (hasattr(one, "tolist") and one.ndim == 1):
            x, axis = index_select(at, x, axis, one), axis + 1
        else:
            raise UnsupportedError(
                f"it is indexed by a {type(one).__name__}; use numbers, slices, or a constant list of numbers"
            )
    return x


def select(at: Builder, x: Value, dim: int, index: int) -> Value:
    """One slice of an axis, which goes."""
    dim, place = dim % x.rank, x.at(dim)
    index %= x.size(dim)
    one = x.like(at.picked(x.tensor, place, [index]))
    return squeeze(at, one, dim)


def slice_(at: Builder, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: Any = None) -> Value:
    """Some slices of an axis."""
    dim %= x.rank
    if dim == x.batch and start in (None, 0) and (end is None or end >= at.rows) and step in (None, 1):
        return x
    return x.like(at.picked(x.tensor, x.at(dim), range(x.size(dim))[slice(start, end, step)]))


def narrow(at: Builder, x: Value, dim: int, start: int, length: int) -> Value:
    """Consecutive slices of an axis."""
    return slice_(at, x, dim, start, start + length)


def index_select(at: Builder, x: Value, dim: int, index: Any) -> Value:
    """Slices of an axis by constant numbers."""
    if isinstance(index, Value):
        raise UnsupportedError("it chooses by numbers that depend on the data; use constant numbers")
    index = index.tolist() if hasattr(index, "tolist") else list(index)
    if index and all(isinstance(one, bool) for one in index):
        index = [i for i, one in enumerate(index) if one]
    numbers = [int(one) % x.size(dim) for one in index]
    return x.like(at.picked(x.tensor, x.at(dim), numbers))


def split(at: Builder, x: Value, sizes: Any, dim: int = 0) -> list[Value]:
    """An axis in parts of a size, or of these sizes."""
    total = x.size(dim)
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [slice_(at, x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]


def chunk(at: Builder, x: Value, chunks: int, dim: int = 0) -> list[Value]:
    """An axis in so many parts."""
    return split(at, x, -(-x.size(dim) // chunks), dim)


def unbind(at: Builder, x: Value, dim: int = 0) -> list[Value]:
    """All slices of an axis."""
    return [select(at, x, dim, i) for i in range(x.size(dim))]


def flip(at: Builder, x: Value, *dims: Any) -> Value:
    """Axes from their end to their beginning."""
    for dim in dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims:
        x = x.like(at.picked(x.tensor, x.at(dim), range(x.size(dim))[::-1]))
    return x


def roll(at: Builder, x: Value, shifts: Any, dims: Any = None) -> Value:
    """Values of an axis shifted around."""
    if dims is None:
        raise UnsupportedError("it rolls the batch, too; give dims")
    pairs = [(shifts, dims)] if isinstance(dims, int) else zip(shifts, dims, strict=True)
    for shift, dim in pairs:
        n = x.size(dim)
        x = x.like(at.picked(x.tensor, x.at(dim), [(i - shift) % n for i in range(n)]))
    return x


def expand(at: Builder, x: Value, *sizes: Any) -> Value:
    """Axes of one value, repeated."""
    wanted = list(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else list(sizes)
    from weft.pytorch.operations.elementwise import _of_rank

    x = _of_rank(at, x, len(wanted))
    for axis, size in enumerate(wanted):
        if axis != x.batch and size not in (-1, x.size(axis)):
            x = x.like(at.picked(x.tensor, x.at(axis), [0] * size))
    return x


def repeat(at: Builder, x: Value, *sizes: Any) -> Value:
    """Axes so many times."""
    times = list(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else list(sizes)
    from weft.pytorch.operations.elementwise import _of_rank

    x = _of_rank(at, x, len(times))
    for axis, n in enumerate(times):
        if n != 1:
            x = x.like(at.picked(x.tensor, x.at(axis), list(range(x.size(axis))) * n))
    return x


_MODES = {
    "replicate": lambda i, n: min(max(i, 0), n - 1),
    "circular": lambda i, n: i % n,
    "reflect": lambda i, n: abs((i + n - 1) % (2 * n - 2) - (n - 1)) if n > 1 else 0,
}


def padded(at: Builder, x: Value, widths: dict[int, tuple[int, int]], mode: str = "zeros", value: float = 0) -> Value:
    """Values before and behind those of some torch axes; negative widths cut.

    Args:
        at: The builder.
        x: The value.
        widths: How many before and behind, by torch axis.
        mode: `zeros`, `replicate`, `circular` or `reflect`.
        value: The constant of mode `zeros`.
    """
    for axis, (before, after) in widths.items():
        n = x.size(axis)
        if mode != "zeros":
            numbers = [_MODES[mode](i, n) for i in range(-before, n + after)]
            x = x.like(at.picked(x.tensor, x.at(axis), numbers))
            continue
        x = x.like(at.picked(x.tensor, x.at(axis), range(max(0, -before), n + min(0, after))))
    if mode != "zeros":
        return x
    if value != 0:
        raise UnsupportedError(f"it pads by {value}; pad by 0, or add the constant before and subtract it behind")
    return x.like(zeros_around(at, x.tensor, {x.at(a): (max(0, b), max(0, e)) for a, (b, e) in widths.items()}))


def zeros_around(at: Builder, tensor: Any, widths: dict[int, tuple[int, int]]) -> Any:
    """Return a tensor with zeros before and behind the values of some Keras axes."""
    widths = {axis: width for axis, width in widths.items() if any(width)}
    rank = len(tensor.shape)
    if not widths:
        return tensor
    if 3 <= rank <= 5 and all(1 <= axis < rank - 1 for axis in widths):
        padding = tuple(widths.get(axis, (0, 0)) for axis in range(1, rank - 1))
        kind = getattr(keras.layers, f"ZeroPadding{rank - 2}D")
        return at.step(kind, tensor, padding=padding[0] if rank == 3 else padding)
    for axis, (before, after) in widths.items():  # as rows of a matrix that is padded
        sizes = list(tensor.shape[1:])
        flat = at.reshaped(tensor, (prod(sizes[: axis - 1]), sizes[axis - 1], prod(sizes[axis:])))
        flat = at.step(keras.layers.ZeroPadding2D, flat, padding=((0, 0), (before, after)))
        sizes[axis - 1] += before + after
        tensor = at.reshaped(flat, sizes)
    return tensor


def pad(at: Builder, x: Value, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Value:
    """Values around the last axes, as `torch.nn.functional.pad` counts them."""
    widths = {x.rank - 1 - i: (pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2)}
    return padded(at, x, widths, "zeros" if mode == "constant" else mode, value or 0)


def _pad_module(mode: str) -> Any:
    def make(at: Builder, module: Any, x: Value) -> Value:
        widths = (module.padding,) * 2 * (x.rank - 2) if isinstance(module.padding, int) else module.padding
        return pad(at, x, widths, mode, getattr(module, "value", 0))

    return make


def same(at: Builder, x: Any, *_: Any, **__: Any) -> Any:
    """The value as it is."""
    return x


def _cast(at: Builder, x: Value, *args: Any, **kwargs: Any) -> Value:
    import torch

    kinds = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.dtype)]
    if any(kind not in (torch.float32, torch.int64, torch.int32) for kind in kinds):
        raise UnsupportedError(f"it casts to {kinds[0]}; compute in float32")
    if any(not kind.is_floating_point for kind in kinds):
        raise UnsupportedError(f"it rounds to {kinds[0]} inside the network; round outside of it")
    return x


_PADS = {"ZeroPad": "constant", "ConstantPad": "constant", "ReflectionPad": "reflect", "ReplicationPad": "replicate"}

MODULES = {
    "Flatten": lambda at, m, x: flatten(at, x, m.start_dim, m.end_dim),
    "Unflatten": lambda at, m, x: unflatten(at, x, m.dim, m.unflattened_size),
    "Identity": lambda at, m, x: x,
    **{f"{name}{n}d": _pad_module(mode) for name, mode in _PADS.items() for n in (1, 2, 3)},
    **{f"CircularPad{n}d": _pad_module("circular") for n in (1, 2, 3)},
}

FUNCTIONS = {
    **{name: reshape for name in ("reshape", "view", "_unsafe_view")},
    "flatten": flatten,
    "unflatten": unflatten,
    "squeeze": squeeze,
    "unsqueeze": unsqueeze,
    "permute": permute,
    **{name: transpose for name in ("transpose", "swapaxes", "swapdims", "t")},
    **{name: movedim for name in ("movedim", "moveaxis")},
    **{name: cat for name in ("cat", "concat", "concatenate")},
    "stack": stack,
    "getitem": getitem,
    "select": select,
    "slice": slice_,
    "narrow": narrow,
    "index_select": index_select,
    "split": split,
    "split_with_sizes": split,
    "chunk": chunk,
    "unbind": unbind,
    "flip": flip,
    "roll": roll,
    "expand": expand,
    "repeat": repeat,
    "pad": pad,
    **{name: same for name in ("contiguous", "clone", "detach", "alias", "lift_fresh_copy")},
    **{name: _cast for name in ("to", "float", "type", "_to_copy")},
}

ATTRIBUTES = {
    "T": lambda at, x: x.transposed(tuple(reversed(range(x.rank)))),
    "mT": lambda at, x: transpose(at, x, -2, -1),
    "values": lambda at, x: x[0],
    "indices": lambda at, x: x[1],
}
"""Attributes that are tensors, of a tensor or of what `max` and `min` return."""
