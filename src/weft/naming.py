"""Names that nothing else has."""

from __future__ import annotations


def unique(wanted: str, taken: set[str]) -> str:
    """Return a name that is not in `taken`, and put it there: the one that is wanted, or that with a number behind it.

    Example:
        >>> unique("dense", {"dense", "dense_2"})
        'dense_3'
    """
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name
