"""Compute a JAX function with NumPy, operation by operation: nothing is compiled.

A function that runs a few times, in shapes that come once, is done long before XLA has compiled it. Results are those
of float32 arithmetic, but not XLA's to the last bit: this is for estimates, and not for what must be exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_letters
from typing import Any

import numpy as np

from weft.errors import UnsupportedError

_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call")
"""Operations that are a program themselves."""

_SAME_NAMES = ("abs", "floor", "ceil", "exp", "exp2", "expm1", "log", "log1p", "tanh", "sqrt", "sign", "square")
"""Operations on elements that JAX and NumPy call the same."""


class Interpreted:
    """A function of trees of arrays, written down for the shapes and types of its first arguments.

    Args:
        function: It computes with nothing but its arguments and constants.
        args: Arguments that have the shapes and types of all to come.

    Raises:
        UnsupportedError: An operation has no counterpart here.
    """

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        import jax

        self._program, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        self._tree = jax.tree.structure(shapes)
        missing = _missing(self._program.jaxpr)
        if missing:
            raise UnsupportedError(f"NumPy has no form of JAX's operations {', '.join(sorted(missing))}")

    def __call__(self, *args: Any) -> Any:
        """Return what the function returns, as NumPy arrays."""
        import jax

        with np.errstate(all="ignore"):  # as XLA, which gives inf and NaN without a word
            return jax.tree.unflatten(self._tree, _run(self._program, jax.tree.leaves(args)))


def interpreted(function: Callable[..., Any], *args: Any) -> Any:
    """Return what a function of Keras gives: by NumPy on JAX's backend, and by the backend where NumPy cannot."""
    import keras

    if keras.backend.backend() != "jax":
        return function(*args)
    try:
        return Interpreted(function, *args)(*args)
    except UnsupportedError:
        return function(*args)


def _run(program: Any, args: Sequence[Any]) -> list[np.ndarray]:
    jaxpr = program.jaxpr
    values: dict[Any, np.ndarray] = dict(
        zip([*jaxpr.constvars, *jaxpr.invars], map(np.asarray, [*program.consts, *args]), strict=True)
    )

    def read(name: Any) -> np.ndarray:
        return np.asarray(name.val) if hasattr(name, "val") else values[name]

    for equation in jaxpr.eqns:
        name, given = equation.primitive.name, [read(one) for one in equation.invars]
        if name in _CALLS:
            made = _run(_inside(equation), given)
        else:
            made = [np.asarray(_OPERATIONS[name](*given, **equation.params), equation.outvars[0].aval.dtype)]
        values.update(zip(equation.outvars, made, strict=True))
    return [read(one) for one in jaxpr.outvars]


def _inside(equation: Any) -> Any:
    return equation.params.get("jaxpr") or equation.params["call_jaxpr"]


def _missing(jaxpr: Any) -> set[str]:
    found: set[str] = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name in _CALLS:
            found |= _missing(_inside(equation).jaxpr)
        elif equation.primitive.name not in _OPERATIONS:
            found.add(equation.primitive.name)
    return found


