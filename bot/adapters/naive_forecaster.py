"""The engine without a model: tomorrow = today. The baseline of every report, and rehearsals without an LLM."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

from bot.core.forecast import Forecast, ForecastBar, Sentiment
from bot.errors import EngineFailed
from bot.ports import Question

NAIVE: Final = "naive"


class NaiveEngine:
    """Every future bar is flat at the last close; implements `bot.ports.Engine`."""

    @property
    def model(self) -> str:
        """There are no weights to name."""
        return NAIVE

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        """The last close, for each future session of each question. Nothing was learnt, so no day is too early."""
        return [_flat(question) for question in questions]

    def sentiment(self, titles: Sequence[str]) -> list[Sentiment]:
        """Refused: without a model the mood of the news is unknown, which is not the same as neutral.

        Raises:
            EngineFailed: always, when there is a headline.
        """
        if titles:
            raise EngineFailed("the naive engine reads no news")
        return []

    def close(self) -> None:
        """Nothing to give back."""


def _flat(question: Question) -> Forecast:
    """The forecast that nothing changes."""
    close = question.bars[-1].close
    bar = ForecastBar(open=close, high=close, low=close, close=close)
    return Forecast(
        symbol=question.company.symbol,
        as_of=question.as_of,
        trained_until=date.min,
        model=NAIVE,
        past_sessions=len(question.bars),
        bars=(bar,) * question.future_sessions,
    )
