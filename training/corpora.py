"""The corpora by name: those that others published, from files in a folder, and our own, which come with the package.

The published test sides stay as they were published; what they share with the train side is taken out of the train
side, and counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from bot.core.prompt import LABELS
from bot.errors import Refused
from training.labelled import (
    Corpus,
    Labelled,
    Removed,
    check_sides,
    labelled_row,
    read_labelled,
    rows_in,
    without_repeats,
)
from training.own_headlines import own

PER_CLASS: Final = 300  # of fpb900, on each side
VALID_PER_CLASS: Final = 50  # of fpb900, at most: of the negative ones four are left
FPB900_SEED: Final = 42
FPB_LICENCE: Final = "CC BY-NC-SA 3.0"
NEUTRAL_SCORE: Final = 0.1  # FiQA: -0.1 <= score < 0.1 is neutral; fits the labels of all 235 test rows
_FIQA_INPUT: Final = re.compile(r"\nInput: (.*)\nAnswer: ?$", re.DOTALL)


def load(name: str, folder: Path | None = None) -> Corpus:
    """The corpus `name`, one of CORPORA; a published one from the files in `folder`.

    Raises:
        Refused: an unknown name, no folder for a published one, an absent or unreadable file, a label outside LABELS,
            or an empty side.
    """
    if name in OWN:
        return OWN[name]()
    if name not in PUBLISHED:
        raise Refused(f"{name!r} is no corpus; there are {', '.join(sorted(CORPORA))}")
    if folder is None:
        raise Refused(f"corpus {name}: say with --texts in which folder its files lie")
    return PUBLISHED[name](folder)


def load_as(asked: str, folder: Path | None = None) -> tuple[Corpus, int]:
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


# --- the published ones ---------------------------------------------------------------------------------------------


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
    for number, row in enumerate(rows_in(path), start=1):
        side = row.get("split_fingpt")
        if side not in sides:
            raise Refused(f"{path} row {number}: `split_fingpt` is {side!r}, neither train nor test")
        sides[side].append(labelled_row(path, number, row, "sentence", "label"))
    train, removed = without_repeats(sides["train"], sides["test"])
    return _published("fpb", FPB_LICENCE, train, sides["test"], removed)


def _tfns(folder: Path) -> Corpus:
    """Twitter Financial News Sentiment; its valid side is the test side, as in published tables."""
    test = read_labelled(folder / "tfns_valid_labelled.csv", label="sentiment")
    rows = read_labelled(folder / "tfns_train_labelled.csv", label="sentiment")
    train, removed = without_repeats(rows, test)
    return _published("tfns", "MIT", train, test, removed)


def _fiqa(folder: Path) -> Corpus:
    """FiQA-SA headlines and posts, without the texts of the 235-row test set.

    Its licence stays unknown: the organisers' page (sites.google.com/view/fiqa) was not found to name one, and copies
    on the Hugging Face hub disagree: TheFinAI/fiqa-sentiment-classification says MIT without a reason,
    pauri32/fiqa-2018 says nothing. Looked up in November 2026.
    """
    path = folder / "fiqa_test.jsonl"
    test = []
    for number, row in enumerate(rows_in(path), start=1):
        asked = _FIQA_INPUT.search(str(row.get("context")))
        test.append(
            labelled_row(path, number, {"text": asked and asked[1], "label": row.get("target")}, "text", "label")
        )
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


def label_of_score(score: float) -> str:
    """The mood of a FiQA score, -1 to 1."""
    if score < -NEUTRAL_SCORE:
        return "negative"
    return "positive" if score >= NEUTRAL_SCORE else "neutral"


def _published(
    name: str, licence: str, train: Sequence[Labelled], test: Sequence[Labelled], removed: Removed
) -> Corpus:
    check_sides(name, train, test)
    return Corpus(name=name, licence=licence, train=tuple(train), test=tuple(test), removed=removed)


PUBLISHED: Final[Mapping[str, Callable[[Path], Corpus]]] = {
    "fpb900": _fpb900,
    "fpb": _fpb,
    "tfns": _tfns,
    "fiqa": _fiqa,
}
OWN: Final[Mapping[str, Callable[[], Corpus]]] = {
    "own": own,
    "own_en": partial(own, "en"),
    "own_zh": partial(own, "zh-TW"),
}
CORPORA: Final = (*PUBLISHED, *OWN)
