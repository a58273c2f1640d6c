"""18:30: journal first, then the broker; never twice, and what is in doubt is `unknown`."""

from __future__ import annotations

from datetime import date, datetime

from bot.calendar import calendar_of
from bot.config import TAIPEI, Config
from bot.core.orders import Order, OrderState
from bot.core.sessions import TRADING_STARTS, Calendar, next_session
from bot.stages.stage import Outcome, Ports


def send_orders(session: date, ports: Ports, config: Config) -> Outcome:
    """Send the session's planned orders, sells first, each at most once; too late is not at all."""
    del config
    at = ports.clock.now()
    planned = [one for one in ports.journal.orders(OrderState.PLANNED) if one.order.decided == session]
    deadline = order_deadline(session, at, calendar_of(ports))
    states = [_send(one.order, deadline, ports) for one in planned]
    told = ", ".join(f"{states.count(state)} {state}" for state in OrderState if state in states)
    if planned and set(states) == {OrderState.CANCELLED}:
        return Outcome(outcome="skipped", detail=f"too late for {len(planned)} orders: the next session has begun")
    return Outcome(outcome="done", detail=told or "nothing to send")


def _send(order: Order, deadline: datetime, ports: Ports) -> OrderState:
    """Journal first, then the broker; from `deadline` on the order is cancelled instead."""
    at = ports.clock.now()
    if at >= deadline:
        ports.journal.move(order.key, OrderState.CANCELLED, "too late: the next session has begun", at)
        return OrderState.CANCELLED
    ports.journal.move(order.key, OrderState.SENDING, "", at)
    receipt = ports.broker.submit(order)
    ports.journal.move(order.key, receipt.state, "the broker's answer", ports.clock.now(), reply=receipt.reply)
    return receipt.state


def drop_unsent(session: date, ports: Ports, at: datetime) -> None:
    """Orders of earlier sessions that never left (the daemon was down) are cancelled: their session has begun."""
    for one in ports.journal.orders(OrderState.PLANNED):
        if one.order.decided < session:
            ports.journal.move(one.order.key, OrderState.CANCELLED, "never sent: twtrader was not running", at)


def mark_interrupted(ports: Ports, at: datetime) -> None:
    """An order found `sending` was on the wire when we died: its fate is unknown, and it is never sent again."""
    for one in ports.journal.orders(OrderState.SENDING):
        ports.journal.move(one.order.key, OrderState.UNKNOWN, "interrupted while sending", at)


def order_deadline(session: date, known_at: datetime, calendar: Calendar) -> datetime:
    """The opening of the session after `session`: an order sent later would have seen part of it."""
    return datetime.combine(next_session(session, known_at, calendar), TRADING_STARTS, tzinfo=TAIPEI)
