"""The generator of random bits is Threefry-2x32 to the bit, and compiles without a loop."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.extend.random import threefry_2x32

from weft.train._threefry import fuse_random_bits, threefry2x32

WORDS = st.integers(0, 2**32 - 1)
ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


def _reference(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """Threefry-2x32-20 on Python's integers: a key word is injected after every fourth round."""
    words = [*key, key[0] ^ key[1] ^ 0x1BD11BDA]
    x, y = ((c + k) % 2**32 for c, k in zip(counter, key, strict=True))
    for n in range(20):
        distance = ROTATIONS[n % 8]
        x = (x + y) % 2**32
        y = ((y << distance | y >> (32 - distance)) % 2**32) ^ x
        if n % 4 == 3:
            injected = n // 4 + 1
            x = (x + words[injected % 3]) % 2**32
            y = (y + words[(injected + 1) % 3] + injected) % 2**32
    return x, y


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_the_known_answers_of_random123(key, counter, expected):
    fuse_random_bits()
    words = threefry_2x32(np.array(key, np.uint32), np.array(counter, np.uint32))
    assert tuple(map(int, words)) == expected == _reference(key, counter)


@given(st.tuples(WORDS, WORDS), st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_equals_the_reference_for_any_key_and_counter(key, counters):
    x0, x1 = np.array(counters, np.uint32).T
    with np.errstate(over="ignore"):
        words = threefry2x32(np.uint32(key[0]), np.uint32(key[1]), x0, x1)
    assert list(zip(*(w.tolist() for w in words), strict=True)) == [_reference(key, counter) for counter in counters]


def test_drawing_compiles_to_no_loop():
    fuse_random_bits()
    draw = jax.jit(lambda key: jax.random.bernoulli(key, 0.9, (31, 7)))
    assert "while" not in draw.lower(jax.random.PRNGKey(0)).as_text()
