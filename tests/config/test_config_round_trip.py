"""What is written is read back as the same experiment, however it was made."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from weft.config import Experiment, dump, load, loads, presets
from weft.objectives import COSTS

positive = st.floats(1e-9, 1e3)
rates = st.floats(0, 0.9)
seeds = st.integers(0, 2**31)
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=10)


def some(**fields):
    """A mapping with any of the given fields."""
    return st.fixed_dictionaries({}, optional=fields)


def choice(values):
    """A scalar, a list of different values, or a range."""
    listed = st.lists(values, min_size=1, max_size=3, unique=True)
    ranges = st.tuples(values, values).filter(lambda pair: pair[0] != pair[1]).map(sorted)
    return st.one_of(
        values,
        listed,
        ranges.map(lambda pair: [*pair, "lin"]),
        ranges.filter(lambda pair: pair[0] > 0).map(lambda pair: {"low": pair[0], "high": pair[1], "log": True}),
    )


def word(*known):
    return st.lists(st.sampled_from(known), min_size=1, unique=True) | st.sampled_from(known)


widths = st.integers(1, 256)
block = some(
    type=st.just("mlp"),
    depth=st.lists(st.integers(1, 3), min_size=1, unique=True),
    units=choice(widths) | st.lists(st.lists(widths, min_size=1, unique=True), min_size=3, max_size=5),
    activation=word("relu", "tanh", "sigmoid", "leaky_relu", "none"),
    normalization=word("none", "batch"),
    dropout=choice(rates),
    l1=choice(rates),
)
quantization = st.one_of(
    st.sampled_from(["float", "fixed", "hgq"]),
    st.fixed_dictionaries({"mode": st.just("float")}, optional={"cost_bits": st.integers(2, 24)}),
    st.fixed_dictionaries(
        {"mode": st.just("fixed"), "total_bits": choice(st.integers(8, 24))},
        optional={"integer_bits": st.integers(-8, 8) | st.just("auto"), "io_bits": st.integers(1, 24)},
    ),
    some(beta=choice(positive), bits0=st.integers(1, 12)),
)
schedule = st.one_of(
    st.sampled_from(["constant", "cosine", "plateau"]),
    st.fixed_dictionaries({"name": st.just("cosine")}, optional={"final_fraction": rates, "warmup_epochs": st.just(1)}),
    st.fixed_dictionaries(
        {"name": st.just("restarts"), "period_epochs": st.just(1)}, optional={"factor": st.just(2.0)}
    ),
)
training = {
    "epochs": st.integers(2, 500),
    "batch_size": st.integers(1, 4096),
    "schedule": schedule,
    "early_stopping": st.none() | st.fixed_dictionaries({"patience": st.integers(1, 9)}),
    "metric": st.sampled_from(["auto", "accuracy", "auc"]),
}
constraints = st.dictionaries(
    st.sampled_from(["lut", "ff", "ebops"]), positive.map(lambda x: f"<= {x}") | st.just("> 3"), max_size=2
)
search = some(
    **training,
    sampler=st.sampled_from(["nsga2", "random", "tpe"]),
    objectives=st.lists(st.sampled_from(COSTS), unique=True).map(lambda costs: ["accuracy", *costs]),
    constraints=constraints,
    workers=st.integers(1, 9) | st.just("auto"),
    seed=seeds,
    baselines=st.lists(
        st.fixed_dictionaries({"units": st.lists(widths, min_size=1)}, optional={"l1": rates}), max_size=2
    ),
    timeout_minutes=st.none() | positive,
)
precisions = st.lists(
    st.fixed_dictionaries({"total_bits": st.integers(4, 24)}, optional={"integer_bits": st.integers(-4, 4)}), min_size=1
)
compress = st.one_of(
    st.sampled_from(["none", "hgq", "fixed", "imp"]),
    some(
        **training,
        beta=positive | positive.map(lambda x: {"from": x, "to": 2 * x}),
        target=st.none() | st.fixed_dictionaries({"ebops": st.integers(1, 10**6)}),
    ),
    st.fixed_dictionaries({"recipe": st.just("fixed")}, optional={**training, "precisions": precisions}),
    st.fixed_dictionaries(
        {"recipe": st.just("imp")}, optional={**training, "precisions": precisions, "fraction": st.just(0.5)}
    ),
)
data = st.one_of(
    st.fixed_dictionaries({"name": st.sampled_from(["jets-hlf", "jets-constituents"])}, optional={"seed": seeds}),
    st.fixed_dictionaries(
        {"files": st.fixed_dictionaries({"all": st.just("a.csv") | st.just({"x": "x.npy", "y": "y.npy"})})},
        optional={"label": words, "features": st.lists(words, min_size=1), "class_weights": st.just([1.0, 2.0])},
    ),
)
experiments = st.fixed_dictionaries(
    {"version": st.just(1), "name": st.just("a"), "data": data},
    optional={
        "space": some(blocks=st.lists(block, min_size=1, max_size=2), quantization=quantization),
        "search": search,
        "select": some(rule=st.sampled_from(["best_metric", "best_accuracy", "knee"]), constraints=constraints),
        "compress": compress,
        "target": some(clock_period_ns=positive, budget=some(lut=st.integers(1, 1000), ii_cycles=st.just(1))),
        "tracking": some(mlflow=st.just(True), uri=st.none()),
    },
)


@given(experiments)
def test_an_experiment_survives_yaml_json_and_pickle(raw):
    experiment = Experiment.model_validate(raw)
    assert loads(dump(experiment)) == experiment
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    assert Experiment.model_validate(experiment.model_dump()) == experiment
    assert pickle.loads(pickle.dumps(experiment)) == experiment


def test_every_preset_survives_and_dumps_every_default():
    for name in presets():
        experiment = load(name)
        text = dump(experiment)
        assert loads(text) == experiment
        assert "synth_timeout_minutes: 20.0" in text