def _of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of arrays as an operation, whose settings say nothing that the arrays do not."""
    return lambda *arrays, **_: function(*arrays)


def _over(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axes, **_: function(x, axis=tuple(axes))


def _divide(x: np.ndarray, y: np.ndarray, **_: Any) -> np.ndarray:
    return np.divide(x, y) if x.dtype.kind == "f" else np.trunc(np.divide(x, y))


def _round(x: np.ndarray, rounding_method: Any, **_: Any) -> np.ndarray:
    to_even = int(rounding_method) == 1
    return np.rint(x) if to_even else np.sign(x) * np.floor(np.abs(x) + 0.5)


def _spread(x: np.ndarray, shape: Sequence[int], broadcast_dimensions: Sequence[int], **_: Any) -> np.ndarray:
    sizes = [1] * len(shape)
    for size, axis in zip(x.shape, broadcast_dimensions, strict=True):
        sizes[axis] = size
    return np.broadcast_to(x.reshape(sizes), shape)


def _choose(which: np.ndarray, *cases: np.ndarray, **_: Any) -> np.ndarray:
    return np.where(which, cases[1], cases[0]) if which.dtype == bool else np.choose(which, cases)


def _slice(x: np.ndarray, start_indices: Any, limit_indices: Any, strides: Any, **_: Any) -> np.ndarray:
    steps = strides or [1] * x.ndim
    return x[tuple(slice(*one) for one in zip(start_indices, limit_indices, steps, strict=True))]


def _count(dtype: Any, shape: Sequence[int], dimension: int, **_: Any) -> np.ndarray:
    sizes = [1] * len(shape)
    sizes[dimension] = shape[dimension]
    return np.broadcast_to(np.arange(shape[dimension], dtype=dtype).reshape(sizes), shape)


def _dot(x: np.ndarray, y: np.ndarray, dimension_numbers: Any, **_: Any) -> np.ndarray:
    (contracted_x, contracted_y), (batch_x, batch_y) = dimension_numbers
    if not batch_x:
        return np.tensordot(x, y, (contracted_x, contracted_y))
    letters = iter(ascii_letters)
    mine, its = [next(letters) for _ in range(x.ndim)], [next(letters) for _ in range(y.ndim)]
    for one, two in (*zip(contracted_x, contracted_y, strict=True), *zip(batch_x, batch_y, strict=True)):
        its[two] = mine[one]
    left = [mine[axis] for axis in range(x.ndim) if axis not in (*contracted_x, *batch_x)]
    right = [its[axis] for axis in range(y.ndim) if axis not in (*contracted_y, *batch_y)]
    made = [*(mine[axis] for axis in batch_x), *left, *right]
    return np.einsum(f"{''.join(mine)},{''.join(its)}->{''.join(made)}", x, y, optimize=True)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{name: _of(getattr(np, name)) for name in _SAME_NAMES},
    **{f"reduce_{name}": _over(getattr(np, name)) for name in ("sum", "prod", "max", "min")},
    "reduce_or": _over(np.any),
    "reduce_and": _over(np.all),
    "add": _of(np.add),
    "add_any": _of(np.add),
    "sub": _of(np.subtract),
    "mul": _of(np.multiply),
    "div": _divide,
    "rem": _of(np.fmod),
    "neg": _of(np.negative),
    "max": _of(np.maximum),
    "min": _of(np.minimum),
    "pow": _of(np.power),
    "integer_pow": lambda x, y, **_: np.power(x, np.float64(y)),
    "rsqrt": _of(lambda x: 1 / np.sqrt(x)),
    "logistic": _of(lambda x: 1 / (1 + np.exp(-x))),
    "round": _round,
    "clamp": _of(lambda least, x, most: np.minimum(np.maximum(x, least), most)),
    "eq": _of(np.equal),
    "ne": _of(np.not_equal),
    "lt": _of(np.less),
    "le": _of(np.less_equal),
    "gt": _of(np.greater),
    "ge": _of(np.greater_equal),
    "and": _of(np.bitwise_and),
    "or": _of(np.bitwise_or),
    "not": _of(np.invert),
    "select_n": _choose,
    "stop_gradient": _of(np.asarray),
    "copy": _of(np.asarray),
    "convert_element_type": lambda x, new_dtype, **_: x.astype(new_dtype),
    "reshape": lambda x, new_sizes, **_: x.reshape(new_sizes),
    "squeeze": lambda x, dimensions, **_: np.squeeze(x, tuple(dimensions)),
    "broadcast_in_dim": _spread,
    "transpose": lambda x, permutation, **_: x.transpose(permutation),
    "concatenate": lambda *arrays, dimension, **_: np.concatenate(arrays, dimension),
    "slice": _slice,
    "iota": _count,
    "dot_general": _dot,
}
"""What each operation of JAX is in NumPy; the type of its result is JAX's."""
