"""Stored forecasts with bands reach every way of playing them: replay, the plain and the compiled kernel, look-ahead."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from builders import RATES, days
from markets import RULES, random_market

from backtest.forecasters import Stored
from backtest.kernel import Options, play, play_many, rules_matrix
from backtest.replay import market_days, replay
from backtest.scrambled import Data, How, without_future
from backtest.sweep_job import tape_digest
from backtest.tape import market_tape, tape_of
from backtest.told import told_by
from backtest.trials import set_id
from bot.core.forecast import Band, Forecast, ForecastBar
from bot.core.market import from_x100
from bot.core.rule import KNOBS

SESSIONS = days(date(2025, 1, 2), 40)
MARKET = random_market(["1101", "2317", "2330", "2454", "6488"], SESSIONS)
OPTIONS = Options(fill_rule="open", start_cash_twd=20_000_000, costs=RATES)
KNOB_SETS = (
    {},
    {"min_p_up_bps": 5_500},
    {"edge_from_low": 1, "entry_edge_bps": 0},
    {"min_p_up_bps": 9_000, "edge_from_low": 1},
)


def stored(*, sure: bool = True) -> Stored:
    """A forecast a stock and session, most with a band and a P(up) if `sure`."""
    chance = random.Random(4)
    by_session: dict[date, dict[str, Forecast]] = {}
    for session in MARKET.sessions:
        for symbol, close in MARKET.closes_x100(session).items():
            target = from_x100(max(1, round(close * chance.uniform(0.95, 1.08))))
            low = (target * Decimal(chance.uniform(0.95, 1))).quantize(Decimal("0.01"))
            bands, p_up = (Band(low=low, high=target),), chance.random()
            keeps = sure and chance.random() < 0.8
            by_session.setdefault(session, {})[symbol] = Forecast(
                symbol=symbol, as_of=session, trained_until=date(2024, 1, 1), model="m", past_sessions=5,
                bars=(ForecastBar(open=target, high=target, low=target, close=target),),
                bands=bands if keeps else (), p_up=p_up if keeps else None,
            )  # fmt: skip
    return Stored(name="m", by_session=by_session)


def test_replay_and_both_kernels_agree_on_every_use_of_bands() -> None:
    said = market_days(MARKET, SESSIONS, stored())
    tape = tape_of(MARKET, said, RATES)
    finals = []
    for knobs in KNOB_SETS:
        rules = replace(RULES, **knobs)
        steps = list(replay(MARKET, said, rules, OPTIONS))
        plain = play(tape, rules, OPTIONS)
        many = play_many(tape, rules_matrix([rules]), OPTIONS)
        assert [step.equity_twd for step in steps] == list(plain.equity_twd[1:])
        assert many.final_equity_twd[0] == plain.final_equity_twd
        finals.append(plain.final_equity_twd)
    assert len(set(finals)) == len(KNOB_SETS)  # each of them trades otherwise


def test_a_tape_made_straight_from_the_store_is_the_one_made_from_days() -> None:
    straight = told_by(stored(), market_tape(MARKET, SESSIONS, RATES), MARKET)
    by_days = tape_of(MARKET, market_days(MARKET, SESSIONS, stored()), RATES)
    for name in ("target_x100", "sentiment_bps", "p_up_bps", "band_low_x100"):
        assert np.array_equal(getattr(straight, name), getattr(by_days, name)), name
    assert (straight.p_up_bps >= 0).any()


def test_what_was_never_told_leaves_names_as_they_were() -> None:
    bare = tape_of(MARKET, market_days(MARKET, SESSIONS, stored(sure=False)), RATES)
    assert tape_digest(bare) != tape_digest(tape_of(MARKET, market_days(MARKET, SESSIONS, stored()), RATES))
    assert (bare.p_up_bps == -1).all()
    assert stored(sure=False).digest() != stored().digest()
    knobs = {name: getattr(RULES, name) for name in KNOBS}
    before = {name: told for name, told in knobs.items() if name not in {"min_p_up_bps", "edge_from_low"}}
    assert set_id("s", knobs) == set_id("s", before)
    assert set_id("s", {**knobs, "min_p_up_bps": 1}) != set_id("s", before)


@pytest.mark.parametrize("how", [How.REPLACED, How.SCRAMBLED])
def test_another_future_has_other_bands_and_probabilities(how: How) -> None:
    data = Data(history=MARKET, forecasts=stored().by_session)
    symbol, after = MARKET.symbols[0], SESSIONS[20]
    other = without_future(data, symbol, after, SESSIONS[21], how, random.Random(1))
    pairs = [(data.forecasts[day][symbol], other.forecasts[day][symbol]) for day in SESSIONS[:21]]
    assert all(before == now for before, now in pairs)
    later = [(data.forecasts[day][symbol], other.forecasts[day][symbol]) for day in SESSIONS[21:]]
    assert all(before.p_up != now.p_up for before, now in later if before.p_up is not None)
    assert all(before.bands != now.bands for before, now in later if before.bands)


def test_a_tape_with_a_probability_that_can_t_be_is_refused() -> None:
    tape = market_tape(MARKET, SESSIONS, RATES)
    for wrong in (-2, 10_001):
        with pytest.raises(Exception, match=f"p_up_bps is {wrong}"):
            replace(tape, p_up_bps=np.full_like(tape.p_up_bps, wrong))
