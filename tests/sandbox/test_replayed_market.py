"""Replays of CSV bars: a small folder worked out by hand, and the real ones."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from bot.errors import Refused
from bot.sandbox.exchange_cells import change_text
from bot.sandbox.holiday_payloads import holiday_rows
from bot.sandbox.replay import ReplayMarket

REAL = Path(__file__).parents[2].parent / "shared/data/prices"
real = pytest.mark.skipif(not REAL.exists(), reason="needs the real bars of ../shared/data")
HEADER = "date,capacity,turnover,open,high,low,close,change,transaction\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two stocks over the week with the typhoon of 2024-07-24 and 25; 1101 has a hole on the 23rd."""
    (tmp_path / "2330.csv").write_text(
        HEADER
        + "2024-07-22,1000,100500,100.5,101.0,100.0,100.5,0.5,10\n"
        + "2024-07-23,2500,,101.5,105.0,101.0,104.5,,\n"
        + "2024-07-26,0,0,,,,,0.0,0\n"
        + "2024-07-29,3000,300000,100.0,100.0,99.9,100.0,0.0,9\n",
        encoding="utf-8",
    )
    (tmp_path / "1101.csv").write_text(
        HEADER
        + "2024-07-22,1000,30000,30.0,30.0,30.0,30.0,0.0,1\n"
        + "2024-07-31,1000,30000,30.0,30.0,30.0,30.0,0.0,1\n",
        encoding="utf-8",
    )
    (tmp_path / "ex_rights.csv").write_text("code,ex_date,factor,prev\n2330,2024-07-29,0.99,2024-07-26\n")
    return tmp_path


def test_lines_become_quotes(folder: Path) -> None:
    monday, tuesday, friday, ex_date = ReplayMarket(folder).quotes("2330").values()
    assert (monday.open_x100, monday.close_x100, monday.volume_shares, monday.trades) == (100_50, 100_50, 1_000, 10)
    assert tuesday.change_x100 == 4_00  # 104.5 - 100.5
    assert (tuesday.turnover_twd, tuesday.trades) == (261_250, 3)  # left empty: volume at the close, a trade a lot
    assert not friday.traded
    assert ex_date.change_x100 == -4_50  # against 104.5, the last close there was
    assert change_text(ex_date) == "X0.00"


def test_the_calendar_is_that_of_all_files(folder: Path) -> None:
    market = ReplayMarket(folder, ["1101"])
    assert [session.day for session in market.sessions] == [22, 23, 26, 29, 31]
    assert list(market.companies) == ["1101"]


def test_typhoons_are_in_no_schedule(folder: Path) -> None:
    assert ReplayMarket(folder).holidays(2024) == {date(2024, 7, 30): "依規定放假"}


def test_from_and_to_limit_what_exists_but_not_the_first_change(folder: Path) -> None:
    market = ReplayMarket(folder, first=date(2024, 7, 23), last=date(2024, 7, 26))
    assert [session.day for session in market.sessions] == [23, 26]
    assert [quote.change_x100 for quote in market.quotes("2330").values()] == [4_00, 0]


def test_moods_know_the_session_and_nothing_after_it(folder: Path) -> None:
    market = ReplayMarket(folder)
    assert [market.mood("2330", session) for session in market.sessions] == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,close\n", "the first line must be"),
        (HEADER + "soon,1,1,1,1,1,1,1,1\n", "Invalid isoformat"),
    ],
)
def test_a_file_that_holds_no_bars_is_refused(folder: Path, text: str, message: str) -> None:
    (folder / "2317.csv").write_text(text)
    with pytest.raises(Refused, match=message) as refused:
        ReplayMarket(folder)
    assert "2317.csv" in str(refused.value)


@pytest.mark.parametrize("price", ["1.005", "one", "-1"])
def test_a_price_that_is_none_is_refused_when_it_is_read(folder: Path, price: str) -> None:
    (folder / "2317.csv").write_text(HEADER + f"2024-07-22,1,1,1,1,1,{price},1,1\n")
    with pytest.raises(Refused, match=r"2317\.csv: 2024-07-22"):
        ReplayMarket(folder).quotes("2317")


def test_the_same_day_twice_is_refused(folder: Path) -> None:
    (folder / "2317.csv").write_text(HEADER + "2024-07-22,1,1,1,1,1,1,1,1\n" * 2)
    with pytest.raises(Refused, match="2024-07-22 stands there twice"):
        ReplayMarket(folder).quotes("2317")


def test_what_is_not_there_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(Refused, match="no such folder"):
        ReplayMarket(folder / "absent")
    with pytest.raises(Refused, match=r"no CODE\.csv"):
        ReplayMarket(tmp_path_factory.mktemp("empty"))
    with pytest.raises(Refused, match="no bars of 2317, 2454"):
        ReplayMarket(folder, ["2454", "2330", "2317"])
    with pytest.raises(Refused, match="no session from 2030-01-01"):
        ReplayMarket(folder, first=date(2030, 1, 1))


@real
def test_the_real_year_2024() -> None:
    market = ReplayMarket(REAL)
    assert len(market.companies) == 41
    closed = market.holidays(2024)
    assert {date(2024, 2, 6), date(2024, 4, 5), date(2024, 9, 17)} <= set(closed)
    typhoons = {date(2024, 7, 24), date(2024, 7, 25), date(2024, 10, 2), date(2024, 10, 3), date(2024, 10, 31)}
    assert not typhoons & set(closed)
    assert not typhoons & set(market.sessions)
    weekdays = sum(
        date.fromordinal(day).weekday() < 5 for day in range(date(2024, 1, 1).toordinal(), date(2025, 1, 1).toordinal())
    )
    assert weekdays == len(closed) + len(typhoons) + sum(session.year == 2024 for session in market.sessions)


@real
def test_the_real_saturdays_and_the_lunar_new_year() -> None:
    market = ReplayMarket(REAL)
    assert [f"{day:%Y%m%d}" for day in market.sessions if day.weekday() > 4] == [
        "20160130", "20160604", "20160910", "20170218", "20170603", "20170930", "20180331", "20181222",
    ]  # fmt: skip
    names = {day: name for day, name, _ in holiday_rows(market, 2023)}
    assert names[date(2023, 1, 17)] == "農曆春節前最後交易日"
    assert names[date(2023, 1, 30)] == "農曆春節後開始交易日"


@real
def test_a_real_ex_date() -> None:
    quote = ReplayMarket(REAL, ["2330"]).quotes("2330")[date(2024, 6, 13)]
    assert (quote.open_x100, quote.close_x100, change_text(quote)) == (923_00, 919_00, "X0.00")
