"""Purchases that ask how sure a forecast is: P(up) and the lower end of its band, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest
from builders import RATES, THURSDAY, bar, forecast

from bot.core.decide import MarketDay, Rules, decide, decision_from, held_back
from bot.core.forecast import Band, Forecast
from bot.core.portfolio import Portfolio, Position

CASH = Portfolio(cash_twd=1_000_000)
RULES = Rules(
    top_k=5, entry_edge_bps=50, exit_return_bps=-50, stop_bps=800, min_sentiment_bps=-2000, exit_sentiment_bps=-6000,
    invest_bps=9500, max_order_twd=20_000_000, buy_offset_bps=0, sell_offset_bps=0, lot_shares=1000,
)  # fmt: skip


def told(symbol: str, target: str, low: str = "", p_up: float | None = None) -> Forecast:
    """A forecast of 100.00's next session; `low` is its band's lower end."""
    bands = (Band(low=Decimal(low), high=Decimal(109)),) if low else ()
    return dataclasses.replace(forecast(target, symbol=symbol), bands=bands, p_up=p_up)


def day(*forecasts: Forecast) -> MarketDay:
    """THURSDAY, every stock at 100.00."""
    symbols = [one.symbol for one in forecasts]
    return MarketDay(
        session=THURSDAY,
        bars={symbol: bar("100", symbol=symbol) for symbol in symbols},
        closes_x100=dict.fromkeys(symbols, 100_00),
        forecasts={one.symbol: one for one in forecasts},
        sentiment_bps={},
    )


def bought(market: MarketDay, held: Portfolio = CASH, **knobs: int) -> dict[str, str]:
    """Symbols bought, with the reason."""
    found = decide(market, held, dataclasses.replace(RULES, **knobs), RATES).orders
    return {one.symbol: one.reason for one in found if one.signed_shares > 0}


def test_p_up_must_reach_its_least() -> None:
    market = day(told("1101", "104", p_up=0.5999), told("1102", "104", p_up=0.6), told("1103", "104", p_up=0.61))

    assert sorted(bought(market)) == ["1101", "1102", "1103"]
    assert sorted(bought(market, min_p_up_bps=6_000)) == ["1102", "1103"]
    assert sorted(bought(market, min_p_up_bps=10_000)) == []


def test_an_unknown_p_up_is_no_purchase_where_it_is_asked_for() -> None:
    market = day(told("1101", "104"), told("1102", "104", p_up=0.0))

    assert sorted(bought(market)) == ["1101", "1102"]
    decided = decide(market, CASH, dataclasses.replace(RULES, min_p_up_bps=1), RATES)
    assert decided.orders == ()
    assert held_back(decided.inputs) == {"1101": "P(up) not told", "1102": "P(up) too low"}


def test_an_edge_from_the_low_end_has_to_pay_for_the_round_trip_and_ranks_by_it() -> None:
    # The round trip costs 58.5 bps, so that 101.09 leaves 50.5 bps and 101.08 49.5: one more and one less than 50.
    market = day(
        told("1101", "109", low="101.08"), told("1102", "102", low="101.09"), told("1103", "102", low="101.50"),
        told("1104", "109"), told("1105", "100.20", low="105"),
    )  # fmt: skip

    assert sorted(bought(market)) == ["1101", "1102", "1103", "1104"]
    low = "the lower end of the forecast pays after costs"
    assert bought(market, edge_from_low=1) == {"1102": low, "1103": low, "1105": low}
    assert bought(market, edge_from_low=1, top_k=1) == {"1105": low}
    decided = decide(market, CASH, dataclasses.replace(RULES, edge_from_low=1), RATES)
    assert held_back(decided.inputs) == {"1101": "the band's lower end does not pay", "1104": "band not told"}


def test_sales_go_by_the_forecast_itself() -> None:
    held = Portfolio(cash_twd=0, positions={"1101": Position(shares=1_000, cost_twd=100_142)})
    sure = day(told("1101", "104", low="91", p_up=0.1))
    for knobs in ({}, {"min_p_up_bps": 9_000}, {"edge_from_low": 1}):
        assert decide(sure, held, dataclasses.replace(RULES, **knobs), RATES).orders == ()


@pytest.mark.parametrize(("knob", "value"), [("min_p_up_bps", -1), ("min_p_up_bps", 10_001), ("edge_from_low", 2)])
def test_knobs_out_of_range_are_refused(knob: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"`{knob}` must be between 0 and"):
        dataclasses.replace(RULES, **{knob: value})


def told_inputs(market: MarketDay, **knobs: int) -> dict[str, Any]:
    return dict(decide(market, CASH, dataclasses.replace(RULES, **knobs), RATES).inputs)


def test_what_was_not_told_and_is_not_asked_leaves_no_trace_in_the_inputs() -> None:
    plain = told_inputs(day(told("1101", "104"), told("1102", "98")))
    assert not {"p_up_bps", "band_low_x100"} & set(plain["stocks"])
    assert not {"min_p_up_bps", "edge_from_low"} & set(plain["rules"])

    known = told_inputs(day(told("1101", "104", low="99.50", p_up=0.61237), told("1102", "98")), min_p_up_bps=6_000)
    assert (known["stocks"]["p_up_bps"], known["stocks"]["band_low_x100"]) == ([6_124, -1], [99_50, 0])
    assert known["rules"]["min_p_up_bps"] == 6_000
    assert "edge_from_low" not in known["rules"]


def test_a_recorded_decision_with_bands_is_taken_again_from_its_journal() -> None:
    market = day(told("1101", "104", low="102", p_up=0.7), told("1102", "104", low="99", p_up=0.7))
    taken = decide(market, CASH, dataclasses.replace(RULES, edge_from_low=1, min_p_up_bps=6_500), RATES)

    again = decision_from(json.loads(json.dumps(taken.inputs)))

    assert (again.orders, again.sha256) == (taken.orders, taken.sha256)
    assert [one.symbol for one in again.orders] == ["1101"]


def test_the_hash_covers_what_was_told_of_bands() -> None:
    hashes = {
        decide(day(told("1101", "104", low=low, p_up=p_up)), CASH, RULES, RATES).sha256
        for low, p_up in (("", None), ("99", None), ("99.10", None), ("99", 0.5), ("", 0.5))
    }
    assert len(hashes) == 5


def test_the_hash_with_bands_is_over_the_text_as_written_here() -> None:
    market = day(told("1101", "104", low="102", p_up=0.7))
    text = (
        '[{"cash":{"cash_twd":1000000,"minimum_twd":20,"pct":10,"rate_e8":142500,"unsettled_twd":0},'
        '"day":{"session":"2025-01-02","symbols":["1101"]},'
        '"rules":{"buy_offset_bps":0,"edge_from_low":1,"entry_edge_bps":50,"exit_return_bps":-50,'
        '"exit_sentiment_bps":-6000,"invest_bps":9500,"lot_shares":1000,"max_holding_sessions":0,'
        '"max_order_twd":20000000,"min_sentiment_bps":-2000,"sell_offset_bps":0,"stop_bps":800,'
        '"strategy":"forecast_edge","take_profit_bps":0,"top_k":5},'
        '"stocks":{"band_low_x100":[10200],"close_x100":[10000],"etf":[0],"held_cost_twd":[0],"held_sessions":[0],"held_shares":[0],'
        '"p_up_bps":[7000],"reference_x100":[10000],"sentiment_bps":[-100000],'
        '"target_x100":[10400],"tax_e8":[300000],"tradable":[1]}},'
        '[["2025-01-02:1101:buy",1000,10000,"the lower end of the forecast pays after costs"]]]'
    )
    taken = decide(market, CASH, dataclasses.replace(RULES, edge_from_low=1), RATES)
    assert taken.sha256 == hashlib.sha256(text.encode()).hexdigest()
