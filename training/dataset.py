"""A dataset folder: train.jsonl, valid.jsonl, test.jsonl, and dataset.json, which says where time was cut.

The cut is a property of the folder: an answer of the train side ends by `cut`, the questions of the other sides are
asked `embargo_sessions` later. `read_dataset` believes nothing of it before it has looked.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from bot.core.prompt import LANGUAGE
from bot.errors import Refused
from training.labelled import same_text

Split = Literal["train", "valid", "test"]
Form = Literal["pairs", "chat", "csv"]
SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
FORMS: Final[tuple[Form, ...]] = ("pairs", "chat", "csv")
MANIFEST: Final = "dataset.json"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """Where time is cut. Sessions between two sides are `embargo_sessions`: each list holds those after its cut.

    Train answers end by `cut`; valid questions begin on the last of `after_cut` and their answers end by
    `valid_until`; test questions begin on the last of `after_valid`.
    """

    cut: date
    valid_until: date
    embargo_sessions: int
    after_cut: tuple[date, ...]
    after_valid: tuple[date, ...]

    @property
    def valid_from(self) -> date:
        """The first day a valid question may be asked after."""
        return self.after_cut[-1] if self.after_cut else self.cut

    @property
    def test_from(self) -> date:
        """The first day a test question may be asked after."""
        return self.after_valid[-1] if self.after_valid else self.valid_until

    def split_of(self, as_of: date, answer_until: date) -> Split | None:
        """The side of an example, or None for one that reaches from one side into another, or into the embargo."""
        if answer_until <= self.cut:
            return "train"
        if as_of >= self.valid_from and answer_until <= self.valid_until:
            return "valid"
        return "test" if as_of >= self.test_from else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where examples come from, under which licence, and what was left out of them and why."""

    name: str
    licence: str
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What dataset.json says. `counts` are records by side and kind; `sha256` is of each file."""

    form: Form
    made: datetime
    cuts: Cuts | None  # None: no example has a date
    columns: tuple[str, ...]
    windows: tuple[tuple[int, int], ...]
    masked: bool
    context: str
    stride: int
    most: int
    seed: int
    sources: tuple[Source, ...]
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    language: int = 1  # prompt.LANGUAGE of its questions; files that do not say were 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A verified folder."""

    folder: Path
    manifest: Manifest

    @property
    def cut(self) -> date | None:
        """The last day that an answer of the train side tells of; None where no example has a date."""
        return self.manifest.cuts.cut if self.manifest.cuts else None

    def records(self, split: Split) -> Iterator[Record]:
        """The examples of one side, in the file's order."""
        return read_records(file_of(self.folder, split, self.manifest.form), self.manifest.form)

    @property
    def train(self) -> list[Record]:
        """All examples to learn from."""
        return list(self.records("train"))

    @property
    def valid(self) -> list[Record]:
        """All examples to stop and choose by."""
        return list(self.records("valid"))

    @property
    def test(self) -> list[Record]:
        """All examples to measure on, once."""
        return list(self.records("test"))


