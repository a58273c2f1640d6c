"""What a person types to solve what only a person can: an order of unknown fate, a difference in the books."""

from __future__ import annotations

from typing import Final

from bot.adapters.sqlite_books import CASH, BookEvent
from bot.adapters.sqlite_journal import Journal
from bot.core.orders import OrderState

FITTING_SESSIONS: Final = 5  # an order of the newest so many decisions is offered as what explains a difference


def solving_command(journal: Journal, event: BookEvent) -> str:
    """What a person types to solve an open difference: if one order thought dead fits it, that is most likely it."""
    dead = journal.orders.select(OrderState.EXPIRED, OrderState.REJECTED, OrderState.CANCELLED)
    newest = sorted({one.order.decided for one in journal.orders.select()})[-FITTING_SESSIONS:]
    fitting = [
        one.order.key
        for one in dead
        if one.order.symbol == event.symbol
        and one.order.decided in newest
        and event.shares == one.rest_shares
        and journal.orders.standing(one.order.key).left
    ]
    if len(fitting) == 1:
        return f"twtrader orders resolve {fitting[0]} --filled --reason ..."
    return adopt_command(event.symbol)


def resolve_command(key: str) -> str:
    """What a person types who knows what became of an order."""
    return f"twtrader orders resolve {key} --filled|--not-filled --reason ..."


def adopt_command(symbol: str) -> str:
    """What a person types to take a difference into the books."""
    how = "--amount" if symbol == CASH else "--price"
    return f"twtrader reconcile --adopt {symbol} {how} ... --reason ..."
