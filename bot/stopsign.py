"""Told to stop: by a signal's handler, which may take no lock, or by another thread."""

from __future__ import annotations

import os
import select
from contextlib import suppress


class StopSign:
    """Like threading.Event, but safe to set in a signal handler.

    An Event deadlocks when its own waiter is interrupted just inside its lock, which happens to a daemon that waits
    many times a second within minutes (found by tests/simulated_year.py). A pipe has no lock that we could hold.
    """

    def __init__(self) -> None:
        """Not set."""
        self._is_set = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def set(self) -> None:
        """Stop."""
        self._is_set = True
        with suppress(OSError):  # a full pipe says enough; a closed one has nobody to tell
            os.write(self._writer, b".")

    def is_set(self) -> bool:
        """Whether we were told to stop."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Wait until told, at most `seconds`; whether we were."""
        select.select([self._reader], [], [], seconds)
        return self._is_set

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reader)
        os.close(self._writer)
