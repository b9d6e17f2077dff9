"""A Dask cluster of batch jobs, of one size or as large as the work needs; its scheduler runs in this process."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weft.config.workers import ClusterConfig
from weft.errors import RunError, ToolNotFoundError

IDLE = 300.0
"""After how many idle seconds a worker above `minimum` is ended: longer than the end of a generation."""

_CLASSES = {
    "slurm": ("dask_jobqueue", "SLURMCluster", "sbatch"),
    "htcondor": ("dask_jobqueue", "HTCondorCluster", "condor_submit"),
    "pbs": ("dask_jobqueue", "PBSCluster", "qsub"),
    "lsf": ("dask_jobqueue", "LSFCluster", "bsub"),
    "sge": ("dask_jobqueue", "SGECluster", "qsub"),
    "kubernetes": ("dask_kubernetes.operator", "KubeCluster", None),
    "local": ("distributed", "LocalCluster", None),
}
"""Module, class, and the command by which jobs are submitted."""


class Cluster:
    """Batch jobs that are Dask workers.

    Args:
        config: What is asked for.
        log_directory: Takes what the batch jobs print.

    Raises:
        ToolNotFoundError: the package or the submit command is not installed.
        RunError: the batch system refuses the jobs, or an option is unknown.
    """

    def __init__(self, config: ClusterConfig, log_directory: Path) -> None:
        self._config = config
        module, name, command = _CLASSES[config.cluster]
        if command is not None and shutil.which(command) is None:
            raise ToolNotFoundError(
                f"search.workers.cluster: {config.cluster} submits jobs with '{command}', which is not on PATH; "
                "run the search on a submit node"
            )
        try:
            make = getattr(importlib.import_module(module), name)
        except ImportError as error:
            package = module.split(".")[0].replace("_", "-")
            source = package if config.cluster == "kubernetes" else "'weft[cluster]'"
            raise ToolNotFoundError(
                f"search.workers.cluster: {config.cluster} needs the package '{package}', which is not installed: "
                f"pip install {source}"
            ) from error
        self._cluster: Any = None  # of Dask, which has no types here
        try:
            self._cluster = make(**arguments(config, log_directory))
            if command is not None:  # as `scale` does; but a refusal is raised here, not logged later
                for _ in range(config.jobs or self.least):
                    self._cluster.worker_spec.update(self._cluster.new_worker_spec())
                self._cluster.sync(self._cluster._correct_state)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            self._give_up()
            raise RunError(f"could not begin the {config.cluster} cluster of search.workers: {error}") from error

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return self._cluster.scheduler_address

    @property
    def least(self) -> int:
        """Workers that are always there; for kubernetes, pods."""
        count = self._config.jobs or self._config.minimum or 0
        return count if self._config.cluster == "kubernetes" else count * self._config.cores

    @property
    def most(self) -> int:
        """Workers, when all batch jobs run."""
        return (self._config.jobs or self._config.maximum or 1) * self._config.cores

    def fit(self, jobs: int, idle: Mapping[str, float]) -> None:
        """Replace batch jobs that died, and come nearer to the size that the work needs.

        Args:
            jobs: That run or wait.
            idle: Address of each worker without a job to how long it has had none, in seconds.
        """
        if self._config.jobs is not None:
            self._cluster.scale(self.least)
            return
        now = len(self._cluster.worker_spec)
        wanted = min(max(jobs, self.least), self.most)
        self._cluster.scale(max(now, wanted))
        known = self._cluster.scheduler_info["workers"]
        spare = [known[address]["name"] for address, seconds in idle.items() if seconds > IDLE and address in known]
        if now > wanted and spare:
            self._cluster.loop.add_callback(self._cluster.scale_down, spare[: now - wanted])

    def close(self) -> None:
        """End all batch jobs."""
        self._cluster.close(timeout=10)

    def _give_up(self) -> None:
        """Close a cluster whose jobs were refused; they would be in the way as neither running nor ended."""
        if self._cluster is not None:
            from distributed.core import Status

            for job in self._cluster._created:
                job.status = Status.failed
            self.close()


def arguments(config: ClusterConfig, log_directory: Path) -> dict[str, Any]:
    """Return the arguments of the class of dask-jobqueue, dask-kubernetes or distributed."""
    if config.cluster == "local":
        workers = config.jobs or config.minimum or 0
        own: dict[str, Any] = {
            "n_workers": workers * config.cores, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0",
        }  # fmt: skip
    elif config.cluster == "kubernetes":
        limits = {"cpu": str(config.cores), "memory": config.memory.rstrip("B").replace(" ", "")}
        command = ["dask", "worker", "--nworkers", str(config.cores), "--nthreads", "1"]
        own = {
            "name": "weft", "image": config.image, "n_workers": config.jobs, "worker_command": command,
            "resources": {"requests": limits, "limits": limits},
        }  # fmt: skip
    else:
        account = "project" if config.cluster in ("lsf", "sge") else "account"
        own = {
            "cores": config.cores, "processes": config.cores, "memory": config.memory, "interface": config.interface,
            "walltime": config.walltime, "queue": config.queue, account: config.account,
            "job_extra_directives": config.job_extra_directives, "job_script_prologue": config.job_script_prologue,
            "log_directory": str(log_directory.resolve()), "scheduler_options": {"dashboard_address": ":0"},
        }  # fmt: skip
        own = {name: value for name, value in own.items() if value not in (None, [])}
        if config.cluster == "htcondor":
            lines = (line.partition("=") for line in config.job_extra_directives)
            own |= {"disk": "1GB", "job_extra_directives": {key.strip(): value.strip() for key, _, value in lines}}
    return {**own, **config.options}
