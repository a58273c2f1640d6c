"""Labelled texts: the published sentiment corpora, and any labelled CSV or JSON file.

A corpus is a train side and a test side that share no text. The published test sides stay as they were published;
what they share with the train side is taken out of the train side, and counted.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bot.core.prompt import LABELS
from bot.errors import Refused

PER_CLASS: Final = 300  # of fpb900, on each side
VALID_PER_CLASS: Final = 50  # of fpb900, at most: of the negative ones four are left
FPB900_SEED: Final = 42
NEUTRAL_SCORE: Final = 0.1  # FiQA: -0.1 <= score < 0.1 is neutral; fits the labels of all 235 test rows
_LINK: Final = re.compile(r"https?://\S+|www\.\S+", re.IGNORECASE)
_FIQA_INPUT: Final = re.compile(r"\nInput: (.*)\nAnswer: ?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its mood, one of LABELS."""

    text: str
    label: str


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


def load(name: str, folder: Path) -> Corpus:
    """The published corpus `name` (one of CORPORA) from the files in `folder`.

    Raises:
        Refused: an unknown name, an absent or unreadable file, a label outside LABELS, or an empty side.
    """
    if name not in CORPORA:
        raise Refused(f"{name!r} is no corpus; there are {', '.join(sorted(CORPORA))}")
    return CORPORA[name](folder)


def load_as(asked: str, folder: Path) -> tuple[Corpus, int]:
    """A corpus by NAME, and how often its train side is to be read: `fiqa*2` twice, `fpb-` without its neutral texts.

    Raises:
        Refused: as `load`, or `asked` is no such word.
    """
    told = re.fullmatch(r"(?P<name>\w+)(?P<polar>-?)(?:\*(?P<times>[1-9]))?", asked)
    if told is None:
        raise Refused(f"{asked!r} is no corpus: write NAME, NAME- (without neutral texts) or NAME*2 (read twice)")
    corpus = load(told["name"], folder)
    if told["polar"]:
        corpus = replace(corpus, train=tuple(one for one in corpus.train if one.label != "neutral"))
    return corpus, int(told["times"] or 1)


def read_labelled(path: Path, *, text: str = "text", label: str = "label") -> list[Labelled]:
    """The rows of a CSV, JSON (a list of objects) or JSONL file, its columns named by `text` and `label`.

    Raises:
        Refused: names the file, and the row that has no such column, no text, or a label outside LABELS.
    """
    return [_labelled(path, number, row, text, label) for number, row in enumerate(_rows(path), start=1)]


def corpus_of(name: str, train: Sequence[Labelled], test: Sequence[Labelled], licence: str = "unknown") -> Corpus:
    """A user's own two sides, as they are.

    Raises:
        Refused: a side is empty, or a text stands on both.
    """
    _check_sides(name, train, test)
    shared = {same_text(one.text) for one in test}
    both = next((one.text for one in train if same_text(one.text) in shared), None)
    if both is not None:
        raise Refused(f"{name}: a text stands in the train side and in the test side: {both[:60]!r}")
    return Corpus(name=name, licence=licence, train=tuple(train), test=tuple(test), removed=Removed())


def same_text(text: str) -> str:
    """Texts that are equal in this are one text: links, case, width, blanks and punctuation make no difference."""
    folded = unicodedata.normalize("NFKC", _LINK.sub("", text)).casefold()
    return "".join(char for char in folded if char.isalnum())


def label_of_score(score: float) -> str:
    """The mood of a FiQA score, -1 to 1."""
    if score < -NEUTRAL_SCORE:
        return "negative"
    return "positive" if score >= NEUTRAL_SCORE else "neutral"


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


# --- the published corpora -----------------------------------------------------------------------------------------


def _fpb900(folder: Path) -> Corpus:
    """Financial PhraseBank, 300 of each label on each side, drawn with seed 42; up to 50 of the rest to choose by."""
    import numpy as np

    rows = read_labelled(folder / "fpb.csv", text="sentence")
    pool, removed = without_repeats(rows)
    train: list[Labelled] = []
    test: list[Labelled] = []
    valid: list[Labelled] = []
    for label in LABELS:
        of_label = [one for one in pool if one.label == label]
        if len(of_label) < 2 * PER_CLASS:
            raise Refused(f"{folder / 'fpb.csv'}: {len(of_label)} {label} texts, {2 * PER_CLASS} are needed")
        # A shuffle a label with the same seed, its head to test: how the published 900/900 scripts drew theirs.
        order = np.random.RandomState(FPB900_SEED).permutation(len(of_label))
        test += [of_label[place] for place in order[:PER_CLASS]]
        train += [of_label[place] for place in order[PER_CLASS : 2 * PER_CLASS]]
        valid += [of_label[place] for place in order[2 * PER_CLASS : 2 * PER_CLASS + VALID_PER_CLASS]]
    return replace(_published("fpb900", FPB_LICENCE, train, test, removed), valid=tuple(valid))


