"""Ticks, limits and bars. Expected prices come from the rule book's table, worked out by hand."""

from __future__ import annotations

import csv
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.market import (
    Bar,
    ceil_to_tick_x100,
    floor_to_tick_x100,
    from_x100,
    is_etf,
    limit_down_x100,
    limit_pct,
    limit_up_x100,
    shares_told,
    tick_x100,
    to_x100,
)
from bot.errors import DataMissing

PRICES = Path(__file__).parents[2].parent / "shared/data/prices"
TICKS_X100 = {1, 5, 10, 50, 100, 500}


def x100(price: str) -> int:
    return to_x100(Decimal(price))


@pytest.mark.parametrize(
    ("price", "tick"),
    [
        ("0.01", "0.01"),
        ("9.99", "0.01"),
        ("10", "0.05"),
        ("49.95", "0.05"),
        ("50", "0.1"),
        ("99.9", "0.1"),
        ("100", "0.5"),
        ("499.5", "0.5"),
        ("500", "1"),
        ("999", "1"),
        ("1000", "5"),
        ("9500", "5"),
    ],
)
def test_stock_tick_on_each_side_of_each_boundary(price: str, tick: str) -> None:
    assert tick_x100(x100(price), etf=False) == x100(tick)


@pytest.mark.parametrize(("price", "tick"), [("0.01", "0.01"), ("49.99", "0.01"), ("50", "0.05"), ("1200", "0.05")])
def test_fund_tick(price: str, tick: str) -> None:
    assert tick_x100(x100(price), etf=True) == x100(tick)


@pytest.mark.parametrize(
    ("reference", "down", "up"),
    [
        ("10.05", "9.05", "11.05"),  # 9.045 and 11.055: the lower limit has the finer tick of its own price
        ("9.14", "8.23", "10.05"),  # 8.226 and 10.054
        ("9.95", "8.96", "10.90"),  # 8.955 and 10.945
        ("11.10", "9.99", "12.20"),  # 9.99 and 12.21
        ("45.50", "40.95", "50.00"),  # 50.05 is between two ticks of 0.1
        ("55.50", "49.95", "61.00"),  # 61.05
        ("55.60", "50.10", "61.10"),  # 50.04 and 61.16
        ("90.90", "81.90", "99.90"),  # 81.81 and 99.99
        ("100.00", "90.00", "110.00"),
        ("99.90", "90.00", "109.50"),  # 89.91 and 109.89
        ("454.50", "409.50", "499.50"),  # 409.05 and 499.95
        ("555.00", "499.50", "610.00"),  # 610.5
        ("909.00", "819.00", "999.00"),  # 818.1 and 999.9
        ("995.00", "896.00", "1090.00"),  # 895.5 and 1094.5
        ("1080.00", "972.00", "1185.00"),  # 1188
    ],
)
def test_daily_limits_of_stocks(reference: str, down: str, up: str) -> None:
    assert limit_down_x100(x100(reference), etf=False) == x100(down)
    assert limit_up_x100(x100(reference), etf=False) == x100(up)


@pytest.mark.parametrize(
    ("reference", "down", "up"),
    [
        ("49.99", "45.00", "54.95"),  # 44.991 and 54.989
        ("50.00", "45.00", "55.00"),
        ("180.95", "162.90", "199.00"),  # 162.855 and 199.045
        ("17.23", "15.51", "18.95"),  # 15.507 and 18.953
    ],
)
def test_daily_limits_of_funds(reference: str, down: str, up: str) -> None:
    assert limit_down_x100(x100(reference), etf=True) == x100(down)
    assert limit_up_x100(x100(reference), etf=True) == x100(up)


def test_the_limit_was_7_percent_until_june_2015() -> None:
    assert limit_pct(date(2015, 5, 29)) == 7
    assert limit_pct(date(2015, 6, 1)) == 10
    assert limit_up_x100(x100("10.05"), etf=False, limit_pct=7) == x100("10.75")  # 10.7535
    assert limit_down_x100(x100("10.05"), etf=False, limit_pct=7) == x100("9.35")  # 9.3465
    assert limit_up_x100(x100("100"), etf=False, limit_pct=7) == x100("107")
    assert limit_down_x100(x100("100"), etf=False, limit_pct=7) == x100("93")


