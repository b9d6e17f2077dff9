"""Value `workers`: how many jobs run at the same time, and where: processes here, a Dask scheduler, a batch system."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Tag, model_validator

from weft.blocks import Count
from weft.section import Found, Section, by_shape, got, refuse

DASK = "dask://"
"""Begins the address of a Dask scheduler."""

_QUEUED = ("walltime", "queue", "account")
_SCRIPTED = ("interface", "job_extra_directives", "job_script_prologue")
_WITHOUT = {"htcondor": _QUEUED, "kubernetes": (*_QUEUED, *_SCRIPTED), "local": (*_QUEUED, *_SCRIPTED)}
"""Cluster to the keys that mean nothing there."""


class ClusterConfig(Section):
    """Workers that the search submits as jobs of a batch system, through dask-jobqueue or dask-kubernetes."""

    cluster: Literal["slurm", "htcondor", "pbs", "lsf", "sge", "kubernetes", "local"] = Field(
        description="Where the jobs are submitted; local: a Dask cluster on this machine, to try things."
    )
    jobs: Count | None = Field(default=None, description="Batch jobs, all through the search; or give maximum.")
    minimum: int | None = Field(default=None, ge=0, description="Batch jobs that are kept when there is no work.")
    maximum: Count | None = Field(
        default=None, description="Batch jobs when there is work for all; each is ended after 5 idle minutes."
    )
    cores: Count = Field(default=1, description="Cores of one batch job; each trains one candidate in one thread.")
    memory: str = Field(default="2GB", description="Memory of one batch job, such as 4GB.")
    walltime: str | None = Field(
        default=None, description='Longest time of one batch job, as its system writes it: "01:00:00"; null: default.'
    )
    queue: str | None = Field(default=None, description="Queue or partition; null: the system's default.")
    account: str | None = Field(default=None, description="Account or project that is charged.")
    interface: str | None = Field(
        default=None, description="Network interface by which workers reach this machine, such as ib0; null: any."
    )
    job_extra_directives: list[str] = Field(default=[], description='Further lines of the job, such as "--exclusive".')
    job_script_prologue: list[str] = Field(default=[], description="Shell commands before the worker starts.")
    image: str | None = Field(default=None, description="Container image with weft and distributed (kubernetes).")
    options: dict[str, Any] = Field(
        default={}, description="Further arguments of the class of dask-jobqueue or dask-kubernetes, by its names."
    )

    @model_validator(mode="after")
    def _is_a_cluster(self) -> ClusterConfig:
        found: Found = []
        if (self.jobs is None) == (self.maximum is None):
            found.append((("jobs",), "give either jobs, a fixed number, or maximum (with minimum), as work needs"))
        if self.minimum is not None and self.minimum > (self.maximum or 0):
            found.append((("minimum",), f"must be <= maximum={self.maximum}; got {self.minimum}"))
        if self.maximum is not None and (self.cores > 1 or self.cluster == "kubernetes"):
            found.append((("maximum",), "needs batch jobs that can be ended one by one: cores: 1, and no kubernetes"))
        if not re.fullmatch(r"\d+(\.\d+)? ?[KMGT]i?B", self.memory):
            found.append((("memory",), f"must be a number and a unit, such as 4GB; got {got(self.memory)}"))
        for i, line in enumerate(self.job_extra_directives):
            if self.cluster == "htcondor" and "=" not in line:
                problem = f"must be a line of a submit file, such as request_disk = 2GB; got {got(line)}"
                found.append((("job_extra_directives", i), problem))
        for key in _WITHOUT.get(self.cluster, ()):
            if getattr(self, key):
                found.append(((key,), f"means nothing with cluster: {self.cluster}; remove it"))
        if (self.image is not None) != (self.cluster == "kubernetes"):
            found.append((("image",), "goes with cluster: kubernetes, and is needed there"))
        refuse(found)
        return self


def _number_or_place(value: int | str) -> int | str:
    """Return a number >= 1, `auto`, or the address of a Dask scheduler."""
    is_place = isinstance(value, str) and re.fullmatch(rf"auto|{DASK}[^\s:/]+:\d{{1,5}}", value)
    if not is_place and not (isinstance(value, int) and value >= 1):
        raise ValueError(f"must be a whole number >= 1, 'auto', 'dask://HOST:PORT' or a cluster; got {got(value)}")
    return value


WorkersConfig = Annotated[
    Annotated[int | str, AfterValidator(_number_or_place), Tag("(scalar)")]
    | Annotated[ClusterConfig, Tag("(mapping)")],
    by_shape,
]
"""A number of processes, `auto`, `dask://host:port`, or a `ClusterConfig`."""
