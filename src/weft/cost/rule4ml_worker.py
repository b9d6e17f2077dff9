"""The other end of `weft.cost.rule4ml`: a program for the environment of rule4ml, which holds no weft.

It reads one request as JSON on standard input and writes one answer as JSON to standard output; what libraries print
goes to standard error. One network a process: the graph networks of rule4ml 0.2.0 mix the designs of one call.

    request: {"n_in": 16, "layers": [[64, "relu"], [5, "softmax"]], "board": "zcu102", "precision": "ap_fixed<8, 3>",
              "strategy": "latency", "reuse_factor": 1, "weights": "v2/gnn", "hls4ml": "1.1.0", "vivado": "2024.2"}
    answer:  {"version": "0.2.0", "LUT": 1.0, "FF": 1.0, "DSP": 1.0, "BRAM": 1.0, "CYCLES": 1.0, "INTERVAL": 1.0}
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    answers, sys.stdout = sys.stdout, sys.stderr
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="")
    found = estimate(request)
    answers.write(json.dumps(found) + "\n")


def estimate(request: dict[str, Any]) -> dict[str, Any]:
    """Return what rule4ml predicts for the network of a request."""
    keras: Any = import_module("keras")
    wrappers: Any = import_module("rule4ml.models.wrappers")
    x = inputs = keras.Input((request["n_in"],))
    for units, activation in request["layers"]:
        x = keras.layers.Dense(units, activation=activation)(x)
    network = keras.Model(inputs, x, name="network")  # of a Sequential it counts no input layer: 1 % fewer cycles
    network.build((None, request["n_in"]))  # it reads the shape that is noted here
    models = wrappers.MultiModelWrapper()
    place = Path(wrappers.__file__).parent / "weights" / request["weights"]
    for config in sorted(place.glob("*.config.json")):
        stem = config.name.removesuffix(".config.json")
        torch = place / f"{stem}.weights.pt"
        one = wrappers.TorchModelWrapper() if torch.exists() else wrappers.KerasModelWrapper()
        one.load(str(config), str(torch if torch.exists() else place / f"{stem}.weights.h5"))
        models.add_model_wrapper(one)
    knows_versions = request["weights"] != "v1/mlp"
    config = {name: request[name] for name in ("strategy", "precision", "reuse_factor")}
    table = models.predict(
        network,
        hls_configs={"board": request["board"], "model": config},
        hls4ml_versions=request["hls4ml"] if knows_versions else None,
        vivado_versions=request["vivado"] if knows_versions else None,
        round_digits=6,
    )
    (row,) = table.to_dict(orient="records")
    wanted = ("LUT", "FF", "DSP", "BRAM", "CYCLES", "INTERVAL")
    return {"version": version("rule4ml"), **{name: float(row[name]) for name in wanted if name in row}}


if __name__ == "__main__":
    main()
