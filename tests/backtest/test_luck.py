"""Deflated Sharpe ratios and overfitting, against the papers' own figures and matrices whose answer is known."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.luck import (
    Moments,
    deflated_sharpe,
    expected_best_sharpe,
    moments_of,
    overfitting,
    probabilistic_sharpe,
)

# The numerical example of Bailey and Lopez de Prado (2014): five years of 250 sessions, a yearly Sharpe ratio of 2.5,
# skewness -3, kurtosis 10, 100 trials whose yearly Sharpe ratios vary by 1/2.
PAPER = Moments(sessions=1_250, sharpe=2.5 / math.sqrt(250), skewness=-3, kurtosis=10)
PAPER_VARIANCE = 0.5 / 250


def test_the_example_of_the_paper() -> None:
    by_luck = expected_best_sharpe(100, PAPER_VARIANCE)
    assert by_luck == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe(PAPER, by_luck) == pytest.approx(0.9004, abs=5e-5)


def test_the_paper_accepts_46_trials_and_88_had_the_returns_been_normal() -> None:
    assert probabilistic_sharpe(PAPER, expected_best_sharpe(46, PAPER_VARIANCE)) == pytest.approx(0.9505, abs=5e-5)
    normal = Moments(sessions=1_250, sharpe=PAPER.sharpe, skewness=0, kurtosis=3)
    assert probabilistic_sharpe(normal, expected_best_sharpe(88, PAPER_VARIANCE)) == pytest.approx(0.9505, abs=5e-5)


def test_the_moments_of_five_returns_by_hand() -> None:
    # 0, 0, 0, 0, 5 %: mean 1 %; squares 4 * 1 + 16 = 20, cubes -4 + 64 = 60, fourth powers 4 + 256 = 260 (in %).
    told = moments_of(np.array([0.0, 0.0, 0.0, 0.0, 0.05]))
    assert told is not None
    assert told.sharpe == pytest.approx(1 / math.sqrt(20 / 4))
    assert told.skewness == pytest.approx((60 / 5) / (20 / 5) ** 1.5)  # 1.5
    assert told.kurtosis == pytest.approx((260 / 5) / (20 / 5) ** 2)  # 3.25


def test_a_probability_by_hand() -> None:
    # sqrt(401 - 1) * 0.05 = 1 over sqrt(1 + 0.5 * 0.0025): Phi(0.99938) = 0.84119
    told = Moments(sessions=401, sharpe=0.05, skewness=0, kurtosis=3)
    assert probabilistic_sharpe(told) == pytest.approx(0.84119, abs=1e-4)
    assert probabilistic_sharpe(told, 0.05) == 0.5


def test_the_best_of_many_skill_less_trials_is_where_the_formula_says() -> None:
    chance = np.random.default_rng(5)
    for trials in (10, 100, 1_000):
        best = chance.normal(0, 0.03, (4_000, trials)).max(axis=1).mean()
        assert expected_best_sharpe(trials, 0.03**2) == pytest.approx(best, rel=0.03)


def test_one_trial_is_held_against_nothing() -> None:
    assert expected_best_sharpe(1, 0.01) == 0
    told = deflated_sharpe(np.random.default_rng(1).normal(0.001, 0.01, 500), trials=1)
    assert told is not None
    assert told.deflated == told.against_zero


def test_without_the_variance_of_the_trials_that_of_luck_is_taken_and_said() -> None:
    returns = np.random.default_rng(1).normal(0.001, 0.01, 501)
    told = deflated_sharpe(returns, trials=50)
    assert told is not None
    assert (told.trials_variance, told.measured_variance) == (1 / 500, False)
    measured = deflated_sharpe(returns, trials=50, variance=0.0001)
    assert measured is not None
    assert measured.measured_variance
    assert measured.by_luck < told.by_luck


def test_skill_less_trials_are_seen_through() -> None:
    """The best of 200 random lines looks certain by itself; deflated it is at most a coin's worth."""
    returns = np.random.default_rng(3).normal(0, 0.01, (200, 1_000))
    sharpes = returns.mean(axis=1) / returns.std(axis=1, ddof=1)
    told = deflated_sharpe(returns[sharpes.argmax()], 200, float(sharpes.var(ddof=1)))
    assert told is not None
    assert told.against_zero > 0.98
    assert told.deflated < 0.8


@given(st.integers(2, 10_000), st.integers(2, 10_000))
def test_more_trials_never_leave_more(one: int, other: int) -> None:
    fewer, more = sorted((one, other))
    assert expected_best_sharpe(fewer, PAPER_VARIANCE) <= expected_best_sharpe(more, PAPER_VARIANCE)


