"""An evaluation that costs nothing: a parabola in two numbers, and a word that shifts it."""

from __future__ import annotations

import math
from pathlib import Path

from weft.search.job import Job, Result

WORDS = ("cosine", "constant", "plateau")


def evaluate(job: Job) -> Result:
    rate, bits = job.genotype["compress.learning_rate"], job.genotype["compress.bits0"]
    shift = WORDS.index(job.genotype["compress.schedule.name"]) if "compress.schedule.name" in job.genotype else 0
    if "marks" in job.payload:
        with open(Path(job.payload["marks"]) / "evaluated", "a") as handle:
            handle.write(f"{job.key}\n")
    if bits == job.payload.get("invalid"):
        return Result(job.number, job.fold, error="bits0: not to my taste", error_kind="invalid")
    accuracy = 1 - (math.log10(rate) + 2.3) ** 2 / 10 - (bits - 5) ** 2 / 50 - shift / 20
    ebops = {"value": 100.0 * bits * (1 + shift), "unit": "bit operations", "stage": "predicted", "source": "toy 1"}
    weights = Path(job.directory) / "model.txt"
    weights.write_text(job.key)
    return Result(job.number, job.fold, {"accuracy": accuracy}, {"ebops": ebops}, seconds=0.5, weights=str(weights))
