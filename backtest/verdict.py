"""What the figures come to, in plain words: a pure function to a few sentences in zh-TW and in English."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from backtest.bootstrap import Band, Bands
from backtest.luck import Deflated, Overfitting
from backtest.random_entries import RandomEntries

Language = Literal["zh-TW", "en"]
LANGUAGES: Final[tuple[Language, ...]] = ("zh-TW", "en")

# Below 30 round trips a win rate of one half has a standard error of 9 points, and a mean hardly any meaning.
LEAST_TRADES: Final = 30
LEAST_SESSIONS: Final = 120  # about half a year: less is one mood of the market
SURE: Final = 0.95  # the usual bar: at most once in twenty by luck
COIN: Final = 0.5  # a probability of overfitting from here on: choosing by the past is no better than a coin


class Level(StrEnum):
    """What can be said, the first that applies; see docs/luck.md."""

    NO_TRADE = "no trade"
    TOO_FEW = "too few trades to say"
    LOSS = "loses money"
    UNKNOWN = "unknown"
    LUCK = "can't be told apart from luck"
    OVERFITTED = "probably overfitted"
    NOT_HOLDING = "beats random entries but not holding"
    NOT_SURELY_HOLDING = "more than luck, but not surely more than holding"
    MORE_THAN_LUCK = "more than luck explains"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is known of one rule under one fill rule; None where it is not. Returns are fractions.

    `trades` are positions bought and sold. `hold_return` is that of the equal-weight hold over the same sessions.
    """

    fill_rule: str
    sessions: int
    sessions_a_year: float
    trades: int
    total_return: float
    hold_return: float
    deflated: Deflated | None
    overfitting: Overfitting | None
    bands: Bands | None
    random: RandomEntries | None


def level_of(told: Figures) -> Level:  # noqa: PLR0911  (a table in code: the first that applies)
    """What can be said, worst first."""
    if told.trades == 0 and told.total_return == 0:
        return Level.NO_TRADE
    if told.trades < LEAST_TRADES or told.sessions < LEAST_SESSIONS:
        return Level.TOO_FEW
    if told.total_return <= 0:
        return Level.LOSS
    if told.random is None or told.deflated is None or told.bands is None:
        return Level.UNKNOWN
    if told.random.percentile < SURE:
        return Level.LUCK
    if told.overfitting is not None and told.overfitting.probability >= COIN:
        return Level.OVERFITTED
    if told.total_return <= told.hold_return:
        return Level.NOT_HOLDING
    if told.deflated.deflated < SURE:
        return Level.LUCK
    if told.bands.below_hold is None or told.bands.below_hold > 1 - SURE:
        return Level.NOT_SURELY_HOLDING
    return Level.MORE_THAN_LUCK


def verdict(told: Figures, language: Language) -> list[str]:
    """The verdict and the sentences that it rests on, most important first."""
    if language == "zh-TW":
        return [_headline_zh(told), *_reasons_zh(told)]
    return [_headline_en(told), *_reasons_en(told)]


# --- 繁體中文 ---------------------------------------------------------------------------------------------------


def _headline_zh(told: Figures) -> str:
    return {
        Level.NO_TRADE: "這套規則一筆都沒有成交，無從評斷。",
        Level.TOO_FEW: f"{told.sessions:,} 個交易日只完成 {told.trades:,} 筆交易，樣本太少，還看不出好壞。",
        Level.LOSS: "扣掉手續費與證交稅之後，這套規則是賠錢的。",
        Level.UNKNOWN: "資料不足以和運氣比較，還不能下結論。",
        Level.LUCK: "這個績效和運氣分不出來，不要憑它投入真錢。",
        Level.OVERFITTED: "參數很可能是湊出來的（過度配適），換一段期間多半就失效。",
        Level.NOT_HOLDING: "進出場勝過隨機，但不如單純買進持有。",
        Level.NOT_SURELY_HOLDING: "績效不只是運氣，也領先買進持有，但領先的幅度還可能是巧合。",
        Level.MORE_THAN_LUCK: "就這段資料來看，績效不是運氣可以解釋的，也明顯優於買進持有。過去績效不代表未來。",
    }[level_of(told)]


def _reasons_zh(told: Figures) -> list[str]:
    if told.trades == 0 and told.total_return == 0:
        return []
    outcome = (
        f"以「{told.fill_rule}」規則成交，{told.sessions:,} 個交易日的總報酬率為 {_signed(told.total_return)}，"
        f"同期買進持有為 {_signed(told.hold_return)}。"
    )
    said = [outcome]
    if told.random is not None:
        said.append(
            f"和 {told.random.draws:,} 次進場次數、持有天數都相同的隨機進場相比，"
            f"贏過其中 {_share(told.random.percentile)}（隨機進場的中位數為 {_signed(told.random.returns.middle)}）。"
        )
    if told.deflated is not None:
        said.append(_trials_zh(told.deflated, told.sessions_a_year))
    if told.overfitting is not None:
        said.append(
            f"用一半期間挑出最好的參數，到了另一半期間有 {_share(told.overfitting.probability)} 的機會排在後半段"
            f"（{told.overfitting.columns:,} 組參數、{told.overfitting.splits:,} 種切法）。"
        )
    if told.bands is not None:
        said.append(
            f"把這些交易日重新抽樣 {told.bands.draws:,} 次，"
            f"九成的年化報酬率落在 {_span(told.bands.annual_return, '到')}，"
            f"最大回撤落在 {_span(told.bands.max_drawdown, '到', sign='')}{_below_zh(told.bands)}。"
        )
    return said


