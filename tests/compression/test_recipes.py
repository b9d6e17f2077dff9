"""Recipes on a small problem: what they promise, and that an interrupted one resumes to the same designs."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from tests.compression.conftest import FLOAT
from weft.adder_graph import AdderGraph
from weft.compression.outcome import Candidate, Outcome, choose
from weft.compression.recipe import Compressed, compress
from weft.compression.training import staged_rate
from weft.config import Experiment
from weft.config.numbers import FixedNumbers, HgqNumbers
from weft.errors import BudgetError, ConfigError


def config(**compress_section):
    raw = {"version": 1, "name": "x", "data": {"name": "jets-hlf"}, "compress": {"batch_size": 128, **compress_section}}
    return Experiment.model_validate(raw).compress


HGQ = {
    "recipe": "hgq", "epochs": 10, "batch_size": 16, "learning_rate": 0.03, "bits0": 4, "keep": 2,
    "beta": {"from": 1e-5, "to": 1e-2},
}  # fmt: skip
FIXED = {
    "recipe": "fixed",
    "epochs": 3,
    "precisions": [{"total_bits": 6}, {"total_bits": 8, "integer_bits": 4}],
    "keep": 2,
}
IMP = {
    "recipe": "imp", "warmup_epochs": 2, "rounds": 3, "epochs": 2, "fraction": 0.3, "keep": 2, "io_bits": 8,
    "precisions": [{"total_bits": 6}],
}  # fmt: skip


def trail(directory) -> list[dict[str, str]]:
    with open(directory / "trail.csv") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize(("rewind", "share"), [("never", 0.2), ("after_training", 1.0), ("every_round", 1.0)])
def test_rewound_weights_learn_again_at_the_full_rate(rewind, share):
    stages = {"pretrain_epochs": 2, "epochs": 3, "rounds": 2, "finetune_epochs": 4, "prune": {"method": "cs"}}
    section = config(recipe="fixed", learning_rate=0.5, schedule="constant", rewind=rewind, **stages)
    control = staged_rate(section, section.learning_rate)
    rates = [float(control.values(epoch, 1)[0]) for epoch in range(section.total_epochs)]
    assert rates == pytest.approx([0.5] * 8 + [share * 0.5] * 4)


def equal(one: list[Compressed], two: list[Compressed]) -> None:
    assert [(c.name, c.log) for c in one] == [(c.name, c.log) for c in two]
    for a, b in zip(one, two, strict=True):
        for mine, theirs in zip(a.model.variables, b.model.variables, strict=True):
            np.testing.assert_array_equal(np.array(mine.value), np.array(theirs.value))


@pytest.mark.parametrize("section", [HGQ, FIXED, IMP], ids=["hgq", "fixed", "imp"])
def test_an_interrupted_recipe_resumes_to_the_same_designs_and_each_is_exact_in_hardware(
    section, material, weights, tmp_path, rows
):
    chosen = config(**section)
    whole = compress(FLOAT, material, chosen, 3, weights, tmp_path / "whole")
    calls = []

    def interrupt(done: int, total: int, note: str = "") -> None:
        calls.append((done, total))
        if done >= total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(FLOAT, material, chosen, 3, weights, tmp_path / "halves", interrupt)
    halves = compress(FLOAT, material, chosen, 3, weights, tmp_path / "halves")
    equal(halves, whole)
    assert (tmp_path / "whole" / "trail.csv").read_text() == (tmp_path / "halves" / "trail.csv").read_text()
    assert calls == sorted(calls)
    assert len({c.name for c in whole}) == len(whole) == chosen.keep
    for one in whole:
        expected = one.model.predict(rows, batch_size=len(rows), verbose=0)
        np.testing.assert_array_equal(AdderGraph.from_model(one.model).predict(rows), expected)


LEARNED, NARROW = HgqNumbers(bits0=4), HgqNumbers(bits0=4, io_bits=3)


@pytest.mark.parametrize(
    ("searched", "section", "bits"),
    [
        (NARROW, {**HGQ, "epochs": 3}, 3),
        (LEARNED, {**HGQ, "epochs": 3}, None),
        (FixedNumbers(io_bits=3), {**HGQ, "epochs": 3}, None),
        (LEARNED, {**HGQ, "epochs": 3, "io_bits": 5}, 5),
        (NARROW, {**FIXED, "epochs": 1, "keep": 1}, 3),
        (FixedNumbers(io_bits=5), {**FIXED, "epochs": 1, "keep": 1}, 5),
        (LEARNED, {**FIXED, "epochs": 1, "keep": 1}, 16),
        (FixedNumbers(io_bits=5), {**IMP, "rounds": 1, "keep": 1, "io_bits": 7}, 7),
    ],
)
def test_the_width_of_the_input_is_that_of_the_recipe_or_of_the_search(
    searched, section, bits, material, weights, rows, tmp_path
):
    network = FLOAT.with_numbers(searched)
    for one in compress(network, material, config(**section), 3, weights, tmp_path):
        assert one.architecture.numbers.io_bits == bits
        first = next(layer for layer in one.model.layers if hasattr(layer, "iq"))
        codes = [len(np.unique(column)) for column in np.array(first.iq(rows)).T]
        assert max(codes) <= 2 ** (bits or 12) and (bits == 3 or max(codes) > 2**3)
        expected = one.model.predict(rows, batch_size=len(rows), verbose=0)
        np.testing.assert_array_equal(AdderGraph.from_model(one.model).predict(rows), expected)


def test_hgq_trades_accuracy_for_operations_along_its_trail(material, weights, tmp_path):
    compress(FLOAT, material, config(**HGQ), 3, weights, tmp_path)
    ebops = [float(row["ebops"]) for row in trail(tmp_path)]
    assert ebops[-1] < 0.7 * ebops[0]
    assert len(ebops) == 10


def test_hgq_reaches_a_target(material, weights, tmp_path):
    section = {**HGQ, "epochs": 40, "target": {"ebops": 300}, "beta": 1e-4, "keep": 1}
    made = compress(FLOAT, material, config(**section), 3, weights, tmp_path)
    assert 150 < made[0].log["ebops"] <= 300 * 1.02


def test_hgq_says_when_a_target_was_not_reached(material, weights, tmp_path):
    section = {**HGQ, "epochs": 2, "target": {"ebops": 1}}
    with pytest.raises(BudgetError, match=r"no epoch came down to the target of 1 EBOPs; the least was [\d,]+: give"):
        compress(FLOAT, material, config(**section), 3, weights, tmp_path)


def test_a_budget_that_no_design_meets_names_the_smallest(material, weights, tmp_path):
    section = {"recipe": "budget", "lut": 1, "epochs": 10, "batch_size": 64, "keep": 1}
    with pytest.raises(
        BudgetError, match=r"no design came down to 1 LUT, about 1 EBOPs .*; the least was [\d,]+: give"
    ):
        compress(FLOAT, material, config(**section), 3, weights, tmp_path)


def test_imp_removes_its_share_each_round_and_keeps_what_it_removed(material, weights, tmp_path):
    made = compress(FLOAT, material, config(**{**IMP, "keep": 4}), 3, weights, tmp_path)
    rows = trail(tmp_path)
    assert [row["point"] for row in rows] == [f"6-auto-round-{i}" for i in range(4)]
    kernels = [6 * 8, 8 * 3]
    alive = np.array(kernels)
    for row in rows[1:]:
        alive = alive - np.round(0.3 * alive).astype(int)
        assert float(row["sparsity"]) >= 1 - alive.sum() / sum(kernels) - 1e-9
    by_round = {c.name: c.model for c in made}
    last = by_round.get("6-auto-round-3")
    if last is not None:
        zeros = sum(int((np.array(layer.qkernel) == 0).sum()) for layer in last.layers if hasattr(layer, "qkernel"))
        assert zeros >= sum(kernels) - alive.sum()


def test_imp_over_folds_reports_mean_and_spread(material, weights, tmp_path):
    section = {**IMP, "rounds": 1, "folds": 2}
    compress(FLOAT, material, config(**section), 3, weights, tmp_path)
    rows = trail(tmp_path)
    assert len(rows) == 2
    assert all(float(row["accuracy_std"]) >= 0 for row in rows)


def test_no_recipe_needs_bits_from_the_search(material, weights, tmp_path):
    with pytest.raises(ConfigError, match=r"compress.recipe is 'none', but the search trained float networks"):
        compress(FLOAT, material, _none(), 3, weights, tmp_path)


def _none():
    raw = {"version": 1, "name": "x", "data": {"name": "jets-hlf"}, "compress": "none"}
    return Experiment.model_validate(raw).compress


def candidate(name: str, accuracy: float, ebops: float) -> Candidate:
    return Candidate(name, {"accuracy": accuracy, "ebops": ebops}, lambda: None, FLOAT)


FRONT = [
    candidate("best", 0.75, 9000),
    candidate("close", 0.7495, 8900),
    candidate("knee", 0.745, 2000),
    candidate("small", 0.73, 900),
    candidate("useless", 0.40, 10),
]


def names(count: int, at_goal: tuple[Candidate, ...] = ()) -> list[str]:
    return [c.name for c in choose(Outcome([], FRONT, at_goal), "accuracy", count)]


def test_the_choice_covers_the_front_best_first():
    assert names(1) == ["knee"]
    assert names(2) == ["knee", "small"]
    assert names(4) == ["best", "close", "knee", "small"]


def test_points_that_lost_too_much_are_taken_only_where_there_are_too_few():
    assert names(5) == names(9) == ["best", "close", "knee", "small", "useless"]


def test_the_best_point_at_the_goal_is_always_among_the_choice():
    assert names(1, (FRONT[3], FRONT[4])) == ["small"]
    assert "useless" in names(2, (FRONT[4],))


def test_fine_tuning_moves_weights_and_no_width(material, weights, tmp_path):
    section = {**HGQ, "epochs": 3, "keep": 1}
    made = {
        n: compress(FLOAT, material, config(**section, finetune_epochs=n), 3, weights, tmp_path / str(n))[0]
        for n in (0, 2)
    }
    assert made[0].name == made[2].name
    pairs = list(zip(made[0].model.trainable_variables, made[2].model.trainable_variables, strict=True))
    for before, after in pairs:
        same = np.array_equal(np.array(before.value), np.array(after.value))
        assert same == ("fixed_point_quantizer" in before.path), before.path
