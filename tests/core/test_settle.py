"""The broker's book against the journal, worked out by hand."""

from __future__ import annotations

import pytest
from builders import FRIDAY, RATES, THURSDAY, order

from bot.core.orders import Fill, OrderState, Side
from bot.core.portfolio import Portfolio, Position, apply_fill, as_if_bought
from bot.core.settle import Resting, settle

CASH = Portfolio(cash_twd=1_000_000)
HOLDS = Portfolio(cash_twd=1_000_000, positions={"2330": Position(shares=2_000, cost_twd=200_285)})


def resting(side: Side = Side.BUY, shares: int = 1_000, state: OrderState = OrderState.ACCEPTED) -> Resting:
    return Resting(order=order(side, shares), state=state, session=FRIDAY)


def test_a_purchase_in_the_book_is_a_fill_at_its_limit() -> None:
    result = settle([resting()], CASH, {"2330": 1_000}, None, RATES)
    # 1,000 x 100 = 100,000; commission 142.5 -> 142; no tax on a purchase
    assert result.fills == (
        Fill(key=f"{THURSDAY}:2330:buy", symbol="2330", session=FRIDAY, shares=1_000, price_x100=100_00,
             commission_twd=142, tax_twd=0),
    )  # fmt: skip
    assert result.moves[0][1] is OrderState.FILLED
    assert apply_fill(CASH, result.fills[0]).cash_twd == 1_000_000 - 100_000 - 142
    assert not result.surprises


def test_a_sale_pays_commission_and_tax() -> None:
    result = settle([resting(Side.SELL, 2_000)], HOLDS, {}, None, RATES)
    # 200,000; commission 285; tax 600
    after = apply_fill(HOLDS, result.fills[0])
    assert after.cash_twd == 1_000_000 + 200_000 - 285 - 600
    assert after.positions == {}


def test_a_price_the_broker_tells_wins_over_the_limit() -> None:
    result = settle([resting()], CASH, {"2330": 1_000}, {f"{THURSDAY}:2330:buy": 99_50}, RATES)
    assert result.fills[0].price_x100 == 99_50


@pytest.mark.parametrize("state", [OrderState.ACCEPTED, OrderState.UNKNOWN])
def test_an_unchanged_book_means_expired_and_solves_the_unknown(state: OrderState) -> None:
    result = settle([resting(state=state)], CASH, {}, None, RATES)
    assert [(key, after) for key, after, _ in result.moves] == [(f"{THURSDAY}:2330:buy", OrderState.EXPIRED)]
    assert not result.fills


def test_a_partial_change_is_said_and_blocks_the_stock() -> None:
    result = settle([resting(shares=3_000)], CASH, {"2330": 1_000}, None, RATES)
    assert not result.fills
    assert result.surprises == ("unexplained +1,000 shares 2330 (the order was for +3,000)",)
    assert result.unexplained == {"2330": 1_000}
    assert result.moves[0][1] is OrderState.UNKNOWN


def test_a_change_without_an_order_is_said_and_nothing_is_booked() -> None:
    result = settle([], HOLDS, {"2330": 2_000, "2317": 1_000}, None, RATES)
    assert result.surprises == ("unexplained +1,000 shares 2317",)
    assert result.unexplained == {"2317": 1_000}
    assert not result.fills
    assert not result.moves


def test_settling_again_changes_nothing() -> None:
    first = settle([resting()], CASH, {"2330": 1_000}, None, RATES)
    held = apply_fill(CASH, first.fills[0])
    again = settle([], held, {"2330": 1_000}, None, RATES)
    assert (again.moves, again.fills, again.surprises) == ((), (), ())


def test_an_open_purchase_counts_as_if_it_had_traded() -> None:
    held = as_if_bought(CASH, [order(Side.BUY, 3_000), order(Side.SELL, 1_000, symbol="2317")], RATES)
    # 300,000 and a commission of 427.5 -> 427; a sale brings nothing before it has traded
    assert held.cash_twd == 1_000_000 - 300_000 - 427
    assert {symbol: position.shares for symbol, position in held.positions.items()} == {"2330": 3_000}
