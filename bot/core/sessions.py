"""Which days trade, as far as could be known at a moment. Pure: every list is handed in.

Four sources, the stronger first: our dated list of closings at short notice (a bar on such a day is a phantom), the
bars themselves (or their absence, found at night), the exchange's own schedule, and the table made from
exchange_calendars where that is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Final

from bot.core.closures import CLOSURES, Closure

SATURDAY: Final = 5
TRADING_STARTS: Final = time(9, 0)  # Source: TWSE Operating Rules, art. 3
LONGEST_BREAK_DAYS: Final = 30  # the Lunar New Year closes the exchange for under two weeks


@dataclass(frozen=True, slots=True, kw_only=True)
class YearSchedule:
    """What is scheduled for a year: closed weekdays and weekend sessions, with their names. `source`: whose word."""

    closed: Mapping[date, str]
    weekend_sessions: Mapping[date, str] = field(default_factory=dict)
    source: str = "the exchange's schedule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a day turned out to be: somebody's bars were stored, or every feed answered and nobody had one."""

    traded: bool
    known_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a day trades, why not (or why it does, against the rule), and who says so."""

    session: bool
    reason: str
    source: str


ScheduleOf = Callable[[int, datetime], YearSchedule]
EvidenceOf = Callable[[date, datetime], "Evidence | None"]


def no_evidence(day: date, known_at: datetime) -> None:
    """Nothing was seen: what is planned counts."""
    del day, known_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The sources together. `schedule` and `evidence` answer with what was known at the moment they are given."""

    schedule: ScheduleOf
    evidence: EvidenceOf = no_evidence
    closures: Mapping[date, Closure] = field(default_factory=lambda: CLOSURES)

    def is_session(self, day: date, known_at: datetime) -> bool:
        """Whether `day` trades (traded), by what was known at `known_at`, an aware moment."""
        return self.verdict(day, known_at).session

    def verdict(self, day: date, known_at: datetime) -> Verdict:
        """`is_session` with its reason.

        Raises:
            DataMissing: no schedule of that year is to be had (from `schedule`).
        """
        closure = self.closures.get(day)
        if closure is not None and closure.known_at <= known_at:
            return Verdict(session=False, reason=closure.reason, source=closure.source)
        seen = self.evidence(day, known_at)
        if seen is not None and seen.traded:
            return Verdict(session=True, reason="" if day.weekday() < SATURDAY else "bars are there", source="bars")
        if seen is not None:
            return Verdict(session=False, reason="no stock traded: closed without notice", source="bars")
        plan = self.schedule(day.year, known_at)
        if day.weekday() >= SATURDAY:
            name = plan.weekend_sessions.get(day)
            return Verdict(session=name is not None, reason=name or "weekend", source=plan.source if name else "rule")
        name = plan.closed.get(day)
        return Verdict(session=name is None, reason=name or "", source=plan.source)


def latest_session(now: datetime, ready_at: time, calendar: Calendar) -> date:
    """The newest session that is over and whose data may be asked for at `now` (from `ready_at` on).

    Raises:
        ValueError: no session within a month before `now`: the list of closings can't be right.
    """
    day = now.date() if now.time() >= ready_at.replace(tzinfo=None) else now.date() - timedelta(days=1)
    for back in range(LONGEST_BREAK_DAYS):
        candidate = day - timedelta(days=back)
        if calendar.is_session(candidate, now):
            return candidate
    raise ValueError(f"no session within {LONGEST_BREAK_DAYS} days before {now:%Y-%m-%d}")


def next_session(day: date, known_at: datetime, calendar: Calendar) -> date:
    """The first session after `day`, by what was known at `known_at`.

    Raises:
        ValueError: no session within a month after `day`.
    """
    for ahead in range(1, LONGEST_BREAK_DAYS):
        candidate = day + timedelta(days=ahead)
        if calendar.is_session(candidate, known_at):
            return candidate
    raise ValueError(f"no session within {LONGEST_BREAK_DAYS} days after {day}")


def sessions_since(first: date, last: date, known_at: datetime, calendar: Calendar) -> list[date]:
    """The sessions from `first` to `last`, both included, newest first, by what was known at `known_at`."""
    days = ((last - timedelta(days=back)) for back in range((last - first).days + 1))
    return [day for day in days if calendar.is_session(day, known_at)]
