"""Values for tests: a test names only what it is about."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from bot.config import TAIPEI, Config
from bot.config_file import config_of
from bot.core.check import CheckedBars, check_rows
from bot.core.costs import CostRates
from bot.core.feed_rows import Reading, row_of
from bot.core.forecast import Forecast, ForecastBar
from bot.core.market import Bar
from bot.core.orders import Order, Side
from bot.core.row_rules import Known

REPO = Path(__file__).parents[1]
SHARED = REPO.parent / "shared/data"
THURSDAY = date(2025, 1, 2)
FRIDAY = date(2025, 1, 3)
RATES = CostRates(
    commission=Decimal("0.001425"),
    discount=Decimal("1.0"),
    minimum_twd=20,
    stock_tax=Decimal("0.003"),
    etf_tax=Decimal("0.001"),
)


def at(day: date, clock: str = "18:00") -> datetime:
    """A moment in Taipei."""
    hour, minute = clock.split(":")
    return datetime(day.year, day.month, day.day, int(hour), int(minute), tzinfo=TAIPEI)


def bar(close: str = "100", *, symbol: str = "2330", session: date = THURSDAY, **prices: str) -> Bar:
    """A bar; open, high and low are the close unless named."""
    told = {name: Decimal(prices.get(name, close)) for name in ("open", "high", "low")}
    return Bar(symbol=symbol, session=session, close=Decimal(close), volume_shares=1_000_000, **told)


def checked(*bars: Bar) -> CheckedBars:
    """Bars through the gate, each alone: what was before is not held against them."""
    rows = tuple(row_of(one) for one in bars)
    passed = check_rows(Reading(rows=rows, sessions=frozenset(row.session for row in rows)), Known())
    assert not passed.quarantined, passed.quarantined
    return passed


def forecast(target: str, *, symbol: str = "2330", as_of: date = THURSDAY, until: date = date(2024, 6, 30)) -> Forecast:
    """A forecast of one flat bar."""
    price = Decimal(target)
    flat = ForecastBar(open=price, high=price, low=price, close=price)
    return Forecast(symbol=symbol, as_of=as_of, trained_until=until, model="test", past_sessions=20, bars=(flat,))


def order(side: Side = Side.BUY, shares: int = 1_000, limit: int = 100_00, **more: Any) -> Order:
    """An order for 2330 decided on THURSDAY; the limit is in hundredths of a TWD."""
    told: dict[str, Any] = {"symbol": "2330", "decided": THURSDAY, **more}
    return Order(side=side, shares=shares, limit_x100=limit, **told)


def config(folder: Path, **tables: dict[str, Any]) -> Config:
    """The shipped config.toml with some keys replaced, anchored at `folder`. Nested tables: feeds={"twse": {...}}."""
    return config_of(config_table(**tables), folder / "config.toml")


def config_table(**tables: dict[str, Any]) -> dict[str, Any]:
    """The shipped config.toml as a table, with some keys replaced."""
    told = tomllib.loads((REPO / "config.toml").read_text(encoding="utf-8"), parse_float=Decimal)
    for name, keys in tables.items():
        _merge(told[name], keys)
    return told


def _merge(into: dict[str, Any], keys: dict[str, Any]) -> None:
    for key, value in keys.items():
        if isinstance(value, dict):
            _merge(into[key], value)
        else:
            into[key] = value


def days(first: date, count: int) -> list[date]:
    """`count` weekdays from `first` on."""
    found: list[date] = []
    while len(found) < count:
        if first.weekday() < 5:
            found.append(first)
        first += timedelta(days=1)
    return found
