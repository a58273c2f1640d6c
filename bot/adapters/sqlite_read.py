"""Opening the one SQLite file for a view, which must disturb nobody and may not be allowed to write."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.adapters.sqlite_migrations import writable
from bot.adapters.sqlite_open import BUSY_TIMEOUT_S, migrations
from bot.errors import Refused


class ReadDatabase:
    """What views use of a sqlite-utils database; that library is imported when more is asked, like a table by name."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """`connection` may be read-only."""
        self.conn = connection

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """The cursor of one statement."""
        return self.conn.execute(sql, parameters)

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Iterator[dict[str, Any]]:
        """The rows of one statement, by column; it is run at once."""
        cursor = self.conn.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def close(self) -> None:
        """End the connection."""
        self.conn.close()

    def __getitem__(self, table: str) -> Any:
        return writable(self.conn)[table]


def open_for_reading(path: Path) -> Any:
    """The database at `path` for a view: nothing is written, no lock is taken that a writer would wait for.

    Works in a folder that can't be written, too. Migrations are for the commands that write.

    Raises:
        Refused: it does not exist, is no SQLite file, or has an older schema than this version reads.
    """
    if not path.exists():
        raise Refused(f"{path.name}: no such database yet; `twtrader run` makes it")
    try:
        connection = _read_only(path)
        behind = migrations.pending(connection)
    except sqlite3.Error as wrong:
        raise Refused(f"{path}: {wrong}") from wrong
    if behind:
        connection.close()
        raise Refused(f"{path.name} is of an older twtrader: the next `twtrader run` brings it up to date")
    return ReadDatabase(connection)


def _read_only(path: Path) -> sqlite3.Connection:
    """A read-only connection. In a folder where SQLite can't make its -shm file, and nobody writes, a frozen view."""
    address = path.resolve().as_uri()
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("select 1 from sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(path.name + "-wal").exists():  # a writer is there, or died: its last words would be missed
            raise
        connection = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True)
        connection.execute("select 1 from sqlite_master").fetchone()
    return connection
