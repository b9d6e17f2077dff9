import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weft.search.front import first_front, hypervolume, knee_distances, nondominated, ranks

# Few distinct values, so that ties and equal points are common.
coordinates = st.integers(0, 5).map(float)


@st.composite
def populations(draw, max_size=12):
    n, m = draw(st.integers(1, max_size)), draw(st.integers(1, 4))
    losses = draw(arrays(float, (n, m), elements=coordinates))
    violations = draw(arrays(float, (n,), elements=st.sampled_from([0.0, 0.0, 0.5, 1.0])))
    return losses, violations


def ahead(x, y):
    """Constraint domination of (losses, violation) pairs, as Deb et al. define it."""
    (losses, violation), (other, other_violation) = x, y
    if violation > 0 or other_violation > 0:
        return violation < other_violation
    return all(a <= b for a, b in zip(losses, other, strict=True)) and tuple(losses) != tuple(other)


def reference_ranks(losses, violations):
    left = list(enumerate(zip(losses, violations, strict=True)))
    found, level = {}, 0
    while left:
        best = [(i, x) for i, x in left if not any(ahead(y, x) for _, y in left)]
        found.update(dict.fromkeys((i for i, _ in best), level))
        left, level = [(i, x) for i, x in left if i not in found], level + 1
    return [found[i] for i in range(len(losses))]


@given(populations())
def test_ranks_agree_with_the_definition(population):
    losses, violations = population
    np.testing.assert_array_equal(ranks(losses, violations), reference_ranks(losses, violations))
    np.testing.assert_array_equal(first_front(losses, violations), np.array(reference_ranks(losses, violations)) == 0)


@given(populations())
def test_equal_points_share_their_fate_and_order_does_not_matter(population):
    losses, violations = population
    np.testing.assert_array_equal(ranks(losses[::-1], violations[::-1]), ranks(losses, violations)[::-1])
    twice = ranks(np.concatenate([losses, losses]), np.concatenate([violations, violations]))
    np.testing.assert_array_equal(twice[: len(losses)], twice[len(losses) :])


def test_an_empty_population_has_an_empty_front():
    assert first_front(np.zeros((0, 2)), np.zeros(0)).shape == (0,)
    assert ranks(np.zeros((0, 2)), np.zeros(0)).shape == (0,)


def inclusion_exclusion(points, reference):
    """The volume of a union of boxes, by the sum over all intersections."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for boxes in itertools.combinations(points, size):
            total -= (-1) ** size * np.prod(np.clip(reference - np.max(boxes, axis=0), 0, None))
    return total


@given(populations(max_size=7))
def test_hypervolume_agrees_with_inclusion_and_exclusion(population):
    losses, _ = population
    reference = np.full(losses.shape[1], 4.5)
    assert hypervolume(losses, reference) == pytest.approx(inclusion_exclusion(losses, reference), abs=1e-9)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_hypervolume_agrees_with_monte_carlo_on_many_points(m):
    rng = np.random.default_rng(m)
    losses = rng.uniform(size=(60, m))
    samples = rng.uniform(size=(20_000, m))
    share = np.mean(np.any(np.all(losses[None] <= samples[:, None], axis=2), axis=1))
    assert hypervolume(losses, np.ones(m)) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(samples)))


@given(populations())
def test_hypervolume_depends_on_the_front_alone(population):
    losses, _ = population
    reference = np.full(losses.shape[1], 6.0)
    assert hypervolume(losses, reference) == pytest.approx(hypervolume(losses[nondominated(losses)], reference))


def test_the_knee_of_a_bent_front_is_its_bend():
    front = np.array([[0.0, 10.0], [1.0, 2.0], [4.0, 1.0], [10.0, 0.0]])
    assert np.argmax(knee_distances(front)) == 1
    line = [[0.0, 10.0], [10.0, 0.0]]
    np.testing.assert_allclose(knee_distances(front)[[0, 3]], 0.0, atol=1e-12)
    np.testing.assert_allclose(knee_distances([*line, [5.0, 5.0]]), 0.0, atol=1e-12)


@given(populations())
def test_the_knee_does_not_depend_on_units_or_on_an_equal_objective(population):
    losses, _ = population
    distances = knee_distances(losses)
    scales = np.array([1.0, 1000.0, 0.25, 8.0])[: losses.shape[1]]
    np.testing.assert_allclose(knee_distances(losses * scales + 3.0), distances, atol=1e-9)
    same = np.full((len(losses), 1), 7.0)
    np.testing.assert_allclose(knee_distances(np.hstack([losses, same])), distances, atol=1e-12)
    assert np.all(knee_distances(same) == 0)
