"""Questions about past sessions, made by the code that makes tonight's: what was known then, and nothing later."""

from __future__ import annotations

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from backtest.history import History
from bot.config import TAIPEI
from bot.core.exrights import ExRight
from bot.core.market import is_etf, tick_x100
from bot.errors import Refused
from bot.ports import Company, Question
from bot.stages.forecast import question_after

EX_RIGHTS: Final = "ex_rights.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many bars a question and its answer have, and whether the question names the stock and the day."""

    past_sessions: int
    future_sessions: int
    masked: bool = False


def questions_of_history(
    history: History,
    sessions: Sequence[date],
    companies: Mapping[str, Company],
    events: Mapping[str, Sequence[ExRight]],
    shape: Shape,
) -> Iterator[Question | None]:
    """For each session and stock that traded in it, oldest first, the question after its close; None: too few bars.

    `events` are each stock's ex-dates, oldest first. One counts from its ex-date on, when its reference price had been
    published for a day; when we came to know of it doesn't matter for what was known to everyone.
    """
    days = {symbol: [event.ex_date for event in told] for symbol, told in events.items()}
    for session in sessions:
        known = history.after(session)
        for symbol in known.bars:
            past = known.past(symbol, shape.past_sessions)
            ex_days, told = days.get(symbol, ()), events.get(symbol, ())
            ours = told[bisect_left(ex_days, past[0].session) : bisect_right(ex_days, session)]
            yield question_after(session, companies[symbol], past, ours, shape, masked=shape.masked)


def events_beside(folder: Path, history: History) -> dict[str, list[ExRight]]:
    """The ex-dates in `folder`/ex_rights.csv, by stock, oldest first; none where there is no such file.

    Its `factor` is reference price / close before. The reference is rounded to the tick, as the exchange does. Where
    the last bar before is neither of `prev` nor of the session before (a gap in the bars), the event is left out: the
    close that the factor counts from is not known.

    Raises:
        Refused: the file can't be read.
    """
    file = folder / EX_RIGHTS
    if not file.exists():
        return {}
    found: dict[str, list[ExRight]] = {}
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            for line in csv.DictReader(lines):
                factor = Decimal(line["factor"])
                event = _event(history, line["code"], date.fromisoformat(line["ex_date"]), line["prev"], factor)
                if event is not None:
                    found.setdefault(event.symbol, []).append(event)
    except (OSError, ValueError, KeyError, InvalidOperation) as wrong:
        raise Refused(f"{file}: {wrong}") from wrong
    return {symbol: sorted(told, key=lambda one: one.ex_date) for symbol, told in found.items()}


def _event(history: History, symbol: str, ex_date: date, before: str, factor: Decimal) -> ExRight | None:
    if symbol not in history.symbols:
        return None
    series = history.series(symbol)
    last = bisect_left(series.sessions, ex_date) - 1
    if last < 0:
        return None
    market_before = history.sessions[bisect_left(history.sessions, ex_date) - 1]
    if series.sessions[last] != market_before and series.sessions[last].isoformat() != before:
        return None
    close_x100 = series.quotes[last].close_x100
    exact = close_x100 * factor
    tick = tick_x100(round(exact), is_etf(symbol))
    return ExRight(
        symbol=symbol,
        ex_date=ex_date,
        kind="dividend" if factor <= 1 else "reduction",
        previous_x100=close_x100,
        reference_x100=round(exact / tick) * tick,
        source=EX_RIGHTS,
        known_at=datetime.combine(series.sessions[last], time(18), TAIPEI),
    )
