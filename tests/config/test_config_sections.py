"""What the fields of a section, and the sections of a file, must agree on."""

import re

import pytest

from weft.config import BetaRamp, HgqCompression, Precision, SelectConfig, TargetConfig, loads
from weft.errors import ConfigError

HEAD = "version: 1\nname: a\n"
JETS = "data: {name: jets-hlf}\n"


def refuses(text: str, *messages: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(HEAD + text, "e.yaml")
    found = str(caught.value).splitlines()
    assert len(found) == len(messages), found
    for line, message in zip(found, messages, strict=True):
        assert re.fullmatch(r"e.yaml:\d+: " + message, line), line


def accepts(text: str):
    return loads(HEAD + text, "e.yaml")


# -- data


def test_data_have_exactly_one_source():
    refuses("data: {}", "data: needs exactly one of name, files and openml; got none of them")
    refuses("data: {name: jets-hlf, openml: 3}", "data: needs exactly one .*; got name and openml")
    assert accepts("data: {openml: 42468}").data.openml == 42468
    assert accepts("data: {name: 'openml:42468'}").data.name == "openml:42468"


def test_an_unknown_data_set_is_answered_with_the_nearest():
    refuses(
        "data: {name: jets-hfl}", r"data.name: unknown data set 'jets-hfl'; did you mean 'jets-hlf'\? \(known: .*\)"
    )
    refuses(
        "data: {name: 'openml:x'}", r"data.name: unknown data set 'openml:x' \(known: .*openml:<number>; your own .*"
    )


def test_files_are_one_for_all_or_one_for_each_split():
    refuses("data: {files: {}}", r"data.files: needs 'all' \(.*\) or 'train' \(.*\)")
    refuses("data: {files: {test: t.csv}}", r"data.files: needs 'all' .*")
    refuses(
        "data: {files: {all: a.csv, train: t.csv, test: t.csv}}",
        "data.files.train: 'all' already holds every row, so it excludes train and test",
    )
    refuses("data: {files: {all: {x: a.npy}}}", "data.files.all.y: is missing; it has no default")
    refuses("data: {files: {all: [a.npy]}}", r"data.files.all: must be a single value or a mapping; got \['a.npy'\]")
    refuses("data: {files: {all: 5}}", "data.files.all: must be a path; got 5")


def test_options_of_one_data_set_are_refused_for_another():
    refuses(
        "data: {name: jets-hlf, constituents: 8, window: {start: 0, length: 5}, shots: 9}",
        "data.constituents: belongs to the data set jets-constituents; this one is jets-hlf; remove it",
        "data.window: belongs to the data set qubit-readout; this one is jets-hlf; remove it",
        "data.shots: belongs to the data set qubit-readout; this one is jets-hlf; remove it",
    )
    refuses(
        "data: {files: {all: a}, shots: 1}", "data.shots: belongs to the data set qubit-readout; this one is files; .*"
    )
    refuses("data: {openml: 3, shots: 1}", "data.shots: .*; this one is openml:3; remove it")
    refuses(
        "data: {name: jets-hlf, label: y, sample_weight: w}",
        "data.label: is fixed in the data set jets-hlf; it belongs to files and openml; remove it",
        "data.sample_weight: is fixed in the data set jets-hlf; .*",
    )
    refuses("data: {name: jets-constituents, constituents: 9}", "data.constituents: must be 8 or 16; got 9")


def test_the_window_lies_in_the_trace():
    assert accepts("data: {name: qubit-readout, window: {start: 370, length: 400}}").data.window.start == 370
    refuses(
        "data: {name: qubit-readout, window: {start: 371, length: 400}}",
        r"data.window: the window ends at start \+ length = 771, after the trace of 770 clock cycles; lower .*",
    )


def test_a_stated_task_fits_the_data_set():
    refuses(
        "data: {name: qubit-readout, task: regression}",
        "data.task: qubit-readout is a binary task; got regression; remove it or write binary",
    )


def test_fractions_leave_rows_to_train_on():
    refuses(
        "data: {name: jets-hlf, validation_fraction: 0.5, test_fraction: 0.5}",
        r"data.test_fraction: validation_fraction \+ test_fraction = 1 leaves no rows to train on; keep it < 1",
    )


def test_class_weights_are_words_or_positive_numbers_of_a_classification():
    assert accepts("data: {name: jets-hlf, class_weights: [1, 2.5]}").data.class_weights == [1.0, 2.5]
    refuses("data: {name: jets-hlf, class_weights: [1, 0]}", r"data.class_weights.1: must be > 0.0; got 0")
    refuses("data: {name: jets-hlf, class_weights: []}", r"data.class_weights: needs at least 1 entry; got \[\]")
    refuses(
        "data: {name: jets-hlf, class_weights: balance}",
        "data.class_weights: must be 'none' or 'balanced'; got 'balance'; did you mean 'balanced'?".replace("?", r"\?"),
    )
    refuses(
        "data: {files: {all: a}, task: regression, class_weights: balanced}\nsearch: {objectives: [mse]}",
        "data.class_weights: a regression has no classes; remove it",
    )


# -- space


def test_every_layer_has_choices_of_its_width():
    block = accepts(JETS + "space: {blocks: [{depth: [1, 3], units: [[16, 32], [8, 64, log], 5]}]}").space.blocks[0]
    assert [choice.bounds for choice in block.units] == [(16, 32), (8, 64), (5, 5)]
    refuses(
        JETS + "space: {blocks: [{depth: [1, 3], units: [[16, 32], [8]]}]}",
        "space.blocks.0.units: lists choices for 2 layers, but depth goes up to 3; list one more for each .*",
    )


def test_integer_bits_never_exceed_total_bits():
    assert Precision(total_bits=4, integer_bits=-3).integer_bits == -3
    assert Precision(total_bits=4, integer_bits=4).integer_bits == 4
    refuses(
        JETS + "space: {quantization: {mode: fixed, total_bits: [8, 4], integer_bits: 5}}",
        "space.quantization.integer_bits: must be <= total_bits, which counts the sign and goes down to 4; got 5",
    )
    refuses(
        JETS + "compress: {recipe: imp, precisions: [{total_bits: 8}, {total_bits: 4, integer_bits: 5}]}",
        "compress.precisions.1.integer_bits: must be <= total_bits=4, which counts the sign; got 5",
    )


# -- training, search, select, compress


def test_schedules_fit_the_epochs():
    refuses(
        JETS + "search: {epochs: 5, schedule: {name: cosine, warmup_epochs: 5}}",
        "search.schedule.warmup_epochs: must be < epochs=5; got 5",
    )
    refuses(
        JETS + "search: {epochs: 5, schedule: {name: restarts, period_epochs: 5}}",
        r"search.schedule.period_epochs: must be < epochs=5, or nothing restarts \(that is .*\); got 5",
    )
    accepts(JETS + "search: {epochs: 5, schedule: {name: restarts, period_epochs: 2, factor: 2.0}}")


def test_a_search_is_judged_by_a_metric():
    refuses(
        JETS + "search: {objectives: [lut, ff]}",
        r"search.objectives: \['lut', 'ff'\] holds no metric, so the smallest network would win; add one of .*",
    )
    accepts(JETS + "search: {objectives: [lut, ff], constraints: {accuracy: '>= 0.7'}}")


def test_objectives_are_known_and_listed_once():
    refuses(
        JETS + "search: {objectives: [acuracy, lut]}",
        r"search.objectives.0: unknown objective 'acuracy'; did you mean 'accuracy'\?",
    )
    refuses(
        JETS + "search: {objectives: [accuracy, zzz]}",
        "search.objectives.1: unknown objective 'zzz'; the objectives are accuracy, .*, parameters, and .*",
    )
    refuses(
        JETS + "search: {objectives: [accuracy, lut, lut]}", "search.objectives: an objective is listed twice in .*"
    )


def test_baselines_fit_the_search():
    refuses(
        JETS + "search: {trials: 1, baselines: [{units: [4]}, {units: [8]}]}",
        "search.baselines: lists 2 networks, more than trials=1",
    )
    refuses(
        JETS + "search: {baselines: [{units: [4]}, {units: [8], total_bits: 8}]}",
        "search.baselines.1.total_bits: belongs to quantization mode fixed; space.quantization.mode is hgq; remove it",
    )
    refuses(
        JETS + "space: {quantization: float}\nsearch: {baselines: [{units: [8], beta: 1e-5}]}",
        "search.baselines.0.beta: belongs to quantization mode hgq; space.quantization.mode is float; remove it",
    )
    refuses(JETS + "search: {baselines: [{units: []}]}", r"search.baselines.0.units: needs at least 1 entry; got \[\]")


def test_constraints_are_readable_and_reachable():
    refuses(
        JETS + "search: {constraints: {lut: 10000, luts: '<= 3'}}",
        "search.constraints.lut: cannot read the constraint 10000; write an operator .*",
        r"search.constraints.luts: unknown objective 'luts'; did you mean 'lut'\?",
    )
    refuses(
        JETS + "select: {constraints: {accuracy: '>= 70'}}",
        "select.constraints.accuracy: accuracy is a fraction between 0 and 1; got the bound 70; divide percentages .*",
    )


@pytest.mark.parametrize("section", ["search", "select"])
def test_a_latency_below_one_clock_period_is_refused(section):
    refuses(
        JETS + f"{section}: {{constraints: {{latency_ns: '<= 4'}}}}",
        f"{section}.constraints.latency_ns: no design can meet 4 ns, less than one clock period of 5 ns; raise .*",
    )
    accepts(JETS + f"{section}: {{constraints: {{latency_ns: '<= 4'}}}}\ntarget: {{clock_period_ns: 4}}")
    accepts(JETS + f"{section}: {{constraints: {{latency_ns: '>= 20'}}}}")


REGRESSION = "files: {all: a}, task: regression"


@pytest.mark.parametrize(
    ("data", "section", "message"),
    [
        (
            "name: jets-hlf",
            "search: {objectives: [mse]}",
            "search.objectives.0: 'mse' is no metric of a classification task; .*",
        ),
        (
            "name: jets-hlf",
            "search: {constraints: {fidelity: '> 0.9'}}",
            "search.constraints.fidelity: .* is no metric .*",
        ),
        (
            "name: jets-hlf",
            "select: {constraints: {mse: '< 0.9'}}",
            "select.constraints.mse: .* no metric .*",
        ),
        ("name: jets-hlf", "search: {metric: mse}", "search.metric: 'mse' .* task; use accuracy or auc or efficiency"),
        ("name: jets-hlf", "compress: {metric: fidelity}", "compress.metric: 'fidelity' is no metric of a class.*"),
        ("name: jets-hlf", "compress: {loss: bce}", "compress.loss: 'bce' is no loss of a .*; use cross_entropy"),
        ("name: qubit-readout", "search: {loss: mse}", "search.loss: 'mse' is no loss of a binary task; use bce"),
        (
            REGRESSION,
            "search: {objectives: [mse], loss: bce}",
            "search.loss: 'bce' .* regression task; use mse or huber",
        ),
        (REGRESSION, "", "search.objectives.0: 'accuracy' is no metric of a regression task; use mse"),
    ],
)
def test_metrics_and_losses_fit_the_task(data, section, message):
    refuses(f"data: {{{data}}}\n{section}", message)


def test_an_undecided_task_accepts_every_metric():
    accepts("data: {files: {all: a}}\nsearch: {objectives: [mse, lut], loss: huber}")
    accepts("data: {name: qubit-readout}\nsearch: {objectives: [fidelity, lut], metric: efficiency, loss: bce}")
    accepts("data: {name: jets-hlf}\ncompress: none")


def test_best_accuracy_is_another_name_of_best_metric():
    assert SelectConfig.model_validate({"rule": "best_accuracy"}).rule == "best_metric"


def test_the_cheapest_is_measured_by_a_cost():
    refuses(
        JETS + "select: {rule: cheapest, cost: accuracy}",
        "select.cost: 'accuracy' is a metric, not a cost; use one of bops, .*, parameters",
    )


def test_the_price_of_bits_rises_from_above_zero():
    refuses(
        JETS + "compress: {beta: {from: 1e-4, to: 1e-4}}", "compress.beta: needs 0 < from < to; got from=0.0001, .*"
    )
    refuses(JETS + "compress: {beta: {from: 0, to: 1}}", "compress.beta.from: must be > 0.0; got 0")
    ramp = accepts(JETS).compress
    assert (ramp.beta_start, ramp.beta_end) == (1e-7, 1e-4)
    assert ramp.beta == BetaRamp(from_=1e-7, to=1e-4)
    constant = HgqCompression(beta=2e-6)
    assert constant.beta_start == constant.beta_end == 2e-6


# -- target, tracking


def test_a_budget_is_within_the_part_and_the_clock():
    refuses(
        JETS + "target: {part: xc7z020clg400-1, budget: {lut: 60000, dsp: 220, latency_ns: 2}}",
        "target.budget.lut: the part xc7z020clg400-1 has only 53200; got 60000",
        "target.budget.latency_ns: no design can meet 2 ns, less than one clock period of 5 ns; .*",
    )


def test_the_limits_of_a_budget_are_those_that_are_set():
    target = TargetConfig.model_validate({"budget": {"lut": 100, "latency_ns": 20.0}})
    assert target.budget.limits() == {"lut": 100, "latency_ns": 20.0}
    assert TargetConfig().budget.limits() == {}


def test_the_capacity_is_that_of_the_device():
    assert TargetConfig().capacity.lut == 1_728_000
    assert TargetConfig(part="XCZU49DR-ffvf1760-2-e").capacity.uram == 80


def test_an_unknown_part_is_answered_with_the_nearest():
    refuses(JETS + "target: {part: xcvu13-flga2577-2-e}", r"target.part: unknown part '.*'; did you mean 'xcvu13p'\?")
    known = "the devices weft knows are xcvu13p, .*; the boards are zcu102, .*"
    refuses(JETS + "target: {part: 10AX115}", f"target.part: unknown part '10AX115'; {known}")


def test_a_tracking_store_is_used():
    refuses(JETS + "tracking: {uri: x}", "tracking.uri: is set, but mlflow is false, so nothing would be tracked; .*")


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("{order: [lut]}", "select.order: belongs to the rule lexicographic; rule is best_metric; remove it"),
        (
            "{rule: knee, tolerances: {lut: 3}}",
            "select.tolerances: belongs to the rule lexicographic; rule is knee; remove it",
        ),
        ("{rule: knee, weights: {lut: 1}}", "select.weights: belongs to the rule weighted; rule is knee; remove it"),
        ("{rule: weighted, weights: {lut: 0}}", "select.weights: are all 0, so that nothing counts; give one .*"),
        ("{rule: weighted, weights: {lut: -1}}", "select.weights.lut: must be >= 0.*"),
        ("{rule: lexicographic, order: [lut, lut]}", "select.order: an objective is listed twice in .*"),
        (
            "{rule: lexicographic, order: [lut], tolerances: {accuracy: 1}}",
            r"select.tolerances.accuracy: is not in order: \['lut'\]; add it there",
        ),
        ("{rule: weighted, weights: {mse: 1}}", "select.weights.mse: 'mse' is no metric of a classification task; .*"),
        ("{rule: lexicographic, order: [mse]}", "select.order.0: 'mse' is no metric of a classification task; use .*"),
    ],
)
def test_a_rule_of_selection_has_its_own_fields_and_no_others(select, message):
    refuses(JETS + f"select: {select}", message)
