"""Compression: recipes that turn a trained network into a small fixed-point one."""

from __future__ import annotations
