"""What a broker declares. The stock API's window is the one of api/STOCK_API.md: 16:00 to 13:00 of the next day."""

from __future__ import annotations

from datetime import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.brokerage import Abilities, Deal, Report
from bot.core.orders import OrderState

OVERNIGHT = Abilities(lot_shares=1000, window_opens=time(16), window_closes=time(13))
BY_DAY = Abilities(lot_shares=1, window_opens=time(9), window_closes=time(13, 30))


@pytest.mark.parametrize(
    ("abilities", "at", "is_open"),
    [
        (OVERNIGHT, time(15, 59, 59), False), (OVERNIGHT, time(16), True), (OVERNIGHT, time(23, 59), True),
        (OVERNIGHT, time(0), True), (OVERNIGHT, time(12, 59, 59), True), (OVERNIGHT, time(13), False),
        (BY_DAY, time(8, 59), False), (BY_DAY, time(9), True), (BY_DAY, time(13, 30), False), (BY_DAY, time(20), False),
    ],
)  # fmt: skip
def test_the_order_window_has_its_first_moment_and_not_its_last(abilities: Abilities, at: time, is_open: bool) -> None:
    assert abilities.takes_orders_at(at) is is_open


@given(st.times())
def test_without_a_window_orders_are_always_taken(at: time) -> None:
    assert Abilities(lot_shares=1).takes_orders_at(at)


@pytest.mark.parametrize(
    "keys",
    [
        {"lot_shares": 100}, {"lot_shares": 0}, {"lot_shares": 1000, "odd_apart": True},
        {"lot_shares": 1, "settlement_sessions": 1}, {"lot_shares": 1, "window_opens": time(9)},
    ],
)  # fmt: skip
def test_abilities_that_no_broker_has_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (which key is said in the message; that it is refused is the point)
        Abilities(**keys)


def test_a_report_adds_its_deals_up() -> None:
    deals = (Deal(shares=2_000, price_x100=100_50), Deal(shares=1_000, price_x100=101_00))
    report = Report(order_id="a", state=OrderState.FILLED, deals=deals)
    assert (report.filled_shares, report.value_x100) == (3_000, 30_200_000)
