"""What NumPy computes of a JAX function is what JAX computes, in value, shape and type, for every operation known."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from weft import _interpreter
from weft._interpreter import Interpreted, interpreted
from weft.errors import UnsupportedError

jax = pytest.importorskip("jax")
jnp, lax = jax.numpy, jax.lax

A = np.random.default_rng(0).normal(0, 2, (3, 4)).astype("f")
B = np.random.default_rng(1).normal(0, 2, (3, 4)).astype("f")
HALVES = np.array([-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5], "f")

CASES = {
    "elementwise": (
        lambda a, b: [
            f(a) for f in (jnp.abs, jnp.floor, jnp.ceil, jnp.exp, jnp.exp2, jnp.expm1, jnp.tanh, jnp.sign, jnp.square)
        ],
        (A, B),
    ),
    "of positive numbers": (lambda a: [f(a) for f in (jnp.log, jnp.log1p, jnp.sqrt, lax.rsqrt)], (np.abs(A) + 0.1,)),
    "logistic": (lambda a: lax.logistic(a), (A,)),
    "arithmetic": (lambda a, b: [a + b, a - b, a * b, a / b, -a, jnp.maximum(a, b), jnp.minimum(a, b)], (A, B)),
    "powers": (lambda a, b: [jnp.power(a, b), a**3, a**-2], (np.abs(A) + 0.1, B)),
    "remainders": (lambda a, b: [lax.rem(a, b), a % b, lax.rem(jnp.int32(-7), jnp.int32(3))], (A, B)),
    "division of integers": (lambda a, b: lax.div(a, b), (np.int32([7, -7, 9]), np.int32([2, 2, -4]))),
    "rounding": (
        lambda a: [jnp.round(a), lax.round(a, lax.RoundingMethod.AWAY_FROM_ZERO), jnp.trunc(a)],
        (HALVES,),
    ),
    "comparisons": (
        lambda a, b: [a == b, a != b, a < b, a <= b, a > b, a >= b, (a < 0) & (b > 0), (a < 0) | (b > 0), ~(a < 0)],
        (A, np.where(A > 0, A, B)),
    ),
    "choices": (
        lambda a, b: [
            jnp.where(a > 0, a, b),
            lax.select_n(jnp.int32([2, 0, 1]), a[:, 0], b[:, 0], a[:, 1]),
            jnp.clip(a, -1, 1),
            lax.clamp(-1.0, b, 1.0),
        ],
        (A, B),
    ),
    "reductions": (
        lambda a: [
            *(f(a, axis=1) for f in (jnp.sum, jnp.prod, jnp.max, jnp.min, jnp.mean)),
            jnp.any(a > 0, axis=0),
            jnp.all(a > 0),
        ],
        (A,),
    ),
    "shapes": (
        lambda a, b: [
            a.reshape(2, 6),
            a.T,
            a[:, None],
            a[None, :, :, None],
            jnp.squeeze(a[:1]),
            lax.expand_dims(a, (0, 2)),
            jnp.broadcast_to(a[:, :1], (3, 5)),
            jnp.concatenate([a, b], axis=1),
            lax.slice(a, (0, 1), (3, 4), (2, 1)),
            lax.slice(a, (1, 1), (3, 3)),
            lax.broadcasted_iota(jnp.int32, (2, 3), 1),
            a.astype(jnp.int32),
        ],
        (A, B),
    ),
    "sums of products": (
        lambda a, b: [
            a @ b.T,
            jnp.einsum("ij,ij->i", a, b),
            jnp.einsum("ij,ik->jk", a, b),
            jnp.einsum("bij,bkj->bik", a[None] + b[:, None], b[None] * a[:, None]),
        ],
        (A, B),
    ),
    "identities": (lambda a: [lax.stop_gradient(a), jnp.copy(a)], (A,)),
    "programs inside": (lambda a: [jax.jit(jnp.tanh)(a), jax.nn.relu(a), _clipped(a)], (A,)),
    "gradients": (lambda a: jax.grad(lambda a: jnp.sum(jnp.tanh(a) * a))(a), (A,)),
}


@jax.custom_vjp
def _clipped(a):
    return jnp.clip(a, -1, 1)


_clipped.defvjp(lambda a: (_clipped(a), None), lambda _, g: (g,))


def primitives(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        if equation.primitive.name in _interpreter._CALLS:
            yield from primitives(_interpreter._inside(equation).jaxpr)


def same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert isinstance(one, np.ndarray) and one.dtype == two.dtype and one.shape == two.shape
        np.testing.assert_allclose(one, two, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_operations_give_what_jax_gives(name):
    function, args = CASES[name]
    same(Interpreted(function, *args)(*args), function(*map(jnp.asarray, args)))


def test_every_operation_that_is_known_is_tested():
    tested = {name for function, args in CASES.values() for name in primitives(jax.make_jaxpr(function)(*args).jaxpr)}
    assert set(_interpreter._OPERATIONS) - tested == set()


NUMBERS = npst.arrays(np.float32, (5, 3), elements=st.floats(-8, 8, width=32))
FUNCTIONS = [
    keras.ops.relu,
    keras.ops.sigmoid,
    keras.ops.softmax,
    keras.ops.tanh,
    keras.ops.gelu,
    keras.ops.hard_sigmoid,
    lambda x: keras.ops.round(x * 4) / 4,
    lambda x: keras.ops.floor(keras.ops.log2(keras.ops.abs(x) + 1e-3)),
    lambda x: x - keras.ops.mean(x, axis=0),
    lambda x: keras.ops.matmul(x, keras.ops.transpose(x)) @ x / 64,
]


@given(first=NUMBERS, second=NUMBERS, chain=st.lists(st.sampled_from(FUNCTIONS), min_size=1, max_size=4))
def test_functions_of_functions_give_what_jax_gives_for_other_arguments_too(first, second, chain):
    def function(x):
        for one in chain:
            x = one(x)
        return {"made": x, "given": [x]}

    program = Interpreted(function, first)
    for args in (first, second):
        with np.errstate(all="ignore"):
            wanted = function(jnp.asarray(args))
        found = program(args)
        if any(one is FUNCTIONS[6] or one is FUNCTIONS[7] for one in chain):
            off = np.abs(found["made"] - np.asarray(wanted["made"])) > 1e-3
            assert off.mean() <= 0.25  # a step, on a value within a float's last bits of it
        else:
            np.testing.assert_allclose(found["made"], wanted["made"], rtol=1e-3, atol=1e-4)
        assert found["given"][0] is found["made"] or np.array_equal(found["given"][0], found["made"])


def test_infinities_and_what_is_no_number_come_without_a_word(recwarn):
    found = Interpreted(lambda x: [1 / x, jnp.log(x), x - x], np.float32([0, np.inf]))(np.float32([0, np.inf]))
    assert np.isinf(found[0][0]) and np.isneginf(found[1][0]) and np.isnan(found[2][1])
    assert not recwarn.list


def test_an_operation_without_a_counterpart_is_named_and_left_to_the_backend():
    def sorted_(x):
        return keras.ops.sort(x)

    with pytest.raises(UnsupportedError, match=r"NumPy has no form of JAX's operations sort"):
        Interpreted(sorted_, A)
    np.testing.assert_array_equal(interpreted(sorted_, A), np.sort(A))
    with pytest.raises(UnsupportedError, match=r"operations sort"):
        Interpreted(jax.jit(sorted_), A)  # inside another program, too


def test_nothing_is_compiled(monkeypatch):
    def function(x):
        return keras.ops.matmul(x, np.float32([[1.0], [3.0], [5.0], [7.0]]))

    program = Interpreted(function, A)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax._src.compiler, "backend_compile_and_load", lambda *_, **__: pytest.fail("compiled"))
        np.testing.assert_allclose(program(A), A @ np.float32([[1.0], [3.0], [5.0], [7.0]]), rtol=1e-6)
