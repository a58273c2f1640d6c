"""18:30: journal first, then the broker; never twice, and what is in doubt is `unknown`.

Before every single order: is there a halt, is there still time, does a limit forbid it? Only then it leaves.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime

from bot.adapters.halt_switch import Halted
from bot.calendar import calendar_of
from bot.config import TAIPEI, Config
from bot.core.lateness import Chance, Window, chance
from bot.core.limits import refusal_of
from bot.core.orders import Order, OrderState, Side
from bot.core.sessions import TRADING_STARTS, Calendar, next_session
from bot.secrets import redacted
from bot.stages.facts import Known, facts_now, known_tonight, watch_breaker
from bot.stages.stage import Outcome, Ports


def send_orders(session: date, ports: Ports, config: Config) -> Outcome:
    """Send the session's planned orders, sells first, each at most once; what may not leave says why.

    `waiting` while halted or while the order window is closed: a later call carries on with what is left.
    """
    known = known_tonight(session, ports, config)
    breaker = watch_breaker(session, ports, config.limits)
    tally: Counter[str] = Counter()
    reasons: list[str] = [f"the breaker is open: {breaker}"] if breaker else []
    while planned := _planned(session, ports):
        order, now = planned[0], ports.clock.now()
        turn = chance_of(now, session, ports, config)
        if turn.act == "cancel":
            return _give_up(planned, turn.reason, tally, reasons, ports)
        halted = ports.halt.read()
        if halted is not None:
            ports.halt.keep_row(halted)
        if halted is not None or turn.act == "wait":
            why = halted.text if halted else turn.reason
            return Outcome(outcome="waiting", detail=_told(tally, [f"{len(planned)} wait: {why}", *reasons]))
        if turn.reason and turn.reason not in reasons:
            reasons.append(turn.reason)
        state, reason = _send_or_refuse(order, known, breaker, ports, config)
        tally[state] += 1
        reasons += [reason] if reason else []
    return Outcome(outcome="done", detail=_told(tally, reasons))


def chance_of(now: datetime, session: date, ports: Ports, config: Config) -> Chance:
    """Whether orders decided after `session` may leave at `now`."""
    can = ports.broker.abilities
    window = None
    if can.window_opens is not None and can.window_closes is not None:
        window = Window(opens=can.window_opens, closes=can.window_closes)
    return chance(
        now,
        due=datetime.combine(session, config.timetable.at("send")),
        opening=order_deadline(session, now, calendar_of(ports)),
        window=window,
        late=config.timetable.late,
    )


def _planned(session: date, ports: Ports) -> list[Order]:
    """What is left to send, sells first."""
    orders = [one.order for one in ports.journal.orders(OrderState.PLANNED) if one.order.decided == session]
    return sorted(orders, key=lambda order: (order.side is Side.BUY, order.symbol, order.key))


def _send_or_refuse(order: Order, known: Known, breaker: str, ports: Ports, config: Config) -> tuple[str, str]:
    """One order's turn: its new state in a word, and why, where a limit forbade it."""
    refusal = refusal_of(order, facts_now(known, breaker, ports, config), config.limits, config.costs)
    now = ports.clock.now()
    if refusal is not None:
        ports.journal.move(order.key, OrderState.CANCELLED, f"not sent, {refusal.limit}: {refusal.reason}", now)
        text = f"not sent: {order.side} {order.shares:,} {order.symbol}, {refusal.limit}: {refusal.reason}"
        ports.journal.record_surprises(order.decided, [text], now)
        return "refused by a limit", f"{order.side} {order.symbol}, {refusal.limit}: {refusal.reason}"
    ports.journal.move(order.key, OrderState.SENDING, "", now)
    receipt = ports.broker.submit(order)
    said = redacted(receipt.reply)
    ports.journal.move(order.key, receipt.state, "the broker's answer", ports.clock.now(), reply=said)
    return str(receipt.state), ""


def _give_up(planned: list[Order], why: str, tally: Counter[str], reasons: list[str], ports: Ports) -> Outcome:
    """Cancel what is left: there is no more time for it. A halt until now is the true reason."""
    halted: Halted | None = ports.halt.read()
    reason = f"{why} ({halted.text})" if halted else why
    for order in planned:
        ports.journal.move(order.key, OrderState.CANCELLED, reason, ports.clock.now())
    tally[str(OrderState.CANCELLED)] += len(planned)
    sent = sum(tally.values()) > len(planned)
    return Outcome(outcome="done" if sent else "skipped", detail=_told(tally, [reason, *reasons]))


def _told(tally: Counter[str], reasons: list[str]) -> str:
    """The counts in one line, and every reason."""
    counts = ", ".join(f"{count} {what}" for what, count in tally.items())
    return "; ".join([part for part in (counts, *reasons) if part]) or "nothing to send"


def drop_unsent(session: date, ports: Ports, at: datetime) -> None:
    """Orders of earlier sessions that never left (the daemon was down, or halted) are cancelled: too late."""
    for one in ports.journal.orders(OrderState.PLANNED):
        if one.order.decided < session:
            note = "never sent: its session began while twtrader was not running, or halted"
            ports.journal.move(one.order.key, OrderState.CANCELLED, note, at)


def mark_interrupted(ports: Ports, at: datetime) -> None:
    """An order found `sending` was on the wire when we died: its fate is unknown, and it is never sent again."""
    for one in ports.journal.orders(OrderState.SENDING):
        ports.journal.move(one.order.key, OrderState.UNKNOWN, "interrupted while sending", at)


def order_deadline(session: date, known_at: datetime, calendar: Calendar) -> datetime:
    """The opening of the session after `session`: an order sent later would have seen part of it."""
    return datetime.combine(next_session(session, known_at, calendar), TRADING_STARTS, tzinfo=TAIPEI)
