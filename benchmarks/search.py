"""Trials per minute of a search with 1 and with 2 workers; compile time is shown apart.

The same small search (same seed, so the same trials) runs with 1 and with 2 workers in turn. Start-up of the workers is
part of the wall time. The first round fills the compilation cache, which is kept in a temporary folder.

    python benchmarks/search.py [--rounds 3] [--trials 12]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from _measure import emit, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    emit(benchmark="search", **machine())
    with tempfile.TemporaryDirectory() as directory:
        os.environ["WEFT_CACHE"] = str(Path(directory) / "cache")
        rates: dict[int, list[float]] = {1: [], 2: []}
        for number in range(options.rounds + 1):
            for workers in (1, 2):
                found = run(Path(directory) / f"run-{number}-{workers}", workers, options.trials)
                cold = number == 0
                emit(
                    round=number,
                    workers=workers,
                    compilation_cache="cold" if cold and workers == 1 else "warm",
                    **found,
                )
                if not cold:
                    rates[workers].append(found["trials_per_minute"])
        for workers, values in rates.items():
            emit(workers=workers, trials_per_minute=round(statistics.median(values), 2), rounds=options.rounds)
        ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
        emit(ratio="2 workers / 1 worker", value=round(statistics.median(ratios), 2))


def run(path: Path, workers: int, trials: int) -> dict[str, float]:
    from contextlib import nullcontext

    from weft.config import load
    from weft.run import Run
    from weft.run.stages import execute
    from weft.search.results import read

    changes = [f"search.trials={trials}", "search.population=6", f"search.workers={workers}"]
    run = Run.create(path, load("jets-demo", changes), "")
    start = time.perf_counter()
    execute(run, ("data", "search"), lambda title: nullcontext(lambda done, total, note="": None))
    wall = time.perf_counter() - start
    done = [trial for trial in read(path).evaluated]
    return {
        "trials_per_minute": round(60 * trials / wall, 2),
        "evaluated": len(done),
        "wall_seconds": round(wall, 1),
        "training_and_cost_seconds": round(sum(t.seconds - t.compile_seconds for t in done), 1),
        "compile_seconds": round(sum(t.compile_seconds for t in done), 1),
    }


if __name__ == "__main__":
    main()
