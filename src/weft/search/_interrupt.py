"""Ctrl-C and SIGTERM end a search between two writes, never inside one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Hold back the first SIGINT or SIGTERM until `check`, or let it end what runs inside `waiting`.

    Both are raised as `KeyboardInterrupt`, a second one at once. Outside the main thread signals are left alone.
    """

    def __init__(self) -> None:
        self._pending: str | None = None
        self._waiting = False
        self._previous: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Raise the interrupt that was held back, if there is one."""
        if self._pending:
            raise KeyboardInterrupt(self._pending)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Let an interrupt through at once: nothing is being written here."""
        self._waiting = True
        try:
            self.check()
            yield
        finally:
            self._waiting = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self._pending = self._pending is not None, signal.Signals(number).name
        if self._waiting or again:
            raise KeyboardInterrupt(self._pending)
