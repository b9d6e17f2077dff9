"""Drafts: from what a user wants, in a sentence or in fields, to a commented experiment file."""

from __future__ import annotations

from weft.draft.experiment import draft_config
from weft.draft.look import Column, Look, look_at
from weft.draft.request import Request
from weft.draft.sentence import read_request

__all__ = ["Column", "Look", "Request", "draft_config", "look_at", "read_request"]
