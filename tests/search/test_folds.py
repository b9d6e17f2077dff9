import math
import statistics

import pytest

from weft.search.folds import failure, merge, refused
from weft.search.job import Result

from .toy import quantity


def result(fold=0, accuracy=0.5, lut=100.0, **costs):
    return Result(4, fold, {"accuracy": accuracy}, {"lut": quantity(lut), **costs}, 2.0, 0.5, f"w{fold}")


def test_folds_merge_into_mean_and_sample_deviation():
    interval = [{**quantity(100.0 * k), "low": 90.0 * k, "high": 120.0 * k} for k in (1, 2, 3)]
    merged = merge([result(k, 0.1 * k, ff=interval[k]) for k in range(3)])
    assert merged["metrics"]["accuracy"] == {
        "mean": statistics.fmean([0.0, 0.1, 0.2]),
        "std": pytest.approx(statistics.stdev([0.0, 0.1, 0.2])),
    }
    assert merged["costs"]["ff"] == {"quantity": {**quantity(200.0), "low": 180.0, "high": 240.0}, "std": 100.0}
    assert merged["costs"]["lut"] == {"quantity": quantity(100.0), "std": 0.0}
    assert (merged["seconds"], merged["compile_seconds"], merged["weights"]) == (6.0, 1.5, ["w0", "w1", "w2"])


def test_one_fold_has_no_deviation():
    merged = merge([result()])
    assert merged["metrics"]["accuracy"] == {"mean": 0.5, "std": None}
    assert merged["costs"]["lut"] == {"quantity": quantity(100.0), "std": None}


def test_sources_that_differ_between_folds_are_all_named():
    other = {**quantity(100.0), "source": "toy 2"}
    merged = merge([result(0), Result(4, 1, {"accuracy": 0.5}, {"lut": other})])
    assert merged["costs"]["lut"]["quantity"]["source"] == "toy 1; toy 2"


def test_a_cost_that_one_fold_lacks_has_no_mean_and_says_why():
    nothing = {**quantity(None), "reason": "not pipelined"}
    merged = merge([result(0, ff=quantity(5.0)), result(1, ff=nothing)])
    assert merged["costs"]["ff"] == {"quantity": nothing, "std": None}


@pytest.mark.parametrize(
    ("bad", "kind", "reason"),
    [
        (result(accuracy=math.nan), "diverged", "accuracy is nan"),
        (result(accuracy=math.inf), "diverged", "accuracy is inf"),
        (result(lut=math.nan), "crash", "lut is nan"),
        (result(lut=None), "unsupported", "lut has no value: None"),
        (Result(4, 0, {}, {"lut": quantity(1.0)}), "crash", "the evaluation returned no 'accuracy', only []"),
        (Result(4, 0, {"accuracy": 1.0}), "crash", "the evaluation returned no 'lut', only []"),
    ],
)
def test_numbers_that_are_missing_or_not_finite_fail_the_trial(bad, kind, reason):
    found = refused(bad, ["accuracy", "lut"])
    assert (found.error_kind, found.error) == (kind, reason)
    assert found.metrics == {} and found.costs == {} and found.weights is None


def test_a_metric_that_is_not_an_objective_must_be_finite_too():
    bad = Result(4, 0, {"accuracy": 1.0, "auc": math.nan}, {"lut": quantity(1.0)})
    assert refused(bad, ["accuracy", "lut"]).error == "auc is nan"


def test_the_first_failing_fold_gives_the_reason():
    failed = [Result(4, k, error=f"reason {k}", error_kind="diverged") for k in (1, 2)]
    assert failure([result(0), *failed]) == {"kind": "diverged", "reason": "fold 1: reason 1"}
    assert failure(failed[:1]) == {"kind": "diverged", "reason": "reason 1"}
    assert failure([result(0)]) is None
