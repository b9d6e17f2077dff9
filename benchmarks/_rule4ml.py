"""rule4ml as SNAC-Pack calls it: in a process that lives on, the default models loaded for every network anew.

A program for rule4ml's own environment, with no weft in it. It is told the widths of a network and how often to ask,
and writes the seconds of each time to standard output as JSON. A search of SNAC-Pack (arXiv:2605.16138) builds a
candidate in Keras, loads the six predictors, asks them without naming a version of hls4ml or Vivado, and takes the
first of the rows.

    INTERPRETER _rule4ml.py 16-64-32-32-5 3
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    widths, rounds = [int(width) for width in sys.argv[1].split("-")], int(sys.argv[2])
    answers, sys.stdout = sys.stdout, sys.stderr
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="")
    import keras
    from rule4ml.models.wrappers import MultiModelWrapper

    def ask(bits: int) -> int:
        x = inputs = keras.Input((widths[0],))
        for i, units in enumerate(widths[1:], start=2):
            x = keras.layers.Dense(units, activation="relu" if i < len(widths) else "softmax")(x)
        network = keras.Model(inputs, x)
        network.build((None, widths[0]))
        models = MultiModelWrapper()
        models.load_default_models()
        config = {"strategy": "latency", "precision": f"ap_fixed<{bits}, 3>", "reuse_factor": 1}
        return len(models.predict(network, hls_configs={"board": "alveo-u250", "model": config}))

    rows, wall, processor = ask(16), [], []  # once unmeasured, as everything else of the benchmark
    for number in range(rounds):
        start, start_cpu = time.perf_counter(), time.process_time()
        ask(4 + number)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_cpu)
    answers.write(json.dumps({"rows": rows, "wall": wall, "cpu": processor}) + "\n")


if __name__ == "__main__":
    main()
