"""From the file, or the name of a preset, to a checked `Experiment`, and back.

All problems of a file are reported at once, each with its line and the path of its key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from weft.config.compress import CompressConfig, recipes_of
from weft.config.constraint import USER_CODE
from weft.config.data import XY, FilesConfig
from weft.config.document import Document, DocumentError, parse, write
from weft.config.experiment import VERSION, Experiment
from weft.config.explain import explain
from weft.config.layers import BASE
from weft.config.migrate import migrate, renamed
from weft.config.overrides import OverrideError, apply
from weft.errors import ConfigError
from weft.section import KeyPath, did_you_mean, got

_PRESETS = Path(__file__).parent / "presets"


def load(path_or_preset: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment from a YAML file or from a preset.

    Args:
        path_or_preset: A file, or a name from `presets()`; a file of that name goes first.
        overrides: Changes such as `search.trials=5`; the value is YAML, a number in the key is a list position.

    Returns:
        The experiment. Relative data files are resolved against the folder of the file, those of a preset against
        the working directory.

    Raises:
        ConfigError: there is no such file or preset, or the file has problems: one line for each.
    """
    text, source, base = _find(path_or_preset)
    return resolve(loads(text, source, overrides, base), base)


def source_text(path_or_preset: str | Path) -> str:
    """Return what the user wrote: the text of an experiment file, or of a preset.

    Raises:
        ConfigError: there is no such file or preset, or it is no readable text.
    """
    return _find(path_or_preset)[0]


def loads(
    text: str,
    source: str = "<text>",
    overrides: Iterable[str] = (),
    base: Path | None = None,
    *,
    user_code: bool = True,
) -> Experiment:
    """Read an experiment from YAML text; `source` names it in messages. Relative paths stay as they are.

    Only a file of `compress.layers` is read at once, from the folder `base` or else from the working directory.
    Functions of the user's own that are objectives are imported to be checked, unless `user_code` is false, as for
    a run that is only looked at.

    Raises:
        ConfigError: the text has problems: one line for each, as `SOURCE:LINE: KEY: MESSAGE`.
    """
    try:
        document = parse(text)
    except DocumentError as error:
        raise ConfigError("\n".join(f"{source}:{line}: {message}" for line, message in error.found)) from error
    raw: Any = document.data
    if raw is None:
        raise ConfigError(f"{source}:1: is empty; an experiment needs at least version, name and data")
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}:1: must be a mapping with the keys version, name, data, ...; got {got(raw)}")
    try:
        data, made = apply(cast(dict[str, Any], raw), overrides)
    except OverrideError as error:
        raise ConfigError(str(error)) from error
    return _check(data, _Reporter(source, document, made), base or Path(), user_code)


def resolve(experiment: Experiment, base: Path) -> Experiment:
    """Return the experiment with the paths of its files made absolute, relative ones starting from `base`.

    Raises:
        ConfigError: There is no file of the teacher that a recipe names, or no run to start from.
    """

    def absolute(path: Path) -> Path:
        return (base / os.path.expanduser(path)).absolute()

    for path, recipe in recipes_of(experiment.compress):
        distil = getattr(recipe, "distil", None)
        if distil is None or distil.teacher is None:
            continue
        teacher = absolute(Path(distil.teacher))
        if not teacher.is_file():
            raise ConfigError(
                f"{'.'.join(map(str, path))}.distil.teacher: there is no file {teacher}; give a model saved as .keras, "
                "or leave it out for the float network of the search"
            )
        written = {"compress": experiment.compress.model_dump(by_alias=True)}
        reduce(getitem, path, cast(Any, written))["distil"]["teacher"] = str(teacher)
        compress = TypeAdapter[Any](CompressConfig).validate_python(written["compress"])
        experiment = experiment.model_copy(update={"compress": compress})
    warm = experiment.search.warm_start
    if warm is not None:
        runs = [absolute(run) for run in warm.runs]
        for run in runs:
            if not run.is_dir():
                raise ConfigError(
                    f"search.warm_start: there is no run directory {run}; name runs of 'weft search' or 'weft run'"
                )
        search = experiment.search.model_copy(update={"warm_start": warm.model_copy(update={"runs": runs})})
        experiment = experiment.model_copy(update={"search": search})
    files = experiment.data.files
    if files is None:
        return experiment

    def found(given: Path | XY | None) -> Path | XY | None:
        if isinstance(given, XY):
            return XY(x=absolute(given.x), y=absolute(given.y))
        return None if given is None else absolute(given)

    moved = FilesConfig(
        all=found(files.all), train=found(files.train), validation=found(files.validation), test=found(files.test)
    )
    return experiment.model_copy(update={"data": experiment.data.model_copy(update={"files": moved})})


