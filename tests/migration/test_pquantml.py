"""PQuantML's configuration: every value arrives, or is said not to."""

from __future__ import annotations

import json

import pytest

from weft.config import loads
from weft.config.document import parse, write
from weft.errors import ConfigError
from weft.migration import migrate_file

QUANTIZATION = {
    "default_weight_keep_negatives": 1.0,
    "default_weight_integer_bits": 0.0,
    "default_weight_fractional_bits": 7.0,
    "default_data_keep_negatives": 0.0,
    "default_data_integer_bits": 0.0,
    "default_data_fractional_bits": 7.0,
    "granularity": "per_tensor",
    "quantize_input": True,
    "quantize_output": False,
    "enable_quantization": True,
    "hgq_beta": 1e-5,
    "hgq_gamma": 3e-4,
    "hgq_heterogeneous": True,
    "layer_specific": {},
    "use_high_granularity_quantization": False,
    "use_real_tanh": False,
    "use_relu_multiplier": False,
    "use_symmetric_quantization": False,
    "overflow_mode_parameters": "SAT",
    "overflow_mode_data": "SAT",
    "round_mode": "RND",
}
TRAINING = {
    "epochs": 160,
    "fine_tuning_epochs": 10,
    "pretraining_epochs": 5,
    "pruning_first": True,
    "rewind": "never",
    "rounds": 1,
    "save_weights_epoch": -1,
}
PRUNING: dict[str, dict] = {
    "dst": {"alpha": 5e-6, "max_pruning_pct": 0.99, "threshold_init": 0.0, "threshold_type": "weightwise"},
    "ap": {"threshold": 0.2, "t_delta": 100, "t_start_collecting_batch": 100},
    "autosparse": {"alpha": 0.5, "alpha_reset_epoch": 90, "autotune_epochs": 10, "threshold_init": -5.0,
                   "threshold_type": "channelwise"},
    "cs": {"final_temp": 200, "threshold_decay": 1e-9, "threshold_init": 0.0},
    "mdmm": {"constraint_type": "Equality", "target_value": 0.0, "metric_type": "UnstructuredSparsity",
             "target_sparsity": 0.9, "rf": 1, "damping": 1.0, "constraint_lr": 1e-3},
    "pdp": {"sparsity": 0.8, "epsilon": 0.015, "temperature": 1e-5, "structured_pruning": False},
    "wanda": {"sparsity": 0.9, "N": None, "M": None, "t_delta": 100, "t_start_collecting_batch": 10,
              "calculate_pruning_budget": True},
}  # fmt: skip


def settings(method="dst", *, prune=(), quantize=(), train=(), **others) -> dict:
    common = {"pruning_method": method, "enable_pruning": True, "disable_pruning_for_layers": []}
    return {
        "pruning_parameters": {**common, **PRUNING.get(method, {}), **dict(prune)},
        "quantization_parameters": {**QUANTIZATION, **dict(quantize)},
        "training_parameters": {**TRAINING, **dict(train)},
        **others,
    }


def converted(tmp_path, raw: dict, **options):
    path = tmp_path / "config.yaml"
    path.write_text(write(raw))
    made = migrate_file(path, **options)
    return made, parse(made.text).data


@pytest.mark.parametrize("method", PRUNING)
def test_every_method_arrives_without_a_loss(tmp_path, method):
    made, data = converted(tmp_path, settings(method))
    assert (made.format, made.whole, made.lost) == ("pquantml", False, ())
    compress = data["compress"]
    assert compress["prune"]["method"] == method
    assert compress["recipe"] == "fixed"
    assert compress["precisions"] == [{"total_bits": 8, "integer_bits": 1}]
    assert (compress["pretrain_epochs"], compress["epochs"], compress["finetune_epochs"]) == (5, 160, 10)


