"""Expected points worked out by hand from twstock's rules: volume against yesterday, close against open, averages."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from bot.adapters.twstock_signals import Points, best_four_point, choose, points_of
from bot.core.market import Bar


def bars(closes: list[float], volumes: list[int] | None = None, opens: list[float] | None = None) -> list[Bar]:
    first = date(2025, 1, 1)
    return [
        Bar(
            symbol="2330",
            session=first + timedelta(days=i),
            open=Decimal(str(opens[i] if opens else close)),
            high=Decimal(1000),
            low=Decimal(1),
            close=Decimal(str(close)),
            volume_shares=volumes[i] if volumes else 1000,
        )
        for i, close in enumerate(closes)
    ]


RISING = [100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110]
FALLING = RISING[::-1]


def test_a_steady_rise_on_growing_volume_above_the_open() -> None:
    """Point 3 (the average has just turned up) doesn't hold: it has risen for longer than a day."""
    rising = bars(RISING, list(range(1000, 1011)), [close - 1 for close in RISING])
    assert points_of(rising) == Points(buy=("量大收紅", "三日均價大於六日均價"), sell=())
    assert best_four_point(rising) == "buy"


def test_a_steady_fall_on_growing_volume_below_the_open() -> None:
    falling = bars(FALLING, list(range(1000, 1011)), [close + 1 for close in FALLING])
    assert points_of(falling) == Points(buy=(), sell=("量大收黑", "三日均價小於六日均價"))
    assert best_four_point(falling) == "sell"


def test_a_turn_upwards_on_thin_volume() -> None:
    """3-day averages ..., 101, 102: turned up today; still below the 6-day one; close above yesterday's open."""
    turned = bars([109, 108, 107, 106, 105, 104, 103, 102, 101, 100, 105], [1000] * 10 + [900])
    assert points_of(turned) == Points(buy=("量縮價不跌", "三日均價由下往上"), sell=("三日均價小於六日均價",))
    assert points_of(turned).score == 1
    assert best_four_point(turned) == "buy"


def test_a_flat_line_says_nothing_but_that_its_average_did_not_rise() -> None:
    """twstock counts an unchanged average as falling, yet "turned down" needs exactly one such day."""
    assert points_of(bars([100] * 11)) == Points(buy=(), sell=())
    assert best_four_point(bars([100] * 11)) == "none"


@pytest.mark.parametrize("count", range(10))
def test_fewer_than_ten_bars_say_nothing(count: int) -> None:
    few = bars(RISING[:count])
    assert best_four_point(few) == "none"
    assert points_of(few) == Points(buy=(), sell=())


def test_ten_bars_are_enough() -> None:
    assert best_four_point(bars(RISING[:10])) == "buy"


def test_chooses_by_points_then_by_code() -> None:
    market = {
        "3000": bars(FALLING),
        "2000": bars(RISING),
        "1000": bars([100] * 11),
        "4000": bars(RISING, list(range(1000, 1011)), [close - 1 for close in RISING]),
        "1500": bars(RISING),
        "0001": bars(RISING[:9]),
    }
    assert choose(market, 3) == ["4000", "1500", "2000"]
    assert choose(market, 99) == ["4000", "1500", "2000", "1000", "3000"]
    assert choose(market, 0) == []
