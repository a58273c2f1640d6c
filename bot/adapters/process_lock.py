"""One daemon for one database: a lock that dies with its process, kill -9 included, and says who holds it.

The lock itself is the kernel's (flock on a file beside the database); what stands in the file is only what a refused
start tells its user, so an old or broken text locks nobody out. docs/operations.md says where it can't be relied on.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

from bot.errors import Refused

# The text always takes this many bytes and is written at once, so that nobody reads half of an old one.
_TEXT_BYTES: Final = 512
_NEW_HOLDER_WRITES_WITHIN_S: Final = 0.5  # between taking the lock and telling who took it


class Lock:
    """The lock while it is held; `tell` what its holder is doing, for whoever is refused."""

    def __init__(self, file: IO[bytes], path: Path, doing: str) -> None:
        """`file`, at `path`, is locked."""
        self._file = file
        self._path = path
        self._since = datetime.now().astimezone().isoformat(timespec="seconds")
        self.tell(doing)

    def tell(self, doing: str) -> None:
        """Write down what the holder is doing now."""
        told = {"pid": os.getpid(), "host": socket.gethostname(), "since": self._since, "doing": doing[:200]}
        text = json.dumps(told)[: _TEXT_BYTES - 1].encode().ljust(_TEXT_BYTES - 1) + b"\n"
        os.pwrite(self._file.fileno(), text, 0)
        os.ftruncate(self._file.fileno(), _TEXT_BYTES)

    def check(self) -> None:
        """See that the file is still the one we locked: another one at its place could be locked by another daemon.

        Raises:
            Refused: it was removed or replaced.
        """
        if not _is_at(self._file, self._path):
            raise Refused(f"{self._path.name} was removed or replaced while we held it: stopping, start again")


@contextmanager
def only_one(database: Path, doing: str = "starting") -> Iterator[Lock]:
    """Hold the lock beside `database` while the block runs.

    Raises:
        Refused: another process holds it; the message names it.
    """
    path = database.with_name(database.name + ".lock")
    while True:
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b", buffering=0)
        except OSError as wrong:
            raise Refused(f"{path}: {wrong.strerror}") from wrong
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(f"{database.name} is in use by {_holder(file)}: one daemon for one database") from None
            except OSError as wrong:  # a file system that knows no locks
                raise Refused(f"{path}: can't be locked: {wrong.strerror}; use a local disk") from wrong
            if not _is_at(file, path):
                continue  # somebody removed it between our opening and our locking: this one keeps nobody out
            yield Lock(file, path, doing)
            return


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether `path` still names the opened `file`."""
    ours = os.fstat(file.fileno())
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _holder(file: IO[bytes]) -> str:
    """Who holds the lock, in words, as far as the file tells it."""
    mine = _told(file)
    patience = time.monotonic() + _NEW_HOLDER_WRITES_WITHIN_S
    while mine is None and time.monotonic() < patience:
        time.sleep(0.01)
        mine = _told(file)
    if mine is None:
        return "another process, whose lock file can't be read"
    pid, host, since, doing = (mine[name] for name in ("pid", "host", "since", "doing"))
    gone = host == socket.gethostname() and not Path(f"/proc/{pid}").exists()
    where = f"{host}, where no such process is seen (another container?)" if gone else host
    return f"twtrader, process {pid} on {where}, since {since}, {doing}"


def _told(file: IO[bytes]) -> dict[str, Any] | None:
    """What stands in the lock file; None when it is none of ours, or an older holder's."""
    try:
        told = json.loads(os.pread(file.fileno(), _TEXT_BYTES, 0))
    except ValueError:
        return None
    kinds = {"pid": int, "host": str, "since": str, "doing": str}
    whole = isinstance(told, dict) and all(isinstance(told.get(name), kind) for name, kind in kinds.items())
    return told if whole else None


def process_age_s() -> float:
    """Seconds since this process was started, by the kernel."""
    after_name = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    started_ticks = int(after_name[19])  # field 22 of proc(5), the name being field 2
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
