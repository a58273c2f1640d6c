"""The journal's orders: what was planned, every fact that was learned of each, and what traded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from bot.core.order_events import OrderEvent, Standing, standing
from bot.core.orders import OPEN_STATES, Fill, Order, OrderState, Side, check_transition

if TYPE_CHECKING:  # a view needs no settlement
    from bot.core.settle import Fate


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalOrder:
    """An order and where it stands; `note` is the last word about it, the broker's where it spoke.

    `filled_shares` is without sign, whichever side traded.
    """

    order: Order
    state: OrderState
    note: str
    filled_shares: int = 0

    @property
    def rest_shares(self) -> int:
        """Shares that did not trade, negative for a sale."""
        rest = self.order.shares - self.filled_shares
        return rest if self.order.signed_shares > 0 else -rest


class Orders:
    """Reads and writes orders, their events and fills. Whoever writes holds the transaction: `Journal`."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`, or from `open_for_reading`."""
        self.db = db

    # --- reading ------------------------------------------------------------------------------------------

    def select(self, *states: OrderState) -> list[JournalOrder]:
        """Orders in `states` (all when none is given), oldest first, sells before buys."""
        marks = ",".join("?" * len(states))
        return self._where(f"where state in ({marks})" if states else "", [str(state) for state in states])

    def find(self, key: str) -> JournalOrder | None:
        """The order `key`, or None."""
        return next(iter(self._where("where key = ?", [key])), None)

    def _where(self, where: str, values: list[str]) -> list[JournalOrder]:
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

    def open(self) -> list[JournalOrder]:
        """Orders whose fate is not final."""
        return self.select(*sorted(OPEN_STATES))

    def fills(self, key: str | None = None) -> list[Fill]:
        """All fills, or those of one order, in the order in which they were learned."""
        where, values = ("where key = ?", [key]) if key is not None else ("", [])
        return [_fill(row) for row in self.db.query(f"select * from fills {where} order by id", values)]

    def numbered_fills(self) -> list[tuple[int, Fill]]:
        """All fills with the numbers under which they were booked: what `Adjustment.after_fill` counts by."""
        return [(row["id"], _fill(row)) for row in self.db.query("select * from fills order by id")]

    def events(self, key: str) -> list[OrderEvent]:
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
        return standing(found.order.shares, self.events(key), self.fills(key))

    # --- writing ------------------------------------------------------------------------------------------

    def plan(self, order: Order, note: str, at: datetime) -> None:
        """Take in a new order, planned."""
        self.db["orders"].insert(_order_row(order))
        self._event(OrderEvent(key=order.key, at=at, state=OrderState.PLANNED, note=note))

    def add_leg(self, order: Order, note: str, at: datetime) -> Order:
        """One more planned leg of the intent of `order`, with the shares of `order`."""
        intent = [order.strategy, order.decided.isoformat(), order.symbol, str(order.side)]
        sql = "select max(leg) as leg from orders where strategy = ? and decided = ? and symbol = ? and side = ?"
        leg = replace(order, leg=next(self.db.query(sql, intent))["leg"] + 1)
        self.plan(leg, note, at)
        return leg

    def shrink(self, key: str, shares: int) -> None:
        """Leave a planned order `shares` of its shares: the rest becomes further legs."""
        self.db["orders"].update(key, {"shares": shares})

    def check_state(self, key: str, state: OrderState) -> None:
        """See that an order is in `state`.

        Raises:
            ValueError: it is in another one, or there is no such order.
        """
        found = self.find(key)
        if found is None or found.state is not state:
            raise ValueError(f"{key} is {found.state if found else 'nowhere'}, not {state}")

    def book(self, fate: Fate, by: str, at: datetime) -> None:
        """Book the parts of an order that traded, and its state; `by` says who told: "book" or "person".

        Raises:
            ValueError: the state machine has no such step, or more would trade than was ordered.
            KeyError: there is no such order.
        """
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
            self.move(event, late=fate.late)
        elif fate.fills:
            self._event(event)

    def move(self, event: OrderEvent, *, late: bool) -> None:
        """Take one order to its next state. `late` opens the corrections of LATE_STATES too.

        Raises:
            ValueError: the state machine has no such step.
            KeyError: there is no such order.
        """
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
