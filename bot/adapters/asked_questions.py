"""What names a question, so that an answer to it is found again whoever asks it and whatever for. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from bot.core.market import is_etf, limit_pct
from bot.core.prompt import FIELDS, question_text
from bot.ports import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A question with what finds its answer: the hash of its text, and the grid that turns codes into prices."""

    question: Question
    sha256: str
    grid: str


def named(question: Question, columns: Sequence[str] = FIELDS) -> Named:
    """`question` with its names, as a model whose past bars tell `columns` reads it."""
    grid = price_grid(question.company.symbol, question.as_of)
    return Named(question=question, sha256=prompt_sha256(question, columns), grid=grid)


def prompt_sha256(question: Question, columns: Sequence[str] = FIELDS) -> str:
    """The SHA-256, in hex, of the text of `question`, as a model whose past bars tell `columns` reads it."""
    text = question_text(
        question.company.name,
        question.bars,
        context=question.context,
        masked=question.masked,
        columns=columns,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def price_grid(symbol: str, as_of: date) -> str:
    """What turns an answer's codes into prices beside the question: the ticks and the daily limit, like "stock10"."""
    return f"{'etf' if is_etf(symbol) else 'stock'}{limit_pct(as_of)}"


def unhashed(symbol: str, as_of: date, past_sessions: int) -> str:
    """What names a question whose text was never hashed."""
    return f"{symbol} {as_of} {past_sessions}"
