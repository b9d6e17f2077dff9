"""SNAC-Pack's configuration: every value arrives, or is said not to."""

from __future__ import annotations

import copy

import pytest
from typer.testing import CliRunner

from weft.cli import app
from weft.cli import migrate as _registered  # noqa: F401 - the command
from weft.config import load, loads
from weft.config.document import write
from weft.errors import ConfigError
from weft.migration import migrate_file

QUBIT = {
    "dataset": {"name": "qubit", "data_dir": "../data", "start_location": 100, "window_size": 400, "subset_size": 1000,
                "normalize": True, "flatten": True, "one_hot": True, "num_classes": 2},
    "search": {"model_type": "block", "n_trials": 3, "epochs": 2, "n_folds": 3, "use_hardware_metrics": True,
               "objective_names": ["performance_metric", "bops", "avg_resource", "clock_cycles"],
               "maximize_flags": [True, False, False, False],
               "selection": {"latency_budget": 900, "resource_budget": 2.5}},
    "search_space": {"mlp_width_space": [4, 8], "act_space": ["ReLU", "LeakyReLU", None], "norm_space": ["batch", None],
                     "block_types": ["MLP", "None"], "num_blocks": 2, "output_dim": 2, "output_activation": "softmax",
                     "channel_space": [16], "kernel_space": [3], "conv_attn": {"hidden_channel_space": [4]}},
    "hls_config": {"board": "zcu102",
                   "model": {"precision": "ap_fixed<8,3>", "reuse_factor": 8, "strategy": "Latency"}},
    "synthesis": {"total_bits": 8, "int_bits": 3, "hls_output_dir": "./out"},
    "local_search": {"qat_epochs": 2, "pruning_iterations": 3, "pruning_epochs": 4, "pruning_rate": 0.7,
                     "precision_pairs": [{"total_bits": 32, "int_bits": 16}, {"total_bits": 8, "int_bits": 3}]},
    "output": {"results_dir": "./results"},
}  # fmt: skip


def changed(raw, **sections):
    raw = copy.deepcopy(raw)
    for section, values in sections.items():
        raw.setdefault(section, {}).update(values)
    return raw


def converted(tmp_path, raw, **options):
    path = tmp_path / "t3.yaml"
    path.write_text(write(raw))
    made = migrate_file(path, **options)
    return made, loads(made.text)


def test_a_search_arrives(tmp_path):
    made, experiment = converted(tmp_path, QUBIT)
    assert (made.format, made.whole) == ("snac-pack", True)
    data, search, compress = experiment.data, experiment.search, experiment.compress
    assert (data.name, data.window.start, data.window.length, data.rows.train) == ("qubit-readout", 100, 400, 1000)
    assert data.folds == 3
    assert (search.trials, search.epochs, search.batch_size, search.sampler) == (3, 2, 128, "nsga2")
    assert search.objectives == ["fidelity", "bops", "avg_resource", "latency_cycles"]
    assert experiment.select.constraints == {"latency_cycles": "<= 900", "avg_resource": "<= 2.5"}
    assert (compress.recipe, compress.warmup_epochs, compress.rounds, compress.epochs) == ("imp", 2, 3, 4)
    assert compress.fraction == pytest.approx(0.3)
    assert [(p.total_bits, p.integer_bits) for p in compress.precisions] == [(8, 4)]
    assert experiment.target.part.startswith("xczu9eg")
    assert (experiment.firmware.hls.strategy, experiment.firmware.hls.reuse_factor) == ("latency", 8)
    assert len(experiment.space.blocks) == 3
    assert sorted(made.lost) == [
        "dataset.data_dir = ../data: weft's qubit-readout is simulated; give your traces with --data",
        "hls_config.model.precision = ap_fixed<8,3>: every layer has its own, learnt or given formats",
        "local_search.precision_pairs = {'total_bits': 32, 'int_bits': 16}: weft's numbers have up to 24 bits",
        "output.results_dir = ./results: 'weft run --out' names the directory of a run",
        "synthesis.hls_output_dir = ./out: HLS projects stand in the run directory",
        "synthesis.int_bits = 3: every precision becomes a design",
        "synthesis.total_bits = 8: every precision becomes a design",
    ]


