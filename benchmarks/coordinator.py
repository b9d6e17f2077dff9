"""Asks and tells per second of the search's coordinator, with the journal on disk and evaluations that take no time.

A journal of so many finished trials is written once; from there the real coordinator goes on for some generations, and
its time per trial is noted: `ask` draws the genotype, `store` writes what a fold gave, `tell` ends the trial. `report`
writes the tables. On a machine that has other work, processor seconds say more than wall time.

    python benchmarks/coordinator.py [--finished 0 1000 10000] [--trials 500] [--population 100] [--sampler nsga2]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from _measure import emit, machine

from weft.config.search import SearchConfig
from weft.search.job import Job, Result

OBJECTIVES = ["accuracy", "lut", "latency_cycles"]


class Space:
    """Fifteen parameters, as a space of networks of up to eight layers has."""

    def sample(self, trial: Any) -> dict[str, Any]:
        drawn: dict[str, Any] = {f"units{i}": trial.suggest_int(f"units{i}", 1, 128) for i in range(8)}
        drawn |= {f"rate{i}": trial.suggest_float(f"rate{i}", 1e-5, 1e-1, log=True) for i in range(3)}
        return drawn | {f"kind{i}": trial.suggest_categorical(f"kind{i}", ["a", "b", "c"]) for i in range(4)}

    def params_of(self, genotype: dict[str, Any]) -> dict[str, Any]:
        return dict(genotype)

    def key(self, genotype: dict[str, Any]) -> str:
        return hashlib.sha256(json.dumps(genotype, sort_keys=True).encode()).hexdigest()[:16]


def evaluate(job: Job) -> Result:
    """Give numbers that follow from the genotype, at once."""

    def cost(value: float, unit: str) -> dict[str, Any]:
        return {"value": value, "unit": unit, "stage": "solver", "source": "toy", "low": None, "high": None,
                "reason": None}  # fmt: skip

    size = sum(job.genotype[f"units{i}"] for i in range(8))
    costs = {"lut": cost(10 * size, "count"), "latency_cycles": cost(1 + job.genotype["units0"], "cycles")}
    return Result(job.number, job.fold, {"accuracy": (job.seed % 1000) / 1000}, costs, seconds=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--finished", type=int, nargs="+", default=[0, 1000, 10_000])
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--population", type=int, default=100)
    parser.add_argument("--sampler", default="nsga2")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    emit(benchmark="coordinator", **machine())
    with tempfile.TemporaryDirectory() as directory:
        for finished in options.finished:
            emit(**measure(Path(directory), finished, options))


def measure(directory: Path, finished: int, options: argparse.Namespace) -> dict[str, Any]:
    from optuna.trial import Trial

    from weft.search.coordinator import _Coordinator, search
    from weft.search.journal import RESULT
    from weft.search.workers import InlineWorkers

    def go(trials: int) -> None:
        config = SearchConfig(
            trials=trials, population=options.population, objectives=OBJECTIVES, sampler=options.sampler, workers=1
        )
        search(config, Space(), f"{__name__}:evaluate", directory, workers=InlineWorkers(f"{__name__}:evaluate"))

    if finished:
        go(finished)
    owners = {"_ask": _Coordinator, "set_user_attr": Trial, "_tell": _Coordinator, "report": _Coordinator}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in owners}
    original = {name: getattr(owner, name) for name, owner in owners.items()}

    def timed(name: str) -> Any:
        def call(self: Any, *arguments: Any) -> Any:
            start, cpu = time.perf_counter(), time.process_time()
            found = original[name](self, *arguments)
            if name != "set_user_attr" or arguments[0].startswith(RESULT):  # the others are parts of ask and tell
                spent[name].append((time.perf_counter() - start, time.process_time() - cpu))
            return found

        return call

    for name, owner in owners.items():
        setattr(owner, name, timed(name))
    start = time.perf_counter()
    if options.profile:
        import cProfile

        profile = cProfile.Profile()
        profile.runcall(go, finished + options.trials)
        profile.print_stats("cumulative")
    else:
        go(finished + options.trials)
    everything = time.perf_counter() - start
    for name, call in original.items():
        setattr(owners[name], name, call)
    first = options.population  # the first generation after opening reads the whole history, once
    parts = {"ask": "_ask", "store": "set_user_attr", "tell": "_tell"}
    wall, cpu = (
        {part: statistics.fmean(times[i] for times in spent[name][first:]) for part, name in parts.items()}
        for i in (0, 1)
    )
    return {
        "finished": finished,
        "sampler": options.sampler,
        "population": options.population,
        "load": os.getloadavg()[0],
        "ask_tell_per_second": round(1 / sum(wall.values()), 1),
        "ask_tell_per_cpu_second": round(1 / sum(cpu.values()), 1),
        "ms": {name: round(1000 * value, 2) for name, value in wall.items()},
        "cpu_ms": {name: round(1000 * value, 2) for name, value in cpu.items()},
        "report_cpu_seconds": [round(times[1], 2) for times in spent["report"]],
        "opening_and_trials_seconds": round(everything, 1),
    }


if __name__ == "__main__":
    main()
