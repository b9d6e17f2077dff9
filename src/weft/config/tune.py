"""Section `tune`: which fields of the compression are tuned, between which values, and how.

A parameter is the path of a field, as in `compress.beta.from` or `compress.layers."block0*".weight.bits`, with a choice
of values. What is wrong whatever else is chosen is refused when the file is read: `impossible` finds it by trying
combinations, with no knowledge of any recipe.
"""

from __future__ import annotations

import copy
import itertools
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, cast

from pydantic import BaseModel, Field, ValidationError, model_validator

from weft.choice import Categorical, Choice, Range
from weft.config.constraint import Constraints, Objective
from weft.config.explain import explain
from weft.config.overrides import NoSuchPart, put
from weft.config.sampler import SamplerName, count, endless, unfit
from weft.config.workers import WorkersConfig
from weft.objectives import METRICS
from weft.section import Found, KeyPath, Section, did_you_mean, refuse

TRIED = 1000
"""Up to so many combinations are all tried when a file is read; of more, each value with each word of the others."""

Value = bool | int | float | str
Values = Mapping[str, Value]
"""What one trial takes: the name of a parameter to its value."""

Problem = tuple[KeyPath, str]


class TuneConfig(Section):
    """Tuning of the compression: a network is compressed again and again, with other values of some fields."""

    trials: int = Field(default=50, ge=1, description="Combinations to try; equal ones are evaluated once.")
    sampler: SamplerName = Field(default="tpe", description="What proposes the next combination: a sampler of Optuna.")
    population: int = Field(default=10, ge=2, description="Combinations proposed before the results of any are known.")
    objectives: list[Objective] = Field(
        default=["accuracy", "ebops"], min_length=1, description="What is traded off, each once."
    )
    constraints: Constraints = Field(default={}, description='Bounds that a design must meet, such as lut: "<= 10000".')
    workers: WorkersConfig = Field(
        default="auto", description="Processes that train at the same time; dask://host:port, or a cluster."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the sampler; trainings take that of the search.")
    timeout_minutes: float | None = Field(
        default=None, gt=0, description="No new trial starts after this; null: no limit."
    )
    trial_timeout_minutes: float | None = Field(
        default=None, gt=0, description="A trial that takes longer is killed, and counts as an attempt; null: none."
    )
    worker_timeout_minutes: float | None = Field(
        default=None,
        gt=0,
        description="Longest wait while no worker is there at all; null: 1 with dask://, 30 with a cluster.",
    )
    attempts: int = Field(default=3, ge=1, description="How often a trial is tried if its worker dies.")
    parameters: dict[str, Choice[Value]] = Field(
        min_length=1,
        description="Fields of `compress` by path, such as compress.beta.from, and their values: a list, or a range.",
    )

    @property
    def epochs(self) -> int:
        """Nothing here: each trial trains as long as its own combination says."""
        return 0

    @model_validator(mode="after")
    def _can_tune(self) -> TuneConfig:
        found: Found = []
        if len(set(self.objectives)) < len(self.objectives):
            found.append((("objectives",), f"an objective is listed twice in {self.objectives}; list each once"))
        if not any(name in METRICS for name in (*self.objectives, *self.constraints)):
            message = (
                f"{self.objectives} holds no metric, so the smallest network would win; add one of "
                f"{', '.join(METRICS)}, or constrain one"
            )
            found.append((("objectives",), message))
        found += unfit(self.sampler, self.objectives, self.parameters.values(), "the parameters")
        refuse([*found, *_name_problems(self.parameters)])
        return self


def path_of(name: str) -> tuple[str, ...]:
    """Return the parts of a parameter's name, divided by dots; a part in double quotes may hold dots.

    Raises:
        ValueError: the name is no such path.

    Example:
        >>> path_of('compress.layers."net.0".weight.bits')
        ('compress', 'layers', 'net.0', 'weight', 'bits')
    """
    part = r'(?:"[^"]+"|[^."]+)'
    if not re.fullmatch(rf"{part}(?:\.{part})*", name):
        raise ValueError("is no path; write keys divided by dots, and quote a key that holds a dot")
    return tuple(found.strip('"') for found in re.findall(part, name))


def _name_problems(parameters: Mapping[str, Any]) -> Found:
    found: Found = []
    paths: dict[tuple[str, ...], str] = {}
    for name in parameters:
        try:
            path = path_of(name)
        except ValueError as error:
            found.append((("parameters", name), str(error)))
            continue
        if path[0] != "compress" or len(path) == 1:
            hint = did_you_mean(path[0], ["compress"]) if len(path) > 1 else f"; did you mean 'compress.{name}'?"
            found.append((("parameters", name), f"only fields of 'compress' are tuned{hint}"))
        paths[path] = name
    for path, name in paths.items():
        for end in range(1, len(path)):
            if path[:end] in paths:
                found.append((("parameters", name), f"lies inside '{paths[path[:end]]}', which is tuned as well"))
    return found


class Combinations:
    """Experiments that differ from one in the values of some fields."""

    def __init__(self, experiment: BaseModel) -> None:
        self._model = type(experiment)
        self._data = experiment.model_dump(mode="json", by_alias=True, exclude={"tune"})

    def experiment(self, values: Values) -> tuple[Any, Found]:
        """Return the experiment with the values in place, or None; and what is wrong with it.

        Where a value chooses another variant of a section, the keys that this variant does not have are left out.
        """
        data = {**self._data, "compress": copy.deepcopy(self._data["compress"])}
        paths = {path_of(name): value for name, value in values.items()}
        for path, value in paths.items():
            try:
                put(data, path, value)
            except NoSuchPart as error:
                return None, [(path, str(error))]
        try:
            try:
                made = self._model.model_validate(data)
            except ValidationError as error:
                unfit = [path for path in _unknown(error, data, self._model) if not _inside(path, paths)]
                if not unfit:
                    raise
                for path in unfit:
                    del _at(data, path[:-1])[path[-1]]
                made = self._model.model_validate(data)
        except ValidationError as error:
            return None, explain(error, data, self._model)
        read = {path: _at(made.model_dump(mode="json", by_alias=True), path) for path in paths}
        return made, [
            (path, f"'{value}' is read as '{read[path]}' with fields of its own; tune those fields instead")
            for path, value in paths.items()
            if not isinstance(read[path], dict | list) and read[path] != value
        ]

    def problems(self, values: Values) -> Found:
        """Return what is wrong with a combination: (path in the experiment, message)."""
        return self.experiment(values)[1]


def choices(experiment: BaseModel, tune: TuneConfig) -> dict[str, Choice[Value]]:
    """Return the choices of the parameters, where a range over a field that takes fractions takes fractions.

    `[0, 1, lin]` are two whole numbers on `bits0`, and all numbers between them on `gamma`; with a step a range is what
    its step says.
    """
    combinations = Combinations(experiment)
    words = _words(tune.parameters)

    def takes_fractions(name: str, low: int) -> bool:
        path = path_of(name)
        found = [pair for chosen in words for pair in combinations.problems({**chosen, name: low + 0.5})]
        return not any(at == path and message.startswith("must be a whole number") for at, message in found)

    def as_meant(name: str, choice: Choice[Value]) -> Choice[Value]:
        if isinstance(choice, Categorical) or choice.step is not None:
            return choice
        low, high = choice.low, choice.high
        if not (isinstance(low, int) and isinstance(high, int) and takes_fractions(name, low)):
            return choice
        return Range(low=float(low), high=float(high), log=choice.log)

    return {name: as_meant(name, choice) for name, choice in tune.parameters.items()}


def impossible(experiment: BaseModel, tune: TuneConfig) -> Found:
    """Return what cannot be, whatever else is chosen: paths inside the section `tune`, and messages.

    Of a range, its ends and its middle are tried.
    """
    parameters = choices(experiment, tune)
    if found := endless(tune.sampler, ((("parameters", name), choice) for name, choice in parameters.items())):
        return found
    values = {name: _some(choice) for name, choice in parameters.items()}
    all_of_them = all(len(values[name]) == count(choice) for name, choice in parameters.items())
    exhaustive = all_of_them and math.prod(map(len, values.values())) <= TRIED
    combinations = Combinations(experiment)
    tried = [(chosen, frozenset(combinations.problems(chosen))) for chosen in _combinations(values)]

    common = _shared_by(problems for _, problems in tried)
    if common:
        return [_at_owner(path, message, values) for path, message in sorted(common, key=str)]
    found: Found = []
    hopeless: Found = []
    for name, those in values.items():
        for value in those:
            mine = [(chosen, problems) for chosen, problems in tried if chosen[name] is value]
            always = _shared_by(problems for _, problems in mine)
            for path, message in sorted(always, key=str):
                about_it = tuple(map(str, path)) == path_of(name)
                text = message if about_it else f"with {value}, {_text(path, message)}"
                found.append((("parameters", name), text))
            if exhaustive and all(problems for _, problems in mine):
                example = "; ".join(_text(*problem) for problem in sorted(mine[0][1], key=str))
                hopeless.append((("parameters", name), f"no combination with {value} is possible, such as: {example}"))
    return list(dict.fromkeys(found or hopeless))


def _shared_by(several: Iterable[frozenset[Problem]]) -> frozenset[Problem]:
    return reduce(lambda one, other: one & other, several)


def _some(choice: Choice[Value]) -> list[Value]:
    """Return values that stand for a choice: all where there are few, and else the ends and the middle."""
    if isinstance(choice, Categorical):
        return list(choice.values)
    low, high, step = cast(Any, (choice.low, choice.high, choice.step))
    if (n := count(choice)) is not None and n <= 16:
        return [low + k * (step or 1) for k in range(n)]
    middle = math.sqrt(low * high) if choice.log else (low + high) / 2
    return [low, int(middle) if isinstance(low, int) and isinstance(high, int) else middle, high]


def _words(parameters: Mapping[str, Choice[Value]]) -> list[dict[str, Value]]:
    """Return the combinations of the values that are words: these alone decide which fields there are."""
    lists = {name: c.values for name, c in parameters.items() if isinstance(c, Categorical)}
    words = {name: [v for v in those if isinstance(v, str)] for name, those in lists.items()}
    words = {name: those for name, those in words.items() if those}
    found = itertools.islice(itertools.product(*words.values()), TRIED)
    return [dict(zip(words, chosen, strict=True)) for chosen in found]


def _combinations(values: Mapping[str, Sequence[Value]]) -> Iterator[dict[str, Value]]:
    """Give all combinations where there are few, and else each value with each word of the other parameters."""
    if math.prod(map(len, values.values())) <= TRIED:
        for chosen in itertools.product(*values.values()):
            yield dict(zip(values, chosen, strict=True))
        return
    draw = random.Random(0)
    for name, those in values.items():
        for value in those:
            yield {**{other: draw.choice(list(some)) for other, some in values.items()}, name: value}
            for other, some in values.items():
                for word in (word for word in some if isinstance(word, str) and other != name):
                    rest = {third: draw.choice(list(found)) for third, found in values.items()}
                    yield {**rest, other: word, name: value}


def _unknown(error: ValidationError, data: Any, model: type[BaseModel]) -> list[KeyPath]:
    """Return the paths of the keys that their section does not have."""
    return [path for path, message in explain(error, data, model) if message.startswith("unknown key")]


def _inside(path: KeyPath, tuned: Mapping[tuple[str, ...], Any]) -> bool:
    """Return whether a key was put there for a tuned field: it is on the way to one."""
    there = tuple(map(str, path))
    return any(there == one[: len(there)] for one in tuned)


def _at(data: Any, path: KeyPath | tuple[str, ...]) -> Any:
    for part in path:
        here: Any = data
        data = here[int(part) if isinstance(here, list) else part]
    return data


def _at_owner(path: KeyPath, message: str, parameters: Mapping[str, Any]) -> tuple[KeyPath, str]:
    """Return a problem at the parameter that it is about: the one whose path it shares most of."""
    there = tuple(map(str, path))
    shared = {name: _shared(there, path_of(name)) for name in parameters}
    best = max(shared, key=lambda name: shared[name])
    if shared[best] <= 1:
        return ("parameters",), _text(path, message)
    return ("parameters", best), message if path_of(best) == there else _text(path, message)


def _shared(one: tuple[str, ...], two: tuple[str, ...]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))


def _text(path: KeyPath, message: str) -> str:
    return f"{'.'.join(map(str, path))}: {message}"
