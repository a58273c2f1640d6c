"""vectorbt's figures against our own books, and the figures a hand can check."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from builders import RATES, SHARED, days, forecast
from markets import RULES, SESSIONS, flat, market, random_market

from backtest.forecasters import BestFourPoint, Forecaster, Naive, Stored
from backtest.history import History
from backtest.kernel import Options
from backtest.replay import Run, hold, market_days, replay
from backtest.score import Score, figures, score, sessions_a_year, worst
from backtest.trades import trades_of
from bot.adapters.twstock_signals import best_four_point
from bot.config_file import load_config
from bot.core.decide import Rules

START_TWD = 100_000_000
FILL_RULES = ("open", "range", "touch")


def runs_of(
    history: History, sessions: Sequence[date], forecaster: Forecaster, rules: Rules, costs_of: object = RATES
) -> list[Run]:
    """A run under each fill rule, and buy-and-hold."""
    told = market_days(history, sessions, forecaster)
    runs = [
        Run(
            forecaster=forecaster.name,
            fill_rule=rule,
            first=sessions[0],
            start_cash_twd=START_TWD,
            steps=tuple(
                replay(history, told, rules, Options(fill_rule=rule, start_cash_twd=START_TWD, costs=costs_of))
            ),
        )
        for rule in FILL_RULES
    ]
    held = hold(history, sessions, START_TWD, costs_of, rules.lot_shares)
    hold_run = Run(forecaster="hold", fill_rule="open", first=sessions[0], start_cash_twd=START_TWD, steps=tuple(held))
    return [*runs, hold_run]


def assert_figures_agree(ours: Score, theirs: Score) -> None:
    """What we count from our own books is what vectorbt counts."""
    for name in (field.name for field in dataclasses.fields(Score) if field.name != "vectorbt_final_twd"):
        told, wanted = getattr(ours, name), getattr(theirs, name)
        assert told == (wanted if isinstance(wanted, str) or wanted is None else pytest.approx(wanted, rel=1e-6)), name


def assert_books_agree(runs: Sequence[Run], scores: Sequence[Score], year_sessions: float = 245.0) -> None:
    """vectorbt's final value is ours to NT$1, and so are its counts of trades won and lost."""
    for run, one in zip(runs, scores, strict=True):
        assert one.vectorbt_final_twd == pytest.approx(run.equity_twd[-1], abs=1.0)
        assert one.final_twd == run.equity_twd[-1]
        assert_figures_agree(figures(run, year_sessions), one)
        closed = [trade for trade in trades_of(run) if trade.closed]
        assert (one.trades, one.open_positions) == (len(closed), len(run.steps[-1].held.positions))
        if closed:
            assert one.win_rate == pytest.approx(sum(trade.profit_twd > 0 for trade in closed) / len(closed))


def test_a_round_trip_worked_out_by_hand() -> None:
    # 189 lots bought at 100 and sold at 102 (see test_replay): 18,900,000 + 26,932 out, 19,278,000 - 85,305 in.
    history = market(s2330=[flat(100), (99, 101, 98, 100.5), (100, 103, 100, 102), (102, 104, 101, 103)])
    targets = {0: "103", 1: "100.5", 2: "90"}
    by_session = {
        SESSIONS[index]: {"2330": forecast(target, as_of=SESSIONS[index])} for index, target in targets.items()
    }
    runs = runs_of(history, history.sessions, Stored(name="told", by_session=by_session), RULES)
    scores = score(history, runs, 245.0)
    assert_books_agree(runs, scores)
    one = scores[1]
    assert (one.fill_rule, one.final_twd) == ("range", 100_265_763)
    assert one.total_return == pytest.approx(0.00265763)
    assert (one.trades, one.open_positions, one.orders, one.fills) == (1, 0, 2, 2)
    assert (one.win_rate, one.profit_factor) == (1.0, None)  # no loss to divide by
    assert (one.commission_twd, one.tax_twd) == (26_932 + 27_471, 57_834)
    assert one.max_drawdown == pytest.approx((100_265_763 - 100_351_068) / 100_351_068)
    assert one.turnover == pytest.approx((18_900_000 + 19_278_000) / (sum(runs[1].equity_twd) / 4))
    assert (one.annual_return, one.sharpe) == (None, None)  # four sessions say nothing of a year


