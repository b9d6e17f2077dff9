"""Section `data`: which rows the networks learn from, and how they are split, scaled and weighted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from weft.plugins import offered
from weft.section import Found, Section, by_shape, did_you_mean, refuse
from weft.types import Task

NAMED: dict[str, Task] = {
    "jets-hlf": "classification",
    "jets-constituents": "classification",
    "qubit-readout": "binary",
}
"""The data sets that weft knows by name, with their task."""

TRACE_SAMPLES = 770
"""Length of a qubit readout trace, in clock cycles of the digitiser."""

FilePath = Annotated[Path, Field(strict=False)]


class XY(Section):
    """A pair of .npy files that belong together."""

    x: FilePath = Field(description="The .npy file of the features, shape (n, ...); relative to the YAML file.")
    y: FilePath = Field(description="The .npy file of the labels, shape (n,) or (n, k); relative to the YAML file.")


FileOrXY = Annotated[Annotated[FilePath, Tag("(scalar)")] | Annotated[XY, Tag("(mapping)")], by_shape]

ClassWeights = Annotated[
    Annotated[Literal["none", "balanced"], Tag("(scalar)")]
    | Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), Tag("(list)")],
    by_shape,
]


class FilesConfig(Section):
    """Your own files: one that weft splits, or one for each split."""

    all: FileOrXY | None = Field(default=None, description="One file with all rows, or a pair {x, y}; weft splits it.")
    train: FileOrXY | None = Field(default=None, description="The file of the training rows, or a pair {x, y}.")
    validation: FileOrXY | None = Field(
        default=None,
        description="The file of the validation rows, or a pair {x, y}; null: split off the training rows.",
    )
    test: FileOrXY | None = Field(
        default=None, description="The file of the test rows, or a pair {x, y}; null: split off the training rows."
    )

    @property
    def paths(self) -> list[Path]:
        """Every file."""
        given = [entry for entry in (self.all, self.train, self.validation, self.test) if entry is not None]
        return [path for entry in given for path in ([entry.x, entry.y] if isinstance(entry, XY) else [entry])]

    @model_validator(mode="after")
    def _one_file_or_one_for_each_split(self) -> FilesConfig:
        given = [name for name in ("train", "validation", "test") if getattr(self, name) is not None]
        if self.all is not None and given:
            refuse([((given[0],), f"'all' already holds every row, so it excludes {' and '.join(given)}")])
        if self.all is None and "train" not in given:
            raise ValueError("needs 'all' (one file, which weft splits) or 'train' (one file for each split)")
        return self


class RowsConfig(Section):
    """How many rows of each split are used: the first ones; fewer make a quick run."""

    train: int | None = Field(default=None, ge=1, description="Rows of the training split; null uses all.")
    validation: int | None = Field(default=None, ge=1, description="Rows of the validation split; null uses all.")
    test: int | None = Field(default=None, ge=1, description="Rows of the test split; null uses all.")


class WindowConfig(Section):
    """The part of a qubit readout trace that the network sees."""

    start: int = Field(ge=0, description="First clock cycle of the window.")
    length: int = Field(ge=1, description="Length of the window, in clock cycles.")

    @model_validator(mode="after")
    def _lies_in_the_trace(self) -> WindowConfig:
        if self.start + self.length > TRACE_SAMPLES:
            raise ValueError(
                f"the window ends at start + length = {self.start + self.length}, after the trace of {TRACE_SAMPLES} "
                f"clock cycles; lower start={self.start} or length={self.length}"
            )
        return self


class DataConfig(Section):
    """The data set, its splits and its scaling."""

    name: str | None = Field(default=None, description=f"A known data set: {', '.join(NAMED)}, or openml:<number>.")
    files: FilesConfig | None = Field(default=None, description="Your own files, instead of a name.")
    openml: int | None = Field(default=None, ge=1, description="The number of an OpenML data set, instead of a name.")
    label: str | None = Field(default=None, description="Column or key of the label; null: the reader's usual name.")
    features: list[str] | None = Field(
        default=None, min_length=1, description="Columns used as features; null uses all."
    )
    tree: str | None = Field(default=None, description="Tree of ROOT files, such as Events; null: the only one.")
    task: Literal["auto", "classification", "binary", "regression"] = Field(
        default="auto", description="What is learnt; auto decides by the labels."
    )
    folds: int = Field(default=1, ge=1, description="1 validates on a fixed split; k >= 2 is stratified k-fold.")
    seed: int = Field(default=0, ge=0, description="Seed of the splits.")
    validation_fraction: float = Field(
        default=0.15, gt=0, lt=1, description="Share of all rows for validation, where the data give no such split."
    )
    test_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Share of all rows for the test, where the data give no such split."
    )
    classes: Literal["numbered", "values"] = Field(
        default="numbered",
        description="Whole-number labels: they number the classes from 0, or each different value is a class.",
    )
    missing: Literal["refuse", "drop"] = Field(
        default="refuse", description="What becomes of rows with an empty cell, NaN or infinity: an error, or left out."
    )
    scale: Literal["standard", "minmax", "none"] = Field(
        default="standard", description="Scaling of each feature, fitted on the training rows."
    )
    rows: RowsConfig = Field(default=RowsConfig(), description="Use only the first rows of each split.")
    class_weights: ClassWeights = Field(
        default="none",
        description="Weight of each class in the loss: none, balanced, or a list, one number > 0 a class.",
    )
    sample_weight: str | None = Field(
        default=None, description="Column or key of the weight of each row; null: all equal."
    )
    constituents: Literal[8, 16] | None = Field(
        default=None, description="Hardest constituents of each jet (jets-constituents only); null: 8."
    )
    window: WindowConfig | None = Field(
        default=None,
        description="Part of the trace the network sees (qubit-readout only); null: the data set's usual one.",
    )
    shots: int | None = Field(
        default=None, ge=1, description="Simulated shots (qubit-readout only); null: the data set's usual number."
    )

    @property
    def known_task(self) -> Task | None:
        """The task, if the file states it or the name of the data set implies it."""
        return self.task if self.task != "auto" else NAMED.get(self.name or "")

    @model_validator(mode="after")
    def _fits_together(self) -> DataConfig:
        found = [*self._source_problems(), *self._option_problems()]
        refuse(found)
        return self

    def _source_problems(self) -> Found:
        given = [key for key in ("name", "files", "openml") if getattr(self, key) is not None]
        if len(given) != 1:
            return [((), f"needs exactly one of name, files and openml; got {' and '.join(given) or 'none of them'}")]
        if (
            self.name is None
            or self.name in NAMED
            or self.name in offered("weft.data")
            or re.fullmatch(r"openml:[1-9]\d*", self.name)
        ):
            return []
        known = (
            f" (known: {', '.join((*NAMED, *offered('weft.data')))}, openml:<number>; your own data go under 'files')"
        )
        return [(("name",), f"unknown data set '{self.name}'{did_you_mean(self.name, NAMED)}{known}")]

    def _option_problems(self) -> Found:
        found: Found = []
        source = self.name or ("files" if self.files is not None else f"openml:{self.openml}")
        owners = {"constituents": "jets-constituents", "window": "qubit-readout", "shots": "qubit-readout"}
        for key, owner in owners.items():
            if getattr(self, key) is not None and source != owner:
                found.append(((key,), f"belongs to the data set {owner}; this one is {source}; remove it"))
        if self.tree is not None and (
            self.files is None or any(path.suffix.lower() != ".root" for path in self.files.paths)
        ):
            found.append((("tree",), "names a tree of ROOT files, and the data are no .root files; remove it"))
        for key in ("label", "sample_weight"):
            if getattr(self, key) is not None and source in NAMED:
                found.append(((key,), f"is fixed in the data set {source}; it belongs to files and openml; remove it"))
        for key, usual in (("classes", "numbered"), ("missing", "refuse")):
            if getattr(self, key) != usual and source in NAMED:
                found.append(
                    ((key,), f"says nothing about {source}, which is complete; it belongs to files; remove it")
                )
        task = NAMED.get(source)
        if task is not None and self.task not in ("auto", task):
            found.append((("task",), f"{source} is a {task} task; got {self.task}; remove it or write {task}"))
        held_out = self.validation_fraction + self.test_fraction
        if held_out >= 1:
            message = f"validation_fraction + test_fraction = {held_out:g} leaves no rows to train on; keep it < 1"
            found.append((("test_fraction",), message))
        if self.class_weights != "none" and self.known_task == "regression":
            found.append((("class_weights",), "a regression has no classes; remove it"))
        return found
