"""The search space: architectures, the blocks they are made of, and the models they build."""

from __future__ import annotations
