"""A search as SNAC-Pack runs it: one trial after the other in this process, each trained by Keras' `fit`.

Reads genotypes from a file, so that every contender trains the same networks on the same rows and folds for as many
epochs, and prints one JSON line with the seconds of all of them. The metric and the BOPs (arXiv:2102.11289, by the
formula) are worked out as its objective does; no hardware is costed.

    KERAS_BACKEND=jax python _search_peer.py experiment.yaml genotypes.json
"""

from __future__ import annotations

import json
import math
import sys
import time
from itertools import pairwise
from pathlib import Path


def main() -> None:
    import weft  # noqa: F401, I001  # chooses the backend, before Keras is imported
    import keras

    from weft.config import load
    from weft.data import load as load_data
    from weft.space.architecture import parse
    from weft.space.model import build

    experiment = load(sys.argv[1])
    genotypes = json.loads(Path(sys.argv[2]).read_text())
    dataset, config = load_data(experiment.data), experiment.search
    start = time.perf_counter()
    for genotype in genotypes:
        architecture = parse(genotype)
        for train, validation in dataset.folds(experiment.data.folds or 1, experiment.data.seed):
            model = build(architecture, 0)
            if architecture.l1:
                for layer in model.layers:
                    if hasattr(layer, "kernel_regularizer"):
                        layer.kernel_regularizer = keras.regularizers.L1(architecture.l1)
            model.compile(
                keras.optimizers.Adam(architecture.learning_rate),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
            )
            model.fit(
                train.x,
                train.y,
                batch_size=config.batch_size,
                epochs=config.epochs,
                validation_data=(validation.x, validation.y),
                verbose=0,
            )
            model.evaluate(validation.x, validation.y, verbose=0)
        sizes = [math.prod(architecture.input_shape), *architecture.blocks[0].units, architecture.n_outputs]
        sum(n * m * (8 * 8 + 8 + 8 + math.log2(n)) for n, m in pairwise(sizes))
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "trials": len(genotypes)}))


if __name__ == "__main__":
    main()
