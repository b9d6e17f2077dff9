"""Evaluate jobs on the workers of a Dask cluster: one at a time on each, in a process like those of this machine.

Jobs wait here, not at the scheduler: a job is given to one worker, and when that worker is gone, it alone is lost. So
the coordinator decides what is tried again and how often, and Dask's own retries never happen. Jobs and results are
small; weights go into the run directory, which the workers must share. Each proves that before its first job.
"""

from __future__ import annotations

import collections
import json
import logging
import math
import queue
import secrets
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft import atomic
from weft.config.workers import DASK, ClusterConfig
from weft.errors import RunError, ToolNotFoundError
from weft.search._disk import writing
from weft.search.job import Job, Result
from weft.search.workers import _remote
from weft.search.workers._base import Lost, Workers

if TYPE_CHECKING:
    from distributed import Client, Future

    from weft.search.workers.cluster import Cluster

logger = logging.getLogger(__name__)

CONNECT = 10.0
"""How long, in seconds, a scheduler may take to answer."""

PATIENCE = 15.0
"""How long, in seconds, a network file system may take to show a worker the run directory."""

ABSENT, QUEUED = 60.0, 1800.0
"""How long, in seconds, no worker at all may be there for waiting jobs: of a scheduler that runs, of a batch system."""

_LOOK, _SCALE, _REMIND = 0.5, 10.0, 60.0  # s between looks at who is there, corrections of the cluster, reminders

_CHECK = (
    "see whether the batch system has begun its jobs (squeue, condor_q, qstat, bjobs), and whether a worker there can "
    "reach that address"
)


class DaskWorkers(Workers):
    """The workers that a Dask scheduler has, whoever comes and goes.

    Args:
        client: Connected; closed at the end.
        evaluate: `"module:function"`, importable by the workers.
        log_directory: `workers` of the run directory; holds what each worker's process prints.
        seconds: Longest time for one job; None sets no limit.
        cluster: Whose size is looked after, and which is closed at the end; None leaves the scheduler as it is.
        absent: How long, in seconds, jobs may wait while no worker at all is there; None is for ever.

    Raises:
        RunError: the log directory cannot be written.
    """

    def __init__(
        self,
        client: Client,
        evaluate: str,
        log_directory: Path | str,
        seconds: float | None = None,
        cluster: Cluster | None = None,
        absent: float | None = None,
    ) -> None:
        self._client: Any = client  # its methods are typed as coroutines, too
        self._cluster = cluster
        logs, token = Path(log_directory).resolve(), secrets.token_hex(8)
        with writing(logs):
            logs.mkdir(parents=True, exist_ok=True)
            atomic.write_text(logs / _remote.TOKEN, token)
        self._settings = json.dumps(
            {"evaluate": evaluate, "logs": str(logs), "token": token, "patience": PATIENCE, "seconds": seconds}
        )
        self._waiting: collections.deque[Job] = collections.deque()
        self._running: dict[str, tuple[Job, Future]] = {}  # by the worker's address
        self._done: queue.SimpleQueue[tuple[str, Future]] = queue.SimpleQueue()
        self._alive: dict[str, float] = {}  # address to when it was last seen busy, or came
        self._used: set[str] = set()
        self._looked = self._scaled = -float("inf")
        self._absent = math.inf if absent is None else absent
        self._reminded = self._last = time.monotonic()

    @property
    def free(self) -> int:
        self._look()
        return max(self._room() - len(self._waiting) - len(self._running), 0)

    def start(self, job: Job) -> None:
        self._waiting.append(job)

    def wait(self) -> list[tuple[Job, Result | Lost]]:
        if not self._running and not self._waiting:
            return []
        room = self._room()
        while True:
            self._look()
            back = self._lost()
            self._hand_out()
            with suppress(queue.Empty):
                done = self._done.get(timeout=0 if back else _LOOK)
                while True:
                    back += self._reply(*done)
                    done = self._done.get_nowait()
            if back or self._waiting or self._room() > room:
                return back

    def give_back(self) -> list[Job]:
        back = list(self._waiting)
        self._waiting.clear()
        return back

    def close(self) -> None:
        if self._client.status != "closed":
            with suppress(OSError, TimeoutError, RuntimeError):  # a scheduler that is gone has nothing left to end
                self._client.sync(self._client._run, _remote.end, self._settings, on_error="ignore", callback_timeout=5)
            self._client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close()

    def _room(self) -> int:
        """Return how many jobs may be here at once; at least one, which then waits for the first worker."""
        return max(len(self._alive), 1 if self._cluster is None else self._cluster.most)

    def _look(self) -> None:
        """See which workers are there, at most every half a second, and keep the cluster at its size."""
        now = time.monotonic()
        if now < self._looked + _LOOK:
            return
        try:
            addresses = self._client.nthreads()
        except (OSError, TimeoutError) as error:
            raise RunError(
                f"the Dask scheduler {self._address()} was lost: {error}; nothing finished is lost: start the "
                "scheduler again, and the same command goes on from here"
            ) from error
        self._looked = now
        self._alive = {address: self._alive.get(address, now) for address in addresses}
        self._alive |= dict.fromkeys(self._running.keys() & self._alive.keys(), now)
        if self._cluster is not None and now > self._scaled + _SCALE:
            self._scaled = now
            idle = {address: now - busy for address, busy in self._alive.items() if address not in self._running}
            self._cluster.fit(len(self._running) + len(self._waiting), idle)
        if self._alive or not self._waiting:
            self._reminded = self._last = now
        elif now > self._last + self._absent:
            raise RunError(
                f"no worker of the Dask scheduler {self._address()} came for {len(self._waiting)} jobs within "
                f"{self._absent / 60:g} minutes; {_CHECK}. Nothing finished is lost, and the same command goes on; "
                "worker_timeout_minutes, next to workers, says how long to wait"
            )
        elif now > self._reminded + _REMIND:
            self._reminded = now
            logger.warning(
                "%d jobs wait for the first worker of the Dask scheduler %s; %s",
                len(self._waiting), self._address(), _CHECK,
            )  # fmt: skip

    def _lost(self) -> list[tuple[Job, Result | Lost]]:
        """Return the jobs of workers that are gone."""
        return [(self._take(address), _gone(address)) for address in self._running.keys() - self._alive.keys()]

    def _hand_out(self) -> None:
        """Give a job to each worker that has none, first to those whose process is warm."""
        if not self._waiting:
            return
        free = self._alive.keys() - self._running.keys()
        idle = sorted(free, key=lambda address: (address not in self._used, address))
        for address in idle[: len(self._waiting)]:
            job = self._waiting.popleft()
            future = self._client.submit(
                _remote.evaluate, job.to_json(), self._settings,
                key=f"weft-{job.number}-{job.fold}-{secrets.token_hex(8)}", workers=[address], retries=0, pure=False,
            )  # fmt: skip
            self._running[address] = job, future
            self._used.add(address)
            future.add_done_callback(lambda future, address=address: self._done.put((address, future)))

    def _reply(self, address: str, future: Future) -> list[tuple[Job, Result | Lost]]:
        if self._running.get(address, (None, None))[1] is not future:
            return []  # it was given up as lost
        if future.status == "cancelled":  # so is everything when the scheduler is gone: look before judging
            self._looked = -float("inf")
            self._look()
            return [(self._take(address), _gone(address))]
        job = self._take(address)
        if future.status == "error":
            error = future.exception()
            if type(error).__name__ == "KilledWorker":
                return [(job, _gone(address))]
            raise RunError(
                f"the Dask worker {address} cannot run jobs: {type(error).__name__}: {error}; it needs the same weft, "
                "Python and distributed as the search"
            )
        reply: dict[str, Any] = future.result()
        if "fatal" in reply:
            raise RunError(reply["fatal"])
        return [(job, Lost(reply["lost"]) if "lost" in reply else Result(**reply))]

    def _take(self, address: str) -> Job:
        job, future = self._running.pop(address)
        if not future.done():
            future.cancel()
        return job

    def _address(self) -> str:
        return str(getattr(self._client.scheduler, "address", "")).replace("tcp://", DASK)


