"""The evening's headlines: every source asked, under a budget; what one source lacks stops no other."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bot.adapters.company_names import english_names
from bot.adapters.sqlite_news import NewsStore
from bot.config import NewsFeedConfig
from bot.core.news_budget import Interest, questions_tonight
from bot.errors import BudgetSpent, DataMissing
from bot.ports import Clock, Company, HeadlineFeeds, NewsFeed

log = logging.getLogger("twtrader")

NEWSAPI: Final = "newsapi"
CHINESE: Final = "zh"
# The free plan looks back a month. Source: newsapi.org/pricing
_FURTHEST: Final = timedelta(days=29)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Why a company's news matters tonight: what we hold of it in TWD, and its last forecast's return in 0.01 %."""

    position_twd: int = 0
    signal_bps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What one source brought, in one line for the status view."""

    source: str
    new: int
    failed: bool
    detail: str


def gather_headlines(
    *,
    news: NewsFeed | None,
    feeds: HeadlineFeeds,
    store: NewsStore,
    clock: Clock,
    companies: Sequence[Company],
    weights: Mapping[str, Weight],
    config: NewsFeedConfig,
) -> list[Gathered]:
    """Ask every source that is there; none, when NewsAPI has no key and no feed is configured."""
    gathered = []
    if news is not None:
        gathered.append(_ask_newsapi(news, store, clock, companies, weights, config))
    if feeds.urls:
        gathered.append(_read_feeds(feeds, store))
    return gathered


def interests_of(
    companies: Sequence[Company],
    weights: Mapping[str, Weight],
    asked_at: Mapping[tuple[str, str], datetime],
    languages: Sequence[str],
) -> list[Interest]:
    """One question a company and language; in a language other than Chinese only where we know the company's name."""
    found = []
    for company in companies:
        weight = weights.get(company.symbol, Weight())
        found += [
            Interest(
                symbol=company.symbol,
                language=language,
                position_twd=weight.position_twd,
                signal_bps=weight.signal_bps,
                asked_at=asked_at.get((company.symbol, language)),
            )
            for language in languages
            if language == CHINESE or company.symbol in english_names()
        ]
    return found


def name_in(company: Company, language: str) -> str:
    """What to search for: the name without the exchange's mark for a par value other than 10 TWD."""
    return company.name.replace("*", "") if language == CHINESE else english_names()[company.symbol]


def _ask_newsapi(
    news: NewsFeed,
    store: NewsStore,
    clock: Clock,
    companies: Sequence[Company],
    weights: Mapping[str, Weight],
    config: NewsFeedConfig,
) -> Gathered:
    """As many questions as today's requests allow, the weightiest first; the rest rolls over."""
    now = clock.now()
    open_questions = [
        one
        for one in interests_of(companies, weights, store.asked_at(), config.languages)
        if one.asked_at is None or one.asked_at.astimezone(now.tzinfo).date() < now.date()
    ]
    tonight = questions_tonight(open_questions, store.left(NEWSAPI, now, config.requests_per_day))
    by_symbol = {one.symbol: one for one in companies}
    new, asked, trouble, failed = 0, 0, "", False
    for one in tonight:
        company = by_symbol[one.symbol]
        since = now - timedelta(days=config.lookback_days)
        if one.asked_at is not None:
            since = max(min(since, one.asked_at), now - _FURTHEST)  # what came while the question waited
        try:
            stories = news.about(company, name_in(company, one.language), one.language, since, now)
        except DataMissing as missing:
            trouble, failed = f", {missing}", not isinstance(missing.__cause__, BudgetSpent)
            break  # one server answers for all companies: what fails for one fails for the next
        new += store.add(stories)
        store.answered(one.symbol, one.language, now)
        asked += 1
    waiting = len(open_questions) - asked
    rolled = f", {waiting} wait for tomorrow" if waiting and not failed else ""
    detail = f"newsapi {new} new ({asked} of {len(open_questions)} questions{rolled}{trouble})"
    return Gathered(source=NEWSAPI, new=new, failed=failed, detail=detail)


def _read_feeds(feeds: HeadlineFeeds, store: NewsStore) -> Gathered:
    """Every feed once; one that fails is named and stops no other."""
    new, unchanged, problems = 0, 0, []
    for url in feeds.urls:
        try:
            answer = feeds.read(url, store.validators(url))
        except DataMissing as missing:
            log.warning("%s", missing)
            problems.append(str(missing))
            continue
        if answer.changed:
            new += store.add_feed(url, answer.stories, answer.validators, answer.fetched_at)
        else:
            unchanged += 1
    read = len(feeds.urls) - len(problems)
    told = [f"{read} of {len(feeds.urls)} feeds", *([f"{unchanged} unchanged"] if unchanged else []), *problems[:1]]
    more = f" (+{len(problems) - 1} more)" if problems[1:] else ""
    return Gathered(source="rss", new=new, failed=bool(problems), detail=f"rss {new} new ({', '.join(told)}{more})")
