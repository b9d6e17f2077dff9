"""Pruning methods, one file each, and the wrapper that carries a mask into any layer."""

from __future__ import annotations
