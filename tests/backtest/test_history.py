"""What was known after a session, from CSV files and from the store."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from builders import at, checked
from markets import SESSIONS, flat, market, random_market, write_csv

from backtest.history import History, check_covers, hole_notes
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.errors import LookAheadError, Refused

TWO = market(s1101=[flat(40), None, flat(42), flat(43)], s2330=[flat(100), flat(101), flat(102), flat(103)])


def test_sessions_are_the_days_on_which_any_stock_traded() -> None:
    late = market(s1101=[None, flat(40), None, flat(41)])
    assert late.sessions == (SESSIONS[1], SESSIONS[3])
    assert TWO.between(SESSIONS[1], date(2025, 1, 6)) == tuple(SESSIONS[1:3])


def test_a_stock_that_did_not_trade_has_no_bar_and_keeps_its_last_close() -> None:
    known = TWO.after(SESSIONS[1])
    assert set(known.bars) == {"2330"}
    assert known.quote("1101") is None
    assert known.closes_x100 == {"1101": 40_00, "2330": 101_00}


def test_a_stock_not_yet_listed_has_no_close() -> None:
    late = market(s1101=[None, flat(40)], s2330=[flat(100), flat(101)])
    assert late.after(SESSIONS[0]).closes_x100 == {"2330": 100_00}


def test_the_past_ends_with_the_session() -> None:
    past = TWO.after(SESSIONS[2]).past("1101", last=5)
    assert [(bar.session, bar.close) for bar in past] == [(SESSIONS[0], Decimal(40)), (SESSIONS[2], Decimal(42))]
    assert [bar.close for bar in TWO.after(SESSIONS[2]).past("2330", last=2)] == [Decimal(101), Decimal(102)]


def test_a_later_bar_can_not_be_had() -> None:
    known = TWO.after(SESSIONS[1])
    with pytest.raises(LookAheadError, match="2330: the bar of 2025-01-06 was asked for after the close of 2025-01-03"):
        known.bar("2330", SESSIONS[2])
    assert known.bar("1101", SESSIONS[1]) is None
    found = known.bar("2330", SESSIONS[1])
    assert found is not None
    assert found.close == Decimal(101)


def test_nothing_known_changes_when_the_future_does() -> None:
    other = market(s1101=[flat(40), None, flat(99), flat(98)], s2330=[flat(100), flat(101), flat(10), flat(11)])
    for session in SESSIONS[:2]:
        one, two = TWO.after(session), other.after(session)
        assert (one.bars, one.closes_x100, one.past("1101", 9)) == (two.bars, two.closes_x100, two.past("1101", 9))


def test_csv_and_store_tell_the_same(tmp_path: Path) -> None:
    told = random_market(["2330", "2317"], SESSIONS)
    write_csv(tmp_path / "bars", told)
    from_csv = History.from_csv(tmp_path / "bars")
    store = MarketStore(open_database(tmp_path / "some.db"))
    for symbol in told.symbols:
        store.add_bars(checked(*from_csv.after(SESSIONS[-1]).past(symbol, 99)), at(SESSIONS[-1]))
    assert told.digest() == from_csv.digest() == History.from_store(store).digest()
    cut = History.from_store(store, symbols=["2330"], since=SESSIONS[2], until=SESSIONS[4])
    assert (cut.symbols, cut.sessions) == (("2330",), tuple(SESSIONS[2:5]))
    assert (
        cut.digest()
        == History.from_csv(tmp_path / "bars", symbols=["2330"], since=SESSIONS[2], until=SESSIONS[4]).digest()
    )


HEADER = "date,capacity,turnover,open,high,low,close,change,transaction\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "2025-01-02,1000,,100,101,99,100.005,,\n", "2330.csv line 2: 100.005 is finer than 0.01 TWD"),
        (HEADER + "2025-01-02,1000,,100,101,99,--,,\n", "2330.csv line 2: could not convert"),
        (HEADER + "2025-01-02,1000,,100,101,99,inf,,\n", "2330.csv line 2"),
        (HEADER + "2025-01-02,1000,,100\n", "2330.csv line 2: 4 fields where the header has 9"),
        (HEADER + "2025-01-02,1000,,100,101,99,102,,\n", "2330 2025-01-02: .* can't be a bar"),
        (HEADER + "2025-01-02,-1,,100,101,99,100,,\n", "2330 2025-01-02: .* can't be a bar"),
        (HEADER + "2025-01-02,1,,1,1,1,1,,\n2025-01-02,1,,1,1,1,1,,\n", "2330 2025-01-02: stands after 2025-01-02"),
        ("date,open,high,low,close\n", "2330.csv: no column capacity"),
        ("", "2330.csv: no column date"),
    ],
)
def test_a_file_that_is_no_bars_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "2330.csv").write_text(text, encoding="utf-8")
    with pytest.raises(Refused, match=message):
        History.from_csv(tmp_path)


def test_a_folder_without_bars_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such folder"):
        History.from_csv(tmp_path / "absent")
    (tmp_path / "ex_rights.csv").write_text("code,ex_date\n", encoding="utf-8")
    with pytest.raises(Refused, match=r"no file of bars named CODE.csv"):
        History.from_csv(tmp_path)
    write_csv(tmp_path, TWO)
    with pytest.raises(Refused, match="no bars of 2317"):
        History.from_csv(tmp_path, symbols=["2330", "2317"])


def test_a_hole_in_the_market_is_refused_and_the_lunar_new_year_is_not() -> None:
    check_covers([date(2023, 1, 17), date(2023, 1, 30)], None, None)
    with pytest.raises(Refused, match="no stock has one between 2023-01-17 and 2023-02-20"):
        check_covers([date(2023, 1, 17), date(2023, 2, 20)], None, None)


def test_asked_days_without_bars_are_refused() -> None:
    sessions = [date(2023, 3, 1), date(2023, 3, 2)]
    check_covers(sessions, date(2023, 2, 25), date(2023, 3, 5))
    with pytest.raises(Refused, match="no bars between 2023-01-01 and 2023-03-01: ask with --from 2023-03-01"):
        check_covers(sessions, date(2023, 1, 1), None)
    with pytest.raises(Refused, match="no bars between 2023-03-02 and 2023-06-30: ask with --to 2023-03-02"):
        check_covers(sessions, None, date(2023, 6, 30))
    with pytest.raises(Refused, match="no bars between 2023-01-01 and the end"):
        check_covers([], date(2023, 1, 1), None)


def test_a_stock_that_stops_or_lists_late_is_named() -> None:
    told = market(
        s1101=[flat(40), *[None] * 6, flat(41)], s2330=[flat(100)] * 8, s3008=[*[None] * 7, flat(9)], s5000=[flat(5)]
    )
    assert hole_notes(told, told.sessions) == [
        "1101: no bars 2025-01-03..2025-01-10, 6 sessions: no trade, valued at the last close",
        "3008: no bars 2025-01-02..2025-01-10, 7 sessions: no trade, valued at the last close",
        "5000: no bars 2025-01-03..2025-01-13, 7 sessions: no trade, valued at the last close",
    ]
