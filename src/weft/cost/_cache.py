"""Estimates that took long are kept: in memory, and on disk under a digest of everything they depend on.

The digest is of the graph of layers, of every number in it (kernels and formats), of the clock and of the compiler's
version. On disk an entry is one small file below `WEFT_CACHE` (or ~/.cache/weft), written whole or not at all; one that
is damaged is computed again. Keras' names of layers are part of the digest: equal designs of other names are computed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from weft import atomic
from weft._cache import cache_directory
from weft.types import Estimate

log = logging.getLogger(__name__)

_LARGEST = 4096
"""So many estimates are kept in memory."""

_memory: OrderedDict[Path, Estimate] = OrderedDict()
_structures: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()


def directory() -> Path:
    """Return where estimates are kept between processes."""
    return cache_directory() / "costs"


def digest(model: Any, *more: Any) -> str:
    """Return the digest of a finalised model, and of whatever else an estimate depends on.

    Args:
        model: A functional model of HGQ2 layers.
        more: Numbers and texts.
    """
    from weft.quantize.formats import values_of

    found = hashlib.sha256(_structure(model))
    for variable in model.variables:
        if variable.name not in ("ebops", "beta"):  # what training counts, no part of the network
            found.update(values_of(variable).tobytes())
    found.update(repr(more).encode())
    return found.hexdigest()


def _structure(model: Any) -> bytes:
    """Return the configuration of a model; it does not change while the model lives, and takes a while to write."""
    if model not in _structures:
        _structures[model] = json.dumps(model.get_config(), sort_keys=True, default=repr).encode()
    return _structures[model]


def kept(key: str, compute: Callable[[], Estimate]) -> Estimate:
    """Return the estimate that is kept under a key, or compute it and keep it."""
    path = directory() / key[:2] / f"{key}.json"
    if path not in _memory:
        found = _read(path, key)
        if found is None:
            found = compute()
            _write(path, key, found)
        _memory[path] = found
        while len(_memory) > _LARGEST:
            _memory.popitem(last=False)
    _memory.move_to_end(path)
    return _memory[path]


def forget() -> None:
    """Drop what is kept in memory."""
    _memory.clear()
    _structures.clear()


def _read(path: Path, key: str) -> Estimate | None:
    try:
        data = atomic.read_json(path)
        text = json.dumps(data["estimate"], sort_keys=True)
        if data["key"] == key and data["sha256"] == hashlib.sha256(text.encode()).hexdigest():
            return Estimate.model_validate(data["estimate"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, ValidationError):
        pass
    log.warning("the estimate kept in %s is damaged; it is computed again", path)
    return None


def _write(path: Path, key: str, estimate: Estimate) -> None:
    values = estimate.model_dump(mode="json")
    checksum = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    try:
        atomic.write_json(path, {"key": key, "sha256": checksum, "estimate": values})
    except OSError as error:
        log.warning("an estimate could not be kept in %s (%s); set WEFT_CACHE to a directory with room", path, error)
