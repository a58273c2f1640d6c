"""Is it luck? Every run of a backtest beside its baselines, and the verdict on each forecaster's worst fill rule.

`judge` is for whoever has runs already (the report); `judge_backtest` makes them first (`twtrader backtest luck`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

import numpy as np

from backtest.bootstrap import bands, log_returns
from backtest.kernel import Options, play_many
from backtest.luck import Overfitting, deflated_sharpe, overfitting
from backtest.random_entries import DRAWS, random_entries
from backtest.replay import Run, market_days
from backtest.run import Asked, hold_run, load, options_of, replay_all
from backtest.score import sessions_a_year
from backtest.tape import Ints, Tape, tape_of
from backtest.trials import Trials, tried
from backtest.verdict import Figures, Language, Level, level_of, verdict
from bot.adapters.sqlite_open import open_database
from bot.config import Config
from bot.core.rule import strategy_name
from bot.errors import Refused

SETS: Final = 500  # of a sweep's sets, evenly spread, are played again for the probability of overfitting
BLOCKS: Final = 16
NONE_TRIED: Final = Trials(count=0, with_sharpe=0, sharpe_mean=None, sharpe_variance=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One forecaster under one fill rule. `headline` marks its worst fill rule, which the verdict is about."""

    forecaster: str
    figures: Figures
    headline: bool

    @property
    def level(self) -> Level:
        """What can be said."""
        return level_of(self.figures)

    def said(self, language: Language) -> list[str]:
        """The verdict in words."""
        return verdict(self.figures, language)

    def facts(self, languages: Sequence[Language]) -> dict[str, Any]:
        """For --json."""
        fair = self.figures.random.is_fair if self.figures.random else None
        words = {one: self.said(one) for one in languages} if self.headline else {}
        about = {"forecaster": self.forecaster, "headline": self.headline, "level": self.level, "fair": fair}
        return about | asdict(self.figures) | {"verdict": words}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """From what the rule's parameters were chosen: what was ever tried, and the sets that a sweep would try again."""

    trials: Trials
    matrix: Ints | None


def judge(
    runs: Sequence[Run],
    hold: Run,
    tapes: Mapping[str, Tape],
    config: Config,
    chosen: Chosen,
    *,
    sessions_a_year: float,
    seed: int,
    draws: int = DRAWS,
) -> list[Judged]:
    """Each of `runs` beside its baselines; `tapes` are the forecasters' own, over the runs' sessions."""
    figures = [_figures(run, hold, tapes[run.forecaster], config, chosen, sessions_a_year, seed, draws) for run in runs]
    worst: dict[str, int] = {}
    for place, run in enumerate(runs):
        so_far = worst.setdefault(run.forecaster, place)
        if figures[place].total_return < figures[so_far].total_return:
            worst[run.forecaster] = place
    return [
        Judged(forecaster=run.forecaster, figures=figures[place], headline=worst[run.forecaster] == place)
        for place, run in enumerate(runs)
    ]


def _figures(
    run: Run, hold: Run, tape: Tape, config: Config, chosen: Chosen, sessions_a_year: float, seed: int, draws: int
) -> Figures:
    """What is known of one run."""
    equity = np.asarray(run.equity_twd, dtype=np.float64)
    options = options_of(config, run.fill_rule)
    traded = bool(run.fills)
    return Figures(
        fill_rule=run.fill_rule,
        sessions=len(run.sessions),
        sessions_a_year=sessions_a_year,
        trades=sum(
            fill.shares < 0 and not step.held.shares_of(fill.symbol) for step in run.steps for fill in step.fills
        ),
        total_return=float(equity[-1] / equity[0] - 1),
        hold_return=hold.equity_twd[-1] / hold.equity_twd[0] - 1,
        deflated=deflated_sharpe(
            np.diff(equity) / equity[:-1], max(1, chosen.trials.count), chosen.trials.sharpe_variance
        ),
        overfitting=_overfitting(tape, options, chosen.matrix) if traded else None,
        bands=bands(log_returns(run.equity_twd), log_returns(hold.equity_twd), sessions_a_year, seed)
        if traded
        else None,
        random=random_entries(run, tape, config.rules, options, seed=seed, draws=draws),
    )


def _overfitting(tape: Tape, options: Options, matrix: Ints | None) -> Overfitting | None:
    """The sets of a sweep against one another; None without one, or with too few sessions to split."""
    if matrix is None or len(matrix) < 2 or len(tape.sessions) - 1 < 2 * BLOCKS:  # noqa: PLR2004
        return None
    equity = play_many(tape, matrix, options, keep_equity=True).equity_twd
    assert equity is not None
    return overfitting(np.diff(equity, axis=1).T / equity[:, :-1].T, BLOCKS)


