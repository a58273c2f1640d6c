"""What a person is shown: the state of the database at one moment. bot/status_json.py and status_picture.py show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from bot.adapters.halt_switch import Halted
from bot.adapters.sqlite_books import BookEvent
from bot.adapters.sqlite_breaker import BreakerStore, Trip
from bot.adapters.sqlite_journal import EquityPoint, Journal
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_orders import JournalOrder
from bot.adapters.sqlite_signals import SignalStore
from bot.adapters.sqlite_stages import StageRun
from bot.config import Config
from bot.core.forecast import Article, Forecast, Sentiment
from bot.core.mood import Mood
from bot.core.orders import OPEN_STATES, OrderState
from bot.core.portfolio import Portfolio
from bot.core.signals import Signal
from bot.moods import evening_moods
from bot.solving import resolve_command, solving_command

SHOWN: Final = 12  # rows of each list


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything the view shows, read at one moment. `held` is None before an account was opened."""

    now: datetime
    clock_note: str  # why `now` is the last thing that happened and not the present; empty when it is
    broker: str
    next_jobs: tuple[tuple[datetime, str], ...]
    stages: tuple[StageRun, ...]
    start_cash_twd: int
    held: Portfolio | None
    closes_x100: Mapping[str, int]
    names: Mapping[str, str]
    orders: tuple[JournalOrder, ...]
    forecasts: tuple[Forecast, ...]
    moods: tuple[tuple[Article, Sentiment], ...]
    equity: tuple[EquityPoint, ...]
    surprises: tuple[tuple[date, str], ...]
    unexplained: tuple[tuple[BookEvent, str], ...]  # with the command that solves each
    signals: tuple[Signal, ...]
    halted: Halted | None
    breaker: Trip | None
    news: Mapping[str, Mood]  # by symbol, as it stood when the newest forecasts' session was decided, else as it is now

    @property
    def equity_twd(self) -> int | None:
        """Cash and positions at the last known closes; None while that can't be known."""
        if self.held is None or any(symbol not in self.closes_x100 for symbol in self.held.positions):
            return None
        return self.held.cash_twd + self.held.value_twd(self.closes_x100)

    @property
    def waiting(self) -> list[tuple[str, str]]:
        """What only a person or the next settlement can solve, each with the command that does."""
        unknown = [
            (f"{one.order.key} is unknown: {one.note}", resolve_command(one.order.key))
            for one in self.orders
            if one.state is OrderState.UNKNOWN
        ]
        return unknown + [(f"{event.text} since {event.first_seen}", command) for event, command in self.unexplained]


def read_snapshot(
    db: Any,
    now: datetime,
    next_jobs: Sequence[tuple[datetime, str]],
    clock_note: str = "",
    halted: Halted | None = None,
    config: Config | None = None,
) -> Snapshot:
    """The state of the database `db`; all orders that are open, and the newest of the rest.

    `config` says how headlines become moods; without it none are shown.
    """
    journal, market = Journal(db), MarketStore(db)
    account = journal.account()
    held = journal.portfolio() if account else None
    orders = journal.orders.select()
    still_open = [one for one in orders if one.state in OPEN_STATES]
    newest = orders[-SHOWN:]
    forecasts = market.newest_forecasts()
    symbols = sorted({*(held.positions if held else ()), *(one.symbol for one in forecasts)})
    return Snapshot(
        now=now,
        clock_note=clock_note,
        broker=account[0] if account else "",
        next_jobs=tuple(next_jobs),
        stages=tuple(journal.stages.last()),
        start_cash_twd=account[1] if account else 0,
        held=held,
        closes_x100=market.last_closes(symbols, until=now.date()) if symbols else {},
        names=market.names(),
        orders=tuple([one for one in still_open if one not in newest] + newest),
        forecasts=tuple(forecasts),
        moods=tuple(market.newest_sentiments(SHOWN)),
        equity=tuple(journal.equity()),
        surprises=tuple(journal.surprises()[-SHOWN:]),
        unexplained=tuple((one, solving_command(journal, one)) for one in journal.books.events(only_open=True)),
        signals=tuple(SignalStore(db).newest()),
        halted=halted,
        breaker=BreakerStore(db).open_trip(),
        news=_news(journal, market, forecasts[0].as_of, now, config) if config and forecasts else {},
    )


def _news(journal: Journal, market: MarketStore, session: date, now: datetime, config: Config) -> Mapping[str, Mood]:
    """The mood of each stock's news in the decision of `session`."""
    model = market.model_of(session, config.model.past_sessions, config.model.future_sessions)
    if model is None:
        return {}
    return evening_moods(market.db, session, model, journal.decided_at(session) or now, config)
