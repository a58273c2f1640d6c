"""A database of before the new keys: every reference is rewritten, in one transaction, or nothing is."""

from __future__ import annotations

import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import RATES
from sqlite_utils import Database

from bot.adapters import sqlite_open
from bot.adapters.broker_paper import PaperBroker
from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_open import migrations, open_database
from bot.core.orders import OrderState

OLD, NEW = "2025-01-02:2330:buy", "forecast_edge:2025-01-02:2330:buy:1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A journal as the version before wrote it: one purchase of 2330 filled, one of 2317 still accepted."""
    path = tmp_path / "old.db"
    db = Database(sqlite3.connect(path))
    db.execute("pragma foreign_keys = on")
    migrations.apply(db, stop_before="m040_order_keys")
    db["account"].insert(
        {"id": 1, "broker": "paper", "start_cash_twd": 1_000_000, "opened_at": "2025-01-02T08:00:00+08:00"}
    )
    db["decisions"].insert({"session": "2025-01-02", "decided_at": "x", "sha256": "h", "inputs": "{}"})
    for symbol, state in (("2330", "filled"), ("2317", "accepted")):
        key = f"2025-01-02:{symbol}:buy"
        order = {"key": key, "symbol": symbol, "decided": "2025-01-02", "side": "buy", "shares": 1_000,
                 "limit_x100": 100_00, "state": state}  # fmt: skip
        db["orders"].insert(order | {"reason": "r"})
        db["paper_orders"].insert(order | {"session": "2025-01-03", "price_x100": 100_00})
        for known in ("planned", "sending", state):
            db["order_events"].insert({"key": key, "at": "2025-01-02T18:30:00+08:00", "state": known, "note": known})
    db["fills"].insert({"key": OLD, "symbol": "2330", "session": "2025-01-03", "shares": 1_000, "price_x100": 100_00,
                        "commission_twd": 142, "tax_twd": 0})  # fmt: skip
    db["unexplained"].insert({"symbol": "2454", "shares": 2_000, "session": "2025-01-03"})
    db.conn.commit()
    db.close()
    return path


def test_every_reference_is_rewritten_and_nothing_is_lost(old: Path) -> None:
    db = open_database(old)
    journal = Journal(db)
    found = {one.order.key: one for one in journal.orders.select()}
    assert set(found) == {NEW, "forecast_edge:2025-01-02:2317:buy:1"}
    assert all(key == one.order.key for key, one in found.items())
    assert (found[NEW].state, found[NEW].filled_shares, found[NEW].note) == (OrderState.FILLED, 1_000, "filled")
    assert [(fill.key, fill.n, fill.commission_twd) for fill in journal.orders.fills()] == [(NEW, 1, 142)]
    assert [event.state for event in journal.orders.events(NEW)] == ["planned", "sending", "filled"]
    assert journal.portfolio().cash_twd == 1_000_000 - 100_000 - 142
    assert journal.orders.standing(NEW).state is OrderState.FILLED
    broker = PaperBroker(db, 1_000_000, "range", RATES)
    assert set(broker.prices_x100([one.order for one in found.values()])) == {NEW}
    [event] = journal.books.events()
    assert (event.text, event.first_seen) == ("unexplained +2 lots 2454", date(2025, 1, 3))
    assert journal.unexplained() == {"2454": 2_000}
    assert list(db.query("pragma foreign_key_check")) == []


def test_a_crash_in_the_middle_leaves_the_old_database_whole(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dump(old)
    tables: list[Any] = []

    def breaks(db: Any) -> None:
        tables.append(list(db["fills"].rows))
        raise RuntimeError("pulled the plug")

    monkeypatch.setattr("bot.adapters.sqlite_order_keys.migrate_books", breaks)
    monkeypatch.setattr(
        "bot.adapters.sqlite_order_keys.migrate_order_keys",
        lambda db: (db.execute("update paper_orders set key = 'x' || key"), breaks(db)),
    )
    with pytest.raises(RuntimeError, match="pulled the plug"):
        open_database(old)
    assert tables
    assert dump(old) == before
    monkeypatch.undo()
    assert set(Journal(open_database(old)).unexplained()) == {"2454"}


def test_opening_again_migrates_nothing_twice(old: Path) -> None:
    open_database(old).close()
    before = dump(old)
    open_database(old).close()
    assert dump(old) == before
    assert sqlite_open.migrations.pending(sqlite3.connect(old)) == []


def dump(path: Path) -> list[Any]:
    db = Database(sqlite3.connect(path))
    rows = [(name, list(db[name].rows)) for name in sorted(db.table_names())]
    db.close()
    return rows
