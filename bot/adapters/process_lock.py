"""One daemon for one database: a lock that dies with its process, kill -9 included."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bot.errors import Refused


@contextmanager
def only_one(database: Path) -> Iterator[None]:
    """Hold the lock beside `database` while the block runs.

    Raises:
        Refused: another process holds it; the message names it.
    """
    path = database.with_name(database.name + ".lock")
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as wrong:
        raise Refused(f"{path}: {wrong.strerror}") from wrong
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise Refused(f"{database.name} is in use by {holder}: one daemon for one database") from None
        file.seek(0)
        file.truncate()
        file.write(f"twtrader, process {os.getpid()}")
        file.flush()
        yield
