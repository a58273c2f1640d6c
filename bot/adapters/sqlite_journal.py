"""The journal: what we decided, sent, and learned. Everything is written before the world is touched."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from typing import Any

from bot.core.decide import Decision
from bot.core.orders import OPEN_STATES, Fill, Order, OrderState, Side, check_transition
from bot.core.portfolio import Portfolio, apply_fill
from bot.core.settle import Settlement
from bot.errors import Refused


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
    """An order and where it stands."""

    order: Order
    state: OrderState
    note: str


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

    def newest_decision(self) -> date | None:
        """The last session that was decided."""
        row = next(self.db.query("select max(session) as session from decisions"))
        return date.fromisoformat(row["session"]) if row["session"] else None

    def record_decision(self, decision: Decision, at: datetime) -> None:
        """Store a decision with its inputs and plan its orders, all or nothing; a second time changes nothing."""
        if self.decision_sha256(decision.session) is not None:
            return
        with self.db.atomic():
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
                self._event(order.key, OrderState.PLANNED, order.reason, at)

    def orders(self, *states: OrderState) -> list[JournalOrder]:
        """Orders in `states` (all when none is given), oldest first, sells before buys."""
        marks = ",".join("?" * len(states))
        where = f"where state in ({marks})" if states else ""
        rows = self.db.query(
            "select o.*, (select note from order_events e where e.key = o.key order by id desc limit 1) as note "
            f"from orders o {where} order by decided, side desc, symbol",
            [str(state) for state in states],
        )
        return [JournalOrder(order=_order(row), state=OrderState(row["state"]), note=row["note"] or "") for row in rows]

    def open_orders(self) -> list[JournalOrder]:
        """Orders whose fate is not final."""
        return self.orders(*sorted(OPEN_STATES))

    def move(self, key: str, after: OrderState, note: str, at: datetime) -> None:
        """Take one order to its next state.

        Raises:
            ValueError: the state machine has no such step.
            KeyError: there is no such order.
        """
        with self.db.atomic():
            self._move(key, after, note, at)

    def settle(self, session: date, result: Settlement, at: datetime) -> None:
        """Take orders to their final states with their fills, and keep what stays unexplained, all or nothing."""
        moves, fills = result.moves, result.fills
        with self.db.atomic():
            self.db.execute("delete from unexplained")
            self.db["unexplained"].insert_all(
                [
                    {"symbol": symbol, "shares": shares, "session": session.isoformat()}
                    for symbol, shares in result.unexplained.items()
                ]
            )
            for key, after, note in moves:
                self._move(key, after, note, at)
            self.db["fills"].insert_all([_fill_row(fill) for fill in fills])

    def unexplained(self) -> dict[str, int]:
        """By symbol, the shares that the broker's book had more than the journal at the last settlement."""
        return {row["symbol"]: row["shares"] for row in self.db["unexplained"].rows}

    def _move(self, key: str, after: OrderState, note: str, at: datetime) -> None:
        row = next(self.db.query("select state from orders where key = ?", [key]), None)
        if row is None:
            raise KeyError(f"no order {key}")
        check_transition(OrderState(row["state"]), after)
        self.db["orders"].update(key, {"state": str(after)})
        self._event(key, after, note, at)

    def _event(self, key: str, state: OrderState, note: str, at: datetime) -> None:
        self.db["order_events"].insert({"key": key, "at": at.isoformat(), "state": str(state), "note": note})

    # --- what we own --------------------------------------------------------------------------------------

    def fills(self) -> list[Fill]:
        """All fills, in the order in which they changed the portfolio."""
        return [_fill(row) for row in self.db.query("select * from fills order by session, shares, symbol")]

    def portfolio(self) -> Portfolio:
        """Cash and positions: the fold of all fills over the starting cash.

        Raises:
            Refused: no account was opened yet.
        """
        account = self.account()
        if account is None:
            raise Refused("no account yet; `twtrader run` opens it")
        return reduce(apply_fill, self.fills(), Portfolio(cash_twd=account[1]))

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
    }


def _order(row: dict[str, Any]) -> Order:
    return Order(
        symbol=row["symbol"],
        decided=date.fromisoformat(row["decided"]),
        side=Side(row["side"]),
        shares=row["shares"],
        limit_x100=row["limit_x100"],
        reason=row["reason"],
    )


def _fill_row(fill: Fill) -> dict[str, object]:
    return {
        "key": fill.key,
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
    )
