"""No test of this folder waits for the disk."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """What is written survives a kill without `fsync`; only a power cut needs it, and that is not tested here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
