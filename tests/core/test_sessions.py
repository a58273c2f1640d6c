"""Which days trade, by the sources' own order and by ten years of real bars."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta

import pytest
from builders import SHARED, at

from bot.adapters.xtai_sessions import FIRST_YEAR, LAST_YEAR, TABLE, make_table, table_schedule
from bot.core.closures import CLOSURES, MAKE_UP_SESSIONS, UNSCHEDULED, Closure
from bot.core.sessions import Calendar, Evidence, YearSchedule, latest_session, next_session
from bot.errors import DataMissing

MONDAY, TUESDAY, WEDNESDAY = date(2025, 3, 3), date(2025, 3, 4), date(2025, 3, 5)
SATURDAY = date(2025, 3, 8)
LATER = at(date(2030, 1, 1))


def calendar(
    *,
    closed: Mapping[date, str] | None = None,
    weekend: Mapping[date, str] | None = None,
    evidence: Mapping[date, Evidence] | None = None,
    closures: Mapping[date, Closure] | None = None,
) -> Calendar:
    plan = YearSchedule(closed=closed or {}, weekend_sessions=weekend or {}, source="the plan")
    seen = evidence or {}

    def of(day: date, known_at: datetime) -> Evidence | None:
        one = seen.get(day)
        return one if one and one.known_at <= known_at else None

    return Calendar(schedule=lambda year, known_at: plan, evidence=of, closures=closures or {})


FROM_THE_TABLE = Calendar(schedule=lambda year, known_at: table_schedule(year))


def test_a_weekday_trades_a_weekend_does_not_unless_the_schedule_says_so() -> None:
    plan = calendar(closed={TUESDAY: "holiday"}, weekend={SATURDAY: "make-up"})
    assert [plan.is_session(day, LATER) for day in (MONDAY, TUESDAY, SATURDAY, SATURDAY + timedelta(1))] == [
        True,
        False,
        True,
        False,
    ]
    assert plan.verdict(TUESDAY, LATER).reason == "holiday"
    assert plan.verdict(SATURDAY, LATER).reason == "make-up"


def test_a_closing_counts_from_the_evening_on_which_it_was_told() -> None:
    plan = calendar(closures={TUESDAY: Closure(day=TUESDAY, reason="typhoon X", source="press")})
    assert plan.is_session(TUESDAY, at(MONDAY, "21:59"))
    assert not plan.is_session(TUESDAY, at(MONDAY, "22:00"))
    assert plan.verdict(TUESDAY, at(MONDAY, "22:00")).reason == "typhoon X"


def test_what_was_seen_outweighs_what_was_told_from_the_moment_it_was_seen() -> None:
    traded = calendar(
        closed={TUESDAY: "holiday"}, evidence={TUESDAY: Evidence(traded=True, known_at=at(TUESDAY, "15:00"))}
    )
    assert not traded.is_session(TUESDAY, at(TUESDAY, "14:59"))
    assert traded.is_session(TUESDAY, at(TUESDAY, "15:00"))
    closed = calendar(evidence={TUESDAY: Evidence(traded=False, known_at=at(TUESDAY, "18:00"))})
    assert closed.is_session(TUESDAY, at(TUESDAY, "17:59"))
    assert not closed.is_session(TUESDAY, at(TUESDAY, "18:00"))


def test_a_phantom_bar_does_not_open_a_day_that_is_known_to_have_been_closed() -> None:
    bar = Evidence(traded=True, known_at=at(TUESDAY, "15:00"))
    plan = calendar(evidence={TUESDAY: bar}, closures={TUESDAY: Closure(day=TUESDAY, reason="typhoon", source="press")})
    assert not plan.is_session(TUESDAY, at(TUESDAY, "15:00"))


def test_the_next_and_the_newest_session_step_over_what_is_closed() -> None:
    plan = calendar(closures={TUESDAY: Closure(day=TUESDAY, reason="typhoon", source="press")})
    assert next_session(MONDAY, at(MONDAY, "18:30"), plan) == TUESDAY
    assert next_session(MONDAY, at(MONDAY, "22:30"), plan) == WEDNESDAY
    ready = time(15, 0)
    assert latest_session(at(TUESDAY, "15:00"), ready, plan) == MONDAY
    assert latest_session(at(WEDNESDAY, "14:59"), ready, plan) == MONDAY
    assert latest_session(at(WEDNESDAY, "15:00"), ready, plan) == WEDNESDAY


def test_a_list_that_closes_everything_is_an_error() -> None:
    plan = calendar(closed={MONDAY + timedelta(day): "?" for day in range(-60, 60)})
    with pytest.raises(ValueError, match="no session within 30 days before"):
        latest_session(at(MONDAY), time(15, 0), plan)
    with pytest.raises(ValueError, match="no session within 30 days after"):
        next_session(MONDAY, at(MONDAY), plan)


def real_sessions() -> set[date]:
    """Days on which any of the owner's stocks traded."""
    found: set[date] = set()
    for path in (SHARED / "prices").glob("[0-9]*.csv"):
        with path.open(encoding="utf-8") as file:
            found |= {date.fromisoformat(row["date"]) for row in csv.DictReader(file)}
    return found


def listed(plan: Calendar, first: date, last: date) -> set[date]:
    every = (first + timedelta(days) for days in range((last - first).days + 1))
    return {day for day in every if plan.is_session(day, LATER)}


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")
def test_ten_years_of_sessions_are_those_of_the_real_bars() -> None:
    real = real_sessions()
    assert len(real) == 2555
    assert listed(FROM_THE_TABLE, min(real), max(real)) == real
    without = Calendar(schedule=FROM_THE_TABLE.schedule, closures={})
    assert listed(without, min(real), max(real)) - real == {day for day in CLOSURES if day <= max(real)}


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real bars of ../shared/data")
def test_every_typhoon_since_2015_is_found_by_the_missing_bars_with_the_list_emptied_and_no_other_day() -> None:
    real = real_sessions()

    def evidence(day: date, known_at: datetime) -> Evidence | None:
        found = Evidence(traded=day in real, known_at=at(day, "18:00"))
        return found if min(real) <= day <= max(real) and found.known_at <= known_at else None

    plan = Calendar(schedule=FROM_THE_TABLE.schedule, evidence=evidence, closures={})
    assert listed(plan, min(real), max(real)) == real


@pytest.mark.parametrize("day", [date(2024, 10, 31), date(2026, 7, 10), date(2022, 2, 4), date(2023, 1, 18)])
def test_we_know_better_than_the_library(day: date) -> None:
    assert f"{day:%m-%d}" not in make_table()["closed"][str(day.year)]  # the library trades on that day
    assert not FROM_THE_TABLE.is_session(day, LATER)


def test_the_table_is_the_librarys() -> None:
    import json

    assert json.loads(TABLE.read_text(encoding="utf-8")) == make_table()


def test_make_up_saturdays_are_sessions() -> None:
    assert all(FROM_THE_TABLE.is_session(day, LATER) and day.weekday() == 5 for day in MAKE_UP_SESSIONS)


def test_each_closing_has_a_source_and_its_own_weekday_and_was_known_before_the_opening() -> None:
    assert len(CLOSURES) == len(UNSCHEDULED) == 14
    for one in UNSCHEDULED:
        assert one.source
        assert one.day.weekday() < 5
        assert one.known_at == at(one.day - timedelta(1), "22:00")


@pytest.mark.parametrize("year", [FIRST_YEAR - 1, LAST_YEAR + 1])
def test_the_table_does_not_guess_beyond_its_ends(year: int) -> None:
    with pytest.raises(DataMissing, match=f"no schedule of {year}"):
        table_schedule(year)
