from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import at, bar, checked

from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.adapters.sqlite_sessions import SessionStore
from bot.adapters.sqlite_stages import StageRun
from bot.calendar import calendar_of, stored_calendar
from bot.core.sessions import Evidence, YearSchedule
from bot.errors import DataMissing

DAY, NEXT = date(2025, 5, 6), date(2025, 5, 7)
BEFORE, AFTER = (
    YearSchedule(closed={DAY: "a"}),
    YearSchedule(closed={DAY: "a", NEXT: "b"}, weekend_sessions={date(2025, 5, 10): "c"}),
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Any]:
    opened = open_database(tmp_path / "x.db")
    yield opened
    opened.close()


def test_each_version_of_a_schedule_stays_with_the_moment_it_was_read(db: Any) -> None:
    store = SessionStore(db)
    assert store.schedule(2025, at(DAY)) is None
    assert not store.add_schedule(2025, BEFORE, at(DAY, "09:00"))
    assert not store.add_schedule(2025, BEFORE, at(DAY, "12:00"))
    assert store.add_schedule(2025, AFTER, at(DAY, "15:00"))
    assert store.checked_at(2025) == at(DAY, "15:00")
    assert store.checked_at(2024) is None
    assert store.schedule(2025, at(DAY, "08:59")) is None
    for clock, closed, weekend in (("14:59", BEFORE.closed, {}), ("15:00", AFTER.closed, AFTER.weekend_sessions)):
        known = store.schedule(2025, at(DAY, clock))
        assert known is not None
        assert (known.closed, known.weekend_sessions) == (closed, weekend)


def test_bars_and_closed_stages_are_evidence_and_the_later_one_counts(db: Any) -> None:
    store = SessionStore(db)
    assert store.evidence(DAY, at(NEXT)) is None
    Journal(db).stages.record(
        StageRun(session=DAY, stage="prices", started_at=at(DAY, "18:00"), duration_s=0.0, outcome="closed", detail="")
    )
    assert store.evidence(DAY, at(DAY, "17:59")) is None
    assert store.evidence(DAY, at(NEXT)) == Evidence(traded=False, known_at=at(DAY, "18:00"))
    MarketStore(db).add_bars(checked(bar(session=DAY)), at(NEXT, "15:00"))
    assert store.evidence(DAY, at(NEXT, "14:00")) == Evidence(traded=False, known_at=at(DAY, "18:00"))
    assert store.evidence(DAY, at(NEXT)) == Evidence(traded=True, known_at=at(NEXT, "15:00"))
    assert stored_calendar(store).is_session(DAY, at(NEXT))
    assert not stored_calendar(store).is_session(DAY, at(NEXT, "14:00"))


@dataclass
class Ports:
    """A clock that stands, a feed that answers in turn or fails."""

    sessions: SessionStore
    moment: datetime
    answers: list[YearSchedule] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    @property
    def clock(self) -> Ports:
        return self

    @property
    def holidays(self) -> Ports:
        return self

    def now(self) -> datetime:
        return self.moment

    def schedule(self, year: int) -> YearSchedule:
        self.asked.append(year)
        if not self.answers:
            raise DataMissing(f"holidays of {year}: nobody answers")
        return self.answers.pop(0)


def test_the_exchange_is_asked_once_a_week_and_may_change_its_mind(db: Any) -> None:
    ports = Ports(SessionStore(db), at(DAY, "15:00"), [BEFORE, AFTER])
    calendar = calendar_of(ports)
    assert [calendar.is_session(day, ports.moment) for day in (DAY, NEXT, DAY)] == [False, True, False]
    assert ports.asked == [2025]
    ports.moment += timedelta(days=7)
    assert not calendar.is_session(NEXT, ports.moment)
    ports.moment += timedelta(days=7)
    assert not calendar.is_session(NEXT, ports.moment)  # nobody answers: what was known counts
    assert ports.asked == [2025] * 3


def test_without_any_word_of_the_exchange_this_year_waits_and_other_years_take_the_table(db: Any) -> None:
    ports = Ports(SessionStore(db), at(DAY, "15:00"))
    calendar = calendar_of(ports)
    with pytest.raises(DataMissing, match="nobody answers"):
        calendar.is_session(DAY, ports.moment)
    assert not calendar.is_session(date(2026, 1, 1), ports.moment)
    assert calendar.is_session(date(2024, 12, 31), ports.moment)
    assert ports.asked == [2025, 2026]


def test_a_database_of_before_keeps_its_schedule(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    db = open_database(path)
    db.execute("delete from _sqlite_migrations where name like 'm02%'")
    for table in ("schedules", "ex_rights", "ex_rights_asked"):
        db[table].drop()
    db["holidays"].create({"session": str, "name": str}, pk="session")
    db["holiday_years"].create({"year": int, "fetched_at": str}, pk="year")
    db["holidays"].insert({"session": "2025-05-06", "name": "勞動節"})
    db["holiday_years"].insert({"year": 2025, "fetched_at": at(DAY, "09:00").isoformat()})
    db.close()
    store = SessionStore(open_database(path))
    known = store.schedule(2025, at(DAY, "09:00"))
    assert known is not None
    assert known.closed == {DAY: "勞動節"}
    assert store.checked_at(2025) == at(DAY, "09:00")
    with sqlite3.connect(path) as plain:
        assert json.loads(plain.execute("select closed from schedules").fetchone()[0]) == {"2025-05-06": "勞動節"}
