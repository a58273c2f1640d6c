"""The steps of our schema by name. SQLite alone tells which ones a file lacks; to take them sqlite-utils is imported.

That import costs 40 ms and some megabytes, which a view of a file that is up to date has no use for.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

Step = Callable[[Any], None]
_TAKEN: Final = "select name from _sqlite_migrations where migration_set = ?"  # sqlite-utils' own table


def writable(connection: sqlite3.Connection) -> Any:
    """`connection` as a sqlite-utils database."""
    return _sqlite_utils().Database(connection)


class Migrations:
    """A set of steps, in the order in which they were added; recorded in the file by sqlite-utils."""

    def __init__(self, name: str) -> None:
        """`name` is the set's in the file."""
        self.name = name
        self._steps: dict[str, Step] = {}

    def __call__(self) -> Callable[[Step], Step]:
        """A decorator that adds a step under its function's name."""

        def add(step: Step) -> Step:
            self._steps[step.__name__] = step
            return step

        return add

    def pending(self, connection: sqlite3.Connection) -> list[str]:
        """The steps that a file lacks. Reads only.

        Raises:
            sqlite3.Error: it is no SQLite file, or can't be read.
        """
        if not connection.execute("select 1 from sqlite_master where name = '_sqlite_migrations'").fetchone():
            return list(self._steps)
        taken = {name for (name,) in connection.execute(_TAKEN, [self.name])}
        return [name for name in self._steps if name not in taken]

    def apply(self, db: Any, *, stop_before: str | Iterable[str] | None = None) -> None:
        """Take what is pending, each step in a transaction with its record."""
        theirs = _sqlite_utils().Migrations(self.name)
        for step in self._steps.values():
            theirs()(step)
        theirs.apply(db, stop_before=stop_before)


def _sqlite_utils() -> Any:
    """The library, without pandas: it imports pandas and numpy where they are installed, only to know their types.

    That costs half a second and 45 MB, which the idle daemon doesn't have to spare.
    """
    with nullcontext() if "sqlite_utils" in sys.modules else _hidden("pandas", "numpy"):
        import sqlite_utils
    return sqlite_utils


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Make `names` unimportable for a moment, unless they are imported already."""
    absent = [name for name in names if name not in sys.modules]
    try:
        for name in absent:
            sys.modules[name] = None  # type: ignore[assignment]
        yield
    finally:
        for name in absent:
            del sys.modules[name]
