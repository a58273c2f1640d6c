from __future__ import annotations

import logging
import traceback
from datetime import UTC, datetime
from typing import Any

import newsapi.const
import pytest
from loopback import Answer, Loopback, news_config, recorded

from bot.adapters.newsapi_articles import NewsApiArticles
from bot.config import TAIPEI
from bot.core.headlines import Story
from bot.errors import BudgetSpent, ConfigError, DataMissing
from bot.ports import Company

KEY = "0123456789abcdef0123456789abcdef"
TSMC = Company(symbol="2330", name="台積電", board="twse")
SINCE = datetime(2025, 3, 2, 17, 0, tzinfo=TAIPEI)
NOW = datetime(2025, 3, 5, 17, 0, tzinfo=TAIPEI)
ANSWER = recorded("newsapi_everything.json")


class StandingClock:
    def now(self) -> datetime:
        return NOW.astimezone(UTC)


def feed(url: str, **changes: Any) -> NewsApiArticles:
    return NewsApiArticles(news_config(url, **changes), KEY, StandingClock(), symbols_of=spoken, spend=lambda: None)


def spoken(text: str) -> tuple[str, ...]:
    """What these tests need of the matcher."""
    return ("2330",) if "台積電" in text else ()


def error(code: str, status: int) -> Answer:
    return Answer({"status": "error", "code": code, "message": f"Your API key {KEY} ..."}, status=status)


def test_headlines_newest_first_each_once_within_the_span(loopback: Loopback) -> None:
    """Of the two copies the earlier stays; a withdrawn one, one without a title and tomorrow's are left out."""
    loopback.tell(ANSWER)
    assert feed(loopback.url).about(TSMC, "台積電", "zh", SINCE, NOW) == [
        Story(
            symbols=("2330",),
            title="台積電擴大投資　供應鏈受惠 - Second Paper",
            url="https://example.org/2",
            source="Second Paper",
            language="zh",
            published_at=datetime(2025, 3, 4, 14, 30, tzinfo=TAIPEI),
            fetched_at=NOW,
        ),
        Story(
            symbols=("2330",),
            title="台積電法說會登場",
            url="https://example.org/1",
            source="Wire",
            language="zh",
            published_at=datetime(2025, 3, 4, 0, 0, tzinfo=TAIPEI),
            fetched_at=NOW,
        ),
    ]


def test_asks_in_utc_at_the_configured_address_with_the_key_in_a_header(loopback: Loopback) -> None:
    loopback.tell(ANSWER)
    feed(loopback.url).about(TSMC, "台積電", "zh", SINCE, NOW)
    [request] = loopback.requests
    assert request.path == "/v2/everything"
    assert request.params == {
        "q": "台積電",
        "from": "2025-03-02T09:00:00",
        "to": "2025-03-05T09:00:00",
        "language": "zh",
        "sortBy": "publishedAt",
        "pageSize": "20",
    }
    assert request.headers["Authorization"] == KEY
    assert newsapi.const.EVERYTHING_URL == "https://newsapi.org/v2/everything"


def test_times_are_told_in_taipei(loopback: Loopback) -> None:
    loopback.tell(ANSWER)
    for article in feed(loopback.url).about(TSMC, "台積電", "zh", SINCE, NOW):
        assert article.published_at.tzinfo is TAIPEI
        assert article.fetched_at.tzinfo is TAIPEI


@pytest.mark.parametrize(("code", "status"), [("apiKeyInvalid", 401), ("rateLimited", 429), ("parameterInvalid", 400)])
@pytest.mark.parametrize("as_status", [True, False])
def test_an_error_of_newsapi_is_not_asked_for_again_and_never_tells_the_key(
    loopback: Loopback, caplog: pytest.LogCaptureFixture, code: str, status: int, *, as_status: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    loopback.tell(error(code, status if as_status else 200))
    with pytest.raises(DataMissing) as failed:
        feed(loopback.url).about(TSMC, "台積電", "zh", SINCE, NOW)
    assert str(failed.value) == (f"newsapi at {loopback.url}: news about 2330 台積電: {code}: Your API key (key) ...")
    assert len(loopback.requests) == 1
    assert KEY not in "".join(traceback.format_exception(failed.value))
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        error("unexpectedError", 500),
        Answer(b"<html>", status=502),
        Answer(b"<html>"),
        Answer({"unexpected": True}),
        Answer({"status": "ok", "articles": None}),
        Answer(b'{"status":"ok","arti'),
        Answer({"message": "slow down"}, status=429),
    ],
)
def test_trouble_on_the_way_is_tried_again(loopback: Loopback, answer: Answer) -> None:
    loopback.tell(answer, ANSWER)
    assert len(feed(loopback.url).about(TSMC, "台積電", "zh", SINCE, NOW)) == 2


