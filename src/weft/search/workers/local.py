"""Evaluate jobs in processes of this machine, each on one core with one thread.

Training small networks gains nothing from threads, so many processes of one thread each use a machine best. A process
starts when it is first needed and is used for all later jobs: modules are imported once. It leads a process group of
its own, so a Ctrl-C in the terminal reaches the coordinator alone, and ending a worker ends whatever it started. When
the coordinator dies, its end of the pipe closes, and the worker ends itself.
"""

from __future__ import annotations

import collections
import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path

from weft._backend import one_thread
from weft.errors import RunError
from weft.search._disk import writing
from weft.search.job import Job, Result
from weft.search.workers._base import Lost, Workers

logger = logging.getLogger(__name__)

_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from weft.search.workers._child import main; main()"
_MEMORY_OF_A_WORKER = 3 * 2**29  # 1.5 GiB; one with JAX, a network and its data has been seen to take 1.1


def available_cores() -> int:
    """Return how many cores this process may use: its affinity, cut by the quota of its control group."""
    cores = len(_affinity())
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def automatic_count() -> int:
    """Return how many workers suit this machine: one for each core that has memory for a training."""
    return max(1, min(available_cores(), available_memory() // _MEMORY_OF_A_WORKER))


def local_count(workers: object) -> int:
    """Return how many processes of this machine a value `workers` of the configuration means; a cluster is not here."""
    return workers if isinstance(workers, int) else automatic_count()


def available_memory() -> int:
    """Return how many bytes new processes may use: what the system has to spare, cut by the control group's limit."""
    spare = []
    with suppress(OSError, ValueError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        spare.append(int(lines["MemAvailable"].split()[0]) * 1024)
    with suppress(OSError, ValueError):  # `max` is no number
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        spare.append(limit - used)
    return min(spare, default=sys.maxsize)


class LocalWorkers(Workers):
    """Up to `count` processes.

    Args:
        count: At least 1.
        evaluate: `"module:function"`, imported in each process.
        log_directory: Where `worker-<i>.log` takes what worker i prints.
        seconds: Longest time for one job; the worker that takes longer is killed. None sets no limit.
        pin: Whether each process keeps to one core; otherwise the system moves it, and it has one thread all the same.
    """

    def __init__(
        self, count: int, evaluate: str, log_directory: Path | str, seconds: float | None = None, pin: bool = True
    ) -> None:
        self._count, self._evaluate, self._logs, self._pin = count, evaluate, Path(log_directory), pin
        self._seconds = math.inf if seconds is None else seconds
        self._workers: dict[int, _Worker] = {}
        with writing(self._logs):
            self._logs.mkdir(parents=True, exist_ok=True)

    @property
    def free(self) -> int:
        return self._count - sum(worker.job is not None for worker in self._workers.values())

    @property
    def pids(self) -> list[int]:
        """The processes, each the leader of a group of its own."""
        return [worker.process.pid for worker in self._workers.values()]

    def take(self, queue: collections.deque[Job]) -> Job:
        """Take another fold of what a free worker has just trained, or else a network that no worker is training."""
        free = {worker.last for worker in self._workers.values() if worker.job is None}
        busy = {worker.job.key for worker in self._workers.values() if worker.job is not None}
        fresh = next((i for i, job in enumerate(queue) if job.key not in busy), 0)
        index = next((i for i, job in enumerate(queue) if job.key in free), fresh)
        job = queue[index]
        del queue[index]
        return job

    def start(self, job: Job) -> None:
        while True:
            free = [i for i in range(self._count) if i not in self._workers or self._workers[i].job is None]
            index = next((i for i in free if i in self._workers and self._workers[i].last == job.key), free[0])
            worker = self._workers.get(index) or self._begin(index)
            try:
                worker.connection.send_bytes(job.to_json().encode())
            except OSError:  # it died since its last job; this one has lost nothing
                logger.warning("worker %d ended while it was idle: %s", index, self._bury(index).reason)
                continue
            worker.job, worker.last, worker.log_start = job, job.key, worker.log.stat().st_size
            worker.deadline = time.monotonic() + self._seconds
            return

    def wait(self) -> list[tuple[Job, Result | Lost]]:
        busy = {worker.connection: (index, worker) for index, worker in self._workers.items() if worker.job is not None}
        back: list[tuple[Job, Result | Lost]] = []
        deadline = min((worker.deadline for _, worker in busy.values()), default=math.inf)
        ready_ones = connection.wait(list(busy), None if deadline == math.inf else max(deadline - time.monotonic(), 0))
        if not ready_ones and busy:
            index, worker = min(busy.values(), key=lambda pair: pair[1].deadline)
            self._bury(index, kill=True)
            assert worker.job is not None
            return [(worker.job, Lost(f"killed after {self._seconds:g} s, the longest time for one training"))]
        for ready in ready_ones:
            index, worker = busy[ready]  # type: ignore[index]  # `wait` returns members of its argument
            job, worker.job = worker.job, None
            assert job is not None
            try:
                reply = json.loads(worker.connection.recv_bytes())
            except (EOFError, OSError):
                back.append((job, self._bury(index)))
                continue
            if "fatal" in reply:
                raise RunError(reply["fatal"])
            back.append((job, Result(**reply)))
        return back

    def close(self) -> None:
        for index in list(self._workers):
            self._bury(index, kill=True)

    def _begin(self, index: int) -> _Worker:
        mine, theirs = connection.Pipe()
        cores = sorted(_affinity())
        core = (
            cores[(os.getpid() + index) % len(cores)] if self._pin else -1
        )  # searches side by side differ in the first
        log = self._logs / f"worker-{index}.log"
        environment = {
            **os.environ,
            **one_thread(),
            "JAX_PLATFORMS": os.environ.get(
                "JAX_PLATFORMS", "cpu"
            ),  # processes would fight for an accelerator's memory
        }
        with theirs, writing(log), open(log, "ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno()), str(core), self._evaluate],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                process_group=0,
            )
        self._workers[index] = _Worker(process, mine, log)
        return self._workers[index]

    def _bury(self, index: int, kill: bool = False) -> Lost:
        """Remove a worker that has died, or kill it, and say how it ended."""
        worker = self._workers.pop(index)
        if not kill:
            try:
                worker.process.wait(5.0)
            except subprocess.TimeoutExpired:
                logger.warning("worker %d closed its pipe without ending; it is killed", index)
        try:
            os.killpg(worker.process.pid, signal.SIGKILL)  # and what it had started
        except ProcessLookupError:
            pass
        code = worker.process.wait()
        worker.connection.close()
        return Lost(_how_it_ended(code, worker.log, worker.log_start))


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: connection.Connection
    log: Path
    job: Job | None = None
    last: str = ""  # key of the newest job: what it needs again is compiled
    log_start: int = 0
    deadline: float = math.inf


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _how_it_ended(code: int, log: Path, start: int) -> str:
    if code == -signal.SIGKILL:
        how = "worker killed by SIGKILL (the system does this when memory runs out)"
    elif code < 0:
        how = f"worker killed by {signal.Signals(-code).name}"
    else:
        how = f"worker exited with code {code}"
    with open(log, "rb") as handle:
        handle.seek(max(start, log.stat().st_size - 4096))
        lines = handle.read().decode(errors="replace").strip().splitlines()
    return f"{how}; its last words: {lines[-1][:300]}" if lines else how
