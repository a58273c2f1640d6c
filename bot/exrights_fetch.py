"""When ex-dates are asked for: a gap before bars are judged, tomorrow's on the evening before they are needed.

Ordinarily one request a board each evening. Capital reductions, for which the boards have tables of their own, are
asked for when they can concern us: a stock is not traded for days before one, so when one of ours has no bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Final, Protocol, get_args

from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_market import MarketStore
from bot.core.exrights import ExRight, Kind
from bot.errors import DataMissing
from bot.ports import Clock, Company, ExRightFeed

AHEAD: Final = timedelta(days=14)  # a result is published on the eve; further ahead costs nothing and finds changes
AGAIN: Final = timedelta(days=14)  # results of the last days are read again, so that corrections are found
DAYS_PER_SESSION: Final = 2  # generous: 245 sessions a year
LONGEST_GAP: Final = timedelta(days=16)  # between two sessions, over the Lunar New Year


class HasExRights(Protocol):
    """The ports that tell of ex-dates."""

    @property
    def clock(self) -> Clock:
        """Whose time it is."""

    @property
    def ex_rights(self) -> ExRightFeed:
        """The boards' tables."""

    @property
    def ex_right_store(self) -> ExRightStore:
        """What is stored."""

    @property
    def market(self) -> MarketStore:
        """The bars."""

    @property
    def companies(self) -> tuple[Company, ...]:
        """Our stocks."""


def catch_up_ex_rights(session: date, ports: HasExRights, history_sessions: int) -> list[str]:
    """Before the bars up to `session` are judged: ask for what was not asked for since. Problems in words."""
    needed = session - timedelta(days=DAYS_PER_SESSION * history_sessions)
    gaps = []
    for board, kind in _questions(ports.companies):
        told = ports.ex_right_store.through(f"{board} {kind}")
        if told is None or told[0] > needed or (kind == "dividend" and told[1] < session - LONGEST_GAP):
            gaps.append((board, kind))
    # An evening was missed when yesterday's session is there and its evening's question isn't.
    before = ports.market.session_before(session)
    for board, kind in _questions(ports.companies):
        told = ports.ex_right_store.through(f"{board} {kind}")
        if kind == "dividend" and before and told and told[1] < before and (board, kind) not in gaps:
            gaps.append((board, kind))
    return _ask(gaps, session, needed, ports)


def refresh_ex_rights(session: date, ports: HasExRights, history_sessions: int) -> list[str]:
    """On the evening of `session`: what goes ex next. Problems in words; what was known before still counts."""
    needed = session - timedelta(days=DAYS_PER_SESSION * history_sessions)
    traded = set(ports.market.bars_of(session))
    halted = {one.board for one in ports.companies if one.symbol not in traded}
    wanted = [(board, kind) for board, kind in _questions(ports.companies) if kind == "dividend" or board in halted]
    return _ask(wanted, session, needed, ports)


def known_events(ports: HasExRights, session: date, history_sessions: int) -> Mapping[str, list[ExRight]]:
    """By symbol, all that is known now of ex-dates that can touch `history_sessions` before `session` or the next."""
    since = session - timedelta(days=DAYS_PER_SESSION * history_sessions)
    events: dict[str, list[ExRight]] = {}
    for event in ports.ex_right_store.events(since=since, until=session + AHEAD + AHEAD, known_at=ports.clock.now()):
        events.setdefault(event.symbol, []).append(event)
    return events


def _questions(companies: Sequence[Company]) -> list[tuple[str, Kind]]:
    """Every table that can hold an event of ours."""
    boards = sorted({one.board for one in companies})
    return [(board, kind) for board in boards for kind in get_args(Kind)]


def _ask(wanted: Sequence[tuple[str, Kind]], session: date, needed: date, ports: HasExRights) -> list[str]:
    """Ask each table from where it was last read on; what could not be had is told, what came is stored."""
    problems = []
    for board, kind in wanted:
        what, symbols = f"{board} {kind}", {one.symbol for one in ports.companies if one.board == board}
        told = ports.ex_right_store.through(what)
        first = needed if told is None or told[0] > needed else min(told[1], session) - AGAIN
        last = session + AHEAD
        try:
            events = ports.ex_rights.events(board, kind, first, last, symbols)
        except DataMissing as missing:
            problems.append(str(missing))
            continue
        now = ports.clock.now()
        ports.ex_right_store.keep(events, kind=kind, symbols=symbols, first=first, last=last, known_at=now)
        ports.ex_right_store.asked(what, first, session, now)
    return problems
