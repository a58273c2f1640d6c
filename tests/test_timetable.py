"""When the daemon wakes, and what the view promises."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from builders import at, config
from hypothesis import given
from hypothesis import strategies as st

from bot.core.sessions import Calendar, YearSchedule
from bot.timetable import next_jobs, next_wakes, wake_triggers

FRIDAY, SATURDAY, TUESDAY = date(2025, 3, 14), date(2025, 3, 15), date(2025, 3, 18)


def test_the_daemon_wakes_at_each_stage_and_looks_on_saturdays_too(tmp_path: Path) -> None:
    wakes = next_wakes(config(tmp_path).timetable, at(FRIDAY, "18:25"))
    assert wakes[0] == (at(FRIDAY, "18:30"), "send")
    assert wakes[1] == (at(SATURDAY, "15:00"), "prices")


def test_the_view_names_the_next_session(tmp_path: Path) -> None:
    closed = YearSchedule(closed={date(2025, 3, 17): "a holiday"})
    calendar = Calendar(schedule=lambda _year, _known_at: closed)
    jobs = next_jobs(config(tmp_path).timetable, at(FRIDAY, "18:30"), calendar)
    assert jobs[0] == (at(TUESDAY, "15:00"), "prices")
    assert {moment.date() for moment, _ in jobs} == {TUESDAY}


@given(
    st.integers(0, 16 * 365 * 86_400 * 1_000_000),
    st.sampled_from(["UTC", "Asia/Taipei", "America/New_York"]),
)
def test_the_sum_gives_what_the_scheduler_s_triggers_give(later: int, zone: str) -> None:
    since = datetime(2015, 1, 1, tzinfo=UTC)
    now = (since + timedelta(microseconds=later)).astimezone(ZoneInfo(zone))
    timetable = config(Path()).timetable
    fires = {stage: trigger.get_next_fire_time(now, now) for stage, trigger in wake_triggers(timetable).items()}
    assert {stage: wake for wake, stage in next_wakes(timetable, now)} == fires


def test_a_moment_that_is_a_stage_s_own_belongs_to_the_next_one(tmp_path: Path) -> None:
    timetable = config(tmp_path).timetable
    own = at(FRIDAY, "18:30")
    fires = {stage: trigger.get_next_fire_time(own, own) for stage, trigger in wake_triggers(timetable).items()}
    assert {stage: wake for wake, stage in next_wakes(timetable, own)} == fires
    assert fires["send"] == at(SATURDAY, "18:30")
