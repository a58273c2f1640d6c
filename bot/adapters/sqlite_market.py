"""Bars, closings, headlines, forecasts and sentiments in SQLite: rows in, our types out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from bot.adapters.askers import OF_STORE, counting
from bot.adapters.sqlite_answers import AnswerStore
from bot.adapters.sqlite_bars import BarStore
from bot.adapters.sqlite_news import NewsStore
from bot.core.check import CheckedBars
from bot.core.forecast import Article, Forecast, Sentiment
from bot.core.headlines import Story
from bot.core.market import Bar, from_x100
from bot.core.prompt import WORDING
from bot.ports import Company


class MarketStore:
    """Reads and writes what came in from outside. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    @property
    def answers(self) -> AnswerStore:
        """What models said of prices."""
        return AnswerStore(self.db)

    # --- bars ---------------------------------------------------------------------------------------------

    def add_bars(self, checked: CheckedBars, fetched_at: datetime) -> int:
        """Store the bars that are not there yet; returns how many were new. More in BarStore."""
        return BarStore(self.db).add(checked, fetched_at).new

    def bars(self, symbol: str, *, until: date, last: int | None = None) -> list[Bar]:
        """Bars of `symbol` up to and with `until`, oldest first; only the newest `last` when given."""
        rows = self.db.query(
            "select * from bars where symbol = ? and session <= ? order by session desc limit ?",
            [symbol, until.isoformat(), -1 if last is None else last],
        )
        return [_bar(row) for row in rows][::-1]

    def all_bars(self, *, since: date, until: date) -> dict[str, list[Bar]]:
        """Every stock's bars in since..until, oldest first."""
        rows = self.db.query(
            "select * from bars where session between ? and ? order by symbol, session",
            [since.isoformat(), until.isoformat()],
        )
        by_symbol: dict[str, list[Bar]] = {}
        for row in rows:
            by_symbol.setdefault(row["symbol"], []).append(_bar(row))
        return by_symbol

    def last_closes(self, symbols: Sequence[str], *, until: date) -> dict[str, int]:
        """Each stock's newest close up to `until`, in hundredths of a TWD; a stock without bars is absent."""
        marks = ",".join("?" * len(symbols))
        rows = self.db.query(
            f"select symbol, close_x100, max(session) from bars where session <= ? and symbol in ({marks}) "
            "group by symbol",
            [until.isoformat(), *symbols],
        )
        return {row["symbol"]: row["close_x100"] for row in rows}

    def bars_of(self, session: date) -> dict[str, Bar]:
        """Every stock's bar of one session, by symbol."""
        return {row["symbol"]: _bar(row) for row in self.db["bars"].rows_where("session = ?", [session.isoformat()])}

    def count_bars(self, session: date) -> int:
        """How many stocks have a bar of `session`."""
        return int(self.db["bars"].count_where("session = ?", [session.isoformat()]))

    def session_after(self, day: date) -> date | None:
        """The first session after `day` in which any stock traded, as far as bars are stored."""
        row = next(self.db.query("select min(session) as s from bars where session > ?", [day.isoformat()]))
        return date.fromisoformat(row["s"]) if row["s"] else None

    def session_before(self, day: date) -> date | None:
        """The last session before `day` in which any stock traded, as far as bars are stored."""
        row = next(self.db.query("select max(session) as s from bars where session < ?", [day.isoformat()]))
        return date.fromisoformat(row["s"]) if row["s"] else None

    def count_sessions(self, after: date, until: date) -> int:
        """In how many sessions after `after`, up to `until`, any stock traded, as far as bars are stored."""
        words = [after.isoformat(), until.isoformat()]
        row = next(
            self.db.query("select count(distinct session) as n from bars where session > ? and session <= ?", words)
        )
        return int(row["n"])

    def revised(self, session: date) -> set[str]:
        """Stocks whose stored bar of `session` a later answer contradicts."""
        rows = self.db.query("select distinct symbol from bar_revisions where session = ?", [session.isoformat()])
        return {row["symbol"] for row in rows}

    def in_quarantine(self, session: date) -> dict[str, str]:
        """By stock, why a row of `session`, or one without a day that came since, did not pass the gate."""
        rows = self.db.query(
            "select symbol, reason from quarantine where session = ? "
            "or (session = '' and substr(quarantined_at, 1, 10) >= ?) order by id",
            [session.isoformat(), session.isoformat()],
        )
        return {row["symbol"]: row["reason"] for row in rows}

    # --- companies ----------------------------------------------------------------------------------------

    def add_companies(self, companies: Iterable[Company]) -> None:
        """Remember names and boards; the newest word counts."""
        self.db["companies"].upsert_all(
            [{"symbol": one.symbol, "name": one.name, "board": one.board} for one in companies], pk="symbol"
        )

    def companies(self, symbols: Iterable[str]) -> tuple[Company, ...]:
        """Those of `symbols` that were ever looked at."""
        wanted = set(symbols)
        return tuple(
            Company(symbol=row["symbol"], name=row["name"], board=row["board"])
            for row in self.db["companies"].rows
            if row["symbol"] in wanted
        )

    def names(self) -> dict[str, str]:
        """Names by symbol, of every company ever looked at."""
        return {row["symbol"]: row["name"] for row in self.db.query("select symbol, name from companies")}

    # --- headlines ----------------------------------------------------------------------------------------

    def add_articles(self, articles: Iterable[Article]) -> int:
        """Store the headlines that are not there yet; returns how many were new. None is ever rewritten."""
        before = self.db["article_symbols"].count
        NewsStore(self.db).add(_story(article) for article in articles)
        return int(self.db["article_symbols"].count - before)

    def articles(self, symbol: str, *, since: datetime, known_at: datetime) -> list[Article]:
        """Headlines about `symbol` published from `since` on, both published and fetched by `known_at`."""
        rows = self.db.query(
            "select * from symbol_articles where symbol = ? and julianday(published_at) >= julianday(?) "
            "and julianday(published_at) <= julianday(?) and julianday(fetched_at) <= julianday(?) "
            "order by published_at desc, id",
            [symbol, since.isoformat(), known_at.isoformat(), known_at.isoformat()],
        )
        return [_article(row) for row in rows]

    def titles(self, *, since: date, until: date) -> list[str]:
        """Every headline published in since..until, once, oldest first; a day more at both ends, for time zones."""
        rows = self.db.query(
            "select title from articles where date(substr(published_at, 1, 10)) between date(?, '-1 day') "
            "and date(?, '+1 day') group by title order by min(published_at), title",
            [since.isoformat(), until.isoformat()],
        )
        return [row["title"] for row in rows]

    # --- what the model said ------------------------------------------------------------------------------

    def add_forecasts(self, forecasts: Iterable[Forecast], made_at: datetime) -> None:
        """Store the daemon's answers; the same question to the same model is answered once. More in AnswerStore."""
        self.answers.add(((None, one) for one in forecasts), made_at)

    def forecasts(self, *, as_of: date, model: str, past_sessions: int, future_sessions: int) -> dict[str, Forecast]:
        """The daemon's valid answers of `model` as of one session, by symbol."""
        return self.answers.forecasts(
            as_of=as_of, model=model, past_sessions=past_sessions, future_sessions=future_sessions
        )

    def model_of(self, as_of: date, past_sessions: int, future_sessions: int) -> str | None:
        """The model that the daemon asked last, in this shape, as of `as_of`; None when it asked none."""
        return self.answers.model_of(as_of, past_sessions, future_sessions)

    def all_targets(self, *, since: date, until: date, past_sessions: int, future_sessions: int) -> list[Forecast]:
        """What the rule looks at of the answers about the store's bars, oldest first. More in AnswerStore.targets."""
        said = self.answers.targets(
            since=since, until=until, past_sessions=past_sessions, future_sessions=future_sessions
        )
        return counting(said, OF_STORE)

    def newest_forecasts(self) -> list[Forecast]:
        """The daemon's answers as of the last session that has any, by symbol."""
        return self.answers.newest()

    def add_sentiments(self, model: str, moods: Mapping[str, Sentiment], made_at: datetime) -> None:
        """Store the mood of each headline as `model` sees it, asked in the WORDING of now."""
        self.db["sentiments"].insert_all(
            [
                {"title": title, "model": model, "wording": WORDING, "positive": mood.positive,
                 "neutral": mood.neutral, "negative": mood.negative, "made_at": made_at.isoformat()}
                for title, mood in moods.items()
            ],
            ignore=True,
        )  # fmt: skip

    def sentiments(self, titles: Sequence[str], *, model: str) -> dict[str, Sentiment]:
        """The known moods of `titles`; those never asked, or in another WORDING only, are absent."""
        rows = self.db.query(
            "select * from sentiments where model = ? and wording = ? and title in (select value from json_each(?))",
            [model, WORDING, json.dumps(list(titles))],
        )
        return {row["title"]: _sentiment(row) for row in rows}

    def newest_sentiments(self, limit: int) -> list[tuple[Article, Sentiment]]:
        """The newest scored headlines, newest first."""
        rows = self.db.query(
            "select a.*, s.positive, s.neutral, s.negative from symbol_articles a join sentiments s "
            "on s.title = a.title where s.wording = ? group by a.id order by a.published_at desc, a.id limit ?",
            [WORDING, limit],
        )
        return [(_article(row), _sentiment(row)) for row in rows]


def _bar(row: Mapping[str, Any]) -> Bar:
    return Bar(
        symbol=row["symbol"],
        session=date.fromisoformat(row["session"]),
        open=from_x100(row["open_x100"]),
        high=from_x100(row["high_x100"]),
        low=from_x100(row["low_x100"]),
        close=from_x100(row["close_x100"]),
        volume_shares=row["volume_shares"],
        turnover_twd=row["turnover_twd"],
        trades=row["trades"],
    )


def _story(article: Article) -> Story:
    return Story(
        title=article.title,
        url=article.url,
        source=article.source,
        language=article.language,
        published_at=article.published_at,
        fetched_at=article.fetched_at,
        symbols=(article.symbol,),
    )


def _article(row: Mapping[str, Any]) -> Article:
    return Article(
        symbol=row["symbol"],
        title=row["title"],
        url=row["url"],
        source=row["source"],
        language=row["language"],
        published_at=datetime.fromisoformat(row["published_at"]),
        fetched_at=datetime.fromisoformat(row["fetched_at"]),
    )


def _sentiment(row: Mapping[str, Any]) -> Sentiment:
    return Sentiment(positive=row["positive"], neutral=row["neutral"], negative=row["negative"])
