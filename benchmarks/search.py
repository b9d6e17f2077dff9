"""Trials per minute of a search, beside SNAC-Pack's way, and how soon it has what a random search finds.

`workers`: the same small search (same seed, so the same trials) with 1 and with 2 workers in turn. Start-up of the
workers is part of the wall time. The first round fills the compilation cache, kept in a temporary folder.
`peers`: the networks of one search on SNAC-Pack's jet space, trained by two workers of weft (which also cost each one),
and some of them one after the other by Keras' `fit` on JAX and on PyTorch with all cores; same rows, folds and epochs.
`hypervolume`: every sampler with several seeds; designs until 95 % of the random search's last hypervolume.

    python benchmarks/search.py [--rounds 3] [--trials 12] [--only peers]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _measure import emit, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--only", choices=sorted(PARTS))
    options = parser.parse_args()
    emit(benchmark="search", **machine())
    with tempfile.TemporaryDirectory() as directory:
        os.environ["WEFT_CACHE"] = str(Path(directory) / "cache")
        for name, part in PARTS.items():
            if options.only in (None, name):
                part(Path(directory), options.rounds, options.trials)


def workers(directory: Path, rounds: int, trials: int) -> None:
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds + 1):
        for count in (1, 2):
            changes = [f"search.trials={trials}", "search.population=6", f"search.workers={count}"]
            found = run(directory / f"run-{number}-{count}", "jets-demo", changes)
            cold = number == 0
            cache = "cold" if cold and count == 1 else "warm"
            emit(part="workers", round=number, workers=count, compilation_cache=cache, **found)
            if not cold:
                rates[count].append(found["trials_per_minute"])
    for count, values in rates.items():
        emit(part="workers", workers=count, trials_per_minute=round(statistics.median(values), 2), rounds=rounds)
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    emit(part="workers", ratio="2 workers / 1 worker", value=round(statistics.median(ratios), 2))


PEER_SPACE = [
    "data.folds=3",
    "search.epochs=5",
    "search.batch_size=128",
    "search.baselines=[]",
    "search.workers=2",
]
"""SNAC-Pack's jet space with its folds, epochs and batches, on the preset's 8 particles."""


PEER_TRIALS = 6
"""So many of the networks, evenly taken, are trained by the others: they are slower, and need no time to warm up."""

SAMPLERS = ("random", "nsga2", "tpe", "gp")


def peers(directory: Path, rounds: int, trials: int) -> None:
    from weft.search.results import read

    changes = [*PEER_SPACE, "search.sampler=random", f"search.trials={trials}", f"search.population={trials}"]
    rates: dict[str, list[float]] = {"weft": [], "fit-jax": [], "fit-torch": []}
    for number in range(rounds):
        path = directory / f"peer-{number}"
        found = run(path, "snac-jets", [*changes, f"search.seed={number}"])
        rates["weft"].append(found["trials_per_minute"])
        emit(part="peers", round=number, contender="weft", **found)
        genotypes = directory / f"genotypes-{number}.json"
        genotypes.write_text(json.dumps([trial.genotype for trial in read(path).trials[:: -(-trials // PEER_TRIALS)]]))
        for backend in ("jax", "torch"):
            rate = _fit(backend, path / "config.resolved.yaml", genotypes)
            rates[f"fit-{backend}"].append(rate)
            emit(part="peers", round=number, contender=f"fit-{backend}", trials_per_minute=round(rate, 2))
    for name in ("fit-jax", "fit-torch"):
        ratios = [mine / theirs for mine, theirs in zip(rates["weft"], rates[name], strict=True)]
        emit(part="peers", ratio=f"weft / {name}", value=round(statistics.median(ratios), 2), rounds=rounds)


def _fit(backend: str, experiment: Path, genotypes: Path) -> float:
    script = Path(__file__).with_name("_search_peer.py")
    done = subprocess.run(
        [sys.executable, str(script), str(experiment), str(genotypes)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return 60 * found["trials"] / found["seconds"]


def hypervolume(directory: Path, rounds: int, trials: int) -> None:
    """Search with every sampler from the same seeds; the box of a seed is spanned by all designs of all samplers."""
    from weft.search.results import read
    from weft.search.seeds import spread

    shares: dict[str, list[float]] = {name: [] for name in SAMPLERS[1:]}
    for seed in range(rounds):
        found = {}
        for index, sampler in enumerate(SAMPLERS):
            path = directory / f"{sampler}-{seed}"
            changes = [f"search.sampler={sampler}", f"search.trials={5 * trials}", f"search.population={trials}",
                       f"search.seed={seed}", "search.workers=2", "search.vmap=never"]  # fmt: skip
            emit(part="hypervolume", sampler=sampler, seed=seed, **run(path, "jets-demo", changes))
            found[index] = read(path)
        volumes = dict(zip(SAMPLERS, spread(found).volumes, strict=True))
        total, goal = len(found[0].evaluated), 0.95 * volumes["random"][-1]
        reached = {name: int((v >= goal).argmax()) + 1 if (v >= goal).any() else None for name, v in volumes.items()}
        ends = {name: round(float(volume[-1]), 4) for name, volume in volumes.items()}
        emit(part="hypervolume", seed=seed, evaluated=total, ends_with=ends, reaches_95_percent_of_random_after=reached)
        for name, values in shares.items():
            values.append((reached[name] or math.inf) / total)
    for name, values in shares.items():
        ratio = f"designs of {name} to 95 % / all designs of random"
        emit(part="hypervolume", ratio=ratio, value=round(statistics.median(values), 3), all=values)


def run(path: Path, preset: str, changes: list[str]) -> dict[str, float]:
    from contextlib import nullcontext

    from weft.config import load
    from weft.run import Run
    from weft.run.stages import execute
    from weft.search.results import read

    run = Run.create(path, load(preset, changes), "")
    start = time.perf_counter()
    execute(run, ("data", "search"), lambda title: nullcontext(lambda done, total, note="": None))
    wall = time.perf_counter() - start
    done = [trial for trial in read(path).evaluated]
    return {
        "trials_per_minute": round(60 * run.experiment.search.trials / wall, 2),
        "evaluated": len(done),
        "wall_seconds": round(wall, 1),
        "training_and_cost_seconds": round(sum(t.seconds - t.compile_seconds for t in done), 1),
        "compile_seconds": round(sum(t.compile_seconds for t in done), 1),
    }


PARTS = {"workers": workers, "peers": peers, "hypervolume": hypervolume}

if __name__ == "__main__":
    main()