def chosen_from(config: Config, since: date, until: date) -> Chosen:
    """What the database knows of sweeps over days that overlap since..until.

    Only with a sweep there is a choice that could be overfitted: without, the matrix is None.
    """
    if not config.store.path.exists():
        return Chosen(trials=NONE_TRIED, matrix=None)
    with closing(open_database(config.store.path, create=False)) as db:
        trials = tried(db, strategy=strategy_name(config.rules.strategy), since=since, until=until)
    return Chosen(trials=trials, matrix=_spread(config) if trials.count > 1 else None)


def _spread(config: Config) -> Ints:
    """At most SETS sets of the config's sweep, evenly spread over all of them."""
    from backtest.sweep_space import space_of

    space = space_of(config.rules, config.sweep)
    numbers = np.unique(np.linspace(0, space.size - 1, SETS).astype(np.int64))
    return np.vstack([space.matrix(int(number), 1) for number in numbers])


# --- the command ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Luck:
    """The outcome of `twtrader backtest luck`."""

    first: date
    last: date
    sessions_a_year: float
    seed: int
    trials: Trials
    judged: tuple[Judged, ...]
    notes: tuple[str, ...]

    def facts(self, languages: Sequence[Language]) -> dict[str, Any]:
        """For --json."""
        return {
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            "sessions_a_year": self.sessions_a_year,
            "seed": self.seed,
            "trials": asdict(self.trials),
            "rows": [one.facts(languages) for one in self.judged],
            "notes": list(self.notes),
        }


def languages_of(config: Config) -> tuple[Language, ...]:
    """Those that the config asks for."""
    if config.backtest.language == "both":
        return ("zh-TW", "en")
    return (config.backtest.language,)


def check_seed_and_draws(seed: int, draws: int) -> None:
    """Refuse what can't be drawn.

    Raises:
        Refused: names the option.
    """
    if not 0 <= seed < 2**63:
        raise Refused(f"--seed {seed} must be between 0 and {2**63 - 1}")
    if not 100 <= draws <= 100_000:  # noqa: PLR2004
        raise Refused(f"--draws {draws:,} must be between 100 and 100,000: fewer say nothing about one in twenty")


def judge_backtest(config: Config, asked: Asked, *, seed: int, draws: int) -> Luck:
    """Replay what is asked as `backtest run` does, and judge it.

    Raises:
        Refused: as `run_backtest`, or seed or draws are out of range.
    """
    check_seed_and_draws(seed, draws)
    loaded = load(config, asked)
    sessions = loaded.sessions
    chosen = chosen_from(config, sessions[0], sessions[-1])
    runs, tapes = [], {}
    for forecaster in loaded.forecasters:
        days = market_days(loaded.history, sessions, forecaster, loaded.events)
        tapes[forecaster.name] = tape_of(loaded.history, days, config.costs, loaded.events)
        runs += list(replay_all(loaded.history, days, forecaster.name, config, loaded.events))
    year = sessions_a_year(loaded.history)
    hold = hold_run(loaded.history, sessions, config, loaded.events)
    judged = judge(runs, hold, tapes, config, chosen, sessions_a_year=year, seed=seed, draws=draws)
    return Luck(
        first=sessions[0],
        last=sessions[-1],
        sessions_a_year=year,
        seed=seed,
        trials=chosen.trials,
        judged=tuple(judged),
        notes=(*loaded.notes, *_notes(judged, chosen)),
    )


def _notes(judged: Sequence[Judged], chosen: Chosen) -> Iterator[str]:
    """What a reader of the figures has to know."""
    if chosen.trials.count == 0:
        yield "no sweep over these days is in the database: the number of trials counts as 1"
    elif chosen.trials.sharpe_variance is None:
        yield f"{chosen.trials.count:,} trials without two Sharpe ratios: luck's own variance is taken, 1 / (T - 1)"
    for one in judged:
        random = one.figures.random
        if random is not None and not random.is_fair:
            yield (
                f"{one.forecaster} {one.figures.fill_rule}: it bought {random.entries:,} times and turned over "
                f"{random.turnover:,.1f}x, its random entries {random.drawn_entries:,.0f} times and "
                f"{random.drawn_turnover:,.1f}x: compare with care"
            )