def dump(experiment: Experiment) -> str:
    """Return the experiment as YAML with every default written out; `loads` reads it back as an equal one."""
    return write(experiment.model_dump(mode="json", by_alias=True))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the experiment file, for editors and forms."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}


def presets() -> dict[str, str]:
    """Return the presets: name and one-line description, which is the comment on the first line of the file."""
    files = sorted(_PRESETS.glob("*.yaml"))
    return {file.stem: file.read_text("utf-8").splitlines()[0].removeprefix("#").strip() for file in files}


def _find(path_or_preset: str | Path) -> tuple[str, str, Path]:
    """Return the text of a file or preset, its name in messages, and the folder that relative paths start from."""
    path = Path(path_or_preset)
    if path.is_file():
        try:
            return path.read_text("utf-8-sig"), str(path), path.parent
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read '{path}': {error}; it must be a readable UTF-8 text file") from error
    if str(path_or_preset) in presets():
        return (_PRESETS / f"{path_or_preset}.yaml").read_text("utf-8"), f"preset {path_or_preset}", Path.cwd()
    if path.is_dir():
        raise ConfigError(f"cannot read '{path}': it is a folder; name the YAML file in it")
    beside = [str(found) for ending in ("yaml", "yml") for found in sorted(path.parent.glob(f"*.{ending}"))]
    hint = did_you_mean(str(path_or_preset), [*beside, *presets()]) or f" (presets: {', '.join(presets())})"
    raise ConfigError(f"cannot find '{path_or_preset}': there is no such file and no preset of that name{hint}")


class _Reporter:
    """Turns (path, message) pairs into lines that say where the problem was written: in the file or in an override."""

    def __init__(self, source: str, document: Document, made: dict[KeyPath, str]) -> None:
        self._source, self._document, self._made = source, document, made

    def error(self, found: Iterable[tuple[KeyPath, str]]) -> ConfigError:
        """Return the error that lists the problems in the order of the file, those of overrides last."""
        return ConfigError("\n".join(text for _, text in sorted(map(self._line, found), key=lambda item: item[0])))

    def _line(self, problem: tuple[KeyPath, str]) -> tuple[float, str]:
        path, message = problem
        what = f"{'.'.join(map(str, path))}: {message}" if path else message
        for end in range(len(path), 0, -1):
            if path[:end] in self._made:
                return float("inf"), f"override '{self._made[path[:end]]}': {what}"
        line = self._document.line(path)
        return line, f"{self._source}:{line}: {what}"


def _check(data: dict[str, Any], reporter: _Reporter, base: Path, user_code: bool) -> Experiment:
    found: list[tuple[KeyPath, str]] = []
    try:
        data = renamed(migrate(data))
    except ConfigError as error:
        if "version" in data:
            raise reporter.error([(("version",), str(error))]) from error
        found.append((("version",), str(error)))
        data = {"version": VERSION, **data}
    try:
        experiment = Experiment.model_validate(data, context={BASE: base, USER_CODE: user_code})
    except ValidationError as error:
        raise reporter.error([*found, *explain(error, data, Experiment)]) from error
    if found:
        raise reporter.error(found)
    return experiment
