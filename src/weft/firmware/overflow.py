"""Which quantisers overflow: how often real inputs do it, and whether inputs like them could.

A value beyond the range of a wrapping quantiser comes out as another number, in Keras and in hardware alike: the levels
agree, and the network is wrong. So verification counts, for each activation quantiser, the inputs that overflow it, and
where no real one does it seeks one that would: by hill climbing on the distance to the end of the range, over inputs
that stay, feature by feature, between the least and the greatest real ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import keras

_ROWS = 1024
_KEPT, _ROUNDS, _CHILDREN = 16, 24, 256


class Overflow(BaseModel):
    """What a verification found of one quantiser of activations.

    Attributes:
        layer: The layer that it belongs to.
        quantizer: Its name.
        format: Its formats, as ranges over its elements, such as `KIF(1, 0..2, 1..3)`.
        mode: What happens to values out of range: WRAP, SAT, ...
        share: Share of the real inputs with a value out of its range, in [0, 1].
        largest: The largest distance of a real input's value from the middle of the range, where 1 is its end.
        sought: The same of all inputs tried in the search; None where real inputs overflow already.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layer: str
    quantizer: str
    format: str
    mode: str
    share: float
    largest: float
    sought: float | None = None


@dataclass
class _Watched:
    """A quantiser, and how far the values that it read lie from the middle of its range, one number a sample."""

    layer: str
    quantizer: Any
    reach: list[np.ndarray] = field(default_factory=list)

    def read(self, values: np.ndarray) -> None:
        k, i, f = (
            np.broadcast_to(part, values.shape).astype(np.float64) for part in _kif(self.quantizer, values.shape)
        )
        step, used = 2.0**-f, k + i + f > 0
        code = np.floor(values / step + (0.5 if self.quantizer.quantizer.round_mode.startswith("RND") else 0.0)) * step
        low, high = -k * 2.0**i, 2.0**i - step
        middle, half = (low + high) / 2, (high - low) / 2 + step / 4  # at the ends the reach is still below 1
        reach = np.divide(np.abs(code - middle), half, out=np.zeros_like(code), where=used)
        self.reach.append(reach.reshape(len(reach), -1).max(axis=1))


def overflows(
    model: keras.Model, x: np.ndarray, *, seek: bool = True, seed: int = 0
) -> tuple[list[Overflow], np.ndarray]:
    """Look for overflows of a model's activation quantisers.

    Quantisers inside a loop that the backend compiles (recurrent layers) are not seen.

    Args:
        model: The finalised model.
        x: Real inputs, (n, *input_shape), n >= 1.
        seek: Whether to search for inputs that overflow what no real input does.
        seed: Of the search.

    Returns:
        One entry for each quantiser that was seen, in the order of the graph, and the inputs that the search found,
        (m, *input_shape) float32: for each quantiser that it made overflow, the one that does so most.
    """
    x = np.asarray(x, dtype=np.float32)
    real = reach_of(model, x)
    found = {key: one.reach[0] for key, one in real.items()}
    best: dict[int, tuple[float, np.ndarray]] = {}
    open_ = [key for key, reach in found.items() if reach.max() < 1 and _wraps(real[key])] if seek else []
    if open_:
        best = _climb(model, x, {key: found[key] for key in open_}, np.random.default_rng(seed))
    rows = [
        Overflow(
            layer=one.layer,
            quantizer=one.quantizer.name,
            format=_spell(one.quantizer),
            mode=one.quantizer.quantizer.overflow_mode,
            share=float(np.mean(found[key] >= 1)),
            largest=float(found[key].max()),
            sought=best[key][0] if key in best else None,
        )
        for key, one in real.items()
    ]
    counterexamples = [row for size, row in best.values() if size >= 1]
    return rows, np.asarray(counterexamples, dtype=np.float32).reshape(-1, *x.shape[1:])


def reach_of(model: keras.Model, x: np.ndarray) -> dict[int, _Watched]:
    """Run a model and return its activation quantisers, each with one array: how far each sample reaches in it."""
    watched = _watch(model)
    padded = np.concatenate([x, np.repeat(x[:1], -len(x) % _ROWS, axis=0)])  # one shape: each is compiled anew
    n_calls = len(padded) // _ROWS
    with _listening(watched):
        for part in np.split(padded, n_calls):
            model(part, training=False)
    seen = {key: one for key, one in watched.items() if one.reach}
    for one in seen.values():  # a layer that is called twice reads twice
        calls = len(one.reach) // n_calls
        parts = [np.max(one.reach[c * calls : (c + 1) * calls], axis=0) for c in range(n_calls)]
        one.reach = [np.concatenate(parts)[: len(x)]]
    return seen


