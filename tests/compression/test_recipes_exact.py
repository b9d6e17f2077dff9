"""Every recipe, to the end: Keras, the adder graph and the simulated Verilog agree on every bit of 1000 samples."""

from __future__ import annotations

import numpy as np
import pytest

from weft.adder_graph import AdderGraph
from weft.blocks import MlpGenes
from weft.compression.finalized import Finalized
from weft.compression.recipe import compress
from weft.config import Experiment
from weft.config.compress import BASE_RECIPES, recipes
from weft.firmware import Simulator, emit, verify
from weft.space.architecture import Architecture, FloatNumbers
from weft.space.model import build, export_weights
from weft.train.engine import use_compilation_cache

NETWORK = Architecture(input_shape=(6,), n_outputs=3, blocks=(MlpGenes(units=(4,)),), numbers=FloatNumbers())
"""6-4-3: what Verilator builds of it is small."""

STAGES = {"pretrain_epochs": 1, "epochs": 2, "finetune_epochs": 1}

SHORT = {
    "hgq": {"epochs": 2, "finetune_epochs": 1},
    "fixed": {"epochs": 1},
    "imp": {"warmup_epochs": 1, "rounds": 2, "epochs": 1},
    "fitcompress": {"pretrain_epochs": 1, "epochs": 1, "search": {"goal": {"bops_ratio": 0.05}}},
    "budget": {"epochs": 10, "ebops": 1500},
    "ap": {**STAGES, "prune": {"method": "ap", "threshold": 0.45, "t_start": 1, "t_delta": 1, "skip": ["output"]}},
    "autosparse": STAGES,
    "cs": {"epochs": 2, "rounds": 2, "finetune_epochs": 1, "save_epoch": 1},
    "dst": STAGES,
    "fit": {"pretrain_epochs": 1, "epochs": 1, "search": {"goal": {"bops_ratio": 0.05}}},
    "hgq-dst": {"epochs": 2, "finetune_epochs": 1},
    "lottery": {"warmup_epochs": 1, "rounds": 2, "epochs": 1},
    "mdmm": STAGES,
    "pdp": {**STAGES, "prune": {"method": "pdp", "sparsity": 0.5, "temperature": 1e-5}},
    "pdp-nm": {**STAGES, "prune": {"method": "pdp", "n": 1, "m": 2}},
    "ptq": {},
    "qat": {"epochs": 1},
    "wanda": {
        **STAGES,
        "prune": {"method": "wanda", "sparsity": 0.5, "budget": "global", "t_delta": 1},
    },
    "wanda-ptq": {},
}
"""How each recipe is cut down to a few steps; what else it says stays."""

USUAL = ("hgq-dst", "dst", "ap", "fit", "lottery", "wanda-ptq")
"""Those that run each time; between them they learn bits, remove weights and neurons, search, and rewind."""


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    """Keep what JAX compiles where `WEFT_TEST_CACHE` says."""
    use_compilation_cache()


def test_no_recipe_is_left_out():
    assert set(SHORT) == {*BASE_RECIPES, *recipes()} - {"none", "steps", "several"}


@pytest.mark.parametrize(
    "name", [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in SHORT]
)
def test_keras_adder_graph_and_rtl_agree_on_every_bit(name, material, rows, tmp_path):
    section = {"batch_size": 128, "recipe": name, "keep": 1, **SHORT[name]}
    config = Experiment.model_validate(
        {"version": 1, "name": "x", "data": {"name": "jets-hlf"}, "compress": section}
    ).compress
    weights = export_weights(build(NETWORK, 1))
    (design,) = compress(NETWORK, material, config, 3, weights, tmp_path / "training")
    assert isinstance(design.model, Finalized)
    graph = AdderGraph.from_model(design.model)
    project = emit(graph, tmp_path / "firmware", "xcvu13p-flga2577-2-e", 5.0)
    x = np.concatenate([rows, np.random.default_rng(0).normal(0, 3, (1000, 6)).astype(np.float32)])[:1000]
    found = verify(design.model, graph, Simulator(project), x)
    assert found.status == "exact", found.sentence
    assert found.levels == ("keras", "adder_graph", "rtl")
    assert found.inputs.real == 1000
    assert len(np.unique(graph.predict(x), axis=0)) > 100  # it computes something
