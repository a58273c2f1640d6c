"""Cash and positions after fills, by hand and as a law: nothing appears, nothing vanishes but costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import reduce

import pytest
from builders import FRIDAY, RATES
from hypothesis import given
from hypothesis import strategies as st

from bot.core.orders import Fill
from bot.core.portfolio import Portfolio, Position, apply_fill, unsettled_twd


def fill(shares: int, price_x100: int = 100_00, symbol: str = "2330") -> Fill:
    """A fill with the costs of RATES."""
    return Fill(
        key=f"k{shares}",
        symbol=symbol,
        session=FRIDAY,
        shares=shares,
        price_x100=price_x100,
        commission_twd=RATES.commission_of(price_x100, shares),
        tax_twd=RATES.tax_of(symbol, price_x100, shares),
    )


def test_a_purchase_costs_value_and_commission() -> None:
    held = apply_fill(Portfolio(cash_twd=1_000_000), fill(2_000))  # 200,000 + 285
    assert held == Portfolio(
        cash_twd=799_715, positions={"2330": Position(shares=2_000, cost_twd=200_285, since=FRIDAY)}
    )


def test_buying_more_adds_to_the_cost() -> None:
    held = reduce(apply_fill, [fill(2_000), fill(1_000, 110_00)], Portfolio(cash_twd=1_000_000))  # + 110,000 + 156
    assert held.positions["2330"] == Position(shares=3_000, cost_twd=310_441, since=FRIDAY)


def test_selling_everything_leaves_no_entry_and_pays_commission_and_tax() -> None:
    held = reduce(apply_fill, [fill(2_000), fill(-2_000, 110_00)], Portfolio(cash_twd=1_000_000))
    assert held == Portfolio(cash_twd=799_715 + 220_000 - 313 - 660, positions={})


def test_selling_a_part_carries_out_its_share_of_the_cost() -> None:
    held = reduce(
        apply_fill, [fill(2_000), fill(-500)], Portfolio(cash_twd=1_000_000)
    )  # 200,285 * 500 // 2000 = 50,071
    assert held.positions["2330"] == Position(shares=1_500, cost_twd=150_214, since=FRIDAY)


def test_nobody_sells_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="2330 2025-01-03: sells 1000 of 0 shares"):
        apply_fill(Portfolio(cash_twd=0), fill(-1_000))


def test_a_fill_makes_a_new_portfolio_and_leaves_the_old_alone() -> None:
    before = Portfolio(cash_twd=1_000_000)
    apply_fill(before, fill(1_000))
    assert before == Portfolio(cash_twd=1_000_000, positions={})


def test_value_is_cut_to_whole_twd_per_stock() -> None:
    positions = {"1101": Position(shares=7, cost_twd=1), "2330": Position(shares=1_000, cost_twd=1)}
    held = Portfolio(cash_twd=5, positions=positions)
    assert held.value_twd({"1101": 33_35, "2330": 100_50}) == 233 + 100_500  # 7 * 33.35 = 233.45


def test_a_held_stock_without_a_close_has_no_value_to_tell() -> None:
    with pytest.raises(KeyError):
        Portfolio(cash_twd=0, positions={"2330": Position(shares=1, cost_twd=1)}).value_twd({})


def test_shares_of_a_stock_not_held_are_zero() -> None:
    assert Portfolio(cash_twd=0).shares_of("2330") == 0


@given(
    st.lists(st.tuples(st.sampled_from(["2330", "0050"]), st.integers(-30, 30), st.integers(1, 500_000)), max_size=20)
)
def test_equity_changes_by_costs_alone_when_all_trade_at_the_valuation_price(
    trades: list[tuple[str, int, int]],
) -> None:
    start = held = Portfolio(cash_twd=10**9)
    for symbol, lots, price_x100 in trades:
        shares = max(lots * 1_000, -held.shares_of(symbol))
        if shares == 0:
            continue
        closes = dict.fromkeys(("2330", "0050"), price_x100)
        before_twd = held.cash_twd + held.value_twd(closes)
        done = fill(shares, price_x100, symbol)
        held = apply_fill(held, done)
        assert held.cash_twd + held.value_twd(closes) == before_twd - done.commission_twd - done.tax_twd
    assert all(position.shares > 0 and position.cost_twd > 0 for position in held.positions.values())
    assert start == Portfolio(cash_twd=10**9)


def test_a_position_is_as_old_as_its_opening_fill() -> None:
    later = replace(fill(1_000), session=date(2025, 1, 6))
    held = reduce(
        apply_fill, [fill(2_000), later, replace(fill(-500), session=date(2025, 1, 7))], Portfolio(cash_twd=0)
    )
    assert held.positions["2330"].since == FRIDAY
    sold = reduce(apply_fill, [fill(2_000), fill(-2_000), later], Portfolio(cash_twd=0))
    assert sold.positions["2330"].since == date(2025, 1, 6)


def test_only_sales_of_the_newest_sessions_are_unsettled() -> None:
    old = replace(fill(-1_000), session=date(2025, 1, 2))
    # 1,000 shares at 100: 100,000 less commission 142 and tax 300; at 110: 110,000 less 156 and 330.
    assert unsettled_twd([old, fill(-1_000), fill(-1_000, 110_00), fill(2_000)], [FRIDAY]) == 99_558 + 109_514
    assert unsettled_twd([old], [FRIDAY]) == 0
