"""The stock API's book, against bills worked out by hand."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_market import FRI, MON, TAIPEI, THU, no_trade, quote

from bot.core.orders import OrderState, Side
from bot.core.portfolio import Portfolio
from bot.sandbox.account import (
    NO_CASH,
    NO_SHARES,
    WINDOW_CLOSED,
    Account,
    Wish,
    available_twd,
    opening_of,
    pay,
    reserve,
    settle,
    tick_price_x100,
)
from bot.sandbox.settings import STOCK_API_COSTS

EVENING = datetime(2025, 1, 2, 18, 30, tzinfo=TAIPEI)
RICH = Account(portfolio=Portfolio(cash_twd=1_000_000))


def wish(side: Side = Side.BUY, lots: int = 2, price: str = "100") -> Wish:
    return Wish(symbol="2330", side=side, lots=lots, price=Decimal(price))


def placed(account: Account, *wishes: Wish, at: datetime = EVENING) -> Account:
    return reduce(lambda book, one: reserve(book, one, at, STOCK_API_COSTS), wishes, account)


def after(account: Account, **prices: int) -> Account:
    return settle(account, FRI, {"2330": quote(FRI, **prices)}, STOCK_API_COSTS)


HOLDER = after(placed(RICH, wish(lots=2, price="100")))


def test_a_purchase_inside_the_range_fills_whole_at_its_own_price() -> None:
    # 2 lots at 100: 200,000 + 0.1425 % = 285.
    assert HOLDER.portfolio.cash_twd == 1_000_000 - 200_000 - 285
    assert HOLDER.portfolio.shares_of("2330") == 2_000
    [order] = HOLDER.orders
    assert order.state is OrderState.FILLED
    assert order.fill is not None
    assert (order.fill.session, order.fill.price_x100, order.fill.commission_twd) == (FRI, 100_00, 285)


def test_a_sale_pays_commission_and_tax() -> None:
    # 2 lots at 105: 210,000 - 299 (299.25 cut) - 630 (0.3 %).
    sold = after(placed(HOLDER, wish(Side.SELL, price="105")))
    assert sold.portfolio.cash_twd == HOLDER.portfolio.cash_twd + 210_000 - 299 - 630
    assert sold.portfolio.positions == {}


def test_a_small_trade_pays_twenty() -> None:
    # 1 lot at 10: 0.1425 % of 10,000 is 14.25, so the minimum counts.
    bought = after(placed(RICH, wish(lots=1, price="10")), low=9_90, high=10_10)
    assert bought.portfolio.cash_twd == 1_000_000 - 10_000 - 20


@pytest.mark.parametrize(
    ("side", "price", "on_tick"),
    [
        (Side.BUY, "100.3", 100_00),  # tick 0.5
        (Side.SELL, "100.3", 100_50),
        (Side.BUY, "99.97", 99_90),  # tick 0.1
        (Side.SELL, "99.97", 100_00),
        (Side.BUY, "9.999", 9_99),  # tick 0.01
        (Side.SELL, "9.991", 10_00),
        (Side.BUY, "1071.3", 1070_00),  # tick 5
        (Side.SELL, "1071.3", 1075_00),
        (Side.BUY, "100.5", 100_50),
    ],
)
def test_prices_off_the_tick_are_rounded_down_to_buy_and_up_to_sell(side: Side, price: str, on_tick: int) -> None:
    assert tick_price_x100(wish(side, price=price)) == on_tick


@pytest.mark.parametrize(
    ("low", "high", "filled"),
    [
        (95_00, 105_00, True),
        (100_00, 105_00, True),
        (95_00, 100_00, True),
        (100_50, 105_00, False),
        (95_00, 99_90, False),
    ],
)
def test_the_range_must_touch_the_price(low: int, high: int, *, filled: bool) -> None:
    [order] = after(placed(RICH, wish()), low=low, high=high).orders
    assert order.state is (OrderState.FILLED if filled else OrderState.EXPIRED)


def test_what_did_not_fill_is_dead_and_gives_its_cash_back() -> None:
    dead = after(placed(RICH, wish()), low=101_00, high=105_00)
    assert available_twd(dead, STOCK_API_COSTS) == 1_000_000
    later = settle(dead, MON, {"2330": quote(MON)}, STOCK_API_COSTS)
    assert later.portfolio == dead.portfolio


def test_a_session_without_a_trade_or_a_row_fills_nothing() -> None:
    waiting = placed(RICH, wish())
    for quotes in ({"2330": no_trade(FRI)}, {}):
        [order] = settle(waiting, FRI, quotes, STOCK_API_COSTS).orders
        assert order.state is OrderState.EXPIRED


@pytest.mark.parametrize(
    ("clock", "taken"),
    [("00:00", True), ("12:59:59", True), ("13:00", False), ("15:59:59", False), ("16:00", True), ("23:59", True)],
)
def test_the_order_window(clock: str, *, taken: bool) -> None:
    now = datetime.combine(THU, time.fromisoformat(clock), tzinfo=TAIPEI)
    [order] = placed(RICH, wish(), at=now).orders
    assert (order.state, order.reply == WINDOW_CLOSED) == (
        (OrderState.ACCEPTED, False) if taken else (OrderState.REJECTED, True)
    )


def test_waiting_purchases_set_their_cash_aside() -> None:
    # 4 lots at 100 take 400,570; a third such order is more than what is left of 1,000,000.
    book = placed(RICH, *[wish(lots=4)] * 3)
    assert [order.state for order in book.orders] == [OrderState.ACCEPTED, OrderState.ACCEPTED, OrderState.REJECTED]
    assert book.orders[-1].reply == NO_CASH
    assert available_twd(book, STOCK_API_COSTS) == 1_000_000 - 2 * 400_570


def test_waiting_sales_set_their_shares_aside() -> None:
    book = placed(HOLDER, wish(Side.SELL, lots=1), wish(Side.SELL, lots=1), wish(Side.SELL, lots=1))
    assert [order.state for order in book.orders[1:]] == [
        OrderState.ACCEPTED,
        OrderState.ACCEPTED,
        OrderState.REJECTED,
    ]
    assert book.orders[-1].reply == NO_SHARES


def test_the_proceeds_of_a_waiting_sale_buy_nothing() -> None:
    poor = Account(portfolio=Portfolio(cash_twd=10, positions=HOLDER.portfolio.positions))
    book = placed(poor, wish(Side.SELL), wish(Side.BUY, lots=1))
    assert [order.reply for order in book.orders][-1] == NO_CASH


def test_the_opening_price_is_the_mean_of_the_purchases_without_costs() -> None:
    book = after(placed(HOLDER, wish(lots=2, price="105")))
    assert opening_of(book, "2330").price == Decimal("102.5")
    less = after(placed(book, wish(Side.SELL, lots=1, price="100")))
    assert opening_of(less, "2330").price == Decimal("102.5")
    assert opening_of(less, "2330").filled_at == datetime(2025, 1, 3, 15, 30, tzinfo=TAIPEI)


def test_a_wish_for_nothing_is_a_bug() -> None:
    with pytest.raises(ValueError, match="0 lots"):
        placed(RICH, wish(lots=0))


def test_a_dividend_is_paid_on_the_shares_held_in_whole_twd() -> None:
    # 2 lots at 1.25 TWD a share, and nothing for a stock that is not held
    paid = pay(HOLDER, {"2330": 125, "2317": 400})
    assert paid.portfolio.cash_twd == HOLDER.portfolio.cash_twd + 2_500
    assert paid.dividends_twd == 2_500
    assert paid.portfolio.positions == HOLDER.portfolio.positions
    assert after(placed(paid, wish(Side.SELL))).dividends_twd == 2_500


wishes = st.builds(
    Wish,
    symbol=st.sampled_from(["2330", "2317"]),
    side=st.sampled_from(list(Side)),
    lots=st.integers(1, 6),
    price=st.decimals("20", "120", places=2),
)
evenings = st.lists(
    st.tuples(st.lists(wishes, max_size=4), st.integers(15_00, 90_00), st.integers(0, 40_00)), max_size=8
)


@given(evenings)
def test_cash_is_conserved(story: list[tuple[list[Wish], int, int]]) -> None:
    book = RICH
    for orders, low, width in story:
        book = placed(book, *orders)
        quotes = {code: quote(FRI, low, low + width) for code in ("2330", "2317")}
        book = settle(book, FRI, quotes, STOCK_API_COSTS)
    cash, shares = 1_000_000, {"2330": 0, "2317": 0}
    for order in book.orders:
        if order.state is OrderState.FILLED:
            assert order.fill is not None
            value = order.limit_x100 * order.shares // 100
            fee = max(20, value * 1425 // 1_000_000)
            bought = order.side is Side.BUY
            cash += -value - fee if bought else value - fee - value * 3 // 1000
            shares[order.symbol] += order.shares if bought else -order.shares
    assert book.portfolio.cash_twd == cash >= 0
    assert {code: book.portfolio.shares_of(code) for code in shares} == shares
    assert not book.waiting
