import csv
import io
import math

import pytest

from weft.search.results import SearchResults, TrialRecord, read
from weft.search.tables import write_tables

from .helpers import run
from .test_select import TRIALS, trial


def test_records_read_back_what_the_search_returned(tmp_path):
    found = run(tmp_path, folds=2)
    assert read(tmp_path) == found.results


def test_the_front_holds_no_duplicate_and_starts_with_the_best(tmp_path):
    results = SearchResults(("accuracy", "lut"), {}, TRIALS)
    assert [found.number for found in results.front()] == [2, 1, 0, 4]
    assert [found.number for found in results.evaluated] == [0, 1, 2, 3, 4]
    assert SearchResults(("accuracy", "lut"), {}, ()).front() == ()


def test_without_a_feasible_design_the_front_is_the_least_violation():
    violating = [trial(n, 0.7, 100.0, violations={"lut": v, "ff": -3.0}) for n, v in enumerate([0.5, 0.2, 0.2])]
    results = SearchResults(("accuracy", "lut"), {"lut": "<= 10"}, tuple(violating))
    assert [found.number for found in results.front()] == [1, 2]
    assert results.front()[0].violation == 0.2 and not results.front()[0].feasible
    assert results.hypervolume() is None and results.summary()["hypervolume"] == 0.0


def test_hypervolume_states_its_box():
    trials = tuple(trial(n, a, lut) for n, (a, lut) in enumerate([(0.5, 100.0), (0.7, 200.0), (0.6, 300.0)]))
    volume = SearchResults(("accuracy", "lut"), {}, trials).hypervolume()
    assert volume.reference == {"accuracy": 0.5, "lut": 300.0} and volume.ideal == {"accuracy": 0.7, "lut": 100.0}
    assert volume.value == pytest.approx(0.5)
    wider = SearchResults(("accuracy", "lut"), {}, trials).hypervolume(
        reference={"accuracy": 0.0, "lut": 400.0}, ideal={"accuracy": 1.0, "lut": 0.0}
    )
    assert wider.value == pytest.approx((0.5 * 300 + 0.2 * 200) / 400)


def test_hypervolume_of_equal_designs_is_zero():
    results = SearchResults(("accuracy", "lut"), {}, (trial(0, 0.5, 100.0),))
    assert results.hypervolume().value == 0.0


def test_the_summary_counts_trials(tmp_path):
    summary = SearchResults(("accuracy", "lut"), {}, TRIALS).summary()
    assert {name: summary[name] for name in ("trials", "failed", "evaluated", "front")} == {
        "trials": 7, "failed": 1, "evaluated": 5, "front": 4,
    }  # fmt: skip
    assert summary["hypervolume_reference"] == {"accuracy": 0.6, "lut": 9000.0}


def test_tables_have_one_row_a_trial_and_survive_commas_and_quotes(tmp_path):
    reason = 'ap_fixed<8,3> is "odd", says\nthe tool'
    failed = TrialRecord(3, "failed", "k", {}, {"b": "<8,3>"}, reason=reason, error_kind="crash")
    trials = (trial(0, 0.5, 100.0, std=0.1), trial(1, 1 / 3, 50.0, std=0.1, duplicate_of=0), failed)
    write_tables(tmp_path, SearchResults(("accuracy", "lut"), {}, trials))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "trials.csv").read_text(), newline="")))
    assert list(rows[0]) == [
        "number", "state", "key", "duplicate_of", "params_b", "accuracy", "accuracy_std", "lut", "lut_std", "ff",
        "ff_std", "violation", "feasible", "seconds", "compile_seconds", "error_kind", "reason",
    ]  # fmt: skip
    assert [row["number"] for row in rows] == ["0", "1", "3"]
    assert rows[2]["reason"] == reason and rows[2]["params_b"] == "<8,3>" and rows[2]["feasible"] == ""
    assert float(rows[1]["accuracy"]) == 1 / 3 and rows[1]["duplicate_of"] == "0"
    assert math.isclose(float(rows[0]["lut_std"]), 10.0)
    front = list(csv.DictReader(io.StringIO((tmp_path / "pareto.csv").read_text())))
    assert [row["number"] for row in front] == ["0"]


def test_one_fold_has_no_column_for_a_deviation(tmp_path):
    run(tmp_path)
    header = (tmp_path / "trials.csv").read_text().splitlines()[0]
    assert "accuracy,lut,latency_cycles" in header and "_std" not in header


def test_importing_records_and_selection_loads_no_optuna():
    import subprocess
    import sys

    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import weft.search, weft.search.results, weft.search.select; "
        "sys.exit('optuna' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
