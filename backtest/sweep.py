"""A sweep from the configuration: loaded, named, computed chunk by chunk, every set counted as a trial."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from backtest.forecasters import BestFourPoint, Forecaster, Naive, Stored
from backtest.guided import BATCH, search
from backtest.history import hole_notes
from backtest.kernel import Options
from backtest.replay import market_days
from backtest.run import Asked, load
from backtest.run_id import code_version
from backtest.score import sessions_a_year
from backtest.sweep_engine import Chunk, Engine, source_digest
from backtest.sweep_job import Job, compute, schema_of, tape_digest
from backtest.sweep_parts import RESULTS, Parts
from backtest.sweep_results import Results, read_results
from backtest.sweep_space import Space, space_of
from backtest.tape import Tape, tape_of
from backtest.trials import Trial, TriedOn, record_trials, set_id
from bot.config import Config
from bot.core.rule import KNOBS, strategy_name
from bot.errors import Refused
from bot.strategies.registry import find_strategy
from bot.sweep_config import LEAST_SESSIONS, check_knobs

NAME_CHARACTERS: Final = 60


class Watch(Protocol):
    """Something that is told how far the work is."""

    def start(self, total: int, done: int) -> None:
        """`total` sets are asked for, `done` of them were there before."""

    def add(self, sets: int) -> None:
        """So many more are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What the command line changes in `[sweep]`; None where the config counts."""

    method: Any = None
    sets: int | None = None
    seed: int | None = None
    objective: Any = None
    train: int | None = None
    trade: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """A sweep ready to run: what it is over, and what it is called."""

    config: Config
    space: Space
    job: Job
    forecaster: str
    data_sha256: str
    notes: tuple[str, ...]
    guided: int = 0  # sets of a guided search, 0 for a grid or draws

    @property
    def size(self) -> int:
        """How many sets it tries."""
        return self.guided or self.space.size

    @property
    def chunk(self) -> int:
        """How many sets a part holds."""
        return BATCH if self.guided else self.config.sweep.chunk

    @cached_property
    def run_id(self) -> str:
        """Days, model, config, data and code. The same id means the same table, bit for bit."""
        sessions = self.job.tape.sessions
        return "_".join(
            (
                "guided" if self.guided else "sweep",
                f"{sessions[0]:%Y%m%d}-{sessions[-1]:%Y%m%d}",
                re.sub(r"[^A-Za-z0-9.+-]+", "-", self.forecaster)[:NAME_CHARACTERS].strip("-"),
                f"config-{_short(self._settings)}",
                f"data-{self.data_sha256[:8]}",
                f"code-{source_digest()[:8]}",
            )
        )

    @property
    def _settings(self) -> Any:
        """Everything of the config that the table follows from."""
        sweep = asdict(self.space.sweep)
        sweep.pop("walk_forward")
        if not self.guided:
            sweep.pop("objective")
        rules = asdict(self.space.base) | {"strategy": strategy_of(self.config)}
        plan = inspect.getsource(self.job.options[0].strategy.plan)  # a user's own rule is no source of ours
        trading = asdict(self.config.backtest) | {"reports": ""}
        settled = self.config.backtest.settlement_sessions
        return [rules, plan, asdict(self.config.costs), trading, settled, sweep, self.guided]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the table is, for its metadata."""
        sessions = self.job.tape.sessions
        return {
            "run_id": self.run_id,
            "from": sessions[0].isoformat(),
            "to": sessions[-1].isoformat(),
            "sessions": len(sessions),
            "sessions_a_year": self.job.year_sessions,
            "symbols": len(self.job.tape.symbols),
            "forecaster": self.forecaster,
            "strategy": strategy_of(self.config),
            "data_sha256": self.data_sha256,
            "config_sha256": _sha256(self._settings),
            "code": code_version(),
            "source_sha256": source_digest(),
            "fill_rules": list(self.job.fill_rules),
            "start_cash_twd": self.config.backtest.start_cash_twd,
            "method": "guided" if self.guided else self.space.sweep.method,
            "objective": self.space.sweep.objective,
            "sets": self.size,
            "swept": list(self.space.swept),
            "rules": {name: getattr(self.space.base, name) for name in KNOBS},
        }

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.config.backtest.reports / self.run_id

    @property
    def tried_on(self) -> TriedOn:
        """What its sets are trials on."""
        return tried_on(self.config, self.job.tape, self.forecaster)


