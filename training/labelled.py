"""Labelled texts: what one is, which texts are one, reading them from a file, and a corpus of two sides."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bot.core.prompt import LABELS, headline_text
from bot.errors import Refused

_LINK: Final = re.compile(r"https?://\S+|www\.\S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its mood, one of LABELS; `groups` are the parts of its set that it is scored in too."""

    text: str
    label: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Texts taken out of a train side: also in the test side, there before, or there with two labels (all of them)."""

    in_test: int = 0
    repeated: int = 0
    contradicted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Two sides without a common text. `removed` counts what the train side lost; `licence` is of the texts.

    `valid` is for choosing; where it is empty, a part of the train side is taken for that.
    """

    name: str
    licence: str
    train: tuple[Labelled, ...]
    test: tuple[Labelled, ...]
    removed: Removed
    valid: tuple[Labelled, ...] = ()


def read_labelled(path: Path, *, text: str = "text", label: str = "label") -> list[Labelled]:
    """The rows of a CSV, JSON (a list of objects) or JSONL file, its columns named by `text` and `label`.

    Raises:
        Refused: names the file, and the row that has no such column, no text, or a label outside LABELS.
    """
    return [labelled_row(path, number, row, text, label) for number, row in enumerate(rows_in(path), start=1)]


def corpus_of(name: str, train: Sequence[Labelled], test: Sequence[Labelled], licence: str = "unknown") -> Corpus:
    """A user's own two sides, as they are.

    Raises:
        Refused: as `check_sides`, or a text stands on both.
    """
    check_sides(name, train, test)
    shared = {same_text(one.text) for one in test}
    both = next((one.text for one in train if same_text(one.text) in shared), None)
    if both is not None:
        raise Refused(f"{name}: a text stands in the train side and in the test side: {both[:60]!r}")
    return Corpus(name=name, licence=licence, train=tuple(train), test=tuple(test), removed=Removed())


def same_text(text: str) -> str:
    """Texts that are equal in this are one text: links, case, width, blanks and punctuation make no difference."""
    folded = unicodedata.normalize("NFKC", _LINK.sub("", text)).casefold()
    return "".join(char for char in folded if char.isalnum())


def without_repeats(rows: Iterable[Labelled], test: Iterable[Labelled] = ()) -> tuple[list[Labelled], Removed]:
    """`rows` each text once, without those of `test` and without those that stand there with two labels."""
    taken = {same_text(one.text) for one in test}
    labels: dict[str, set[str]] = defaultdict(set)
    kept: dict[str, Labelled] = {}
    in_test = 0
    seen = 0
    for one in rows:
        key = same_text(one.text)
        if key in taken:
            in_test += 1
            continue
        seen += 1
        labels[key].add(one.label)
        kept.setdefault(key, one)
    agreed = [one for key, one in kept.items() if len(labels[key]) == 1]
    # Of a text with two labels all rows go; the first of them counts as contradicted, the others as repeats of it.
    contradicted = len(kept) - len(agreed)
    return agreed, Removed(in_test=in_test, repeated=seen - len(kept), contradicted=contradicted)


def check_sides(name: str, train: Sequence[Labelled], test: Sequence[Labelled]) -> None:
    """Refuse a corpus with nothing to learn from, or nothing to be tested on.

    Raises:
        Refused: a side is empty, or a text of the test side, like a lone link, has nothing to read: it can't be asked.
    """
    for side, rows in (("train", train), ("test", test)):
        if not rows:
            raise Refused(f"{name}: the {side} side is empty")
    mute = next((one.text for one in test if not headline_text(one.text)), None)
    if mute is not None:
        raise Refused(f"{name}: a text of the test side has nothing to read: {mute[:60]!r}")


def labelled_row(path: Path, number: int, row: Mapping[str, Any], text: str, label: str) -> Labelled:
    """Row `number` of the table at `path` as a value; blanks around both and the case of the label mean nothing.

    Raises:
        Refused: names the row that has no such column, no text, or a label outside LABELS.
    """
    absent = [column for column in (text, label) if row.get(column) is None]
    if absent:
        raise Refused(f"{path} row {number}: no column {', '.join(absent)}")
    told, mood = str(row[text]).strip(), str(row[label]).strip().casefold()
    if not told:
        raise Refused(f"{path} row {number}: `{text}` is empty")
    if mood not in LABELS:
        raise Refused(f"{path} row {number}: label {str(row[label])[:40]!r} is none of {', '.join(LABELS)}")
    return Labelled(told, mood)


def rows_in(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a table by column.

    Raises:
        Refused: it can't be read, or isn't a table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                yield from csv.DictReader(file)
                return
            rows = [json.loads(line) for line in file if line.strip()] if path.suffix == ".jsonl" else json.load(file)
    except (OSError, ValueError, csv.Error, RecursionError) as wrong:
        raise Refused(f"{path}: {wrong}") from wrong
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refused(f"{path}: a list of objects is wanted")
    yield from rows