def test_an_unreachable_feed_is_named_in_one_line(loopback: Loopback) -> None:
    loopback.close()
    with pytest.raises(DataMissing) as failed:
        feed(loopback.url).about(TSMC, "台積電", "zh", SINCE, NOW)
    assert str(failed.value) == (f"newsapi at {loopback.url}: news about 2330 台積電: connection refused, 3 tries")


@pytest.mark.parametrize(
    "broken",
    [
        "text",
        {"title": 1},
        {"title": "x", "source": {"name": "s"}},
        {"title": "x", "source": None, "publishedAt": "2025-03-04T08:00:00Z"},
        {"title": "x", "source": {"name": "s"}, "publishedAt": "yesterday"},
    ],
)
def test_an_article_that_cannot_be_read_is_bad_data(loopback: Loopback, broken: Any) -> None:
    loopback.tell({"status": "ok", "articles": [broken]})
    with pytest.raises(DataMissing, match=r"^news about 2330: "):
        feed(loopback.url).about(TSMC, "台積電", "zh", SINCE, NOW)


def test_a_name_of_two_words_is_asked_for_as_one(loopback: Loopback) -> None:
    loopback.tell({"status": "ok", "articles": []})
    assert feed(loopback.url).about(TSMC, "Delta Electronics", "en", SINCE, NOW) == []
    assert (loopback.requests[0].params["q"], loopback.requests[0].params["language"]) == ('"Delta Electronics"', "en")


def test_naive_moments_are_refused(loopback: Loopback) -> None:
    with pytest.raises(ValueError, match="no timezone"):
        feed(loopback.url).about(TSMC, "台積電", "zh", datetime(2025, 3, 1), NOW)  # noqa: DTZ001


def test_a_wrong_config_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(ConfigError, match=r"`feeds\.newsapi\.languages`: each must be one of ar, .*zh, not 'tw'"):
        feed("https://newsapi.org", languages=("zh", "tw"))
    with pytest.raises(ConfigError, match=r"`feeds\.newsapi\.base_url`"):
        feed("newsapi.org")
    for key in ("", "ab cd", "ab\n", "鑰匙"):
        with pytest.raises(ConfigError, match="NEWSAPI_KEY") as refused:
            NewsApiArticles(
                news_config("https://newsapi.org"), key, StandingClock(), symbols_of=spoken, spend=lambda: None
            )
        assert not key or key not in str(refused.value)


def test_a_headline_belongs_to_whom_it_names_and_to_the_company_asked_for_if_the_description_does(
    loopback: Loopback,
) -> None:
    article = {"source": {"name": "s"}, "publishedAt": "2025-03-04T08:00:00Z", "url": "https://example.org/"}
    told = [
        {**article, "title": "台積電法說", "description": "x"},
        {**article, "title": "晶片股下跌", "description": "台積電領跌"},
        {**article, "title": "油價上漲", "description": "x"},
    ]
    loopback.tell({"status": "ok", "articles": told})
    found = feed(loopback.url).about(TSMC, "台積電", "zh", SINCE, NOW)
    assert {story.title: story.symbols for story in found} == {
        "台積電法說": ("2330",),
        "晶片股下跌": ("2330",),
        "油價上漲": (),
    }


def test_every_try_is_counted_before_it_leaves_and_a_spent_budget_lets_none_out(loopback: Loopback) -> None:
    allowed = [None, None]

    def spend() -> None:
        if not allowed:
            raise BudgetSpent("the 2 requests of 2025-03-05 are spent")
        allowed.pop()

    config = news_config(loopback.url, attempts=3)
    asker = NewsApiArticles(config, KEY, StandingClock(), symbols_of=spoken, spend=spend)
    loopback.tell(error("unexpectedError", 500))
    with pytest.raises(DataMissing, match="the 2 requests of 2025-03-05 are spent") as failed:
        asker.about(TSMC, "台積電", "zh", SINCE, NOW)
    assert isinstance(failed.value.__cause__, BudgetSpent)
    assert len(loopback.requests) == 2


@pytest.mark.parametrize("code", ["rateLimited", "apiKeyExhausted"])
def test_newsapis_own_limit_ends_the_evening_like_ours(loopback: Loopback, code: str) -> None:
    loopback.tell(error(code, 429))
    with pytest.raises(DataMissing) as failed:
        feed(loopback.url).about(TSMC, "台積電", "zh", SINCE, NOW)
    assert isinstance(failed.value.__cause__, BudgetSpent)
