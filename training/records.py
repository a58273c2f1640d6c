"""One example, and the three forms in which a file holds examples: pairs, chats, CSV."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from bot.errors import Refused

Form = Literal["pairs", "chat", "csv"]
FORMS: Final[tuple[Form, ...]] = ("pairs", "chat", "csv")
_BUFFER: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One example: what goes in, what must come out, and the facts by which it was put on its side.

    `as_of` is the day after whose close it is asked, `answer_until` the last day that its answer tells of; both are
    None where a text has no date.
    """

    kind: Literal["prices", "mood", "analysis"]
    input: str
    output: str
    symbol: str | None = None
    as_of: date | None = None
    answer_until: date | None = None
    label: str | None = None
    source: str = ""


CSV_COLUMNS: Final = ("kind", "input", "output", "symbol", "as_of", "answer_until", "label", "source")


class RecordWriter:
    """One side's file: streamed, hashed and counted as it is written."""

    def __init__(self, path: Path, form: Form) -> None:
        """Begin the file `path` anew.

        Raises:
            OSError: here and in every method, the disk would not take it.
        """
        self.file, self.form = path.open("wb", buffering=_BUFFER), form
        self.hash, self.counts = hashlib.sha256(), Counter[str]()
        self.encode = msgspec.json.Encoder().encode
        if form == "csv":
            self._put(_csv_line(CSV_COLUMNS))

    def add(self, record: Record) -> None:
        """Write one example."""
        self.counts[record.kind] += 1
        if self.form == "csv":
            self._put(_csv_line([_cell(getattr(record, name)) for name in CSV_COLUMNS]))
        else:
            self._put(self.encode(record if self.form == "pairs" else _chat(record)) + b"\n")

    def _put(self, line: bytes) -> None:
        self.hash.update(line)
        self.file.write(line)

    def close(self) -> None:
        """See everything onto the disk. `hash` and `counts` stay readable."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


def read_records(path: Path, form: Form) -> Iterator[Record]:
    """The examples of one file, one after the other.

    Raises:
        Refused: names the line that is none, or says that the file can't be read.
    """
    pairs, chats = msgspec.json.Decoder(Record), msgspec.json.Decoder(_Chat)
    line = 0
    try:
        if form == "csv":
            with path.open(encoding="utf-8", newline="") as file:
                for line, row in enumerate(csv.DictReader(file), start=2):  # noqa: B007  (told in the error)
                    yield msgspec.convert({name: cell for name, cell in row.items() if cell}, Record, strict=False)
            return
        with path.open("rb", buffering=_BUFFER) as file:
            for line, text in enumerate(file, start=1):  # noqa: B007
                yield pairs.decode(text) if form == "pairs" else _record(chats.decode(text))
    except (OSError, ValueError, csv.Error) as wrong:  # msgspec's errors are ValueErrors
        raise Refused(f"{path} line {line}: {wrong}") from wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chat:
    """A record as two turns of a chat."""

    messages: tuple[_Turn, _Turn]
    kind: Literal["prices", "mood", "analysis"]
    symbol: str | None = None
    as_of: date | None = None
    answer_until: date | None = None
    label: str | None = None
    source: str = ""


_FACTS: Final = ("kind", "symbol", "as_of", "answer_until", "label", "source")


def _chat(record: Record) -> _Chat:
    turns = (_Turn(role="user", content=record.input), _Turn(role="assistant", content=record.output))
    return _Chat(messages=turns, **{name: getattr(record, name) for name in _FACTS})


def _record(chat: _Chat) -> Record:
    asked, answered = chat.messages
    return Record(input=asked.content, output=answered.content, **{name: getattr(chat, name) for name in _FACTS})


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _csv_line(cells: Iterable[str]) -> bytes:
    line = StringIO()
    # All quoted: left to itself, the writer leaves a lone carriage return bare, and a reader sees a new row.
    csv.writer(line, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
    return line.getvalue().encode()
