"""A stop sign may be set by a signal that comes at any moment, the waiting thread's own lock included."""

from __future__ import annotations

import os
import subprocess
import sys

from builders import REPO

# A timer fires every 50 microseconds and sets the sign while the main thread does nothing but wait.
CHILD = """
import signal
from bot.stopsign import StopSign
sign, told = StopSign(), 0
def tell(*_):
    global told
    told += 1
    sign.set()
signal.signal(signal.SIGALRM, tell)
signal.setitimer(signal.ITIMER_REAL, 5e-5, 5e-5)
while told < 20_000:
    assert sign.wait(0.001) or not told
signal.setitimer(signal.ITIMER_REAL, 0)
print(sign.is_set())
"""


def test_twenty_thousand_signals_into_the_wait_deadlock_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
