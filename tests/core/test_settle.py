"""The broker's book against the journal, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from builders import FRIDAY, RATES, THURSDAY, at, order
from hypothesis import given
from hypothesis import strategies as st

from bot.core.brokerage import Deal, Report
from bot.core.explain import Resting
from bot.core.exrights import ExRight
from bot.core.orders import Fill, OrderState, Side
from bot.core.portfolio import Portfolio, Position, apply_fill, as_if_bought
from bot.core.settle import Reading, Settlement, settle

S = OrderState
MONDAY = date(2025, 1, 6)
CASH = Portfolio(cash_twd=1_000_000)
HOLDS = Portfolio(cash_twd=1_000_000, positions={"2330": Position(shares=2_000, cost_twd=200_285)})
BUY, SELL = order().key, order(Side.SELL).key


def resting(
    side: Side = Side.BUY, shares: int = 1_000, state: OrderState = S.ACCEPTED, *, touched: bool | None = None,
    session: date = FRIDAY, **more: object,
) -> Resting:  # fmt: skip
    one = order(side, shares, **more)
    return Resting(order=one, state=state, session=session, touched=touched, arrived=state is S.ACCEPTED)


def settled(
    orders: list[Resting], held: Portfolio, book: dict[str, int], *, session: date = FRIDAY, **more: object
) -> Settlement:
    reading = Reading(shares=book, **{k: more.pop(k) for k in ("cash_twd", "reports", "prices_x100") if k in more})
    return settle(session, orders, held, reading, RATES, **more)


def states(result: Settlement) -> dict[str, OrderState | None]:
    return {fate.key: fate.state for fate in result.fates}


def test_a_purchase_in_the_book_is_a_fill_at_its_limit() -> None:
    result = settled([resting()], CASH, {"2330": 1_000})
    # 1,000 x 100 = 100,000; commission 142.5 -> 142; no tax on a purchase
    assert result.fills == (
        Fill(key=BUY, symbol="2330", session=FRIDAY, shares=1_000, price_x100=100_00, commission_twd=142, tax_twd=0),
    )
    assert states(result) == {BUY: S.FILLED}
    assert apply_fill(CASH, result.fills[0]).cash_twd == 1_000_000 - 100_000 - 142
    assert (result.unexplained, result.remarks) == ({}, ())


def test_a_sale_pays_commission_and_tax() -> None:
    result = settled([resting(Side.SELL, 2_000)], HOLDS, {})
    # 200,000; commission 285; tax 600
    after = apply_fill(HOLDS, result.fills[0])
    assert after.cash_twd == 1_000_000 + 200_000 - 285 - 600
    assert after.positions == {}


def test_a_price_the_broker_tells_wins_over_the_limit() -> None:
    result = settled([resting()], CASH, {"2330": 1_000}, prices_x100={BUY: 99_50})
    assert result.fills[0].price_x100 == 99_50


@pytest.mark.parametrize("state", [S.ACCEPTED, S.UNKNOWN])
@pytest.mark.parametrize("touched", [None, False])
def test_an_unchanged_book_means_expired_and_solves_the_unknown(state: OrderState, touched: bool | None) -> None:
    result = settled([resting(state=state, touched=touched)], CASH, {})
    assert states(result) == {BUY: S.EXPIRED}
    assert not result.fills


def test_a_partial_change_is_said_and_blocks_the_stock() -> None:
    result = settled([resting(shares=3_000, touched=True)], CASH, {"2330": 1_000})
    assert not result.fills
    assert result.unexplained == {"2330": 1_000}
    assert states(result) == {BUY: S.UNKNOWN}
    assert "changed by +1 lot" in result.remarks[0]


def test_a_change_without_an_order_is_said_and_nothing_is_booked() -> None:
    result = settled([], HOLDS, {"2330": 2_000, "2317": 1_000})
    assert result.unexplained == {"2317": 1_000}
    assert result.fates == ()


# --- a book that may be a session old -----------------------------------------------------------------------


def test_an_order_that_must_have_filled_is_not_dead_because_one_book_in_which_nothing_moved_lacks_it() -> None:
    one = resting(touched=True)
    first = settled([one], CASH, {})
    assert states(first) == {BUY: S.UNKNOWN}
    doubted = replace(one, state=S.UNKNOWN)
    assert settled([doubted], CASH, {}).fates == ()  # the same evening again: the doubt stays, nothing is added
    # The next session's book has it: it had filled on Friday ...
    found = settled([doubted], CASH, {"2330": 1_000}, session=MONDAY)
    assert states(found) == {BUY: S.FILLED}
    assert found.fills[0].session == FRIDAY
    # ... or has not: two readings agree.
    assert states(settled([doubted], CASH, {}, session=MONDAY)) == {BUY: S.EXPIRED}


def test_another_fill_of_the_session_proves_that_the_book_is_fresh() -> None:
    other = resting(symbol="2317", touched=True)
    result = settled([resting(touched=True), other], CASH, {"2317": 1_000})
    assert states(result) == {BUY: S.EXPIRED, other.order.key: S.FILLED}


def test_an_order_thought_dead_that_the_next_book_shows_had_filled() -> None:
    dead = resting(state=S.EXPIRED)
    result = settled([], CASH, {"2330": 1_000}, session=MONDAY, late=[dead])
    [fate] = result.fates
    assert (fate.key, fate.state, fate.late, fate.fills[0].session) == (BUY, S.FILLED, True, FRIDAY)
    assert result.unexplained == {}
    assert "had been thought expired" in result.remarks[0]


def test_a_dead_order_and_a_resting_one_of_the_same_stock_are_told_apart_by_the_sessions_range() -> None:
    dead = resting(state=S.EXPIRED, touched=True)
    today = resting(decided=FRIDAY, session=MONDAY, touched=False)
    result = settled([today], CASH, {"2330": 1_000}, session=MONDAY, late=[dead])
    assert states(result) == {BUY: S.FILLED, today.order.key: S.EXPIRED}
    both = settled([replace(today, touched=True)], CASH, {"2330": 2_000}, session=MONDAY, late=[dead])
    assert states(both) == {BUY: S.FILLED, today.order.key: S.FILLED}
    only_today = settled([replace(today, touched=True)], CASH, {"2330": 1_000}, session=MONDAY, late=[dead])
    assert states(only_today) == {today.order.key: S.FILLED}


def test_two_dead_orders_that_fit_are_for_a_person() -> None:
    dead = [resting(state=S.EXPIRED), resting(state=S.EXPIRED, decided=FRIDAY, session=MONDAY)]
    result = settled([], CASH, {"2330": 1_000}, session=MONDAY, late=dead)
    assert result.fates == ()
    assert result.unexplained == {"2330": 1_000}
    assert BUY in result.remarks[0]
    assert dead[1].order.key in result.remarks[0]


def test_a_dead_sale_of_shares_that_are_gone_is_no_explanation() -> None:
    dead = resting(Side.SELL, state=S.EXPIRED)
    result = settled([], CASH, {"2330": -1_000}, session=MONDAY, late=[dead])  # a short book: odd, and said
    assert result.fates == ()
    assert result.unexplained == {"2330": -1_000}


def test_an_order_that_the_platform_took_twice_filled_once_and_the_rest_is_unexplained() -> None:
    for one in (resting(touched=True), resting(state=S.UNKNOWN, touched=True), resting()):
        result = settled([one], CASH, {"2330": 2_000})
        assert states(result) == {BUY: S.FILLED}
        assert sum(fill.shares for fill in result.fills) == 1_000
        assert result.unexplained == {"2330": 1_000}


def test_what_is_known_to_be_unexplained_is_not_explained_by_a_later_order() -> None:
    dead = resting(state=S.EXPIRED)
    still = settled([], CASH, {"2330": 1_000}, session=MONDAY, late=[dead], known={"2330": 1_000})
    assert (still.fates, still.unexplained) == ((), {"2330": 1_000})
    more = settled([], CASH, {"2330": 2_000}, session=MONDAY, late=[dead], known={"2330": 1_000})
    assert states(more) == {BUY: S.FILLED}
    assert more.unexplained == {"2330": 1_000}


# --- what a broker tells besides ----------------------------------------------------------------------------


def test_parts_of_an_order_are_billed_as_one_and_the_rest_expires() -> None:
    report = Report(order_id="x", state=S.EXPIRED, deals=(Deal(shares=1_000, price_x100=100_00),
                    Deal(shares=500, price_x100=99_50)))  # fmt: skip
    result = settled([resting(shares=3_000)], CASH, {"2330": 1_500}, reports={BUY: report})
    # 100,000 -> 142; 149,750 -> 213.39 -> 213 in all, so 71 for the second part
    assert [(f.n, f.shares, f.price_x100, f.commission_twd) for f in result.fills] == [
        (1, 1_000, 100_00, 142), (2, 500, 99_50, 71),
    ]  # fmt: skip
    assert states(result) == {BUY: S.EXPIRED}
    assert result.unexplained == {}


def test_a_part_that_is_known_is_not_booked_again() -> None:
    first = Fill(key=BUY, symbol="2330", session=FRIDAY, shares=1_000, price_x100=100_00, commission_twd=142, tax_twd=0)
    held = apply_fill(CASH, first)
    one = replace(resting(shares=2_000), fills=(first,))
    deals = (Deal(shares=1_000, price_x100=100_00), Deal(shares=1_000, price_x100=100_00))
    result = settled([one], held, {"2330": 2_000}, reports={BUY: Report(order_id="x", state=S.FILLED, deals=deals)})
    # 200,000 -> 285 in all, 143 of it now
    assert [(f.n, f.shares, f.commission_twd) for f in result.fills] == [(2, 1_000, 143)]
    assert states(result) == {BUY: S.FILLED}


def test_a_list_that_knows_more_of_a_dead_order_is_a_correction_at_its_true_prices() -> None:
    dead = resting(shares=2_000, state=S.EXPIRED)
    deals = (Deal(shares=1_000, price_x100=99_50),)
    part = settled([], CASH, {"2330": 1_000}, session=MONDAY, late=[dead],
                   reports={BUY: Report(order_id="x", state=S.CANCELLED, deals=deals)})  # fmt: skip
    [fate] = part.fates
    assert (fate.state, fate.late, fate.fills[0].price_x100) == (S.EXPIRED, True, 99_50)
    assert part.unexplained == {}
    silent = Report(order_id="x", state=S.CANCELLED)
    assert settled([], CASH, {}, session=MONDAY, late=[dead], reports={BUY: silent}).fates == ()


def test_a_list_that_contradicts_itself_leaves_the_word_to_the_book() -> None:
    too_much = Report(order_id="x", state=S.FILLED, deals=(Deal(shares=9_000, price_x100=100_00),))
    result = settled([resting()], CASH, {"2330": 1_000}, reports={BUY: too_much})
    assert [(f.shares, f.price_x100) for f in result.fills] == [(1_000, 100_00)]


def test_cash_tells_whether_both_sides_filled_or_neither() -> None:
    orders = [resting(Side.SELL, limit=102_00), resting(limit=100_00)]
    blind = settled(orders, HOLDS, {"2330": 2_000})
    assert set(states(blind).values()) == {S.UNKNOWN}
    assert "may be any of" in blind.remarks[0]
    # Sold 102,000 - 145 - 306, bought 100,000 + 142.
    both = settled(orders, HOLDS, {"2330": 2_000}, cash_twd=1_000_000 + 102_000 - 145 - 306 - 100_000 - 142)
    assert states(both) == {BUY: S.FILLED, SELL: S.FILLED}
    neither = settled(orders, HOLDS, {"2330": 2_000}, cash_twd=1_000_000)
    assert states(neither) == {BUY: S.EXPIRED, SELL: S.EXPIRED}
    assert (both.cash_off_twd, neither.cash_off_twd) == (0, 0)


def test_cash_that_does_not_fit_is_said() -> None:
    assert settled([resting()], CASH, {"2330": 1_000}, cash_twd=899_857).cash_off_twd == -1
    assert settled([resting()], CASH, {"2330": 1_000}).cash_off_twd is None


def ex(kind: str, previous: int, reference: int, cash: str | None = None) -> ExRight:
    return ExRight(symbol="2330", ex_date=FRIDAY, kind=kind, previous_x100=previous, reference_x100=reference,
                   source="T", known_at=at(THURSDAY), cash_dividend=None if cash is None else Decimal(cash))  # fmt: skip


@pytest.mark.parametrize(
    ("event", "book"),
    [
        (ex("reduction", 20_00, 40_00), 1_000),  # two old shares become one
        (ex("reduction", 30_00, 40_00), 1_500),
        (ex("dividend", 110_00, 100_00, "0"), 2_200),  # 100 free shares a thousand
        (ex("dividend", 112_00, 100_00, "2"), 2_200),  # ... and 2 TWD in cash
    ],
)
def test_shares_given_out_or_merged_are_explained_by_the_ex_date(event: ExRight, book: int) -> None:
    result = settled([], HOLDS, {"2330": book}, ex_rights=[event])
    [one] = result.adjustments
    assert (one.shares, one.price_x100, one.cash_change_twd) == (book - 2_000, 0, 0)
    assert result.unexplained == {}


@pytest.mark.parametrize(
    ("event", "book"),
    [
        (ex("reduction", 20_00, 40_00), 1_200),
        (ex("dividend", 110_00, 100_00, None), 2_200),  # how much of it is cash isn't told
        (ex("dividend", 102_00, 100_00, "2"), 2_001),  # all of it is
    ],
)
def test_where_the_exchange_does_not_tell_enough_shares_stay_unexplained(event: ExRight, book: int) -> None:
    result = settled([], HOLDS, {"2330": book}, ex_rights=[event])
    assert result.adjustments == ()
    assert result.unexplained == {"2330": book - 2_000}


# --- properties ---------------------------------------------------------------------------------------------

symbols = st.sampled_from(["2330", "2317", "2454"])
orders_ = st.lists(
    st.builds(
        resting,
        side=st.sampled_from(list(Side)),
        shares=st.integers(1, 3).map(lambda lots: lots * 1_000),
        state=st.sampled_from([S.ACCEPTED, S.UNKNOWN]),
        touched=st.sampled_from([True, False, None]),
        session=st.sampled_from([FRIDAY, MONDAY]),
        symbol=symbols,
        leg=st.integers(1, 3),
    ),
    max_size=5,
    unique_by=lambda one: one.order.key,
)
books = st.dictionaries(symbols, st.integers(0, 12).map(lambda lots: lots * 1_000))
RICH = Portfolio(
    cash_twd=10**9,
    positions={code: Position(shares=10_000, cost_twd=10**6) for code in ("2330", "2317", "2454")},
)


@given(orders_, orders_, books)
def test_nothing_is_lost_and_a_second_settlement_changes_nothing(
    orders: list[Resting], dead: list[Resting], book: dict[str, int]
) -> None:
    dead = [replace(one, state=S.EXPIRED, order=replace(one.order, strategy="old")) for one in dead]
    result = settle(MONDAY, orders, RICH, Reading(shares=book), RATES, late=dead)
    held = RICH
    for fill in result.fills:
        held = apply_fill(held, fill)
    # Every share of the book is either in the journal now or named as unexplained.
    for symbol in ("2330", "2317", "2454"):
        assert book.get(symbol, 0) == held.shares_of(symbol) + result.unexplained.get(symbol, 0)
    by_key = {one.order.key: one for one in (*orders, *dead)}
    for fate in result.fates:
        assert sum(abs(fill.shares) for fill in fate.fills) in {0, by_key[fate.key].order.shares}
        assert (fate.state is S.FILLED) == bool(fate.fills)
    after = {fate.key: fate.state for fate in result.fates}
    still = [replace(one, state=after.get(one.order.key) or one.state) for one in orders]
    still = [one for one in still if one.state in {S.ACCEPTED, S.UNKNOWN}]
    assert all(one.state is S.UNKNOWN for one in still)  # at settlement nothing stays merely accepted
    left = [one for one in dead if one.order.key not in after]
    left += [replace(one, state=S.EXPIRED) for one in orders if after.get(one.order.key) is S.EXPIRED]
    again = settle(MONDAY, still, held, Reading(shares=book), RATES, late=left, known=result.unexplained)
    assert again.fills == ()
    assert [fate.state for fate in again.fates] == []
    assert again.unexplained == result.unexplained


@given(orders_)
def test_a_book_by_the_platforms_own_rule_is_always_explained(orders: list[Resting]) -> None:
    """Every accepted order that was touched filled, no other: two settlements later nothing is open."""
    orders = [replace(one, state=S.ACCEPTED, arrived=True, touched=bool(one.touched), session=MONDAY) for one in orders]
    change = {code: sum(o.signed_rest for o in orders if o.touched and o.order.symbol == code)
              for code in RICH.positions}  # fmt: skip
    book = {code: 10_000 + shares for code, shares in change.items()}
    result = settle(MONDAY, orders, RICH, Reading(shares=book), RATES)
    assert result.unexplained == {}
    assert states(result) == {o.order.key: S.FILLED if o.touched else S.EXPIRED for o in orders}


def test_an_open_purchase_counts_as_if_it_had_traded() -> None:
    held = as_if_bought(CASH, [order(Side.BUY, 3_000), order(Side.SELL, 1_000, symbol="2317")], RATES)
    # 300,000 and a commission of 427.5 -> 427; a sale brings nothing before it has traded
    assert held.cash_twd == 1_000_000 - 300_000 - 427
    assert {symbol: position.shares for symbol, position in held.positions.items()} == {"2330": 3_000}
