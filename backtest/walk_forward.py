"""Walk-forward: parameters are chosen on a rolling window and traded in the sessions after it, again and again.

The book goes over from window to window as it stands: cash, positions with their cost and age, proceeds not yet
settled. Only what was traded with parameters that were chosen before is the result.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np

from backtest.kernel import Options
from backtest.score import LEAST_FOR_A_YEAR
from backtest.sweep import Sweep, Watch, check_forecasts, strategy_of, trials_in, tried_on
from backtest.sweep_engine import Chunk, Engine
from backtest.sweep_job import Job, cut
from backtest.sweep_results import Results
from backtest.sweep_space import rules_of
from backtest.trials import Trial, record_trials, set_id
from backtest.walk_ledger import Walk, walk
from bot.core.rule import KNOBS, Rules
from bot.errors import Refused

STRATEGY: Final = "+walk-forward"  # a walk-forward run is itself a trial, of the strategy's name with this behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Rows of the tape: chosen on train_first..trade_first-1, traded in trade_first..trade_last-1."""

    train_first: int
    trade_first: int
    trade_last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Some figures of a stretch: fractions; `yearly` and `sharpe` None where it is too short or nothing traded."""

    net_return: float
    yearly: float | None
    sharpe: float | None
    max_drawdown: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was chosen for a window, and how it had done in training, under the set's worst fill rule."""

    window: Window
    set_number: int
    rules: Rules
    in_sample: Told
    worst_rule: str
    traded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The out-of-sample line under one fill rule, and each window's part of it."""

    fill_rule: str
    walk: Walk
    whole: Told
    by_window: tuple[Told, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Walked:
    """A whole walk-forward."""

    sweep: Sweep
    chosen: tuple[Chosen, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def headline(self) -> Line:
        """The line under the fill rule that is worst for it: the one that counts."""
        return min(self.lines, key=lambda line: line.whole.net_return)

    @property
    def in_sample(self) -> tuple[float | None, float | None]:
        """The mean over the windows of what the chosen sets had promised: return a year and Sharpe ratio."""
        return _mean([one.in_sample.yearly for one in self.chosen]), _mean(
            [one.in_sample.sharpe for one in self.chosen]
        )

    @property
    def kept(self) -> tuple[float | None, float | None]:
        """Degradation: the share of in-sample return and Sharpe ratio that is left; None where nothing was promised."""
        out = self.headline.whole
        promised_return, promised_sharpe = self.in_sample
        return _share(out.yearly, promised_return), _share(out.sharpe, promised_sharpe)


def windows(sessions: int, train: int, trade: int) -> list[Window]:
    """The windows over `sessions` sessions; the last may trade fewer.

    Raises:
        Refused: there are too few for one.
    """
    if sessions <= train:
        raise Refused(
            f"walk-forward needs more than {train} sessions, {train} to choose on and at least one to trade in: there "
            f"are {sessions}; ask for more days or set `sweep.walk_forward.train_sessions` lower"
        )
    return [
        Window(train_first=first, trade_first=first + train, trade_last=min(first + train + trade, sessions))
        for first in range(0, sessions - train, trade)
    ]


def walk_forward(sweep: Sweep, engine: Engine, db: Any, now: datetime, watch: Watch) -> Walked:
    """Choose and trade, window by window. Every set on every window counts as a trial, and so does the whole.

    Raises:
        Refused: too few sessions, or a training window in which nothing was forecast.
    """
    tape, settings = sweep.job.tape, sweep.config.sweep.walk_forward
    spans = windows(len(tape.sessions), settings.train_sessions, settings.trade_sessions)
    for span in spans:
        check_forecasts(tape, sweep.forecaster, span.train_first, span.trade_first)
    watch.start(len(spans) * sweep.size, 0)
    chosen = tuple(_choose(sweep, engine, span, db, now, watch) for span in spans)
    schedule = [(one.window, one.rules) for one in chosen]
    lines = tuple(_line(sweep, schedule, options) for options in sweep.job.options)
    walked = Walked(sweep=sweep, chosen=chosen, lines=lines, notes=(*sweep.notes, *_notes(sweep, chosen)))
    _record_whole(walked, db, now)
    return walked


def _choose(sweep: Sweep, engine: Engine, span: Window, db: Any, now: datetime, watch: Watch) -> Chosen:
    """The set that was best in training, the first of equals; nothing after the training sessions is looked at."""
    training = cut(sweep.job.tape, span.train_first, span.trade_first)
    job = Job(tape=training, options=sweep.job.options, year_sessions=sweep.job.year_sessions)
    facts = sweep.facts | {"sessions": len(training.sessions)}
    tried = tried_on(sweep.config, training, sweep.forecaster)
    best: tuple[float, int] | None = None
    winner: Chosen | None = None
    for chunk, table in engine.tables(job, _chunks(sweep)):
        record_trials(db, tried, trials_in(sweep, table), now)
        results = Results(table=table, facts=facts)
        worth = results.objective(sweep.space.sweep.objective)
        place = int(np.argmax(worth))
        if best is None or (worth[place], -chunk.first) > best:
            best = float(worth[place]), -chunk.first
            winner = _winner(sweep, span, results, place)
        watch.add(len(chunk.matrix))
    assert winner is not None
    return winner


def _chunks(sweep: Sweep) -> Iterator[Chunk]:
    for index, first in enumerate(range(0, sweep.size, sweep.chunk)):
        yield Chunk(index, first, sweep.space.matrix(first, sweep.chunk))


def _winner(sweep: Sweep, span: Window, results: Results, place: int) -> Chosen:
    """The set at `place` as a value."""
    row = [results.column(name)[place] for name in KNOBS]
    sharpe = float(results.worst("sharpe")[place])
    net_return = float(results.worst("net_return")[place])
    sessions = span.trade_first - span.train_first
    return Chosen(
        window=span,
        set_number=int(results.column("set")[place]),
        rules=rules_of(row, sweep.space.base),
        in_sample=Told(
            net_return=net_return,
            yearly=_yearly(net_return, sessions, sweep.job.year_sessions),
            sharpe=None if math.isnan(sharpe) else sharpe,
            max_drawdown=float(results.worst("max_drawdown")[place]),
        ),
        worst_rule=results.table.column("worst_rule")[place].as_py(),
        traded=bool(results.traded[place]),
    )


def _line(sweep: Sweep, schedule: Sequence[tuple[Window, Rules]], options: Options) -> Line:
    """The out-of-sample line under one fill rule."""
    spans = [(window.trade_first, window.trade_last) for window, _ in schedule]
    walked = walk(sweep.job.tape, [(*span, rules) for span, (_, rules) in zip(spans, schedule, strict=True)], options)
    year, first = sweep.job.year_sessions, spans[0][0]
    return Line(
        fill_rule=options.fill_rule,
        walk=walked,
        whole=told_of(walked.equity_twd, year),
        by_window=tuple(told_of(walked.equity_twd[begin - first : end - first + 1], year) for begin, end in spans),
    )


def told_of(equity_twd: Sequence[int], year_sessions: float) -> Told:
    """The figures of a line of equity whose first entry is the start."""
    net_return = equity_twd[-1] / equity_twd[0] - 1
    returns = [after / before - 1 for before, after in pairwise(equity_twd)]
    deviation = statistics.stdev(returns) if len(equity_twd) >= LEAST_FOR_A_YEAR else 0.0
    peak, drawdown = equity_twd[0], 0.0
    for now_twd in equity_twd:
        peak = max(peak, now_twd)
        drawdown = max(drawdown, (peak - now_twd) / peak)
    return Told(
        net_return=net_return,
        yearly=_yearly(net_return, len(equity_twd), year_sessions),
        sharpe=statistics.fmean(returns) / deviation * math.sqrt(year_sessions) if deviation > 0 else None,
        max_drawdown=drawdown,
    )


def _yearly(net_return: float, sessions: int, year_sessions: float) -> float | None:
    """A return over `sessions` closes as a year's; None where they are too few to say."""
    if sessions < LEAST_FOR_A_YEAR:
        return None
    return float((1 + net_return) ** (year_sessions / (sessions - 1)) - 1)


def _mean(numbers: Sequence[float | None]) -> float | None:
    """The mean of what is known, None where nothing is."""
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known else None


def _share(part: float | None, whole: float | None) -> float | None:
    """`part` of `whole`, None where that says nothing."""
    return None if part is None or whole is None or whole <= 0 else part / whole


def _notes(sweep: Sweep, chosen: Sequence[Chosen]) -> Iterator[str]:
    """What a reader of the windows has to know."""
    sessions = sweep.job.tape.sessions
    idle = [one for one in chosen if not one.traded]
    if idle:
        first = sessions[idle[0].window.trade_first]
        yield (
            f"in {len(idle)} of {len(chosen)} windows no set was worth more than not to trade, the first from {first}: "
            "the set chosen there is the first that never traded in training"
        )
    for one in chosen:
        rows = sweep.job.tape.target_x100[one.window.trade_first - 1 : one.window.trade_last - 1]
        if not (rows > 0).any():
            days = f"{sessions[one.window.trade_first]}..{sessions[one.window.trade_last - 1]}"
            yield f"{sweep.forecaster}: no forecast for any session in {days}: that window buys nothing"
    last = chosen[-1].window
    asked = sweep.config.sweep.walk_forward.trade_sessions
    if last.trade_last - last.trade_first < asked:
        yield f"the last window trades {last.trade_last - last.trade_first} of {asked} sessions: the bars end there"


def _record_whole(walked: Walked, db: Any, now: datetime) -> None:
    """The walk-forward as one trial: another window, space or objective is another one."""
    sweep, out = walked.sweep, walked.headline.whole
    settings = sweep.config.sweep.walk_forward
    strategy = strategy_of(sweep.config) + STRATEGY
    tape = sweep.job.tape
    first = walked.chosen[0].window.trade_first
    told = tried_on(sweep.config, tape, sweep.forecaster)
    knobs = {
        "train_sessions": settings.train_sessions,
        "trade_sessions": settings.trade_sessions,
        "sets": int(sweep.facts["config_sha256"][:15], 16),
        "objective": ("return", "sharpe", "calmar").index(sweep.space.sweep.objective),
    }
    sharpe = None if out.sharpe is None else out.sharpe / math.sqrt(sweep.job.year_sessions)
    whole = type(told)(
        sha256=told.sha256, strategy=strategy, since=tape.sessions[first], until=told.until, forecaster=told.forecaster
    )
    record_trials(db, whole, [Trial(set_id=set_id(strategy, knobs), sharpe=sharpe)], now)
