"""From the configurations of other packages to weft's; what has no counterpart is listed, never dropped."""

from __future__ import annotations

from weft.migration.convert import FORMATS, Migrated, migrate_file

__all__ = ["FORMATS", "Migrated", "migrate_file"]
