"""Several recipes on one design: one after the other, side by side, and split into parts that run by themselves."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compression.conftest import FLOAT
from tests.compression.test_recipes import FIXED, HGQ, IMP, config, equal, trail
from weft.adder_graph import AdderGraph
from weft.compression.network import Network
from weft.compression.recipe import compress, compress_network
from weft.compression.single import parts
from weft.config import Experiment, loads
from weft.errors import ConfigError
from weft.quantize.kernels import kernels
from weft.space.model import build


def of(**section):
    return Experiment.model_validate(
        {"version": 1, "name": "x", "data": {"name": "jets-hlf"}, "compress": section}
    ).compress


PRUNING = {**IMP, "batch_size": 128, "rounds": 2, "epochs": 1, "warmup_epochs": 1, "fraction": 0.5, "keep": 1}
BITS = {**FIXED, "batch_size": 128, "epochs": 2, "precisions": [{"total_bits": 8}], "keep": 1}
SHORT = {**HGQ, "epochs": 4, "keep": 1}


def zeros(compressed) -> float:
    weights = [kernel.quantized() for kernel in kernels(compressed.model)]
    return float(sum((w == 0).sum() for w in weights) / sum(w.size for w in weights))


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(BITS, id="fixed"),
        pytest.param(SHORT, id="hgq", marks=pytest.mark.slow),
        pytest.param(
            {"recipe": "budget", "ebops": 900, "epochs": 10, "batch_size": 16}, id="budget", marks=pytest.mark.slow
        ),
        pytest.param({**PRUNING, "rounds": 1}, id="imp", marks=pytest.mark.slow),
    ],
)
def test_what_one_step_prunes_stays_pruned_in_the_next(last, material, weights, tmp_path, rows):
    first = {**PRUNING, "precisions": [{"total_bits": 12}]}
    (pruned,) = compress(FLOAT, material, config(**first), 3, weights, tmp_path / "alone")
    (made,) = compress(FLOAT, material, of(recipe="steps", steps=[first, last]), 3, weights, tmp_path / "steps")
    before, after = ([k.quantized() != 0 for k in kernels(one.model)] for one in (pruned, made))
    for mine, theirs in zip(after, before, strict=True):
        assert not (mine & ~theirs).any()
    assert zeros(made) >= zeros(pruned) > 0.2
    assert made.name.startswith(f"{pruned.name}-then-")
    expected = made.model.predict(rows, batch_size=len(rows), verbose=0)
    np.testing.assert_array_equal(AdderGraph.from_model(made.model).predict(rows), expected)
    steps = [float(row["step"]) for row in trail(tmp_path / "steps")]
    assert steps == sorted(steps) and set(steps) == {1.0, 2.0}


def test_every_design_that_a_step_keeps_goes_on(material, weights, tmp_path):
    section = of(recipe="steps", steps=[{**FIXED, "batch_size": 128, "epochs": 1}, {**BITS, "epochs": 1, "keep": 4}])
    made = compress(FLOAT, material, section, 3, weights, tmp_path)
    assert sorted(one.name for one in made) == ["6-auto-epoch-0-then-8-auto-epoch-0", "8-4-epoch-0-then-8-auto-epoch-0"]


def test_interrupted_steps_resume_to_the_same_designs(material, weights, tmp_path):
    section = of(recipe="steps", steps=[PRUNING, BITS])
    whole = compress(FLOAT, material, section, 3, weights, tmp_path / "whole")
    seen = []

    def interrupt(done: int, total: int, note: str = "") -> None:
        seen.append(done / total)
        if done > 0.7 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(FLOAT, material, section, 3, weights, tmp_path / "halves", interrupt)
    assert seen == sorted(seen)
    equal(compress(FLOAT, material, section, 3, weights, tmp_path / "halves"), whole)


def test_a_model_of_the_users_own_stays_as_it_is(material, tmp_path):
    model = build(FLOAT, 5)
    before = [array.copy() for array in model.get_weights()]
    section = of(recipe="steps", steps=[{**BITS, "epochs": 1}, {**BITS, "epochs": 1}])
    (made,) = compress_network(Network.of_model(model), material, section, 3, tmp_path)
    for one, two in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)
    assert made.name == "8-auto-epoch-0-then-8-auto-epoch-0"


@pytest.mark.parametrize(
    ("section", "count"),
    [(FIXED, 2), ({**FIXED, "epochs": 0}, 1), ({**IMP, "folds": 3}, 3), (HGQ, 1)],
    ids=["fixed", "untrained", "imp", "hgq"],
)
def test_trainings_that_do_not_depend_on_each_other_are_parts(section, count):
    assert parts(config(**section)) == count


@pytest.mark.parametrize("section", [{**FIXED, "epochs": 1}, {**PRUNING, "folds": 2}], ids=["fixed", "imp"])
def test_parts_in_any_order_leave_what_the_whole_recipe_goes_on_from(section, material, weights, tmp_path, monkeypatch):
    chosen = config(**section)
    whole = compress(FLOAT, material, chosen, 3, weights, tmp_path / "whole")
    for part in reversed(range(parts(chosen))):
        assert compress(FLOAT, material, chosen, 3, weights, tmp_path / "parts", part=part) == []
    assert not (tmp_path / "parts" / "trail.csv").exists()

    def no_epoch(*_):
        raise AssertionError("an epoch was trained again")

    monkeypatch.setattr("weft.train.engine.Engine.epoch", no_epoch)
    equal(compress(FLOAT, material, chosen, 3, weights, tmp_path / "parts"), whole)


def test_several_recipes_are_those_of_single_ones_under_their_names(material, weights, tmp_path):
    section = of(recipe="several", recipes={"bits": BITS, "pruned": PRUNING})
    made = compress(FLOAT, material, section, 3, weights, tmp_path / "several")
    alone = [
        one
        for name, recipe in {"bits": BITS, "pruned": PRUNING}.items()
        for one in compress(FLOAT, material, config(**recipe), 3, weights, tmp_path / name)
    ]
    assert [one.log for one in made] == [one.log for one in alone]
    assert [one.name.split("-", 1) for one in made] == [["bits", alone[0].name], ["pruned", alone[1].name]]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{recipe: steps, steps: [hgq]}", r"compress\.steps.*at least 2"),
        ("{recipe: steps, steps: [hgq, none]}", r"compress\.steps\.1.*'none'"),
        ("{recipe: steps, steps: [hgq, {recipe: steps, steps: [hgq, hgq]}]}", r"compress\.steps\.1.*'steps'"),
        ("{recipe: steps, steps: [imp, {recipe: fixed, warm_start: false}]}", r"steps\.1\.warm_start: must be true"),
        (
            "{recipe: steps, steps: [imp, {recipe: fixed, pretrain_epochs: 3}]}",
            r"steps\.1\.pretrain_epochs: must be 0 here: weights that were pruned would grow again",
        ),
        ("{recipe: several, recipes: {}}", r"compress\.recipes.*at least 1"),
        ("{recipe: several, recipes: {a-b: hgq}}", r"compress\.recipes"),
        ("{recipe: several, recipes: {a: {recipe: hgq, epoch: 3}}}", r"compress\.recipes\.a\.epoch.*epochs"),
        (
            "{recipe: several, recipes: {a: {recipe: hgq, metric: fidelity}}}",
            r"compress\.recipes\.a\.metric: 'fidelity'",
        ),
        (
            "{recipe: several, recipes: {a: {recipe: hgq, distil: {teacher: no.keras}}}}",
            r"compress\.recipes\.a\.distil\.teacher: there is no file .*no\.keras",
        ),
    ],
)
def test_nonsense_is_refused_with_its_place(section, message, tmp_path):
    from weft.config import resolve

    with pytest.raises(ConfigError, match=message):
        resolve(loads(f"version: 1\nname: x\ndata: {{name: jets-hlf}}\ncompress: {section}\n", "x.yaml"), tmp_path)


def test_a_teacher_of_one_of_several_recipes_becomes_absolute(tmp_path):
    from weft.config import dump, resolve

    (tmp_path / "t.keras").write_bytes(b"")
    text = "{recipe: several, recipes: {a: {recipe: steps, steps: [hgq, {recipe: fixed, distil: {teacher: t.keras}}]}}}"
    found = resolve(loads(f"version: 1\nname: x\ndata: {{name: jets-hlf}}\ncompress: {text}\n", "x.yaml"), tmp_path)
    assert found.compress.recipes["a"].steps[1].distil.teacher == str(tmp_path / "t.keras")
    assert loads(dump(found), "again").compress == found.compress


def test_named_recipes_stand_in_steps_and_lists():
    text = "{recipe: several, recipes: {a: dst, b: {recipe: steps, steps: [imp, cs]}}}"
    found = loads(f"version: 1\nname: x\ndata: {{name: jets-hlf}}\ncompress: {text}\n", "x.yaml").compress
    assert [one.recipe for one in found.recipes.values()] == ["fixed", "steps"]
    assert found.recipes["b"].steps[1].prune.method == "cs"
