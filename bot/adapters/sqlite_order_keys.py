"""The migration that gives each order its strategy and leg, and rewrites its key wherever it stands."""

from __future__ import annotations

from typing import Any, Final

from bot.core.orders import DEFAULT_STRATEGY

_NEW_KEY: Final = f"'{DEFAULT_STRATEGY}:' || key || ':1'"  # of "2025-01-02:2330:buy"


def migrate_order_keys(db: Any) -> None:
    """Rewrite keys, number each fill, and let an order have several. Runs inside the migration's transaction."""
    db.execute("pragma defer_foreign_keys = on")  # orders and what refers to them change one after the other
    db.execute(f"alter table orders add column strategy text not null default '{DEFAULT_STRATEGY}'")
    db.execute("alter table orders add column leg integer not null default 1")
    db.execute("alter table order_events add column reply text not null default ''")
    db.execute("alter table order_events add column by text not null default 'twtrader'")
    for table in ("orders", "order_events", "paper_orders"):
        db.execute(f"update {table} set key = {_NEW_KEY}")
    db.execute("create index idx_order_events_key on order_events (key)")
    db.execute("alter table fills rename to fills_before")
    db["fills"].create(
        {"id": int, "key": str, "n": int, "symbol": str, "session": str, "shares": int, "price_x100": int,
         "commission_twd": int, "tax_twd": int},
        pk="id", strict=True, foreign_keys=[("key", "orders", "key")],
        not_null={"key", "n", "symbol", "session", "shares", "price_x100", "commission_twd", "tax_twd"},
    )  # fmt: skip
    db.execute(
        "insert into fills (key, n, symbol, session, shares, price_x100, commission_twd, tax_twd) "
        f"select {_NEW_KEY}, 1, symbol, session, shares, price_x100, commission_twd, tax_twd "
        "from fills_before order by session, shares, symbol"
    )
    db.execute("drop table fills_before")
    db["fills"].create_index(["key", "n"], unique=True)


def migrate_books(db: Any) -> None:
    """Differences between book and journal as events, cash besides trades, and each settlement's cash identity."""
    db["book_events"].create(
        {"id": int, "symbol": str, "shares": int, "cash_twd": int, "first_seen": str, "last_seen": str,
         "first_at": str, "last_at": str, "solved_at": str, "solution": str},
        pk="id", strict=True,
        not_null={"symbol", "shares", "cash_twd", "first_seen", "last_seen", "first_at", "last_at"},
    )  # fmt: skip
    db.execute("create unique index book_events_open on book_events (symbol) where solved_at is null")
    db.execute(
        "insert into book_events (symbol, shares, cash_twd, first_seen, last_seen, first_at, last_at) "
        "select symbol, shares, 0, session, session, session, session from unexplained"
    )
    db["unexplained"].drop()
    db["adjustments"].create(
        {"id": int, "symbol": str, "session": str, "shares": int, "price_x100": int, "commission_twd": int,
         "tax_twd": int, "reason": str, "after_fill": int, "at": str},
        pk="id", strict=True, not_null={"symbol", "session", "shares", "price_x100", "commission_twd", "tax_twd",
                                        "reason", "after_fill", "at"},
    )  # fmt: skip
    db["cash_events"].create(
        {"id": int, "kind": str, "symbol": str, "day": str, "n": int, "amount_twd": int, "note": str, "at": str},
        pk="id", strict=True, not_null={"kind", "symbol", "day", "n", "amount_twd", "note", "at"},
    )  # fmt: skip
    db["cash_events"].create_index(["kind", "symbol", "day", "n"], unique=True)
    db["cash_checks"].create(
        {"session": str, "start_twd": int, "sells_twd": int, "buys_twd": int, "fees_twd": int, "taxes_twd": int,
         "dividends_twd": int, "adjustments_twd": int, "cash_twd": int, "broker_twd": int, "at": str},
        pk="session", strict=True,
    )  # fmt: skip
