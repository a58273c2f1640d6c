"""Moods from the store: what counts when, and that an evening and its history agree."""

from __future__ import annotations

import sqlite3
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from builders import at, config

from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import Database, migrations, open_database
from bot.config import Config
from bot.core import prompt
from bot.core.forecast import Article, Sentiment
from bot.moods import evening_moods, past_moods

THU, FRI, MON = date(2025, 1, 2), date(2025, 1, 3), date(2025, 1, 6)
BAD = Sentiment(positive=0.0, neutral=0.2, negative=0.8)
GOOD = Sentiment(positive=0.6, neutral=0.4, negative=0.0)


@pytest.fixture
def market(tmp_path: Path) -> MarketStore:
    return MarketStore(open_database(tmp_path / "t.db"))


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    return config(tmp_path)


def tell(market: MarketStore, title: str, mood: Sentiment, published: datetime, *, fetched: datetime | None = None,
         symbol: str = "2330", model: str = "m") -> None:  # fmt: skip
    told = Article(symbol=symbol, title=title, url=f"u/{title}", source="s", language="zh", published_at=published,
                   fetched_at=fetched or published)  # fmt: skip
    market.add_articles([told])
    market.add_sentiments(model, {title: mood}, published)


def test_an_evening_reads_the_last_days_of_its_own_model(market: MarketStore, settings: Config) -> None:
    # Decided at 18:20; weights halve each day, and 4 new stories would be whole evidence.
    tell(market, "now", BAD, at(FRI, "18:20"))
    tell(market, "yesterday", BAD, at(THU, "18:20"))
    tell(market, "three days and a minute", BAD, at(date(2024, 12, 31), "18:19"))
    tell(market, "another model's", GOOD, at(FRI, "12:00"), model="other")
    tell(market, "another stock's", GOOD, at(FRI, "18:20"), symbol="2317")
    moods = evening_moods(market.db, FRI, "m", at(FRI, "18:20"), settings)
    assert {symbol: mood.score_bps for symbol, mood in moods.items()} == {
        "2330": round(-0.8 * 1.5 / 4 * 10_000),
        "2317": round(0.6 / 4 * 10_000),
    }
    assert evening_moods(market.db, MON, "nobody", at(MON, "18:20"), settings) == {}


def test_an_answer_to_a_question_in_another_wording_is_none_and_is_asked_for_again(
    market: MarketStore, settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(market, "now", BAD, at(FRI, "18:20"))
    assert market.newest_sentiments(5)
    for module in ("sqlite_moods", "sqlite_market"):  # a later twtrader
        monkeypatch.setattr(f"bot.adapters.{module}.WORDING", prompt.WORDING + 1)
    assert evening_moods(market.db, FRI, "m", at(FRI, "18:20"), settings) == {}
    assert past_moods(market.db, [FRI], "m", settings) == {}
    assert market.sentiments(["now"], model="m") == {}
    assert market.newest_sentiments(5) == []
    market.add_sentiments("m", {"now": GOOD}, at(FRI, "18:25"))
    assert market.sentiments(["now"], model="m") == {"now": GOOD}
    assert evening_moods(market.db, FRI, "m", at(FRI, "18:30"), settings)["2330"].score_bps == round(0.6 / 4 * 10_000)
    monkeypatch.undo()
    assert market.sentiments(["now"], model="m") == {"now": BAD}  # what was answered then is still there


def test_moods_of_before_there_were_wordings_are_kept_and_do_not_count(tmp_path: Path, settings: Config) -> None:
    path = tmp_path / "old.db"
    db = Database(sqlite3.connect(path))
    migrations.apply(db, stop_before="m110_mood_wording")
    row = {"title": "Profit up 20 %", "model": "m", "positive": 0.6, "neutral": 0.4, "negative": 0.0, "made_at": "x"}
    db["sentiments"].insert(row)
    db.conn.commit()
    db.close()
    market = MarketStore(open_database(path))
    assert list(market.db["sentiments"].rows) == [row | {"wording": 1}]
    assert market.sentiments([row["title"]], model="m") == {}
    tell(market, row["title"], BAD, at(FRI, "18:20"))
    assert evening_moods(market.db, FRI, "m", at(FRI, "18:20"), settings)["2330"].score_bps == -2_000


def test_a_headline_counts_from_when_it_was_fetched_and_is_as_old_as_it_was_published(
    market: MarketStore, settings: Config
) -> None:
    tell(market, "late", BAD, at(THU, "18:20"), fetched=at(FRI, "18:21"))
    assert evening_moods(market.db, FRI, "m", at(FRI, "18:20"), settings) == {}
    late = evening_moods(market.db, FRI, "m", at(FRI, "21:00"), settings)  # decided late: what is known counts
    assert late["2330"].score_bps == round(-0.8 * 0.5 / 4 * 10_000)
    assert past_moods(market.db, [THU, FRI], "m", settings) == {}
    monday = past_moods(market.db, [THU, FRI, MON], "m", settings)
    assert monday == {}  # published four days before


def test_history_gets_the_numbers_of_the_evenings_whenever_within_the_hour_they_were_decided(
    market: MarketStore, settings: Config
) -> None:
    for n, session in enumerate((THU, FRI, MON)):
        for k in range(3):
            tell(market, f"{session} {k}", (BAD, GOOD)[(n + k) % 2], at(session, "09:00") + timedelta(hours=k))
    history = past_moods(market.db, [THU, FRI, MON], "m", settings)
    live = {
        session: evening_moods(market.db, session, "m", at(session, "18:20") + timedelta(minutes=minutes), settings)
        for session, minutes in ((THU, 0), (FRI, 3), (MON, 59))
    }
    assert history == live
    # On Friday Thursday's news counts too; on Monday evening no other news of the last three days is left.
    assert live[THU]["2330"].stories == live[MON]["2330"].stories == 3
    assert live[FRI]["2330"].stories == 6
