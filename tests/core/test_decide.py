"""The trading rule against numbers worked out by hand, against what may never happen, and against its compiled self.

RATES: 0.1425 % a side, NT$20 at least, 0.3 % sales tax, so a round trip costs 58.5 bps.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import date
from typing import Any

import pytest
from builders import FRIDAY, RATES, THURSDAY, bar, forecast
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.core.costs import commission_twd
from bot.core.decide import NO_SENTIMENT, Decision, MarketDay, Rules, decide, decision_from
from bot.core.market import floor_to_tick_x100, limit_down_x100, limit_up_x100
from bot.core.orders import Order, Side
from bot.core.portfolio import Portfolio, Position
from bot.errors import LookAheadError

CASH = Portfolio(cash_twd=100_000_000)
RULES = Rules(
    top_k=5,
    entry_edge_bps=50,
    exit_return_bps=-50,
    stop_bps=800,
    min_sentiment_bps=-2000,
    exit_sentiment_bps=-6000,
    invest_bps=9500,
    max_order_twd=20_000_000,
    buy_offset_bps=0,
    sell_offset_bps=0,
    lot_shares=1000,
)


def day(
    closes: dict[str, str],
    targets: dict[str, str] | None = None,
    sentiment: dict[str, int] | None = None,
    blocked: frozenset[str] = frozenset(),
) -> MarketDay:
    """THURSDAY with these closes and forecast targets."""
    bars = {symbol: bar(close, symbol=symbol) for symbol, close in closes.items()}
    told = {symbol: forecast(target, symbol=symbol) for symbol, target in (targets or {}).items()}
    return MarketDay(
        session=THURSDAY,
        bars=bars,
        closes_x100={symbol: int(one.close * 100) for symbol, one in bars.items()},
        forecasts=told,
        sentiment_bps=sentiment or {},
        blocked=blocked,
    )


def orders(market: MarketDay, held: Portfolio = CASH, **knobs: int) -> list[Order]:
    return list(decide(market, held, dataclasses.replace(RULES, **knobs), RATES).orders)


def holding(shares: int, cost_twd: int, symbol: str = "2330", cash_twd: int = 0) -> Portfolio:
    return Portfolio(cash_twd=cash_twd, positions={symbol: Position(shares=shares, cost_twd=cost_twd)})


# --- entering ---------------------------------------------------------------------------------------------


def test_buys_as_many_lots_as_fit_the_slot_with_the_commission() -> None:
    # Slot: 100,000,000 * 95 % / 5 = 19,000,000. 190 lots cost 19,000,000 + 27,075, 189 lots 18,900,000 + 26,932.
    [order] = orders(day({"2330": "100"}, {"2330": "103"}))
    assert order == Order(
        symbol="2330",
        decided=THURSDAY,
        side=Side.BUY,
        shares=189_000,
        limit_x100=100_00,
        reason="forecast pays after costs",
    )


@pytest.mark.parametrize(("target", "count"), [("101.08", 0), ("101.09", 1)])  # 49.5 and 50.5 bps after costs
def test_buys_only_when_the_forecast_pays_after_the_round_trip(target: str, count: int) -> None:
    assert len(orders(day({"2330": "100"}, {"2330": target}))) == count


def test_the_largest_order_caps_the_slot() -> None:
    # 1,000,000 TWD hold 9 lots of 100,000 and their commission, not 10.
    [order] = orders(day({"2330": "100"}, {"2330": "103"}), max_order_twd=1_000_000)
    assert order.shares == 9_000


def test_the_best_edges_get_the_slots_and_a_tie_goes_to_the_lower_code() -> None:
    market = day({"1101": "100", "1102": "100", "1216": "100"}, {"1101": "103", "1102": "104", "1216": "103"})
    assert [one.symbol for one in orders(market, top_k=2)] == ["1101", "1102"]


def test_a_stock_whose_lot_is_dearer_than_the_slot_is_not_bought_and_leaves_it_to_the_next() -> None:
    market = day({"1101": "100", "2330": "1000"}, {"1101": "103", "2330": "1100"})
    rich = Portfolio(cash_twd=1_000_000)
    [order] = orders(market, rich, top_k=1)  # slot 950,000: a lot of 2330 costs 1,000,000, 9 lots of 1101 fit
    assert (order.symbol, order.shares) == ("1101", 9_000)
    [order] = orders(market, rich, top_k=2)  # slot 475,000: 4 lots of 1101
    assert (order.symbol, order.shares) == ("1101", 4_000)


def test_cash_on_hand_is_not_spent_twice() -> None:
    market = day({"1101": "100", "1102": "100"}, {"1101": "104", "1102": "103"})
    held = Portfolio(cash_twd=300_000, positions={"2330": Position(shares=100_000, cost_twd=9_000_000)})
    market = dataclasses.replace(market, closes_x100={**market.closes_x100, "2330": 100_00})
    bought = orders(market, held)  # the slot is 1,957,000, the cash 300,000: 2 lots and 99,715 left for nothing
    assert [(one.symbol, one.shares) for one in bought] == [("1101", 2_000)]


def test_abstention_buys_nothing() -> None:
    assert orders(day({"2330": "100"})) == []


@pytest.mark.parametrize(("score", "count"), [(-2001, 0), (-2000, 1), (None, 1)])
def test_bad_news_keeps_from_buying_and_unknown_news_does_not(score: int | None, count: int) -> None:
    sentiment = {} if score is None else {"2330": score}
    assert len(orders(day({"2330": "100"}, {"2330": "103"}, sentiment))) == count


@pytest.mark.parametrize(
    ("close", "offset_bps", "limit_x100"),
    [
        ("100", 37, 100_00),  # 100.37 lies between the ticks 100.00 and 100.50
        ("99", 50, 99_40),  # 99.495, tick 0.1
        ("100", 1000, 110_00),  # the daily limit
        ("103", 1000, 113_00),  # 113.30 cut to the tick 0.5
        ("100", -1000, 90_00),
    ],
)
def test_the_buy_limit_is_on_the_tick_and_inside_the_daily_limit(close: str, offset_bps: int, limit_x100: int) -> None:
    [order] = orders(day({"2330": close}, {"2330": "125"}), buy_offset_bps=offset_bps)
    assert order.limit_x100 == limit_x100


# --- leaving ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("close", "count"), [("92.2", 0), ("92.1", 1)])  # 92 % of 100,142 are 92,130.64
def test_sells_everything_at_the_stop(close: str, count: int) -> None:
    sold = orders(day({"2330": close}), holding(1_000, 100_142))
    assert [(one.side, one.shares, one.reason) for one in sold] == [(Side.SELL, 1_000, "stop")] * count


def test_a_stop_of_zero_is_no_stop() -> None:
    assert orders(day({"2330": "10"}), holding(1_000, 100_142), stop_bps=0) == []


@pytest.mark.parametrize(("target", "count"), [("99.50", 0), ("99.49", 1)])
def test_sells_when_the_forecast_is_below_the_exit(target: str, count: int) -> None:
    sold = orders(day({"2330": "100"}, {"2330": target}), holding(1_000, 100_142))
    assert [one.reason for one in sold] == ["forecast fell below the exit"] * count


@pytest.mark.parametrize(("score", "count"), [(-5999, 0), (-6000, 1)])
def test_sells_on_bad_news(score: int, count: int) -> None:
    sold = orders(day({"2330": "100"}, sentiment={"2330": score}), holding(1_000, 100_142))
    assert [one.reason for one in sold] == ["bad news"] * count


@pytest.mark.parametrize(
    ("offset_bps", "limit_x100"), [(0, 100_00), (30, 99_70), (33, 99_70), (2_00, 98_00), (1_000, 90_00), (-100, 101_00)]
)
def test_the_sell_limit_is_rounded_up_to_the_tick(offset_bps: int, limit_x100: int) -> None:
    [order] = orders(day({"2330": "100"}, {"2330": "98"}), holding(1_000, 100_142), sell_offset_bps=offset_bps)
    assert order.limit_x100 == limit_x100


def test_a_position_being_sold_keeps_its_slot_and_its_money() -> None:
    market = day({"1101": "100", "2330": "100"}, {"1101": "104", "2330": "98"})
    told = orders(market, holding(1_000, 100_142, cash_twd=1_000_000), top_k=1)
    assert [(one.symbol, one.side) for one in told] == [("2330", Side.SELL)]


def test_sells_come_before_buys() -> None:
    market = day({"1101": "100", "2330": "100"}, {"1101": "104", "2330": "98"})
    told = orders(market, holding(1_000, 100_142, cash_twd=1_000_000))
    assert [one.side for one in told] == [Side.SELL, Side.BUY]


@pytest.mark.parametrize(("close", "count"), [("105", 0), ("105.5", 1)])  # 105 % of 100,142 are 105,149.1
def test_sells_everything_at_the_take_profit(close: str, count: int) -> None:
    sold = orders(day({"2330": close}), holding(1_000, 100_142), take_profit_bps=500)
    assert [one.reason for one in sold] == ["take profit"] * count


@pytest.mark.parametrize(("sessions", "count"), [(4, 0), (5, 1), (6, 1)])
def test_sells_after_the_longest_holding(sessions: int, count: int) -> None:
    rules = dataclasses.replace(RULES, max_holding_sessions=5)
    told = decide(day({"2330": "100"}), holding(1_000, 100_142), rules, RATES, held_sessions={"2330": sessions}).orders
    assert [one.reason for one in told] == ["held for the longest time"] * count


def test_cash_that_a_sale_has_yet_to_bring_counts_but_is_not_spent() -> None:
    market = day({"2330": "100"}, {"2330": "103"})
    rich = Portfolio(cash_twd=10_000_000)  # a slot of 1,900,000; 19 lots cost 1,900,000 + 2,707
    [order] = decide(market, rich, RULES, RATES, unsettled_twd=8_000_000).orders
    assert order.shares == 18_000
    [order] = decide(market, rich, RULES, RATES, unsettled_twd=9_000_000).orders  # 1,000,000 left: 9 lots
    assert order.shares == 9_000


# --- hands off --------------------------------------------------------------------------------------------


def test_a_stock_with_an_order_of_unknown_fate_is_left_alone() -> None:
    market = day({"1101": "100", "2330": "50"}, {"1101": "104"}, blocked=frozenset({"1101", "2330"}))
    assert orders(market, holding(1_000, 100_142, cash_twd=10_000_000)) == []


def test_a_stock_that_did_not_trade_is_left_alone_but_counts_in_equity() -> None:
    market = MarketDay(
        session=THURSDAY,
        bars={"1101": bar("100", symbol="1101")},
        closes_x100={"1101": 100_00, "2330": 10_00},
        forecasts={"1101": forecast("104", symbol="1101")},
        sentiment_bps={},
    )
    # Equity 5,000,000 + 500,000: a slot is 1,045,000, which holds 10 lots and NT$1,425.
    [order] = orders(market, holding(50_000, 5_000_000, cash_twd=5_000_000))
    assert (order.symbol, order.shares) == ("1101", 10_000)


# --- nothing from the future ------------------------------------------------------------------------------


def test_a_bar_of_another_day_is_refused() -> None:
    market = dataclasses.replace(day({"2330": "100"}), bars={"2330": bar("100", session=FRIDAY)})
    with pytest.raises(LookAheadError, match="2330: a bar of 2025-01-03 in the decision of 2025-01-02"):
        decide(market, CASH, RULES, RATES)


@pytest.mark.parametrize("as_of", [FRIDAY, date(2025, 1, 1)])
def test_a_forecast_of_another_day_is_refused(as_of: date) -> None:
    market = dataclasses.replace(day({"2330": "100"}), forecasts={"2330": forecast("103", as_of=as_of)})
    with pytest.raises(LookAheadError, match=f"2330: a forecast as of {as_of}"):
        decide(market, CASH, RULES, RATES)


def test_a_model_that_was_trained_on_the_future_is_refused() -> None:
    market = dataclasses.replace(day({"2330": "100"}), forecasts={"2330": forecast("103", until=FRIDAY)})
    with pytest.raises(LookAheadError, match="2330: test was trained until 2025-01-03"):
        decide(market, CASH, RULES, RATES)


def test_a_model_trained_until_the_very_day_may_speak() -> None:
    market = dataclasses.replace(day({"2330": "100"}), forecasts={"2330": forecast("103", until=THURSDAY)})
    assert decide(market, CASH, RULES, RATES).orders


def test_a_held_stock_without_any_close_is_refused() -> None:
    with pytest.raises(KeyError, match="2330"):
        decide(day({"1101": "100"}), holding(1_000, 100_142), RULES, RATES)


# --- the hash ---------------------------------------------------------------------------------------------


def decision() -> Decision:
    market = day({"1101": "100", "2330": "100"}, {"1101": "104", "2330": "98"}, {"1101": 120})
    return decide(market, holding(1_000, 100_142, cash_twd=1_000_000), RULES, RATES)


def test_the_same_input_gives_the_same_hash_whatever_the_order_of_the_stocks() -> None:
    market = day({"2330": "100", "1101": "100"}, {"2330": "98", "1101": "104"}, {"1101": 120})
    assert decide(market, holding(1_000, 100_142, cash_twd=1_000_000), RULES, RATES).sha256 == decision().sha256


def test_the_hash_is_over_the_inputs_and_the_orders_as_written_here() -> None:
    # Recorded decisions are checked against it: a change of this text must be meant.
    text = (
        '[{"cash":{"cash_twd":1000000,"minimum_twd":20,"pct":10,"rate_e8":142500,"unsettled_twd":0},'
        '"day":{"session":"2025-01-02","symbols":["1101","2330"]},'
        '"rules":{"buy_offset_bps":0,"entry_edge_bps":50,"exit_return_bps":-50,"exit_sentiment_bps":-6000,'
        '"invest_bps":9500,"lot_shares":1000,"max_holding_sessions":0,"max_order_twd":20000000,"min_sentiment_bps":-2000,'
        '"sell_offset_bps":0,"stop_bps":800,"strategy":"forecast_edge","take_profit_bps":0,"top_k":5},'
        '"stocks":{"close_x100":[10000,10000],"etf":[0,0],"held_cost_twd":[0,100142],"held_sessions":[0,1],"held_shares":[0,1000],'
        '"reference_x100":[10000,10000],"sentiment_bps":[120,-100000],"target_x100":[10400,9800],"tax_e8":[300000,300000],"tradable":[1,1]}},'
        '[["2025-01-02:2330:sell",1000,10000,"forecast fell below the exit"],'
        '["2025-01-02:1101:buy",2000,10000,"forecast pays after costs"]]]'
    )
    assert decision().sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_a_decision_recorded_before_rules_had_a_name_follows_from_what_was_recorded() -> None:
    # As journals of before held it, hash and all: no age, no unsettled cash, no take-profit, no strategy.
    text = (
        '[{"cash":{"cash_twd":1000000,"minimum_twd":20,"pct":10,"rate_e8":142500},'
        '"day":{"session":"2025-01-02","symbols":["1101","2330"]},'
        '"rules":{"buy_offset_bps":0,"entry_edge_bps":50,"exit_return_bps":-50,"exit_sentiment_bps":-6000,'
        '"invest_bps":9500,"lot_shares":1000,"max_order_twd":20000000,"min_sentiment_bps":-2000,'
        '"sell_offset_bps":0,"stop_bps":800,"top_k":5},'
        '"stocks":{"close_x100":[10000,10000],"etf":[0,0],"held_cost_twd":[0,100142],"held_shares":[0,1000],'
        '"reference_x100":[10000,10000],"sentiment_bps":[120,-100000],"target_x100":[10400,9800],"tax_e8":[300000,300000],"tradable":[1,1]}},'
        '[["2025-01-02:2330:sell",1000,10000,"forecast fell below the exit"],'
        '["2025-01-02:1101:buy",2000,10000,"forecast pays after costs"]]]'
    )
    again = decision_from(json.loads(text)[0])
    assert again.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert again.orders == decision().orders


def test_another_input_gives_another_hash() -> None:
    market = day({"1101": "100", "2330": "100"}, {"1101": "104", "2330": "98"}, {"1101": 121})
    assert decide(market, holding(1_000, 100_142, cash_twd=1_000_000), RULES, RATES).sha256 != decision().sha256


def test_recorded_inputs_give_the_same_decision_after_a_trip_through_json() -> None:
    taken = decision()
    assert decision_from(json.loads(json.dumps(taken.inputs))) == taken


# --- what may never happen --------------------------------------------------------------------------------


def closes() -> st.SearchStrategy[int]:
    return st.integers(1, 600_000).map(lambda price: max(1, floor_to_tick_x100(price, etf=False)))


@st.composite
def situations(draw: st.DrawFn) -> dict[str, Any]:
    """The heart's arguments, at random but possible."""
    count = draw(st.integers(0, 8))
    stocks: dict[str, list[int]] = {"close_x100": draw(st.lists(closes(), min_size=count, max_size=count))}

    stocks["reference_x100"] = [
        draw(st.just(close) | st.integers((close + 1) // 2, 2 * close)) for close in stocks["close_x100"]
    ]

    def column(name: str, values: st.SearchStrategy[int]) -> None:
        stocks[name] = draw(st.lists(values, min_size=count, max_size=count))

    column("tradable", st.integers(0, 1))
    moves = draw(st.lists(st.integers(-1500, 1500) | st.none(), min_size=count, max_size=count))
    stocks["target_x100"] = [
        0 if move is None else max(1, close + close * move // 10_000)
        for close, move in zip(stocks["close_x100"], moves, strict=True)
    ]
    column("sentiment_bps", st.integers(-10_000, 10_000) | st.just(NO_SENTIMENT))
    column("held_shares", st.just(0) | st.integers(1, 200_000))
    column("held_cost_twd", st.integers(0, 200_000_000))
    column("held_sessions", st.integers(1, 50))
    stocks["etf"] = [0] * count
    stocks["tax_e8"] = [300_000] * count
    cash = {"cash_twd": draw(st.integers(0, 10**9)), "rate_e8": 142_500, "minimum_twd": 20, "pct": 10}
    cash["unsettled_twd"] = draw(st.integers(0, cash["cash_twd"]))
    rules = {
        "top_k": draw(st.integers(1, 8)),
        "entry_edge_bps": draw(st.integers(-1_000, 1_000)),
        "exit_return_bps": draw(st.integers(-1_000, 1_000)),
        "stop_bps": draw(st.integers(0, 10_000)),
        "min_sentiment_bps": draw(st.integers(-10_000, 10_000)),
        "exit_sentiment_bps": draw(st.integers(-10_000, 10_000)),
        "invest_bps": draw(st.integers(0, 10_000)),
        "max_order_twd": draw(st.integers(0, 10**9)),
        "buy_offset_bps": draw(st.integers(-1_000, 1_000)),
        "sell_offset_bps": draw(st.integers(-1_000, 1_000)),
        "lot_shares": draw(st.sampled_from([1, 100, 1_000])),
        "take_profit_bps": draw(st.just(0) | st.integers(1, 5_000)),
        "max_holding_sessions": draw(st.just(0) | st.integers(1, 60)),
        "strategy": "forecast_edge",
    }
    return {"stocks": stocks, "cash": cash, "rules": rules}


def planned(told: dict[str, Any]) -> tuple[Order, ...]:
    symbols = [str(1101 + place) for place in range(len(told["stocks"]["close_x100"]))]
    return decision_from({"day": {"session": "2025-01-02", "symbols": symbols}, **told}).orders


@settings(max_examples=300, deadline=None)
@given(situations())
def test_no_plan_ever_breaks_the_rules_of_the_house(told: dict[str, Any]) -> None:
    stocks, cash, rules = told["stocks"], told["cash"], told["rules"]
    made = planned(told)
    assert len({order.symbol for order in made}) == len(made), "two orders for a stock"
    spent_twd = 0
    for order in made:
        i = int(order.symbol) - 1101
        reference = stocks["reference_x100"][i]
        assert stocks["tradable"][i], "an order for a stock that may not be traded"
        assert limit_down_x100(reference, etf=False) <= order.limit_x100 <= limit_up_x100(reference, etf=False)
        assert floor_to_tick_x100(order.limit_x100, etf=False) == order.limit_x100, "a limit off the tick"
        if order.side is Side.SELL:
            assert order.shares == stocks["held_shares"][i], "sells something else than what is held"
            continue
        assert stocks["target_x100"][i] > 0, "buys where the model abstained"
        assert stocks["held_shares"][i] == 0, "adds to a position"
        assert order.shares % rules["lot_shares"] == 0, "a broken lot"
        cost_twd = order.limit_x100 * order.shares // 100
        cost_twd += commission_twd(order.limit_x100, order.shares, cash["rate_e8"], cash["minimum_twd"])
        assert cost_twd <= rules["max_order_twd"]
        spent_twd += cost_twd
    assert spent_twd <= max(0, cash["cash_twd"] - cash["unsettled_twd"]), "buys beyond the cash, fees included"
    held = sum(one > 0 for one in stocks["held_shares"])
    bought = sum(order.side is Side.BUY for order in made)
    assert held + bought <= max(rules["top_k"], held), "more positions than top_k"


@given(situations())
def test_a_plan_is_a_pure_function_of_its_arguments(told: dict[str, Any]) -> None:
    before = json.dumps(told)
    assert planned(told) == planned(told)
    assert json.dumps(told) == before


# --- ex-dates ---------------------------------------------------------------------------------------------


def ex(market: MarketDay, reference_x100: int) -> MarketDay:
    return dataclasses.replace(market, reference_x100={"2330": reference_x100})


def test_limits_of_a_stock_that_goes_ex_count_from_the_reference_and_returns_from_the_close() -> None:
    # Close 1,065, dividend 5.00: reference 1,060. Buy 2 % below: 1,038.8 -> 1,035 on the tick of 5.
    market = day({"2330": "1065"}, {"2330": "1100"})
    [buy] = orders(ex(market, 1060_00), buy_offset_bps=-200)
    assert buy.limit_x100 == 1035_00
    # 3.29 % above the close, 2.70 % after costs of 0.585 %: bought at 270 bps, not at 271, ex or not.
    assert orders(ex(market, 1060_00), entry_edge_bps=270)
    assert not orders(ex(market, 1060_00), entry_edge_bps=271)
    assert not orders(market, entry_edge_bps=271)
    # A price of before would lie outside the limit: 39.30 fell to 19.65, highest 21.60 (tick 0.05).
    [high] = orders(ex(day({"2330": "39.3"}, {"2330": "43"}), 19_65), buy_offset_bps=1000)
    assert high.limit_x100 == 21_60
    [sell] = orders(ex(day({"2330": "100"}, {"2330": "90"}), 95_00), holding(1_000, 100_000), sell_offset_bps=1000)
    assert sell.limit_x100 == 85_50


def test_a_journal_of_before_ex_rights_gives_the_same_orders_and_its_own_hash() -> None:
    inputs = json.loads(json.dumps(decide(day({"2330": "100"}, {"2330": "110"}), CASH, RULES, RATES).inputs))
    now = decision_from(inputs)
    del inputs["stocks"]["reference_x100"]
    before = decision_from(inputs)
    assert before.orders == now.orders
    assert before.sha256 != now.sha256  # it is over the inputs as they were kept
    assert before.inputs == inputs
