"""The kill switch: a file beside the database and a row in it. Either alone halts; what can't be read halts too.

The file is written first and asks nothing of the database, so that a halt works while the daemon hangs or the database
is locked. A person's act happens in real time: it is stamped with this machine's clock, a rehearsal's included.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bot.errors import Refused

NO_REASON: Final = "no reason given"
_BUSY_TIMEOUT_S: Final = 1.0  # a person is waiting, and the file has halted already
_MOST_BYTES: Final = 4_096
_MOST_CHARS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """A halt that is in force: since when (ISO 8601; "" where that can't be read), why, and what says so."""

    since: str
    reason: str
    by: str  # "file", "row" or "file and row"

    @property
    def text(self) -> str:
        """One line for people."""
        return f"halted{f' since {self.since[:16]}' if self.since else ''}: {self.reason}"


def halt_file_of(database: Path) -> Path:
    """The file whose existence halts, beside the database that `database` leads to."""
    real = database.resolve()
    return real.with_name(real.name + ".halt")


def halted_by_file(file: Path) -> Halted | None:
    """What the halt file says; None only where it certainly is not there."""
    try:
        os.lstat(file)  # not `exists`, which takes a forbidden folder and a dangling link for "not there"
    except FileNotFoundError:
        return None
    except OSError as wrong:
        return Halted(since="", reason=f"{file.name} can't be looked at: {wrong.strerror}", by="file")
    try:
        with file.open("rb") as opened:
            told = json.loads(opened.read(_MOST_BYTES))
        return Halted(since=str(told["halted_at"]), reason=str(told["reason"])[:_MOST_CHARS], by="file")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Halted(since="", reason=f"{file.name} is there and can't be read", by="file")


class HaltSwitch:
    """What the daemon and the views ask. One connection, one thread."""

    def __init__(self, database: Path, db: Any) -> None:
        """`database` is `store.path`; `db` comes from `open_database`."""
        self.file = halt_file_of(database)
        self.db = db

    def read(self) -> Halted | None:
        """The halt that is in force; None when there is none. The file's word counts before the row's."""
        told = halted_by_file(self.file)
        row = next(
            self.db.query("select halted_at, reason from halts where resumed_at is null order by id limit 1"), None
        )
        if told is None:
            return Halted(since=row["halted_at"], reason=row["reason"], by="row") if row else None
        return Halted(since=told.since, reason=told.reason, by="file and row" if row else "file")

    def keep_row(self, halted: Halted) -> None:
        """Give a halt that only the file tells of its row, now that the database can be reached."""
        if halted.by == "file":
            self.db["halts"].insert({"halted_at": halted.since, "reason": halted.reason, "resumed_at": None})


def halt(database: Path, reason: str, at: datetime) -> list[str]:
    """Halt, whatever state the database is in; what was done, a line each.

    Raises:
        Refused: neither the file could be made nor the row: nothing is halted.
    """
    clean = " ".join(reason.split())[:_MOST_CHARS] or NO_REASON
    file = halt_file_of(database)
    before = halted_by_file(file)
    if before is not None:
        lines = [f"{file}: {before.text}; nothing was changed in it"]
        halted = before
    else:
        halted = Halted(since=at.isoformat(), reason=clean, by="file")
        try:
            lines = [_make_file(file, clean, at)]
        except OSError as wrong:
            return [f"{file}: {wrong.strerror}", _make_row_alone(database, halted, wrong)]
    return [*lines, _make_row(database, halted)[1]]


def _make_file(file: Path, reason: str, at: datetime) -> str:
    """Make the file; from its first byte on, and without any, it halts.

    Raises:
        OSError: it could not be made.
    """
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return f"{file}: halted by somebody else just now"
    try:
        with os.fdopen(number, "w", encoding="utf-8") as opened:
            json.dump({"halted_at": at.isoformat(), "reason": reason}, opened, ensure_ascii=False)
            opened.flush()
            os.fsync(opened.fileno())
        _sync_folder(file.parent)
    except OSError as wrong:  # a full disk: the empty file halts as well
        return f"{file}: halted; its reason could not be written: {wrong.strerror}"
    return f"{file}: halted: {reason}"


def _sync_folder(folder: Path) -> None:
    """Let the file's name outlive a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _make_row_alone(database: Path, halted: Halted, why: OSError) -> str:
    """Write the row where the file could not be made.

    Raises:
        Refused: that failed too: nothing is halted.
    """
    written, line = _make_row(database, halted)
    if not written:
        raise Refused(
            f"{halt_file_of(database)}: {why.strerror}, and {line.split(', so no row')[0]}; nothing is halted"
        )
    return f"{line}; it halts without the file"


def _make_row(database: Path, halted: Halted) -> tuple[bool, str]:
    """Write the row if the database lets us; whether it is there, and how that went. The file halts without it."""
    if not database.exists():
        return False, f"{database.name}: no such database yet, so no row; the file alone halts"
    try:
        with closing(_connection(database)) as connection, connection:
            found = connection.execute("select 1 from halts where resumed_at is null").fetchone()
            if found:
                return True, f"{database.name}: the row was there"
            connection.execute("insert into halts (halted_at, reason) values (?, ?)", [halted.since, halted.reason])
    except sqlite3.Error as wrong:
        return False, f"{database.name}: {wrong}, so no row yet; the file alone halts"
    return True, f"{database.name}: the row is written"


def resume(database: Path, at: datetime) -> list[str]:
    """Lift the halt, the file last, so that a resume that dies half-way is still a halt; what was done, a line each.

    Raises:
        Refused: the database can't be reached, or the file can't be removed: still halted.
    """
    lines, file = [], halt_file_of(database)
    if database.exists():
        try:
            with closing(_connection(database)) as connection, connection:
                sql = "update halts set resumed_at = ? where resumed_at is null"
                if connection.execute(sql, [at.isoformat()]).rowcount:
                    lines.append(f"{database.name}: the halt's row is closed")
        except sqlite3.Error as wrong:
            raise Refused(f"{database.name}: {wrong}: still halted; try again") from wrong
    told = halted_by_file(file)
    if told is not None:
        try:
            file.unlink()
        except OSError as wrong:
            raise Refused(f"{file}: {wrong.strerror}: still halted") from wrong
        with suppress(OSError):
            _sync_folder(file.parent)
        lines.append(f"{file}: removed ({told.text})")
    return lines


def _connection(database: Path) -> sqlite3.Connection:
    """The database, without waiting long and without bringing its schema up to date."""
    return sqlite3.connect(f"{database.resolve().as_uri()}?mode=rw", timeout=_BUSY_TIMEOUT_S, uri=True)
