"""Which days trade. Pure: the exchange's list of closings is handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Final

SATURDAY: Final = 5
TRADING_STARTS: Final = time(9, 0)  # Source: TWSE Operating Rules, art. 3
LONGEST_BREAK_DAYS: Final = 30  # the Lunar New Year closes the exchange for under two weeks

HolidaysOf = Callable[[int], Mapping[date, str]]


def is_session(day: date, holidays: Mapping[date, str]) -> bool:
    """Whether `day` is scheduled to trade. Typhoon closings are in no list: only the bars tell."""
    return day.weekday() < SATURDAY and day not in holidays


def latest_session(now: datetime, ready_at: time, holidays_of: HolidaysOf) -> date:
    """The newest session that is over and whose data may be asked for at `now` (from `ready_at` on).

    Raises:
        ValueError: no session within a month before `now`: the list of closings can't be right.
    """
    day = now.date() if now.time() >= ready_at.replace(tzinfo=None) else now.date() - timedelta(days=1)
    for back in range(LONGEST_BREAK_DAYS):
        candidate = day - timedelta(days=back)
        if is_session(candidate, holidays_of(candidate.year)):
            return candidate
    raise ValueError(f"no session within {LONGEST_BREAK_DAYS} days before {now:%Y-%m-%d}")


def next_session(day: date, holidays_of: HolidaysOf) -> date:
    """The first scheduled session after `day`.

    Raises:
        ValueError: no session within a month after `day`.
    """
    for ahead in range(1, LONGEST_BREAK_DAYS):
        candidate = day + timedelta(days=ahead)
        if is_session(candidate, holidays_of(candidate.year)):
            return candidate
    raise ValueError(f"no session within {LONGEST_BREAK_DAYS} days after {day}")
