"""Training steps per second of weft's engine against Keras `fit` on JAX, `fit` on PyTorch, and PQuantML's HGQ step.

Two cases: S, a float 24-64-64-32-32-32-32-5 network with batch normalisation, dropout and L1 at batch 128, and Q, an
HGQ 16-64-32-32-5 network at batch 1024. Every contender is one process, all on the same core; they take turns, one
chunk each, and a ratio is the median over rounds of the ratio within a round. Compilation is in the warm-up and shown
apart. `fit` on JAX is measured twice: as it is, and with the compiler flag that weft sets for its process; the weights
of weft and of the latter are compared after the warm-up, and the difference has to be 0.

    python benchmarks/engine.py [--rounds 9] [--torch PYTHON] [--pquant PYTHON]

`--torch` and `--pquant` name interpreters of environments that hold torch, keras and hgq2 (and pquant-ml 0.1.0).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from _measure import Contender, emit, has, here, machine, spread

from weft._backend import XLA_FLAG


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--torch", default=here(), help="interpreter with torch, keras and hgq2")
    parser.add_argument("--pquant", default=here(), help="interpreter with pquant-ml")
    options = parser.parse_args()
    emit(benchmark="engine", **machine())
    for case in ("S", "Q"):
        with tempfile.TemporaryDirectory() as directory:
            ours, theirs = (str(Path(directory) / f"{name}.npz") for name in ("weft", "fit"))
            contenders = [
                Contender("weft", here(), "jax", "weft", case, ours),
                Contender("fit, JAX", here(), "jax", "fit", case),
                Contender("fit, JAX, weft's flags", here(), "jax", "fit", case, theirs, flags=f" {XLA_FLAG}"),
            ]
            if has(options.torch, "torch", "keras", "hgq"):
                contenders.append(Contender("fit, PyTorch", options.torch, "torch", "fit", case))
            if case == "Q" and has(options.pquant, "pquant"):
                contenders.append(Contender("PQuantML HGQ step", options.pquant, "torch", "pquant", case))
            for contender in contenders:
                emit(case=case, contender=contender.label, warm_up_seconds=round(contender.ready(), 2))
            with np.load(ours) as a, np.load(theirs) as b:
                differences = [float(np.abs(a[k].astype(np.float64) - b[k]).max()) for k in a.files]
            emit(case=case, check="weights of weft and of fit with its flags", largest_difference=max(differences))
            for _ in range(options.rounds):
                for contender in contenders:
                    contender.chunk()
        first = contenders[0]
        for contender in contenders:
            emit(case=case, contender=contender.label, steps_per_second=spread(contender.steps_per_second),
                 steps_per_cpu_second=spread(contender.cpu_rates))  # fmt: skip
        for contender in contenders[1:]:
            wall = [a / b for a, b in zip(first.steps_per_second, contender.steps_per_second, strict=True)]
            cpu = [a / b for a, b in zip(first.cpu_rates, contender.cpu_rates, strict=True)]
            emit(case=case, ratio=f"weft / {contender.label}", wall=round(statistics.median(wall), 2),
                 cpu=round(statistics.median(cpu), 2), rounds=options.rounds)  # fmt: skip
        for contender in contenders:
            contender.close()


if __name__ == "__main__":
    main()
