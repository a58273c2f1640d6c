"""Attack headlines in the store and on the terminal: nothing breaks, nothing is steered."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
from attacks import ATTACKS
from builders import THURSDAY, at, config, forecast
from rich.console import Console

from bot.adapters.llm_worker import Titles, encode
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_news import NewsStore
from bot.adapters.sqlite_open import open_database
from bot.core.forecast import Sentiment
from bot.core.foreign_text import storable
from bot.core.headlines import Story
from bot.status import read_snapshot
from bot.status_json import as_json
from bot.status_picture import render

BAD = Sentiment(positive=0.1, neutral=0.1, negative=0.8)
NOW = at(THURSDAY, "17:00")
STEERING = set("\x00\x07\x08\x1b\x7f\x85\x9b\u200b\u202e\u2066\u2067\ufeff")


def story(title: str) -> Story:
    return Story(title=title, url="https://a.org/\ud800\x00", source="s\udfff", language="zh", published_at=NOW,
                 fetched_at=NOW, symbols=("2330",))  # fmt: skip


@pytest.fixture
def market(tmp_path: Path) -> MarketStore:
    return MarketStore(open_database(tmp_path / "t.db"))


def test_every_attack_is_stored_and_its_mood_is_found_again(market: MarketStore) -> None:
    """A lone surrogate has no UTF-8 and once ended the news stage; a NUL kept a mood from ever being found."""
    store = NewsStore(market.db)
    assert store.add(story(one.text) for one in ATTACKS) == len(ATTACKS)
    titles = [one.title for one in store.stories(limit=1_000)]
    market.add_sentiments("m", dict.fromkeys(titles, BAD), NOW)
    assert market.sentiments(titles, model="m").keys() == set(titles)
    encode(Titles(titles=tuple(map(storable, (one.text for one in ATTACKS)))))  # the way into the child process


@pytest.mark.parametrize("width", [80, 200])
def test_the_view_shows_headlines_as_text(market: MarketStore, tmp_path: Path, width: int) -> None:
    """ "[/INST]" in a headline once ended the view, "[red]" coloured it, and an escape could clear the screen."""
    store = NewsStore(market.db)
    store.add([story("x [/INST] [red]y[/red] \x1b[2J\u202ez")])
    store.add(story(one.text) for one in ATTACKS)
    told = [one.title for one in store.stories(limit=1_000)]
    market.add_sentiments("test", dict.fromkeys(told, BAD), NOW)
    market.add_forecasts([forecast("100")], NOW)
    settings = config(tmp_path, model={"past_sessions": 20, "future_sessions": 1})
    seen = read_snapshot(market.db, at(THURSDAY, "19:00"), (), config=settings)
    assert len(seen.moods) > 5
    page = io.StringIO()
    Console(file=page, width=width, color_system=None).print(render(seen, width))
    assert not set(page.getvalue()) & STEERING
    assert "x [/INST] [red]y[/red] [2Jz" in page.getvalue()


def test_the_view_shows_what_the_rule_reads_of_the_news(market: MarketStore, tmp_path: Path) -> None:
    moods = [BAD, BAD, BAD, Sentiment(positive=0.9, neutral=0.1, negative=0.0)]
    for n, mood in enumerate(moods):
        told = story(f"headline {n}")
        NewsStore(market.db).add([told])
        market.add_sentiments("test", {told.title: mood}, NOW)
    market.add_forecasts([forecast("100")], NOW)
    settings = config(tmp_path, model={"past_sessions": 20, "future_sessions": 1})
    seen = read_snapshot(market.db, NOW + timedelta(hours=2), (), config=settings)
    [facts] = as_json(seen)["news"]
    # 80 minutes old at 18:20: each weighs 0.5 ** (80 / 1440); (3 x -0.7 + 0.9) of them, and what is missing to 4.
    assert facts["score"] == pytest.approx(0.5 ** (80 / 1_440) * (3 * -0.7 + 0.9) / 4)
    assert (facts["symbol"], facts["stories"], facts["headlines"]) == ("2330", 4, 4)
    assert (facts["mixed"], facts["low_confidence"]) == (False, False)
    page = io.StringIO()
    Console(file=page, width=100, color_system=None).print(render(seen, 100))
    [line] = [line for line in page.getvalue().splitlines() if line.startswith("2330") and "evidence" in line]
    assert line.split() == ["2330", "-0.29", "4", "30%", "60%", "little", "evidence"]
