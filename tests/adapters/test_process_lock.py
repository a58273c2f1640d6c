"""The lock with real processes: kill -9, starts at the same instant, old and broken files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from builders import REPO

from bot.adapters.process_lock import only_one, process_age_s
from bot.errors import Refused

# Says "ready", waits for a line, tries to take the lock, says how that went, and holds on until its input ends.
CHILD = """
import sys
from pathlib import Path
from bot.adapters.process_lock import only_one
from bot.errors import Refused
print("ready", flush=True)
sys.stdin.readline()
try:
    with only_one(Path(sys.argv[1]), "trying"):
        print("held", flush=True)
        sys.stdin.read()
except Refused as refused:
    print(refused, flush=True)
"""


@contextmanager
def contender(database: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    ) as process:  # fmt: skip
        assert line_of(process) == "ready"
        yield process


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_a_second_start_is_told_who_is_there(tmp_path: Path) -> None:
    database = tmp_path / "twtrader.db"
    with contender(database) as first:
        go(first)
        assert line_of(first) == "held"
        with pytest.raises(Refused) as refused, only_one(database):
            pass
        said = str(refused.value)
        assert said.startswith(
            f"twtrader.db is in use by twtrader, process {first.pid} on {socket.gethostname()}, since 20"
        )
        assert said.endswith(", trying: one daemon for one database")


def test_kill_9_frees_the_lock_and_leaves_a_text_that_locks_nobody_out(tmp_path: Path) -> None:
    database = tmp_path / "twtrader.db"
    with contender(database) as first:
        go(first)
        assert line_of(first) == "held"
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert str(first.pid) in (tmp_path / "twtrader.db.lock").read_text(encoding="utf-8")
    with only_one(database):
        assert str(os.getpid()) in (tmp_path / "twtrader.db.lock").read_text(encoding="utf-8")


def test_of_starts_at_the_same_instant_one_gets_through(tmp_path: Path) -> None:
    database = tmp_path / "twtrader.db"
    with contender(database) as one, contender(database) as two, contender(database) as three:
        contenders = (one, two, three)
        for process in contenders:
            go(process)
        said = {process.pid: line_of(process) for process in contenders}
        [winner] = [pid for pid, line in said.items() if line == "held"]
        losers = [line for line in said.values() if line != "held"]
        assert len(losers) == 2
        assert all(f"process {winner} on " in line for line in losers)


@pytest.mark.parametrize(
    "text", ["", "twtrader, process 7", "{", "[]", '{"pid": "x"}', "\x00\xff" * 300, '{"pid": 1, "host": 2}']
)
def test_an_old_or_broken_text_locks_nobody_out_and_is_not_believed(text: str, tmp_path: Path) -> None:
    database, path = tmp_path / "twtrader.db", tmp_path / "twtrader.db.lock"
    path.write_text(text, encoding="latin-1")
    with only_one(database) as lock:
        lock.check()
        path.write_text(text, encoding="latin-1")  # somebody scribbles into it while we hold it
        with (
            pytest.raises(Refused, match="in use by another process, whose lock file can't be read"),
            only_one(database),
        ):
            pass
        lock.tell("at work on send of 2025-03-04")
        with (
            pytest.raises(Refused, match=f"process {os.getpid()} on .*, at work on send of 2025-03-04: one"),
            only_one(database),
        ):
            pass


def test_a_holder_that_cant_be_seen_is_said_to_be_elsewhere(tmp_path: Path) -> None:
    database, path = tmp_path / "twtrader.db", tmp_path / "twtrader.db.lock"
    with only_one(database):
        text = path.read_text(encoding="utf-8").replace(f'"pid": {os.getpid()}', '"pid": 4194305')  # above pid_max
        path.write_text(text, encoding="utf-8")
        with pytest.raises(Refused, match=r"process 4194305 on .*, where no such process is seen"), only_one(database):
            pass


def test_a_lock_file_that_was_removed_is_noticed(tmp_path: Path) -> None:
    database, path = tmp_path / "twtrader.db", tmp_path / "twtrader.db.lock"
    with only_one(database) as lock:
        path.unlink()
        with pytest.raises(Refused, match="was removed or replaced"):
            lock.check()
        with only_one(database) as other:  # the danger: it would be granted
            other.check()
            with pytest.raises(Refused, match="was removed or replaced"):
                lock.check()


def test_a_process_knows_its_age() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from bot.adapters.process_lock import process_age_s as age; print(age())"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip
    assert 0 < float(told.stdout) < 60
    assert process_age_s() > 0
