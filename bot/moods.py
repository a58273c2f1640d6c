"""The mood of each stock's news as the configuration wants it: for an evening's decision, its view, and for history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from bot.adapters.sqlite_moods import Evening, MoodStore
from bot.config import Config
from bot.core.mood import Mood


def evening_moods(db: Any, session: date, model: str, known: datetime, config: Config) -> Mapping[str, Mood]:
    """By symbol, from the headlines known at the moment `known`; a stock without scored headlines is absent: unknown.

    Their ages count to the timetable's moment of decision whenever it is really taken, so that a backtest gets the
    same numbers from the same headlines.
    """
    return _moods(db, [Evening(session=session, at=_decided_at(session, config), known=known)], model, config).get(
        session, {}
    )


def past_moods(db: Any, sessions: Sequence[date], model: str, config: Config) -> Mapping[date, Mapping[str, Mood]]:
    """By session and symbol, from the headlines known at each session's moment of decision; `sessions` oldest first."""
    moments = {session: _decided_at(session, config) for session in sessions}
    evenings = [Evening(session=session, at=moment, known=moment) for session, moment in moments.items()]
    return _moods(db, evenings, model, config)


def _decided_at(session: date, config: Config) -> datetime:
    return datetime.combine(session, config.timetable.at("decide"))


def _moods(db: Any, evenings: Sequence[Evening], model: str, config: Config) -> Mapping[date, Mapping[str, Mood]]:
    lookback = timedelta(days=config.feeds.newsapi.lookback_days)
    return MoodStore(db).moods(evenings, model=model, lookback=lookback, rules=config.news)
