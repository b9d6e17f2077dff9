"""A search space of 64 designs and an evaluation that costs nothing, and misbehaves on request.

The payload of a job may hold `sleep` (seconds), `marks` (a directory) and `actions`, which maps a design such as
`"3-5"` (or `"*"`, all others) to what its evaluation does instead of returning numbers.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from optuna.distributions import IntDistribution

from weft.errors import TrainingError, UnsupportedError
from weft.search.job import Job, Result

SIZE = 8


class ToySpace:
    """Two whole numbers below 8."""

    def sample(self, trial):
        return {"a": trial.suggest_int("a", 0, SIZE - 1), "b": trial.suggest_int("b", 0, SIZE - 1)}

    def params_of(self, genotype):
        return dict(genotype)

    def key(self, genotype):
        return f"{genotype['a']}-{genotype['b']}"

    def distributions(self):
        return {name: IntDistribution(0, SIZE - 1) for name in "ab"}


class FloatSpace(ToySpace):
    """Two numbers and a choice, so that equal designs are rare."""

    def sample(self, trial):
        kind = trial.suggest_categorical("kind", ["plain", "fancy"])
        a, b = (trial.suggest_float(name, 0.0, SIZE) for name in "ab")
        return {"a": a, "b": b, "kind": kind}

    def key(self, genotype):
        return hashlib.sha256(repr(genotype).encode()).hexdigest()[:12]


def quantity(value, unit="count"):
    return {
        "value": value,
        "unit": unit,
        "stage": "solver",
        "source": "toy 1",
        "low": None,
        "high": None,
        "reason": None,
    }


def evaluate(job: Job) -> Result:
    a, b = job.genotype["a"], job.genotype["b"]
    time.sleep(job.payload.get("sleep", 0.0))
    if "marks" in job.payload:
        with open(Path(job.payload["marks"]) / "evaluated", "a") as handle:
            handle.write(f"{job.key} {job.fold} {job.epochs} {job.rows:.3g} {job.seed} {job.inherit}\n")
    actions = job.payload.get("actions", {})
    if job.synthesise is not None:
        return synthesise(job)
    act(actions.get(job.key, actions.get("*", "")), job)
    if "final" in job.directory:  # so many seeds of a design fail
        index = int(Path(job.directory).name.removeprefix("seed").split("-")[0])
        if index < job.payload.get("diverging seeds", {}).get(job.key, 0):
            raise TrainingError("the loss is nan in epoch 2")
    if "learning" in job.payload:  # little training says less, and tends to say worse
        spread = 1 - job.epochs * job.rows / job.payload["learning"]
        accuracy_lost = spread * random.Random(f"{job.seed} {job.epochs} {job.rows}").uniform(0.0, 0.3)
    else:
        accuracy_lost = 0.0
    if job.inherit is not None:  # a little of the parent remains, and each fold starts from its own
        parent, fold = Path(job.inherit).read_text().split()
        assert (fold, parent != job.key) == (str(job.fold), True)
        accuracy_lost -= random.Random(parent).uniform(0.0, 0.05)
    noise = random.Random(job.seed).uniform(-0.01, 0.01)
    accuracy = 1 - ((a - 6) ** 2 + (b - 5) ** 2) / 100 + noise - accuracy_lost
    if actions.get(job.key) == "nan":
        accuracy = float("nan")
    weights = Path(job.directory) / "weights.txt"
    weights.write_text(f"{job.key} {job.fold}")
    costs = {"lut": quantity(100 * a + 10 * b + job.fold), "latency_cycles": quantity(1 + b, "cycles")}
    if actions.get(job.key) == "no_lut":
        costs["lut"] = {**quantity(None), "reason": "the solver gave up"}
    return Result(job.number, job.fold, {"accuracy": accuracy}, costs, seconds=0.5, weights=str(weights))


def synthesise(job: Job) -> Result:
    """Find a fifth more than was estimated, or fail for the designs that the payload names."""
    assert Path(job.synthesise).read_text() == f"{job.key} {job.fold}"
    act(job.payload.get("in synthesis", {}).get(job.key, ""), job)
    if job.key in job.payload.get("unsynthesisable", ()):
        return Result(job.number, job.fold, error="the tool gave up", error_kind="crash")
    found = {**quantity(1.2 * (100 * job.genotype["a"] + 10 * job.genotype["b"] + 1)), "stage": "synthesis"}
    return Result(job.number, job.fold, costs={"lut": {**found, "source": "toy synthesis"}})


def act(action: str, job: Job) -> None:
    if action == "raise":
        raise ValueError(f"design {job.key} is not to my taste")
    if action == "diverge":
        raise TrainingError("the loss is nan in epoch 2")
    if action == "unsupported":
        raise UnsupportedError("no such activation")
    if action == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "kill parent":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if action == "exit":
        sys.stderr.write("giving up\n")
        sys.exit(3)
    if action == "kill once":
        mark = Path(job.payload["marks"]) / job.key
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def returns_none(job: Job) -> None:
    """Not an evaluation."""


def stores_elsewhere(job: Job) -> Result:
    """Breaks the rule that weights go into the directory of the job."""
    return Result(job.number, job.fold, {"accuracy": 0.5}, {"lut": quantity(1)}, weights="/elsewhere/w")


def starts_a_process(job: Job) -> Result:
    """Leaves a process behind, as a synthesis tool might."""
    with subprocess.Popen(["sleep", "60"]) as process:
        pid, process.wait = process.pid, lambda *a, **k: 0
    return Result(job.number, job.fold, {"pid": pid})


def describes_its_process(job: Job) -> Result:
    """Returns what a worker looks like from the inside."""
    cores = os.sched_getaffinity(0)
    names = ("OMP_NUM_THREADS", "XLA_FLAGS", "JAX_PLATFORMS", "PJRT_NPROC")
    (Path(job.directory) / "seen.json").write_text(
        json.dumps({"cores": sorted(cores), "pid": os.getpid(), **{name: os.environ.get(name) for name in names}})
    )
    return Result(job.number, job.fold, {"accuracy": 1.0})


def returns_an_array(job: Job) -> Result:
    """Forgets to turn an array into a number."""
    return Result(job.number, job.fold, {"accuracy": np.ones(2)})


def raises_with_a_note(job: Job) -> Result:
    """Fails deep inside."""
    error = UnsupportedError("no such layer")
    error.add_note("in layer dense_2")
    raise error
