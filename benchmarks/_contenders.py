"""The contenders of `engine.py`, each a process of its own: it builds a model, warms up, and trains chunks on command.

Protocol: one JSON line out when ready; then for each line in, one chunk of training, and one JSON line out with its
times. The module needs only what its contender needs, so that it also runs in an environment without weft.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time

import numpy as np

CASES = {
    "S": {"sizes": [24, 64, 64, 32, 32, 32, 32, 5], "batch": 128, "steps": 200},
    "Q": {"sizes": [16, 64, 32, 32, 5], "batch": 1024, "steps": 60},
}


def data(case: dict) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    n = case["batch"] * case["steps"]
    return rng.normal(size=(n, case["sizes"][0])).astype(np.float32), rng.integers(0, 5, n).astype(np.int32)


def float_model(sizes: list[int]):
    """A dense network with batch normalisation, dropout and Keras' own L1."""
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((sizes[0],))
    for units in sizes[1:-1]:
        x = keras.layers.Dense(units, use_bias=False, kernel_regularizer=keras.regularizers.L1(1e-6))(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.Activation("relu")(x)
        x = keras.layers.Dropout(0.1)(x)
    return keras.Model(inputs, keras.layers.Dense(sizes[-1])(x))


def hgq_model(sizes: list[int]):
    """A dense network of HGQ2 layers with their default quantisers and EBOPs in the loss."""
    import keras
    from hgq.layers import QDense

    keras.backend.clear_session()
    keras.utils.set_random_seed(1)
    np.random.seed(1)
    x = inputs = keras.Input((sizes[0],))
    for units in sizes[1:-1]:
        x = QDense(units, activation="relu", beta0=1e-6)(x)
    return keras.Model(inputs, QDense(sizes[-1], beta0=1e-6)(x))


def build(name: str, case: dict):
    import keras

    model = (float_model if name == "S" else hgq_model)(case["sizes"])
    return model, keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def weft_engine(name: str, case: dict):
    import weft  # noqa: F401 - chooses the backend
    from weft.train.engine import Engine

    model, optimizer, loss = build(name, case)
    engine = Engine(model, optimizer, loss)
    x, y = data(case)
    rows = engine.put(x, y)
    order = np.arange(len(x), dtype=np.int32).reshape(case["steps"], case["batch"])
    control = {"learning_rate": np.full(case["steps"], 1e-3, np.float32)}
    state = [engine.state()]

    def chunk() -> None:
        state[0], losses = engine.epoch(state[0], rows, order, control)
        assert np.isfinite(losses).all()

    def weights() -> list[np.ndarray]:
        return [np.array(v) for v in (*state[0].trainable, *state[0].non_trainable)]

    return chunk, weights


def keras_fit(name: str, case: dict):
    model, optimizer, loss = build(name, case)
    model.compile(optimizer, loss)
    x, y = data(case)

    def chunk() -> None:
        model.fit(x, y, batch_size=case["batch"], epochs=1, shuffle=False, verbose=0)

    def weights() -> list[np.ndarray]:
        import keras

        variables = (*model.trainable_variables, *model.non_trainable_variables)
        return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]

    return chunk, weights


def pquant_hgq(name: str, case: dict):
    """PQuantML's HGQ training step, pruning off, in the PyTorch loop that its documentation shows."""
    import pquant
    import torch
    from pquant.core.torch.layers import post_pretrain_functions

    if name != "Q":
        raise SystemExit("PQuantML's HGQ step is compared on case Q alone")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    sizes, modules = case["sizes"], []
    for n_in, n_out in itertools.pairwise(sizes):
        modules += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    config = pquant.dst_config()
    config.quantization_parameters.use_high_granularity_quantization = True
    config.pruning_parameters.enable_pruning = False
    model = pquant.add_compression_layers(torch.nn.Sequential(*modules[:-1]), config, input_shape=(1, sizes[0]))
    x, y = (torch.from_numpy(array) for array in data(case))
    y = y.long()
    model(x[: case["batch"]])
    post_pretrain_functions(model, config)
    optimizer, loss = torch.optim.Adam(model.parameters(), 1e-3), torch.nn.CrossEntropyLoss()

    def chunk() -> None:
        model.train()
        for i in range(0, len(x), case["batch"]):
            optimizer.zero_grad()
            outputs = model(x[i : i + case["batch"]])
            pquant.get_model_losses(model, loss(outputs, y[i : i + case["batch"]])).backward()
            optimizer.step()

    return chunk, lambda: [parameter.detach().numpy() for parameter in model.parameters()]


CONTENDERS = {"weft": weft_engine, "fit": keras_fit, "pquant": pquant_hgq}


def main() -> None:
    contender, name = sys.argv[1:3]
    case = CASES[name]
    start = time.perf_counter()
    chunk, weights = CONTENDERS[contender](name, case)
    for _ in range(2):
        chunk()
    saved = os.environ.get("WEFT_BENCHMARK_WEIGHTS")
    if saved:
        np.savez(saved, *weights())
    print(json.dumps({"ready": True, "warm_up_seconds": time.perf_counter() - start}), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        chunk()
        times = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({**times, "steps": case["steps"]}), flush=True)


if __name__ == "__main__":
    main()
