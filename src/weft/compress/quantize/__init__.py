"""Quantisation of a trained network: ranges from data."""

from __future__ import annotations
