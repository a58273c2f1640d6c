"""The bars table's door: revisions, quarantine, what was asked, and reads as of a moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from builders import FRIDAY, THURSDAY, at, bar, checked

from bot.adapters.sqlite_bars import BarStore
from bot.adapters.sqlite_open import open_database
from bot.core.check import check_rows, refuse_all
from bot.core.feed_rows import Reading, row_of
from bot.core.row_rules import Known, Last

MONDAY = date(2025, 1, 6)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BarStore]:
    db = open_database(tmp_path / "some.db")
    yield BarStore(db)
    db.close()


def test_a_later_different_answer_is_a_revision_and_both_are_kept(store: BarStore) -> None:
    assert store.add(checked(bar("100")), at(THURSDAY)).new == 1
    assert store.add(checked(bar("100")), at(FRIDAY)).revised == 0
    assert store.add(checked(bar("101")), at(FRIDAY)).revised == 1
    assert store.add(checked(bar("101")), at(MONDAY)).revised == 0  # told already
    [revision] = store.revisions()
    assert (revision["close_x100"], revision["known_at"]) == (101_00, at(FRIDAY).isoformat())
    closes = [
        {day: row["close_x100"] for day, row in store.known_as_of("2330", moment).items()}
        for moment in (at(THURSDAY, "17:59"), at(THURSDAY), at(FRIDAY, "17:59"), at(FRIDAY))
    ]
    assert closes == [{}, {THURSDAY: 100_00}, {THURSDAY: 100_00}, {THURSDAY: 101_00}]


def test_thousands_and_unknown_figures_contradict_nothing(store: BarStore) -> None:
    exact = replace(bar("100"), volume_shares=1_985_123, turnover_twd=198_512_300, trades=7)
    store.add(checked(exact), at(THURSDAY))
    coarse = replace(exact, volume_shares=1_985_000, turnover_twd=198_512_000, trades=None)
    assert store.add(checked(coarse), at(FRIDAY)).revised == 0
    assert store.add(checked(replace(exact, volume_shares=1_984_123)), at(FRIDAY)).revised == 1


def test_quarantine_keeps_the_raw_row_once_and_no_bar(store: BarStore) -> None:
    rows = (replace(row_of(bar("100")), raw=["113/01/02", "x"]),)
    phantom = refuse_all(Reading(rows=rows, source="twse day"), "closure", "repeats")
    assert store.add(phantom, at(THURSDAY)).quarantined == 1
    assert store.add(phantom, at(FRIDAY)).quarantined == 0
    [kept] = store.quarantined()
    assert (kept["raw"], kept["reason"], kept["source"]) == ('["113/01/02", "x"]', "repeats", "twse day")
    assert store.rows() == ()
    assert store.last_before(FRIDAY) == {}


def test_the_next_session_may_start_from_a_quarantined_close(store: BarStore) -> None:
    store.add(checked(bar("100")), at(THURSDAY))
    over = check_rows(Reading(rows=(row_of(bar("150", session=FRIDAY)),)), Known(last=store.last_before(FRIDAY)))
    assert store.add(over, at(FRIDAY)).quarantined == 1
    assert store.last_before(MONDAY) == {"2330": Last(FRIDAY, 150_00)}


def test_a_month_in_progress_is_never_marked_as_finished(store: BarStore) -> None:
    store.add_month(checked(bar("100")), "2330", date(2025, 1, 1), THURSDAY, at(THURSDAY))
    assert store.months_answered() == {("2330", "2025-01"): THURSDAY}
    store.add_month(checked(), "2330", date(2025, 1, 1), FRIDAY, at(FRIDAY))
    assert store.months_answered() == {("2330", "2025-01"): FRIDAY}


def test_a_failed_write_marks_nothing(store: BarStore) -> None:
    passed = checked(bar("100"))
    object.__setattr__(passed.rows[0], "volume_shares", None)  # the database refuses it
    with pytest.raises(Exception, match="NOT NULL"):
        store.add_month(passed, "2330", date(2025, 1, 1), THURSDAY, at(THURSDAY))
    assert store.months_answered() == {}
    assert store.quarantined() == []


def test_the_rows_come_back_exactly(store: BarStore) -> None:
    told = replace(bar("100.5", low="99.9", open="99.9"), volume_shares=1, turnover_twd=100, trades=1)
    store.add(checked(told), at(THURSDAY))
    assert check_rows(store.reading(), Known()).bars == (told,)
    assert told.low == Decimal("99.90")
