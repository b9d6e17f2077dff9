"""Ctrl-C that is neither lost nor fatal: it waits while Python imports a module or calls back from its collector.

An exception that a signal raises inside a finaliser or a hook of the garbage collector (JAX has one) is printed and
dropped, and the command would go on; one inside the import of an extension module can abort the process.
"""

from __future__ import annotations

import signal
import threading
import weakref
from types import FrameType

RETRY_S = 0.05

_FILES = ("<frozen importlib", weakref.__file__)
_NAMES = ("_xla_gc_callback", "__del__")


def install() -> None:
    """Handle SIGINT with `interrupt`, where it would have raised `KeyboardInterrupt` and this is the main thread."""
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, interrupt)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt` as soon as it comes through: now, or at one of the next attempts."""
    if not _would_be_lost(frame):
        raise KeyboardInterrupt
    main = threading.main_thread().ident
    assert main is not None  # it runs
    again = threading.Timer(RETRY_S, signal.pthread_kill, (main, signal.SIGINT))  # a signal also ends its waiting
    again.daemon = True
    again.start()


def _would_be_lost(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_FILES) or frame.f_code.co_name in _NAMES:
            return True
        frame = frame.f_back
    return False
