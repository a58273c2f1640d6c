"""The halt file, whatever is in it, and the row beside it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from builders import at
from hypothesis import example, given
from hypothesis import strategies as st

from bot.adapters.halt_switch import Halted, HaltSwitch, halt, halt_file_of, halted_by_file, resume
from bot.adapters.sqlite_open import open_database

NOW, LATER = at(date(2025, 3, 7), "18:31"), at(date(2025, 3, 7), "18:45")


@given(st.binary(max_size=300))
@example(b"")
@example(b"null")
@example(b'{"halted_at": 1}')
@example(b'{"reason": ' + b"[" * 5_000)
def test_whatever_stands_in_the_file_halts(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "x.db.halt"
        assert halted_by_file(file) is None
        file.write_bytes(content)
        assert halted_by_file(file) is not None


def test_a_file_that_can_t_be_looked_at_halts(tmp_path: Path) -> None:
    (tmp_path / "no-folder").touch()
    halted = halted_by_file(tmp_path / "no-folder" / "x.db.halt")
    assert halted is not None
    assert halted.reason == "x.db.halt can't be looked at: Not a directory"


def test_halting_twice_keeps_the_first_reason_and_one_row(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    db = open_database(path)
    switch = HaltSwitch(path, db)
    halt(path, "first", NOW)
    assert "nothing was changed" in halt(path, "second", LATER)[0]
    assert switch.read() == Halted(since=NOW.isoformat(), reason="first", by="file and row")
    assert [row["reason"] for row in db["halts"].rows] == ["first"]
    assert json.loads(halt_file_of(path).read_text(encoding="utf-8")) == {
        "halted_at": NOW.isoformat(),
        "reason": "first",
    }


def test_resuming_keeps_the_row_as_history_and_a_second_time_does_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    db = open_database(path)
    halt(path, "why", NOW)
    assert len(resume(path, LATER)) == 2
    assert HaltSwitch(path, db).read() is None
    assert [(row["halted_at"], row["resumed_at"]) for row in db["halts"].rows] == [(NOW.isoformat(), LATER.isoformat())]
    assert resume(path, LATER) == []


def test_a_file_by_hand_gets_its_row_once(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    db = open_database(path)
    switch = HaltSwitch(path, db)
    switch.file.touch()
    for _ in range(2):
        halted = switch.read()
        assert halted is not None
        switch.keep_row(halted)
    assert db["halts"].count == 1
    halt_file_of(path).unlink()
    halted = switch.read()  # the row alone halts
    assert halted is not None
    assert halted.by == "row"


def test_the_file_lies_beside_the_database_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "x.db")
    open_database(tmp_path / "real" / "x.db").close()
    halt(tmp_path / "link.db", "why", NOW)
    assert (tmp_path / "real" / "x.db.halt").exists()
    assert HaltSwitch(tmp_path / "real" / "x.db", open_database(tmp_path / "real" / "x.db")).read() is not None


@pytest.mark.parametrize("reason", ["", " \n ", "a\nb\tc", "理由" * 1_000])
def test_a_reason_is_one_short_line(reason: str, tmp_path: Path) -> None:
    halt(tmp_path / "x.db", reason, NOW)
    halted = halted_by_file(halt_file_of(tmp_path / "x.db"))
    assert halted is not None
    assert 0 < len(halted.reason) <= 500
    assert "\n" not in halted.reason
    assert halted.since
