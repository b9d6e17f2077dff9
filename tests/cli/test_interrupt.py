"""Ctrl-C comes through wherever it falls: inside an import, the collector's hooks, a finaliser, or plain code."""

import subprocess
import sys

import pytest

WITHIN = {
    "plain code": "",
    "an import": "do = lambda: __import__('slow_module')",
    "a hook of the collector": (
        "import gc\ndef _xla_gc_callback(*_):\n    busy()\ngc.callbacks.append(_xla_gc_callback)\ndo = gc.collect"
    ),
    "a finaliser": "class A:\n    def __del__(self):\n        busy()\ndef do():\n    A()",
}

PROGRAM = """
import os, signal, sys, time
from weft.cli._interrupt import install

hits = ended = 0
def busy():
    global hits, ended
    hits += 1
    os.kill(os.getpid(), signal.SIGINT) if hits == 1 else None
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    ended += 1

do = busy
install()
{setup}
try:
    do()
    time.sleep(20)
except KeyboardInterrupt:
    print("stopped", "after" if ended else "within")
"""


@pytest.mark.parametrize("place", WITHIN)
def test_an_interrupt_comes_through(place, tmp_path):
    (tmp_path / "slow_module.py").write_text("import __main__\n__main__.busy()\n")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(setup=WITHIN[place]))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60)
    assert done.stdout == ("stopped within\n" if place == "plain code" else "stopped after\n")
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # nothing was raised where Python can only print it


def test_an_ignored_interrupt_stays_ignored():
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from weft.cli._interrupt import install"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; install(); print(signal.getsignal(signal.SIGINT).name)"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == "SIG_IGN", done.stderr
