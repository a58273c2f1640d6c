"""When to wake: each stage's time of day, Monday to Saturday; whether the day trades is known only then.

Eight Saturdays of 2016 to 2018 were make-up sessions. The daemon waits on APScheduler's triggers; who only tells the
moments does a sum of its own, which a test holds equal to them: importing the triggers costs 30 ms.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from bot.config import STAGES, TAIPEI, Timetable
from bot.core.sessions import Calendar

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

WEEK: Final = "mon-sat"
_SUNDAY: Final = 6


def wake_triggers(timetable: Timetable) -> dict[str, CronTrigger]:
    """One trigger a stage, Asia/Taipei."""
    from apscheduler.triggers.cron import CronTrigger

    return {
        stage: CronTrigger(
            day_of_week=WEEK,
            hour=timetable.at(stage).hour,
            minute=timetable.at(stage).minute,
            timezone=TAIPEI,
        )
        for stage in STAGES
    }


def next_wakes(timetable: Timetable, now: datetime) -> list[tuple[datetime, str]]:
    """The coming wake-up of each stage after `now`, soonest first."""
    return sorted((_next(timetable.at(stage), now), stage) for stage in STAGES)


def next_jobs(timetable: Timetable, now: datetime, calendar: Calendar) -> list[tuple[datetime, str]]:
    """The coming run of each stage in a session, soonest first, by what `calendar` knows now."""
    jobs = []
    for stage in STAGES:
        at = _next(timetable.at(stage), now)
        while not calendar.is_session(at.date(), now):
            at = _next(timetable.at(stage), at)
        jobs.append((at, stage))
    return sorted(jobs)


def _next(hour: time, after: datetime) -> datetime:
    """The first moment after `after` at which it is `hour` in Taipei on a day of WEEK."""
    told = after.astimezone(TAIPEI)
    at = datetime.combine(told, hour, tzinfo=TAIPEI)
    while at <= told or at.weekday() == _SUNDAY:
        at += timedelta(days=1)
    return at
