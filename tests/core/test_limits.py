"""Each limit against numbers worked out by hand, and what must hold for every order."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date
from typing import Any

import pytest
from builders import FRIDAY, RATES, THURSDAY, order
from hypothesis import given
from hypothesis import strategies as st

from bot.core.limits import (
    Facts,
    Limits,
    Sent,
    refusal_of,
    spendable_twd,
    tripped_by,
    unsettled_proceeds_twd,
)
from bot.core.orders import Fill, Order, Side

# 1,000 shares at 100.00 are NT$100,000; the commission of 0.1425 % is NT$142.
LOOSE = Limits(
    max_order_twd=0, max_stock_twd=0, max_stock_bps=0, max_gross_bps=0, max_turnover_bps=0, max_orders=0,
    price_band_bps=0, daily_loss_bps=0, drawdown_bps=0, breaker_stops="buys",
)  # fmt: skip
SELL = order(Side.SELL)


def facts(**more: Any) -> Facts:
    """An evening after THURSDAY: 2330 closed at 100, 2317 at 50; 1,000 shares of 2330 are held, NT$1 m is there."""
    told: dict[str, Any] = {
        "session": THURSDAY,
        "trades_on": FRIDAY,
        "settled": True,
        "cash_twd": 900_000,
        "equity_twd": 1_000_000,
        "held_shares": {"2330": 1_000},
        "closes_x100": {"2330": 100_00, "2317": 50_00},
        "traded": frozenset({"2330", "2317"}),
        **more,
    }
    return Facts(**told)


def why(one: Order, known: Facts | None = None, **limits: Any) -> str:
    """The limit that refuses `one`; "" when it may leave."""
    refusal = refusal_of(one, known or facts(), replace(LOOSE, **limits), RATES)
    return refusal.limit if refusal else ""


def reason(one: Order, known: Facts | None = None, **limits: Any) -> str:
    refusal = refusal_of(one, known or facts(), replace(LOOSE, **limits), RATES)
    assert refusal is not None
    return refusal.reason


def test_an_order_within_every_limit_may_leave() -> None:
    # 200,000 of the stock is 20 % of 1,000,000, gross too; turnover 100,000 is 10 %.
    tight = {
        "max_order_twd": 100_000, "max_stock_twd": 200_000, "max_stock_bps": 2_000, "max_gross_bps": 2_000,
        "max_turnover_bps": 1_000, "max_orders": 1, "price_band_bps": 1,
    }  # fmt: skip
    assert why(order(), **tight) == ""
    assert why(SELL, **tight) == ""


@pytest.mark.parametrize(
    ("limit", "name", "value"),
    [
        ("order cap", "max_order_twd", 99_999),
        ("stock cap", "max_stock_twd", 199_999),
        ("stock cap", "max_stock_bps", 1_999),
        ("gross cap", "max_gross_bps", 1_999),
        ("turnover cap", "max_turnover_bps", 999),
    ],
)
def test_a_dollar_over_a_cap_is_refused_for_a_purchase_and_never_for_a_sale(limit: str, name: str, value: int) -> None:
    assert why(order(), **{name: value}) == limit
    assert why(SELL, **{name: value}) == ""


def test_a_cap_says_its_numbers() -> None:
    assert reason(order(), max_order_twd=99_999) == "NT$100,000 is over NT$99,999 an order"
    assert reason(order(), max_stock_bps=1_500) == "NT$200,000 in 2330 would be over 15 % of NT$1,000,000"


def test_what_rests_counts_as_if_it_had_traded_if_it_buys_and_not_if_it_sells() -> None:
    buys = Sent(order=order(symbol="2317", limit=50_00), resting=True)  # NT$50,000 more
    sells = Sent(order=order(Side.SELL, symbol="2330"), resting=True)
    other = order(symbol="2454", limit=100_00)
    known = facts(closes_x100={"2330": 100_00, "2317": 50_00, "2454": 100_00}, traded=frozenset({"2454"}))
    # 100,000 held + 50,000 resting + 100,000 = 250,000: 25 %
    assert why(other, replace(known, sent=(buys, sells)), max_gross_bps=2_500) == ""
    assert why(other, replace(known, sent=(buys, sells)), max_gross_bps=2_499) == "gross cap"


def test_legs_of_one_intent_share_the_stock_cap_and_another_order_of_the_stock_blocks_it() -> None:
    first = Sent(order=order(shares=500), resting=True)  # NT$50,000 resting, 100,000 held
    assert why(order(), facts(sent=(first,)), max_stock_twd=250_000) == ""
    assert why(order(), facts(sent=(first,)), max_stock_twd=249_999) == "stock cap"
    older = Sent(order=order(decided=date(2024, 12, 31)), resting=True)
    assert why(order(), facts(sent=(older,))) == "open order"
    assert why(SELL, facts(sent=(older,))) == "open order"
    assert why(order(), facts(sent=(replace(older, resting=False),))) == ""


def test_turnover_counts_what_left_this_session_refused_orders_only_as_orders() -> None:
    gone = Sent(order=order(Side.SELL, symbol="2317", shares=2_000, limit=50_00), resting=False)  # NT$100,000
    assert why(order(), facts(sent=(gone,)), max_turnover_bps=2_000) == ""
    assert why(order(), facts(sent=(gone,)), max_turnover_bps=1_999) == "turnover cap"
    refused = replace(gone, refused=True)
    assert why(order(), facts(sent=(refused,)), max_turnover_bps=1_000) == ""
    assert why(order(), facts(sent=(refused,)), max_orders=1) == "order count"
    assert why(SELL, facts(sent=(refused,)), max_orders=1) == ""


def test_a_purchase_must_be_paid_from_cash_that_is_there_commission_included() -> None:
    assert why(order(), facts(cash_twd=100_142)) == ""
    assert why(order(), facts(cash_twd=100_141)) == "cash"
    assert reason(order(), facts(cash_twd=100_141)) == "costs NT$100,142, and NT$100,141 is there"
    assert why(SELL, facts(cash_twd=0)) == ""


def test_cash_that_is_there_is_without_resting_purchases_and_unsettled_proceeds() -> None:
    resting = [order(), order(Side.SELL, symbol="2317")]
    assert spendable_twd(1_000_000, resting, 300_000, RATES) == 1_000_000 - 100_142 - 300_000


def test_proceeds_of_a_sale_are_there_on_the_second_session_after_it() -> None:
    def fill(session: date, shares: int) -> Fill:
        return Fill(
            key="k", symbol="2330", session=session, shares=shares, price_x100=100_00, commission_twd=142, tax_twd=300
        )

    days = {date(2025, 1, 2): 1, date(2024, 12, 31): 2, date(2024, 12, 30): 3}
    fills = [fill(day, -1_000) for day in days] + [fill(THURSDAY, 1_000)]
    # Only today's sale is one session old when the next one trades: 100,000 - 142 - 300.
    assert unsettled_proceeds_twd(fills, days.__getitem__, 2) == 99_558
    assert unsettled_proceeds_twd(fills, days.__getitem__, 0) == 0


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("more", "limit"),
    [
        ({"settled": False}, "settlement"),
        ({"session": FRIDAY}, "stale data"),
        ({"traded": frozenset({"2317"})}, "stale data"),
        ({"suspect": {"2330": "in quarantine: open outside low..high"}}, "suspect data"),
    ],
)
def test_nothing_leaves_on_data_that_is_stale_or_suspect(side: Side, more: dict[str, Any], limit: str) -> None:
    assert why(order(side), facts(**more)) == limit


def test_the_suspicion_is_of_one_stock_and_is_said() -> None:
    known = facts(suspect={"2330": "in quarantine: high < low"})
    assert reason(order(), known) == "in quarantine: high < low"
    assert why(order(symbol="2317", limit=50_00), known) == ""


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("limit", "refused"), [(110_00, ""), (110_50, "day limits"), (90_00, ""), (89_90, "day limits")]
)
def test_a_price_is_inside_the_day_s_limits(side: Side, limit: int, refused: str) -> None:
    assert why(order(side, limit=limit)) == refused


def test_the_day_s_limits_count_from_the_reference_price_of_an_ex_date() -> None:
    # Reference 80: 72.00 to 88.00. At the close of 100 the order would be beyond the limit.
    ex = facts(references_x100={"2330": 80_00})
    assert why(order(limit=88_00), ex) == ""
    assert why(order(limit=88_10), ex) == "day limits"
    assert why(SELL, ex) == "day limits"


def test_limits_that_the_exchange_tells_itself_count_before_our_own() -> None:
    told = facts(references_x100={"2330": 80_00}, day_limits_x100={"2330": (74_00, 86_00)})
    assert (why(order(limit=86_00), told), why(order(limit=86_10), told)) == ("", "day limits")
    assert (why(order(limit=74_00), told), why(order(limit=73_90), told)) == ("", "day limits")


def test_the_daily_limit_was_7_percent_before_june_2015() -> None:
    old = facts(session=date(2015, 5, 28), trades_on=date(2015, 5, 29))
    assert why(order(limit=107_00, decided=date(2015, 5, 28)), old) == ""
    assert why(order(limit=107_50, decided=date(2015, 5, 28)), old) == "day limits"


def test_a_price_between_two_ticks_is_refused() -> None:
    # From 100 on the tick is 0.50; the platform would round it, and our books would be wrong.
    assert reason(order(limit=100_10)) == "limit 100.10 is between two ticks"


@pytest.mark.parametrize("side", list(Side))
def test_a_price_is_near_the_last_close_with_a_tick_of_rounding(side: Side) -> None:
    # 2 % of 100 is 2.00; above 100 a tick is 0.50, below it 0.10
    for limit, refused in ((102_50, ""), (103_00, "price band"), (97_90, ""), (97_80, "price band")):
        assert why(order(side, limit=limit), price_band_bps=200) == refused


def test_a_sale_is_of_shares_that_are_held() -> None:
    assert why(order(Side.SELL, shares=1_001)) == "holdings"
    resting = Sent(order=order(Side.SELL, shares=400, reason="leg 1"), resting=True)
    assert why(order(Side.SELL, shares=600), facts(sent=(resting,))) == ""
    assert reason(order(Side.SELL, shares=601), facts(sent=(resting,))) == "sells 601 of 600 shares"


def test_an_unknown_equity_stops_what_is_measured_by_it() -> None:
    assert why(order(), facts(equity_twd=None), max_gross_bps=10_000) == "gross cap"
    assert why(SELL, facts(equity_twd=None), max_gross_bps=10_000) == ""
    assert why(order(), facts(equity_twd=None)) == ""


def test_an_open_breaker_stops_purchases_or_everything_and_says_why() -> None:
    broken = facts(breaker="drawdown of NT$1")
    assert reason(order(), broken) == "the breaker is open: drawdown of NT$1"
    assert why(SELL, broken) == ""
    assert why(SELL, broken, breaker_stops="all") == "breaker"


# --- the breaker ------------------------------------------------------------------------------------------

D = [date(2025, 1, day) for day in (2, 3, 6, 7)]


def test_a_loss_of_exactly_the_limit_trips_and_a_dollar_less_does_not() -> None:
    five = replace(LOOSE, daily_loss_bps=500)
    assert tripped_by([(D[0], 1_000_000), (D[1], 950_001)], five) == ""
    assert tripped_by([(D[0], 1_000_000), (D[1], 950_000)], five) == (
        "daily loss of NT$50,000 (5.00%): NT$1,000,000 after 2025-01-02, NT$950,000 after 2025-01-03; the limit is 5 %"
    )
    # Yesterday's loss is not today's.
    assert tripped_by([(D[0], 1_000_000), (D[1], 950_000), (D[2], 951_000)], five) == ""


def test_a_drawdown_is_from_the_highest_equity() -> None:
    line = [(D[0], 1_000_000), (D[1], 1_250_000), (D[2], 1_100_000), (D[3], 1_000_000)]
    assert tripped_by(line, replace(LOOSE, drawdown_bps=2_000)).startswith(
        "drawdown of NT$250,000 (20.00%): NT$1,250,000 after 2025-01-03, NT$1,000,000 after 2025-01-07"
    )
    assert tripped_by(line, replace(LOOSE, drawdown_bps=2_001)) == ""


def test_after_a_reset_losses_count_from_the_newest_equity() -> None:
    strict = replace(LOOSE, daily_loss_bps=1, drawdown_bps=1)
    assert tripped_by([(D[3], 500_000)], strict) == ""
    assert tripped_by([], strict) == ""


def test_without_limits_nothing_trips() -> None:
    assert tripped_by([(D[0], 1_000_000), (D[1], 1)], LOOSE) == ""


# --- for every order --------------------------------------------------------------------------------------

TIGHT = Limits(
    max_order_twd=150_000, max_stock_twd=300_000, max_stock_bps=4_000, max_gross_bps=6_000, max_turnover_bps=5_000,
    max_orders=4, price_band_bps=300, daily_loss_bps=0, drawdown_bps=0, breaker_stops="buys",
)  # fmt: skip
PRICES = {"2330": 100_00, "2317": 50_00, "2454": 80_00}
WISHES = st.lists(
    st.builds(
        lambda symbol, side, shares, ticks: order(
            side, shares=shares, symbol=symbol, limit=PRICES[symbol] - 10 * ticks
        ),
        st.sampled_from(sorted(PRICES)),
        st.sampled_from(list(Side)),
        st.integers(1, 3_000),
        st.integers(0, 40),
    ),
    max_size=12,
)


@given(WISHES, st.integers(0, 900_000))
def test_whatever_is_let_through_in_turn_keeps_every_cap_together(wishes: list[Order], cash_twd: int) -> None:
    held = {"2330": 1_000, "2317": 1_000}
    sent: list[Sent] = []
    for wish in wishes:
        resting = [one.order for one in sent]
        known = Facts(
            session=THURSDAY, trades_on=FRIDAY, settled=True, equity_twd=1_000_000, held_shares=held,
            cash_twd=spendable_twd(cash_twd, resting, 0, RATES), closes_x100=PRICES, traded=frozenset(PRICES),
            sent=tuple(sent),
        )  # fmt: skip
        if refusal_of(wish, known, TIGHT, RATES) is None:
            sent.append(Sent(order=wish, resting=True))
    orders = [one.order for one in sent]
    bought = [one for one in orders if one.side is Side.BUY]
    spent = sum(
        one.limit_x100 * one.shares // 100 + max(20, one.limit_x100 * one.shares * 1425 // 10**8) for one in bought
    )
    assert spent <= cash_twd or not bought
    worth = {symbol: held.get(symbol, 0) * price // 100 for symbol, price in PRICES.items()}
    for one in bought:
        assert one.limit_x100 * one.shares // 100 <= 150_000
        worth[one.symbol] += one.limit_x100 * one.shares // 100
    assert all(worth[one.symbol] <= 300_000 for one in bought)
    assert not bought or sum(worth.values()) <= 600_000
    for symbol in PRICES:
        assert sum(one.shares for one in orders if one.symbol == symbol and one.side is Side.SELL) <= held.get(
            symbol, 0
        )
        assert len({one.side for one in orders if one.symbol == symbol}) <= 1  # never both ways at once


@given(st.sampled_from([None, 1, 10**9]), st.integers(1, 1_000), st.integers(90_00, 110_00))
def test_no_cap_and_no_breaker_of_the_default_kind_holds_back_a_sale(
    equity: int | None, shares: int, limit: int
) -> None:
    """A sale that is allowed without any limit is allowed under the tightest caps."""
    one = order(Side.SELL, shares=shares, limit=limit)
    known = facts(equity_twd=equity, cash_twd=-1, breaker="drawdown")
    tightest = replace(LOOSE, **{knob.name: 1 for knob in fields(Limits) if knob.name.startswith("max_")})
    assert (refusal_of(one, known, tightest, RATES) is None) == (refusal_of(one, facts(), LOOSE, RATES) is None)


@pytest.mark.parametrize("name", [knob.name for knob in fields(Limits) if knob.name != "breaker_stops"])
def test_a_negative_or_enormous_knob_is_refused_by_name(name: str) -> None:
    for value in (-1, 10**13):
        with pytest.raises(ValueError, match=f"`{name}` must be between 0"):
            replace(LOOSE, **{name: value})
