"""When the daemon looks again: planned, after sleep, after a step of the clock; and the real scheduler beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_SUBMITTED
from apscheduler.executors import base as executors
from apscheduler.schedulers import base as schedulers
from apscheduler.schedulers.background import BackgroundScheduler
from builders import at, config

from bot.config import STAGES, TAIPEI
from bot.daemon import make_scheduler, plan_anew
from bot.timetable import wake_triggers
from bot.watch import Watch

TUESDAY, FRIDAY = date(2025, 3, 4), date(2025, 3, 7)


def test_it_looks_at_the_next_stage_and_every_quarter_of_an_hour(tmp_path: Path) -> None:
    watch = Watch(config(tmp_path).timetable)
    assert not watch.is_due(at(TUESDAY))  # nothing is planned while the first look is at work
    assert watch.plan(at(TUESDAY, "15:10"), waiting=True) == at(TUESDAY, "15:20")
    assert watch.plan(at(TUESDAY, "15:10"), waiting=False) == at(TUESDAY, "15:25")
    assert watch.plan(at(TUESDAY, "15:40"), waiting=False) == at(TUESDAY, "15:45")  # settle is due
    assert not watch.is_due(at(TUESDAY, "15:44"))
    assert watch.is_due(at(TUESDAY, "15:45"))


def test_sleep_and_steps_are_jumps_and_the_passing_of_time_is_none(tmp_path: Path) -> None:
    watch, noon = Watch(config(tmp_path).timetable), at(TUESDAY, "12:00")
    readings = [
        (timedelta(0), 100.0, None),
        (timedelta(seconds=20), 120.0, None),
        (timedelta(seconds=20, hours=8), 120.5, timedelta(hours=8, seconds=-0.5)),  # running time slept, too
        (timedelta(seconds=40, hours=8), 140.5, None),
        (timedelta(seconds=60, hours=7, minutes=55), 160.5, timedelta(minutes=-5)),
        (timedelta(seconds=90, hours=7, minutes=55), 170.5, None),  # 20 s are no jump
    ]
    for later, running_s, jump in readings:
        assert watch.jumped(noon + later, running_s) == jump


def test_a_look_that_is_asked_for_while_the_last_one_is_just_ending_is_not_lost() -> None:
    scheduler, second, dealt_with = make_scheduler(), Event(), Semaphore(0)
    scheduler.add_listener(lambda _: dealt_with.release(), EVENT_JOB_SUBMITTED | EVENT_JOB_MAX_INSTANCES)

    def first() -> None:
        assert dealt_with.acquire(timeout=10)  # this one itself
        scheduler.add_job(second.set, "date", id="look", replace_existing=True)
        assert dealt_with.acquire(timeout=10)  # the next one, while this one has not ended

    scheduler.start()
    try:
        scheduler.add_job(first, "date", id="look")
        assert second.wait(10)
    finally:
        scheduler.shutdown()


class Wall:
    """A wall clock that a test sets, in the place of `datetime` inside APScheduler."""

    def __init__(self, now: datetime) -> None:
        self.moment = now

    def now(self, zone: tzinfo | None = None) -> datetime:
        return self.moment.astimezone(zone)


class Woken:
    """The real scheduler with the daemon's six wake-ups; counts which of them came."""

    def __init__(self, folder: Path, wall: Wall) -> None:
        self.timetable, self.wall, self.came = config(folder).timetable, wall, Counter[str]()
        self.scheduler: BackgroundScheduler = make_scheduler()
        for stage, trigger in wake_triggers(self.timetable).items():
            self.scheduler.add_job(self.came.update, trigger, args=[[stage]], id=stage)
        self.scheduler.start()

    def at(self, moment: datetime) -> Counter[str]:
        """Which wake-ups come when the clock says `moment` and the scheduler has looked at it."""
        self.wall.moment, looked = moment, Event()
        self.came.clear()
        self.scheduler.add_job(looked.set, "date", run_date=moment)  # the one worker comes to it after what is due
        assert looked.wait(10)
        return Counter(self.came)


@pytest.fixture
def woken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Woken]:
    wall = Wall(at(TUESDAY, "14:00"))
    clock: Any = type("datetime", (datetime,), {"now": staticmethod(wall.now)})
    monkeypatch.setattr(schedulers, "datetime", clock)
    monkeypatch.setattr(executors, "datetime", clock)
    found = Woken(tmp_path, wall)
    yield found
    found.scheduler.shutdown(wait=True)


def test_the_scheduler_wakes_once_a_stage(woken: Woken) -> None:
    assert woken.at(at(TUESDAY, "14:59")) == {}
    assert woken.at(at(TUESDAY, "15:00")) == {"prices": 1}
    assert woken.at(at(TUESDAY, "15:01")) == {}


def test_three_days_asleep_are_one_wake_up_a_stage_however_late(woken: Woken) -> None:
    assert woken.at(at(TUESDAY, "18:31")) == dict.fromkeys(STAGES, 1)
    assert woken.at(at(FRIDAY, "14:59")) == dict.fromkeys(STAGES, 1)  # Wednesday's and Thursday's, 20 hours late
    assert woken.at(at(FRIDAY, "15:00")) == {"prices": 1}


def test_a_clock_that_goes_back_wakes_no_stage_again(woken: Woken) -> None:
    assert woken.at(at(TUESDAY, "15:02")) == {"prices": 1}
    assert woken.at(at(TUESDAY, "14:57")) == {}
    assert woken.at(at(TUESDAY, "15:02")) == {}


def test_a_scheduler_that_planned_by_a_clock_a_year_ahead_is_planned_anew(woken: Woken) -> None:
    assert woken.at(datetime(2026, 3, 4, 19, 0, tzinfo=UTC)) == dict.fromkeys(STAGES, 1)
    assert woken.at(at(TUESDAY, "15:00")) == {}  # left alone it would sleep for a year
    woken.wall.moment = at(TUESDAY, "15:00")
    plan_anew(woken.scheduler, woken.timetable)
    assert woken.scheduler.get_job("settle").next_run_time == datetime(2025, 3, 4, 15, 45, tzinfo=TAIPEI)
    assert woken.at(at(TUESDAY, "15:45"))["settle"] == 1
