"""Show pruning methods the training batches, and let the biases of dead outputs die with them.

Some methods look at what goes through a layer (activation pruning, Wanda). `observe` puts a function around `call` of
each layer whose method wants that; in training it sums up the layer's input and output for `Pruned.observe`, in the
compiled step. How input, kernel and output share their axes is written as for `einsum`, for every type of layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from math import prod
from string import ascii_letters
from typing import Any

import keras
from hgq.layers import QBatchNormDense
from hgq.layers.rnn import QGRUCell, QSimpleRNNCell
from keras import ops
from keras.src.layers.convolutional.base_conv import BaseConv

from weft.errors import UnsupportedError
from weft.prune import Seen
from weft.quantize.kernels import Kernel, PrunedKernel, pruned_kernels
from weft.quantize.pruned import Masked, Pruned
from weft.quantize.replaced import replaced, with_step


def observe(model: keras.Model) -> None:
    """Let the methods of a built model's layers see each training batch, and dead outputs take their biases along.

    May be called again, and has to be on a model that was loaded or cloned. A layer that is called twice in a step
    shows two batches.

    Raises:
        UnsupportedError: A layer cannot show its batches to a method that wants them, or keep its bias from outliving
            its outputs. Nothing was changed.
    """
    kernels = pruned_kernels(model)
    followed = [(kernel, _follower(kernel)) for kernel in kernels if _method(kernel).structured]
    watched = [kernel for kernel in kernels if _method(kernel).wants_batches and _can_be_watched(kernel)]
    loops = {id(layer.cell): layer for layer in model._flatten_layers() if hasattr(layer, "cell")}
    for kernel in watched:
        _watch(loops.get(id(kernel.layer), kernel.layer), kernel)
    for kernel, follower in followed:
        kernel.quantizer.quantizer.follow = follower


def look(model: keras.Model, x: Any, n_batch: int = 4096) -> dict[str, Seen]:
    """Return what rows show of each kernel whose method wants batches, by the kernel's name, in inference.

    The model, which `observe` has been called on, does not change.

    Args:
        model: A built model.
        x: Rows (n, ...), or a list or dictionary of such arrays, one for each input.
        n_batch: Rows at once.
    """
    watched = {kernel.name: kernel.pruned for kernel in pruned_kernels(model) if _method(kernel).wants_batches}
    shown: dict[str, list[Seen]] = {name: [] for name in watched}
    for name, pruned in watched.items():
        pruned.look = shown[name].append
    try:
        for start in range(0, len(keras.tree.flatten(x)[0]), n_batch):
            batch = keras.tree.map_structure(lambda one, at=start: one[at : at + n_batch], x)
            model(keras.tree.map_structure(ops.convert_to_tensor, batch), training=False)
    finally:
        for pruned in watched.values():
            pruned.look = None
    return {name: _together(parts) for name, parts in shown.items()}


def _together(parts: list[Seen]) -> Seen:
    """Return several batches as one."""
    rows = sum(part.rows for part in parts)
    active = sum(part.active * part.rows for part in parts) / rows
    return Seen(square=sum(part.square for part in parts), rows=rows, active=active)


def _method(kernel: Kernel) -> Any:
    return kernel.quantizer.quantizer.method


def _can_be_watched(kernel: PrunedKernel) -> bool:
    layer = kernel.layer
    kinds = (keras.layers.Dense, keras.layers.EinsumDense, BaseConv, QSimpleRNNCell, QGRUCell)
    told = "training" in layer.call_signature_parameters  # whether it learns that a call is one of training
    if not isinstance(layer, kinds) or isinstance(layer, QBatchNormDense) or not told:
        raise UnsupportedError(
            f"method '{_method(kernel).method}' has to see the batches that go through '{kernel.name}', and a "
            f"{type(layer).__name__} cannot show them; list the layer in prune.skip, or choose another method"
        )
    if isinstance(layer, QGRUCell) and not layer.reset_after:
        raise UnsupportedError(
            f"method '{_method(kernel).method}' has to see what each weight of '{kernel.name}' reads, and with "
            "reset_after=False its gates read different states; build the GRU with reset_after=True, or list the layer "
            "in prune.skip"
        )
    if _method(kernel).wants_cost and (not layer.enable_iq or _in_float(kernel)):
        raise UnsupportedError(
            f"method '{_method(kernel).method}' has to know what the weights of '{kernel.name}' cost, and its weights "
            "or what it reads have no width; quantise both, or list the layer in prune.skip"
        )
    return True


def _in_float(kernel: PrunedKernel) -> bool:
    return any(getattr(q, "__dummy__", False) for q in (kernel.layer.iq.quantizer, kernel.pruned.inside))


def _watch(layer: keras.Layer, kernel: Kernel) -> None:
    """Let a kernel's method see the calls of a layer: the one that it belongs to, or the loop around its cell."""
    call, pruned = layer.call, kernel.quantizer.quantizer
    watches = getattr(call, "watches", ())
    if any(one is pruned for one in watches):
        return
    sees = _Step(layer, kernel) if layer is not kernel.layer else _Call(layer, kernel)

    @wraps(call)
    def watched(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if pruned.look is None and kwargs.get("training") is not True:
            return call(inputs, *args, **kwargs)
        with pruned.recording() as kernels, sees.values() as values:
            outputs = call(inputs, *args, **kwargs)
        seen = sees.sum_up(values, inputs, outputs)
        if pruned.look is None:
            pruned.observe(kernels[-1], seen)
        else:
            pruned.look(seen)
        return outputs

    watched.watches = (*watches, pruned)  # type: ignore[attr-defined]
    layer.call = watched


@contextmanager
def _results(layer: keras.Layer | None) -> Iterator[list[Any]]:
    """Collect what a layer gives while the context lasts."""
    found: list[Any] = []
    if layer is None:
        yield found
        return
    call = layer.call

    def kept(*args: Any, **kwargs: Any) -> Any:
        found.append(call(*args, **kwargs))
        return found[-1]

    with replaced(layer, "call", kept):
        yield found


class _Call:
    """What one call of a dense layer, an einsum or a convolution shows of its kernel."""

    def __init__(self, layer: Any, kernel: Kernel) -> None:
        self.layer, self.pruned = layer, kernel.quantizer.quantizer

    def values(self) -> AbstractContextManager[list[Any]]:
        """Collect what the kernel meets: the input behind its quantiser."""
        return _results(self.layer.iq if self.layer.enable_iq else None)

    def sum_up(self, values: list[Any], inputs: Any, outputs: Any) -> Seen:
        """Return one batch's sums."""
        layer, pruned = self.layer, self.pruned
        x, y = (ops.stop_gradient(one) for one in (values[-1] if values else inputs, outputs))
        cost = _cost(layer, pruned, tuple(x.shape)) if pruned.method.wants_cost else None
        if not isinstance(layer, BaseConv):
            return _seen(pruned, x, y, _dense_axes(layer, len(x.shape)), pruned.kernel_shape, cost)
        first = layer.data_format == "channels_first"  # g groups of c channels each, and k outputs for each group
        axis, groups = 1 if first else -1, layer.groups
        x, y = _split(x, axis, groups), _split(y, axis, groups)
        shape = (*pruned.kernel_shape[:-1], groups, pruned.kernel_shape[-1] // groups)
        before, window, after = "def"[: layer.rank], "lmn"[: layer.rank], "pqr"[: layer.rank]
        read = f"bgc{before}" if first else f"b{before}gc"
        written = f"bgk{after}" if first else f"b{after}gk"
        return _seen(pruned, x, y, (read, f"{window}cgk", written), shape, cost)


class _Step:
    """What all steps of a recurrent layer show of one kernel of its cell: its input's, or its state's."""

    def __init__(self, loop: Any, kernel: Kernel) -> None:
        self.loop, self.cell, self.pruned = loop, kernel.layer, kernel.quantizer.quantizer
        self.reads_state = kernel.quantizer is self.cell.rkq

    @contextmanager
    def values(self) -> Iterator[list[Any]]:
        """Collect, for each step, its input and its state, behind their quantisers."""
        found: list[Any] = []
        step, cell = self.cell.call, self.cell

        def kept(inputs: Any, states: Any, *args: Any, **kwargs: Any) -> Any:
            state = states[0] if isinstance(states, list | tuple) else states
            with _results(cell.iq if cell.enable_iq else None) as x, _results(self._state_quantizer()) as h:
                outputs = step(inputs, states, *args, **kwargs)
            found.append((x[-1] if x else inputs, h[0] if h else state))  # the new state follows
            return outputs

        with ExitStack() as stack:
            for thing, name, value in with_step(self.loop, kept):
                stack.enter_context(replaced(thing, name, value))
            yield found

    def sum_up(self, values: list[Any], inputs: Any, outputs: Any) -> Seen:
        """Return one batch's sums over the steps; an output is active where the state that it leads to is."""
        x, h = (ops.stop_gradient(ops.concatenate(each, axis=0)) for each in zip(*values, strict=True))
        y = ops.tile(h, (1, self.pruned.geometry.n_out // h.shape[1]))
        read, quantizer = (h, self._state_quantizer()) if self.reads_state else (x, self.cell.iq)
        cost = None
        if self.pruned.method.wants_cost:
            widths = quantizer.bits_((1, read.shape[1])) * self.loop.parallelization_factor
            cost = self.pruned.matrix(_own_bits(self.pruned) * ops.reshape(widths, (-1, 1)))
        return _seen(self.pruned, read, y, ("za", "ab", "zb"), self.pruned.kernel_shape, cost)

    def _state_quantizer(self) -> Any:
        return self.cell.sq if getattr(self.cell, "enable_sq", True) else None


def _seen(pruned: Pruned, x: Any, y: Any, axes: tuple[str, str, str], shape: tuple[int, ...], cost: Any) -> Seen:
    """Sum up one batch from what a kernel reads and writes, given the axes of the three and the kernel's shape."""
    read, kernel, written = axes
    ones, sizes = ops.ones(shape), dict(zip(kernel, shape, strict=True))
    # The size of a batch may be known only as a tensor: count all elements, and divide by the axes of the kernel.
    n_read = ops.cast(ops.size(x), "float32") / prod(sizes.get(letter, 1) for letter in read)
    n_written = ops.cast(ops.size(y), "float32") / prod(sizes.get(letter, 1) for letter in written)

    def summed(values: Any, axes: str) -> Any:
        """Sum over all axes that the kernel lacks, and repeat along those that only the kernel has."""
        shared = "".join(letter for letter in axes if letter in kernel)
        return ops.einsum(f"{shared},{kernel}->{kernel}", ops.einsum(f"{axes}->{shared}", values), ones)

    square, positive = summed(ops.square(x), read), summed(ops.cast(y > 0, "float32"), written)
    rows = pruned.matrix(ops.reshape(positive, pruned.kernel_shape))  # the same for all weights of an output
    return Seen(
        square=pruned.matrix(ops.reshape(square, pruned.kernel_shape)),
        rows=n_read,
        active=ops.max(rows, axis=1) / n_written,
        cost=cost,
    )


def _own_bits(pruned: Pruned) -> Any:
    """Return the width of each weight, whether it is alive or not, in the shape of the kernel."""
    return pruned.inside.bw_mapper.bw_to_x(pruned.inside.bits, pruned.kernel_shape)


def _cost(layer: Any, pruned: Pruned, shape: tuple[int | None, ...]) -> Any:
    """Return the EBOPs of each weight as HGQ2 counts them, whether it is alive or not, (n_out, n).

    That is its width times the sum of the widths of what it is multiplied with in one inference; `shape` is that of a
    batch of inputs.
    """
    widths = layer.iq.bits_((1, *shape[1:]))
    if isinstance(layer, BaseConv):
        met = _met_in_windows(layer, pruned, widths)
    else:
        read, kernel, _ = _dense_axes(layer, len(shape))
        met = ops.einsum(f"{read},{kernel}->{kernel}", widths, ops.ones(pruned.kernel_shape))
    return pruned.matrix(_own_bits(pruned) * met * (layer.parallelization_factor / layer.n_parallel))


def _met_in_windows(layer: Any, pruned: Pruned, widths: Any) -> Any:
    """Return the sum of the widths that each weight of a convolution meets, over all positions of its window.

    Each channel is convolved by itself, as a row of its own, with one filter for each tap that picks out this tap.
    """
    window, c = pruned.kernel_shape[: layer.rank], pruned.kernel_shape[-2]
    first = layer.data_format == "channels_first"
    rows = ops.swapaxes(widths, 0, 1) if first else ops.swapaxes(widths, 0, -1)
    each = ops.reshape(ops.eye(prod(window)), (*window, 1, prod(window)))
    taken = layer.convolution_op(rows, each)
    positions = tuple(range(2, 2 + layer.rank)) if first else tuple(range(1, 1 + layer.rank))
    met = ops.transpose(ops.sum(taken, axis=positions))  # (taps, channels)
    met = ops.swapaxes(ops.reshape(met, (*window, layer.groups, c)), -1, -2)  # (*window, c, groups)
    return ops.repeat(met, pruned.kernel_shape[-1] // layer.groups, axis=-1)


def _dense_axes(layer: Any, rank: int) -> tuple[str, str, str]:
    """Return the axes of input, kernel and output of a dense or einsum layer whose input has `rank` axes."""
    if isinstance(layer, keras.layers.EinsumDense):
        return _einsum_axes(layer)
    spare = ascii_letters[2 : 1 + rank]
    return f"{spare}a", "ab", f"{spare}b"


def _split(x: Any, axis: int, groups: int) -> Any:
    """Split an axis in two, of which the first numbers groups."""
    shape = list(ops.shape(x))
    axis %= len(shape)
    return ops.reshape(x, (*shape[:axis], groups, x.shape[axis] // groups, *shape[axis + 1 :]))


def _einsum_axes(layer: Any) -> tuple[str, str, str]:
    """Return the axes of input, kernel and output of an einsum layer, with letters in place of an ellipsis."""
    read, rest = layer.equation.split(",")
    kernel, written = rest.split("->")
    spare = "".join(letter for letter in ascii_letters if letter not in layer.equation)
    ellipsis = spare[: len(layer.full_output_shape) - len(written.replace("...", ""))]
    return read.replace("...", ellipsis), kernel, written.replace("...", ellipsis)


def _follower(kernel: Kernel) -> Callable[[Any, Any], None] | None:
    """Return the function that lets a bias go where all weights of its output have gone; None without a bias."""
    layer, pruned = kernel.layer, kernel.quantizer.quantizer
    quantizer = getattr(layer, "bq", None)
    if quantizer is None:
        return None
    masked = quantizer.quantizer
    place = _bias_place(kernel)
    if not isinstance(masked, Masked):
        raise UnsupportedError(
            f"method '{pruned.method.method}' removes whole outputs of '{kernel.name}', and their biases would stay; "
            "give the layer bq_conf=MaskedConfig(...) around the configuration of its bias quantiser"
        )

    def follow(alive: Any, active: Any) -> None:
        value = ops.broadcast_to(place(alive), masked.alive.shape)
        masked.alive.assign(ops.where(active, value, ops.convert_to_tensor(masked.alive)))

    return follow


def _bias_place(kernel: Kernel) -> Callable[[Any], Any]:
    """Return the function that brings a value for each output (n_out,) into the shape of the bias, or one it fits."""
    layer, pruned = kernel.layer, kernel.quantizer.quantizer
    if not isinstance(layer, keras.layers.EinsumDense):
        if tuple(layer.bias.shape) == (pruned.geometry.n_out,) and not hasattr(layer, "rkq"):
            return lambda alive: alive
        raise _no_place(kernel)
    _, axes, written = _einsum_axes(layer)
    outputs = [axes[axis] for axis in pruned.output_axes]
    sizes = {axes[axis]: pruned.kernel_shape[axis] for axis in pruned.output_axes}
    bias = written[len(written) - len(layer.bias.shape) :]
    if not set(outputs) <= set(bias) or any(
        sizes.get(letter, size) != size for letter, size in zip(bias, layer.bias.shape, strict=True)
    ):
        raise _no_place(kernel)
    order = [outputs.index(letter) for letter in bias if letter in sizes]
    shape = [sizes.get(letter, 1) for letter in bias]
    return lambda alive: ops.reshape(
        ops.transpose(ops.reshape(alive, [sizes[letter] for letter in outputs]), order), shape
    )


def _no_place(kernel: Kernel) -> UnsupportedError:
    return UnsupportedError(
        f"method '{_method(kernel).method}' removes whole outputs of '{kernel.name}', and its bias of shape "
        f"{tuple(kernel.layer.bias.shape)} does not belong to them one by one; list the layer in prune.skip, or choose "
        "another method"
    )
