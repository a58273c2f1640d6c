"""Whether an order may still be sent, and when: order windows, and what becomes of a job that runs late. Pure.

An order belongs to one session: the first one after its decision. **Carrying** never means another session. It means
that the order's own window went by while twtrader was away, that its session has not begun (a weekend, a holiday, a
typhoon), and that a later window will still take it for that same session: the same decision, limit, key and leg, sent
once, only later. Once the session has begun the decision is old, because it did not see what everybody else sees now;
carrying it into the session after would be a new decision that nobody took, so that is what the next evening is for.
`send` goes one step further: the order may leave while its own session trades, if the broker takes orders then. It is
an order for the rest of that session; the simulated exchange fills it against the whole day's range, which is more than
it deserves, and the stage says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Literal

Late = Literal["skip", "carry", "send"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When a broker takes orders, naive Taipei times; over midnight where `closes` is not after `opens`."""

    opens: time
    closes: time

    def around(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """The window that is open at `moment`, as [start, end); None when it is closed."""
        for days in (-1, 0):
            start, end = self._of(moment + timedelta(days=days))
            if start <= moment < end:
                return start, end
        return None

    def next_start(self, moment: datetime) -> datetime:
        """The first opening after `moment`."""
        today, _ = self._of(moment)
        return today if today > moment else today + timedelta(days=1)

    def _of(self, day: datetime) -> tuple[datetime, datetime]:
        start = datetime.combine(day.date(), self.opens, tzinfo=day.tzinfo)
        end = datetime.combine(day.date(), self.closes, tzinfo=day.tzinfo)
        return start, end if end > start else end + timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What to do with an order now: "send", "wait" (until `until`) or "cancel"; and why, or how late it is."""

    act: Literal["send", "wait", "cancel"]
    reason: str = ""
    until: datetime | None = None


def chance(now: datetime, *, due: datetime, opening: datetime, window: Window | None, late: Late) -> Chance:
    """What to do at `now` with an order that was due at `due` for the session that opens at `opening`.

    All moments are aware, Asia/Taipei. Without a window the broker takes orders until the opening, and not after.
    """
    if now >= opening:
        return _after_opening(now, opening, window, late)
    if window is None:
        return Chance(act="send")
    own_end = _own_end(due, window)
    if now >= own_end:
        return _carried(now, own_end, opening, window, late)
    if window.around(now):
        return Chance(act="send")
    return Chance(act="wait", until=window.next_start(now), reason=f"the order window opens at {window.opens:%H:%M}")


def _carried(now: datetime, own_end: datetime, opening: datetime, window: Window, late: Late) -> Chance:
    """Its own window went by, and its session has not begun."""
    closed = f"its order window closed at {own_end:%m-%d %H:%M}"
    start = window.next_start(now)
    if late == "skip":
        return Chance(act="cancel", reason=f"late: {closed} (timetable.late = skip)")
    if window.around(now):
        return Chance(act="send", reason=f"carried: {closed}")
    if start >= opening:
        return Chance(act="cancel", reason=f"late: {closed}, and none opens before its session")
    return Chance(act="wait", until=start, reason=f"carried: {closed}, the next opens at {start:%m-%d %H:%M}")


def _own_end(due: datetime, window: Window) -> datetime:
    """The end of the window in which the job was to run."""
    around = window.around(due) or window.around(window.next_start(due))
    assert around is not None
    return around[1]


def _after_opening(now: datetime, opening: datetime, window: Window | None, late: Late) -> Chance:
    """Its session has begun."""
    begun = f"too late: the next session has begun at {opening:%m-%d %H:%M}"
    if late != "send" or window is None:
        return Chance(act="cancel", reason=begun)
    around = window.around(now)
    if around is None or around[0] > opening:
        return Chance(act="cancel", reason=f"{begun}, and its order window is closed")
    minutes = int((now - opening).total_seconds()) // 60
    return Chance(act="send", reason=f"sent {minutes} min into its session (timetable.late = send)")
