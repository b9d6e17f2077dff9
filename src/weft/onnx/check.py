"""The check of an ONNX file: executed on real, random and extreme inputs, it equals the Keras model in every output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.errors import VerificationError
from weft.onnx.execute import execute
from weft.onnx.number import Floats, Number

if TYPE_CHECKING:
    import keras

_RANDOM, _REAL, _CORNERS = 256, 1024, 64


def samples(ports: Sequence[Number | None], shapes: Sequence[tuple[int, ...]], *, beyond: bool, seed: int = 0) -> list[
    np.ndarray
]:  # fmt: skip
    """Return inputs that fill formats: random codes, values between them, both ends, corners and zero.

    Args:
        ports: The format that each input is read in; None where it is not known.
        shapes: The shape of each input, without the batch axis.
        beyond: Whether to add values between codes and beyond the ends.
        seed: Of the random ones.

    Returns:
        One array (n, *shape) float32 for each input, of as many rows.
    """
    random = np.random.default_rng(seed)
    return [_of_one(port, shape, beyond, random) for port, shape in zip(ports, shapes, strict=True)]


def _of_one(port: Number | None, shape: tuple[int, ...], beyond: bool, random: np.random.Generator) -> np.ndarray:
    if port is None:
        return random.normal(0, 4, (_RANDOM + 2 * _CORNERS + 3, *shape)).astype(np.float32)
    low, high, step = (np.broadcast_to(one[0], shape) for one in (port.low, port.high, port.step))
    codes = np.floor(random.uniform(0, (high - low) / step + 1, (_RANDOM, *shape)))
    corners = np.where(random.integers(2, size=(_CORNERS, *shape)), low, high)
    ends: list[Floats] = [np.stack([low, high, np.zeros(shape)]), low + codes * step, corners]
    if beyond:
        half = step / 2 * random.integers(-5, 6, (_CORNERS, *shape))
        far = random.normal(0, 3, (_CORNERS, *shape)) * np.maximum(high - low, 1)
        ends += [np.where(random.integers(2, size=half.shape), low, high) + half, far]
    return np.concatenate(ends).astype(np.float32)


def outputs_of(model: keras.Model, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the outputs of a Keras model, each (n, ...), computed in full float32."""
    import contextlib

    import keras

    precise: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if keras.backend.backend() == "jax":
        import jax

        precise = jax.default_matmul_precision("highest")
    with precise:  # one program is compiled faster than each operation
        predict: Any = model.predict
        found = predict(list(rows) if len(rows) > 1 else rows[0], batch_size=len(rows[0]), verbose=0)
    return [np.asarray(one) for one in keras.tree.flatten(found)]


def compare(model: keras.Model, file: Any, rows: Sequence[np.ndarray], what: str) -> int:
    """Execute both on the same rows.

    Args:
        model: The Keras model.
        file: The ONNX model.
        rows: One array (n, ...) for each input.
        what: What was made, for messages.

    Returns:
        The number of rows.

    Raises:
        VerificationError: An output differs.
    """
    expected, found = outputs_of(model, rows), execute(file, rows)
    for number, (mine, other) in enumerate(zip(expected, found, strict=True)):
        mine = mine.reshape(other.shape) if mine.size == other.size else mine
        wrong = np.argwhere(mine != other) if mine.shape == other.shape else np.zeros((1, other.ndim), int)
        if len(wrong):
            where = tuple(wrong[0].tolist())
            seen = f"{mine[where]:g} and {other[where]:g}" if mine.shape == other.shape else "another shape"
            raise VerificationError(
                f"{what} differs from the Keras model in {len(wrong)} of {other.size} values of output {number}, first "
                f"in row {where[0]} at {list(where[1:])}: {seen}. Where sums need more than 24 bits, float32 rounds "
                "them, and not in one way: use fewer bits; else report this with the model"
            )
    return len(rows[0])