def _gone(address: str) -> Lost:
    return Lost(f"the Dask worker {address} is gone: killed, out of memory or time, or cut off")


def open_dask(
    config: str | ClusterConfig,
    evaluate: str,
    log_directory: Path | str,
    seconds: float | None = None,
    absent: float | None = None,
) -> DaskWorkers:
    """Connect to the scheduler `dask://host:port`, or begin a cluster with a scheduler in this process.

    `absent` is `ABSENT` or `QUEUED`, unless given.

    Raises:
        ToolNotFoundError: the packages of the extra `cluster`, or the batch system's commands, are not installed.
        RunError: no scheduler answers within 10 s, or the batch system refuses the jobs.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ToolNotFoundError(
            f"search.workers: {config if isinstance(config, str) else config.cluster} needs the package 'distributed', "
            "which is not installed: pip install 'weft[cluster]'"
        ) from error
    with ExitStack() as undo:
        if isinstance(config, str):
            cluster, address = None, config.replace(DASK, "tcp://")
            remedy = (
                "see that 'dask scheduler' runs there, that search.workers names its host and port (not the "
                "dashboard's), and that no firewall is between"
            )
        else:
            from weft.search.workers.cluster import Cluster

            cluster = Cluster(config, Path(log_directory))
            undo.callback(cluster.close)
            address = cluster.address
            remedy = (
                "it is the one that this process began: see that this machine can reach its own address, or name "
                "another interface in search.workers.interface"
            )
        try:
            client = Client(address, timeout=CONNECT, set_as_default=False)
        except OSError as error:
            place = address.replace("tcp://", DASK)
            raise RunError(f"no Dask scheduler answered at {place} within {CONNECT:g} s; {remedy}") from error
        undo.callback(client.close)
        absent = absent or (ABSENT if cluster is None else QUEUED)
        workers = DaskWorkers(client, evaluate, log_directory, seconds, cluster, absent)
        undo.pop_all()
    return workers
