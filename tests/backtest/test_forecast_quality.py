"""The quality table against hand-computed figures, and the interval of a share against what it must hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest
from builders import at, bar, days

from backtest.day_bootstrap import share_of
from backtest.forecast_cases import Market, cases_of, naive_views
from backtest.forecast_quality import (
    DRIFT,
    FOUR_POINT,
    LAST_CLOSE,
    Case,
    View,
    compare,
    quality,
    split_seen,
    verdict,
)
from bot.core.exrights import ExRight
from bot.core.forecast import Band, Forecast, ForecastBar
from bot.core.market import Bar

MODEL = "model"
FIRST = date(2025, 1, 1)


def case(number: int, came: float, told: float, *, symbol: str = "2330", **more: float) -> Case:
    """Asked after a close of 100; the last close's band is 90..110."""
    views = {MODEL: View(told=told, **more), LAST_CLOSE: View(told=100, low=90, high=110)}
    day = FIRST + timedelta(number)
    return Case(symbol=symbol, as_of=day, number=number, horizon=1, last=100, came=came, views=views)


def test_the_figures_of_three_cases_by_hand() -> None:
    cases = [
        case(0, came=110, told=105, low=95, high=115, p_up=0.8),
        case(0, came=80, told=100, low=90, high=105, p_up=0.5, symbol="2317"),
        case(1, came=100, told=104, low=98, high=112, p_up=0.6),
    ]
    [part] = quality(cases, [MODEL, LAST_CLOSE]).horizons
    ours, plain = part.rows
    assert (part.cases, part.days) == (3, 2)
    assert ours.mape == pytest.approx((5 / 110 + 20 / 80 + 4 / 100) / 3)
    assert plain.mape == pytest.approx((10 / 110 + 20 / 80 + 0) / 3)
    # The second says no way and in the third the close did not move: one case is left, and it is right.
    assert ours.direction is not None
    assert (ours.direction.value, ours.direction.count) == (1.0, 1)
    assert plain.direction is None
    # 10 %: above the low by 15, below it by 10, above it by 2; 90 %: below the high by 5, by 25, by 12; over 100.
    assert ours.pinball[0] == pytest.approx((0.1 * 15 + 0.9 * 10 + 0.1 * 2) / 3 / 100)
    assert ours.pinball[1] == pytest.approx((0.5 * 5 + 0.5 * 20 + 0.5 * 4) / 3 / 100)
    assert ours.pinball[2] == pytest.approx((0.1 * 5 + 0.1 * 25 + 0.1 * 12) / 3 / 100)
    assert ours.pinball_mean == pytest.approx(sum(ours.pinball) / 3)
    assert ours.coverage is not None
    assert ours.coverage.value == pytest.approx(2 / 3)
    assert ours.coverage.low is None  # two days are too few for an interval
    assert ours.width == pytest.approx((20 + 15 + 14) / 3 / 100)
    assert ours.brier == pytest.approx((0.2**2 + 0.5**2 + 0.6**2) / 3)
    assert plain.brier is None


def test_every_row_is_over_the_same_cases() -> None:
    whole = case(0, came=101, told=102)
    alone = replace(case(1, came=150, told=90), views={LAST_CLOSE: View(told=100)})
    told = quality([whole, alone], [MODEL, LAST_CLOSE])
    assert told.left_out == 1
    assert told.horizons[0].of(LAST_CLOSE).mape == pytest.approx(1 / 101)


def test_the_comparison_weighs_days_not_stocks() -> None:
    """Day 0 has one stock (difference 0.1), day 1 two (0 and -0.2): the mean of 0.1 and -0.1 is 0."""
    cases = [
        case(0, came=100, told=110),
        case(1, came=100, told=100),
        case(1, came=125, told=125, symbol="2317"),
    ]
    told = compare(cases, MODEL, LAST_CLOSE, 1)
    assert told is not None
    assert told.difference == pytest.approx(0.0)
    assert told.days == 2
    assert compare(cases, MODEL, LAST_CLOSE, 5) is None


