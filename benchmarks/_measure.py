"""What benchmarks share: processes that train on command, medians with their spread, and a line about the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def machine(*more: str) -> dict[str, Any]:
    """Return the machine and the versions that a ratio was measured with."""
    names = ("weft", "keras", "jax", "hgq2", "optuna", "numpy", *more)
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].split(":")[1].strip() if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, quartiles and count."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "low": low, "high": high, "n": len(values)}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median over rounds of the ratio of two rates."""
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2)


def emit(**line: Any) -> None:
    """Print one JSON line."""
    print(json.dumps(line), flush=True)


def put(document: Path, begin: str, end: str, text: str) -> None:
    """Put a text between two marks of a document, in place of what stood there."""
    whole = document.read_text("utf-8")
    document.write_text(f"{whole.split(begin)[0]}{begin}\n{text}\n{end}{whole.split(end)[1]}", "utf-8")


class Contender:
    """A process on one core that trains one chunk for every line it reads.

    Variables alone would not hold it to a thread: XLA keeps a pool of one thread a core, and `fit` prepares a batch in
    Python while that pool trains the one before.
    """

    def __init__(
        self,
        label: str,
        python: str,
        backend: str,
        contender: str,
        case: str,
        weights: str = "",
        script: str = "_contenders.py",
        flags: str = "",
    ) -> None:
        environment = {**os.environ, **ONE_THREAD, "KERAS_BACKEND": backend, "WEFT_BENCHMARK_WEIGHTS": weights}
        environment["XLA_FLAGS"] += flags
        self.label, self.steps_per_second, self.cpu_rates = label, [], []
        core = max(os.sched_getaffinity(0))
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name(script)), contender, case],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"contender '{self.label}' ended with exit code {self._process.wait()}")

    def ready(self) -> float:
        """Wait until it is warm; return the seconds that took."""
        return self._line()["warm_up_seconds"]

    def chunk(self) -> None:
        """Train one chunk and note its rates, in steps per second of wall and of processor time."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        times = self._line()
        self.steps_per_second.append(times["steps"] / times["wall"])
        self.cpu_rates.append(times["steps"] / times["cpu"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def has(python: str, *modules: str) -> bool:
    """Say whether an interpreter can import modules."""
    code = "import importlib.util, sys; sys.exit(any(importlib.util.find_spec(m) is None for m in sys.argv[1:]))"
    return subprocess.run([python, "-c", code, *modules], check=False).returncode == 0


def here() -> str:
    """Return this interpreter."""
    return sys.executable
