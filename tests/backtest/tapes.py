"""Tapes for tests of the kernel: random markets with everything that Taiwan has, and the real bars."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from builders import RATES, SHARED, days

from backtest.history import History
from backtest.tape import Tape, market_tape, untold
from bot.core.market import floor_to_tick_x100, limit_down_x100, limit_up_x100
from bot.core.rule import NO_P_UP, NO_SENTIMENT, Rules

KINDS = ["1101", "2330", "0050", "6669", "3008", "2884", "1216", "2412", "00878"]


def random_tape(seed: int, sessions: int = 60) -> Tape:
    """Nine stocks, two of them funds, from 3 to 3,000 TWD: they list late, stop, halt, lock at the limit, go ex."""
    chance = np.random.default_rng(seed)
    shape = sessions, len(KINDS)
    tables = {
        name: np.zeros(shape, dtype=np.int64)
        for name in ("open_x100", "high_x100", "low_x100", "close_x100", "reference_x100", "volume_shares", "traded")
    }
    dividend = np.zeros(shape, dtype=np.int64)
    ratio = np.full(shape, 10**8, dtype=np.int64)
    when = days(date(2015, 5, 18), sessions)  # the daily limit was 7 % for the first ten
    for i, symbol in enumerate(KINDS):
        fund = symbol.startswith("00")
        close = floor_to_tick_x100(int(10 ** chance.uniform(2.5, 5.5)), fund)
        listed = int(chance.integers(0, sessions // 3)) if chance.random() < 0.3 else 0
        gone = int(chance.integers(sessions // 2, sessions)) if chance.random() < 0.2 else sessions
        for now in range(sessions):
            if now < listed:
                continue
            reference = close
            if now > listed and chance.random() < 0.03:
                kind = chance.integers(0, 3)
                if kind == 0:  # cash, to eight decimals
                    dividend[now, i] = int(close * 10**6 * chance.uniform(0.005, 0.06))
                    reference = close - int(dividend[now, i]) // 10**6
                else:
                    ratio[now, i] = int(10**8 * (chance.uniform(0.4, 0.95) if kind == 1 else chance.uniform(1.01, 1.3)))
                    reference = close * 10**8 // int(ratio[now, i])
                reference = max(floor_to_tick_x100(max(reference, 1), fund), 1)
            tables["reference_x100"][now, i] = reference
            if now < gone and chance.random() > 0.03:
                pct = 10 if when[now] >= date(2015, 6, 1) else 7
                low, high = limit_down_x100(reference, fund, pct), limit_up_x100(reference, fund, pct)
                prices = [
                    min(
                        high, max(low, floor_to_tick_x100(max(1, int(reference * (1 + chance.normal(0, 0.025)))), fund))
                    )
                    for _ in range(4)
                ]
                if chance.random() < 0.05:
                    prices = [int(chance.choice([low, high]))] * 4
                close = prices[3]
                tables["open_x100"][now, i] = prices[0]
                tables["high_x100"][now, i], tables["low_x100"][now, i] = max(prices), min(prices)
                tables["volume_shares"][now, i] = chance.integers(0, 400) * 997
                tables["traded"][now, i] = 1
            tables["close_x100"][now, i] = close
    tape = Tape(
        sessions=tuple(when),
        symbols=tuple(KINDS),
        **tables,
        dividend_e8=dividend,
        share_ratio_e8=ratio,
        **untold(shape),
        etf=np.array([symbol.startswith("00") for symbol in KINDS], dtype=np.int64),
        tax_e8=np.array([RATES.tax_e8(symbol) for symbol in KINDS], dtype=np.int64),
    )
    return with_forecasts(tape, seed)


def with_forecasts(tape: Tape, seed: int, width: float = 0.03) -> Tape:
    """Forecasts of a model that knows nothing, with bands and probabilities for most; moods for a third of the days."""
    chance = np.random.default_rng([seed, 7])
    shape = tape.close_x100.shape
    targets = (tape.close_x100 * (1 + chance.normal(0, width, shape))).astype(np.int64)
    silent = (chance.random(shape) < 0.1) | (tape.close_x100 == 0)
    moods = np.where(chance.random(shape) < 0.3, chance.integers(-10_000, 10_001, shape), NO_SENTIMENT)
    chance = np.random.default_rng([seed, 13])  # bands for most, and a probability for as many
    lows = (targets * (1 - np.abs(chance.normal(0, width, shape)))).astype(np.int64)
    lows = np.where(silent | (chance.random(shape) < 0.2), 0, np.maximum(lows, 1))
    likely = np.where(silent | (chance.random(shape) < 0.2), NO_P_UP, chance.integers(0, 10_001, shape))
    targets = np.where(silent, 0, np.maximum(targets, 1))
    return replace(tape, target_x100=targets, sentiment_bps=moods, p_up_bps=likely, band_low_x100=lows)


def random_rules(seed: int) -> Rules:
    chance = np.random.default_rng([seed, 11])

    def between(low: int, high: int) -> int:
        return int(chance.integers(low, high + 1))

    return Rules(
        top_k=between(1, 8),
        entry_edge_bps=between(-50, 300),
        exit_return_bps=between(-300, 100),
        stop_bps=between(0, 1) * between(100, 1_500),
        min_sentiment_bps=between(-8_000, 2_000),
        exit_sentiment_bps=between(-10_000, -4_000),
        invest_bps=between(2_000, 10_000),
        max_order_twd=between(100_000, 30_000_000),
        buy_offset_bps=between(-300, 300),
        sell_offset_bps=between(-300, 300),
        lot_shares=1_000 if chance.random() < 0.6 else 1,
        take_profit_bps=between(0, 1) * between(200, 3_000),
        max_holding_sessions=between(0, 1) * between(1, 30),
        min_p_up_bps=between(0, 1) * between(0, 9_000),
        edge_from_low=between(0, 1),
    )


def real_tape(since: date, until: date) -> Tape:
    """The owner's 41 companies as they traded, with the reference prices of known ex-dates; falls count as cash."""
    folder = SHARED / "prices"
    if not folder.is_dir():
        pytest.skip("no real bars: ../shared/data is absent")
    history = History.from_csv(folder, since=since, until=until)
    tape = market_tape(history, history.sessions, RATES)
    reference, dividend = tape.reference_x100.copy(), tape.dividend_e8.copy()
    for code, ex_date, factor in _ex_dates():
        if code in tape.symbols and ex_date in tape.sessions[1:]:
            place = tape.sessions.index(ex_date), tape.symbols.index(code)
            before = int(tape.close_x100[place[0] - 1, place[1]])
            told = round(before * factor)
            if 0 < told < before:
                reference[place], dividend[place] = told, (before - told) * 10**6
    return with_forecasts(replace(tape, reference_x100=reference, dividend_e8=dividend), seed=41)


def _ex_dates() -> list[tuple[str, date, float]]:
    lines = (SHARED / "prices/ex_rights.csv").read_text(encoding="utf-8").splitlines()[1:]
    return [(code, date.fromisoformat(day), float(factor)) for code, day, factor, *_ in (x.split(",") for x in lines)]
