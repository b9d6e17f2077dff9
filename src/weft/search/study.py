"""The Optuna studies of a search: begun, or opened again and found to be the same search."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial

from weft.errors import RunError
from weft.objectives import OBJECTIVES
from weft.search._disk import writing
from weft.search.journal import JOURNAL, Journal, Storage, repair, sound_bytes

SEARCH, OUTSIDE = "search", "outside"
"""The two studies of a journal: the sampled trials, and baselines that lie outside the space."""


def directions_of(objectives: Iterable[str]) -> list[StudyDirection | Literal["minimize", "maximize"]]:
    """Return in which direction a study goes for each objective."""
    return ["maximize" if OBJECTIVES[name].direction == "max" else "minimize" for name in objectives]


def create_or_resume(
    directory: Path,
    objectives: Iterable[str],
    sampler: BaseSampler,
    identity: Mapping[str, Any],
    name: str = SEARCH,
) -> tuple[Study, Study]:
    """Open the studies `name` and `OUTSIDE` of a run directory for writing; the caller holds the run's lock.

    Args:
        directory: The run directory.
        objectives: Names; the study's values are in this order.
        sampler: Of the first study.
        identity: JSON; what must be the same whenever this search goes on.
        name: Of the first study.

    Raises:
        RunError: the journal is damaged, cannot be written, or belongs to a search with another identity.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = directory / JOURNAL
    repair(path)
    with writing(path):
        directory.mkdir(parents=True, exist_ok=True)
        storage = Storage(Journal(path, alone=True))
    known = optuna.get_all_study_names(storage)
    studies = [
        optuna.load_study(study_name=study, storage=storage, sampler=which)
        if study in known
        else optuna.create_study(study_name=study, storage=storage, sampler=which, directions=directions_of(objectives))
        for study, which in ((name, sampler), (OUTSIDE, RandomSampler(seed=0)))
    ]
    before = studies[0].user_attrs.get("identity")
    if before is None:
        studies[0].set_user_attr("identity", dict(identity))
    else:
        require_same(f"the search in {directory}", studies[0], identity)
    return studies[0], studies[1]


def open_to_read(directory: Path | str, name: str = SEARCH) -> tuple[Study, Study] | None:
    """Open the studies of a run directory, also while a search writes them; None where none was begun.

    Raises:
        RunError: the journal is damaged.
    """
    path = Path(directory) / JOURNAL
    if not path.exists():
        return None
    sound_bytes(path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = Storage(Journal(path))
    if {name, OUTSIDE} - set(optuna.get_all_study_names(storage)):
        return None
    search, outside = (
        optuna.load_study(study_name=study, storage=storage, sampler=RandomSampler(seed=0)) for study in (name, OUTSIDE)
    )
    return (search, outside) if "identity" in search.user_attrs else None


def running_trial(study: Study, number: int) -> Trial:
    """Return the handle of a trial that another process began, to go on sampling it or to tell its values."""
    return Trial(study, study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number))


def trial_at(study: Study, number: int) -> FrozenTrial | None:
    """Return one trial, or None where it has not begun; in a long study, a list of all would take a while."""
    try:
        found = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    except KeyError:
        return None
    return study._storage.get_trial(found)


def require_same(what: str, study: Study, identity: Mapping[str, Any]) -> None:
    """Refuse to go on with a study of another search.

    Raises:
        RunError: `identity` differs from that of the study; says in what.
    """
    before, now = study.user_attrs["identity"], json.loads(json.dumps(identity))
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        how = ", ".join(f"{name} was {before.get(name)!r} and is now {now.get(name)!r}" for name in changed)
        raise RunError(f"cannot go on with {what}: {how}; put the old value back, or give another directory")
