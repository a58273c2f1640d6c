"""The sandbox's time: moved by the caller, or running many times faster than real time. It never goes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from bot.errors import Refused
from bot.sandbox.settings import aware


class SandboxClock:
    """A clock that stands at `start` and runs `speed` seconds a real second; 0 = it stands until moved."""

    def __init__(self, start: datetime, speed: float = 0.0, real_s: Callable[[], float] = time.monotonic) -> None:
        """`real_s` tells real seconds from any fixed point."""
        self._speed = speed
        self._real_s = real_s
        self._set(aware(start))

    def now(self) -> datetime:
        """The moment, aware, Asia/Taipei."""
        if not self._speed:
            return self._base
        return self._base + timedelta(seconds=(self._real_s() - self._base_s) * self._speed)

    def move_to(self, moment: datetime) -> None:
        """Stand at `moment`.

        Raises:
            Refused: it lies in the past.
        """
        target, now = aware(moment), self.now()
        if target < now:
            raise Refused(f"the sandbox clock is at {now.isoformat()} and can't go back to {target.isoformat()}")
        self._set(target)

    def _set(self, moment: datetime) -> None:
        """Take `moment` for now."""
        self._base = moment
        self._base_s = self._real_s()
