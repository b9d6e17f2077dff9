"""Section `tune`: what is refused before the first trial, with its line, and what a combination becomes."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tune.helpers import LISTS, NUMBERS, WORDS, experiment
from weft.config import Experiment, Range, dump, loads, schema
from weft.config.tune import Combinations, TuneConfig, choices, count, impossible, path_of
from weft.errors import ConfigError

FIRST = 9
"""The line of the first parameter in what `experiment` reads."""


def refused(parameters: dict[str, str], **tune: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        experiment(parameters, **tune)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"compress.learning_rat": "[1e-3, 1e-2]"}, "unknown key; did you mean 'learning_rate'?"),
        ({'compress.layers."dense*".weigt.bits': "[4]"},
         "compress.layers.dense*.weigt: unknown key; did you mean 'weight'?"),
        ({"compress.precisions": "[1]"}, "unknown key; it belongs to recipe: fixed"),
        ({"compress.nonsense": "[1]"}, "unknown key; no key here has a similar name"),
        ({"compress.epochs.x": "[1]"}, "compress.epochs is 3, which has no part 'x'; set compress.epochs itself"),
        ({"compress.target.ebobs": "[100]"}, "unknown key; did you mean 'ebops'?"),
        ({"compress.prune.alpha": "[0.1]"}, "compress.prune.method: is missing; write one of"),
        ({"learning_rate": "[1e-3]"}, "only fields of 'compress' are tuned; did you mean 'compress.learning_rate'?"),
        ({"search.epochs": "[1, 2]"}, "only fields of 'compress' are tuned"),
        ({"comprss.bits0": "[4]"}, "only fields of 'compress' are tuned; did you mean 'compress'?"),
        ({"compress..bits0": "[4]"}, "is no path; write keys divided by dots, and quote a key that holds a dot"),
        ({"compress.bits0": "[0, 4]"}, "must be >= 1; got 0"),
        ({"compress.bits0": "[4.5, 8.5, lin]"}, "must be a whole number; got 4.5"),
        ({"compress.learning_rate": "[0, 1e-2, lin]"}, "must be > 0.0; got 0"),
        ({"compress.warm_start": "[maybe]"}, "must be true or false; got 'maybe'"),
        ({"compress.schedule.name": "[cosin]"}, "must be one of 'constant', 'cosine', 'restarts', 'plateau'"),
        ({"compress.schedule.warmup_epochs": "[0, 3]"}, "must be < epochs=3; got 3"),
        ({"compress.bits0": "[]"}, "needs at least 1 entry; got []"),
        ({"compress.bits0": "[4, 4]"}, "a value is listed twice in [4, 4]; list each value once"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_line_before_any_trial(parameters, said):
    lines = refused(parameters)
    assert all(line.startswith(f"e.yaml:{FIRST}: tune.parameters.{next(iter(parameters))}") for line in lines)
    assert any(said in line for line in lines)


def test_a_problem_is_put_at_the_parameter_that_it_is_about():
    assert refused({"compress.bits0": "[4, 99]", "compress.gamma": "[-1e-8, 1e-8, lin]"}) == [
        f"e.yaml:{FIRST}: tune.parameters.compress.bits0: must be <= 12; got 99",
        f"e.yaml:{FIRST + 1}: tune.parameters.compress.gamma: must be >= 0.0; got -1e-08",
    ]


def test_a_value_that_no_other_value_goes_with_is_refused_and_one_that_some_go_with_is_not():
    (line,) = refused({"compress.beta.from": "[1e-7, 1e-3]", "compress.beta.to": "[1e-6, 1e-4]"})
    assert line == (
        f"e.yaml:{FIRST}: tune.parameters.compress.beta.from: no combination with 0.001 is possible, such as: "
        "compress.beta: needs 0 < from < to; got from=0.001, to=1e-06"
    )
    experiment({"compress.beta.from": "[1e-7, 1e-5]", "compress.beta.to": "[1e-6, 1e-4]"})
    experiment({"compress.beta.from": "[1e-7, 1e-3, log]", "compress.beta.to": "[1e-6, 1e-4, log]"})


def test_a_word_that_takes_away_another_parameter_is_refused():
    (line,) = refused({"compress.recipe": "[hgq, fixed]", "compress.bits0": "[4, 5]"})
    assert "tune.parameters.compress.recipe: with fixed, compress.bits0: unknown key" in line


def test_a_parameter_inside_another_is_refused():
    (line,) = refused({"compress.beta": "[1e-6]", "compress.beta.from": "[1e-7]"})
    assert "tune.parameters.compress.beta.from: lies inside 'compress.beta', which is tuned as well" in line


def test_all_problems_are_told_at_once():
    assert len(refused({"compress.bits0": "[4]", "x.y": "[1]", "compress.": "[1]"}, objectives="[lut]")) == 3


def test_many_parameters_are_looked_through_without_trying_all_combinations():
    many = {f"compress.layers.a{i}.weight.bits": "[1, 2, 3, 4, 5, 6]" for i in range(6)}
    words = {"compress.schedule.name": "[cosine, constant, plateau]"}
    assert experiment({**many, **words}).tune is not None
    lines = refused({**many, **words, "compress.schedule.patience": "[3, 4]"})
    for line, word in zip(lines, ("cosine", "constant"), strict=True):
        assert f"tune.parameters.compress.schedule.name: with {word}, compress.schedule.patience: unknown key" in line
    (line,) = refused({**many, **words, "compress.layers.a1.weight.bits": "[1, 2, 3, 4, 5, 99]"})
    assert re.search(r"tune\.parameters\.compress\.layers\.a1\.weight\.bits: must be <= \d+; got 99$", line)


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        ({"sampler": "grid"}, "grid tries every value, and a range has no end of them; list values, or give a step"),
        ({"sampler": "bruteforce"}, "bruteforce tries every value, and a range has no end of them"),
        ({"sampler": "cmaes"}, "tune.sampler: cmaes takes one objective; name one, or take tpe, gp, nsga2 or nsga3"),
        ({"sampler": "anneal"}, "must be 'grid', 'random', 'tpe', 'cmaes', 'gp', 'nsga2', 'nsga3', 'qmc' or"),
        ({"objectives": "[accuracy, accuracy]"}, "an objective is listed twice"),
        ({"objectives": "[lut]"}, "['lut'] holds no metric, so the smallest network would win"),
        ({"objectives": "[acuracy]"}, "unknown objective 'acuracy'; did you mean 'accuracy'?"),
        ({"objectives": "[mse]"}, "'mse' is no metric of a classification task"),
        ({"constraints": '{lut: "< many"}'}, "cannot read the constraint '< many'"),
        ({"constraints": '{mse: "< 1"}'}, "'mse' is no metric of a classification task"),
        ({"constraints": '{latency_ns: "<= 1"}'}, "tune.constraints.latency_ns: "),
        ({"trials": "0"}, "tune.trials: must be >= 1; got 0"),
        ({"budget": "3"}, "tune.budget: unknown key"),
    ],
)  # fmt: skip
def test_the_rest_of_the_section_is_checked_as_well(tune, said):
    assert any(said in line for line in refused({"compress.learning_rate": "[1e-3, 1e-1, log]"}, **tune))


def test_cmaes_needs_a_number_to_turn():
    lines = refused(LISTS, sampler="cmaes", objectives="[accuracy]")
    assert lines[0].endswith("cmaes needs a range among the parameters; take tpe or bruteforce for lists")


def test_a_range_of_a_field_that_takes_fractions_takes_fractions():
    made = experiment({**NUMBERS, "compress.gamma": "[0, 1, lin]"})
    known = choices(made, made.tune)
    assert known["compress.gamma"] == Range(low=0.0, high=1.0) and isinstance(known["compress.gamma"].low, float)
    assert known["compress.bits0"] == Range(low=2, high=8) and isinstance(known["compress.bits0"].low, int)
    assert [count(choice) for choice in known.values()] == [None, 7, None]


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters='"\n'), min_size=1), min_size=1, max_size=4))
def test_any_key_can_be_written_in_quotes(parts):
    assert path_of(".".join(f'"{part}"' for part in parts)) == tuple(parts)


def test_a_combination_becomes_the_experiment_that_a_user_would_have_written():
    text = 'compress: {recipe: hgq, epochs: 3, beta: {from: 1e-6, to: 1e-3}, layers: {"out*": {weight: {bits: 4}}}}'
    written = loads(f"version: 1\nname: small\ndata: {{name: jets-hlf}}\n{text}\n")
    names = {"compress.beta.from": 1e-6, "compress.beta.to": 1e-3, 'compress.layers."out*".weight.bits': 4}
    tuned = experiment({name: f"[{value}]" for name, value in names.items()}).tuned(names)
    assert tuned == written
    assert loads(dump(tuned)) == tuned


def test_another_variant_of_a_section_keeps_what_it_shares_and_drops_the_rest():
    made = loads(
        "version: 1\nname: x\ndata: {name: jets-hlf}\n"
        "compress: {recipe: hgq, epochs: 7, gamma: 1e-3, schedule: {name: cosine, final_fraction: 0.1}}\n"
        "tune: {parameters: {compress.recipe: [hgq, fixed], compress.schedule.name: [cosine, constant]}}\n"
    )
    tuned = made.tuned({"compress.recipe": "fixed", "compress.schedule.name": "constant"})
    assert (tuned.compress.recipe, tuned.compress.epochs, tuned.compress.schedule.name) == ("fixed", 7, "constant")
    kept = made.tuned({"compress.recipe": "hgq", "compress.schedule.name": "cosine"})
    assert (kept.compress.gamma, kept.compress.schedule.final_fraction) == (1e-3, 0.1)


def test_a_named_recipe_is_no_value_since_its_fields_would_be_those_of_the_section():
    (line,) = refused({"compress.recipe": "[hgq, dst]"})
    assert "'dst' is read as 'fixed' with fields of its own; tune those fields instead" in line


def test_an_invalid_combination_names_everything_that_is_wrong_with_it():
    made = experiment(WORDS)
    with pytest.raises(
        ConfigError, match=r"compress\.gamma: must be >= 0\.0; got -1\.0; compress\.bits0: must be >= 1; got 0"
    ):
        made.tuned({"compress.bits0": 0, "compress.gamma": -1.0})


@given(st.sampled_from([1e-3, 1e-2]), st.sampled_from([4, 5, 6]))
def test_every_combination_of_valid_values_is_valid_and_leaves_the_rest_alone(rate, bits):
    made = experiment(LISTS)
    tuned = made.tuned({"compress.learning_rate": rate, "compress.bits0": bits})
    assert tuned.tune is None
    assert tuned.compress == made.compress.model_copy(update={"learning_rate": rate, "bits0": bits})
    assert tuned.model_copy(update={"compress": made.compress, "tune": made.tune}) == made


@given(
    st.lists(st.sampled_from([-1, 0, 1, 4, 32, 33]), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from([1e-8, 1e-6, 1e-4]), min_size=1, unique=True),
    st.lists(st.sampled_from([1e-7, 1e-5, 1e-3]), min_size=1, unique=True),
)
def test_what_is_refused_is_exactly_what_no_combination_has(bits, low, high):
    """Against all combinations, each read from a file of its own."""
    base = experiment(LISTS)
    values = {"compress.bits0": bits, "compress.beta.from": low, "compress.beta.to": high}

    def valid(chosen: dict) -> bool:
        beta = f"{{from: {chosen['compress.beta.from']}, to: {chosen['compress.beta.to']}}}"
        section = f"compress: {{recipe: hgq, epochs: 3, bits0: {chosen['compress.bits0']}, beta: {beta}}}"
        try:
            loads(f"version: 1\nname: x\ndata: {{name: jets-hlf}}\n{section}\n")
        except ConfigError:
            return False
        return True

    combinations = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    fine = [chosen for chosen in combinations if valid(chosen)]
    hopeless = any(all(chosen[name] != value for chosen in fine) for name, those in values.items() for value in those)
    tune = TuneConfig.model_validate({"parameters": values})
    assert bool(impossible(base, tune)) == hopeless
    if not hopeless:
        assert all(not Combinations(base).problems(chosen) for chosen in fine)


def test_the_section_is_in_the_schema_with_every_way_to_write_a_choice():
    ways = schema()["$defs"]["TuneConfig"]["properties"]["parameters"]["additionalProperties"]["anyOf"]
    kinds = {item["type"] for item in ways[0]["anyOf"]}
    assert kinds == {"boolean", "integer", "number", "string"}
    assert any(way.get("prefixItems") for way in ways)


def test_the_section_survives_the_round_trip():
    made = experiment({**WORDS, "compress.warm_start": "[true, false]"}, constraints='{ebops: "<= 100"}')
    assert loads(dump(made)) == made
    assert Experiment.model_validate(json.loads(made.model_dump_json(by_alias=True))) == made
