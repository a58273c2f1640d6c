"""NewsAPI's /v2/everything: shape, search, errors, and what may be known when."""

from __future__ import annotations

from typing import Any

import pytest
from small_market import Caller

from bot.sandbox.newsapi import NewsApiError, query_of

PATH = "/newsapi/v2/everything"


def ask(call: Caller, **params: Any) -> Any:
    return call.get(PATH, apiKey="key", **params)


def test_the_shape_of_an_answer(call: Caller) -> None:
    call.move("2025-01-02T17:00")
    told = ask(call, q="台積電", language="zh")
    assert (told["status"], told["totalResults"]) == ("ok", 1)
    [article] = told["articles"]
    assert set(article) == {
        "source", "author", "title", "description", "url", "urlToImage", "publishedAt", "content",
    }  # fmt: skip
    assert article["source"]["id"] is None
    assert "2330" in article["title"]
    assert article["publishedAt"].startswith("2025-01-02T0")  # the evening in Taipei, told in UTC
    assert article["publishedAt"].endswith("Z")


def test_headlines_are_not_known_before_they_are_published(call: Caller) -> None:
    assert ask(call, q="台積電")["totalResults"] == 0
    call.move("2025-01-02T14:04")
    assert ask(call, q="台積電")["totalResults"] == 0


def test_from_and_to_are_utc_and_a_bare_date_counts_whole(call: Caller) -> None:
    call.move("2025-01-06T18:00")
    assert ask(call, q="台積電", language="zh", **{"from": "2025-01-02", "to": "2025-01-02"})["totalResults"] == 1
    assert ask(call, q="台積電", language="zh", **{"from": "2025-01-02T09:00:00"})["totalResults"] == 0


def test_pages(call: Caller) -> None:
    call.move("2025-01-02T18:00")
    everything = ask(call, q="2330 OR 6488")
    first = ask(call, q="2330 OR 6488", pageSize=1, page=1)
    assert first["totalResults"] == everything["totalResults"] >= 2
    assert first["articles"] == everything["articles"][:1]
    assert ask(call, q="2330 OR 6488", pageSize=1, page=2)["articles"] == everything["articles"][1:2]


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({}, 401, "apiKeyMissing"),
        ({"apiKey": "wrong", "q": "x"}, 401, "apiKeyInvalid"),
        ({"apiKey": "key"}, 400, "parametersMissing"),
        ({"apiKey": "key", "q": "x", "pageSize": 101}, 400, "parameterInvalid"),
        ({"apiKey": "key", "q": "x", "pageSize": "many"}, 400, "parameterInvalid"),
        ({"apiKey": "key", "q": "x", "from": "yesterday"}, 400, "parameterInvalid"),
        ({"apiKey": "key", "q": "x", "sortBy": "size"}, 400, "parameterInvalid"),
        ({"apiKey": "key", "q": "(x"}, 400, "parameterInvalid"),
        ({"apiKey": "key", "q": "x", "page": 3, "pageSize": 50}, 426, "maximumResultsReached"),
    ],
)
def test_errors_are_in_newsapis_own_shape(call: Caller, params: dict[str, Any], status: int, code: str) -> None:
    reply = call("GET", PATH, params=params)
    assert reply.status_code == status
    assert reply.json() == {"status": "error", "code": code, "message": reply.json()["message"]}


@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization"])
def test_the_key_may_come_in_a_header(call: Caller, header: str) -> None:
    assert call("GET", PATH, params={"q": "x"}, headers={header: "key"}).status_code == 200


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("tsmc", True),
        ("TSMC foxconn", False),
        ("TSMC OR Foxconn", True),
        ('"record revenue"', True),
        ('"revenue record"', False),
        ("TSMC AND (Foxconn OR revenue)", True),
        ("TSMC NOT revenue", False),
        ("+TSMC -loss", True),
        ("-revenue TSMC", False),
        ('tsmc -"record revenue"', False),
    ],
)
def test_search_words(q: str, *, found: bool) -> None:
    assert query_of(q)("tsmc posts record revenue") is found


@pytest.mark.parametrize("q", ["OR", "a OR", "a AND", "(a", "a)", "NOT"])
def test_a_malformed_search_is_refused(q: str) -> None:
    with pytest.raises(NewsApiError):
        query_of(q)