def prepare(config: Config, asked: Asked, changes: Changes, guided: int = 0) -> Sweep:
    """The sweep that the user asks for.

    Raises:
        Refused: no bars or forecasts for the asked days, several models, a change out of range, too many sets.
    """
    config = _changed(config, changes)
    if guided > config.sweep.most_sets:
        raise Refused(f"--guided {guided:,}: more than `sweep.most_sets` {config.sweep.most_sets:,}")
    tape, forecaster, year_sessions, notes = load_tape(config, asked)
    job = Job(tape=tape, options=options_of(config), year_sessions=year_sessions)
    return Sweep(
        config=config,
        space=space_of(config.rules, config.sweep),
        job=job,
        forecaster=forecaster,
        data_sha256=tape_digest(tape),
        notes=tuple(notes),
        guided=guided,
    )


def run_sweep(sweep: Sweep, engine: Engine, db: Any, now: datetime, watch: Watch) -> Results:
    """Compute what is not there yet, and read the whole table. A killed sweep goes on at the chunk it lacks.

    Raises:
        Refused: another process computes the same sweep.
    """
    parts = Parts(folder=sweep.folder, schema=schema_of(sweep.job.fill_rules))
    with parts.alone():
        if parts.finished():
            watch.start(sweep.size, sweep.size)
        else:
            keep = _Keeper(sweep, parts, db, now, watch)
            if sweep.guided:
                _guided(sweep, keep)
            else:
                _all(sweep, engine, keep)
            parts.join(math.ceil(sweep.size / sweep.chunk), sweep.facts)
    return read_results(sweep.folder / RESULTS)


class _Keeper:
    """Every part goes through here: to disk, into the count of trials, to the watch."""

    def __init__(self, sweep: Sweep, parts: Parts, db: Any, now: datetime, watch: Watch) -> None:
        self.sweep, self.parts, self.watch = sweep, parts, watch
        self._db, self._now = db, now

    def there(self, index: int, rows: int) -> Any:
        """The part of before, or None. Its sets count as tried even if we died before they were counted."""
        table = self.parts.read(index, rows)
        if table is not None:
            self._count(table)
        return table

    def keep(self, index: int, table: Any) -> None:
        """A new part."""
        self.parts.write(index, table)
        self._count(table)
        self.watch.add(table.num_rows)

    def _count(self, table: Any) -> None:
        record_trials(self._db, self.sweep.tried_on, trials_in(self.sweep, table), self._now)


def _all(sweep: Sweep, engine: Engine, keeper: _Keeper) -> None:
    """A grid or draws: every chunk that is not there, in any order."""
    firsts = range(0, sweep.size, sweep.chunk)
    rows = {index: min(sweep.chunk, sweep.size - first) for index, first in enumerate(firsts)}
    missing = [index for index in rows if keeper.there(index, rows[index]) is None]
    keeper.watch.start(sweep.size, sweep.size - sum(rows[index] for index in missing))
    chunks = (Chunk(index, firsts[index], sweep.space.matrix(firsts[index], sweep.chunk)) for index in missing)
    for chunk, table in engine.tables(sweep.job, chunks):
        keeper.keep(chunk.part, table)


def _guided(sweep: Sweep, keeper: _Keeper) -> None:
    """A guided search: what it asks for follows from the answers before, so the parts of before are asked again."""
    keeper.watch.start(sweep.size, 0)

    def answer(index: int, first: int, matrix: Any) -> Any:
        table = keeper.there(index, len(matrix))
        if table is None or not _same_sets(table, matrix):
            table = compute(sweep.job, matrix, first)
            keeper.keep(index, table)
        else:
            keeper.watch.add(len(matrix))
        return Results(table=table, facts=sweep.facts).objective(sweep.space.sweep.objective)

    search(sweep.space, sweep.guided, answer)


def _same_sets(table: Any, matrix: Any) -> bool:
    """Whether the part is about these very sets."""
    return all(np.array_equal(table.column(name).to_numpy(), matrix[:, place]) for place, name in enumerate(KNOBS))


def trials_in(sweep: Sweep, table: Any) -> Iterator[Trial]:
    """Each set of a part with its Sharpe ratio per session under its worst fill rule."""
    results = Results(table=table, facts={"fill_rules": list(sweep.job.fill_rules)})
    sharpes = results.worst("sharpe") / math.sqrt(sweep.job.year_sessions)
    rows = zip(*(table.column(name).to_pylist() for name in KNOBS), strict=True)
    strategy = strategy_of(sweep.config)
    for row, sharpe in zip(rows, sharpes, strict=True):
        yield Trial(set_id=set_id(strategy, dict(zip(KNOBS, row, strict=True))), sharpe=float(sharpe))


# --- what it is over --------------------------------------------------------------------------------------


