"""Training: the compiled engine, its loop, schedules, losses, metrics and checkpoints."""

from __future__ import annotations
