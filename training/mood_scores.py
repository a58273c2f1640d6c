"""How well headlines were read: accuracy, F1, confusion, calibration, and whether one reader beats another.

Pure, on labels and probabilities. F1 and confusion are scikit-learn's, intervals and tests scipy's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bot.core.forecast import Sentiment
from bot.core.prompt import LABELS

BINS: Final = 10  # of confidence, from 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`right` of `count`, and Wilson's 95 % interval of the share; fractions."""

    right: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share."""
        return self.right / self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScore:
    """One label: how many of its texts were found (recall), and what share of those so called were so.

    `recall` is None where the set has no text of the label.
    """

    recall: Rate | None
    precision: float
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The answers whose confidence lies in low < confidence <= high: how sure they were and how often right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodScores:
    """One reader on one labelled set. `confusion` is label x answer, both in the order of LABELS.

    `calibration_error` is the expected calibration error: the mean distance between confidence and accuracy over the
    bins of `reliability`, weighted by their answers.
    """

    accuracy: Rate
    labels: Mapping[str, LabelScore]
    weighted_f1: float
    macro_f1: float
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: float
    reliability: tuple[Bin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Two readers on the same texts, by what only one of them got right. `p` is McNemar's, exact and two-sided."""

    only_first: int
    only_second: int
    p: float

    @property
    def first_ahead(self) -> int:
        """By how many texts the first is ahead; negative where it is behind."""
        return self.only_first - self.only_second


def score_moods(labels: Sequence[str], moods: Sequence[Sentiment]) -> MoodScores:
    """The scores of `moods`, the answers to texts that are labelled `labels`.

    Raises:
        ValueError: there is none, or not one answer a label.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    if not labels or len(labels) != len(moods):
        raise ValueError(f"{len(labels)} labels and {len(moods)} answers")
    said = [one.label for one in moods]
    precision, _, f1, counts = precision_recall_fscore_support(labels, said, labels=list(LABELS), zero_division=0)
    confusion = tuple(tuple(int(n) for n in row) for row in confusion_matrix(labels, said, labels=list(LABELS)))
    reliability = reliability_of(
        [max(one.positive, one.neutral, one.negative) for one in moods],
        [was == told for was, told in zip(labels, said, strict=True)],
    )
    return MoodScores(
        accuracy=rate(sum(confusion[at][at] for at in range(len(LABELS))), len(labels)),
        labels={
            label: LabelScore(
                recall=rate(confusion[at][at], int(counts[at])) if counts[at] else None,
                precision=float(precision[at]),
                f1=float(f1[at]),
            )
            for at, label in enumerate(LABELS)
        },
        weighted_f1=float(sum(f1 * counts) / len(labels)),
        macro_f1=float(f1[counts > 0].mean()),
        confusion=confusion,
        calibration_error=sum(abs(one.confidence - one.accuracy) * one.count for one in reliability) / len(labels),
        reliability=reliability,
    )


def rate(right: int, count: int) -> Rate:
    """`right` of `count` with Wilson's interval.

    Raises:
        ValueError: `count` is 0, or `right` is not within it.
    """
    from scipy.stats import binomtest

    if not 0 <= right <= count or not count:
        raise ValueError(f"{right} of {count}")
    told = binomtest(right, count).proportion_ci(0.95, method="wilson")
    return Rate(right=right, count=count, low=float(told.low), high=float(told.high))


def reliability_of(confidence: Sequence[float], right: Sequence[bool]) -> tuple[Bin, ...]:
    """The bins of equal width that hold an answer, from the least sure up."""
    held: dict[int, list[tuple[float, bool]]] = {}
    for sure, was in zip(confidence, right, strict=True):
        place = next(at for at in range(BINS) if sure <= (at + 1) / BINS or at == BINS - 1)
        held.setdefault(place, []).append((sure, was))
    return tuple(
        Bin(
            low=place / BINS,
            high=(place + 1) / BINS,
            count=len(inside),
            confidence=sum(sure for sure, _ in inside) / len(inside),
            accuracy=sum(was for _, was in inside) / len(inside),
        )
        for place, inside in sorted(held.items())
    )


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Whether one of two readers is right more often; True where it was right, text by text.

    McNemar's test in its exact form: of the texts that only one got right, each should get half if they were equal.
    Source: Q. McNemar, Psychometrika 12(2), 1947.
    """
    from scipy.stats import binomtest

    pairs = Counter(zip(first, second, strict=True))
    ahead, behind = pairs[True, False], pairs[False, True]
    p = float(binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0
    return Paired(only_first=ahead, only_second=behind, p=p)


def commonest(labels: Sequence[str]) -> str:
    """The label that most texts have: what a reader says who reads nothing. LABELS decide between equals."""
    counts = Counter(labels)
    return max(LABELS, key=lambda label: counts[label])
