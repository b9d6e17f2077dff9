"""Training steps per second of each compression method, against PQuantML's own and against plain quantised training.

A 16-64-32-32-5 network at batch 1024 in the train stage of each method. Every contender is one process on one thread;
they take turns, one chunk each, and a ratio is the median over rounds of the ratio within a round.

    python benchmarks/compression.py [--rounds 7] [--pquant PYTHON] [--methods dst,pdp]

`--pquant` names an interpreter with pquant-ml 0.1.0 and torch.
"""

from __future__ import annotations

import argparse

from _measure import Contender, emit, has, here, machine, ratio, spread

METHODS = ("hgq", "dst", "pdp", "cs", "mdmm", "autosparse", "magnitude", "ap", "wanda")
PEERS = ("hgq", "dst", "pdp", "cs", "mdmm", "autosparse")
"""Methods that PQuantML trains, too."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pquant", default=here(), help="interpreter with pquant-ml")
    parser.add_argument("--methods", default=",".join(METHODS))
    options = parser.parse_args()
    emit(benchmark="compression", **machine())
    peer = has(options.pquant, "pquant")
    for method in options.methods.split(","):
        contenders = {
            "plain": Contender("weft, no pruning", here(), "jax", "weft", "none", script="_recipes.py"),
            "weft": Contender(f"weft {method}", here(), "jax", "weft", method, script="_recipes.py"),
        }
        if peer and method in PEERS:
            contenders["pquant"] = Contender(
                f"PQuantML {method}", options.pquant, "torch", "pquant", method, script="_recipes.py"
            )
        for contender in contenders.values():
            contender.ready()
        for _ in range(options.rounds):
            for contender in contenders.values():
                contender.chunk()
        ours = contenders["weft"]
        line = {"method": method, "steps_per_second": spread(ours.steps_per_second)}
        if method != "hgq":
            line["overhead_over_plain"] = {
                "wall": ratio(contenders["plain"].steps_per_second, ours.steps_per_second),
                "cpu": ratio(contenders["plain"].cpu_rates, ours.cpu_rates),
            }
        if "pquant" in contenders:
            theirs = contenders["pquant"]
            line["weft_over_pquant"] = {
                "wall": ratio(ours.steps_per_second, theirs.steps_per_second),
                "cpu": ratio(ours.cpu_rates, theirs.cpu_rates),
            }
        emit(**line, rounds=options.rounds)
        for contender in contenders.values():
            contender.close()


if __name__ == "__main__":
    main()
