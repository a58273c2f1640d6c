"""Stored headlines and what a model makes of them -> the mood of each stock's news, for live and history alike."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from bot.core.forecast import Sentiment
from bot.core.mood import Mood, MoodRules, Scored, mood_of
from bot.core.prompt import WORDING


@dataclass(frozen=True, slots=True, kw_only=True)
class Evening:
    """When a session is decided, `at`, from which headlines' ages count, and until when its headlines were `known`."""

    session: date
    at: datetime
    known: datetime


class MoodStore:
    """Reads moods. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    def moods(
        self, evenings: Sequence[Evening], *, model: str, lookback: timedelta, rules: MoodRules
    ) -> dict[date, dict[str, Mood]]:
        """By session and symbol, the mood of the headlines that `model` scored; a stock without any is absent.

        Only what was asked in the WORDING of now counts: an answer to another question is none to this one.
        `evenings` are oldest first. A headline counts from the moment at which it was both published and fetched, if
        it was published in the `lookback` before its evening's decision, or after that.
        """
        if not evenings:
            return {}
        known = [evening.known for evening in evenings]
        # Moments are text with offsets: a day is more than any two offsets are apart. The exact look is below.
        first = (evenings[0].at - lookback - timedelta(days=2)).isoformat()
        rows = self.db.execute(
            "select a.symbol, a.title, a.source, a.published_at, a.fetched_at, s.positive, s.neutral, s.negative "
            "from symbol_articles a join sentiments s on s.title = a.title "
            "where s.model = ? and s.wording = ? and a.published_at >= ?",
            [model, WORDING, first],
        )
        heard: dict[date, dict[str, list[Scored]]] = {}
        for symbol, title, source, published, fetched, positive, neutral, negative in rows:
            published_at = datetime.fromisoformat(published)
            sentiment = Sentiment(positive=positive, neutral=neutral, negative=negative)
            one = Scored(title=title, source=source or "", published_at=published_at, sentiment=sentiment)
            for place in range(bisect_left(known, max(published_at, datetime.fromisoformat(fetched))), len(evenings)):
                if published_at < evenings[place].at - lookback:
                    break
                heard.setdefault(evenings[place].session, {}).setdefault(symbol, []).append(one)
        at = {evening.session: evening.at for evening in evenings}
        return {
            session: {symbol: mood for symbol, told in by_symbol.items() if (mood := mood_of(told, at[session], rules))}
            for session, by_symbol in heard.items()
        }
