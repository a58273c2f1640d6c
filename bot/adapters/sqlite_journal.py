"""The journal: what we decided, sent, and learned. Everything is written before the world is touched."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from bot.adapters.sqlite_books import CASH, Books
from bot.adapters.sqlite_open import writing
from bot.adapters.sqlite_orders import Orders
from bot.adapters.sqlite_stages import Stages
from bot.core.cash import Adjustment, CashEvent, CashIdentity, apply_adjustment, cash_identity
from bot.core.order_events import OrderEvent
from bot.core.orders import Order, OrderState
from bot.core.portfolio import Portfolio, apply_fill
from bot.errors import Refused

if TYPE_CHECKING:  # a view needs neither the rule nor the settlement
    from bot.core.decide import Decision
    from bot.core.settle import Fate, Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityPoint:
    """What we were worth after a session, whole TWD."""

    session: date
    cash_twd: int
    value_twd: int

    @property
    def equity_twd(self) -> int:
        """Cash and positions together."""
        return self.cash_twd + self.value_twd


class Journal:
    """Reads and writes what we did. Each public method is one transaction. One connection, one thread.

    `orders` and `books` are there to be read; what is written into them is written by a method here. `stages` may be
    written on their own.
    """

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`, or from `open_for_reading`."""
        self.db = db
        self.orders = Orders(db)
        self.books = Books(db)
        self.stages = Stages(db)

    # --- the account --------------------------------------------------------------------------------------

    def open_account(self, broker: str, start_cash_twd: int, address: str, at: datetime) -> None:
        """Remember whose account this database journals, and what it started with. `address` is empty for paper.

        Raises:
            Refused: the database belongs to another account than the config now names.
        """
        account = self.account()
        if account is None:
            self.db["account"].insert(
                {
                    "id": 1,
                    "broker": broker,
                    "start_cash_twd": start_cash_twd,
                    "address": address,
                    "opened_at": at.isoformat(),
                }
            )
            return
        if account != (broker, start_cash_twd):
            raise Refused(
                f"this database is the journal of a {account[0]} account opened with NT${account[1]:,}; the config "
                f"says {broker} with NT${start_cash_twd:,}: change `broker` back or take another `store.path`"
            )

        known = str(next(self.db.query("select address from account"))["address"])
        if known != address:
            raise Refused(
                f"this database is the journal of the account at {known or 'paper'}; the config says "
                f"{address or 'paper'}: take another `store.path`"
            )

    def account(self) -> tuple[str, int] | None:
        """The broker's kind and the cash the account opened with, in TWD; None before the first start."""
        row = next(self.db.query("select broker, start_cash_twd from account"), None)
        return (row["broker"], row["start_cash_twd"]) if row else None

    # --- decisions, and what became of their orders -------------------------------------------------------

    def decision_sha256(self, session: date) -> str | None:
        """The hash of the decision taken after `session`, or None."""
        row = next(self.db.query("select sha256 from decisions where session = ?", [session.isoformat()]), None)
        return str(row["sha256"]) if row else None

    def decided_at(self, session: date) -> datetime | None:
        """When the decision after `session` was taken, or None."""
        row = next(self.db.query("select decided_at from decisions where session = ?", [session.isoformat()]), None)
        return datetime.fromisoformat(row["decided_at"]) if row else None

    def decision_inputs(self, session: date) -> dict[str, Any] | None:
        """What the decision taken after `session` followed from, or None."""
        row = next(self.db.query("select inputs from decisions where session = ?", [session.isoformat()]), None)
        told: dict[str, Any] | None = json.loads(row["inputs"]) if row else None
        return told

    def newest_decision(self) -> date | None:
        """The last session that was decided."""
        row = next(self.db.query("select max(session) as session from decisions"))
        return date.fromisoformat(row["session"]) if row["session"] else None

    def record_decision(self, decision: Decision, at: datetime) -> None:
        """Store a decision with its inputs and plan its orders, all or nothing; a second time changes nothing."""
        with writing(self.db):
            if self.decision_sha256(decision.session) is not None:
                return
            self.db["decisions"].insert(
                {
                    "session": decision.session.isoformat(),
                    "decided_at": at.isoformat(),
                    "sha256": decision.sha256,
                    "inputs": json.dumps(decision.inputs, sort_keys=True, separators=(",", ":")),
                }
            )
            for order in decision.orders:
                self.orders.plan(order, order.reason, at)

    def move(self, key: str, after: OrderState, note: str, at: datetime, *, reply: str = "") -> None:
        """Take one order to its next state. `reply` is what the broker said, redacted.

        Raises:
            ValueError: the state machine has no such step, or it is `filled`, which takes fills: see `record_fate`.
            KeyError: there is no such order.
        """
        if after is OrderState.FILLED:
            raise ValueError(f"{key}: what filled it must be booked with it")
        with writing(self.db):
            self.orders.move(OrderEvent(key=key, at=at, state=after, note=note, reply=reply), late=False)

    def plan_legs(self, order: Order, shares: Sequence[int], at: datetime) -> None:
        """Turn a planned order into one leg for each of `shares`, which add up to its own; the first keeps its key.

        Raises:
            ValueError: it is not planned any more, a part is not positive, or shares would get lost.
        """
        if sum(shares) != order.shares or min(shares) <= 0:
            raise ValueError(f"{order.key}: {order.shares:,} shares are not {shares}")
        with writing(self.db):
            self.orders.check_state(order.key, OrderState.PLANNED)
            self.orders.shrink(order.key, shares[0])
            for part in shares[1:]:
                self.orders.add_leg(replace(order, shares=part), f"{part:,} of {order.shares:,} shares", at)

    def plan_again(self, order: Order, why: str, at: datetime) -> Order:
        """Plan the rejected `order` once more, as a further leg, where certainly nothing was accepted.

        Raises:
            ValueError: it was not rejected.
        """
        with writing(self.db):
            self.orders.check_state(order.key, OrderState.REJECTED)
            return self.orders.add_leg(order, why, at)

    def record_fate(self, fate: Fate, by: str, at: datetime) -> None:
        """Book what became of an order: its parts that traded and its state, all or nothing.

        Raises:
            ValueError: the state machine has no such step, or more would trade than was ordered or is held.
            KeyError: there is no such order.
        """
        with writing(self.db):
            self.orders.book(fate, by, at)
            if fate.fills:
                self.portfolio()

    def resolve(self, fate: Fate, at: datetime) -> None:
        """Book a person's word on an order; what it explains of an open difference is explained. All or nothing.

        Raises:
            ValueError, KeyError: as `record_fate`.
        """
        with writing(self.db):
            self.record_fate(fate, "person", at)
            for fill in fate.fills:
                self.books.explain(fill.symbol, fill.shares, f"{fate.key} resolved: {fate.note}", at)

    def settle(self, session: date, result: Settlement, at: datetime) -> list[str]:
        """Book what became of the orders, and keep what stays unexplained, all or nothing.

        Says in words what is newly unexplained and what is solved. A second time changes nothing.

        Raises:
            ValueError, KeyError: as `record_fate`.
        """
        with writing(self.db):
            for fate in sorted(result.fates, key=lambda one: any(fill.shares > 0 for fill in one.fills)):
                self.orders.book(fate, "book", at)
            for one in result.adjustments:
                self.books.add_adjustment(one, at)
            solutions = {fate.fills[0].symbol: f"{fate.key}: {fate.note}" for fate in result.fates if fate.fills}
            solutions |= {one.symbol: one.reason for one in result.adjustments}
            told = self.books.see(session, result.unexplained, result.cash_off_twd, at, solutions)
            self.portfolio()
        return told

    def unexplained(self) -> dict[str, int]:
        """By symbol, the shares that the broker's book had more than the journal at the last settlement."""
        return {event.symbol: event.shares for event in self.books.events(only_open=True) if event.shares}

    # --- what we own --------------------------------------------------------------------------------------

    def portfolio(self) -> Portfolio:
        """Cash and positions: the fold of all fills, adjustments and dividends over the starting cash.

        Raises:
            Refused: no account was opened yet.
            ValueError: more is sold than was held: a bug.
        """
        account = self.account()
        if account is None:
            raise Refused("no account yet; `twtrader run` opens it")
        held = Portfolio(cash_twd=account[1] + sum(one.amount_twd for one in self.books.cash_events()))
        waiting = self.books.adjustments()
        for number, fill in self.orders.numbered_fills():
            while waiting and waiting[0].after_fill < number:
                held = apply_adjustment(held, waiting.pop(0))
            held = apply_fill(held, fill)
        for one in waiting:
            held = apply_adjustment(held, one)
        return held

    def cash_identity(self, broker_twd: int | None = None) -> CashIdentity:
        """Start + sells - buys - fees - taxes + dividends + adjustments against our own cash, as of now.

        `broker_twd` is the cash that the broker tells, in TWD; None where it tells none.

        Raises:
            Refused: no account was opened yet.
        """
        cash_twd, account = self.portfolio().cash_twd, self.account()
        assert account is not None
        return cash_identity(
            account[1], self.orders.fills(), self.books.cash_events(), self.books.adjustments(), cash_twd, broker_twd
        )

    def record_cash_events(self, events: Iterable[CashEvent], at: datetime) -> None:
        """Book cash that came or went without a trade, all or nothing."""
        with writing(self.db):
            self.books.add_cash_events(events, at)

    def record_identity(self, session: date, broker_twd: int | None, at: datetime) -> None:
        """Keep the cash identity after `session`; settling again replaces it.

        Raises:
            Refused: no account was opened yet.
        """
        with writing(self.db):
            self.books.record_identity(session, self.cash_identity(broker_twd), at)

    def adopt_cash(self, one: CashEvent, at: datetime) -> None:
        """Take unexplained cash into the books, with the reason, and close its event, all or nothing."""
        with writing(self.db):
            self.books.add_cash_events([one], at)
            self.books.explain(CASH, 0, f"adopted: {one.note}", at, cash_twd=one.amount_twd)

    def adopt(self, one: Adjustment, at: datetime) -> None:
        """Take unexplained shares into the books, with the reason, and close their event, all or nothing.

        Raises:
            ValueError: more shares would go than are held.
        """
        with writing(self.db):
            self.books.add_adjustment(one, at)
            self.books.explain(one.symbol, one.shares, f"adopted: {one.reason}", at)
            self.portfolio()

    def record_equity(self, point: EquityPoint) -> None:
        """Store what we were worth after a session."""
        self.db["equity"].upsert(
            {"session": point.session.isoformat(), "cash_twd": point.cash_twd, "value_twd": point.value_twd},
            pk="session",
        )

    def equity(self) -> list[EquityPoint]:
        """The equity line, oldest first."""
        return [
            EquityPoint(
                session=date.fromisoformat(row["session"]), cash_twd=row["cash_twd"], value_twd=row["value_twd"]
            )
            for row in self.db.query("select * from equity order by session")
        ]

    def record_surprises(self, session: date, texts: Iterable[str], at: datetime) -> None:
        """Store what a person must look at; the same text for the same session once."""
        self.db["surprises"].insert_all(
            [{"at": at.isoformat(), "session": session.isoformat(), "text": text} for text in texts], ignore=True
        )

    def surprises(self) -> list[tuple[date, str]]:
        """Everything a person must look at, oldest first."""
        return [
            (date.fromisoformat(row["session"]), row["text"])
            for row in self.db.query("select * from surprises order by id")
        ]
