"""What the coordinator, the search space and the evaluation agree on: jobs go out, results come back, both are JSON.

An evaluation is a function `evaluate(job: Job) -> Result` at the top level of a module, named by `"module:function"`.
It is stateless: what it returns depends on the job alone, so it may run in any process, in any order, and again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import BaseTrial

TRIALS = "trials"
"""Directory of a run with one directory per trial, `trials/<number>/fold<k>`, for weights."""

ErrorKind = Literal["diverged", "crash", "unsupported", "invalid"]


@dataclass(frozen=True)
class Job:
    """Train and cost one genotype on one fold.

    Attributes:
        number: The trial's number, from 0.
        key: Hash of the genotype; equal keys are the same network.
        genotype: What to build, JSON.
        seed: In [0, 2**32); a function of the search's seed, the key and the fold.
        fold: In [0, n_folds).
        n_folds: 1 for a fixed validation split.
        epochs: To train.
        directory: Exists, is empty, and belongs to this job: weights go here.
        payload: What every job of the search shares (paths, settings), JSON, opaque to the coordinator.
        synthesise: If given, the weights of an earlier result of this genotype: nothing is trained, the firmware of
            these weights is synthesised, and the costs of the result are what synthesis found.
        rows: Share of the training rows to train on, in (0, 1].
        others: Members of a team that trains in one program with this job: what differs from it, as JSON.
        measure: Whether only the time of a few steps is wanted, `alone` and `together`, as metrics.
        inherit: If given, the weights of another genotype's result on this fold, to start from where shapes overlap.
    """

    number: int
    key: str
    genotype: dict[str, Any]
    seed: int
    fold: int
    n_folds: int
    epochs: int
    directory: str
    payload: dict[str, Any] = field(default_factory=dict)
    synthesise: str | None = None
    rows: float = 1.0
    inherit: str | None = None
    others: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    measure: bool = False

    def to_json(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Result:
    """What came of one job. `error` is None, or says why there are no numbers.

    Attributes:
        number: Of the job.
        fold: Of the job.
        metrics: Metric name to value on the validation part.
        costs: Cost name to a `weft.types.Quantity` as a dictionary.
        seconds: Wall time of the whole job, >= 0.
        compile_seconds: The part of `seconds` that went into compiling, >= 0.
        weights: Path of the stored weights, inside the job's directory.
        error: The reason, in one line.
        error_kind: `diverged` (a loss or weight is not finite), `unsupported` (this design cannot be built or costed),
            `invalid` (what was drawn is no valid configuration) or `crash` (anything else).
        others: The results of a team's other members, as dictionaries, in their order.
    """

    number: int
    fold: int
    metrics: dict[str, float] = field(default_factory=dict)
    costs: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    compile_seconds: float = 0.0
    weights: str | None = None
    error: str | None = None
    error_kind: ErrorKind | None = None
    others: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON-ready dictionary."""
        return asdict(self)

    def to_json(self) -> str:
        """Return the result as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


class SearchSpace(Protocol):
    """The search space as the coordinator sees it. Genotypes are JSON dictionaries."""

    def sample(self, trial: BaseTrial) -> dict[str, Any]:
        """Draw a genotype with `trial.suggest_*`.

        Suggest every parameter in every trial, used or not: children inherit only what all trials have in common.
        """
        ...

    def params_of(self, genotype: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the parameters with which `sample` gives this genotype; None for one outside the space."""
        ...

    def key(self, genotype: Mapping[str, Any]) -> str:
        """Return a hash that equal networks share."""
        ...

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return all parameters that `sample` may suggest; only samplers that must know the whole space ask."""
        ...
