"""The contenders of `compression.py`: one pruning method each, of weft or of PQuantML, in a process of its own.

The protocol is that of `_contenders.py`, whose data and main loop they share.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np
from _contenders import CASES, CONTENDERS, data, main

METHODS = {
    "none": None,
    "dst": {"method": "dst", "alpha": 5e-6, "granularity": "weight"},
    "pdp": {"method": "pdp", "sparsity": 0.8},
    "cs": {"method": "cs"},
    "mdmm": {"method": "mdmm"},
    "autosparse": {"method": "autosparse"},
    "magnitude": {"method": "magnitude"},
    "ap": {"method": "ap"},
    "wanda": {"method": "wanda", "sparsity": 0.8},
}
"""What weft trains; 8-bit fixed point under each."""

EPOCHS = 100


def weft_recipe(name: str, case: dict):
    """weft's compiled step in the train stage of a method, or (`hgq`) with learned bits."""
    import keras

    import weft

    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((case["sizes"][0],))
    for units in case["sizes"][1:-1]:
        x = keras.layers.Dense(units, activation="relu")(x)
    plain = keras.Model(inputs, keras.layers.Dense(case["sizes"][-1])(x))
    if name == "hgq":
        recipe = {"recipe": "hgq", "beta": 1e-6, "epochs": EPOCHS, "finetune_epochs": 0}
    else:
        recipe = {"recipe": "fixed", "precisions": [{"total_bits": 8}], "epochs": EPOCHS, "prune": METHODS[name]}
    return trained_by_engine(weft.compress(plain, recipe), case)


def trained_by_engine(model, case: dict):
    """The compiled step of a compressed model in its train stage, or of a float one."""
    import keras

    from weft.compression.stages import EngineStages, Stages
    from weft.train.engine import Engine

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    engine = Engine(model, keras.optimizers.Adam(1e-3), loss)
    recipe = getattr(model, "weft_recipe", None)
    stages = recipe and EngineStages(Stages(model, recipe, engine.optimizer), engine)
    features, labels = data(case)
    rows = engine.put(features, labels)
    order = np.arange(len(features), dtype=np.int32).reshape(case["steps"], case["batch"])
    control = {"learning_rate": np.full(case["steps"], 1e-3, np.float32)}
    state, epochs = [engine.state()], itertools.count()

    def chunk() -> None:
        if stages:
            state[0] = stages.before(next(epochs), state[0])
        state[0], losses = engine.epoch(state[0], rows, order, control)
        assert np.isfinite(losses).all()

    return chunk, lambda: []


def pquant_recipe(name: str, case: dict):
    """PQuantML's training step of a method, in the PyTorch loop that its documentation shows."""
    import pquant
    import torch
    from pquant.core.torch.layers import post_pretrain_functions, pre_epoch_functions

    torch.set_num_threads(1)
    torch.manual_seed(1)
    modules = []
    for n_in, n_out in itertools.pairwise(case["sizes"]):
        modules += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    config = getattr(pquant, f"{'dst' if name == 'hgq' else name}_config")()
    config.quantization_parameters.use_high_granularity_quantization = name == "hgq"
    config.pruning_parameters.enable_pruning = name != "hgq"
    model = pquant.add_compression_layers(torch.nn.Sequential(*modules[:-1]), config, input_shape=(1, case["sizes"][0]))
    x, y = (torch.from_numpy(array) for array in data(case))
    y = y.long()
    model(x[: case["batch"]])
    post_pretrain_functions(model, config)
    pre_epoch_functions(model, 0, EPOCHS)
    optimizer, loss = torch.optim.Adam(model.parameters(), 1e-3), torch.nn.CrossEntropyLoss()

    def chunk() -> None:
        model.train()
        for i in range(0, len(x), case["batch"]):
            optimizer.zero_grad()
            outputs = model(x[i : i + case["batch"]])
            pquant.get_model_losses(model, loss(outputs, y[i : i + case["batch"]])).backward()
            optimizer.step()

    return chunk, lambda: []


if __name__ == "__main__":
    contender, method = sys.argv[1:3]
    CASES[method] = CASES["Q"]
    CONTENDERS.update(weft=weft_recipe, pquant=pquant_recipe)
    main()
