"""When to wake: each stage's time of day, Monday to Saturday; whether the day trades is known only then.

Eight Saturdays of 2016 to 2018 were make-up sessions.
"""

from __future__ import annotations

from datetime import datetime

from apscheduler.triggers.cron import CronTrigger

from bot.config import STAGES, TAIPEI, Timetable
from bot.core.sessions import Calendar


def wake_triggers(timetable: Timetable) -> dict[str, CronTrigger]:
    """One trigger a stage, Asia/Taipei."""
    return {
        stage: CronTrigger(
            day_of_week="mon-sat",
            hour=timetable.at(stage).hour,
            minute=timetable.at(stage).minute,
            timezone=TAIPEI,
        )
        for stage in STAGES
    }


def next_wakes(timetable: Timetable, now: datetime) -> list[tuple[datetime, str]]:
    """The coming wake-up of each stage after `now`, soonest first."""
    return sorted((trigger.get_next_fire_time(now, now), stage) for stage, trigger in wake_triggers(timetable).items())


def next_jobs(timetable: Timetable, now: datetime, calendar: Calendar) -> list[tuple[datetime, str]]:
    """The coming run of each stage in a session, soonest first, by what `calendar` knows now."""
    jobs = []
    for stage, trigger in wake_triggers(timetable).items():
        at = trigger.get_next_fire_time(now, now)
        while not calendar.is_session(at.date(), now):
            at = trigger.get_next_fire_time(at, at)
        jobs.append((at, stage))
    return sorted(jobs)