def test_many_stocks_on_one_day_are_one_look() -> None:
    """400 days of 40 stocks that move as one: the interval is that of 400 coins, not of 16,000."""
    chance = np.random.default_rng(5)
    coins = chance.integers(2, size=400).astype(float)
    share = share_of(np.repeat(coins, 40), np.repeat(np.arange(400), 40), 1, seed=1)
    assert share is not None
    assert share.low is not None
    assert share.high is not None
    half = 1.96 * 0.5 / 400**0.5
    assert share.count == 16_000
    assert (share.high - share.low) / 2 == pytest.approx(half, rel=0.2)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(6)
    held = 0
    for seed in range(200):
        values = (chance.random(120) < 0.55).astype(float)
        share = share_of(values, np.arange(120), 1, seed=seed, draws=400)
        assert share is not None
        assert share.low is not None
        assert share.high is not None
        held += share.low <= 0.55 <= share.high
    assert held / 200 == pytest.approx(0.95, abs=0.05)


def test_overlapping_windows_widen_the_interval() -> None:
    chance = np.random.default_rng(7)
    steps = chance.normal(size=604)
    right = (np.convolve(steps, np.ones(5), "valid") > 0).astype(float)
    one, five = (share_of(right, np.arange(600), horizon, seed=1) for horizon in (1, 5))
    apart = share_of(chance.permutation(right), np.arange(600), 1, seed=1)
    assert one is not None
    assert five is not None
    assert apart is not None
    assert five.high - five.low > 1.4 * (apart.high - apart.low)  # type: ignore[operator]


def coin_cases(edge: float, horizon: int = 1, count: int = 300) -> list[Case]:
    """A model that knows a share `edge` of what comes."""
    chance = np.random.default_rng(8)
    moves = chance.normal(0, 2, count)
    guesses = edge * moves + (1 - abs(edge)) * chance.normal(0, 0.5, count)
    cases = [case(at, 100 + move, 100 + guess) for at, (move, guess) in enumerate(zip(moves, guesses, strict=True))]
    return [replace(one, horizon=horizon) for one in cases]


def test_no_claim_without_significance() -> None:
    """As often nearer by one as farther by one: nothing can be said, and nothing is."""
    even = [case(at, came=110, told=101 if at % 2 else 99) for at in range(60)]
    assert "no claim" in verdict(quality(even, [MODEL, LAST_CLOSE]), MODEL)
    assert "unknown" in verdict(quality(even[:10], [MODEL, LAST_CLOSE]), MODEL)


def test_a_better_and_a_worse_model_are_told_apart() -> None:
    better = verdict(quality(coin_cases(0.8), [MODEL, LAST_CLOSE]), MODEL)
    worse = verdict(quality(coin_cases(-0.8), [MODEL, LAST_CLOSE]), MODEL)
    assert "smaller" in better
    assert "< 0.001" in better
    assert "LARGER" in worse


def test_several_horizons_cost_significance() -> None:
    cases = coin_cases(0.0) + coin_cases(0.0, horizon=2)
    for part in quality(cases, [MODEL, LAST_CLOSE]).horizons:
        row = part.of(MODEL)
        assert row.against is not None
        assert row.against.p is not None
        assert row.p_holm is not None
        assert row.p_holm >= row.against.p
    plain = [part.of(MODEL).against.p for part in quality(cases, [MODEL, LAST_CLOSE]).horizons]  # type: ignore[union-attr]
    raised = [part.of(MODEL).p_holm for part in quality(cases, [MODEL, LAST_CLOSE]).horizons]
    assert min(raised) == pytest.approx(min(1.0, 2 * min(plain)))  # type: ignore[type-var, operator]


# --- from forecasts and bars -------------------------------------------------------------------------------------

LINE = [bar(str(100 + at % 3), session=day) for at, day in enumerate(days(date(2024, 10, 1), 40))]
AS_OF = LINE[29].session


def told_of(target: str, *, until: date = FIRST, sessions: int = 2) -> Forecast:
    one = ForecastBar(open=Decimal(target), high=Decimal(target), low=Decimal(target), close=Decimal(target))
    band = Band(low=Decimal(target) - 5, high=Decimal(target) + 5)
    return Forecast(
        symbol="2330",
        as_of=AS_OF,
        trained_until=until,
        model="m",
        past_sessions=5,
        bars=(one,) * sessions,
        bands=(band,) * sessions,
        p_up=0.7,
    )


