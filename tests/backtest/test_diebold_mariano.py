"""The comparison of two forecasters' losses, against hand-computed numbers, scipy's t-test and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from backtest.diebold_mariano import diebold_mariano, holm


def numbered(values: object, step: int = 1) -> dict[int, float]:
    return {at * step: float(value) for at, value in enumerate(values)}  # type: ignore[arg-type, var-annotated]


def test_at_one_session_it_is_the_t_test_of_the_mean() -> None:
    values = np.random.default_rng(3).normal(0.1, 1, 60)
    told = diebold_mariano(numbered(values), 1)
    theirs = stats.ttest_1samp(values, 0)
    assert told.statistic == pytest.approx(theirs.statistic)
    assert told.p == pytest.approx(theirs.pvalue)


def test_two_sessions_by_hand() -> None:
    """1 1 0 0 five times: mean 1/2, squares 20/4 = 5, neighbours 10/4 - 9/4 = 1/4.

    In full that counts twice, so the variance of the mean is (5 + 1/2) / 400; Harvey's factor is
    sqrt((20 + 1 - 4 + 2/20) / 20) = sqrt(0.855).
    """
    told = diebold_mariano(numbered([1, 1, 0, 0] * 5), 2)
    by_hand = 0.5 / math.sqrt(5.5 / 400) * math.sqrt(0.855)
    assert told.difference == 0.5
    assert told.statistic == pytest.approx(by_hand) == pytest.approx(3.9428, abs=1e-4)
    assert told.p == pytest.approx(2 * stats.t.sf(by_hand, 19))


def test_the_larger_variance_counts_where_neighbours_disagree() -> None:
    """1 0 ten times: squares 5, neighbours -19/4; in full 5 - 9.5 < 0 is no variance, weighted by half 5 - 4.75."""
    told = diebold_mariano(numbered([1, 0] * 10), 2)
    assert told.statistic == pytest.approx(0.5 / math.sqrt(0.25 / 400) * math.sqrt(0.855))


def test_days_that_share_no_session_are_not_taken_for_neighbours() -> None:
    values = [1, 1, 0, 0] * 5
    apart = diebold_mariano(numbered(values, step=2), 2)
    assert apart.statistic == pytest.approx(0.5 / math.sqrt(5 / 400) * math.sqrt(0.855))


@pytest.mark.parametrize(
    ("values", "horizon"),
    [([1.0] * 19, 1), ([0.0] * 40, 1), ([0.5, -0.5] * 10, 20)],
    ids=["too few days", "no difference at all", "no more days than the horizon"],
)
def test_unknown_is_no_number(values: list[float], horizon: int) -> None:
    told = diebold_mariano(numbered(values), horizon)
    assert told.p is None
    assert told.statistic is None


def test_a_constant_difference_has_no_variance_to_judge_it_by() -> None:
    assert diebold_mariano(numbered([0.25] * 40), 1).p is None


def test_overlapping_answers_are_not_called_significant_too_often() -> None:
    """No difference in truth, answers of five sessions asked daily: a plain t-test cries wolf, this hardly more than 5 %."""
    chance = np.random.default_rng(11)
    noise = chance.normal(size=(400, 254))
    overlapping = np.stack([noise[:, at : at + 250] for at in range(5)]).sum(axis=0)
    ours = [diebold_mariano(numbered(row), 5).p for row in overlapping]
    plain = stats.ttest_1samp(overlapping, 0, axis=1).pvalue
    assert np.mean(plain < 0.05) > 0.25
    assert np.mean([p < 0.05 for p in ours if p is not None]) < 0.09


def test_holm_by_hand() -> None:
    """The smallest of three times 3, the next times 2, never below the one before; None is no look."""
    assert holm([0.04, None, 0.01, 0.03]) == pytest.approx([0.06, None, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([None]) == [None]