def load_tape(config: Config, asked: Asked) -> tuple[Tape, str, float, list[str]]:
    """The tape of one forecaster, its name, how many sessions a year has, and what a reader has to know.

    Raises:
        Refused: no bars or forecasts for the asked days, or several models and none named.
    """
    loaded = load(config, asked)
    if asked.forecaster == "all":
        told: list[Forecaster] = [one for one in loaded.forecasters if isinstance(one, Stored)]
        if not told:
            raise Refused("no stored forecasts to sweep over: run the daemon, or ask with --forecaster bestfourpoint")
    else:
        told = [one for one in loaded.forecasters if not isinstance(one, Stored) or asked.forecaster == "stored"]
    if len(told) > 1:
        raise Refused(f"forecasts of {', '.join(one.name for one in told)}: a sweep is over one, name it with --model")
    [forecaster] = told
    events = [event for event in loaded.events if event.symbol in loaded.history.symbols]
    days = market_days(loaded.history, loaded.sessions, forecaster, events)
    tape = tape_of(loaded.history, days, config.costs, events)
    if len(days) < LEAST_SESSIONS:
        span = f"{days[0].session}..{days[-1].session} are {len(days)} sessions"
        raise Refused(f"{span}: at least {LEAST_SESSIONS} are needed to tell parameter sets apart")
    check_forecasts(tape, forecaster.name, 0, len(tape.sessions))
    notes = [*loaded.notes, *_notes(forecaster, config), *silent_notes(tape, forecaster.name)]
    notes += hole_notes(loaded.history, loaded.sessions)
    if not events:
        notes.append("no ex-dates are known for these days: dividends are not counted, prices are unadjusted")
    return tape, forecaster.name, sessions_a_year(loaded.history), notes


def check_forecasts(tape: Tape, name: str, first: int, last: int) -> None:
    """Refuse sessions first..last-1 in which nothing is ever forecast: their zeros would mean nothing.

    Raises:
        Refused: names the days.
    """
    if not (tape.target_x100[first : last - 1] > 0).any():
        days = f"{tape.sessions[first]}..{tape.sessions[last - 1]}"
        raise Refused(f"{name} has no forecast as of any session in {days}: nothing can be chosen there")


def silent_notes(tape: Tape, name: str) -> Iterator[str]:
    """A line on the sessions without a forecast."""
    spoken = np.any(tape.target_x100[:-1] > 0, axis=1)
    if not spoken.all():
        first = tape.sessions[int(np.argmin(spoken))]
        silent = int(np.sum(~spoken))
        yield f"{name}: no forecast as of {silent} of {len(spoken)} sessions, the first {first}: it abstains"


def _notes(forecaster: Forecaster, config: Config) -> Iterable[str]:
    """What is to be known of a forecaster that the knobs it is swept over have to do with."""
    if isinstance(forecaster, Naive):
        yield "naive promises nothing: only sets with an `entry_edge_bps` below the costs of a round trip trade"
    if isinstance(forecaster, BestFourPoint):
        rules = config.rules
        yield (
            "bestfourpoint is one draw among many equal buys, and its targets are made for the `entry_edge_bps` "
            f"{rules.entry_edge_bps} and `exit_return_bps` {rules.exit_return_bps} of [rules], whatever is swept"
        )


def options_of(config: Config) -> tuple[Options, ...]:
    """How orders trade, for each fill rule of the config."""
    return tuple(
        Options(
            fill_rule=rule,
            start_cash_twd=config.backtest.start_cash_twd,
            costs=config.costs,
            slippage_ticks=config.backtest.slippage_ticks,
            volume_share_bps=config.backtest.volume_share_bps,
            settlement_sessions=config.backtest.settlement_sessions,
            strategy=find_strategy(config.rules.strategy),
        )
        for rule in config.backtest.fill_rules
    )


def strategy_of(config: Config) -> str:
    """The name of the rule that is swept."""
    return strategy_name(config.rules.strategy)


def tried_on(config: Config, tape: Tape, forecaster: str) -> TriedOn:
    """What sets on `tape` are trials on."""
    return TriedOn(
        sha256=tape_digest(tape),
        strategy=strategy_of(config),
        since=tape.sessions[0],
        until=tape.sessions[-1],
        forecaster=forecaster,
    )


def _changed(config: Config, changes: Changes) -> Config:
    """The config with the command line's changes.

    Raises:
        Refused: one of them is out of range.
    """
    told = {name: value for name, value in asdict(changes).items() if value is not None}
    spans = {f"{name}_sessions": told.pop(name) for name in ("train", "trade") if name in told}
    try:
        walk = dataclasses.replace(config.sweep.walk_forward, **spans)
        sweep = dataclasses.replace(config.sweep, walk_forward=walk, **told)
        check_knobs(sweep, config.rules)
    except ValueError as wrong:
        raise Refused(str(wrong)) from wrong
    return dataclasses.replace(config, sweep=sweep)


def _short(value: object) -> str:
    return _sha256(value)[:8]


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
