"""What a sampler asks of the space and of the objectives is said when the file is read."""

from __future__ import annotations

from typing import get_args

import pytest

from weft.config import load, loads
from weft.config.sampler import SamplerName, choices_below
from weft.search.sampler import size_of
from weft.space.sampling import Space

from .test_config_sections import refuses

LISTS = "space: {blocks: [{depth: [1, 2], units: [4, 8]}], quantization: {mode: fixed, total_bits: [4, 6, lin]}}"
ENDLESS = "grid tries every value, and a range has no end of them; list values, or give a step"


def text(space: str, search: str) -> str:
    return f"version: 1\nname: a\ndata: {{name: jets-hlf}}\n{space}\nsearch: {search}"


@pytest.mark.parametrize("sampler", [name for name in get_args(SamplerName) if name != "cmaes"])
def test_every_sampler_is_known_by_name(sampler):
    assert loads(text(LISTS, f"{{sampler: {sampler}}}"), "e.yaml").search.sampler == sampler


def test_a_grid_over_a_continuous_range_is_refused_where_the_range_is_written():
    refuses(
        "data: {name: jets-hlf}\n"
        "space:\n  quantization: {mode: hgq, beta: [1e-6, 1e-4, log]}\n"
        "  optimizer: {learning_rate: [1e-3, 1e-2, lin]}\nsearch: {sampler: grid}",
        f"space.quantization.beta: {ENDLESS}",
        f"space.optimizer.learning_rate: {ENDLESS}",
    )
    stepped = "space: {optimizer: {learning_rate: {low: 1e-3, high: 9e-3, step: 2e-3}}}"
    assert loads(text(stepped, "{sampler: grid}"), "e.yaml").search.sampler == "grid"


def test_cmaes_needs_one_objective_and_a_range():
    head = "data: {name: jets-hlf}\nspace: {quantization: {mode: fixed}}\n"
    refuses(
        head + "search: {sampler: cmaes}",
        "search.sampler: cmaes takes one objective; name one, or take tpe, gp, nsga2 or nsga3 for several",
        "search.sampler: cmaes needs a range among the choices of the space; take tpe or bruteforce for lists",
    )
    ranged = text("space: {optimizer: {learning_rate: [1e-3, 1e-2, log]}}", "{sampler: cmaes, objectives: [accuracy]}")
    assert loads(ranged, "e.yaml").search.sampler == "cmaes"


def test_an_unknown_sampler_is_answered_with_the_nearest():
    refuses("data: {name: jets-hlf}\nsearch: {sampler: nsga4}", ".*search.sampler.*nsga4.*nsga.*")


def test_all_choices_of_a_space_are_found_and_listed():
    experiment = loads(text(LISTS, "{}"), "e.yaml")
    found = dict(choices_below(experiment.space))
    assert ("blocks", 0, "units") in found and ("quantization", "total_bits") in found
    distributions = Space(experiment.space, (16,), 5).distributions()
    names = {"block0.depth", "block0.units.0", "block0.units.1", "total_bits"}
    assert set(distributions) == names and size_of(distributions) == 2 * 2 * 2 * 3


def test_the_distributions_are_those_that_a_trial_asks_for():
    import optuna

    space = Space(load("jets-demo").space, (16,), 5)
    trial = optuna.create_study().ask()
    space.sample(trial)
    assert trial.distributions == space.distributions()
