"""How many parameter sets were ever tried on which days: the number that the deflated Sharpe ratio needs.

Every sweep, guided search and walk-forward adds what it tried; nothing here is ever taken back. A set counts once for
each data it was tried on, however often it was run. Two runs on other bars or forecasts, or on other days, are other
data; `tried` adds up all data whose days overlap, because who moves the first day by one has not begun anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from math import isfinite
from typing import Any

from bot.core.rule import LATER_KNOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedOn:
    """What sets are tried on: `sha256` names the bars and forecasts of since..until."""

    sha256: str
    strategy: str
    since: date
    until: date
    forecaster: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One parameter set and its Sharpe ratio per session (not a year's), None where it has none: it never traded."""

    set_id: int
    sharpe: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """What was tried: `count` distinct sets, and mean and variance of the `with_sharpe` Sharpe ratios per session.

    The variance is that of a sample (divided by n - 1); it and the mean are None where there are too few.
    """

    count: int
    with_sharpe: int
    sharpe_mean: float | None
    sharpe_variance: float | None


def set_id(strategy: str, knobs: Mapping[str, int]) -> int:
    """A parameter set's name, the same on every machine: 63 bits of a hash over its knobs in order of their names.

    Knobs that came later and are off are left out: a set tried before they were there is the same set.
    """
    named = [name for name in sorted(knobs) if knobs[name] != LATER_KNOBS.get(name)]
    text = strategy + "".join(f" {name}={knobs[name]}" for name in named)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def record_trials(db: Any, tape: TriedOn, trials: Iterable[Trial], at: datetime) -> int:
    """Add `trials` on `tape` in one transaction; a set that was tried there before stays as it was.

    Returns how many were new. `db` comes from `open_database`; `at` is an aware moment.
    """
    rows = [(trial.set_id, _finite(trial.sharpe)) for trial in trials]
    with db.conn:
        db.conn.execute(
            "insert or ignore into trial_tapes (sha256, strategy, since, until, forecaster, first_tried_at) "
            "values (?, ?, ?, ?, ?, ?)",
            [tape.sha256, tape.strategy, tape.since.isoformat(), tape.until.isoformat(), tape.forecaster,
             at.isoformat()],
        )  # fmt: skip
        (tape_id,) = db.conn.execute(
            "select id from trial_tapes where sha256 = ? and strategy = ?", [tape.sha256, tape.strategy]
        ).fetchone()
        before = db.conn.total_changes
        db.conn.executemany(
            "insert or ignore into trials (tape, set_id, sharpe) values (?, ?, ?)",
            ((tape_id, one, sharpe) for one, sharpe in rows),
        )
        return int(db.conn.total_changes - before)


def tried(
    db: Any, *, strategy: str, since: date = date.min, until: date = date.max, sha256: str | None = None
) -> Trials:
    """What was tried with `strategy` on any data whose days overlap since..until, or on the data `sha256` alone.

    A set that was tried on two overlapping data counts once; each of its Sharpe ratios counts in the variance.
    """
    where = "p.strategy = ? and p.since <= ? and p.until >= ?"
    asked: list[Any] = [strategy, until.isoformat(), since.isoformat()]
    if sha256 is not None:
        where += " and p.sha256 = ?"
        asked.append(sha256)
    rows = f"from trials t join trial_tapes p on p.id = t.tape where {where}"
    count, known, mean = db.execute(
        f"select count(distinct t.set_id), count(t.sharpe), avg(t.sharpe) {rows}", asked
    ).fetchone()
    variance = None
    if known > 1:
        # In two passes: the one-pass formula loses all digits where the ratios lie close together.
        (squares,) = db.execute(f"select sum((t.sharpe - ?) * (t.sharpe - ?)) {rows}", [mean, mean, *asked]).fetchone()
        variance = squares / (known - 1)
    return Trials(count=count, with_sharpe=known, sharpe_mean=mean, sharpe_variance=variance)


def _finite(number: float | None) -> float | None:
    """`number`, or None where it is none."""
    return number if number is not None and isfinite(number) else None