def test_names_and_values_are_translated(tmp_path):
    _, data = converted(tmp_path, settings("dst", prune={"disable_pruning_for_layers": ["out"]}))
    assert data["compress"]["prune"] == {
        "method": "dst", "alpha": 5e-6, "max_pruned": 0.99, "skip": ["out"], "granularity": "weight",
    }  # fmt: skip
    assert data["compress"]["layers"]["*"]["input"] == {"overflow_mode": "SAT", "round_mode": "RND", "bits": 7}
    _, data = converted(tmp_path, settings("wanda", prune={"N": 1, "M": 4}))
    assert data["compress"]["prune"] == {
        "method": "wanda", "n": 3, "m": 4, "t_delta": 100, "t_start": 10, "budget": "uniform",
    }  # fmt: skip
    _, data = converted(
        tmp_path, settings("cs", train={"rewind": "post-training-stage", "rounds": 3, "save_weights_epoch": 2})
    )
    assert (data["compress"]["rewind"], data["compress"]["rounds"], data["compress"]["save_epoch"]) == (
        "after_training",
        3,
        2,
    )
    mdmm = {"metric_type": "FPGAAwareSparsity", "target_resource": "BRAM", "rf": 4, "precision": 16, "bram_width": 36}
    _, data = converted(tmp_path, settings("mdmm", prune=mdmm))
    assert data["compress"]["prune"].items() >= {"metric": "bram", "reuse_factor": 4, "weight_bits": 16}.items()


def test_learned_widths_become_hgq(tmp_path):
    wanted = {"use_high_granularity_quantization": True, "granularity": "per_weight"}
    made, data = converted(tmp_path, settings(quantize=wanted))
    assert data["compress"].items() >= {"recipe": "hgq", "beta": 1e-5, "gamma": 3e-4, "bits0": 7}.items()
    assert any("overflow_mode_data = SAT" in line for line in made.lost)


def test_fitcompress_becomes_its_recipe(tmp_path):
    fit = {
        "enable_fitcompress": True, "optimize_quantization": True, "quantization_schedule": [7.0, 6.0, 4.0, 1.0],
        "pruning_schedule": {"start": 0, "end": -2, "steps": 40}, "compression_goal": 0.007, "optimize_pruning": True,
        "greedy_astar": True, "approximate": True, "f_lambda": 1,
    }  # fmt: skip
    raw = settings(
        "fitcompress", prune={"min_frac_bits": 2.0}, train={"fine_tuning_epochs": 0}, fitcompress_parameters=fit
    )
    made, data = converted(tmp_path, raw)
    assert data["compress"]["search"] == {
        "goal": {"bops_ratio": 0.007}, "weight_bits": [8, 7, 5, 2], "max_sparsity": 0.99, "sparsity_steps": 39,
        "heuristic": 1.0, "approximate": True, "keep": 1,
    }  # fmt: skip
    assert data["compress"]["epochs"] == 160
    assert made.lost and all("quantization_parameters." in line for line in made.lost), made.lost


def test_single_layers_arrive_with_the_sign_counted(tmp_path):
    layers = {
        "fc1": {"weight": {"keep_negatives": 1, "integer_bits": 2, "fractional_bits": 3, "quantize": True},
                "input": {"keep_negatives": 0, "integer_bits": 1, "fractional_bits": 4, "noise": 1}},
        "old": {"integer_bits": 4, "fractional_bits": 6},
    }  # fmt: skip
    made, data = converted(tmp_path, settings(quantize={"layer_specific": layers}))
    found = data["compress"]["layers"]
    assert found["fc1"]["weight"] == {"bits": 6, "integer_bits": 3, "signed": True}
    assert found["fc1"]["input"] == {"bits": 5, "integer_bits": 1, "signed": False}
    assert found["old"]["weight"] == {"bits": 11, "integer_bits": 5, "signed": True}
    assert made.lost == ("quantization_parameters.layer_specific.fc1.input.noise = 1: weft has no such setting",)


