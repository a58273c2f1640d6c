"""Replays of tiny markets, every figure worked out by hand. Costs: 0.1425 % a side, at least NT$20; 0.3 % tax."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from builders import RATES, days, forecast
from markets import RULES, SESSIONS, Prices, flat, market, random_market

from backtest.forecasters import Naive, Stored
from backtest.history import History
from backtest.kernel import Options
from backtest.replay import Step, hold, market_days, replay
from bot.core.exrights import ExRight
from bot.core.orders import Fill, Side
from bot.errors import LookAheadError

START_TWD = 100_000_000
BUY_189_LOTS = 189_000  # see test_decide: what a slot of 19,000,000 TWD holds at 100 TWD


def told(targets: Mapping[int, str]) -> Stored:
    """A model that says `targets[i]` of 2330 after SESSIONS[i]."""
    by_session = {
        SESSIONS[index]: {"2330": forecast(target, as_of=SESSIONS[index])} for index, target in targets.items()
    }
    return Stored(name="told", by_session=by_session)


def steps(history: History, forecaster: Stored, fill_rule: str, **knobs: int) -> list[Step]:
    days_of = market_days(history, history.sessions, forecaster)
    options = Options(fill_rule=fill_rule, start_cash_twd=START_TWD, costs=RATES)
    return list(replay(history, days_of, dataclasses.replace(RULES, **knobs), options))


def after_100(*prices: Prices) -> History:
    """A stock that closed at 100 on the first session, and what came then."""
    return market(s2330=[flat(100), *prices])


@pytest.mark.parametrize(
    ("prices", "fill_rule", "price_x100"),
    [
        ((99, 101, 98, 100.5), "open", 99_00),
        ((99, 101, 98, 100.5), "range", 100_00),
        ((99, 101, 98, 100.5), "touch", 100_00),
        ((101, 102, 100, 101), "open", None),  # opened above the limit
        ((101, 102, 100, 101), "range", None),  # the low is the limit, not below it
        ((101, 102, 100, 101), "touch", 100_00),
        ((99, 99.5, 98, 99), "open", 99_00),
        ((99, 99.5, 98, 99), "range", None),  # the range never came up to the limit
        ((99, 99.5, 98, 99), "touch", None),
        ((110, 110, 110, 110), "open", None),  # locked at limit-up
        ((110, 110, 110, 110), "touch", None),
    ],
)
def test_a_purchase_under_each_fill_rule(prices: Prices, fill_rule: str, price_x100: int | None) -> None:
    [step] = steps(after_100(prices), told({0: "103"}), fill_rule)
    assert [order.shares for order in step.orders] == [BUY_189_LOTS]
    assert [fill.price_x100 for fill in step.fills] == ([price_x100] if price_x100 else [])


def test_the_books_after_a_purchase_at_the_open() -> None:
    [step] = steps(after_100((99, 101, 98, 100.5)), told({0: "103"}), "open")
    assert step.fills == (
        Fill(
            key="forecast_edge:2025-01-02:2330:buy:1",
            symbol="2330",
            session=SESSIONS[1],
            shares=189_000,
            price_x100=99_00,
            commission_twd=26_663,  # 18,711,000 * 0.1425 % = 26,663.175
            tax_twd=0,
        ),
    )
    assert step.held.cash_twd == 100_000_000 - 18_711_000 - 26_663
    assert step.equity_twd == step.held.cash_twd + 18_994_500  # 189,000 * 100.50
    assert (step.decided, step.session) == (SESSIONS[0], SESSIONS[1])


def test_a_round_trip_under_range() -> None:
    history = after_100((99, 101, 98, 100.5), (100, 103, 100, 102), (102, 104, 101, 103))
    bought, kept, sold = steps(history, told({0: "103", 1: "100.5", 2: "90"}), "range")
    assert [fill.commission_twd for fill in bought.fills] == [26_932]  # 18,900,000 * 0.1425 % = 26,932.5
    assert (kept.orders, kept.held) == ((), bought.held)
    assert kept.equity_twd == 100_000_000 - 18_900_000 - 26_932 + 19_278_000
    [fill] = sold.fills  # 189,000 * 102 = 19,278,000: commission 27,471.15, tax 57,834
    assert (fill.shares, fill.price_x100, fill.commission_twd, fill.tax_twd) == (-189_000, 102_00, 27_471, 57_834)
    assert sold.held.positions == {}
    assert sold.equity_twd == 100_000_000 - 18_900_000 - 26_932 + 19_278_000 - 27_471 - 57_834


@pytest.mark.parametrize(("fill_rule", "sold"), [("open", 0), ("range", 0), ("touch", 1)])
def test_only_touch_sells_into_a_session_locked_at_limit_down(fill_rule: str, sold: int) -> None:
    # Offered 10 % below the close of 100, which is where all of the next session trades.
    history = after_100((100, 101, 99, 100), flat(90))
    bought, locked = steps(history, told({0: "103", 1: "95"}), fill_rule, sell_offset_bps=1_000)
    assert bought.fills
    assert [(order.side, order.limit_x100) for order in locked.orders] == [(Side.SELL, 90_00)]
    assert len(locked.fills) == sold


def test_an_order_that_did_not_trade_is_dead() -> None:
    history = after_100((105, 106, 104, 105), (99, 101, 98, 100))  # the second session would have filled it
    first, second = steps(history, told({0: "103"}), "open")
    assert (len(first.orders), first.fills) == (1, ())
    assert (second.orders, second.fills) == ((), ())
    assert second.equity_twd == START_TWD


def test_a_suspended_stock_trades_not_and_is_valued_at_its_last_close() -> None:
    history = market(s1101=[flat(40)] * 5, s2330=[flat(100), (100, 101, 99, 100.5), None, None, flat(95)])
    bought, gone, still, back = steps(history, told({0: "103", 1: "90"}), "range")
    assert bought.fills
    assert [order.side for order in gone.orders] == [Side.SELL]
    assert gone.fills == ()
    assert bought.equity_twd == gone.equity_twd == still.equity_twd
    assert still.orders == ()
    assert back.equity_twd == still.equity_twd - 189_000 * 5 - 189_000 // 2  # 100.50 -> 95.00


def test_a_model_that_saw_the_future_stops_the_replay() -> None:
    by_session = {SESSIONS[0]: {"2330": forecast("103", as_of=SESSIONS[0], until=SESSIONS[1])}}
    with pytest.raises(LookAheadError, match="2330: test was trained until 2025-01-03"):
        steps(after_100(flat(100)), Stored(name="m", by_session=by_session), "open")


def test_steps_carry_the_hash_of_the_very_decision() -> None:
    history = after_100((99, 101, 98, 100.5), flat(100))
    one = steps(history, told({0: "103"}), "open")
    two = steps(history, told({0: "103"}), "open")
    assert [step.decision_sha256 for step in one] == [step.decision_sha256 for step in two]
    assert len({step.decision_sha256 for step in one}) == 2
    assert all(len(step.decision_sha256) == 64 for step in one)


def test_hold_buys_equal_parts_in_whole_lots_at_the_second_open() -> None:
    history = market(
        s1101=[flat(40), (41, 42, 40, 42), flat(43)],
        s2330=[flat(100), (101, 103, 100, 102), flat(104)],
        s3008=[flat(20), flat(22), flat(22)],  # locked at limit-up: nothing to be had
        s6669=[flat(3000), flat(3000), flat(3000)],  # a lot costs more than its part
    )
    first, second = hold(history, history.sessions, 10_000_000, RATES, 1_000)
    # Parts of 2,500,000: 60 lots of 1101 at 41.00 (2,460,000 + 3,505), 24 of 2330 at 101.00 (2,424,000 + 3,454).
    assert [(fill.symbol, fill.shares, fill.price_x100, fill.commission_twd) for fill in first.fills] == [
        ("1101", 60_000, 41_00, 3_505),
        ("2330", 24_000, 101_00, 3_454),
    ]
    assert first.held.cash_twd == 10_000_000 - 2_460_000 - 3_505 - 2_424_000 - 3_454
    assert first.equity_twd == first.held.cash_twd + 60_000 * 42 + 24_000 * 102
    assert second.fills == ()
    assert second.equity_twd == first.held.cash_twd + 60_000 * 43 + 24_000 * 104


@pytest.mark.parametrize("fill_rule", ["open", "range", "touch"])
@pytest.mark.parametrize("lot_shares", [1_000, 1])
def test_equity_changes_by_price_moves_less_costs_and_by_nothing_else(fill_rule: str, lot_shares: int) -> None:
    history = random_market(["1101", "2317", "2330", "3008", "6669", "9904"], days(date(2024, 1, 2), 120))
    rules = dataclasses.replace(
        RULES, entry_edge_bps=-100, stop_bps=300, lot_shares=lot_shares, buy_offset_bps=50, sell_offset_bps=50
    )
    days_of = market_days(history, history.sessions, Naive())
    before_twd, held, traded = START_TWD, {}, 0
    for step in replay(history, days_of, rules, Options(fill_rule=fill_rule, start_cash_twd=START_TWD, costs=RATES)):
        closes_before, closes = history.closes_x100(step.decided), history.closes_x100(step.session)
        moved_x100 = sum(shares * (closes[symbol] - closes_before[symbol]) for symbol, shares in held.items())
        moved_x100 += sum(fill.shares * (closes[fill.symbol] - fill.price_x100) for fill in step.fills)
        costs_twd = sum(fill.commission_twd + fill.tax_twd for fill in step.fills)
        # Each held or traded odd lot may be cut by less than one TWD; whole lots are exact.
        slack_twd = 0 if lot_shares == 1_000 else len(step.held.positions) + len(held) + len(step.fills)
        assert abs(step.equity_twd - before_twd - (moved_x100 / 100 - costs_twd)) <= slack_twd
        assert step.held.cash_twd >= 0
        assert len(step.held.positions) <= rules.top_k
        before_twd, held = step.equity_twd, {symbol: one.shares for symbol, one in step.held.positions.items()}
        traded += len(step.fills)
    assert traded > 20


# --- ex-dates, settlement -------------------------------------------------------------------------------------


def ex_right(index: int, previous: int, reference: int, cash: str | None) -> ExRight:
    return ExRight(
        symbol="2330",
        ex_date=SESSIONS[index],
        kind="dividend" if cash else "reduction",
        previous_x100=previous,
        reference_x100=reference,
        source="test",
        known_at=datetime(2025, 1, 2, 18, tzinfo=UTC),
        cash_dividend=Decimal(cash) if cash else None,
    )


def steps_with(history: History, forecaster: Stored, events: list[ExRight], **more: int) -> list[Step]:
    days_of = market_days(history, history.sessions, forecaster, events)
    options = Options(fill_rule="open", start_cash_twd=START_TWD, costs=RATES, **more)
    return list(replay(history, days_of, RULES, options, events))


def test_a_dividend_is_in_the_cash_on_its_ex_date_and_limits_count_from_the_reference() -> None:
    # 189,000 shares get 3.5 each = 661,500. The sale decided on the eve is offered at the reference of 96.5.
    history = after_100((99, 101, 98, 100), (97, 98, 96, 97), flat(97))
    bought, ex, _ = steps_with(history, told({0: "103", 1: "90"}), [ex_right(2, 100_00, 96_50, "3.5")])
    assert [order.limit_x100 for order in ex.orders] == [96_50]
    [fill] = ex.fills
    assert (fill.price_x100, fill.commission_twd, fill.tax_twd) == (97_00, 26_124, 54_999)
    assert ex.held.cash_twd == bought.held.cash_twd + 661_500 + 18_333_000 - 26_124 - 54_999


def test_a_locked_ex_date_is_recognised_by_its_own_limits() -> None:
    # Reference 90, limit-down 81: the session trades at 81 only, where nobody takes a sale. From the close it was none.
    history = after_100((99, 101, 98, 100), flat(81), flat(81))
    _, ex, _ = steps_with(history, told({0: "103", 1: "50"}), [ex_right(2, 100_00, 90_00, "10")])
    assert (len(ex.orders), ex.fills) == (1, ())


def test_a_capital_reduction_leaves_fewer_shares_and_as_much_money() -> None:
    history = after_100((99, 101, 98, 100), flat(200), flat(200))
    bought, reduced, _ = steps_with(history, told({0: "103"}), [ex_right(2, 100_00, 200_00, None)])
    assert reduced.held.positions["2330"].shares == 94_500
    assert reduced.equity_twd == bought.equity_twd
    assert reduced.held.positions["2330"].cost_twd == bought.held.positions["2330"].cost_twd


def test_with_settlement_after_two_sessions_a_sale_pays_for_nothing_the_evening_after() -> None:
    rows = [flat(100), (100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 99, 100), (100, 101, 99, 100)]
    model = told({0: "103", 1: "90", 2: "103", 3: "103"})
    for wait, first_order in ((0, 2), (2, 3)):  # sold in session 2: spendable that evening, or from session 4 on
        rules = dataclasses.replace(RULES, top_k=1, invest_bps=10_000, max_order_twd=10**11)
        history = market(s2330=rows)
        options = Options(fill_rule="open", start_cash_twd=1_000_000, costs=RATES, settlement_sessions=wait)
        made = list(replay(history, market_days(history, history.sessions, model), rules, options))
        bought = [sum(order.shares for order in step.orders if order.side is Side.BUY) for step in made]
        assert bought[0] == 9_000
        if first_order == 2:
            assert bought[2] == 9_000
        else:
            assert bought[2:] == [0, 0]  # 98,718 were never spent: under a lot
