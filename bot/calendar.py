"""The calendar that the daemon lives by: the store's evidence and schedules, the exchange asked when they are old."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final, Protocol

from bot.adapters.sqlite_sessions import SessionStore
from bot.adapters.xtai_sessions import table_schedule
from bot.core.sessions import Calendar, YearSchedule
from bot.errors import DataMissing
from bot.ports import Clock, HolidayFeed

log = logging.getLogger("twtrader")

# Schedules change: the law of 2025-05-28 added three closings to a year that had begun.
CHECK_AGAIN_AFTER: Final = timedelta(days=7)


class HasCalendar(Protocol):
    """The ports that tell of sessions."""

    @property
    def clock(self) -> Clock:
        """Whose time it is."""

    @property
    def holidays(self) -> HolidayFeed:
        """The exchange's own list."""

    @property
    def sessions(self) -> SessionStore:
        """What is stored."""


def calendar_of(ports: HasCalendar) -> Calendar:
    """The calendar of a live day, which knows all that is stored. The exchange is asked at most once a week.

    Raises (from the calendar's methods):
        DataMissing: the schedule of the current year is neither stored nor to be had.
    """

    def schedule(year: int, known_at: datetime) -> YearSchedule:
        del known_at  # now, or a moment before the list was fetched on its behalf
        now = ports.clock.now()
        checked = ports.sessions.checked_at(year)
        if year >= now.year and (checked is None or now - checked >= CHECK_AGAIN_AFTER):
            try:
                if ports.sessions.add_schedule(year, ports.holidays.schedule(year), now):
                    log.warning("the exchange has changed its schedule of %s", year)
            except DataMissing as missing:
                if checked is None and year == now.year:
                    raise
                log.info("schedule of %s: %s; what was known before counts", year, missing)
        return ports.sessions.schedule(year, now) or table_schedule(year)

    return Calendar(schedule=schedule, evidence=ports.sessions.evidence)


def stored_calendar(sessions: SessionStore) -> Calendar:
    """The calendar of what is stored, without asking anybody: for views and for questions about the past."""

    def schedule(year: int, known_at: datetime) -> YearSchedule:
        return sessions.schedule(year, known_at) or table_schedule(year)

    return Calendar(schedule=schedule, evidence=sessions.evidence)
