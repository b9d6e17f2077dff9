"""Jobs that train in one program: a team goes to a worker as one job, and comes back as the results of all.

Candidates whose networks differ in nothing but numbers (seeds, folds, learning rate, precision, price of bits) can be
trained side by side, see `weft.train.together`. Whether that is faster depends on the machine and the network, so the
first team is measured, and the search notes what it found; a resumed search goes by the note. Which jobs form a team
follows from the generation alone, so a killed search forms the same ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weft.search.job import Job, Result

MOST = 16
"""Members of a team at most: more fill no accelerator better, and all wait for the slowest."""

GAIN = 1.5
"""By how much training together has to be faster, as measured, to be worth that last bits depend on the company."""

Kin = Callable[[Mapping[str, Any]], str | None]
"""Of a genotype: what all share that can train together; None for one that trains alone."""

_OWN = ("number", "key", "genotype", "seed", "fold", "directory", "inherit")


def teams(jobs: Sequence[Job], kin: Kin) -> list[Job]:
    """Return the jobs with those that can train together as one, in the order of their first members."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        shared = None if job.synthesise is not None else kin(job.genotype)
        place = job.directory if shared is None else (shared, job.n_folds, job.epochs, job.rows)
        groups.setdefault(place, []).append(job)
    return [_team(group[i : i + MOST]) for group in groups.values() for i in range(0, len(group), MOST)]


def members(job: Job) -> list[Job]:
    """Return the jobs of a team, each by itself."""
    alone = dataclasses.replace(job, others=[], measure=False)
    return [alone, *(dataclasses.replace(alone, **other) for other in job.others)]


def results(job: Job, result: Result) -> list[tuple[Job, Result]] | None:
    """Return each member's job and result; None where a team came back without the results of all."""
    if len(result.others) != len(job.others):
        return None
    found = [dataclasses.replace(result, others=[]), *(Result(**other) for other in result.others)]
    return list(zip(members(job), found, strict=True))


def chosen(result: Result) -> dict[str, Any]:
    """Return what a measured team shows: whether to train `together`, and why."""
    if result.error is not None:
        return {"chosen": False, "reason": f"no, since the measurement failed: {result.error}"}
    if "alone" not in result.metrics:
        return {"chosen": False, "reason": "no, since the first networks differ in the number of their batches"}
    gain = result.metrics["alone"] / result.metrics["together"]
    verdict = f"{'yes' if gain >= GAIN else 'no'}, {gain:.2f} times as fast, and {GAIN:g} times is worth it"
    return {"chosen": gain >= GAIN, "reason": verdict, **result.metrics}


def joined(found: Sequence[Result]) -> Result:
    """Return the results of a team as one."""
    return dataclasses.replace(found[0], others=[result.to_dict() for result in found[1:]])


def _team(jobs: Sequence[Job]) -> Job:
    first, *others = jobs
    return dataclasses.replace(first, others=[{name: getattr(job, name) for name in _OWN} for job in others])
