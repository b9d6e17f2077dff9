import pytest

from weft.config.select import SelectConfig
from weft.errors import BudgetError, ConfigError, RunError
from weft.search.results import SearchResults, TrialRecord
from weft.search.select import select

from .toy import quantity


def trial(number, accuracy, lut, ff=1.0, std=None, **more):
    return TrialRecord(
        number=number, state="complete", key=str(number), genotype={}, params={},
        metrics={"accuracy": {"mean": accuracy, "std": std}},
        costs={name: {"quantity": quantity(value), "std": std and 10.0} for name, value in (("lut", lut), ("ff", ff))},
        **more,
    )  # fmt: skip


TRIALS = (
    trial(0, 0.70, 1000, ff=5.0),
    trial(1, 0.74, 1400, ff=9.0),
    trial(2, 0.76, 9000),
    trial(3, 0.73, 8000),  # dominated
    trial(4, 0.60, 900),
    TrialRecord(5, "failed", "5", {}, {}, reason="the loss is nan", error_kind="diverged"),
    trial(6, 0.74, 1400, duplicate_of=1),
    TrialRecord(7, "running", None, None, {}),
)
RESULTS = SearchResults(("accuracy", "lut"), {}, TRIALS)


def picked(**config):
    return [selection.number for selection in select(RESULTS, SelectConfig(**config))]


def test_the_rules_order_the_front():
    assert picked(rule="best_metric", count=9) == [2, 1, 0, 4]
    assert picked(rule="best_accuracy", count=1) == [2]
    assert picked(rule="cheapest", count=2) == [4, 0]
    assert picked(rule="knee", count=1) == [1]


def test_constraints_come_before_the_front():
    assert picked(constraints={"lut": "<= 1400"}, count=2) == [1, 0]
    assert picked(rule="cheapest", constraints={"accuracy": ">= 0.72"}, count=1) == [1]
    assert picked(constraints={"ff": "<= 4"}, count=3) == [2, 3, 4]
    assert picked(constraints={"lut": ">= 2000", "accuracy": "< 0.75"}, count=3) == [3]


def test_cheapest_compares_the_cost_asked_for():
    assert picked(rule="cheapest", cost="ff", count=1) == [2]  # equal costs: the better metric


def test_the_reason_says_rule_place_and_number():
    best, second = select(RESULTS, SelectConfig(constraints={"lut": "<= 1400"}, count=2))
    assert best.reason == "best accuracy, place 1 of 3 designs on the front that meet lut <= 1400: accuracy 0.74"
    assert second.reason.startswith("best accuracy, place 2 of 3")
    (knee,) = select(RESULTS, SelectConfig(rule="knee", count=1))
    assert knee.reason.startswith("knee of accuracy, lut, place 1 of 4 designs on the front: 0.5")
    (cheap,) = select(RESULTS, SelectConfig(rule="cheapest", count=1))
    assert cheap.reason == "lowest lut, place 1 of 4 designs on the front: lut 900"


def test_the_reason_gives_the_spread_and_says_when_there_are_too_few():
    results = SearchResults(("accuracy", "lut"), {}, (trial(0, 0.7, 1000, std=0.0123),))
    (only,) = select(results, SelectConfig(count=2))
    assert only.reason == "best accuracy, place 1 of 1 designs on the front: accuracy 0.7 ± 0.012; 2 were asked for"


def test_where_nothing_fits_the_closest_design_and_its_gap_are_named():
    message = (
        r"none of 5 designs meets lut <= 600 and accuracy >= 0.7; the closest is trial 4 with "
        r"lut 900 \(50.00% beyond the bound <= 600\) and accuracy 0.6 \(14.29% beyond the bound >= 0.7\); loosen"
    )
    with pytest.raises(BudgetError, match=message):
        select(RESULTS, SelectConfig(constraints={"lut": "<= 600", "accuracy": ">= 0.7"}))


def test_the_constraints_of_the_search_hold_too():
    results = SearchResults(("accuracy", "lut"), {"lut": "<= 100"}, TRIALS)
    with pytest.raises(BudgetError, match=r"none of 5 designs meets lut <= 100; the closest is trial 4"):
        select(results, SelectConfig())


def test_a_search_without_complete_trials_has_nothing_to_select():
    results = SearchResults(("accuracy", "lut"), {}, TRIALS[5:6])
    with pytest.raises(BudgetError, match="nothing to select from: no trial of the search is complete"):
        select(results, SelectConfig())


def test_a_number_that_was_not_recorded_is_named():
    with pytest.raises(RunError, match="trial 2 has no 'bops' to compare; it has accuracy, lut, ff"):
        select(RESULTS, SelectConfig(rule="cheapest", cost="bops"))


def test_a_search_without_a_metric_needs_one():
    results = SearchResults(("lut",), {}, TRIALS)
    with pytest.raises(ConfigError, match=r"the objectives \['lut'\] and constraints \[\] name no metric; add one"):
        select(results, SelectConfig())
    assert [s.number for s in select(results, SelectConfig(count=1), metric="accuracy")] == [4]


def test_metrics_that_are_better_small_are_ranked_so():
    def with_mse(number, mse, lut):
        costs = {"lut": {"quantity": quantity(lut), "std": None}}
        return TrialRecord(
            number, "complete", str(number), {}, {}, metrics={"mse": {"mean": mse, "std": None}}, costs=costs
        )

    results = SearchResults(("mse", "lut"), {}, (with_mse(0, 0.5, 10.0), with_mse(1, 0.1, 20.0)))
    assert [selection.number for selection in select(results, SelectConfig(count=2))] == [1, 0]
