"""When the daemon wakes, and what the view promises."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from builders import at, config

from bot.core.sessions import Calendar, YearSchedule
from bot.timetable import next_jobs, next_wakes

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