def _fpb(folder: Path) -> Corpus:
    """Financial PhraseBank in the split that FinGPT and BloombergGPT are compared on."""
    path = folder / "fpb.csv"
    sides: dict[str, list[Labelled]] = {"train": [], "test": []}
    for number, row in enumerate(_rows(path), start=1):
        side = row.get("split_fingpt")
        if side not in sides:
            raise Refused(f"{path} row {number}: `split_fingpt` is {side!r}, neither train nor test")
        sides[side].append(_labelled(path, number, row, "sentence", "label"))
    train, removed = without_repeats(sides["train"], sides["test"])
    return _published("fpb", FPB_LICENCE, train, sides["test"], removed)


def _tfns(folder: Path) -> Corpus:
    """Twitter Financial News Sentiment; its valid side is the test side, as in published tables."""
    test = read_labelled(folder / "tfns_valid_labelled.csv", label="sentiment")
    rows = read_labelled(folder / "tfns_train_labelled.csv", label="sentiment")
    train, removed = without_repeats(rows, test)
    return _published("tfns", "MIT", train, test, removed)


def _fiqa(folder: Path) -> Corpus:
    """FiQA-SA headlines and posts, without the texts of the 235-row test set."""
    path = folder / "fiqa_test.jsonl"
    test = []
    for number, row in enumerate(_rows(path), start=1):
        asked = _FIQA_INPUT.search(str(row.get("context")))
        test.append(_labelled(path, number, {"text": asked and asked[1], "label": row.get("target")}, "text", "label"))
    rows = [row for file in ("fiqa_headline.json", "fiqa_post.json") for row in fiqa_scored(folder / file)]
    train, removed = without_repeats((Labelled(text, label_of_score(score)) for text, score in rows), test)
    return _published("fiqa", "unknown (WWW '18 open challenge; research use)", train, test, removed)


def fiqa_scored(path: Path) -> list[tuple[str, float]]:
    """Each sentence of a FiQA file with the score of each thing that it speaks of (one row a thing).

    Raises:
        Refused: the file is absent or of another shape.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [
            (str(entry["sentence"]), float(about["sentiment_score"]))
            for entry in entries.values()
            for about in entry["info"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise Refused(f"{path}: no FiQA file: {wrong}") from wrong


FPB_LICENCE: Final = "CC BY-NC-SA 3.0"
CORPORA: Final[Mapping[str, Callable[[Path], Corpus]]] = {"fpb900": _fpb900, "fpb": _fpb, "tfns": _tfns, "fiqa": _fiqa}


def _published(
    name: str, licence: str, train: Sequence[Labelled], test: Sequence[Labelled], removed: Removed
) -> Corpus:
    _check_sides(name, train, test)
    return Corpus(name=name, licence=licence, train=tuple(train), test=tuple(test), removed=removed)


def _check_sides(name: str, train: Sequence[Labelled], test: Sequence[Labelled]) -> None:
    for side, rows in (("train", train), ("test", test)):
        if not rows:
            raise Refused(f"{name}: the {side} side is empty")


def _labelled(path: Path, number: int, row: Mapping[str, Any], text: str, label: str) -> Labelled:
    """A row as a value; blanks around both and the case of the label make no difference."""
    absent = [column for column in (text, label) if row.get(column) is None]
    if absent:
        raise Refused(f"{path} row {number}: no column {', '.join(absent)}")
    told, mood = str(row[text]).strip(), str(row[label]).strip().casefold()
    if not told:
        raise Refused(f"{path} row {number}: `{text}` is empty")
    if mood not in LABELS:
        raise Refused(f"{path} row {number}: label {str(row[label])[:40]!r} is none of {', '.join(LABELS)}")
    return Labelled(told, mood)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
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
