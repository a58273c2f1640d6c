"""What was asked of a teacher and what came of it: an append-only file of JSON lines that survives kill -9.

A request is written down before it leaves, with the most that it can cost. One that a kill left without an answer
counts as that much: the budget holds whatever happened. A torn last line is dropped when the file is opened to write.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec

from bot.errors import Refused
from training.teacher_tasks import Shown, Task

Event = Literal["asked", "answered", "accepted", "rejected", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line. Costs are in millionths of the currency.

    asked: `number` and the most it can cost; answered: the tokens and the cost of that number; rejected: one answer of
    `key` broke the contract; refused: `key` is given up; accepted: its answer is kept.
    """

    event: Event
    key: str
    number: int = 0
    micro: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    reason: str = ""
    kind: str = ""
    language: str = ""
    model: str = ""
    day: date | None = None
    symbol: str | None = None
    question: str = ""
    answer: str = ""
    label: str = ""
    texts: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()


@dataclass(slots=True)
class State:
    """What the lines add up to."""

    asked: int = 0
    open_micro: dict[int, int] = field(default_factory=dict)  # of requests without an answer
    paid_micro: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    accepted: dict[str, Line] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    rejections: Counter[str] = field(default_factory=Counter)
    hashes: dict[str, str] = field(default_factory=dict)  # the key that said a text first

    @property
    def spent_micro(self) -> int:
        """All that was or may have been spent."""
        return self.paid_micro + sum(self.open_micro.values())

    def take(self, line: Line) -> None:
        """Add one line."""
        if line.event == "asked":
            self.asked = max(self.asked, line.number)
            self.open_micro[line.number] = line.micro
        elif line.event == "answered":
            self.open_micro.pop(line.number, None)
            self.paid_micro += line.micro
            self.tokens_in += line.tokens_in
            self.tokens_out += line.tokens_out
        elif line.event == "rejected":
            self.rejections[line.key] += 1
        elif line.event == "refused":
            self.refused[line.key] = line.reason
        else:
            self.accepted[line.key] = line
            for one in line.hashes:
                self.hashes.setdefault(one, line.key)

    def shown(self) -> list[Shown]:
        """The accepted answers as examples, the oldest question first."""
        kept = (
            Shown(kind=one.kind, question=one.question, answer=one.answer, day=one.day)
            for one in self.accepted.values()
        )
        return sorted(kept, key=lambda one: one.day or date.min)

    def is_settled(self, task: Task) -> bool:
        """Whether nothing is left to ask."""
        return task.key in self.accepted or task.key in self.refused


class TeacherLog:
    """The file while it is open to write; its state is always that of the lines on disk."""

    def __init__(self, descriptor: int, state: State) -> None:
        """`descriptor` is open to append and locked."""
        self._descriptor = descriptor
        self.state = state

    def add(self, lines: Sequence[Line]) -> None:
        """Append lines and see them on the disk.

        Raises:
            Refused: the disk would not take them.
        """
        text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        try:
            written = os.write(self._descriptor, text)
            if written != len(text):
                raise Refused(f"only {written} of {len(text)} bytes could be written: is the disk full?")
            os.fsync(self._descriptor)
        except OSError as wrong:
            raise Refused(f"the teacher's file can't be written: {wrong}") from wrong
        for line in lines:
            self.state.take(line)


@contextmanager
def open_log(path: Path) -> Iterator[TeacherLog]:
    """The file at `path`, made if it is absent, for one process at a time; a torn last line is cut off.

    Raises:
        Refused: another process writes it, or a line in it is none of ours.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as wrong:
        raise Refused(f"{path}: {wrong}") from wrong
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            raise Refused(f"{path}: another process is writing it") from taken
        text = path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole != len(text):
            os.ftruncate(descriptor, whole)
        yield TeacherLog(descriptor, _state(path, text[:whole]))
    finally:
        os.close(descriptor)


def read_log(path: Path) -> State:
    """What the file at `path` adds up to; a torn last line does not count.

    Raises:
        Refused: it can't be read, or a line in it is none of ours.
    """
    try:
        text = path.read_bytes()
    except OSError as wrong:
        raise Refused(f"{path}: {wrong}") from wrong
    return _state(path, text[: text.rfind(b"\n") + 1])


def _state(path: Path, text: bytes) -> State:
    state, decode = State(), msgspec.json.Decoder(Line).decode
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            state.take(decode(line))
        except msgspec.DecodeError as wrong:
            raise Refused(f"{path} line {number}: no line of a teacher's file: {wrong}") from wrong
    return state
