"""The check of an answer, against answers that break one rule each. Limits of 100: 90 and 110; ticks of 0.5 above."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from builders import THURSDAY, bar

from bot.core.answer_check import answer_faults
from bot.core.forecast import Band, Forecast, ForecastBar

LAST = bar("100")


def one(opened: str, high: str, low: str, close: str) -> ForecastBar:
    return ForecastBar(open=Decimal(opened), high=Decimal(high), low=Decimal(low), close=Decimal(close))


def band(low: str, high: str) -> Band:
    return Band(low=Decimal(low), high=Decimal(high))


GOOD = Forecast(
    symbol="2330", as_of=THURSDAY, trained_until=THURSDAY, model="m", past_sessions=1,
    bars=(one("100", "110", "90", "110"), one("110", "121", "99", "121")),
    bands=(band("90", "110"), band("81", "121")), p_up=1.0,
)  # fmt: skip


def test_the_very_edges_are_right() -> None:
    """The limits of 110 are 99 and 121; those of 90, the lowest close of the first session, begin at 81."""
    assert answer_faults(GOOD, LAST, 2) == []
    assert answer_faults(replace(GOOD, bands=(), p_up=None), LAST, 2) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bars": GOOD.bars[:1], "bands": ()}, "1 bars, not 2"),
        ({"bands": GOOD.bands[:1]}, "1 bands for 2 bars"),
        ({"p_up": 1.5}, "probability"),
        ({"p_up": float("nan")}, "probability"),
        ({"symbol": "2317"}, "about 2317"),
        ({"bars": (one("100", "110.5", "90", "110"), GOOD.bars[1])}, "bar 1: high 110.5 is outside"),
        ({"bars": (one("100", "110", "89.9", "110"), GOOD.bars[1])}, "bar 1: low 89.9 is outside"),
        ({"bars": (GOOD.bars[0], one("110", "121.5", "99", "121"))}, "bar 2: high 121.5 is outside"),
        ({"bars": (one("100", "110", "90", "105.2"), one("105", "110", "100", "110"))}, "105.2 is not on the tick"),
        ({"bars": (one("100", "105", "90", "110"), GOOD.bars[1])}, "does not hold the body"),
        ({"bands": (band("110.5", "111"), GOOD.bands[1])}, "does not hold the close"),
        ({"bands": (GOOD.bands[0], band("80.9", "121"))}, "outside what the limits let it reach"),
    ],
)
def test_each_fault_is_named(change: dict[str, object], words: str) -> None:
    assert any(words in fault for fault in answer_faults(replace(GOOD, **change), LAST, 2))  # type: ignore[arg-type]


def test_a_fund_has_finer_ticks() -> None:
    fund = replace(GOOD, symbol="0050", bars=(one("100", "100.05", "99.95", "100.05"),), bands=())
    assert answer_faults(fund, bar("100", symbol="0050"), 1) == []
    stock = replace(fund, symbol="2330")
    assert answer_faults(stock, LAST, 1) != []