@pytest.mark.parametrize("returns", [[], [0.01, 0.02], [0.0] * 100, [0.01] * 100])
def test_what_never_moves_has_no_sharpe_ratio(returns: list[float]) -> None:
    assert moments_of(np.array(returns)) is None
    assert deflated_sharpe(np.array(returns), trials=3) is None


@pytest.mark.parametrize(("trials", "variance"), [(0, 0.1), (-1, 0.1), (5, -0.1)])
def test_impossible_trials_are_refused(trials: int, variance: float) -> None:
    with pytest.raises(ValueError, match="can't be"):
        expected_best_sharpe(trials, variance)


# --- overfitting ----------------------------------------------------------------------------------------------


def slow_probability(returns: np.ndarray, blocks: int) -> tuple[float, float]:
    """The recipe of the paper's section 2 step by step: the probability, and how often the chosen one loses."""
    cut = np.split(returns, blocks)
    logits, lost = [], []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([cut[i] for i in chosen])
        outside = np.concatenate([cut[i] for i in range(blocks) if i not in chosen])
        best = int(np.argmax(inside.mean(axis=0) / inside.std(axis=0)))
        ratios = outside.mean(axis=0) / outside.std(axis=0)
        rank = 1 + sum(ratio < ratios[best] for ratio in ratios)
        relative = rank / (len(ratios) + 1)
        logits.append(math.log(relative / (1 - relative)))
        lost.append(ratios[best] < 0)
    return float(np.mean([logit <= 0 for logit in logits])), float(np.mean(lost))


@pytest.mark.parametrize("seed", range(4))
def test_it_follows_the_recipe(seed: int) -> None:
    returns = np.random.default_rng(seed).normal(0.0005 * seed, 0.01, (80, 7))
    told = overfitting(returns, blocks=8)
    assert (told.splits, told.columns, told.sessions) == (70, 7, 80)  # 8 over 4
    assert (told.probability, told.loses) == pytest.approx(slow_probability(returns, 8))


def test_two_blocks_by_hand() -> None:
    # Column 0 is the better one in the first half, column 1 in the second: each choice is the worse one elsewhere.
    returns = np.array([[0.02, 0.0], [0.01, 0.001], [0.0, 0.02], [0.001, 0.01]])
    told = overfitting(returns, blocks=2)
    assert (told.splits, told.probability, told.median_rank) == (2, 1.0, 1 / 3)


def test_noise_is_a_coin() -> None:
    drawn = [overfitting(np.random.default_rng(s).normal(0, 0.01, (640, 40)), 10).probability for s in range(60)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.05)


def test_one_truly_better_column_is_found_everywhere() -> None:
    returns = np.random.default_rng(1).normal(0, 0.01, (1_220, 50))
    returns[:, 17] += 0.003
    told = overfitting(returns)
    assert told.splits == 12_870  # 16 over 8
    assert told.probability < 0.01
    assert told.median_rank > 0.97
    assert told.loses < 0.01


def test_what_gains_in_one_half_and_gives_it_back_in_the_other_is_overfitted() -> None:
    """Every column ends where it began, so the best of one half is the worst of the other."""
    returns = np.random.default_rng(2).normal(0, 0.01, (640, 50))
    told = overfitting(returns - returns.mean(axis=0), 16)
    assert told.probability > 0.99
    assert told.loses == 1.0


def test_equal_columns_share_their_rank() -> None:
    one = np.random.default_rng(4).normal(0, 0.01, (160, 1))
    told = overfitting(np.repeat(one, 5, axis=1), 4)
    assert told.median_rank == 0.5  # all five stand third of five


def test_a_column_that_never_trades_is_neither_chosen_over_a_gain_nor_an_error() -> None:
    returns = np.zeros((160, 3))
    returns[:, 1] = np.random.default_rng(5).normal(0.01, 0.01, 160)
    assert overfitting(returns, 4).probability == 0


def test_the_oldest_sessions_that_fill_no_block_are_left_out() -> None:
    returns = np.random.default_rng(6).normal(0, 0.01, (83, 5))
    assert overfitting(returns, 8) == overfitting(returns[3:], 8)


@pytest.mark.parametrize(
    ("shape", "blocks", "said"),
    [((100, 5), 7, "halved"), ((100, 5), 0, "halved"), ((100, 1), 4, "at least two"), ((15, 5), 8, "too few")],
)
def test_what_can_not_be_split_is_refused(shape: tuple[int, int], blocks: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        overfitting(np.zeros(shape), blocks)


def test_a_thousand_sets_of_five_years_take_seconds() -> None:
    returns = np.random.default_rng(7).normal(0, 0.01, (1_220, 1_000))
    begun = time.process_time()
    overfitting(returns)
    assert time.process_time() - begun < 10  # 0.8 s of two cores here
