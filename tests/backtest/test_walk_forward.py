"""Walk-forward: windows by hand, a book that is never reset, and no choice that knows what comes after it."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import REPO, THURSDAY, at, days
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from markets import RULES, random_market, write_csv
from sweeps import CASH_TWD, KNOBS, Silent, job, options, sweep, tape
from typer.testing import CliRunner

from backtest.kernel import play
from backtest.sweep_engine import Local
from backtest.sweep_job import compute, cut
from backtest.sweep_results import Results
from backtest.trials import tried
from backtest.walk_forward import Walked, Window, told_of, walk_forward, windows
from backtest.walk_ledger import walk
from backtest.walk_report import facts, headline
from bot.adapters.sqlite_open import open_database
from bot.cli import app
from bot.core.rule import KNOBS as ALL_KNOBS
from bot.errors import BotError, Refused
from bot.sweep_config import WalkForwardConfig

NOW = at(THURSDAY)
EAGER = dataclasses.replace(RULES, top_k=2, entry_edge_bps=0, stop_bps=300)
CALM = dataclasses.replace(RULES, top_k=4, entry_edge_bps=200, stop_bps=0)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Any]:
    opened = open_database(tmp_path / "twtrader.db")
    yield opened
    opened.close()


def walked(tmp_path: Path, db: Any, **changes: Any) -> Walked:
    return walk_forward(sweep(tmp_path, **changes), Local(), db, NOW, Silent())


# --- windows ----------------------------------------------------------------------------------------------


def test_windows_by_hand() -> None:
    assert windows(100, 40, 25) == [
        Window(train_first=0, trade_first=40, trade_last=65),
        Window(train_first=25, trade_first=65, trade_last=90),
        Window(train_first=50, trade_first=90, trade_last=100),
    ]


@given(train=st.integers(2, 60), trade=st.integers(1, 60), more=st.integers(1, 200))
def test_every_session_after_the_first_training_is_traded_once(train: int, trade: int, more: int) -> None:
    told = windows(train + more, train, trade)
    traded = [row for one in told for row in range(one.trade_first, one.trade_last)]
    assert traded == list(range(train, train + more))
    assert all(one.trade_first - one.train_first == train for one in told)


def test_too_few_sessions_are_one_line() -> None:
    with pytest.raises(
        Refused, match="needs more than 40 sessions, 40 to choose on and at least one to trade in: there a"
    ):
        windows(40, 40, 15)


# --- the book goes over -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fill_rule", ["open", "range", "touch"])
@pytest.mark.parametrize("terms", [{}, {"settlement_sessions": 2, "slippage_ticks": 1, "volume_share_bps": 500}])
@pytest.mark.parametrize("cuts", [(40, 120), (40, 41, 42, 80, 120), (1, 60, 120)])
def test_the_same_rules_in_every_window_are_one_uncut_replay(
    fill_rule: str, terms: dict[str, int], cuts: tuple[int, ...]
) -> None:
    """A reset of cash, of a position's cost or age, or of unsettled proceeds at a boundary would show here."""
    on, told = tape(), options(fill_rule, **terms)
    rules = dataclasses.replace(EAGER, max_holding_sessions=7)
    stretches = [(first, last, rules) for first, last in pairwise(cuts)]
    uncut = play(cut(on, cuts[0] - 1, 120), rules, told)
    line = walk(on, stretches, told)
    assert line.equity_twd == uncut.equity_twd
    assert (line.trades, line.fees_twd, line.taxes_twd) == (uncut.trades, uncut.fees_twd, uncut.taxes_twd)
    moved = tuple(one._replace(session=one.session - (cuts[0] - 1)) for one in line.fills)
    assert moved == uncut.fills
    assert line.trades > 5


