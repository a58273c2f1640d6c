"""Small markets for tests of the backtest: written out by hand, or generated from a seed."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from builders import days

from backtest.history import History, Quote, Series
from bot.core.decide import Rules
from bot.core.market import floor_to_tick_x100, limit_down_x100, limit_up_x100

RULES = Rules(
    top_k=5,
    entry_edge_bps=50,
    exit_return_bps=-50,
    stop_bps=800,
    min_sentiment_bps=-2000,
    exit_sentiment_bps=-6000,
    invest_bps=9500,
    max_order_twd=20_000_000,
    buy_offset_bps=0,
    sell_offset_bps=0,
    lot_shares=1000,
)
SESSIONS = days(date(2025, 1, 2), 8)  # Thu 2nd, Fri 3rd, Mon 6th, ...

Prices = tuple[float, float, float, float] | None


def market(**rows: Iterable[Prices]) -> History:
    """Stocks `s2330=[(open, high, low, close), ...]`, one entry a session from SESSIONS[0] on; None: no trade."""
    series = []
    for name, prices in rows.items():
        one = Series(name.removeprefix("s"))
        for session, told in zip(SESSIONS, prices, strict=False):
            if told is not None:
                one.add(session, Quote(*(round(price * 100) for price in told), 1_000_000))
        series.append(one)
    return History(series)


def flat(price: float) -> Prices:
    return price, price, price, price


def random_rows(seed: int, sessions: list[date], holes: float = 0.02) -> list[tuple[date, Quote]]:
    """A stock that walks at random on the tick inside the daily limit, sometimes locked, sometimes not traded."""
    chance = random.Random(seed)
    close = floor_to_tick_x100(chance.randint(20_00, 900_00), etf=False)
    rows = []
    for session in sessions:
        if chance.random() < holes:
            continue
        up, down = limit_up_x100(close, etf=False), limit_down_x100(close, etf=False)

        def price(up: int = up, down: int = down, near: int = close) -> int:
            wished = round(near * (1 + chance.gauss(0, 0.02)))
            return min(up, max(down, floor_to_tick_x100(wished, etf=False)))

        prices = [price() for _ in range(4)]
        if chance.random() < 0.03:
            prices = [chance.choice([up, down])] * 4
        close = prices[3]
        rows.append((session, Quote(prices[0], max(prices), min(prices), close, chance.randint(1, 9_999) * 1_000)))
    return rows


def random_market(symbols: Iterable[str], sessions: list[date]) -> History:
    series = []
    for symbol in symbols:
        one = Series(symbol)
        for session, quote in random_rows(int(symbol), sessions):
            one.add(session, quote)
        series.append(one)
    return History(series)


def write_csv(folder: Path, history: History) -> None:
    """`history` as files in the format of shared/data/prices."""
    folder.mkdir(parents=True, exist_ok=True)
    for symbol in history.symbols:
        series = history.series(symbol)
        with (folder / f"{symbol}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["date", "capacity", "turnover", "open", "high", "low", "close", "change", "transaction"])
            for session, quote in zip(series.sessions, series.quotes, strict=True):
                prices = [f"{price / 100:g}" for price in quote[:4]]
                writer.writerow([session, quote.volume_shares, "", *prices, "", ""])
