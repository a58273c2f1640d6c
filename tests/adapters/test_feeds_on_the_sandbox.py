"""The feeds against the sandbox's own process: the wire formats of both sides must be the same."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from loopback import exchange_config, news_config, rss_config

from bot.adapters.clocks import SandboxClock
from bot.adapters.company_names import symbols_of
from bot.adapters.newsapi_articles import NewsApiArticles
from bot.adapters.twse_holidays import TwseHolidays
from bot.adapters.twstock_bars import TwstockBars
from bot.config import TAIPEI, FeedsConfig
from bot.core.check import check_rows
from bot.core.feed_rows import Reading
from bot.core.market import Bar
from bot.core.row_rules import Known
from bot.errors import DataMissing, Refused
from bot.ports import Company
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings

TSMC = Company(symbol="2330", name="台積電", board="twse")
AXIOMTEK = Company(symbol="3088", name="艾訊", board="tpex")
HEADER = "date,capacity,turnover,open,high,low,close,change,transaction"
ROWS = {
    "2330": [
        "2025-02-27,30000000,31200000000,1045.0,1050.0,1035.0,1040.0,-5.0,50000",
        "2025-03-03,40000000,40800000000,1010.0,1030.0,1005.0,1015.0,-25.0,60000",
        "2025-03-04,41234567,41646912670,1000.0,1020.0,995.0,1010.0,-5.0,61234",
    ],
    "3088": [
        "2025-03-03,1234000,111060000,90.0,91.5,89.7,90.3,0.3,987",
        "2025-03-04,55000,4961000,90.2,90.4,90.0,90.2,-0.1,44",
    ],
}


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prices")
    for code, rows in ROWS.items():
        (folder / f"{code}.csv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def sandbox(prices: Path) -> Iterator[Sandbox]:
    start = datetime(2025, 3, 4, 17, 0, tzinfo=TAIPEI)
    with start_sandbox(SandboxSettings(start=start, prices=prices, newsapi_key="right")) as running:
        yield running


def bars_of(sandbox: Sandbox, **changes: Any) -> TwstockBars:
    twse = exchange_config(f"{sandbox.url}/twse", **changes)
    tpex = exchange_config(f"{sandbox.url}/tpex", **changes)
    return TwstockBars(FeedsConfig(twse=twse, tpex=tpex, newsapi=news_config(sandbox.url), rss=rss_config()))


def checked_bars(reading: Reading) -> list[Bar]:
    passed = check_rows(reading, Known())
    assert not passed.quarantined
    return list(passed.bars)


def bars_in(prices: Path, code: str, month: str) -> list[Bar]:
    with (prices / f"{code}.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["date"].startswith(month)]
    return [
        Bar(
            symbol=code,
            session=date.fromisoformat(row["date"]),
            open=Decimal(row["open"]),
            high=Decimal(row["high"]),
            low=Decimal(row["low"]),
            close=Decimal(row["close"]),
            volume_shares=int(row["capacity"]),
            turnover_twd=int(row["turnover"]),
            trades=int(row["transaction"]),
        )
        for row in rows
    ]


@pytest.mark.parametrize("company", [TSMC, AXIOMTEK])
def test_bars_come_through_unchanged(sandbox: Sandbox, prices: Path, company: Company) -> None:
    feed = bars_of(sandbox)
    assert checked_bars(feed.month(company, 2025, 3)) == bars_in(prices, company.symbol, "2025-03")


@pytest.mark.parametrize("company", [TSMC, AXIOMTEK])
def test_a_month_without_sessions_is_empty(sandbox: Sandbox, company: Company) -> None:
    assert bars_of(sandbox).month(company, 2024, 12).rows == ()


@pytest.mark.parametrize("kind", ["twse_wrong_month", "twse_busy", "html", "empty", "wrong_json", "http_500", "reset"])
@pytest.mark.parametrize("company", [TSMC, AXIOMTEK])
def test_a_fault_is_tried_again_and_when_it_lasts_it_is_an_error(
    sandbox: Sandbox, prices: Path, company: Company, kind: str
) -> None:
    path = {"twse": "/twse/exchangeReport/STOCK_DAY", "tpex": "/tpex/www/zh-tw/afterTrading/tradingStock"}[
        company.board
    ]
    sandbox.fault(path, kind, times=2)
    assert checked_bars(bars_of(sandbox).month(company, 2025, 3)) == bars_in(prices, company.symbol, "2025-03")
    sandbox.fault(path, kind, times=4)
    with pytest.raises(
        DataMissing, match=rf"^{company.board} at {sandbox.url}/{company.board}: {company.symbol} 2025-03: .*, 4 tries$"
    ):
        bars_of(sandbox).month(company, 2025, 3)
    sandbox.clear_faults()


def test_an_answer_that_comes_late_is_given_up(sandbox: Sandbox) -> None:
    sandbox.fault("/twse/exchangeReport/STOCK_DAY", "hang", seconds=0.3)
    with pytest.raises(DataMissing, match=r"no answer within 0\.1 s, 1 try$"):
        bars_of(sandbox, timeout_s=0.1, attempts=1).month(TSMC, 2025, 3)


def test_holidays(sandbox: Sandbox) -> None:
    holidays = TwseHolidays(exchange_config(f"{sandbox.url}/twse")).schedule(2025).closed
    assert holidays
    assert not {date(2025, 2, 27), date(2025, 3, 3), date(2025, 3, 4)} & holidays.keys()
    assert all(day.year == 2025 and day.weekday() < 5 for day in holidays)


def newsapi(sandbox: Sandbox, key: str) -> NewsApiArticles:
    config, clock = news_config(f"{sandbox.url}/newsapi"), SandboxClock(sandbox.url)
    return NewsApiArticles(config, key, clock, symbols_of=symbols_of, spend=lambda: None)


def test_headlines_until_now_and_none_from_later(sandbox: Sandbox) -> None:
    clock = SandboxClock(sandbox.url)
    now = clock.now()
    feed = newsapi(sandbox, "right")
    articles = feed.about(TSMC, "台積電", "zh", now - timedelta(days=10), now)
    assert articles
    for article in articles:
        assert article.symbols == ("2330",)
        assert now - timedelta(days=10) <= article.published_at <= article.fetched_at == now


def test_a_wrong_key_is_told_in_newsapis_words(sandbox: Sandbox) -> None:
    feed = newsapi(sandbox, "wrong")
    now = datetime(2025, 3, 4, 17, 0, tzinfo=TAIPEI)
    with pytest.raises(DataMissing, match="news about 2330 台積電: apiKeyInvalid: Your API key is invalid"):
        feed.about(TSMC, "台積電", "zh", now - timedelta(days=3), now)


def test_the_clock_moves_forwards_only(prices: Path) -> None:
    start = datetime(2025, 3, 3, 8, 0, tzinfo=TAIPEI)
    with start_sandbox(SandboxSettings(start=start, prices=prices)) as running:
        clock = SandboxClock(running.url)
        assert clock.now() == start
        assert bars_of(running).month(TSMC, 2025, 3).rows == ()  # before the first close
        later = start + timedelta(hours=9)
        assert clock.move_to(later) == later
        assert [row.session for row in bars_of(running).month(TSMC, 2025, 3).rows] == [start.date()]
        with pytest.raises(Refused, match="can't go back"):
            clock.move_to(start)