def market_of(bars: list[Bar], *events: ExRight) -> Market:
    return Market.of({"2330": bars}, {"2330": events})


def test_a_case_for_each_horizon_that_was_told_and_came() -> None:
    cases = cases_of({MODEL: [told_of("103", until=date(2024, 6, 30))]}, market_of(LINE), [1, 2, 5], lambda _: "buy")
    assert [one.horizon for one in cases] == [1, 2]
    first, second = cases
    assert (first.number, first.last, first.came) == (29, 102.0, 100.0)  # 100 + 29 % 3, 100 + 30 % 3
    assert first.views[MODEL] == View(told=103.0, low=98.0, high=108.0)  # P(up) is of the window's end alone
    assert second.views[MODEL].p_up == 0.7
    assert set(first.views) == {MODEL, LAST_CLOSE, DRIFT, FOUR_POINT}
    assert not first.seen
    assert cases_of({MODEL: [replace(told_of("103"), as_of=date(2024, 10, 5))]}, market_of(LINE), [1]) == []


def test_what_came_after_an_ex_date_is_told_in_the_prices_before_it() -> None:
    """Close 102, then an ex-date with reference 51: a close of 50 is 100 of the old prices."""
    later = [bar("50", session=one.session) for one in LINE[30:]]
    event = ExRight(
        symbol="2330", ex_date=LINE[30].session, kind="dividend", previous_x100=102_00, reference_x100=51_00,
        source="", known_at=at(AS_OF),
    )  # fmt: skip
    [one] = cases_of({MODEL: [told_of("103")]}, market_of([*LINE[:30], *later], event), [1])
    assert (one.last, one.came) == (102.0, 100.0)


def test_a_past_ex_date_is_no_volatility() -> None:
    """A flat stock that went ex from 200 to 100 has not moved: no drift, no width."""
    flat = [bar("200" if at < 20 else "100", session=one.session) for at, one in enumerate(LINE)]
    event = ExRight(
        symbol="2330", ex_date=LINE[20].session, kind="dividend", previous_x100=200_00, reference_x100=100_00,
        source="", known_at=at(AS_OF),
    )  # fmt: skip
    [one] = cases_of({MODEL: [told_of("103")]}, market_of(flat, event), [1])
    assert one.views[DRIFT] == View(told=100.0, low=100.0, high=100.0)


def test_what_came_after_a_long_halt_did_not_come_in_time() -> None:
    halted = LINE[:30] + LINE[37:]
    other = [bar("10", symbol="2317", session=one.session) for one in LINE]
    market = Market.of({"2330": halted, "2317": other}, {})
    assert cases_of({MODEL: [told_of("103")]}, market, [1]) == []


def test_the_baselines_by_hand() -> None:
    """Twenty returns of +-ln 1.1 in turn: mean 0, standard deviation ln 1.1 * sqrt(20/19)."""
    closes = [100.0 if at % 2 == 0 else 110.0 for at in range(21)]
    views = naive_views(closes, 4, "sell")
    wide = 1.2815515655 * np.log(1.1) * (20 / 19) ** 0.5 * 2
    assert views[LAST_CLOSE].told == 100
    assert views[LAST_CLOSE].high == pytest.approx(100 * np.exp(wide))
    assert views[DRIFT].told == pytest.approx(100.0)
    assert views[FOUR_POINT].told == pytest.approx(100.0)  # after four sessions it always was where it began
    assert naive_views(closes, 1, "sell")[FOUR_POINT].told == pytest.approx(100 / 1.1)
    assert naive_views(closes, 1, "none")[FOUR_POINT].told == 100
    assert naive_views(closes[:20], 1) == {}
    rising = [100 * 1.01**step for step in range(30)]
    assert naive_views(rising, 5)[DRIFT].told == pytest.approx(rising[-1] * 1.01**5)


def test_what_a_model_may_have_been_trained_on_is_split_off() -> None:
    known, unseen = told_of("103", until=LINE[30].session), told_of("103", until=AS_OF)
    [seen] = cases_of({MODEL: [known]}, market_of(LINE), [1])
    [clean] = cases_of({MODEL: [unseen]}, market_of(LINE), [1])
    assert split_seen([seen, clean]) == ([clean], [seen])
