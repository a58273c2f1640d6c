"""The question-and-analysis form: what is known of a stock's week, what speaks for it, what against, what comes next.

The outcome is no part of a `KnownWeek`: whoever builds a request from one can't tell what it is asked to predict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from bot.core.market import from_x100
from bot.core.prompt import CONTEXT_LINES, NAME_CHARS, clean_text, headline_text

WEEK_SESSIONS: Final = 5
PAST_CLOSES: Final = 21  # so that the month's move is known
TOP: Final = 5  # U5: more than 4 %
FLAT: Final = "F"
WEEK_LABELS: Final = (*(f"D{step}" for step in range(TOP, 0, -1)), FLAT, *(f"U{step}" for step in range(1, TOP + 1)))
ANALYSIS_PREFIX: Final = (
    "Outlook for the next 5 sessions. U1: up to 1 % up, U2: up to 2 %, ... U5: over 4 %; D1..D5: down; F: unchanged.\n"
)
MOST_POINTS: Final = 5
POINT_CHARS: Final = 300
LEAST_TEXT: Final = 20
MOST_TEXT: Final = 1200


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownWeek:
    """What was known after the close of `as_of`: nothing in it is later.

    `closes_x100` are the last PAST_CLOSES closes, oldest first, in the prices of `as_of`; `headlines` newest first.
    """

    symbol: str
    name: str
    as_of: date
    closes_x100: tuple[int, ...]
    headlines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What speaks for a price, what against it, and what comes of it: one of WEEK_LABELS with its reasons."""

    positives: tuple[str, ...]
    concerns: tuple[str, ...]
    label: str
    text: str


def week_label(before_x100: int, after_x100: int) -> str:
    """The move's label: whole percents, rounded away from zero, at most TOP; F where the price is the same."""
    if after_x100 == before_x100:
        return FLAT
    percent = -(-100 * abs(after_x100 - before_x100) // before_x100)
    return f"{'U' if after_x100 > before_x100 else 'D'}{min(percent, TOP)}"


def direction(label: str) -> str:
    """U, D or F."""
    return label[0]


def analysis_question(week: KnownWeek) -> str:
    """What the model is asked; the answer begins on the next line."""
    closes = week.closes_x100
    name = clean_text(week.name, NAME_CHARS)
    moves = ", ".join(f"{_move(closes[-1 - back], closes[-1])} in {back}" for back in (1, 5, 20))
    told = [title for title in (headline_text(one) for one in week.headlines) if title][:CONTEXT_LINES]
    news = "".join(f"News: {title}\n" for title in told)
    return (
        f"{ANALYSIS_PREFIX}{week.symbol} {name}, close {from_x100(closes[-1]).normalize():f} on {week.as_of}\n"
        f"Sessions: {moves}\n{news}"
    )


def _move(before_x100: int, after_x100: int) -> str:
    return f"{(after_x100 - before_x100) / before_x100:+.1%}"


# Section headings as an answer may spell them; the first is how we write them.
HEADINGS: Final = {
    "en": ("Positive developments", "Potential concerns", "Prediction and analysis", "Prediction"),
    "zh-TW": ("正面發展", "潛在疑慮", "預測與分析", "預測"),
}


def answer_of(analysis: Analysis, language: str = "en") -> str:
    """The answer that `read_analysis` reads."""
    good, bad, last, word = HEADINGS[language]
    return (
        f"{good}:\n{_points(analysis.positives)}{bad}:\n{_points(analysis.concerns)}"
        f"{last}:\n{word}: {analysis.label}\n" + (f"{analysis.text}\n" if analysis.text else "")
    )


def label_answer(label: str) -> str:
    """The answer where there is no text to learn: the prediction alone."""
    return f"{HEADINGS['en'][3]}: {label}\n"


def _points(points: Sequence[str]) -> str:
    return "".join(f"- {point}\n" for point in points)


_PREDICTION: Final = re.compile(rf"^\W*(?:Prediction|預測)\W*({'|'.join(WEEK_LABELS)})\b", re.IGNORECASE | re.MULTILINE)
_BULLET: Final = re.compile(r"^(?:[-*•·]|\d{1,2}[.)、])\s*")
_CHINESE: Final = re.compile("[\u3400-\u9fff]")


def read_prediction(text: str) -> str | None:
    """The label that an answer predicts, whichever form it has; None where it has none."""
    found = _PREDICTION.search(text)
    return found[1].upper() if found else None


def read_analysis(text: str, language: str = "en") -> Analysis:
    """What an answer says, if it keeps the contract: three sections, one to five points each, one label, its reasons.

    Raises:
        ValueError: says what is missing or too long.
    """
    sections = _sections(text, language)
    positives, concerns = (_read_points(name, sections[name]) for name in ("positives", "concerns"))
    lines = [line.strip() for line in sections["last"].splitlines() if line.strip()]
    found = _PREDICTION.match(lines[0]) if lines else None
    if found is None:
        raise ValueError(f"no `{HEADINGS[language][3]}: LABEL` first in the last section")
    reasons = " ".join([lines[0][found.end() :].strip(" .,;:()（）。，-*"), *lines[1:]]).strip()
    if len(_PREDICTION.findall(text)) > 1:
        raise ValueError("more than one prediction")
    if not LEAST_TEXT <= len(reasons) <= MOST_TEXT:
        raise ValueError(f"reasons of {len(reasons)} characters, {LEAST_TEXT} to {MOST_TEXT} are wanted")
    if language == "zh-TW" and not _is_chinese(reasons):
        raise ValueError("the reasons are not in Chinese")
    told = clean_text(reasons, MOST_TEXT)  # foreign text, as a headline is
    return Analysis(positives=positives, concerns=concerns, label=found[1].upper(), text=told)


def _sections(text: str, language: str) -> dict[str, str]:
    """The text of each section."""
    good, bad, last, _ = HEADINGS[language]
    marks = []
    for name in (good, bad, last):
        found = list(
            re.finditer(rf"^[ \t#*]*{re.escape(name)}[*]*[::：]?[*]*[ \t]*$", text, re.IGNORECASE | re.MULTILINE)
        )
        if len(found) != 1:
            raise ValueError(f"{'no' if not found else 'more than one'} section `{name}`")
        marks.append(found[0])
    if not marks[0].end() < marks[1].start() < marks[2].start():
        raise ValueError("the sections stand in another order")
    return {
        "positives": text[marks[0].end() : marks[1].start()],
        "concerns": text[marks[1].end() : marks[2].start()],
        "last": text[marks[2].end() :],
    }


def _read_points(name: str, text: str) -> tuple[str, ...]:
    points = [_BULLET.sub("", line.strip()).strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(points) <= MOST_POINTS:
        raise ValueError(f"{len(points)} {name}, 1 to {MOST_POINTS} are wanted")
    longest = max(map(len, points))
    if longest > POINT_CHARS or not all(points):
        raise ValueError(f"one of the {name} has {longest} characters, 1 to {POINT_CHARS} are wanted")
    return tuple(clean_text(point, POINT_CHARS) for point in points)


def _is_chinese(text: str) -> bool:
    """Whether at least a third of the letters are Chinese: names and numbers may be Latin."""
    letters = [char for char in text if char.isalpha()]
    return bool(letters) and 3 * len(_CHINESE.findall(text)) >= len(letters)
