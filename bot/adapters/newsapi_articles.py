"""Headlines about a company, through newsapi-python."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from bot.adapters.door import Door, check_status, json_object
from bot.config import TAIPEI, NewsFeedConfig
from bot.core.forecast import Article
from bot.errors import ConfigError, DataMissing, Refused, Transient
from bot.ports import Clock, Company

# The title that NewsAPI leaves of an article that its publisher withdrew.
REMOVED: Final = "[removed]"
# NewsAPI's own trouble, the one error of its list worth another try. Source: newsapi.org/docs/errors
UNEXPECTED: Final = "unexpectedError"


class NewsApiArticles:
    """NewsFeed over NewsAPI's /v2/everything."""

    def __init__(self, config: NewsFeedConfig, api_key: str, clock: Clock) -> None:
        """`clock` tells `fetched_at`. The key goes into a header only, and into no error.

        Raises:
            ConfigError: the base address is none, newsapi-python doesn't know the language, or the key can't be one.
        """
        import newsapi
        from newsapi import const

        if config.language not in const.languages:
            known = ", ".join(sorted(const.languages))
            raise ConfigError(f"`feeds.newsapi.language` must be one of {known}, not {config.language!r}")
        if not re.fullmatch(r"[!-~]+", api_key):
            raise ConfigError("NEWSAPI_KEY is no key: it is empty, or holds blanks or other odd characters")
        self._config = config
        self._clock = clock
        self._api_key = api_key
        self._door = Door("newsapi", config.base_url, timeout_s=config.timeout_s, attempts=config.attempts)
        self._client = newsapi.NewsApiClient(api_key=api_key, session=_DoorSession(self._door))

    def about(self, company: Company, since: datetime, until: datetime) -> list[Article]:
        """Headlines published in since..until, newest first, each with the moment it was fetched.

        Withdrawn articles, and further copies of a headline, are left out.

        Raises:
            DataMissing: no trustworthy answer, retries included.
            ValueError: `since` or `until` is naive.
        """
        asked = f"news about {company.symbol} {company.name}"
        found = self._door.ask(asked, lambda: self._ask(company, since, until))
        fetched_at = self._clock.now().astimezone(TAIPEI)
        articles = [self._article(company, one, fetched_at) for one in found if _is_there(one, company)]
        within = [article for article in articles if since <= article.published_at <= until]
        return _without_copies(within)

    def close(self) -> None:
        """Close the connections."""
        self._door.close()

    def _ask(self, company: Company, since: datetime, until: datetime) -> list[Any]:
        """One page of NewsAPI's articles, as JSON."""
        from newsapi.newsapi_exception import NewsAPIException

        try:
            answer = self._client.get_everything(
                q=company.name.replace("*", ""),  # the exchange's mark for a par value other than 10 TWD
                from_param=_utc_text(since),
                to=_utc_text(until),
                language=self._config.language,
                sort_by="publishedAt",
                page_size=self._config.page_size,
            )
        except NewsAPIException as error:
            answer = error.get_exception()
        if answer.get("status") == "error":
            text = f"{answer.get('code')}: {answer.get('message')}".replace(self._api_key, "(key)")
            raise (Transient if answer.get("code") == UNEXPECTED else Refused)(text[:200])
        articles = answer.get("articles")
        if not isinstance(articles, list):
            raise Transient("an answer without articles")
        return articles

    def _article(self, company: Company, one: Mapping[str, Any], fetched_at: datetime) -> Article:
        try:
            published_at = datetime.fromisoformat(one["publishedAt"])
            if published_at.tzinfo is None:
                published_at = published_at.replace(tzinfo=UTC)  # NewsAPI's times are UTC, "Z" or not
            published_at = published_at.astimezone(TAIPEI)
            source = one["source"]["name"] or ""
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataMissing(f"news about {company.symbol}: an article that can't be read ({error})") from error
        return Article(
            symbol=company.symbol,
            title=one["title"].strip(),
            url=str(one.get("url") or ""),
            source=str(source),
            language=self._config.language,
            published_at=published_at,
            fetched_at=fetched_at,
        )


class _DoorSession:
    """What NewsApiClient takes for a requests session: its address becomes ours, its time-out and errors too."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def get(self, url: str, *, auth: Any, timeout: float, params: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """The answer, if it is NewsAPI's own: articles, or an error in NewsAPI's shape.

        Raises:
            Transient, Refused: it isn't.
        """
        response = self._door.send(urlsplit(url).path, params, auth)
        try:
            answer = json_object(response)
        except Transient:
            check_status(response)
            raise
        if not {"status", "code"} <= answer.keys():
            check_status(response)
        return response


def _is_there(one: Any, company: Company) -> bool:
    """Whether an article still has a headline.

    Raises:
        DataMissing: it is no article at all.
    """
    if not isinstance(one, Mapping) or not isinstance(one.get("title"), str | None):
        raise DataMissing(f"news about {company.symbol}: no article: {str(one)[:80]}")
    title = (one.get("title") or "").strip()
    return bool(title) and title.lower() != REMOVED


def _without_copies(articles: list[Article]) -> list[Article]:
    """The articles, newest first, and of each headline only the earliest: from then on it was known."""
    earliest: dict[str, Article] = {}
    for article in sorted(articles, key=lambda one: one.published_at):
        earliest.setdefault(plain_title(article), article)
    return list(reversed(earliest.values()))


def plain_title(article: Article) -> str:
    """The headline for comparison: full-width forms, case, blanks and a trailing " - source" make no difference."""
    title = " ".join(unicodedata.normalize("NFKC", article.title).casefold().split())
    source = " ".join(unicodedata.normalize("NFKC", article.source).casefold().split())
    return title.removesuffix(f" - {source}") if source else title


def _utc_text(moment: datetime) -> str:
    """`moment` as newsapi-python wants it: UTC, to the second, without an offset."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no timezone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
