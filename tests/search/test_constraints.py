import pytest

from weft.search.constraints import relative_violation, total_violation


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("<= 10000", 15000.0, 0.5),
        ("<= 50", 40.0, -0.2),
        (">= 0.75", 0.60, 0.2),
        (">= 0.75", 0.75, 0.0),
        ("<= 0", 3.0, 3.0),
    ],
)
def test_a_violation_is_a_share_of_its_bound(text, value, expected):
    assert relative_violation(text, value) == pytest.approx(expected)


def test_a_strict_bound_is_missed_by_its_own_value():
    assert relative_violation("< 50", 50.0) > 0
    assert relative_violation("< 50", 49.999) < 0


def test_what_is_met_does_not_make_up_for_what_is_missed():
    assert total_violation([-0.9, 0.25, 0.5]) == 0.75
    assert total_violation([-0.1, 0.0]) == 0
