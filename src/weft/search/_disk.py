"""A write that fails says which file, why, and that nothing finished so far is lost."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from weft.errors import RunError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors that are about the disk and not about the work: they stop a search, they do not fail a trial."""


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn an `OSError` of the block into a `RunError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"could not write {path}: {error.strerror or error}; free space or give the right to write there, and run "
            "the same command again: what is finished is kept, and the run goes on from there"
        ) from error
