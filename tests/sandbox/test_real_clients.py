"""The libraries we trade with, twstock and newsapi-python, as they are, against a real sandbox process."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import newsapi.const
import pytest
from newsapi import NewsApiClient
from newsapi.newsapi_exception import NewsAPIException
from twstock.stock import TPEXFetcher, TWSEFetcher

from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings

REAL = Path(__file__).parents[2].parent / "shared/data/prices"


@pytest.fixture(scope="module")
def replay() -> Iterator[Sandbox]:
    """Real bars, on the evening of 2025-03-20."""
    if not REAL.exists():
        pytest.skip("needs the real bars of ../shared/data")
    start = datetime.fromisoformat("2025-03-20T18:00+08:00")
    with start_sandbox(SandboxSettings(start=start, prices=REAL, codes=("2330", "3088"), newsapi_key="key")) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy stands between loopback and us."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def lines(code: str, month: str) -> list[dict[str, str]]:
    """The CSV's lines of a month, up to the evening on the sandbox's clock."""
    with (REAL / f"{code}.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["date"].startswith(month) and row["date"] <= "2025-03-20"]


@pytest.mark.parametrize("month", [(2025, 3), (2025, 1), (2024, 7), (2016, 1)])
def test_twstock_reads_a_listed_month(monkeypatch: pytest.MonkeyPatch, replay: Sandbox, month: tuple[int, int]) -> None:
    monkeypatch.setattr(TWSEFetcher, "REPORT_URL", f"{replay.url}/twse/exchangeReport/STOCK_DAY")
    told = TWSEFetcher().fetch(*month, "2330")["data"]
    wanted = lines("2330", "{}-{:02d}".format(*month))
    assert len(told) == len(wanted) >= 13
    for data, row in zip(told, wanted, strict=True):
        assert data.date.date() == date.fromisoformat(row["date"])
        assert (data.capacity, data.turnover) == (int(row["capacity"]), int(row["turnover"]))
        assert [data.open, data.high, data.low, data.close] == [
            float(row[name]) for name in ("open", "high", "low", "close")
        ]
        assert data.change == float(row["change"])  # 0 on the ex-date of 2025-03-18, as the exchange has it
        assert data.note == ""


def test_twstock_reads_a_month_over_the_counter(monkeypatch: pytest.MonkeyPatch, replay: Sandbox) -> None:
    monkeypatch.setattr(TPEXFetcher, "REPORT_URL", f"{replay.url}/tpex/www/zh-tw/afterTrading/tradingStock")
    told = TPEXFetcher().fetch(2025, 2, "3088")["data"]
    wanted = lines("3088", "2025-02")
    assert [data.date.date().isoformat() for data in told] == [row["date"] for row in wanted]
    assert [data.close for data in told] == [float(row["close"]) for row in wanted]
    assert [data.capacity for data in told] == [int(row["capacity"]) // 1000 * 1000 for row in wanted]


def test_twstock_gets_nothing_of_the_future(monkeypatch: pytest.MonkeyPatch, replay: Sandbox) -> None:
    monkeypatch.setattr(TWSEFetcher, "REPORT_URL", f"{replay.url}/twse/exchangeReport/STOCK_DAY")
    assert TWSEFetcher().fetch(2025, 4, "2330")["data"] == []


def test_twstock_reads_an_invented_market(monkeypatch: pytest.MonkeyPatch, invented: Sandbox) -> None:
    monkeypatch.setattr(TWSEFetcher, "REPORT_URL", f"{invented.url}/twse/rwd/zh/afterTrading/STOCK_DAY")
    monkeypatch.setattr(TPEXFetcher, "REPORT_URL", f"{invented.url}/tpex/www/zh-tw/afterTrading/tradingStock")
    sessions = invented.sessions(date(2024, 12, 1), date(2024, 12, 31))
    for fetcher, code in ((TWSEFetcher, "2317"), (TPEXFetcher, "6125")):
        assert [data.date.date() for data in fetcher().fetch(2024, 12, code)["data"]] == sessions


def test_newsapi_python_finds_headlines(monkeypatch: pytest.MonkeyPatch, replay: Sandbox) -> None:
    monkeypatch.setattr(newsapi.const, "EVERYTHING_URL", f"{replay.url}/newsapi/v2/everything")
    told = NewsApiClient("key").get_everything(
        q='"台積電" OR 2330',
        language="zh",
        from_param="2025-03-01T00:00:00",
        to="2025-03-20T10:00:00",
        sort_by="publishedAt",
        page_size=20,
        page=1,
    )
    assert told["status"] == "ok"
    assert told["totalResults"] == len(told["articles"]) > 0
    moments = [article["publishedAt"] for article in told["articles"]]
    assert moments == sorted(moments, reverse=True)
    assert "2025-03-01" <= moments[-1] <= moments[0] <= "2025-03-20T10:00:00Z"
    assert all("2330" in article["title"] for article in told["articles"])


def test_newsapi_python_gets_the_error_it_knows(monkeypatch: pytest.MonkeyPatch, replay: Sandbox) -> None:
    monkeypatch.setattr(newsapi.const, "EVERYTHING_URL", f"{replay.url}/newsapi/v2/everything")
    with pytest.raises(NewsAPIException) as refused:
        NewsApiClient("wrong").get_everything(q="x")
    assert (refused.value.get_status(), refused.value.get_code()) == ("error", "apiKeyInvalid")
