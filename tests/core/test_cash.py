"""Cash to the dollar, worked out by hand."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from functools import reduce

import pytest
from builders import FRIDAY, RATES, THURSDAY, at
from hypothesis import given
from hypothesis import strategies as st

from bot.core.cash import Adjustment, CashEvent, apply_adjustment, cash_identity, dividends_due, shares_after
from bot.core.exrights import ExRight
from bot.core.orders import Fill
from bot.core.portfolio import Portfolio, Position, apply_fill

MONDAY = date(2025, 1, 6)


def fill(shares: int, *, session: date = THURSDAY, price_x100: int = 100_00, symbol: str = "2330") -> Fill:
    return Fill(
        key=f"{session}:{shares}", symbol=symbol, session=session, shares=shares, price_x100=price_x100,
        commission_twd=RATES.commission_of(price_x100, shares), tax_twd=RATES.tax_of(symbol, price_x100, shares),
    )  # fmt: skip


def adjustment(shares: int, price_x100: int = 0, *, session: date = THURSDAY) -> Adjustment:
    return Adjustment(symbol="2330", session=session, shares=shares, price_x100=price_x100, commission_twd=0,
                      tax_twd=0, reason="r")  # fmt: skip


def ex(cash: str | None = "4.5", *, day: date = FRIDAY, kind: str = "dividend") -> ExRight:
    return ExRight(symbol="2330", ex_date=day, kind=kind, previous_x100=100_00, reference_x100=95_50, source="T",
                   known_at=at(THURSDAY), cash_dividend=None if cash is None else Decimal(cash))  # fmt: skip


def due(*fills: Fill, events: list[ExRight] | None = None, paid: list[CashEvent] | None = None) -> list[int]:
    found = dividends_due(events or [ex()], fills, [], paid or [])
    return [one.amount_twd for one in found]


def test_a_dividend_is_for_the_shares_held_at_the_close_before() -> None:
    assert due(fill(2_000)) == [9_000]
    assert due(fill(2_000, session=FRIDAY)) == []  # bought on the ex-date: none
    assert due(fill(2_000), fill(-2_000, session=FRIDAY)) == [9_000]  # sold on it: all
    assert due(fill(2_000), fill(1_000, symbol="2317")) == [9_000]
    assert due(fill(3), events=[ex("0.12345678")]) == []  # 0.37 TWD is none


def test_a_dividend_is_paid_once_and_put_right_when_more_shares_turn_out_to_have_been_held() -> None:
    first = dividends_due([ex()], [fill(1_000)], [], [])
    assert [(one.day, one.amount_twd, one.note) for one in first] == [(FRIDAY, 4_500, "4.5 a share on 1,000 shares")]
    assert dividends_due([ex()], [fill(1_000)], [], first) == []
    late = dividends_due([ex()], [fill(1_000), fill(2_000)], [], first)
    assert [(one.amount_twd, one.note) for one in late] == [(9_000, "put right: 4.5 a share on 3,000 shares")]
    assert dividends_due([ex()], [fill(3_000)], [], [*first, *late]) == []


def test_what_is_no_cash_dividend_pays_nothing() -> None:
    assert due(fill(1_000), events=[ex(None), ex(kind="reduction")]) == []
    assert due(fill(1_000), fill(-1_000, session=date(2025, 1, 1))) == []


def test_the_identity_by_hand() -> None:
    fills = [fill(2_000), fill(-1_000, session=FRIDAY, price_x100=105_00)]
    events = [CashEvent(kind="dividend", symbol="2330", day=FRIDAY, amount_twd=9_000, note=""),
              CashEvent(kind="adjustment", symbol="", day=FRIDAY, amount_twd=-7, note="")]  # fmt: skip
    adopted = [adjustment(1_000, 99_00)]
    # 1,000,000 start, 105,000 sold, 200,000 bought, 285 and 149 fees, 315 tax, 9,000 dividend, 7 and 99,000 taken out
    found = cash_identity(1_000_000, fills, events, adopted, 814_244)
    assert (found.sells_twd, found.buys_twd, found.fees_twd, found.taxes_twd) == (105_000, 200_000, 434, 315)
    assert (found.dividends_twd, found.adjustments_twd) == (9_000, -99_007)
    assert (found.expected_twd, found.off_twd) == (814_244, 0)
    assert cash_identity(1_000_000, fills, events, adopted, 814_245).off_twd == 1


def test_shares_given_out_or_merged_leave_the_cost_as_it_was() -> None:
    held = Portfolio(cash_twd=5, positions={"2330": Position(shares=2_000, cost_twd=200_285)})
    more = apply_adjustment(held, adjustment(200))
    assert (more.cash_twd, more.positions["2330"].shares, more.positions["2330"].cost_twd) == (5, 2_200, 200_285)
    fewer = apply_adjustment(held, adjustment(-1_000))
    assert (fewer.cash_twd, fewer.positions["2330"].shares, fewer.positions["2330"].cost_twd) == (5, 1_000, 200_285)
    assert apply_adjustment(held, adjustment(-2_000)).positions == {}
    with pytest.raises(ValueError, match="sells 2001 of 2000"):
        apply_adjustment(held, adjustment(-2_001))


def test_shares_adopted_at_a_price_are_a_trade() -> None:
    held = apply_adjustment(Portfolio(cash_twd=200_000), adjustment(1_000, 99_00))
    assert (held.cash_twd, held.positions["2330"].cost_twd) == (101_000, 99_000)


def test_a_reduction_that_returns_money_is_not_taken_for_one_that_does_not() -> None:
    reduction = ExRight(symbol="2330", ex_date=FRIDAY, kind="reduction", previous_x100=20_00, reference_x100=36_00,
                        source="T", known_at=at(THURSDAY))  # fmt: skip  # 10 for 5 with 2 TWD back: (20 - 2) / 0.5
    told = shares_after(reduction, 2_000)
    assert told is not None
    assert 1_000 not in told


stories = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(1, 2_000_00), st.sampled_from(["trade", "adopt", "give", "dividend"])),
    max_size=15,
)


@given(stories)
def test_the_identity_holds_in_every_story(story: list[tuple[int, int, str]]) -> None:
    held, fills, events, adopted = Portfolio(cash_twd=10**10), [], [], []
    for number, (lots, price_x100, what) in enumerate(story):
        day = THURSDAY + timedelta(days=number)
        shares = max(lots * 1_000 + number, -held.shares_of("2330"))
        if what == "dividend":
            paid = dividends_due([ex(day=day)], fills, adopted, events)
            events += paid
            assert dividends_due([ex(day=day)], fills, adopted, events) == []
            held = reduce(lambda one, event: Portfolio(cash_twd=one.cash_twd + event.amount_twd,
                                                       positions=one.positions), paid, held)  # fmt: skip
        elif shares and what == "trade":
            fills.append(fill(shares, session=day, price_x100=price_x100))
            held = apply_fill(held, fills[-1])
        elif shares:
            adopted.append(adjustment(shares, price_x100 if what == "adopt" else 0, session=day))
            held = apply_adjustment(held, adopted[-1])
    assert cash_identity(10**10, fills, events, adopted, held.cash_twd).off_twd == 0
