"""18:30: journal first, then the broker; never twice, and what is in doubt is `unknown`.

Before every single order: is there a halt, is there still time, does a limit forbid it? Only then it leaves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, datetime
from typing import Final

from bot.adapters.halt_switch import Halted
from bot.calendar import calendar_of
from bot.config import TAIPEI, Config
from bot.core.lateness import Chance, Window, chance
from bot.core.legs import leg_shares
from bot.core.limits import refusal_of
from bot.core.orders import Order, OrderState, Side
from bot.core.sessions import TRADING_STARTS, Calendar, next_session
from bot.secrets import redacted
from bot.stages.facts import Known, facts_now, known_tonight, watch_breaker
from bot.stages.stage import Outcome, Ports

CLOSED_NOTE: Final = "the broker takes no orders now"


def send_orders(session: date, ports: Ports, config: Config) -> Outcome:
    """Send the session's planned orders, sells first, each at most once; what may not leave says why.

    `waiting` while halted, while the order window is closed, or when the broker takes no orders all the same: a later
    call carries on with what is left.
    """
    breaker = watch_breaker(session, ports, config.limits)
    _split_into_legs(session, ports)
    tally: Counter[str] = Counter()
    reasons: list[str] = [f"the breaker is open: {breaker}"] if breaker else []
    known: Known | None = None
    while planned := _planned(session, ports):
        turn = chance_of(ports.clock.now(), session, ports, config)
        if turn.act == "cancel":
            return _give_up(planned, turn.reason, tally, reasons, ports)
        wait = _halted(ports) or (turn.reason if turn.act == "wait" else "")
        if not wait:
            if turn.reason and turn.reason not in reasons:
                reasons.append(turn.reason)
            known = known or known_tonight(session, ports, config)
            state, reason, wait = _send_or_refuse(planned[0], known, breaker, ports, config)
            tally += Counter([state] if state else [])
            reasons += [reason] if reason else []
        if wait:
            left = len(_planned(session, ports))
            return Outcome(outcome="waiting", detail=_told(tally, [f"{left} wait: {wait}", *reasons]))
    return Outcome(outcome="done", detail=_told(tally, reasons))


def _halted(ports: Ports) -> str:
    """The halt in force, in words; "" when there is none. One that only a file tells of gets its row now."""
    halted = ports.halt.read()
    if halted is None:
        return ""
    ports.halt.keep_row(halted)
    return halted.text


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
    orders = [one.order for one in ports.journal.orders.select(OrderState.PLANNED) if one.order.decided == session]
    return sorted(orders, key=lambda order: (order.side is Side.BUY, order.symbol, order.key))


def _split_into_legs(session: date, ports: Ports) -> None:
    """Where a broker takes whole lots and the odd rest apart, each of them is an order of its own."""
    for order in _planned(session, ports):
        parts = leg_shares(order.shares, ports.broker.abilities)
        if len(parts) > 1:
            ports.journal.plan_legs(order, parts, ports.clock.now())


def _send_or_refuse(order: Order, known: Known, breaker: str, ports: Ports, config: Config) -> tuple[str, str, str]:
    """One order's turn: its new state in a word, why where a limit forbade it, and why the others wait, if they do.

    Without a state it has not left, and waits with the others.
    """
    refusal = refusal_of(order, facts_now(known, breaker, ports, config), config.limits, config.costs)
    now = ports.clock.now()
    if refusal is not None:
        why = f"{refusal.limit}: {refusal.reason}"
        ports.journal.move(order.key, OrderState.CANCELLED, f"not sent, {why}", now)
        ports.journal.record_surprises(
            order.decided, [f"not sent: {order.side} {order.shares:,} {order.symbol}, {why}"], now
        )
        return "refused by a limit", f"{order.side} {order.symbol}, {why}", ""
    halted = _halted(ports)  # once more, as late as can be: asking the limits took its time
    if halted:
        return "", "", halted
    ports.journal.move(order.key, OrderState.SENDING, "", now)
    receipt = ports.broker.submit(order)
    said, note = redacted(receipt.reply), CLOSED_NOTE if receipt.closed else "the broker's answer"
    ports.journal.move(order.key, receipt.state, note, ports.clock.now(), reply=said)
    again = _plan_again(order, said, ports, config) if receipt.closed else ""
    return str(receipt.state), "", again


def _plan_again(order: Order, said: str, ports: Ports, config: Config) -> str:
    """Plan what the broker would not take now as a further leg, if the config allows; why the others wait then.

    Its answer is certain, nothing was accepted, and it has been false. So the same intent may go out again under a key
    of its own: seen in the journal, told as a surprise, and as often as `broker.closed_retries` says, 0 times unless
    the user asks for more.
    """
    tries = 0
    for one in ports.journal.orders.select(OrderState.REJECTED):
        if replace(one.order, leg=order.leg) == order:
            tries += ports.journal.orders.events(one.order.key)[-1].note == CLOSED_NOTE
    if tries > config.broker.closed_retries:
        return ""
    now = ports.clock.now()
    leg = ports.journal.plan_again(order, f"again: leg {order.leg} was refused, {said}", now)
    text = f"{order.side} {order.symbol}: {said}, inside its order window; planned again as leg {leg.leg}"
    ports.journal.record_surprises(order.decided, [text], now)
    return f"the broker says {said}; tried again later"


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
    for one in ports.journal.orders.select(OrderState.PLANNED):
        if one.order.decided < session:
            note = "never sent: its session began while twtrader was not running, or halted"
            ports.journal.move(one.order.key, OrderState.CANCELLED, note, at)


def mark_interrupted(ports: Ports, at: datetime) -> int:
    """An order found `sending` was on the wire when we died: its fate is unknown, and it is never sent again."""
    found = ports.journal.orders.select(OrderState.SENDING)
    for one in found:
        ports.journal.move(one.order.key, OrderState.UNKNOWN, "interrupted while sending", at)
    return len(found)


def order_deadline(session: date, known_at: datetime, calendar: Calendar) -> datetime:
    """The opening of the session after `session`: an order sent later would have seen part of it."""
    return datetime.combine(next_session(session, known_at, calendar), TRADING_STARTS, tzinfo=TAIPEI)
