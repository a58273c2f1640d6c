"""The audit of one database: reads the facts and hands them to bot/core/audit.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_market import MarketStore
from bot.core.audit import OrderRecord, Post, Problem, audit_book, audit_cash, audit_orders, audit_posts


def order_records(db: Any) -> list[OrderRecord]:
    """Every order with its facts."""
    journal, market = Journal(db), MarketStore(db)
    settled = [
        date.fromisoformat(row["session"])
        for row in db.query("select session from stages where stage = 'settle' and outcome = 'done'")
    ]
    records = []
    for one in journal.orders.select():
        traded = market.session_after(one.order.decided)
        records.append(
            OrderRecord(
                order=one.order,
                state=one.state,
                events=tuple(journal.orders.events(one.order.key)),
                fills=tuple(journal.orders.fills(one.order.key)),
                settlements=sum(session >= traded for session in settled) if traded else 0,
            )
        )
    return records


def audit(
    db: Any,
    *,
    book_shares: Mapping[str, int] | None = None,
    book_cash_twd: int | None = None,
    posts: Sequence[Post] | None = None,
) -> list[Problem]:
    """All that is wrong with the books in `db`, and what waits for a person.

    `book_shares` and `book_cash_twd` are the broker's own, `posts` the platform's log of what arrived, where known.
    Empty: each intent left at most once, no order is lost, the cash identity holds to NT$1 at every settlement and
    now, and the broker's book is ours.

    Raises:
        Refused: there is no account in `db`.
    """
    journal, orders = Journal(db), order_records(db)
    held = journal.portfolio()
    problems = audit_orders(orders) + audit_cash([*journal.books.identities(), ("now", journal.cash_identity())])
    if book_shares is not None:
        ours = {symbol: position.shares for symbol, position in held.positions.items()}
        off_twd = None if book_cash_twd is None else book_cash_twd - held.cash_twd
        problems += audit_book(ours, book_shares, journal.unexplained(), off_twd)
    else:
        problems += [Problem(kind="unexplained", what=one.text) for one in journal.books.events(only_open=True)]
    return problems + (audit_posts(orders, posts) if posts is not None else [])
