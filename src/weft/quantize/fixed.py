"""Fixed-point numbers in every rounding and overflow mode, and the quantisers that HGQ2 does not have.

A format KIF(k, i, f) has a sign if k = 1, i integer bits without it and f fractional bits; both may be negative. Its
grid is 2^-f, its range [-k 2^i, 2^i - 2^-f], its width k + i + f; below one bit every value is 0. The modes are those
of `ap_fixed`, and S_RND and S_RND_CONV, which in training round up with the probability that makes the mean exact
(Gupta et al., "Deep Learning with Limited Numerical Precision", 2015, arXiv:1502.02551) and elsewhere round to nearest.

HGQ2 0.2.0 has most of it. What it lacks is here as `FixedPointConfig`: S_ modes that are stochastic (its own are
not), WRAP_SM with any rounding, a range that follows the data and saturates beyond it, and a fixed range that wraps
in training as it does in hardware. HGQ2's RND, RND_INF and RND_MIN_INF also take the one float32 next to a tie for the
tie, which no sum of fixed-point values is. Gradients are HGQ2's: straight through rounding, -ln2 (q - x) for f, and
ln2 2^i for i where a value saturates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from hgq.constraints import Constant
from hgq.quantizer import QuantizerConfig
from hgq.quantizer.internal import FixedPointQuantizerBase
from hgq.quantizer.internal.base import round_conv
from keras import ops

from weft.errors import UnsupportedError

_AWAY: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "TRN": lambda rest, negative, _: (rest > 0) & negative,
    "TRN_ZERO": lambda rest, *_: rest >= 1,
    "RND": lambda rest, negative, _: (rest > 0.5) | ((rest == 0.5) & ~negative),
    "RND_MIN_INF": lambda rest, negative, _: (rest > 0.5) | ((rest == 0.5) & negative),
    "RND_ZERO": lambda rest, *_: rest > 0.5,
    "RND_INF": lambda rest, *_: rest >= 0.5,
    "RND_CONV": lambda rest, _, whole: (rest > 0.5) | ((rest == 0.5) & (whole % 2 == 1)),
}
"""When a magnitude `whole + rest` becomes `whole + 1`, by rounding mode."""

_FINEST = -24.0
"""Integer bits of a group of zeros: what is below 2^-24 needs no finer format."""


def quantize(
    x: Any, k: Any, i: Any, f: Any, round_mode: str = "RND", overflow_mode: str = "SAT", noise: Any = None
) -> Any:
    """Return `x` in the format KIF(k, i, f), exact as long as k + i + f <= 24; differentiable in x, i and f.

    Args:
        x: Values, any shape.
        k, i, f: Whole numbers that broadcast to the shape of x.
        round_mode: TRN, TRN_ZERO, RND, RND_CONV, RND_ZERO, RND_MIN_INF or RND_INF.
        overflow_mode: SAT, SAT_SYM, WRAP or WRAP_SM. Where a value wraps, its gradients are those without wrapping.
        noise: Uniform draws from [0, 1), of the shape of x, for stochastic rounding in place of `round_mode`.
    """
    if overflow_mode.startswith("SAT"):
        x = _saturate(x, k, i, f, symmetric=overflow_mode == "SAT_SYM")
    q = round_to(x, f, round_mode, noise)
    value = ops.stop_gradient(q)
    if overflow_mode == "WRAP":
        value = _wrap(value, k, i)
    elif overflow_mode == "WRAP_SM":
        value = _wrap_sign_magnitude(value, k, i, f)
    value = ops.where(k + i + f > 0, value, ops.zeros_like(value))
    return ops.stop_gradient(value) + (q - ops.stop_gradient(q))


def round_to(x: Any, f: Any, round_mode: str = "RND", noise: Any = None) -> Any:
    """Round `x` to multiples of 2^-f; straight through for x, and -ln2 (q - x) for f."""
    scaled = x * 2.0**f
    size = ops.abs(scaled)
    whole = ops.floor(size)
    rest = size - whole  # exact, which `floor(scaled + 0.5)` is not
    away = noise < rest if noise is not None else _AWAY[round_mode](rest, scaled < 0, whole)
    code = ops.where(scaled < 0, -1.0, 1.0) * (whole + ops.cast(away, whole.dtype))
    return (ops.stop_gradient(code) + (scaled - ops.stop_gradient(scaled))) * 2.0**-f


def _saturate(x: Any, k: Any, i: Any, f: Any, *, symmetric: bool) -> Any:
    i = i + ops.stop_gradient(ops.maximum(i, -f) - i)  # a width below zero is a width of zero
    step = 2.0**-f
    high = 2.0**i - step
    low = -k * (high if symmetric else 2.0**i)
    return ops.where(x > high, high, ops.where(x < low, low, x))


def _wrap(q: Any, k: Any, i: Any) -> Any:
    period = 2.0 ** (i + k)
    q = q - period * ops.floor(q / period)
    return ops.where((k > 0) & (q >= period / 2), q - period, q)


def _wrap_sign_magnitude(q: Any, k: Any, i: Any, f: Any) -> Any:
    """Wrap; where the lowest bit cut off differs from the sign (of an unsigned format: is set), invert all bits."""
    period = 2.0 ** (i + k)
    rest = q - period * ops.floor(q / period)
    odd = ops.floor(q / period) % 2 == 1
    sign = (k > 0) & (rest >= period / 2)
    rest = ops.where(odd != sign, period - 2.0**-f - rest, rest)
    return ops.where((k > 0) & (rest >= period / 2), rest - period, rest)


def integer_bits(
    positive: Any,
    negative: Any,
    *,
    f: Any = None,
    b: Any = None,
    round_mode: str = "RND",
    symmetric: bool = False,
    noise: float | None = None,
) -> Any:
    """Return the fewest integer bits with which nothing overflows, without the sign: whole numbers, may be negative.

    A power of two needs one bit more as a positive value than as a negative one.

    Args:
        positive: Largest value of each group, >= 0; 0 if it has none above zero.
        negative: Largest magnitude below zero of each group, >= 0; 0 if it has none.
        f: Fractional bits; or instead
        b: Width without the sign, >= 1, of which i are integer bits and b - i fractional ones.
        round_mode: As in `quantize`.
        symmetric: Whether the range is symmetric.
        noise: 0.0 if rounding is stochastic: everything may be rounded up.
    """
    largest = ops.maximum(ops.maximum(positive, negative), 2.0**_FINEST)
    i = ops.ceil(ops.log2(largest))
    i = ops.where(2.0 ** (i - 1) >= largest, i - 1, i)  # log2 may be off by its last bit
    i = ops.where(2.0**i < largest, i + 1, i)
    lowest = i - 1 if f is None else -f
    i = ops.maximum(i, lowest)

    def fits(i: Any) -> Any:
        fraction = b - i if f is None else f
        top = 2.0 ** (i + fraction)
        high, low = (round_to(x, fraction, round_mode, noise) * 2.0**fraction for x in (positive, -negative))
        return (high <= top - 1) & (low >= -(top - 1 if symmetric else top))

    return ops.where(fits(i - 1) & (i > lowest), i - 1, ops.where(fits(i), i, i + 1))


@keras.saving.register_keras_serializable(package="weft")
class FixedPointConfig(QuantizerConfig):
    """The configuration of a `FixedPoint` quantiser: HGQ2's own of type `kbi` or `kif`, and how the range is found.

    Args:
        q_type: `kbi` (the width b is held or learned) or `kif` (the fractional bits f are).
        place: `weight`, `bias`, `datalane` or `table`, whose defaults are HGQ2's.
        follows: Whether i follows the data: it rises at once and falls by `i_decay_speed` a step. Otherwise it is
            trained, or held by a constraint.
        kwargs: As for HGQ2's configuration.
    """

    def __init__(self, q_type: str, place: str, *, follows: bool, **kwargs: Any) -> None:
        super().__init__(q_type, place, **kwargs)
        self.follows = follows

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "follows": self.follows}

    def get_quantizer(self) -> FixedPoint:
        return FixedPoint(self.q_type, self.follows, **self.config)

    def plain(self) -> QuantizerConfig:
        """Return HGQ2's configuration that computes the same in inference, once ranges are final.

        Its quantiser has the same variables k, i, and b or f.

        Raises:
            UnsupportedError: Values may wrap by WRAP_SM, which neither HGQ2 nor the adder graph does.
        """
        config = {**QuantizerConfig.get_config(self), "round_mode": self.config["round_mode"].removeprefix("S_")}
        if config["overflow_mode"] == "WRAP_SM":
            if not self.follows or self.place not in ("weight", "bias"):
                raise UnsupportedError(
                    f"cannot freeze a {self.place} quantiser with overflow_mode WRAP_SM, which the adder graph does "
                    "not have; use SAT, SAT_SYM or WRAP"
                )
            config["overflow_mode"] = "SAT"  # a range that follows the weights holds all of them
        return QuantizerConfig(**config)


class FixedPoint(FixedPointQuantizerBase):
    """A fixed-point quantiser in any mode, with HGQ2's interface and variables.

    Attributes:
        stochastic: Whether training rounds at random; the draws come from a `SeedGenerator`, which is saved state.
    """

    def __init__(
        self,
        q_type: str,
        follows: bool,
        *,
        round_mode: str,
        overflow_mode: str,
        is_weight: bool,
        i_decay_speed: Any,
        homogeneous_axis: Sequence[int] | None,
        heterogeneous_axis: Sequence[int] | None,
        bw_mapper: Any,
        trainable: bool,
        **variables: Any,
    ) -> None:
        super().__init__(
            name=f"fixed_point_quantizer_{q_type}",  # as HGQ2 calls its own
            homogeneous_axis=homogeneous_axis,
            heterogeneous_axis=heterogeneous_axis,
            bw_mapper=bw_mapper,
            trainable=trainable,
        )
        self.stochastic = round_mode.startswith("S_")
        self._round_mode, self._overflow_mode = round_mode.removeprefix("S_"), overflow_mode
        self._symmetric = overflow_mode == "SAT_SYM"
        self._is_weight, self._follows = is_weight, follows
        self._width = "b" if q_type == "kbi" else "f"
        self._decay, self._config = i_decay_speed, variables

    def build(self, input_shape: Sequence[int]) -> None:
        shape = self.bw_mapper.inference_weight_shape(input_shape)

        def add(name: str, trainable: bool, **kwargs: Any) -> keras.Variable:
            initial = kwargs.pop("initial")
            if not isinstance(initial, keras.initializers.Initializer):
                initial = keras.initializers.Constant(float(initial))
            return self.add_weight(name=name, initializer=initial, trainable=trainable, **kwargs)

        def bits(name: str, trainable: bool) -> keras.Variable:
            rules = {"constraint": self._config[f"{name}c"], "regularizer": self._config[f"{name}r"]}
            held = isinstance(rules["constraint"], Constant)
            return add(name, trainable and not held, shape=shape, initial=self._config[f"{name}0"], **rules)

        self._k = add("k", False, shape=shape, initial=self._config["k0"], dtype="uint8")
        if self._width == "b":
            self._b = bits("b", True)
        self._i = bits("i", not self._follows)
        if self._width == "f":
            self._f = bits("f", True)
        if self.stochastic:
            self._seed_gen = keras.random.SeedGenerator(self._seed, name="seed")
        if self._follows:
            self._i_decay_speed = add("i_decay_speed", False, shape=(), initial=self._decay)
        super(FixedPointQuantizerBase, self).build(input_shape)

    def save_own_variables(self, store: Any) -> None:
        for n, value in enumerate(self._own_state()):
            store[str(n)] = ops.convert_to_numpy(value)

    def load_own_variables(self, store: Any) -> None:
        for n, variable in enumerate(self._own_state()):
            variable.assign(store[str(n)])

    def _own_state(self) -> list[keras.Variable]:
        """Return all variables with the seed's, which Keras leaves out of model files."""
        seed = [self._seed_gen.state] if self.stochastic else []
        return [*self._trainable_variables, *self._non_trainable_variables, *seed]

    @property
    def k(self) -> Any:
        return ops.cast(ops.convert_to_tensor(self._k), self.dtype)

    @property
    def i(self) -> Any:
        return round_conv(ops.convert_to_tensor(self._i))

    @property
    def f(self) -> Any:
        return self.b - self.i if self._width == "b" else round_conv(ops.convert_to_tensor(self._f))

    @property
    def b(self) -> Any:
        return round_conv(ops.convert_to_tensor(self._b)) if self._width == "b" else ops.relu(self.i + self.f)

    @property
    def kif(self) -> tuple[Any, Any, Any]:
        return self.k, self.i, self.f

    def get_minimal_i(self, inputs: Any) -> Any:
        """Return the integer bits that each group of `inputs` needs now."""
        positive, negative = (self.bw_mapper.x_to_bw_absmax(ops.relu(x)) for x in (inputs, -inputs))
        width = {"b": ops.maximum(self.b, 1.0)} if self._width == "b" else {"f": self.f}
        noise = 0.0 if self.stochastic else None
        needed = integer_bits(
            positive, negative, **width, round_mode=self._round_mode, symmetric=self._symmetric, noise=noise
        )
        return ops.stop_gradient(needed)

    def call(self, inputs: Any, training: Any = None) -> Any:
        learning, tracing = bool(training), training == "tracing"  # HGQ2's tracing flag is false, but equal to this
        noise = None
        if self.stochastic and learning:
            noise = keras.random.uniform(ops.shape(inputs), seed=self._seed_gen)
        if self._follows and self.trainable and (learning or tracing or self._is_weight):
            return self._following(inputs, learning, tracing, noise)
        k, i, f = (self._spread(value, inputs) for value in self.kif)
        return quantize(inputs, k, i, f, self._round_mode, self._overflow_mode, noise)

    def _following(self, x: Any, learning: bool, tracing: bool, noise: Any) -> Any:
        """Quantise in a range that covers `x`, and keep that range; a kernel that is only read changes nothing."""
        least = ops.convert_to_tensor(self._i) - ops.convert_to_tensor(self._i_decay_speed) if learning else self.i
        new_i = ops.stop_gradient(ops.maximum(least, self.get_minimal_i(x)))
        i = round_conv(new_i)
        f = self.b - i if self._width == "b" else self.f
        q = round_to(x, self._spread(f, x), self._round_mode, noise)
        q = ops.stop_gradient(ops.where(self._spread(i + f > 0, x), q, 0.0)) + (q - ops.stop_gradient(q))
        if learning or tracing:
            self._i.assign(new_i)
        if tracing:
            negative = self.bw_mapper.x_to_bw_sign(q)
            self._k.assign(ops.cast((self.k > 0) | negative, self._k.dtype))
        return q

    def _spread(self, bits: Any, x: Any) -> Any:
        return self.bw_mapper.bw_to_x(bits, ops.shape(x))
