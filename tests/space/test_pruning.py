"""Pruning as an axis of the space: what is drawn, the stages of short trainings, and what is gone when one ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config import BaselineConfig, Experiment, loads
from weft.errors import ConfigError
from weft.prune import Method, methods
from weft.search.evaluate import evaluate, payload
from weft.search.job import Job
from weft.space.architecture import Architecture, Pruning, parse
from weft.space.model import build, export_weights
from weft.space.sampling import Space

STEERED = {"magnitude", "mdmm", "pdp", "wanda"}


def experiment(pruning, mode="fixed", **search):
    return Experiment.model_validate(
        {
            "version": 1,
            "name": "x",
            "data": {"name": "jets-hlf", "rows": {"train": 300, "validation": 100, "test": 100}},
            "space": {
                "blocks": [{"type": "mlp", "units": [[8]], "depth": 1}],
                "quantization": {"mode": mode},
                "pruning": pruning,
            },
            "search": {"epochs": 8, "batch_size": 64, **search},
        }
    )


def job(given, pruning, tmp_path, epochs=8):
    space = Space(given.space, (16,), 5)
    (genotype,) = space.baselines([BaselineConfig(units=[8], learning_rate=3e-3)])
    genotype = {**genotype, "pruning": pruning}
    return Job(0, "k", genotype, 1, 0, 1, epochs, str(tmp_path), payload(given, ("lut", "ebops")))


def test_methods_that_take_a_share_are_those_that_the_docs_name():
    assert {name for name, kind in methods().items() if kind.steered()} == STEERED


@given(st.sampled_from(sorted(STEERED)), st.floats(0.05, 0.95))
def test_a_share_reaches_the_method(name, share):
    made = Pruning(method=name, sparsity=share).made()
    assert share in (getattr(made, "sparsity", None), getattr(made, "fraction", None))


@given(st.sampled_from(sorted(methods())), st.integers(3, 100))
def test_stages_fill_the_training_and_leave_time_after_pruning(name, epochs):
    sparsity = 0.5 if methods()[name].steered() else None
    stages = Pruning(method=name, sparsity=sparsity).stages(epochs)
    assert stages.total_epochs == epochs
    assert stages.finetune_epochs == max(epochs // 4, 1)
    between = methods()[name].between_rounds is not Method.between_rounds
    assert stages.rounds == (2 if between else 1)


def test_a_share_that_a_method_does_not_read_makes_no_other_network():
    space = Space(experiment({"method": ["none", "dst", "pdp"], "sparsity": [0.2, 0.8]}).space, (16,), 5)
    drawn = {
        (method, share): space.key(space._drawn(_take({"pruning.method": method, "pruning.sparsity": share})))
        for method in ("none", "dst", "pdp")
        for share in (0.2, 0.8)
    }
    assert drawn["none", 0.2] == drawn["none", 0.8]
    assert drawn["dst", 0.2] == drawn["dst", 0.8]
    assert drawn["pdp", 0.2] != drawn["pdp", 0.8]
    assert len(set(drawn.values())) == 4


@pytest.mark.parametrize("method", ["none", "dst", "pdp"])
def test_a_drawn_network_comes_back_from_its_parameters(method):
    space = Space(experiment({"method": ["none", "dst", "pdp"], "sparsity": [0.2, 0.9, "lin"]}).space, (16,), 5)
    genotype = space._drawn(_take({"pruning.method": method, "pruning.sparsity": 0.37}))
    params = space.params_of(genotype)
    assert space.key(space._drawn(_take(params))) == space.key(genotype)
    assert {"pruning.method", "pruning.sparsity"} <= params.keys() == space.distributions().keys()


def test_a_network_of_another_share_lies_outside():
    space = Space(experiment({"method": ["pdp"], "sparsity": [0.2, 0.8]}).space, (16,), 5)
    genotype = space._drawn(_take({})) | {"pruning": {"method": "pdp", "sparsity": 0.5}}
    with pytest.raises(ConfigError, match=r"pdp 0\.5.*pruning\.sparsity = 0\.5 lies outside the space \(one of 0\.2"):
        space.params_of(genotype)


def _take(values):
    return lambda name, choice: values.get(name, choice.bounds[0])


def test_networks_without_pruning_keep_their_keys():
    plain = Architecture(input_shape=(16,), n_outputs=5, blocks=())
    assert "pruning" not in plain.model_dump(mode="json")
    assert parse(plain.model_dump(mode="json")) == plain


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (
            {"epochs": 2},
            r"search\.epochs: space\.pruning takes trainings of 3 epochs at least, and here are some of 2; raise "
            r"search\.epochs, or leave space\.pruning out",
        ),
        (
            {"epochs": 6, "halving": {"rungs": 2, "factor": 3}},
            r"search\.halving: space\.pruning takes trainings of 3 epochs at least, and here are some of 2",
        ),
        (
            {"final": {"epochs": 1}},
            r"search\.final\.epochs: space\.pruning takes trainings of 3 epochs at least; got 1",
        ),
    ],
)
def test_trainings_too_short_to_prune_in_are_refused(search, message):
    import yaml

    raw = {
        "version": 1,
        "name": "x",
        "data": {"name": "jets-hlf"},
        "space": {"pruning": {"method": ["pdp"]}},
        "search": {"epochs": 8, **search},
    }
    with pytest.raises(ConfigError, match=message):
        loads(yaml.safe_dump(raw), "x.yaml")


def test_an_unknown_method_is_refused_before_anything_runs():
    with pytest.raises(ConfigError, match=r"space\.pruning\.method.*'magnitud'"):
        loads("version: 1\nname: x\ndata: {name: jets-hlf}\nspace: {pruning: {method: [magnitud]}}\n", "x.yaml")


@pytest.mark.parametrize(
    ("method", "mode"),
    [("magnitude", "float"), ("magnitude", "fixed"), ("pdp", "hgq"), ("wanda", "fixed"), ("dst", "hgq")],
)
def test_a_trial_ends_with_its_weights_removed_and_costs_less(tmp_path, method, mode):
    share = 0.75 if method in STEERED else None
    given = experiment({"method": [method]}, mode)
    (tmp_path / "whole").mkdir()
    (tmp_path / "pruned").mkdir()
    whole = evaluate(job(given, None, tmp_path / "whole"))
    pruned = evaluate(job(given, {"method": method, "sparsity": share}, tmp_path / "pruned"))
    assert pruned.error is None, pruned.error
    with np.load(pruned.weights) as stored:
        left = {name: stored[name] for name in stored.files if name in ("block0_dense0/kernel", "output/kernel")}
    assert len(left) == 2
    gone = sum((w == 0).sum() for w in left.values()) / sum(w.size for w in left.values())
    if share is None:
        assert 0 <= gone < 1
    else:
        assert gone == pytest.approx(share, abs=0.02)
        assert pruned.costs["ebops"]["value"] < 0.5 * whole.costs["ebops"]["value"]


def test_the_compression_starts_with_the_weights_that_are_left_and_prunes_by_itself(tmp_path):
    from weft.compression.network import Network

    given = experiment({"method": ["magnitude"]}, "fixed")
    made = evaluate(job(given, {"method": "magnitude", "sparsity": 0.5}, tmp_path))
    with np.load(made.weights) as stored:
        weights = {name: stored[name] for name in stored.files}
    architecture = parse(job(given, {"method": "magnitude", "sparsity": 0.5}, tmp_path).genotype)
    network = Network.of_architecture(architecture, weights)
    assert network.architecture.pruning is None
    kernels = {name: w for name, w in export_weights(network.make(0)).items() if name.endswith("/kernel")}
    gone = sum((w == 0).sum() for w in kernels.values()) / sum(w.size for w in kernels.values())
    assert gone == pytest.approx(0.5, abs=0.02)


def test_a_kept_design_without_compression_is_what_the_search_trained(tmp_path):
    from weft.compression.finalize import assign

    given = experiment({"method": ["pdp"]}, "fixed")
    asked = job(given, {"method": "pdp", "sparsity": 0.5}, tmp_path)
    made = evaluate(asked)
    model = build(parse(asked.genotype))
    with np.load(made.weights) as stored:
        assign(model, stored)
    found = {name: w for name, w in export_weights(model).items() if name.endswith("/kernel")}
    gone = sum((w == 0).sum() for w in found.values()) / sum(w.size for w in found.values())
    assert gone == pytest.approx(0.5, abs=0.02)