def _trials_zh(told: Deflated, sessions_a_year: float) -> str:
    year = math.sqrt(sessions_a_year)
    if told.trials == 1:
        return (
            f"年化夏普比率 {told.sharpe * year:.2f}，真正大於零的機率為 {_share(told.against_zero)}。"
            "資料庫裡沒有參數掃描紀錄，試驗次數以 1 計；若曾手動試過其他設定，實際機率會更低。"
        )
    return (
        f"一共試過 {told.trials:,} 組設定，毫無本事時其中最好的一組，年化夏普比率也會有 {told.by_luck * year:.2f}；"
        f"這套規則是 {told.sharpe * year:.2f}，真正高於那條線的機率為 {_share(told.deflated)}。"
    )


def _below_zh(told: Bands) -> str:
    return "" if told.below_hold is None else f"；輸給買進持有的機率為 {_share(told.below_hold)}"


# --- English ----------------------------------------------------------------------------------------------------


def _headline_en(told: Figures) -> str:
    return {
        Level.NO_TRADE: "The rule never traded: there is nothing to judge.",
        Level.TOO_FEW: f"{told.trades:,} round trips in {told.sessions:,} sessions are too few to say.",
        Level.LOSS: "After commission and tax the rule loses money.",
        Level.UNKNOWN: "Too little is known to compare it with luck: no verdict.",
        Level.LUCK: "The result can't be told apart from luck: don't put money on it.",
        Level.OVERFITTED: "The parameters are probably fitted to these very days: expect them to fail on others.",
        Level.NOT_HOLDING: "It beats random entries, but not simply holding.",
        Level.NOT_SURELY_HOLDING: "It is more than luck and ahead of holding, but the lead may be chance.",
        Level.MORE_THAN_LUCK: "On these data it is more than luck explains, and clearly ahead of holding. "
        "The past promises nothing.",
    }[level_of(told)]


def _reasons_en(told: Figures) -> list[str]:
    if told.trades == 0 and told.total_return == 0:
        return []
    outcome = (
        f"Filled under `{told.fill_rule}` it returned {_signed(told.total_return)} in {told.sessions:,} sessions; "
        f"holding returned {_signed(told.hold_return)}."
    )
    said = [outcome]
    if told.random is not None:
        said.append(
            f"It beats {_share(told.random.percentile)} of {told.random.draws:,} random runs with as many entries held "
            f"for as long (their median: {_signed(told.random.returns.middle)})."
        )
    if told.deflated is not None:
        said.append(_trials_en(told.deflated, told.sessions_a_year))
    if told.overfitting is not None:
        said.append(
            f"The best parameters of one half of the days are in the worse half of all on the other "
            f"{_share(told.overfitting.probability)} of the time ({told.overfitting.columns:,} sets, "
            f"{told.overfitting.splits:,} ways to split)."
        )
    if told.bands is not None:
        said.append(
            f"With the same sessions drawn again {told.bands.draws:,} times, nine in ten yearly returns lie from "
            f"{_span(told.bands.annual_return, 'to')} and largest falls from "
            f"{_span(told.bands.max_drawdown, 'to', sign='')}{_below_en(told.bands)}."
        )
    return said


def _trials_en(told: Deflated, sessions_a_year: float) -> str:
    year = math.sqrt(sessions_a_year)
    if told.trials == 1:
        return (
            f"Its yearly Sharpe ratio is {told.sharpe * year:.2f}, truly above zero with a probability of "
            f"{_share(told.against_zero)}. No sweep is in the database, so this counts as 1 trial; settings tried by "
            "hand make it less."
        )
    return (
        f"{told.trials:,} settings were tried: the best of so many without any skill has a yearly Sharpe ratio of "
        f"{told.by_luck * year:.2f}. This one has {told.sharpe * year:.2f}, truly above that with a probability of "
        f"{_share(told.deflated)}."
    )


def _below_en(told: Bands) -> str:
    return "" if told.below_hold is None else f"; it ends below holding in {_share(told.below_hold)} of them"


# --- numbers ----------------------------------------------------------------------------------------------------


def _signed(fraction: float) -> str:
    return f"{fraction:+.1%}"


def _share(fraction: float) -> str:
    """A probability that never claims certainty."""
    if 0 < fraction < 0.001:  # noqa: PLR2004
        return "<0.1%"
    if 0.999 < fraction < 1:  # noqa: PLR2004
        return ">99.9%"
    return f"{fraction:.1%}"


def _span(band: Band, to: str, sign: str = "+") -> str:
    return f"{band.low:{sign}.1%} {to} {band.high:{sign}.1%}"