def cuts_of(sessions: Sequence[date], cut: date | None, valid_until: date | None, embargo: int) -> Cuts:
    """Where to cut `sessions`, oldest first; by default after 80 % and 90 % of them.

    Raises:
        Refused: a cut leaves one of the sides without a session.
    """
    last_train = _place(sessions, cut) if cut else len(sessions) * 8 // 10 - 1
    last_valid = _place(sessions, valid_until) if valid_until else max(len(sessions) * 9 // 10 - 1, last_train)
    if last_train < 0 or last_valid < last_train + embargo or last_valid + embargo >= len(sessions):
        told = f"{sessions[0]}..{sessions[-1]}" if sessions else "no sessions"
        raise Refused(
            f"{told} can't be cut after {cut or 'the first 80 %'} and {valid_until or 'the first 90 %'} "
            f"with {embargo} sessions between the sides: one would be empty"
        )
    return Cuts(
        cut=sessions[last_train],
        valid_until=sessions[last_valid],
        embargo_sessions=embargo,
        after_cut=tuple(sessions[last_train + 1 : last_train + 1 + embargo]),
        after_valid=tuple(sessions[last_valid + 1 : last_valid + 1 + embargo]),
    )


def _place(sessions: Sequence[date], day: date) -> int:
    """The place of the last session up to `day`; -1 where there is none."""
    return bisect_right(sessions, day) - 1


# --- writing -------------------------------------------------------------------------------------------------------


class _Writer:
    """One side's file: streamed, hashed and counted as it is written."""

    def __init__(self, path: Path, form: Form) -> None:
        self.file, self.form = path.open("wb", buffering=_BUFFER), form
        self.hash, self.counts = hashlib.sha256(), Counter[str]()
        self.encode = msgspec.json.Encoder().encode
        if form == "csv":
            self._put(_csv_line(CSV_COLUMNS))

    def add(self, record: Record) -> None:
        self.counts[record.kind] += 1
        if self.form == "csv":
            self._put(_csv_line([_cell(getattr(record, name)) for name in CSV_COLUMNS]))
        else:
            self._put(self.encode(record if self.form == "pairs" else _chat(record)) + b"\n")

    def _put(self, line: bytes) -> None:
        self.hash.update(line)
        self.file.write(line)

    def close(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


CSV_COLUMNS: Final = ("kind", "input", "output", "symbol", "as_of", "answer_until", "label", "source")


def write_dataset(
    folder: Path, records: Iterable[tuple[Split, Record]], manifest: Manifest, sources: Callable[[], tuple[Source, ...]]
) -> Manifest:
    """Write a new folder in one piece: it is there whole, or not at all. Returns the manifest with counts and hashes.

    `sources` is called when all records have been read: only then it is known what was left out.

    Raises:
        Refused: the folder is there already, a side is empty, sides overlap, or the disk would not take it.
    """
    if folder.exists():
        raise Refused(f"{folder} exists already")
    making = folder.with_name(f".{folder.name}.part")  # what a kill left behind is made anew
    try:
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        try:
            made = _write(making, records, manifest, sources)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as wrong:
        raise Refused(f"{folder}: {wrong}") from wrong
    return made


def _write(
    folder: Path, records: Iterable[tuple[Split, Record]], manifest: Manifest, sources: Callable[[], tuple[Source, ...]]
) -> Manifest:
    writers = {split: _Writer(file_of(folder, split, manifest.form), manifest.form) for split in SPLITS}
    sides = _Sides(manifest.cuts)
    try:
        for split, record in records:
            sides.add(split, record)
            writers[split].add(record)
    finally:
        for writer in writers.values():
            writer.close()
    sides.check()
    told = replace(
        manifest,
        sources=sources(),
        counts={split: dict(writer.counts) for split, writer in writers.items()},
        sha256={file_of(folder, split, manifest.form).name: one.hash.hexdigest() for split, one in writers.items()},
        language=LANGUAGE,
    )
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
    return told


class _Sides:
    """Judges each example by the cut of its folder, and the three sides by each other."""

    def __init__(self, cuts: Cuts | None) -> None:
        self.cuts = cuts
        self.counts: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        self.texts: dict[Split, set[str]] = {split: set() for split in SPLITS}

    def add(self, split: Split, record: Record) -> None:
        """Count one example of `split`.

        Raises:
            Refused: it does not belong there.
        """
        self.counts[split] += 1
        if record.kind == "mood":
            self.texts[split].add(same_text(record.input))
        if record.as_of is None or record.answer_until is None:
            if record.kind != "mood":
                raise Refused(f"an example of {record.kind} in {split} has no date")
            return
        if self.cuts is None:
            raise Refused(f"an example as of {record.as_of} stands in a dataset without a cut")
        belongs = self.cuts.split_of(record.as_of, record.answer_until)
        if record.answer_until < record.as_of or belongs != split:
            raise Refused(
                f"{record.symbol} as of {record.as_of}, answered by {record.answer_until}, stands in {split}: "
                f"train ends by {self.cuts.cut}, valid is {self.cuts.valid_from}..{self.cuts.valid_until}, "
                f"test begins after {self.cuts.test_from}"
            )

    def check(self) -> None:
        """Judge the three together.

        Raises:
            Refused: one is empty, or two share a text.
        """
        empty = [split for split in SPLITS if not self.counts[split]]
        if empty:
            raise Refused(f"no example for {' and '.join(empty)}: a dataset needs all three sides")
        for one, other in (("train", "valid"), ("train", "test"), ("valid", "test")):
            shared = self.texts[one] & self.texts[other]  # type: ignore[index]
            if shared:
                raise Refused(f"{one} and {other} share {len(shared)} texts, like {min(shared)[:60]!r}")


# --- reading -------------------------------------------------------------------------------------------------------


def read_dataset(folder: Path) -> Dataset:
    """The dataset in `folder`, after a look at every line of it.

    Raises:
        Refused: it is no dataset, or in another answer language; a file is not as it was written; an example reaches
            past its side's cut; a side is empty, or two sides share a text.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as wrong:
        raise Refused(f"{folder}: no dataset: {wrong}") from wrong
    if manifest.language != LANGUAGE:
        raise Refused(
            f"{folder}: written in answer language {manifest.language}, models learn {LANGUAGE}: make it anew"
        )
    if manifest.cuts is not None:
        _check_cuts(folder, manifest.cuts)
    sides = _Sides(manifest.cuts)
    for split in SPLITS:
        path = file_of(folder, split, manifest.form)
        if _sha256(path) != manifest.sha256.get(path.name):
            raise Refused(f"{path}: not as it was written: its hash is another")
        try:
            for record in read_records(path, manifest.form):
                sides.add(split, record)
        except Refused as wrong:
            raise Refused(f"{folder}: {wrong}") from wrong
    try:
        sides.check()
    except Refused as wrong:
        raise Refused(f"{folder}: {wrong}") from wrong
    return Dataset(folder=folder, manifest=manifest)


def _check_cuts(folder: Path, cuts: Cuts) -> None:
    """Refuse cuts between which the embargo isn't what it says."""
    for cut, after in ((cuts.cut, cuts.after_cut), (cuts.valid_until, cuts.after_valid)):
        days = [cut, *after]
        if len(after) != cuts.embargo_sessions or days != sorted(set(days)):
            raise Refused(f"{folder}: the embargo after {cut} is not {cuts.embargo_sessions} sessions")
    if cuts.valid_until < cuts.valid_from:
        raise Refused(f"{folder}: valid ends {cuts.valid_until}, before it begins")


def file_of(folder: Path, split: Split, form: Form) -> Path:
    """Where one side lies."""
    return folder / f"{split}.{'csv' if form == 'csv' else 'jsonl'}"


def read_records(path: Path, form: Form) -> Iterator[Record]:
    """The examples of one file.

    Raises:
        Refused: names the line that is none.
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


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as wrong:
        raise Refused(f"{path}: {wrong}") from wrong
