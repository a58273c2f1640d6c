"""Headlines about a company, through newsapi-python."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from bot.adapters.door import Door, check_status, json_object
from bot.config import TAIPEI, NewsFeedConfig
from bot.core.headlines import Story
from bot.errors import BudgetSpent, ConfigError, DataMissing, Refused, Transient
from bot.ports import Clock, Company

# The title that NewsAPI leaves of an article that its publisher withdrew.
REMOVED: Final = "[removed]"
# NewsAPI's own trouble, the one error of its list worth another try. Source: newsapi.org/docs/errors
UNEXPECTED: Final = "unexpectedError"
# The plan's own limit, whatever we counted: the rest of the evening's questions waits. Source: as above
SPENT: Final = frozenset({"rateLimited", "apiKeyExhausted"})


class NewsApiArticles:
    """NewsFeed over NewsAPI's /v2/everything."""

    def __init__(
        self,
        config: NewsFeedConfig,
        api_key: str,
        clock: Clock,
        *,
        symbols_of: Callable[[str], tuple[str, ...]],
        spend: Callable[[], None],
    ) -> None:
        """`clock` tells `fetched_at`, `symbols_of` what a text speaks of. `spend` counts each request before it leaves.

        The key goes into a header only, and into no error.

        Raises:
            ConfigError: the base address is none, newsapi-python doesn't know a language, or the key can't be one.
        """
        import newsapi
        from newsapi import const

        for language in config.languages:
            if language not in const.languages:
                known = ", ".join(sorted(const.languages))
                raise ConfigError(f"`feeds.newsapi.languages`: each must be one of {known}, not {language!r}")
        if not re.fullmatch(r"[!-~]+", api_key):
            raise ConfigError("NEWSAPI_KEY is no key: it is empty, or holds blanks or other odd characters")
        self._config = config
        self._clock = clock
        self._api_key = api_key
        self._door = Door("newsapi", config.base_url, timeout_s=config.timeout_s, attempts=config.attempts)
        self._client = newsapi.NewsApiClient(api_key=api_key, session=_DoorSession(self._door, spend))
        self._symbols_of = symbols_of

    def about(self, company: Company, name: str, language: str, since: datetime, until: datetime) -> list[Story]:
        """Headlines that hold `name`, published in since..until, newest first, each with the moment it was fetched.

        NewsAPI searches whole texts, so a headline need not speak of `company`: its symbols are those that its title
        names, and `company`'s own where only the description does. Withdrawn articles, and further copies of a
        headline, are left out.

        Raises:
            DataMissing: no trustworthy answer, retries included. It is caused by BudgetSpent when nothing more may be
                asked today.
            ValueError: `since` or `until` is naive.
        """
        asked = f"news about {company.symbol} {name}"
        found = self._door.ask(asked, lambda: self._ask(name, language, since, until))
        fetched_at = self._clock.now().astimezone(TAIPEI)
        stories = [self._story(company, language, one, fetched_at) for one in found if _is_there(one, company)]
        return _without_copies([story for story in stories if since <= story.published_at <= until])

    def close(self) -> None:
        """Close the connections."""
        self._door.close()

    def _ask(self, name: str, language: str, since: datetime, until: datetime) -> list[Any]:
        """One page of NewsAPI's articles, as JSON."""
        from newsapi.newsapi_exception import NewsAPIException

        try:
            answer = self._client.get_everything(
                q=f'"{name}"' if " " in name else name,
                from_param=_utc_text(since),
                to=_utc_text(until),
                language=language,
                sort_by="publishedAt",
                page_size=self._config.page_size,
            )
        except NewsAPIException as error:
            answer = error.get_exception()
        if answer.get("status") == "error":
            text = f"{answer.get('code')}: {answer.get('message')}".replace(self._api_key, "(key)")
            kind = BudgetSpent if answer.get("code") in SPENT else Refused
            raise (Transient if answer.get("code") == UNEXPECTED else kind)(text[:200])
        articles = answer.get("articles")
        if not isinstance(articles, list):
            raise Transient("an answer without articles")
        return articles

    def _story(self, company: Company, language: str, one: Mapping[str, Any], fetched_at: datetime) -> Story:
        try:
            published_at = datetime.fromisoformat(one["publishedAt"])
            if published_at.tzinfo is None:
                published_at = published_at.replace(tzinfo=UTC)  # NewsAPI's times are UTC, "Z" or not
            published_at = published_at.astimezone(TAIPEI)
            source = one["source"]["name"] or ""
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataMissing(f"news about {company.symbol}: an article that can't be read ({error})") from error
        title = one["title"].strip()
        symbols = self._symbols_of(title)
        if company.symbol not in symbols and company.symbol in self._symbols_of(str(one.get("description") or "")):
            symbols = (*symbols, company.symbol)
        return Story(
            title=title,
            url=str(one.get("url") or ""),
            source=str(source),
            language=language,
            published_at=published_at,
            fetched_at=fetched_at,
            symbols=symbols,
        )


class _DoorSession:
    """What NewsApiClient takes for a requests session: its address becomes ours, its time-out and errors too."""

    def __init__(self, door: Door, spend: Callable[[], None]) -> None:
        self._door = door
        self._spend = spend

    def get(self, url: str, *, auth: Any, timeout: float, params: Mapping[str, Any]) -> Any:  # noqa: ARG002
        """The answer, if it is NewsAPI's own: articles, or an error in NewsAPI's shape.

        Raises:
            Transient, Refused: it isn't.
            BudgetSpent: the day's requests are spent; nothing left.
        """
        self._spend()
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


def _without_copies(stories: list[Story]) -> list[Story]:
    """The stories, newest first, and of each headline only the earliest: from then on it was known."""
    earliest: dict[str, Story] = {}
    for story in sorted(stories, key=lambda one: one.published_at):
        earliest.setdefault(story.key[0], story)
    return list(reversed(earliest.values()))


def _utc_text(moment: datetime) -> str:
    """`moment` as newsapi-python wants it: UTC, to the second, without an offset."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no timezone")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
