"""The journal: what we decided, sent, and learned. Everything is written before the world is touched."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from bot.adapters.sqlite_books import CASH, Books
from bot.adapters.sqlite_open import writing
from bot.core.cash import Adjustment, CashEvent, CashIdentity, apply_adjustment, cash_identity
from bot.core.order_events import OrderEvent, Standing, standing
from bot.core.orders import OPEN_STATES, Fill, Order, OrderState, Side, check_transition
from bot.core.portfolio import Portfolio, apply_fill
from bot.errors import Refused

if TYPE_CHECKING:  # a view needs neither the rule nor the settlement
    from bot.core.decide import Decision
    from bot.core.settle import Fate, Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """The last run of one stage of one session. `outcome` is done, closed, skipped, waiting or failed."""

    session: date
    stage: str
    started_at: datetime
    duration_s: float
    outcome: str
    detail: str

    @property
    def final(self) -> bool:
        """Whether the stage has had its say for this session: `waiting` is asked again."""
        return self.outcome != "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalOrder:
    """An order and where it stands; `note` is the last word about it."""

    order: Order
    state: OrderState
    note: str
    filled_shares: int = 0

    @property
    def rest_shares(self) -> int:
        """Shares that did not trade, negative for a sale."""
        rest = self.order.shares - self.filled_shares
        return rest if self.order.signed_shares > 0 else -rest


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
    """Reads and writes what we did. Each public method is one transaction. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db
        self.books = Books(db)

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

    # --- stages -------------------------------------------------------------------------------------------

    def stage(self, session: date, stage: str) -> StageRun | None:
        """The last run of `stage` for `session`."""
        rows = self.db.query("select * from stages where session = ? and stage = ?", [session.isoformat(), stage])
        return next((_stage(row) for row in rows), None)

    def record_stage(self, run: StageRun) -> None:
        """Store how a stage went; a later run of the same session and stage replaces it."""
        self.db["stages"].upsert(
            {
                "session": run.session.isoformat(),
                "stage": run.stage,
                "started_at": run.started_at.isoformat(),
                "duration_s": run.duration_s,
                "outcome": run.outcome,
                "detail": run.detail,
            },
            pk=("session", "stage"),
        )

    def last_stages(self) -> list[StageRun]:
        """The newest run of each stage."""
        rows = self.db.query("select *, max(session) from stages group by stage order by started_at")
        return [_stage(row) for row in rows]

    # --- decisions and orders -----------------------------------------------------------------------------

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
                self.db["orders"].insert(_order_row(order))
                self._event(OrderEvent(key=order.key, at=at, state=OrderState.PLANNED, note=order.reason))

    def orders(self, *states: OrderState) -> list[JournalOrder]:
        """Orders in `states` (all when none is given), oldest first, sells before buys."""
        marks = ",".join("?" * len(states))
        return self._orders(f"where state in ({marks})" if states else "", [str(state) for state in states])

    def find(self, key: str) -> JournalOrder | None:
        """The order `key`."""
        return next(iter(self._orders("where key = ?", [key])), None)

    def _orders(self, where: str, values: list[str]) -> list[JournalOrder]:
        rows = self.db.query(
            "select o.*, "
            "(select coalesce(sum(abs(f.shares)), 0) from fills f where f.key = o.key) as filled, "
            "(select case reply when '' then note else reply end from order_events e where e.key = o.key "
            "order by id desc limit 1) as note "
            f"from orders o {where} order by decided, side desc, symbol, strategy, leg",
            values,
        )
        return [
            JournalOrder(
                order=_order(row), state=OrderState(row["state"]), note=row["note"] or "", filled_shares=row["filled"]
            )
            for row in rows
        ]

    def open_orders(self) -> list[JournalOrder]:
        """Orders whose fate is not final."""
        return self.orders(*sorted(OPEN_STATES))

    def move(self, key: str, after: OrderState, note: str, at: datetime, *, reply: str = "") -> None:
        """Take one order to its next state. `reply` is what the broker said, redacted.

        Raises:
            ValueError: the state machine has no such step, or it is `filled`, which takes fills: see `record_fate`.
            KeyError: there is no such order.
        """
        if after is OrderState.FILLED:
            raise ValueError(f"{key}: what filled it must be booked with it")
        with writing(self.db):
            self._move(OrderEvent(key=key, at=at, state=after, note=note, reply=reply), late=False)

    def plan_legs(self, order: Order, shares: Sequence[int], at: datetime) -> None:
        """Turn a planned order into one leg for each of `shares`, which add up to its own; the first keeps its key.

        Raises:
            ValueError: it is not planned any more, or shares would get lost.
        """
        if sum(shares) != order.shares or min(shares) <= 0:
            raise ValueError(f"{order.key}: {order.shares:,} shares are not {shares}")
        with writing(self.db):
            self._check_state(order.key, OrderState.PLANNED)
            self.db["orders"].update(order.key, {"shares": shares[0]})
            for part in shares[1:]:
                self._plan_leg(replace(order, shares=part), f"{part:,} of {order.shares:,} shares", at)

    def plan_again(self, order: Order, why: str, at: datetime) -> Order:
        """Plan the rejected `order` once more, as a further leg, where certainly nothing was accepted.

        Raises:
            ValueError: it was not rejected.
        """
        with writing(self.db):
            self._check_state(order.key, OrderState.REJECTED)
            return self._plan_leg(order, why, at)

    def _plan_leg(self, order: Order, note: str, at: datetime) -> Order:
        """One more planned leg of the intent of `order`."""
        intent = [order.strategy, order.decided.isoformat(), order.symbol, str(order.side)]
        sql = "select max(leg) as leg from orders where strategy = ? and decided = ? and symbol = ? and side = ?"
        leg = replace(order, leg=next(self.db.query(sql, intent))["leg"] + 1)
        self.db["orders"].insert(_order_row(leg))
        self._event(OrderEvent(key=leg.key, at=at, state=OrderState.PLANNED, note=note))
        return leg

    def _check_state(self, key: str, state: OrderState) -> None:
        found = self.find(key)
        if found is None or found.state is not state:
            raise ValueError(f"{key} is {found.state if found else 'nowhere'}, not {state}")

    def record_fate(self, fate: Fate, by: str, at: datetime) -> None:
        """Book what became of an order: its parts that traded and its state, all or nothing.

        Raises:
            ValueError: the state machine has no such step, or more would trade than was ordered or is held.
            KeyError: there is no such order.
        """
        with writing(self.db):
            self._record_fate(fate, by, at)
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
            ValueError: as `record_fate`.
        """
        with writing(self.db):
            for fate in sorted(result.fates, key=lambda one: any(fill.shares > 0 for fill in one.fills)):
                self._record_fate(fate, "book", at)
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

    def order_events(self, key: str) -> list[OrderEvent]:
        """All that was learned of one order, in the order in which it was."""
        rows = self.db.query("select * from order_events where key = ? order by id", [key])
        return [
            OrderEvent(
                key=key,
                at=datetime.fromisoformat(row["at"]),
                state=OrderState(row["state"]),
                note=row["note"] or "",
                reply=row["reply"],
                by=row["by"],
            )
            for row in rows
        ]

    def standing(self, key: str) -> Standing:
        """Where one order stands by all the facts about it.

        Raises:
            KeyError: there is no such order.
        """
        found = self.find(key)
        if found is None:
            raise KeyError(f"no order {key}")
        return standing(found.order.shares, self.order_events(key), self.fills(key))

    def _record_fate(self, fate: Fate, by: str, at: datetime) -> None:
        before = self.standing(fate.key)
        if fate.late and not before.left:
            raise ValueError(f"{fate.key} never left, so it can't have filled")
        for fill in fate.fills:
            self.db["fills"].insert(_fill_row(fill))
        after = self.standing(fate.key)
        if after.contradictions:
            raise ValueError(f"{fate.key}: {'; '.join(after.contradictions)}")
        if (after.state is OrderState.FILLED) != ((fate.state or before.state) is OrderState.FILLED):
            raise ValueError(f"{fate.key}: {after.filled_shares:,} shares traded can't be {fate.state or before.state}")
        state = fate.state or before.state
        event = OrderEvent(key=fate.key, at=at, state=state, note=fate.note, by=by)
        if state is not before.state:
            self._move(event, late=fate.late)
        elif fate.fills:
            self._event(event)

    def _move(self, event: OrderEvent, *, late: bool) -> None:
        row = next(self.db.query("select state from orders where key = ?", [event.key]), None)
        if row is None:
            raise KeyError(f"no order {event.key}")
        check_transition(OrderState(row["state"]), event.state, late=late)
        self.db["orders"].update(event.key, {"state": str(event.state)})
        self._event(event)

    def _event(self, event: OrderEvent) -> None:
        self.db["order_events"].insert(
            {"key": event.key, "at": event.at.isoformat(), "state": str(event.state), "note": event.note,
             "reply": event.reply, "by": event.by}
        )  # fmt: skip

    # --- what we own --------------------------------------------------------------------------------------

    def fills(self, key: str | None = None) -> list[Fill]:
        """All fills, or those of one order, in the order in which they were learned."""
        where, values = ("where key = ?", [key]) if key is not None else ("", [])
        return [_fill(row) for row in self.db.query(f"select * from fills {where} order by id", values)]

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
        for row in self.db.query("select * from fills order by id"):
            while waiting and waiting[0].after_fill < row["id"]:
                held = apply_adjustment(held, waiting.pop(0))
            held = apply_fill(held, _fill(row))
        for one in waiting:
            held = apply_adjustment(held, one)
        return held

    def cash_identity(self, broker_twd: int | None = None) -> CashIdentity:
        """Start + sells - buys - fees - taxes + dividends + adjustments against our own cash, as of now.

        Raises:
            Refused: no account was opened yet.
        """
        cash_twd, account = self.portfolio().cash_twd, self.account()
        assert account is not None
        return cash_identity(
            account[1], self.fills(), self.books.cash_events(), self.books.adjustments(), cash_twd, broker_twd
        )

    def record_cash_events(self, events: Iterable[CashEvent], at: datetime) -> None:
        """Book cash that came or went without a trade, all or nothing."""
        with writing(self.db):
            self.books.add_cash_events(events, at)

    def record_identity(self, session: date, broker_twd: int | None, at: datetime) -> None:
        """Keep the cash identity after `session`; settling again replaces it."""
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


def _stage(row: dict[str, Any]) -> StageRun:
    return StageRun(
        session=date.fromisoformat(row["session"]),
        stage=row["stage"],
        started_at=datetime.fromisoformat(row["started_at"]),
        duration_s=row["duration_s"],
        outcome=row["outcome"],
        detail=row["detail"],
    )


def _order_row(order: Order) -> dict[str, object]:
    return {
        "key": order.key,
        "symbol": order.symbol,
        "decided": order.decided.isoformat(),
        "side": str(order.side),
        "shares": order.shares,
        "limit_x100": order.limit_x100,
        "reason": order.reason,
        "state": str(OrderState.PLANNED),
        "strategy": order.strategy,
        "leg": order.leg,
    }


def _order(row: dict[str, Any]) -> Order:
    return Order(
        symbol=row["symbol"],
        decided=date.fromisoformat(row["decided"]),
        side=Side(row["side"]),
        shares=row["shares"],
        limit_x100=row["limit_x100"],
        reason=row["reason"],
        strategy=row["strategy"],
        leg=row["leg"],
    )


def _fill_row(fill: Fill) -> dict[str, object]:
    return {
        "key": fill.key,
        "n": fill.n,
        "symbol": fill.symbol,
        "session": fill.session.isoformat(),
        "shares": fill.shares,
        "price_x100": fill.price_x100,
        "commission_twd": fill.commission_twd,
        "tax_twd": fill.tax_twd,
    }


def _fill(row: dict[str, Any]) -> Fill:
    return Fill(
        key=row["key"],
        symbol=row["symbol"],
        session=date.fromisoformat(row["session"]),
        shares=row["shares"],
        price_x100=row["price_x100"],
        commission_twd=row["commission_twd"],
        tax_twd=row["tax_twd"],
        n=row["n"],
    )
