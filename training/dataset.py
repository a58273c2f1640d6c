"""A dataset folder: train.jsonl, valid.jsonl, test.jsonl, and dataset.json, which says where time was cut.

The cut is a property of the folder: an answer of the train side ends by `cut`, the questions of the other sides are
asked `embargo_sessions` later. `read_dataset` believes nothing of it before it has looked.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Final

import msgspec

from bot.core.prompt import LANGUAGE
from bot.errors import Refused
from training.cuts import SPLITS, Cuts, Split
from training.labelled import same_text
from training.records import Form, Record, RecordWriter, read_records

MANIFEST: Final = "dataset.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where examples come from, under which licence, and what was left out of them and why."""

    name: str
    licence: str
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What dataset.json says. `counts` are records by side and kind; `sha256` is of each file, by its name.

    `windows` are (past, future) in sessions, `stride` is in sessions too; `most` is of each side and window, 0 = all.
    """

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
    """A verified folder. Its examples are read from the files each time they are asked for."""

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


# --- writing -------------------------------------------------------------------------------------------------------


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
    writers = {split: RecordWriter(file_of(folder, split, manifest.form), manifest.form) for split in SPLITS}
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


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as wrong:
        raise Refused(f"{path}: {wrong}") from wrong
