"""Training steps per second of a PyTorch module that weft compresses, against PQuantML's, in one interleaved run.

A 16-64-32-32-5 module at batch 1024 with learned widths (hgq) and with pruning (dst): in a loop of PyTorch, in the same
loop with `model.compile()`, and converted in weft's engine (JAX), there also without compression (float), which no
compression can be faster than. Every contender is one process on one thread; they take turns, one chunk each, and a
ratio is the median over rounds of the ratio within a round.

    python benchmarks/torch_door.py [--rounds 7] [--pquant PYTHON] [--methods hgq,dst] [--inductor]

`--pquant` names an interpreter with pquant-ml 0.1.0 and torch. With `--inductor` PyTorch's compiler is measured, too,
which takes minutes to begin.
"""

from __future__ import annotations

import argparse

from _measure import Contender, emit, has, here, machine, ratio, spread

GOALS = {"loop": 1.0, "engine": 15.0}
"""What weft promises, in steps of PQuantML."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pquant", default=here(), help="interpreter with pquant-ml")
    parser.add_argument("--methods", default="hgq,dst")
    parser.add_argument("--inductor", action="store_true")
    options = parser.parse_args()
    emit(benchmark="torch_door", **machine("torch"))
    kinds = {"loop": "torch", "engine": "jax", "float": "jax"} | ({"inductor": "torch"} if options.inductor else {})
    for method in options.methods.split(","):
        contenders = {
            kind: Contender(f"weft {method}, {kind}", here(), backend, kind, method, script="_torch_door.py")
            for kind, backend in kinds.items()
        }
        if has(options.pquant, "pquant"):
            contenders["pquant"] = Contender(
                f"PQuantML {method}", options.pquant, "torch", "pquant", method, script="_torch_door.py"
            )
        for contender in contenders.values():
            contender.ready()
        for _ in range(options.rounds):
            for contender in contenders.values():
                contender.chunk()
        line = {kind: spread(one.steps_per_second) for kind, one in contenders.items()}
        if "pquant" in contenders:
            theirs = contenders["pquant"]
            line["over_pquant"] = {
                kind: {
                    "wall": ratio(contenders[kind].steps_per_second, theirs.steps_per_second),
                    "cpu": ratio(contenders[kind].cpu_rates, theirs.cpu_rates),
                    "goal": GOALS.get(kind),
                }
                for kind in kinds
            }
        emit(method=method, **line, rounds=options.rounds)
        for contender in contenders.values():
            contender.close()


if __name__ == "__main__":
    main()
