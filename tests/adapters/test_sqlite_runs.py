"""The record of runs: what is final is final, what came to nothing is counted, and an old database gets one."""

from __future__ import annotations

import sqlite3
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import FRIDAY, THURSDAY, at
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from bot.adapters.sqlite_open import migrations, open_database
from bot.adapters.sqlite_runs import ClockMark, RunLog


@pytest.fixture
def db(tmp_path: Path) -> Any:
    return open_database(tmp_path / "x.db")


def rows(db: Any) -> list[tuple[Any, ...]]:
    return list(db.execute("select session, stage, tries, killed, outcome from stage_runs order by id").fetchall())


def test_a_thousand_waits_are_one_row_that_counts_them(db: Any) -> None:
    runs = RunLog(db)
    for minute in range(1_000):
        number = runs.begin(THURSDAY, "prices", at(THURSDAY, "15:00") + timedelta(minutes=10 * minute))
        runs.end(number, "waiting", "no bar yet", 0.1)
    runs.end(runs.begin(THURSDAY, "prices", at(FRIDAY)), "done", "2 of 2", 0.1)
    assert rows(db) == [("2025-01-02", "prices", 1_001, 0, "done")]


def test_a_killed_run_is_seen_and_tried_again(db: Any) -> None:
    runs = RunLog(db)
    runs.begin(THURSDAY, "send", at(THURSDAY))  # kill -9
    runs.begin(THURSDAY, "send", at(THURSDAY))  # and again
    assert rows(db) == [("2025-01-02", "send", 2, 1, "running")]
    runs.end(runs.begin(THURSDAY, "send", at(THURSDAY)), "done", "", 0.1)
    assert rows(db) == [("2025-01-02", "send", 3, 2, "done")]


def test_the_database_refuses_a_second_final_outcome(db: Any) -> None:
    runs = RunLog(db)
    runs.end(runs.begin(THURSDAY, "send", at(THURSDAY)), "done", "", 0.1)
    number = runs.begin(THURSDAY, "send", at(FRIDAY))  # nothing of ours does this
    assert rows(db) == [("2025-01-02", "send", 1, 0, "done"), ("2025-01-02", "send", 1, 0, "running")]  # it would show
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        runs.end(number, "failed", "", 0.1)


@settings(deadline=None)  # each example makes a database
@given(st.lists(st.sampled_from(["waiting", "killed", "done", "failed"]), max_size=12))
def test_whatever_happens_there_is_one_final_outcome_and_every_try_is_counted(fates: list[str]) -> None:
    db = Database(memory=True)
    migrations.apply(db)
    runs, tried, killed = RunLog(db), 0, 0
    for fate in fates:
        number = runs.begin(THURSDAY, "news", at(THURSDAY))
        tried += 1
        if fate == "killed":
            killed += 1
            continue
        runs.end(number, fate, "", 0.0)
        if fate != "waiting":
            break  # final: the daemon begins it no more
    [found] = rows(db) or [("", "", 0, 0, "")]
    assert found[2] == tried
    assert found[3] == killed - (bool(fates) and found[4] == "running")  # the last one isn't known to be dead yet


def test_only_empty_conclusions_about_days_to_come_are_void(db: Any) -> None:
    runs = RunLog(db)
    for session, outcome in ((THURSDAY, "done"), (FRIDAY, "closed"), (date(2025, 1, 6), "waiting")):
        runs.end(runs.begin(session, "prices", at(THURSDAY)), outcome, "", 0.0)
        db["stages"].insert(
            {"session": session.isoformat(), "stage": "prices", "started_at": "x", "duration_s": 0.0,
             "outcome": outcome, "detail": ""}
        )  # fmt: skip
    assert runs.void_unreached(FRIDAY) == [FRIDAY]
    assert [(row[0], row[4]) for row in rows(db)] == [
        ("2025-01-02", "done"), ("2025-01-03", "void"), ("2025-01-06", "waiting"),
    ]  # fmt: skip
    assert [row["session"] for row in db["stages"].rows] == ["2025-01-02", "2025-01-06"]
    assert runs.void_unreached(FRIDAY) == []
    runs.end(runs.begin(FRIDAY, "prices", at(FRIDAY)), "done", "", 0.0)  # in its time


def test_the_mark_is_kept_over_a_restart(tmp_path: Path) -> None:
    mark = ClockMark(open_database(tmp_path / "x.db"))
    assert mark.highest() is None
    mark.put(at(THURSDAY))
    mark.put(at(FRIDAY))
    assert ClockMark(open_database(tmp_path / "x.db")).highest() == at(FRIDAY)


def test_a_database_from_before_the_record_gets_its_stages_as_runs(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    db = Database(path)
    migrations.apply(db, stop_before="m070_stage_runs")
    for stage, outcome in (("prices", "done"), ("settle", "waiting"), ("calendar", "waiting")):
        db["stages"].insert(
            {"session": "2025-01-02", "stage": stage, "started_at": at(THURSDAY).isoformat(), "duration_s": 1.5,
             "outcome": outcome, "detail": "x"}
        )  # fmt: skip
    db.close()
    assert rows(open_database(path)) == [
        ("2025-01-02", "prices", 1, 0, "done"), ("2025-01-02", "settle", 1, 0, "waiting"),
    ]  # fmt: skip
