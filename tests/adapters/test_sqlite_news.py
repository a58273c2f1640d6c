"""The archive of headlines: each once, known when it was known, from old databases too; and the budget's memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from builders import FRIDAY, THURSDAY, at
from sqlite_utils import Database

from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_news import NewsStore
from bot.adapters.sqlite_open import migrations, open_database
from bot.adapters.sqlite_signals import SignalStore
from bot.core.headlines import Story
from bot.core.signals import Signal
from bot.errors import BudgetSpent
from bot.ports import Validators

OLD = ["m001_market", "m002_journal", "m003_companies"]
STORY = Story(
    title="台積電攜手聯電", url="https://a.org/1", source="報", language="zh",
    published_at=at(THURSDAY, "14:00"), fetched_at=at(THURSDAY, "17:00"), symbols=("2330", "2303"),
)  # fmt: skip


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Any]:
    opened = open_database(tmp_path / "t.db")
    yield opened
    opened.close()


def test_one_story_of_two_companies_is_stored_once_and_found_under_both(db: Any) -> None:
    store, market = NewsStore(db), MarketStore(db)
    assert store.add([STORY, replace(STORY, url="https://www.a.org/1?utm_source=x", title="台積電攜手聯電 - 報")]) == 1
    assert store.stories(limit=9) == [replace(STORY, symbols=("2303", "2330"))]
    for symbol in ("2330", "2303"):
        [article] = market.articles(symbol, since=at(THURSDAY, "00:00"), known_at=at(THURSDAY, "17:00"))
        assert (article.symbol, article.title) == (symbol, STORY.title)
        assert market.articles(symbol, since=at(THURSDAY, "00:00"), known_at=at(THURSDAY, "16:59")) == []
    assert store.stories(symbol="2317", limit=9) == []


def test_nothing_is_rewritten_and_a_company_found_later_is_known_later(db: Any) -> None:
    store, market = NewsStore(db), MarketStore(db)
    store.add([replace(STORY, symbols=("2330",))])
    again = replace(STORY, fetched_at=at(FRIDAY, "17:00"), published_at=at(FRIDAY, "09:00"), source="報")
    assert store.add([again]) == 0
    [kept] = store.stories(limit=9)
    assert (kept.fetched_at, kept.published_at) == (STORY.fetched_at, STORY.published_at)
    since = at(THURSDAY, "00:00")
    assert market.articles("2303", since=since, known_at=at(FRIDAY, "16:59")) == []
    assert [one.fetched_at for one in market.articles("2303", since=since, known_at=at(FRIDAY, "17:00"))] == [
        at(FRIDAY, "17:00")
    ]
    assert len(market.articles("2330", since=since, known_at=at(THURSDAY, "17:00"))) == 1


def test_a_headline_of_nobody_is_kept_too(db: Any) -> None:
    store = NewsStore(db)
    assert store.add([replace(STORY, symbols=(), dated=False)]) == 1
    [kept] = store.stories(limit=1)
    assert (kept.symbols, kept.dated) == ((), False)


def old_database(path: Path, rows: list[tuple[str, str, str, str]]) -> None:
    """A database as it was before headlines had many companies: (symbol, title, url, fetched at)."""
    db = Database(sqlite3.connect(path))
    later = [one for one in migrations.pending(db.conn) if one not in OLD]
    migrations.apply(db, stop_before=later)
    db["articles"].insert_all(
        {"symbol": symbol, "title": title, "url": url, "source": "報", "language": "zh",
         "published_at": at(THURSDAY, "09:00").isoformat(), "fetched_at": fetched_at}
        for symbol, title, url, fetched_at in rows
    )  # fmt: skip
    db.close()


def test_an_old_database_keeps_every_headline_under_every_company_with_its_own_moment(tmp_path: Path) -> None:
    early, late = at(THURSDAY, "17:00").isoformat(), at(FRIDAY, "17:00").isoformat()
    rows = [
        ("2303", "兩雄合作", "https://a.org/1", late),
        ("2330", "兩雄合作", "https://a.org/1", early),
        ("2330", "兩雄合作", "https://b.org/9", early),
        ("2330", "另一則", "", early),
    ]
    old_database(tmp_path / "old.db", rows)
    db = open_database(tmp_path / "old.db")
    market, since = MarketStore(db), at(THURSDAY, "00:00")
    assert db["articles"].count == 3
    known = {
        (symbol, article.title, article.url, article.fetched_at.isoformat())
        for symbol in ("2303", "2330")
        for article in market.articles(symbol, since=since, known_at=at(FRIDAY, "17:00"))
    }
    assert known == set(rows)
    assert market.articles("2303", since=since, known_at=at(FRIDAY, "16:59")) == []
    assert len(market.articles("2330", since=since, known_at=at(THURSDAY, "17:00"))) == 3
    db.close()
    again = open_database(tmp_path / "old.db")
    assert again["articles"].count == 3
    again.close()


# --- the budget -------------------------------------------------------------------------------------------


def test_the_budget_is_remembered_over_a_restart_and_is_new_after_midnight_in_taipei(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    evening = at(THURSDAY, "23:59")
    for _ in range(3):
        db = open_database(path)
        NewsStore(db).spend("newsapi", evening, 3)
        db.close()
    db = open_database(path)
    store = NewsStore(db)
    with pytest.raises(BudgetSpent, match="the 3 requests of 2025-01-02 are spent"):
        store.spend("newsapi", evening, 3)
    assert store.left("newsapi", evening, 3) == 0
    assert store.left("newsapi", evening + timedelta(minutes=1), 3) == 3
    store.spend("newsapi", evening + timedelta(minutes=1), 3)
    assert db["news_requests"].count == 4
    db.close()


def spend_all(path: Path, results: Any) -> None:
    db, spent = open_database(path), 0
    for _ in range(20):
        try:
            NewsStore(db).spend("newsapi", at(THURSDAY, "17:00"), 25)
        except BudgetSpent:
            continue
        spent += 1
    db.close()
    results.put(spent)


def test_two_processes_share_one_budget(tmp_path: Path) -> None:
    """The daemon and `twtrader news fetch` at once: 2 x 20 requests wanted, 25 allowed."""
    path = tmp_path / "t.db"
    open_database(path).close()
    context = get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=spend_all, args=(path, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    spent = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert sum(spent) == 25


def test_validators_are_stored_with_the_stories_or_not_at_all(db: Any) -> None:
    store, url = NewsStore(db), "https://a.org/feed"
    assert store.validators(url) == Validators()

    def breaks() -> Iterator[Story]:
        yield STORY
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        store.add_feed(url, breaks(), Validators(etag="v1"), at(THURSDAY))
    assert (store.validators(url), store.stories(limit=9)) == (Validators(), [])
    assert store.add_feed(url, [STORY], Validators(etag="v1", last_modified="x"), at(THURSDAY)) == 1
    assert store.validators(url) == Validators(etag="v1", last_modified="x")


def test_answered_questions_are_remembered(db: Any) -> None:
    store = NewsStore(db)
    store.answered("2330", "zh", at(THURSDAY))
    store.answered("2330", "zh", at(FRIDAY))
    assert store.asked_at() == {("2330", "zh"): at(FRIDAY)}


def test_a_signal_is_stored_once_and_comes_back(db: Any) -> None:
    store = SignalStore(db)
    told = Signal(symbol="2330", as_of=THURSDAY, name="best_four_point", value=2, reasons=("buy: 量大收紅",))
    store.add([told], at(THURSDAY))
    store.add([replace(told, value=-4, reasons=())], at(FRIDAY))
    assert store.newest() == [told]
