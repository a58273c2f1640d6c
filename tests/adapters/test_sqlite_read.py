"""Views open the database to read: they write nothing, hold nobody up, and need no folder that can be written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builders import THURSDAY, at
from sqlite_utils import Database

from bot.adapters.sqlite_open import migrations, open_database
from bot.adapters.sqlite_read import open_for_reading
from bot.adapters.sqlite_runs import ClockMark
from bot.errors import Refused

NOBODY = 65_534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that another user may look into, which pytest's own are not."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def as_nobody(act: Callable[[], str]) -> str:
    """What `act` says in a child process without root's right to write everywhere."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        try:
            said = act()
        except BaseException as error:  # noqa: BLE001  (a forked child must not come back into pytest)
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def seen(path: Path) -> str:
    highest = ClockMark(open_for_reading(path)).highest()
    return highest.isoformat() if highest else "nothing"


def test_a_view_reads_in_a_folder_that_it_cant_write(folder: Path) -> None:
    path = folder / "x.db"
    db = open_database(path)
    ClockMark(db).put(at(THURSDAY))
    db.close()
    assert [one.name for one in folder.iterdir()] == ["x.db"]  # the last to close takes the log away
    folder.chmod(0o555)
    assert as_nobody(lambda: seen(path)) == at(THURSDAY).isoformat()
    assert "OperationalError" in as_nobody(lambda: str(sqlite3.connect(path).execute("create table t (x)")))
    assert [one.name for one in folder.iterdir()] == ["x.db"]


def test_a_view_there_sees_what_a_living_writer_has_just_written(folder: Path) -> None:
    path = folder / "x.db"
    db = open_database(path)
    folder.chmod(0o555)
    ClockMark(db).put(at(THURSDAY))  # in the -wal file, not in the database yet
    assert as_nobody(lambda: seen(path)) == at(THURSDAY).isoformat()
    ClockMark(db).put(at(THURSDAY, "19:00"))
    assert as_nobody(lambda: seen(path)) == at(THURSDAY, "19:00").isoformat()


def test_a_view_can_write_nothing_and_waits_for_no_writer(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    writer = open_database(path)
    writer.execute("begin immediate")
    view = open_for_reading(path)  # at once, although the writer is in the middle of it
    assert ClockMark(view).highest() is None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        ClockMark(view).put(at(THURSDAY))


def test_an_older_schema_is_brought_up_to_date_by_a_command_that_writes(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    db = Database(path)
    migrations.apply(db, stop_before="m070_stage_runs")
    db.close()
    with pytest.raises(Refused, match=r"old\.db is of an older twtrader: the next `twtrader run` brings it up to date"):
        open_for_reading(path)
    open_database(path).close()
    assert seen(path) == "nothing"


def test_what_is_no_database_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such database yet"):
        open_for_reading(tmp_path / "x.db")
    (tmp_path / "x.db").write_bytes(b"not a database, not at all, and long enough" * 40)
    with pytest.raises(Refused, match="not a database"):
        open_for_reading(tmp_path / "x.db")


def test_a_view_s_rows_are_those_of_sqlite_utils(tmp_path: Path) -> None:
    db = open_database(tmp_path / "twtrader.db")
    db["companies"].insert_all(
        {"symbol": symbol, "name": name, "board": "twse"} for symbol, name in [("2330", "台積電"), ("2317", "鴻海")]
    )
    view = open_for_reading(tmp_path / "twtrader.db")
    for sql, words in [
        ("select * from companies order by symbol", []),
        ("select name, count(*) from companies where symbol = ?", ["2330"]),
        ("select name from companies where symbol = :one", {"one": "2317"}),
        ("select * from orders", []),
    ]:
        assert list(view.query(sql, words)) == list(db.query(sql, words))
    assert list(view["companies"].rows) == list(db["companies"].rows)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        view.execute("delete from companies")
    view.close()
    with pytest.raises(sqlite3.ProgrammingError):
        view.execute("select 1")
