"""A search in a process of its own that goes on only as far as the file `go` in its parent directory says."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from weft.search.coordinator import search
from weft.search.job import Job, Result
from weft.search.workers import InlineWorkers
from weft.space.sampling import Space

from . import fake

EVALUATE = f"{__name__}:evaluate"


def evaluate(job: Job) -> Result:
    """Invent the numbers of a trial, once it may begin."""
    go = Path(job.payload["go"])
    while job.number >= int(go.read_text()):
        time.sleep(0.05)
    return fake.evaluate(job)


def main(directory: Path) -> None:
    run = fake.begin(directory, trials=12)
    fake.write_data(run, "classification", fake.JETS)
    config = run.experiment.search.model_copy(update={"vmap": "never"})  # every trial waits for itself alone
    shape = fake.TASKS["classification"]["input_shape"]
    space = Space(run.experiment.space, shape, fake.TASKS["classification"]["n_outputs"])
    payload = {"task": "classification", "go": str(directory.parent / "go")}
    search(config, space, EVALUATE, run.path, payload=payload, workers=InlineWorkers(EVALUATE))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