def _climb(
    model: keras.Model, x: np.ndarray, found: dict[int, np.ndarray], random: np.random.Generator
) -> dict[int, tuple[float, np.ndarray]]:
    """Return, for each quantiser, the largest reach that was found and its input."""
    low, high = x.min(axis=0), x.max(axis=0)
    elite = {key: x[np.argsort(reach)[-_KEPT:]] for key, reach in found.items()}
    size = {key: np.sort(reach)[-_KEPT:] for key, reach in found.items()}
    each = max(_CHILDREN // len(elite), 8)
    for turn in range(_ROUNDS):
        todo = [key for key in elite if size[key][-1] < 1]
        if not todo:
            break
        children = np.concatenate([_children(elite[key], x, low, high, each, turn, random) for key in todo])
        reach = reach_of(model, children)
        for key in todo:
            every, sizes = np.concatenate([elite[key], children]), np.concatenate([size[key], reach[key].reach[0]])
            order = np.argsort(sizes, kind="stable")[-_KEPT:]
            elite[key], size[key] = every[order], sizes[order]
    return {key: (float(size[key][-1]), elite[key][-1]) for key in elite}


def _children(
    elite: np.ndarray, x: np.ndarray, low: np.ndarray, high: np.ndarray, n: int, turn: int, random: np.random.Generator
) -> np.ndarray:
    """Return n inputs like the best: features go to an end of their range, anywhere in it, or to another's value."""
    parents = elite[random.integers(len(elite), size=n)]
    other = np.concatenate([elite, x])[random.integers(len(elite) + len(x), size=n)]
    anywhere = random.uniform(low, high, size=parents.shape)
    end = np.where(random.integers(2, size=parents.shape), low, high)
    kind = random.integers(3, size=parents.shape)
    new = np.where(kind == 0, end, np.where(kind == 1, anywhere, other))
    share = random.choice([0.5, 0.25, 0.1, 1.0 / max(parents[0].size, 1)], size=n).reshape(-1, *[1] * (x.ndim - 1))
    return np.where(random.uniform(size=parents.shape) < share, new, parents).astype(np.float32)


def _wraps(one: _Watched) -> bool:
    return one.quantizer.quantizer.overflow_mode.startswith("WRAP")


def _watch(model: keras.Model) -> dict[int, _Watched]:
    """Return the quantisers of activations, by identity, in the order of the layers."""
    from hgq.quantizer import Quantizer

    found: dict[int, _Watched] = {}
    for top in model.layers:
        stack = [top]
        while stack:
            layer = stack.pop(0)
            if isinstance(layer, Quantizer):
                if hasattr(layer.quantizer, "round_mode") and not getattr(layer.quantizer, "_is_weight", False):
                    found.setdefault(id(layer), _Watched(top.name, layer))
            else:
                stack += layer._layers
    return found


@contextlib.contextmanager
def _listening(watched: dict[int, _Watched]) -> Iterator[None]:
    """Let quantisers say what they read, inside the block."""
    from hgq.quantizer import Quantizer

    from weft import ops

    call = Quantizer.call

    def listen(self: Any, inputs: Any, training: Any = None) -> Any:
        one = watched.get(id(self))
        # weights and biases have no batch; what a compiled loop reads has no values
        if one is not None and inputs.shape[:1] == (_ROWS,) and not type(inputs).__name__.endswith("Tracer"):
            scaled = inputs if self.scaler is None else inputs / self.scaler
            one.read(np.asarray(ops.convert_to_numpy(scaled), dtype=np.float64))
        return call(self, inputs, training=training)

    Quantizer.call = listen
    try:
        yield
    finally:
        Quantizer.call = call


def _kif(quantizer: Any, shape: tuple[int, ...]) -> list[np.ndarray]:
    from weft import ops

    inner = quantizer.quantizer
    return [np.asarray(ops.convert_to_numpy(inner.bw_mapper.bw_to_x(part, shape))) for part in inner.kif]


def _spell(quantizer: Any) -> str:
    from weft import ops

    def span(part: Any) -> str:
        values = np.asarray(ops.convert_to_numpy(part))
        low, high = int(values.min()), int(values.max())
        return f"{low}" if low == high else f"{low}..{high}"

    return f"KIF({', '.join(span(part) for part in quantizer.quantizer.kif)})"
