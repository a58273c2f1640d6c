"""What a replay asks for forecasts."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from builders import RATES, days, forecast
from markets import RULES, SESSIONS, flat, market, random_market

from backtest.forecasters import FOUR_POINT_SESSIONS, BestFourPoint, Naive, Stored
from backtest.history import History, Known, Quote, Series
from backtest.replay import market_days
from bot.adapters.twstock_signals import NEEDED_BARS, best_four_point
from bot.core.decide import decide
from bot.core.portfolio import Portfolio, Position

TWO = market(s1101=[flat(40), None, flat(42)], s2330=[flat(100), flat(101), flat(102)])


def test_naive_says_the_last_close_of_what_traded() -> None:
    told = Naive().forecasts(TWO.after(SESSIONS[1]))
    assert {symbol: one.target for symbol, one in told.items()} == {"2330": Decimal(101)}
    assert (told["2330"].as_of, told["2330"].trained_until) == (SESSIONS[1], SESSIONS[1])


def test_stored_says_what_is_stored_for_stocks_that_traded() -> None:
    told = {symbol: forecast("103", symbol=symbol, as_of=SESSIONS[1]) for symbol in ("1101", "2330")}
    stored = Stored(name="m", by_session={SESSIONS[1]: told}, sentiment_by_session={SESSIONS[1]: {"2330": 12}})
    assert stored.forecasts(TWO.after(SESSIONS[1])) == {"2330": told["2330"]}
    assert stored.forecasts(TWO.after(SESSIONS[2])) == {}
    assert (stored.sentiment_bps(SESSIONS[1]), stored.sentiment_bps(SESSIONS[2])) == ({"2330": 12}, {})


def four_point(signal: str) -> BestFourPoint:
    return BestFourPoint(signal=lambda _bars: signal, rules=RULES, costs=RATES)


def after_ten(price: float) -> Known:
    """The tenth session of a stock that stands at `price`."""
    one = Series("2330")
    for session in days(date(2025, 3, 3), FOUR_POINT_SESSIONS):
        one.add(session, Quote(*[round(price * 100)] * 4, 1_000))
    return History([one]).after(one.sessions[-1])


@pytest.mark.parametrize("price", [0.5, 1, 3.33, 10, 49.95, 100, 585, 1080])
@pytest.mark.parametrize(("signal", "bought", "sold"), [("buy", 1, 0), ("sell", 0, 1), ("none", 0, 0)])
def test_a_signal_is_just_enough_for_the_rule(price: float, signal: str, bought: int, sold: int) -> None:
    known = after_ten(price)
    history = known._history
    [day] = market_days(history, [known.session], four_point(signal))
    empty = Portfolio(cash_twd=100_000_000)
    assert len(decide(day, empty, RULES, RATES).orders) == bought
    cost_twd = int(price * 1_000)
    holds = Portfolio(cash_twd=0, positions={"2330": Position(shares=1_000, cost_twd=cost_twd)})
    assert len(decide(day, holds, RULES, RATES).orders) == sold


def test_a_buy_signal_promises_costs_threshold_and_margin() -> None:
    # 58.5 bps round trip + 50 entry + 50 margin + a lot of 0 to 50 bps of 100 TWD; a sell 50 + 50 below.
    bought = four_point("buy").forecasts(after_ten(100))["2330"].target
    assert Decimal("101.585") <= bought <= Decimal("102.09")
    assert four_point("sell").forecasts(after_ten(100))["2330"].target == Decimal("99.00")


def test_the_lot_among_equal_buys_does_not_favour_cheap_stocks() -> None:
    sessions = days(date(2025, 3, 3), FOUR_POINT_SESSIONS + 400)
    cheap, dear = Series("1101"), Series("6669")
    for session in sessions:
        cheap.add(session, Quote(10_00, 10_00, 10_00, 10_00, 1_000))
        dear.add(session, Quote(2000_00, 2000_00, 2000_00, 2000_00, 1_000))
    history = History([cheap, dear])
    told = [four_point("buy").forecasts(history.after(session)) for session in sessions[FOUR_POINT_SESSIONS:]]
    first = sum(one["1101"].target / 10 > one["6669"].target / 2000 for one in told)
    assert 150 < first < 250
    assert told[0] == four_point("buy").forecasts(history.after(sessions[FOUR_POINT_SESSIONS]))


def test_a_stock_with_too_short_a_past_has_no_signal() -> None:
    assert four_point("buy").forecasts(TWO.after(SESSIONS[2])) == {}


def test_our_window_is_the_one_twstock_needs() -> None:
    assert FOUR_POINT_SESSIONS == NEEDED_BARS


def test_a_longer_window_changes_nothing_that_twstock_says() -> None:
    told = random_market(["2330", "2317", "6488"], days(date(2024, 1, 2), 90))
    signals = set()
    for session in told.sessions[25:]:
        known = told.after(session)
        for symbol in known.bars:
            short, long = known.past(symbol, FOUR_POINT_SESSIONS), known.past(symbol, 25)
            assert best_four_point(short) == best_four_point(long)
            signals.add(best_four_point(short))
    assert {"buy", "sell"} <= signals
