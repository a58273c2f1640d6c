"""NewsAPI's /v2/everything: search, paging and errors in its own shape. Source: newsapi.org/docs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.errors import BotError
from bot.sandbox.news import Headline
from bot.sandbox.world import world_behind

_MAX_Q: Final = 500
_MAX_PAGE_SIZE: Final = 100
_MAX_RESULTS: Final = 100  # of the free plan
_LOOKBACK: Final = timedelta(days=30)  # of the free plan
_TOKEN: Final = re.compile(r'"[^"]*"|[()]|[^\s()"]+')
_SORTS: Final = frozenset({"publishedAt", "relevancy", "popularity"})

Match = Callable[[str], bool]


class NewsApiError(BotError):
    """An answer of NewsAPI that is none: HTTP `status`, its own `code` and words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """As NewsAPI documents them."""
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What was asked for, checked."""

    matches: Match
    language: str
    since: datetime
    until: datetime
    page: int
    page_size: int


def search_of(params: QueryParams, now: datetime) -> Search:
    """The search that the query string tells; nothing after `now` can be found.

    Raises:
        NewsApiError: a parameter is missing or wrong.
    """
    q = params.get("q") or params.get("qInTitle") or ""
    if not q.strip():
        raise NewsApiError(
            400,
            "parametersMissing",
            "Required parameters are missing, the scope of your search is too broad. Please set any of the "
            "following required parameters and try again: q, qInTitle, sources, domains.",
        )
    if len(q) > _MAX_Q:
        raise NewsApiError(400, "parameterInvalid", f"The q parameter is longer than {_MAX_Q} characters.")
    if params.get("sortBy", "publishedAt") not in _SORTS:
        raise NewsApiError(
            400, "parameterInvalid", "The sortBy parameter must be relevancy, popularity or publishedAt."
        )
    page, page_size = _whole(params, "page", 1), _whole(params, "pageSize", 100)
    if page_size > _MAX_PAGE_SIZE:
        raise NewsApiError(400, "parameterInvalid", f"The pageSize parameter can't be more than {_MAX_PAGE_SIZE}.")
    if page > 1 and page * page_size > _MAX_RESULTS:
        raise NewsApiError(
            426,
            "maximumResultsReached",
            "You have requested too many results. Developer accounts are limited to a max of 100 results. "
            f"You are trying to request results {(page - 1) * page_size} to {page * page_size}.",
        )
    return Search(
        matches=query_of(q),
        language=params.get("language", ""),
        since=max(_moment(params, "from", now - _LOOKBACK, end=False), now - _LOOKBACK),
        until=min(_moment(params, "to", now, end=True), now),
        page=page,
        page_size=page_size,
    )


def query_of(q: str) -> Match:
    """Whether a text answers `q`: words and "phrases", all of them unless OR, NOT or - says otherwise, parentheses.

    Raises:
        NewsApiError: parentheses don't close, or an operator stands alone.
    """
    tokens = _TOKEN.findall(q)
    match = _any_of(tokens)
    if tokens:
        raise NewsApiError(400, "parameterInvalid", f"The q parameter is malformed near {tokens[0]!r}.")
    return match


def _any_of(tokens: list[str]) -> Match:
    """Alternatives joined by OR; takes its words off `tokens`."""
    found = [_all_of(tokens)]
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        found.append(_all_of(tokens))
    return lambda text: any(match(text) for match in found)


def _all_of(tokens: list[str]) -> Match:
    """Words that must all be there, with AND between them or nothing."""
    found = []
    while tokens and tokens[0] not in {"OR", ")"}:
        if tokens[0] == "AND":
            tokens.pop(0)
        found.append(_term(tokens))
    if not found:
        raise NewsApiError(400, "parameterInvalid", "The q parameter is malformed: an operator without words.")
    return lambda text: all(match(text) for match in found)


def _term(tokens: list[str]) -> Match:
    """One word, phrase, negation or parenthesis."""
    if not tokens:
        raise NewsApiError(400, "parameterInvalid", "The q parameter ends with an operator.")
    word = tokens.pop(0)
    if word in {"NOT", "-"}:
        refused = _term(tokens)
        return lambda text: not refused(text)
    if word == "(":
        inner = _any_of(tokens)
        if not tokens or tokens.pop(0) != ")":
            raise NewsApiError(400, "parameterInvalid", "The q parameter has an open parenthesis.")
        return inner
    if word == "+":
        return _term(tokens)
    if word.startswith("-"):
        unwanted = word[1:].lower()
        return lambda text: unwanted not in text
    wanted = word.lstrip("+").strip('"').lower()
    return lambda text: wanted in text


def answer(headlines: list[Headline], search: Search) -> dict[str, Any]:
    """The page of `headlines` (newest first) that `search` asks for, out of those that match."""
    found = [
        headline
        for headline in headlines
        if (not search.language or headline.language == search.language)
        and search.matches(f"{headline.title}\n{headline.body}".lower())
    ]
    begin = (search.page - 1) * search.page_size
    return {
        "status": "ok",
        "totalResults": len(found),
        "articles": [article(headline) for headline in found[begin : begin + search.page_size]],
    }


def article(headline: Headline) -> dict[str, Any]:
    """A headline in NewsAPI's shape, with its moment in UTC."""
    return {
        "source": {"id": None, "name": headline.source},
        "author": None,
        "title": headline.title,
        "description": headline.body,
        "url": headline.url,
        "urlToImage": None,
        "publishedAt": f"{headline.published_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "content": headline.body,
    }


def _whole(params: QueryParams, name: str, default: int) -> int:
    """A positive whole number."""
    text = params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise NewsApiError(400, "parameterInvalid", f"The {name} parameter must be a positive whole number.")
    return int(text)


def _moment(params: QueryParams, name: str, default: datetime, *, end: bool) -> datetime:
    """A moment, UTC unless it says otherwise; a bare date is its first moment, or with `end` its last."""
    text = params.get(name, "")
    if not text:
        return default
    try:
        told = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise NewsApiError(400, "parameterInvalid", f"The {name} parameter is not an ISO 8601 date.") from wrong
    if end and "T" not in text and " " not in text:
        told += timedelta(days=1, seconds=-1)
    return told if told.tzinfo else told.replace(tzinfo=UTC)


def check_key(request: Request, wanted: str) -> None:
    """Let nobody in without a key; `wanted` empty lets any key in.

    Raises:
        NewsApiError: there is none, or a wrong one.
    """
    headers = request.headers
    key = headers.get("x-api-key") or headers.get("authorization") or request.query_params.get("apiKey") or ""
    if not key:
        raise NewsApiError(
            401,
            "apiKeyMissing",
            "Your API key is missing. Append this to the URL with the apiKey param, or use the x-api-key HTTP header.",
        )
    if wanted and key.removeprefix("Bearer ") != wanted:
        raise NewsApiError(
            401,
            "apiKeyInvalid",
            "Your API key is invalid or incorrect. Check your key, or go to https://newsapi.org "
            "to create a free API key.",
        )


async def _everything(request: Request) -> Response:
    world = world_behind(request)
    try:
        check_key(request, world.newsapi_key)
        search = search_of(request.query_params, world.now())
    except NewsApiError as wrong:
        told = {"status": "error", "code": wrong.code, "message": str(wrong)}
        return JSONResponse(told, wrong.status)
    # In ASCII with escapes: so even half a character comes through as its writer meant it.
    page = json.dumps(answer(world.news.published(search.since, search.until), search))
    return Response(page, media_type="application/json")


NEWSAPI_ROUTES: Final = [Route("/v2/everything", _everything)]
