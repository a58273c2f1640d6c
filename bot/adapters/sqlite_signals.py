"""Auxiliary signals in SQLite, stored as forecasts are: once, never rewritten."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from bot.core.signals import Signal


class SignalStore:
    """Reads and writes signals. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    def add(self, signals: Iterable[Signal], made_at: datetime) -> None:
        """Store what isn't there yet."""
        self.db["signals"].insert_all(
            [
                {
                    "symbol": one.symbol,
                    "as_of": one.as_of.isoformat(),
                    "name": one.name,
                    "value": one.value,
                    "reasons": json.dumps(one.reasons, ensure_ascii=False),
                    "made_at": made_at.isoformat(),
                }
                for one in signals
            ],
            ignore=True,
        )

    def newest(self) -> list[Signal]:
        """The signals of the last session that has any, by name and symbol."""
        rows = self.db.query(
            "select * from signals where as_of = (select max(as_of) from signals) order by name, symbol"
        )
        return [
            Signal(
                symbol=row["symbol"],
                as_of=date.fromisoformat(row["as_of"]),
                name=row["name"],
                value=row["value"],
                reasons=tuple(json.loads(row["reasons"])),
            )
            for row in rows
        ]
