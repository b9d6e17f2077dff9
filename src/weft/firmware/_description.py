"""The description that lies beside a project's sources: JSON with the number of its schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weft import atomic
from weft.errors import RunError


@contextmanager
def described(path: Path, schema: int, what: str, remedy: str) -> Iterator[dict[str, Any]]:
    """Give what a description holds to a block that reads it.

    Args:
        path: The description.
        schema: The schema that this weft reads.
        what: The kind of project, for messages.
        remedy: What to do where it cannot be opened.

    Raises:
        RunError: There is none, or it is of another schema, or the block finds a field missing or wrong.
    """
    try:
        data = dict(atomic.read_json(path))
        if (found := data.pop("schema")) != schema:
            raise ValueError(f"its schema is {found}, this weft reads {schema}")
        yield data
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"cannot open the {what} {path.parent} ({error}); {remedy}") from error
