"""Cash dividends into the books, where the broker pays them: at each settlement, and after a correction by a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final

from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_journal import Journal
from bot.config import BrokerConfig
from bot.core.cash import dividends_due
from bot.core.exrights import ExRight

EX_RIGHTS_BACK: Final = timedelta(days=60)  # dividends are put right, and given shares looked for, as far back


def newest_events(session: date, store: ExRightStore, at: datetime) -> list[ExRight]:
    """The ex-dates up to `session` that may still change our books, as known at `at`."""
    return store.events(since=session - EX_RIGHTS_BACK, until=session, known_at=at)


def book_dividends(events: Sequence[ExRight], journal: Journal, broker: BrokerConfig, at: datetime) -> None:
    """Book what is due on `events` for the shares that the books hold now; what is booked already stays as it is."""
    if broker.pays_dividends:
        books = journal.books
        due = dividends_due(events, journal.orders.fills(), books.adjustments(), books.cash_events())
        journal.record_cash_events(due, at)


def correct_dividends(journal: Journal, broker: BrokerConfig, at: datetime) -> None:
    """Book anew after a correction: shares that a person found may have been held over an ex-date already settled."""
    settled = [session for session, _ in journal.books.identities()]
    if settled:
        book_dividends(newest_events(settled[-1], ExRightStore(journal.db), at), journal, broker, at)
