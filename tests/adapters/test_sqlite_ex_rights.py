from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from builders import at

from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_open import open_database
from bot.core.exrights import ExRight

WED, THU, FRI = date(2025, 6, 11), date(2025, 6, 12), date(2025, 6, 13)
EVENING = at(WED)
EVENT = ExRight(
    symbol="2330", ex_date=THU, kind="dividend", previous_x100=1065_00, reference_x100=1060_00, limit_up_x100=1165_00,
    limit_down_x100=954_00, cash_dividend=Decimal("4.50002714"), source="TWSE TWT49U", known_at=at(WED),
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ExRightStore]:
    db = open_database(tmp_path / "x.db")
    yield ExRightStore(db)
    db.close()


def keep(store: ExRightStore, *events: ExRight, moment: datetime = EVENING, first: date = WED) -> list[str]:
    return store.keep(
        events, kind="dividend", symbols={"2330", "2317"}, first=first, last=date(2025, 6, 30), known_at=moment
    )


def known(store: ExRightStore, moment: datetime) -> list[ExRight]:
    return store.events(since=WED, until=FRI, known_at=moment)


def test_what_is_stored_comes_back_from_the_moment_it_was_known(store: ExRightStore) -> None:
    assert keep(store, EVENT) == []
    assert known(store, at(WED, "17:59")) == []
    assert known(store, at(WED)) == [EVENT]
    assert store.events({"2317"}, since=WED, until=FRI, known_at=at(FRI)) == []
    assert store.events(since=FRI, until=FRI, known_at=at(FRI)) == []


def test_the_same_answer_again_changes_nothing(store: ExRightStore) -> None:
    keep(store, EVENT)
    assert keep(store, replace(EVENT, known_at=at(THU)), moment=at(THU)) == []
    assert known(store, at(FRI)) == [EVENT]


def test_a_later_different_answer_is_a_version(store: ExRightStore) -> None:
    keep(store, EVENT)
    other = replace(EVENT, reference_x100=1061_00, known_at=at(THU))
    assert keep(store, other, moment=at(THU)) == ["2330 2025-06-12: the reference price changed"]
    assert known(store, at(WED)) == [EVENT]
    assert known(store, at(THU)) == [other]
    assert store.reference_x100("2330", WED, THU) == 1061_00


def test_an_ex_date_that_was_put_off_is_withdrawn_where_the_answer_reached(store: ExRightStore) -> None:
    keep(store, EVENT)
    assert keep(store, moment=at(WED, "20:00"), first=FRI) == []  # that answer did not reach to Thursday
    put_off = replace(EVENT, ex_date=FRI, known_at=at(THU))
    assert keep(store, put_off, moment=at(THU)) == ["2330 2025-06-12: no ex-date any more"]
    assert known(store, at(WED)) == [EVENT]
    assert known(store, at(THU)) == [put_off]
    back = replace(EVENT, known_at=at(FRI))
    keep(store, back, moment=at(FRI))
    assert known(store, at(FRI)) == [back]


def test_the_reference_holds_on_the_first_session_from_the_ex_date_on(store: ExRightStore) -> None:
    keep(store, EVENT)
    assert store.reference_x100("2330", WED, THU) == 1060_00
    assert store.reference_x100("2330", WED, FRI) == 1060_00  # closed on Thursday
    assert store.reference_x100("2330", THU, FRI) is None
    assert store.reference_x100("2317", WED, THU) is None


def test_how_far_was_asked(store: ExRightStore) -> None:
    assert store.through("twse dividend") is None
    store.asked("twse dividend", WED, THU, at(THU))
    store.asked("twse dividend", THU, FRI, at(FRI))
    assert store.through("twse dividend") == (WED, FRI)