def test_no_trade_is_no_error_and_no_invented_figure() -> None:
    history = market(s2330=[flat(100)] * 5)
    runs = runs_of(history, history.sessions, Naive(), RULES)
    one = score(history, runs, 245.0)[0]
    assert (one.final_twd, one.total_return, one.trades, one.fills) == (START_TWD, 0.0, 0, 0)
    assert (one.win_rate, one.profit_factor, one.sharpe) == (None, None, None)


@pytest.mark.parametrize("lot_shares", [1_000, 1])
def test_vectorbt_agrees_with_our_books_on_a_busy_market(lot_shares: int) -> None:
    history = random_market(["1101", "2317", "2330", "3008", "6669", "9904", "0050"], days(date(2024, 1, 2), 120))
    rules = dataclasses.replace(
        RULES, entry_edge_bps=-100, stop_bps=300, lot_shares=lot_shares, buy_offset_bps=50, sell_offset_bps=50
    )
    runs = runs_of(history, history.sessions, Naive(), rules)
    scores = score(history, runs, 245.0)
    assert all(one.fills > 20 for one in scores[:-1])
    if lot_shares == 1_000:
        assert_books_agree(runs, scores)
    for run, one in zip(runs, scores, strict=True):  # our books cut each odd lot's value to whole TWD
        assert one.vectorbt_final_twd == pytest.approx(run.equity_twd[-1], abs=1.0 + len(run.steps[-1].held.positions))


def test_sessions_a_year_are_the_exchanges_own() -> None:
    assert sessions_a_year(market(s2330=[flat(100)] * 5)) == 245.0
    assert sessions_a_year(random_market(["2330"], days(date(2020, 1, 1), 1_000))) == pytest.approx(256, abs=6)


def test_the_worst_rule_is_the_one_with_the_lowest_return() -> None:
    history = market(s2330=[flat(100)] * 3)
    [one, two, three, _] = score(history, runs_of(history, history.sessions, Naive(), RULES), 245.0)
    low = dataclasses.replace(two, total_return=-0.1)
    assert worst([one, low, three]) is low


@pytest.mark.skipif(not (SHARED / "prices").is_dir(), reason="needs the real bars of ../shared/data/prices")
def test_five_years_of_real_bars_under_every_rule() -> None:
    history = History.from_csv(SHARED / "prices", since=date(2020, 5, 1), until=date(2025, 6, 30))
    config = load_config(Path(__file__).parents[2] / "config.toml")
    sessions = history.between(date(2020, 7, 1), date(2025, 6, 30))
    assert len(sessions) == 1_216
    assert sessions_a_year(history) == pytest.approx(243.4, abs=0.1)
    four_point = BestFourPoint(signal=best_four_point, rules=config.rules, costs=config.costs)
    for forecaster, knobs in ((Naive(), {}), (Naive(), {"entry_edge_bps": -100}), (four_point, {})):
        rules = dataclasses.replace(config.rules, **knobs)
        runs = runs_of(history, sessions, forecaster, rules, config.costs)
        scores = score(history, runs, sessions_a_year(history))
        assert_books_agree(runs, scores, sessions_a_year(history))
    assert [one.trades > 500 for one in scores] == [True, True, True, False]
    assert min(one.commission_twd for one in scores[:-1]) > 1_000_000


def test_decimal_targets_finer_than_a_hundredth_are_told_to_the_nearest() -> None:
    history = market(s2330=[flat(100), flat(100)])
    by_session = {SESSIONS[0]: {"2330": forecast(str(Decimal("103.004")), as_of=SESSIONS[0])}}
    runs = runs_of(history, history.sessions, Stored(name="fine", by_session=by_session), RULES)
    assert [len(step.orders) for step in runs[0].steps] == [1]