def test_a_window_that_is_searched_becomes_a_block(tmp_path):
    space = {"block_types": ["None"], "num_blocks": 1, "mlp_head_num_layers": 2, "window_size_space": [25, 50],
             "start_location_space": [0, 25]}  # fmt: skip
    made, experiment = converted(tmp_path, changed(QUBIT, search_space=space))
    assert any("window becomes Verilog, and no HLS" in line for line in made.lost)
    assert [block.type for block in experiment.space.blocks] == ["window", "mlp"]
    assert experiment.data.window.length == 770
    alone = {**QUBIT["search_space"], **space}
    (tmp_path / "space.yaml").write_text(write({"search_space": alone}))
    assert loads(migrate_file(tmp_path / "space.yaml").text).compress.recipe == "none"


def test_images_of_convolutions_and_attention_arrive(tmp_path):
    raw = changed(QUBIT, dataset={"name": "fashion_mnist", "resize_val": 16},
                  search_space={"block_types": ["Conv", "ConvAttn", "MLP", "None"], "act_space": ["ReLU", "GELU"],
                                "norm_space": [None, "layer"]})  # fmt: skip
    del raw["search"]["selection"]
    made, experiment = converted(tmp_path, raw)
    assert experiment.data.openml == 40996
    assert [getattr(block, "type", "one_of") for block in experiment.space.blocks] == [
        "reshape",
        "one_of",
        "one_of",
        "mlp",
    ]
    for line in (
        "act_space = GELU",
        "norm_space = layer",
        "resize_val = 16",
        "conv_attention becomes Verilog, and no HLS",
    ):
        assert any(line in one for one in made.lost), line


def test_an_mlp_search_has_its_depths(tmp_path):
    raw = changed(QUBIT, dataset={"name": "hls4ml_jets"}, search={"model_type": "mlp"},
                  search_space={"mlp_num_layers_space": [2, 3]})  # fmt: skip
    _, experiment = converted(tmp_path, raw)
    assert experiment.data.openml == 42468
    (block,) = experiment.space.blocks
    assert (block.type, block.depth.values) == ("mlp", (2, 3))


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"search": {"pruner": "median"}}, "search.pruner = median: weft has no such setting"),
        ({"search": {"objective_names": ["performance_metric", "smell"]}}, "objective_names = smell: weft has no such"),
        ({"search": {"maximize_flags": [True, True, False, False]}}, "maximize_flags = True for bops"),
        ({"search_space": {"block_types": ["MLP", "Mamba"]}}, "block_types = Mamba: weft has no such block"),
        ({"pretrain_settings": {"epochs": 20}}, "pretrain_settings.epochs = 20: weft has no such setting"),
    ],
)
def test_what_has_no_counterpart_is_listed_and_a_comment(tmp_path, sections, line):
    made, _ = converted(tmp_path, changed(QUBIT, **sections))
    found = [one for one in made.lost if line in one]
    assert found, made.lost
    assert f"# NO COUNTERPART: {found[0]}\n" in made.text


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"dataset": {"name": "cifar10"}}, "weft has no data set 'cifar10'; give your file with --data"),
        ({"dataset": {"name": None}}, "names no data set.*give your file with --data"),
        ({"hls_config": {"board": "zcu999"}}, "unknown part 'zcu999'"),
    ],
)
def test_what_weft_cannot_do_is_refused(tmp_path, sections, message):
    with pytest.raises(ConfigError, match=message):
        converted(tmp_path, changed(QUBIT, **sections))


def test_the_command_writes_the_file_and_lists_the_losses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t3.yaml").write_text(write(changed(QUBIT, dataset={"name": "mine"})))
    (tmp_path / "a.csv").write_text("a,label\n1,0\n2,1\n")
    run = CliRunner().invoke
    done = run(app, ["migrate", "t3.yaml", "--data", "a.csv", "-o", "deep/experiment.yaml"])
    assert done.exit_code == 0, done.output
    assert "no counterpart: output.results_dir = ./results" in done.stderr
    assert "changed: population: 20" in done.stderr
    assert "wrote deep/experiment.yaml; next: weft run deep/experiment.yaml" in done.stdout
    assert load("deep/experiment.yaml").data.files.all.resolve() == tmp_path / "a.csv"
    done = run(app, ["migrate", "t3.yaml", "--data", "a.csv", "-o", "deep/experiment.yaml"])
    assert done.exit_code == 2
    assert "will not write over deep/experiment.yaml" in done.stderr
    done = run(app, ["migrate", "t3.yaml", "--data", "a.csv"])
    assert loads(done.stdout).name == "snac-mine"