@settings(deadline=None)
@given(price=st.integers(10, 10_000_00), etf=st.booleans())
def test_rounding_brackets_a_price_by_its_neighbours_on_the_grid(*, price: int, etf: bool) -> None:
    below, above = floor_to_tick_x100(price, etf), ceil_to_tick_x100(price, etf)
    assert below <= price <= above
    assert above - below in ({0} | TICKS_X100)
    assert floor_to_tick_x100(below, etf) == below
    assert floor_to_tick_x100(above, etf) == above


@settings(deadline=None)
@given(price=st.integers(1_00, 10_000_00), etf=st.booleans(), pct=st.sampled_from([7, 10]))
def test_a_limit_is_the_last_tick_inside_the_band(*, price: int, etf: bool, pct: int) -> None:
    reference = floor_to_tick_x100(price, etf)
    up, down = limit_up_x100(reference, etf, pct), limit_down_x100(reference, etf, pct)
    assert up * 100 <= reference * (100 + pct) < (up + tick_x100(up, etf)) * 100
    assert down * 100 >= reference * (100 - pct) > (down - tick_x100(down - 1, etf)) * 100
    assert {floor_to_tick_x100(up, etf), ceil_to_tick_x100(down, etf)} == {up, down}


@settings(deadline=None)
@given(st.integers(0, 10**9))
def test_prices_and_hundredths_are_the_same(price_x100: int) -> None:
    assert to_x100(from_x100(price_x100)) == price_x100
    assert str(from_x100(price_x100)).partition(".")[2] == f"{price_x100 % 100:02d}"


@pytest.mark.parametrize("price", ["10.005", "NaN", "Infinity", "1E-3"])
def test_refuses_what_has_no_hundredths(price: str) -> None:
    with pytest.raises(ValueError, match=r"price|finer"):
        to_x100(Decimal(price))


def test_funds_begin_with_00() -> None:
    assert [code for code in ("0050", "00679B", "006208", "2330", "1101", "9958") if is_etf(code)] == [
        "0050",
        "00679B",
        "006208",
    ]


@pytest.mark.parametrize(
    ("prices", "volume", "why"),
    [
        ("0 10 9 10", 1, "a price is not positive"),
        ("10 10 -1 10", 1, "a price is not positive"),
        ("11 10 9 10", 1, "outside low..high"),
        ("10 10 9 8", 1, "outside low..high"),
        ("10 9 10 9.5", 1, "outside low..high"),
        ("10 10 9 10", -1, "negative volume"),
    ],
)
def test_a_bar_that_cannot_be_is_refused_with_stock_and_day(prices: str, volume: int, why: str) -> None:
    opened, high, low, close = (Decimal(price) for price in prices.split())
    with pytest.raises(DataMissing, match=rf"^2330 2025-03-04: .*{why}"):
        Bar(
            symbol="2330",
            session=date(2025, 3, 4),
            open=opened,
            high=high,
            low=low,
            close=close,
            volume_shares=volume,
        )


@pytest.mark.skipif(not PRICES.is_dir(), reason="needs the real bars in ../shared/data/prices")
def test_every_price_that_traded_is_on_the_tick() -> None:
    rows = 0
    for path in sorted(PRICES.glob("[0-9]*.csv")):
        etf = is_etf(path.stem)
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                rows += 1
                for name in ("open", "high", "low", "close"):
                    price_x100 = x100(row[name])
                    assert floor_to_tick_x100(price_x100, etf) == price_x100, (path.stem, row["date"], name, row[name])
    assert rows == 95_704


@pytest.mark.parametrize(
    ("shares", "text"),
    [(1_000, "+1 lot"), (-2_000, "-2 lots"), (1_500, "+1,500 shares"), (-1, "-1 shares"), (1_200_000, "+1,200 lots")],
)
def test_differences_are_told_in_lots(shares: int, text: str) -> None:
    assert shares_told(shares) == text
