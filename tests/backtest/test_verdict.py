"""What is said at each level, as a table; and that nothing is said that the figures don't carry."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.bootstrap import Band, Bands
from backtest.luck import Deflated, Overfitting
from backtest.random_entries import RandomEntries
from backtest.verdict import LANGUAGES, Figures, Level, level_of, verdict

RANDOM = RandomEntries(
    draws=1_000, seed=1, percentile=0.99, result=0.5, returns=Band(low=-0.2, middle=0.1, high=0.4), falls=Band(low=0.1, middle=0.2, high=0.4), calmer=0.3,
    entries=200, drawn_entries=201.0, turnover=40.0, drawn_turnover=40.4,
)  # fmt: skip
DEFLATED = Deflated(
    trials=500, sessions=1_219, sharpe=0.1, skewness=0.0, kurtosis=3.0, trials_variance=0.0004, measured_variance=True,
    by_luck=0.06, deflated=0.97, against_zero=0.999,
)  # fmt: skip
OVERFITTING = Overfitting(
    blocks=16, splits=12_870, columns=500, sessions=1_216, probability=0.1, median_rank=0.9, loses=0.05
)
BANDS = Bands(
    draws=10_000, block_sessions=5.0, annual_return=Band(low=0.05, middle=0.2, high=0.35),
    max_drawdown=Band(low=0.1, middle=0.2, high=0.3), loses=0.01, over_hold=Band(low=0.01, middle=0.1, high=0.2),
    below_hold=0.03,
)  # fmt: skip
GOOD = Figures(
    fill_rule="range", sessions=1_220, sessions_a_year=243.4, trades=200, total_return=0.5, hold_return=0.2,
    deflated=DEFLATED, overfitting=OVERFITTING, bands=BANDS, random=RANDOM,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "level", "zh", "en"),
    [
        ({}, Level.MORE_THAN_LUCK, "不是運氣可以解釋", "more than luck explains"),
        ({"overfitting": None}, Level.MORE_THAN_LUCK, "不是運氣可以解釋", "more than luck explains"),
        ({"bands": replace(BANDS, below_hold=0.051)}, Level.NOT_SURELY_HOLDING, "可能是巧合", "may be chance"),
        ({"bands": replace(BANDS, below_hold=None)}, Level.NOT_SURELY_HOLDING, "可能是巧合", "may be chance"),
        ({"deflated": replace(DEFLATED, deflated=0.949)}, Level.LUCK, "和運氣分不出來", "told apart from luck"),
        ({"random": replace(RANDOM, percentile=0.949)}, Level.LUCK, "和運氣分不出來", "told apart from luck"),
        ({"hold_return": 0.5}, Level.NOT_HOLDING, "不如單純買進持有", "but not simply holding"),
        # worse than random counts before worse than holding, and worse than holding before too many trials
        ({"hold_return": 0.5, "random": replace(RANDOM, percentile=0.5)}, Level.LUCK, "和運氣分不出來", "luck"),
        (
            {"hold_return": 0.5, "deflated": replace(DEFLATED, deflated=0.1)},
            Level.NOT_HOLDING,
            "不如單純買進持有",
            "but not simply holding",
        ),
        ({"overfitting": replace(OVERFITTING, probability=0.5)}, Level.OVERFITTED, "過度配適", "fitted to these"),
        ({"random": None}, Level.UNKNOWN, "還不能下結論", "no verdict"),
        ({"deflated": None}, Level.UNKNOWN, "還不能下結論", "no verdict"),
        ({"bands": None}, Level.UNKNOWN, "還不能下結論", "no verdict"),
        ({"total_return": -0.01}, Level.LOSS, "賠錢", "loses money"),
        ({"total_return": 0.0}, Level.LOSS, "賠錢", "loses money"),
        ({"trades": 29}, Level.TOO_FEW, "只完成 29 筆交易，樣本太少", "29 round trips in 1,220 sessions are too few"),
        ({"sessions": 119}, Level.TOO_FEW, "119 個交易日", "119 sessions are too few"),
        ({"trades": 0, "total_return": 0.0}, Level.NO_TRADE, "一筆都沒有成交", "never traded"),
        ({"trades": 0, "total_return": 0.1}, Level.TOO_FEW, "樣本太少", "too few"),  # bought and never sold
    ],
)
def test_each_level_and_what_is_said(changed: dict[str, object], level: Level, zh: str, en: str) -> None:
    told = replace(GOOD, **changed)  # type: ignore[arg-type]
    assert level_of(told) is level
    assert zh in verdict(told, "zh-TW")[0]
    assert en in verdict(told, "en")[0]


def test_the_sentences_carry_the_figures() -> None:
    chinese, english = " ".join(verdict(GOOD, "zh-TW")), " ".join(verdict(GOOD, "en"))
    for said in (chinese, english):
        for figure in ("+50.0%", "+20.0%", "99.0%", "1,000", "500", "97.0%", "12,870", "10.0%", "+5.0%", "+35.0%",
                       "30.0%", "3.0%", "range"):  # fmt: skip
            assert figure in said, figure
        assert "1.56" in said  # a Sharpe ratio of 0.1 a session is 0.1 * sqrt(243.4) a year
        assert "0.94" in said  # and luck's 0.06


def test_a_single_trial_says_that_no_sweep_was_made() -> None:
    told = replace(GOOD, deflated=replace(DEFLATED, trials=1, by_luck=0.0, deflated=0.999), overfitting=None)
    assert "沒有參數掃描紀錄，試驗次數以 1 計" in " ".join(verdict(told, "zh-TW"))
    assert "No sweep is in the database, so this counts as 1 trial" in " ".join(verdict(told, "en"))


def test_nothing_is_said_of_what_is_not_known() -> None:
    bare = replace(GOOD, deflated=None, overfitting=None, bands=None, random=None)
    assert [len(verdict(bare, language)) for language in LANGUAGES] == [2, 2]
    assert [len(verdict(replace(GOOD, trades=0, total_return=0.0), one)) for one in LANGUAGES] == [1, 1]


def test_no_share_is_rounded_to_certainty() -> None:
    told = replace(GOOD, random=replace(RANDOM, percentile=0.9996), bands=replace(BANDS, below_hold=0.0004))
    for language in LANGUAGES:
        assert ">99.9%" in " ".join(verdict(told, language))
        assert "<0.1%" in " ".join(verdict(told, language))


def test_chinese_is_written_with_chinese_punctuation_and_traditional_characters() -> None:
    for sentence in verdict(GOOD, "zh-TW"):
        assert sentence.endswith("。")
        assert not re.search(r"[一-鿿][,;]", sentence)
        assert not set(sentence) & set("这个运气过没绩实际参数买进胜随报")


@given(
    st.integers(0, 400), st.integers(2, 2_000), st.floats(-0.9, 3), st.floats(-0.9, 3), st.floats(0, 1),
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
def test_a_good_word_is_said_only_when_every_test_is_passed(
    trades: int, sessions: int, total: float, hold: float, random: float, deflated: float, overfit: float, below: float
) -> None:
    told = replace(
        GOOD, trades=trades, sessions=sessions, total_return=total, hold_return=hold,
        random=replace(RANDOM, percentile=random), deflated=replace(DEFLATED, deflated=deflated),
        overfitting=replace(OVERFITTING, probability=overfit), bands=replace(BANDS, below_hold=below),
    )  # fmt: skip
    passed = (
        trades >= 30 and sessions >= 120 and total > max(0, hold) and random >= 0.95 and deflated >= 0.95
        and overfit < 0.5 and below <= 0.05
    )  # fmt: skip
    assert (level_of(told) is Level.MORE_THAN_LUCK) == passed
