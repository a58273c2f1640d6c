"""Headlines, requests spent on them, and feeds' validators in SQLite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from bot.adapters.sqlite_open import writing
from bot.config import TAIPEI
from bot.core.headlines import Story, plain_title, plain_url
from bot.errors import BudgetSpent
from bot.ports import Validators


class NewsStore:
    """Reads and writes headlines. One connection, one thread."""

    def __init__(self, db: Any) -> None:
        """`db` comes from `open_database`."""
        self.db = db

    # --- headlines ----------------------------------------------------------------------------------------

    def add(self, stories: Iterable[Story]) -> int:
        """Store what isn't there yet; returns how many stories were new. None is ever rewritten.

        A story that comes again may be found to speak of one more symbol: that is known from its second coming on.
        """
        with writing(self.db):
            return sum(self._add(story) for story in stories)

    def add_feed(self, url: str, stories: Iterable[Story], validators: Validators, at: datetime) -> int:
        """`add`, and remember the feed's validators in the same transaction: a crash between loses no headline."""
        with writing(self.db):
            new = self.add(stories)
            row = {"url": url, "etag": validators.etag, "last_modified": validators.last_modified}
            self.db["feeds"].upsert({**row, "fetched_at": at.isoformat()}, pk="url")
        return new

    def _add(self, story: Story) -> bool:
        """Store one story and its symbols; True when it is new."""
        title_key, url_key = story.key
        row = {
            "title": story.title,
            "url": story.url,
            "source": story.source,
            "language": story.language,
            "published_at": story.published_at.isoformat(),
            "fetched_at": story.fetched_at.isoformat(),
            "dated": int(story.dated),
            "title_key": title_key,
            "url_key": url_key,
        }
        before = self.db.conn.total_changes
        self.db["articles"].insert(row, ignore=True)
        new = bool(self.db.conn.total_changes > before)
        [found] = self.db.query("select id from articles where title_key = ? and url_key = ?", [title_key, url_key])
        self.db["article_symbols"].insert_all(
            [
                {"article_id": found["id"], "symbol": symbol, "known_at": story.fetched_at.isoformat()}
                for symbol in story.symbols
            ],
            ignore=True,
        )
        return new

    def stories(self, *, symbol: str | None = None, limit: int) -> list[Story]:
        """The newest stories, newest first; of one symbol when it is given."""
        about = "where id in (select article_id from article_symbols where symbol = ?) " if symbol else ""
        rows = self.db.query(
            f"select * from articles {about}order by julianday(published_at) desc, id desc limit ?",
            [*([symbol] if symbol else []), limit],
        )
        return [self._story(row) for row in rows]

    def _story(self, row: dict[str, Any]) -> Story:
        links = self.db.query("select symbol from article_symbols where article_id = ? order by symbol", [row["id"]])
        return Story(
            title=row["title"],
            url=row["url"],
            source=row["source"],
            language=row["language"],
            published_at=datetime.fromisoformat(row["published_at"]),
            fetched_at=datetime.fromisoformat(row["fetched_at"]),
            symbols=tuple(link["symbol"] for link in links),
            dated=bool(row["dated"]),
        )

    # --- requests -----------------------------------------------------------------------------------------

    def spend(self, source: str, at: datetime, budget: int) -> None:
        """Write down one request of `source` before it leaves; counted per day in Taipei, over all processes.

        Raises:
            BudgetSpent: `budget` requests were sent that day already; nothing may leave.
        """
        day = _day(at).isoformat()
        with self.db.conn:
            done = self.db.conn.execute(
                "insert into news_requests (source, day, at) select ?, ?, ? "
                "where (select count(*) from news_requests where source = ? and day = ?) < ?",
                [source, day, at.isoformat(), source, day, budget],
            )
        if done.rowcount != 1:
            raise BudgetSpent(f"the {budget} requests of {day} are spent")

    def left(self, source: str, at: datetime, budget: int) -> int:
        """How many requests `source` has left on the Taipei day of `at`."""
        spent = self.db["news_requests"].count_where("source = ? and day = ?", [source, _day(at).isoformat()])
        return max(0, budget - int(spent))

    def answered(self, symbol: str, language: str, at: datetime) -> None:
        """Remember that the question about `symbol` was answered."""
        self.db["news_questions"].upsert(
            {"symbol": symbol, "language": language, "asked_at": at.isoformat()}, pk=("symbol", "language")
        )

    def asked_at(self) -> dict[tuple[str, str], datetime]:
        """When each (symbol, language) was answered last; never-asked ones are absent."""
        rows = self.db["news_questions"].rows
        return {(row["symbol"], row["language"]): datetime.fromisoformat(row["asked_at"]) for row in rows}

    # --- feeds --------------------------------------------------------------------------------------------

    def validators(self, url: str) -> Validators:
        """What the feed at `url` gave us last."""
        rows = list(self.db["feeds"].rows_where("url = ?", [url]))
        return Validators(etag=rows[0]["etag"], last_modified=rows[0]["last_modified"]) if rows else Validators()


def _day(at: datetime) -> date:
    return at.astimezone(TAIPEI).date()


def migrate_articles(db: Any) -> None:
    """From one row per symbol and headline to one row per headline and its symbols; no row's word is lost.

    Rows of one headline become one: with the text of the first fetched, its moments, and each symbol known from its
    own row's fetching on.
    """
    rows: Sequence[dict[str, Any]] = list(db.query("select * from articles order by julianday(fetched_at), id"))
    db.execute("drop table articles")
    db["articles"].create(
        {"id": int, "title": str, "url": str, "source": str, "language": str, "published_at": str, "fetched_at": str,
         "dated": int, "title_key": str, "url_key": str},
        pk="id", strict=True, not_null={"title", "published_at", "fetched_at", "dated", "title_key", "url_key"},
    )  # fmt: skip
    db["articles"].create_index(["title_key", "url_key"], unique=True)
    db["articles"].create_index(["published_at"])
    db["article_symbols"].create(
        {"article_id": int, "symbol": str, "known_at": str},
        pk=("article_id", "symbol"), strict=True, not_null={"known_at"},
        foreign_keys=[("article_id", "articles", "id")],
    )  # fmt: skip
    db["article_symbols"].create_index(["symbol"])
    for row in rows:
        key = {"title_key": plain_title(row["title"], row["source"] or ""), "url_key": plain_url(row["url"] or "")}
        kept = {name: row[name] for name in ("title", "url", "source", "language", "published_at", "fetched_at")}
        db["articles"].insert({**kept, **key, "dated": 1}, ignore=True)
        [found] = db.query("select id from articles where title_key = ? and url_key = ?", list(key.values()))
        link = {"article_id": found["id"], "symbol": row["symbol"], "known_at": row["fetched_at"]}
        db["article_symbols"].insert(link, ignore=True)
    # What readers want: a row per symbol and headline, known from when both the headline and the link were.
    db.create_view(
        "symbol_articles",
        "select a.id, s.symbol, a.title, a.url, a.source, a.language, a.published_at, "
        "case when julianday(s.known_at) > julianday(a.fetched_at) then s.known_at else a.fetched_at end as fetched_at "
        "from articles a join article_symbols s on s.article_id = a.id",
    )
