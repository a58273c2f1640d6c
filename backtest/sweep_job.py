"""One chunk of a sweep: parameter sets in, a table of figures out. The same bits wherever it is computed.

The kernel works in whole numbers. What is left in floats (Sharpe ratio, turnover, returns) is summed set by set in the
order of the sessions, so that neither the number of threads nor the machine's vector width can change a digit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backtest.kernel import Options, play_many
from backtest.score import LEAST_FOR_A_YEAR
from backtest.sweep_space import Matrix
from backtest.tape import Tape
from bot.core.rule import KNOBS, NO_P_UP

# What is told of a set under each fill rule, as columns like `open_net_return`. Returns and drawdowns are fractions,
# `sharpe` is a year's (null: it never traded, or too few sessions), `turnover` the value of all fills, both sides, over
# the mean equity, `trades` positions closed.
MONEY: Final = ("final_equity_twd", "trades", "fills", "fees_twd", "taxes_twd", "dividends_twd", "turnover_twd")
RATIOS: Final = ("net_return", "sharpe", "max_drawdown", "turnover")
LATER: Final = {"p_up_bps": NO_P_UP, "band_low_x100": 0}  # tables of a tape, with what they hold where nothing is told
WORST: Final = "worst_rule"  # the fill rule with the lowest return: the one that counts

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """All that a chunk needs but its sets: the tape, Options for each fill rule, how many sessions a year has."""

    tape: Tape
    options: tuple[Options, ...]
    year_sessions: float

    @property
    def fill_rules(self) -> tuple[str, ...]:
        """The names of the fill rules, in the order of the config."""
        return tuple(one.fill_rule for one in self.options)


def compute(job: Job, matrix: Matrix, first: int) -> pa.Table:
    """A row for each set of `matrix`: its number (from `first` on), knobs, figures under each fill rule, the worst."""
    columns: dict[str, Any] = {"set": np.arange(first, first + len(matrix), dtype=np.int64)}
    columns |= {name: np.ascontiguousarray(matrix[:, place]) for place, name in enumerate(KNOBS)}
    returns = []
    for options in job.options:
        figures = _figures(job, matrix, options)
        returns.append(figures["net_return"])
        columns |= {f"{options.fill_rule}_{name}": column for name, column in figures.items()}
    worst = np.argmin(np.stack(returns), axis=0)
    columns[WORST] = np.array(job.fill_rules, dtype=object)[worst]
    schema = schema_of(job.fill_rules)
    return pa.table(
        [pa.array(columns[one.name], one.type, from_pandas=True) for one in schema],  # a NaN becomes null
        schema=schema,
    )


def schema_of(fill_rules: tuple[str, ...]) -> pa.Schema:
    """The columns of every table of a sweep."""
    told = [("set", pa.int64()), *((name, pa.int64()) for name in KNOBS)]
    for rule in fill_rules:
        told += [(f"{rule}_{name}", pa.int64()) for name in MONEY]
        told += [(f"{rule}_{name}", pa.float64()) for name in RATIOS]
    return pa.schema([*told, (WORST, pa.string())])


def _figures(job: Job, matrix: Matrix, options: Options) -> Mapping[str, Any]:
    """The figures of each set under one fill rule."""
    played = play_many(job.tape, matrix, options, keep_equity=True)
    mean, deviation, mean_equity = session_moments()(played.equity_twd)
    yearly = math.sqrt(job.year_sessions) if len(job.tape.sessions) >= LEAST_FOR_A_YEAR else math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpe = np.where(deviation > 0, mean / deviation * yearly, np.nan)
    return {name: getattr(played, name) for name in MONEY} | {
        "net_return": played.final_equity_twd / options.start_cash_twd - 1,
        "sharpe": sharpe,
        "max_drawdown": played.max_drawdown,
        "turnover": played.turnover_twd / mean_equity,
    }


@cache
def session_moments() -> Callable[[Any], tuple[Floats, Floats, Floats]]:
    """The compiled function from equity (sets x sessions) to mean and deviation of session returns, and mean equity."""
    from numba import njit, prange

    def moments(equity_twd: Any) -> tuple[Floats, Floats, Floats]:
        sets, sessions = equity_twd.shape
        mean, deviation, mean_equity = np.zeros(sets), np.zeros(sets), np.zeros(sets)
        for one in prange(sets):
            total, level = 0.0, float(equity_twd[one, 0])
            for now in range(1, sessions):
                total += equity_twd[one, now] / equity_twd[one, now - 1] - 1.0
                level += equity_twd[one, now]
            middle = total / (sessions - 1)
            squares = 0.0
            for now in range(1, sessions):
                away = equity_twd[one, now] / equity_twd[one, now - 1] - 1.0 - middle
                squares += away * away
            mean[one] = middle
            deviation[one] = math.sqrt(squares / (sessions - 2)) if sessions > 2 else 0.0  # noqa: PLR2004
            mean_equity[one] = level / sessions
        return mean, deviation, mean_equity

    return njit(cache=True, parallel=True)(moments)  # type: ignore[no-any-return]


def tape_digest(tape: Tape) -> str:
    """A hash of everything on the tape: bars, ex-dates, forecasts and the days; the same on every machine.

    Tables that came later and hold nothing are left out: the same data keep their name.
    """
    told = hashlib.sha256()
    for one in fields(Tape):
        value = getattr(tape, one.name)
        if one.name in LATER and bool((value == LATER[one.name]).all()):
            continue
        told.update(f"{one.name}\n".encode())
        if isinstance(value, tuple):
            told.update("\n".join(str(part) for part in value).encode())
        else:
            told.update(np.ascontiguousarray(value, dtype="<i8").tobytes())
    return told.hexdigest()


def cut(tape: Tape, first: int, last: int) -> Tape:
    """The tape of sessions number first..last-1 alone: nothing of what came after them is in it."""
    whole = {"symbols", "etf", "tax_e8"}
    rows = {one.name: getattr(tape, one.name) for one in fields(Tape)}
    return Tape(**{name: table if name in whole else table[first:last] for name, table in rows.items()})
