"""Checkpoints: the complete state of a training in one npz file that appears whole or not at all.

The arrays carry the model, the optimizer and every snapshot; a JSON text among them carries the epoch, the history and
what controls and trackers remember. A training resumed from it equals the uninterrupted one bit for bit.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from weft.atomic import write_arrays
from weft.errors import RunError
from weft.train.engine import State

_META = "meta"
_FORMAT = 1


def save(path: Path, state: State, meta: Mapping[str, Any], extra: Mapping[str, np.ndarray]) -> None:
    """Write state, metadata (JSON) and further named arrays."""
    arrays = {
        f"state.{name}.{i}": np.asarray(a) for name, group in state._asdict().items() for i, a in enumerate(group)
    }
    arrays |= {f"extra.{name}": np.asarray(a) for name, a in extra.items()}
    text = json.dumps({"format": _FORMAT, **meta})
    write_arrays(path, {**arrays, _META: np.frombuffer(text.encode(), np.uint8)})


def load(path: Path, like: State) -> tuple[State, dict[str, Any], dict[str, np.ndarray]]:
    """Read what `save` wrote; `like` gives the number, shapes and types of the arrays expected.

    Raises:
        RunError: The file is damaged, or belongs to another model.
    """
    import jax.numpy as jnp

    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise RunError(f"checkpoint {path} cannot be read ({error}); delete it to start this training anew") from error
    meta = json.loads(arrays.pop(_META).tobytes().decode())
    groups = []
    for name, group in like._asdict().items():
        values = []
        for i, expected in enumerate(group):
            found = arrays.get(f"state.{name}.{i}")
            if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
                raise RunError(
                    f"checkpoint {path} belongs to another model: {name} variable {i} is "
                    f"{'missing' if found is None else f'{found.dtype}{found.shape}'} there and "
                    f"{expected.dtype}{expected.shape} here; delete it to start this training anew"
                )
            values.append(jnp.array(found))
        groups.append(values)
    extra = {name.removeprefix("extra."): a for name, a in arrays.items() if name.startswith("extra.")}
    return State(*groups), meta, extra
