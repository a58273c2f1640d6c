"""When to look again, whatever the scheduler believes: after sleep and after a step of the clock its own plan is wrong.

A scheduler waits in running time, which stands still while a machine sleeps, and plans in wall-clock time, which
people and NTP set. So the daemon reads the clock every few seconds, at no cost, and looks when one of them jumped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from bot.config import Timetable
from bot.timetable import next_wakes

RETRY_AFTER: Final = timedelta(minutes=10)  # while a stage waits for the outside world
LOOK_EVERY: Final = timedelta(minutes=15)  # when nothing is known to be due
JUMP: Final = timedelta(minutes=1)


@dataclass(slots=True)
class Watch:
    """Knows when to look next, and how far the clock and running time have come."""

    timetable: Timetable
    next_look: datetime | None = None
    _seen: tuple[datetime, float] | None = field(default=None, repr=False)

    def plan(self, now: datetime, *, waiting: bool) -> datetime:
        """Look next at a stage's time, or earlier: soon again while a stage waits."""
        at, _ = next_wakes(self.timetable, now)[0]
        self.next_look = min(at, now + (RETRY_AFTER if waiting else LOOK_EVERY))
        return self.next_look

    def jumped(self, now: datetime, running_s: float) -> timedelta | None:
        """How far the clock moved against running time since the last reading; None for under a minute."""
        before, self._seen = self._seen, (now, running_s)
        if before is None:
            return None
        apart = (now - before[0]) - timedelta(seconds=running_s - before[1])
        return apart if abs(apart) >= JUMP else None

    def is_due(self, now: datetime) -> bool:
        """Whether the planned moment has come."""
        return self.next_look is not None and now >= self.next_look