def test_a_search_of_parameters_becomes_tune(tmp_path):
    hpo = {
        "experiment_name": "mine", "model_name": "jet_tagger", "num_trials": 30, "sampler": {"type": "NSGAIISampler"},
        "hyperparameter_search": {"numerical": {"learning_rate": [1e-5, 1e-3], "depth": [1, 2],
                                                "alpha": [1e-6, 1e-4, 1e-6]},
                                  "categorical": {"batch_size": [64, 128]}},
    }  # fmt: skip
    made, data = converted(tmp_path, settings(hpo_parameters=hpo), data="events.csv")
    assert made.whole
    assert data["name"] == "jet-tagger"
    assert (data["tune"]["sampler"], data["tune"]["trials"]) == ("nsga2", 30)
    assert data["tune"]["parameters"]["compress.prune.alpha"] == {"low": 1e-6, "high": 1e-4, "step": 1e-6}
    assert any("hyperparameter_search.depth = [1, 2]" in line for line in made.lost)
    assert loads(made.text).data.files is not None


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"prune": {"colour": "red"}}, "pruning_parameters.colour = red: weft has no such setting"),
        ({"train": {"label_smoothing": 0.1}}, "training_parameters.label_smoothing = 0.1: weft has no such setting"),
        ({"train": {"lr_schedule": "multistep"}}, "lr_schedule = multistep: weft has constant, cosine"),
        ({"train": {"optimizer": "lion"}}, "optimizer = lion: weft has adam and sgd"),
        ({"train": {"rewind": "sometimes"}}, "rewind = sometimes: it is none of never"),
        ({"quantize": {"granularity": "per_moon"}}, "granularity = per_moon: it is none of per_tensor"),
        ({"quantize": {"quantize_input": False}}, "quantize_input = False: every input of a layer is quantised"),
        ({"quantize": {"enable_quantization": False}}, "every recipe ends in fixed point"),
        ({"prune": {"threshold_type": "moonwise"}}, "threshold_type = moonwise: it is none of"),
        ({"method": "magic"}, "pruning_method = magic: weft has no such method"),
        ({"method": "mdmm", "prune": {"metric_type": "Moon"}}, "metric_type = Moon: it is none of"),
        ({"method": "mdmm", "prune": {"epsilon": 1e-3}}, "epsilon = 0.001: weft measures"),
        ({"method": "autosparse", "prune": {"backward_sparsity": True}}, "backward_sparsity = True: weft has no such"),
    ],
)
def test_what_has_no_counterpart_is_listed_and_a_comment(tmp_path, change, line):
    made, _ = converted(tmp_path, settings(**change))
    assert any(line in one for one in made.lost), made.lost
    assert f"# NO COUNTERPART: {next(one for one in made.lost if line in one)}\n" in made.text


def test_json_is_read_and_the_section_goes_into_weft_compress(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings("dst", train={"epochs": 2})))
    from weft.compression.api import read

    assert read(parse(migrate_file(path).text).data["compress"]).recipe == "fixed"


def test_values_that_weft_refuses_are_told_in_its_words(tmp_path):
    with pytest.raises(ConfigError, match=r"compress\.prune\.sparsity") as caught:
        converted(tmp_path, settings("pdp", prune={"sparsity": 1.5}))
    assert "says this in the words of PQuantML" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red", r"has no key of SNAC-Pack or PQuantML; its keys are colour; say --from"),
        ("version: 1\ndata: {name: jets-hlf}", "is an experiment of weft already"),
        ("- 1", "must be a mapping of sections; got"),
        ("a: [", ":1: cannot be read as YAML"),
    ],
)
def test_another_file_is_refused(tmp_path, text, message):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        migrate_file(path)


def test_a_missing_file_and_an_unknown_format_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read '.*none\.yaml'.*name a YAML or JSON file"):
        migrate_file(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("a: 1")
    with pytest.raises(ConfigError, match="weft migrates files of snac-pack, pquantml; got 'qkeras'"):
        migrate_file(tmp_path / "a.yaml", "qkeras")