@pytest.mark.parametrize("fill_rule", ["open", "range", "touch"])
def test_what_rules_leave_the_next_ones_take_over(fill_rule: str) -> None:
    """Cash after all fills, kept in a second set of books, and the value of the shares make the equity at each close."""
    on = tape()
    line = walk(on, [(40, 70, EAGER), (70, 95, CALM), (95, 120, EAGER)], options(fill_rule))
    cash, shares = CASH_TWD, [0] * len(on.symbols)
    fills = iter(line.fills)
    one = next(fills, None)
    carried = 0
    for row in range(40, 120):
        if row in {70, 95}:
            carried += sum(shares)
        while one is not None and one.session == row:
            value = one.price_x100 * abs(one.shares) // 100
            cash += (-value if one.shares > 0 else value) - one.commission_twd - one.tax_twd
            shares[one.stock] += one.shares
            one = next(fills, None)
        worth = sum(int(on.close_x100[row, stock]) * held // 100 for stock, held in enumerate(shares))
        assert cash + worth == line.equity_twd[row - 39]
    assert one is None
    assert carried > 0, "no position was held over a boundary: the test says nothing"


def test_the_first_decision_of_a_window_is_by_its_own_rules() -> None:
    on = tape()
    never = dataclasses.replace(RULES, entry_edge_bps=9_000)
    line = walk(on, [(40, 70, never), (70, 120, EAGER)], options("touch"))
    assert line.fills[0].session == 70
    assert set(line.equity_twd[:30]) == {CASH_TWD}
    alone = play(cut(on, 69, 120), EAGER, options("touch"))
    assert line.equity_twd[30:] == alone.equity_twd


def test_stretches_with_a_gap_are_a_bug() -> None:
    for stretches in ([(40, 50, EAGER), (51, 60, CALM)], [(0, 50, EAGER)]):
        with pytest.raises(ValueError, match="follow one another"):
            walk(tape(), stretches, options())


# --- the choice -------------------------------------------------------------------------------------------


def test_the_best_of_each_training_window_is_traded_next(tmp_path: Path, db: Any) -> None:
    done = walked(tmp_path, db)
    made, on = done.sweep, done.sweep.job.tape
    assert [one.window for one in done.chosen] == windows(120, 40, 15)
    for one in (done.chosen[0], done.chosen[-1]):
        worths = []
        for number, row in enumerate(made.space.matrix(0, 18)):
            rules = dataclasses.replace(RULES, **{name: int(row[place]) for name, place in PLACES.items()})
            training = cut(on, one.window.train_first, one.window.trade_first)
            finals = [play(training, rules, told).final_equity_twd for told in made.job.options]
            worths.append((min(finals), -number))
        assert one.set_number == -max(worths)[1]
        assert one.in_sample.net_return == pytest.approx(max(worths)[0] / CASH_TWD - 1)
    for line in done.lines:
        schedule = [(one.window.trade_first, one.window.trade_last, one.rules) for one in done.chosen]
        assert line.walk == walk(on, schedule, options(line.fill_rule))
    assert len({one.set_number for one in done.chosen}) > 1


PLACES = {name: place for place, name in enumerate(ALL_KNOBS) if name in KNOBS}


@pytest.fixture(scope="module")
def unscrambled(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    folder = tmp_path_factory.mktemp("walk")
    with closing(open_database(folder / "t.db")) as db:
        return walked(folder, db, chunk=18)


@settings(max_examples=6, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(number=st.integers(0, 5), seed=st.integers(0, 2**32))
def test_nothing_after_a_window_can_change_what_is_chosen_for_it(
    tmp_path_factory: pytest.TempPathFactory, unscrambled: Walked, number: int, seed: int
) -> None:
    """Prices and forecasts of every later session are drawn anew: the choice must stay, and all before it."""
    before, folder = unscrambled, tmp_path_factory.mktemp("walk")
    first = before.chosen[number].window.trade_first
    with closing(open_database(folder / "t.db")) as db:
        after = walked(folder, db, chunk=18, on=scrambled(first, seed))
    assert after.chosen[: number + 1] == before.chosen[: number + 1]
    for old, new in zip(before.lines, after.lines, strict=True):
        assert old.walk.equity_twd[: first - 39] == new.walk.equity_twd[: first - 39]
    if number < 5:
        assert any(old.walk != new.walk for old, new in zip(before.lines, after.lines, strict=True))


def scrambled(first: int, seed: int) -> Any:
    """The tape with everything from row `first` on multiplied by lot."""
    told = tape()
    chance = np.random.default_rng(seed)
    scale = chance.integers(60, 140, size=told.close_x100[first:].shape)
    names = ("open_x100", "high_x100", "low_x100", "close_x100", "target_x100")
    tables = {name: getattr(told, name).copy() for name in names}
    for table in tables.values():
        table[first:] = table[first:] * scale // 100
    return dataclasses.replace(told, **tables)


def test_the_headline_is_the_worst_rule_out_of_sample_and_the_ratio_follows(tmp_path: Path, db: Any) -> None:
    done = walked(tmp_path, db, on=slope(100))
    assert done.headline.whole.net_return == min(line.whole.net_return for line in done.lines)
    promised = [one.in_sample.yearly for one in done.chosen]
    assert done.in_sample[0] == pytest.approx(sum(filter(None, promised)) / len(promised))
    kept, out = done.kept[0], done.headline.whole.yearly
    assert kept is not None
    assert out is not None
    assert kept == pytest.approx(out / done.in_sample[0])  # type: ignore[operator]
    assert f"{kept:.2f} of it is left" in headline(done)
    told = facts(done)
    assert [one["knobs"] for one in told["windows"]] == [
        {name: getattr(one.rules, name) for name in KNOBS} for one in done.chosen
    ]
    assert sum(one["worst"] for one in told["lines"]) == 1
    json.dumps(told)


def test_figures_of_a_line_by_hand() -> None:
    line = [100, 110, 99, 99, 120]
    told = told_of([one * 1_000_000 for one in line], 245.0)
    assert told.net_return == pytest.approx(0.2)
    assert told.max_drawdown == pytest.approx(0.1)
    assert (told.yearly, told.sharpe) == (None, None)  # five closes say nothing of a year
    doubled = told_of([1_000_000 * (100 + place) for place in range(101)], 50.0)
    assert doubled.yearly == pytest.approx(math.sqrt(2) - 1)  # doubled in 100 sessions, two years of 50


def test_every_window_and_the_whole_are_trials(tmp_path: Path, db: Any) -> None:
    done = walked(tmp_path, db)
    sessions = done.sweep.job.tape.sessions
    assert tried(db, strategy="forecast_edge").count == 18
    ratios = tried(db, strategy="forecast_edge").with_sharpe
    first = Results(table=compute(job(cut(done.sweep.job.tape, 0, 40)), done.sweep.space.matrix(0, 18), 0),
                    facts={"fill_rules": ["open", "range", "touch"]})  # fmt: skip
    alone = tried(db, strategy="forecast_edge", until=sessions[14])  # only the first window has these days
    assert ratios > alone.with_sharpe == 18 - np.isnan(first.worst("sharpe")).sum()
    whole = tried(db, strategy="forecast_edge+walk-forward")
    assert (whole.count, whole.with_sharpe) == (1, 1)
    assert whole.sharpe_mean == pytest.approx(done.headline.whole.sharpe / math.sqrt(245))  # type: ignore[operator]
    walked(tmp_path, db)
    assert tried(db, strategy="forecast_edge+walk-forward").count == 1
    walked(tmp_path, db, walk_forward=WalkForwardConfig(train_sessions=40, trade_sessions=16))
    assert tried(db, strategy="forecast_edge+walk-forward").count == 2


def test_a_window_without_a_forecast_is_refused_in_training_and_named_in_trading(tmp_path: Path, db: Any) -> None:
    silent = tape()
    silent.target_x100[39:54] = 0
    done = walked(tmp_path, db, on=silent)
    days_of = f"{silent.sessions[40]}..{silent.sessions[54]}"
    assert f"guesses: no forecast for any session in {days_of}: that window buys nothing" in done.notes
    silent.target_x100[:] = 0
    with pytest.raises(Refused, match=rf"guesses has no forecast as of any session in {silent.sessions[0]}"):
        walked(tmp_path, db, on=silent)


def test_when_all_sets_lose_the_one_that_sits_out_is_named(tmp_path: Path, db: Any) -> None:
    done = walked(tmp_path, db, knobs={"entry_edge_bps": (0, 9_000)}, on=slope(-300))
    assert [one.rules.entry_edge_bps for one in done.chosen] == [9_000] * len(done.chosen)
    assert not any(one.traded for one in done.chosen)
    assert any("no set was worth more than not to trade" in note for note in done.notes)
    assert headline(done) == "guesses: no trade out of sample under `open`, its worst fill rule"


def slope(step_x100: int) -> Any:
    """A market that begins at 800 TWD and moves by a step each session; opens 5 TWD lower, trades 20 TWD around it."""
    told = tape()
    rows = np.arange(len(told.sessions))[:, None]
    close = np.broadcast_to(80_000 + step_x100 * rows, told.close_x100.shape).astype(np.int64)
    reference = np.vstack([close[:1], close[:-1]])
    return dataclasses.replace(
        told, close_x100=close.copy(), open_x100=close - 500, low_x100=close - 2_000, high_x100=close + 2_000,
        reference_x100=reference, traded=np.ones_like(told.traded), target_x100=close + 5_000,
    )  # fmt: skip


# --- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    text = (REPO / "config.toml").read_text(encoding="utf-8")
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    write_csv(tmp_path / "bars", random_market(["2317", "2330", "2382", "2454"], days(date(2024, 9, 2), 80)))
    return tmp_path


def test_the_command_prints_windows_and_ratio_and_writes_the_line(home: Path) -> None:
    words = ["-c", str(home / "config.toml"), "backtest", "walk-forward", "--data", str(home / "bars"),
             "--forecaster", "bestfourpoint", "--method", "random", "--sets", "50", "--train", "40", "--trade", "20"]  # fmt: skip
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    for word in ("Out of sample: 2024-10-28..2024-12-20, 40 sessions", "Windows", "(worst)", "out of sample under"):
        assert word in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    rows = list(csv.DictReader((Path(told["folder"]) / "equity.csv").open(encoding="utf-8")))
    assert len(rows) == 41
    assert int(rows[-1]["open"]) == told["lines"][0]["final_equity_twd"]
    assert json.loads((Path(told["folder"]) / "walk.json").read_text(encoding="utf-8"))["headline"] == told["headline"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--train", "80"], "walk-forward needs more than 80 sessions"),
        (["--train", "5"], "`train_sessions` must be at least 20"),
        (["--trade", "0"], "`trade_sessions` must be at least 1"),
    ],
)
def test_windows_that_cannot_be_are_one_line(home: Path, words: list[str], line: str) -> None:
    given_words = ["-c", str(home / "config.toml"), "backtest", "walk-forward", "--data", str(home / "bars")]
    result = CliRunner().invoke(app, [*given_words, "--forecaster", "bestfourpoint", *words])
    assert isinstance(result.exception, BotError), result.output
    assert line in str(result.exception)
