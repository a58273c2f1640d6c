"""Bootstrap bands against theory, block lengths against the package `arch`, an independent implementation."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from backtest.bootstrap import Bands, bands, block_length, log_returns, politis_white

YEAR = 250.0


def walk(phi: float, count: int, seed: int) -> np.ndarray:
    """A line in which each value keeps `phi` of the one before."""
    shocks = np.random.default_rng(seed).standard_normal(count)
    values = np.empty(count)
    values[0] = shocks[0]
    for i in range(1, count):
        values[i] = phi * values[i - 1] + shocks[i]
    return values


def drawn(growth: np.ndarray, hold: np.ndarray | None = None, seed: int = 1, draws: int = 10_000) -> Bands:
    told = bands(growth, hold, YEAR, seed, draws)
    assert told is not None
    return told


@pytest.mark.parametrize(
    ("values", "length"),
    [  # arch 8.0.0, arch.bootstrap.optimal_block_length, column "stationary"
        (walk(0.0, 1_000, 1), 1.1141416677449838),
        (walk(0.5, 1_000, 2), 9.00659410316523),
        (walk(-0.3, 1_000, 3), 7.288704764570359),
        (walk(0.8, 500, 4), 26.174486265529485),
        (np.array([(i * i * 7 + i * 3) % 31 - 15 for i in range(200)], dtype=float), 6.9350501421040365),
    ],
)
def test_block_lengths_are_those_of_arch(values: np.ndarray, length: float) -> None:
    assert politis_white(values) == pytest.approx(length, rel=1e-9)


def test_wild_sessions_that_come_together_lengthen_the_blocks() -> None:
    chance = np.random.default_rng(3)
    calm_and_wild = np.repeat(np.tile([0.005, 0.03], 20), 30)
    growth = chance.normal(0, calm_and_wild)
    assert block_length(growth) > 3 * max(1, politis_white(growth))


def test_the_band_of_independent_returns_is_the_normal_one() -> None:
    """A year of independent returns: the yearly log return varies by s sqrt(T), and its middle is the sum."""
    growth = np.random.default_rng(2).normal(0.0005, 0.01, 1_000)
    told = drawn(growth)
    yearly, spread = growth.sum() / 4, growth.std() * math.sqrt(1_000) / 4
    assert math.log1p(told.annual_return.middle) == pytest.approx(yearly, abs=0.01)
    width = math.log1p(told.annual_return.high) - math.log1p(told.annual_return.low)
    assert width == pytest.approx(2 * 1.645 * spread, rel=0.12)


def test_a_line_that_only_rises_never_falls() -> None:
    told = drawn(np.full(100, 0.01))
    assert (told.max_drawdown.high, told.loses) == (0.0, 0.0)
    assert told.annual_return.low == pytest.approx(math.expm1(0.01 * YEAR))
    assert told.annual_return.high == pytest.approx(math.expm1(0.01 * YEAR))


def test_a_drawdown_by_hand() -> None:
    """Nothing but losses of a tenth: after 20 sessions 1 - 0.9^20 is gone, in whatever order."""
    told = drawn(np.full(20, math.log(0.9)))
    assert told.max_drawdown.middle == pytest.approx(1 - 0.9**20)
    assert told.loses == 1.0


def test_holding_is_drawn_over_the_same_sessions() -> None:
    growth = np.random.default_rng(4).normal(0, 0.02, 500)
    ahead = drawn(growth, growth - 0.0001)
    assert ahead.below_hold == 0.0  # a hundredth of a percent better in each and every session
    assert ahead.over_hold is not None
    assert ahead.over_hold.low > 0
    same = drawn(growth, growth)
    assert same.over_hold is not None
    assert (same.over_hold.low, same.over_hold.high, same.below_hold) == (0.0, 0.0, 0.0)
    alone = drawn(growth)
    assert (alone.over_hold, alone.below_hold) == (None, None)


def test_blocks_keep_a_crash_together() -> None:
    """Ten bad sessions in a row, drawn in long blocks, stay a deep fall; each by itself they would be spread."""
    growth = np.full(400, 0.001)
    growth[200:210] = -0.05
    assert drawn(growth).block_sessions > 5
    assert drawn(growth).max_drawdown.middle > 0.3


def test_a_seed_says_it_all() -> None:
    growth = np.random.default_rng(5).normal(0, 0.01, 300)
    assert drawn(growth, seed=7) == drawn(growth, seed=7)
    assert drawn(growth, seed=7) != drawn(growth, seed=8)


def test_few_sessions_have_no_band() -> None:
    assert bands(np.zeros(19), None, YEAR, 1) is None


def test_log_returns_by_hand() -> None:
    assert log_returns([100, 110, 99]) == pytest.approx([math.log(1.1), math.log(0.9)])
    with pytest.raises(ValueError, match="positive"):
        log_returns([100, 0, 50])


def test_ten_thousand_draws_of_five_years_take_less_than_two_seconds() -> None:
    growth = np.random.default_rng(6).normal(0, 0.01, 1_220)
    begun = time.process_time()
    drawn(growth, growth)
    assert time.process_time() - begun < 2  # 0.3 s here
