"""From the section `data` of an experiment to a `Dataset`: read, check, encode, split, limit, scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from weft import plugins
from weft.config.data import XY, DataConfig
from weft.data import check, files, jets, openml, qubit, split
from weft.data.dataset import Dataset, Provenance, Split
from weft.data.labels import Labels, encode
from weft.data.roles import SPLITS, Rows, assign
from weft.data.source import Source, sha256_of_files
from weft.errors import DataError
from weft.plugins import offered

_NAMED = {"jets-hlf": jets.hlf_source, "jets-constituents": jets.constituents_source, "qubit-readout": qubit.source}


def load(config: DataConfig, base: Path | None = None) -> Dataset:
    """Return the data set of `config`, checked, split and scaled.

    Where the data give no validation or test split, it is split off the training rows by `config.seed`, with equal
    shares of every class. `config.rows` then keeps the first rows of each split, and the scaler is fitted on the
    training rows that are left.

    Args:
        config: The section `data` of an experiment.
        base: The directory that relative paths start from; the working directory if None.

    Raises:
        DataError: the data cannot be read, or hold what training cannot use; the message names file, column and row.
    """
    source = _source(config, base or Path())
    labels = encode(source.parts, config.known_task or "auto", config.classes)
    raw = {
        name: Split(rows.x, labels.y[name], None if rows.weight is None else rows.weight.astype(np.float32))
        for name, rows in source.parts.items()
    }
    was_split = not all(name in raw for name in SPLITS)
    raw = _limited(_split(raw, labels, config), config)
    gaps = [f"{rows.dropped} rows with a gap left out ({name})" for name, rows in source.parts.items() if rows.dropped]
    limits = [f"{name}: first {n}" for name in SPLITS if (n := getattr(config.rows, name)) is not None]
    return Dataset.build(
        raw,
        name=source.name,
        task=labels.task,
        class_names=labels.class_names,
        feature_names=next(iter(source.parts.values())).feature_names,
        scale=source.scaler or config.scale,
        provenance=Provenance(
            source.name,
            source.text,
            source.sha256,
            config.seed if was_split or source.seeded else None,
            (*source.notes, *gaps, *labels.notes, *(["rows limited to " + ", ".join(limits)] if limits else [])),
        ),
    )


def _source(config: DataConfig, base: Path) -> Source:
    if config.files is not None:
        return _files_source(config, base)
    if config.openml is not None:
        return openml.source(config.openml, config)
    assert config.name is not None  # the configuration has exactly one of the three
    if config.name in _NAMED:
        return _NAMED[config.name](config)
    if config.name in offered("weft.data"):
        return _plug_in(config.name, config)
    return openml.source(int(config.name.removeprefix("openml:")), config)


def _plug_in(name: str, config: DataConfig) -> Source:
    source = plugins.load("weft.data", name)(config)
    if not isinstance(source, Source):
        raise DataError(
            f"the data set '{name}' of {plugins.owner(offered('weft.data')[name])} must be a function (config) -> "
            f"weft.data.Source; it returned {type(source).__name__}"
        )
    for rows in source.parts.values():
        check.rows(rows)
    return source


def _files_source(config: DataConfig, base: Path) -> Source:
    assert config.files is not None
    given = {name: value for name in ("all", *SPLITS) if (value := getattr(config.files, name)) is not None}
    parts: dict[str, Rows] = {}
    read: list[Path] = []
    for name, entry in given.items():
        if isinstance(entry, XY):
            content = files.read_pair(base / entry.x, base / entry.y)
            read += [base / entry.x, base / entry.y]
        else:
            content = files.read(base / entry, config.tree)
            read.append(base / entry)
        found = assign(
            content,
            label=config.label,
            features=config.features,
            weight=config.sample_weight,
            missing=config.missing,
        )
        if name == "all":
            parts = found
        elif len(found) > 1:
            raise DataError(
                f"{content.path}: holds the splits {', '.join(found)}, but is given as data.files.{name}; "
                f"give it as data.files.all"
            )
        else:
            (parts[name],) = found.values()
    if len(parts) > 1:
        parts = {name: _aligned(rows, parts["train"]) for name, rows in parts.items()}
    names = ", ".join(path.name for path in read)
    return Source(read[0].stem, f"the file{'s' * (len(read) > 1)} {names}", parts, sha256_of_files(read))


def _aligned(rows: Rows, train: Rows) -> Rows:
    """Return `rows` with its columns in the order of the training rows."""
    missing = sorted(set(train.feature_names) - set(rows.feature_names))
    extra = sorted(set(rows.feature_names) - set(train.feature_names))
    if missing or extra or rows.x.shape[1:] != train.x.shape[1:]:
        raise DataError(
            f"{rows.where}: its features differ from those of {train.where}: shape {rows.x.shape[1:]} against "
            f"{train.x.shape[1:]}, missing {missing[:5]}, additional {extra[:5]}; give all files the same columns"
        )
    if rows.feature_names == train.feature_names:
        return rows
    order = [rows.feature_names.index(name) for name in train.feature_names]
    x = rows.x.reshape(len(rows.x), -1)[:, order].reshape(rows.x.shape)
    return replace(rows, x=x, feature_names=train.feature_names)


def _split(raw: dict[str, Split], labels: Labels, config: DataConfig) -> dict[str, Split]:
    raw = {("train" if name == "all" else name): part for name, part in raw.items()}
    left = 1.0  # of the training rows
    for name, fraction in (("test", config.test_fraction), ("validation", config.validation_fraction)):
        if name not in raw:
            train = raw["train"]
            classes = train.y if labels.class_names else np.zeros(len(train), int)
            rest, part = split.portion(classes, fraction / left, config.seed)
            raw["train"], raw[name] = train.take(rest), train.take(part)
            left -= fraction
    return {name: raw[name] for name in SPLITS}


def _limited(raw: dict[str, Split], config: DataConfig) -> dict[str, Split]:
    for name, part in raw.items():
        wanted = getattr(config.rows, name)
        if wanted is not None:
            if wanted > len(part):
                raise DataError(
                    f"data.rows.{name}={wanted} asks for more rows than the {name} split has, {len(part)}; lower it"
                )
            raw[name] = part.take(slice(wanted))
    return raw
