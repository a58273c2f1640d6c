"""Headlines written by us, a few an evening, each about one company and in the mood the market holds for it."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from importlib.resources import files
from typing import Any, Final

from bot.errors import Refused
from bot.ports import Company
from bot.sandbox.companies import ENGLISH_NAMES
from bot.sandbox.dice import dice
from bot.sandbox.market import Market
from bot.sandbox.settings import TAIPEI

_WORDS: Final[dict[str, dict[str, Any]]] = json.loads(files(__package__).joinpath("headlines.json").read_text("utf-8"))
_TONES: Final = {1: "good", 0: "neutral", -1: "bad"}

EVENING_FROM: Final = time(14, 5, tzinfo=TAIPEI)  # the session's figures are out
EVENING_MINUTES: Final = 165  # the last headline leaves before 16:50: in time for the evening's decision
NEUTRAL_SHARE: Final = 0.25  # of evenings on which nothing much happened that still bring a headline
MISREAD_SHARE: Final = 0.1  # of headlines in the wrong mood: newspapers err
ENGLISH_SHARE: Final = 0.3  # of events that are also told in English


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One story about `code`. `mood`: 1 good, 0 neutral, -1 bad; only tests may see it."""

    code: str
    mood: int
    language: str
    title: str
    body: str
    source: str
    url: str
    published_at: datetime


class NewsDesk:
    """The headlines of `market`, the same from the same `seed`."""

    def __init__(self, market: Market, seed: int) -> None:
        """Nothing is written before it is asked for."""
        self._market = market
        self._seed = seed
        self._written: dict[tuple[str, date], tuple[Headline, ...]] = {}
        self._sent_in: list[Headline] = []

    def send_in(self, code: str, title: str, language: str, published_at: datetime) -> Headline:
        """Print a headline about `code` that somebody else wrote, word for word, whatever it says.

        Raises:
            Refused: nothing is traded under `code`.
        """
        if code not in self._market.companies:
            raise Refused(f"no company {code!r}: one of {', '.join(self._market.companies)}")
        name = self._market.companies[code].name
        headline = Headline(
            code=code,
            mood=0,
            language=language,
            title=title,
            body=f"{name}({code}) {ENGLISH_NAMES.get(code, name)}",
            source="sent in",
            url=f"https://news.sandbox.invalid/sent-in/{code}-{len(self._sent_in)}",
            published_at=published_at,
        )
        self._sent_in.append(headline)
        return headline

    def about(self, code: str, session: date) -> tuple[Headline, ...]:
        """What is written about `code` on the evening of `session`: nothing, or one story in one or two languages."""
        key = (code, session)
        if key not in self._written:
            self._written[key] = tuple(self._write(self._market.companies[code], session))
        return self._written[key]

    def published(self, since: datetime, until: datetime) -> list[Headline]:
        """All headlines with since <= published_at <= until, newest first."""
        sessions = self._market.sessions
        first = bisect_left(sessions, since.astimezone(TAIPEI).date())
        last = bisect_right(sessions, until.astimezone(TAIPEI).date())
        written = (
            headline
            for session in sessions[first:last]
            for code in self._market.companies
            for headline in self.about(code, session)
        )
        found = [one for one in (*written, *self._sent_in) if since <= one.published_at <= until]
        return sorted(found, key=lambda headline: (headline.published_at, headline.url), reverse=True)

    def _write(self, company: Company, session: date) -> Iterator[Headline]:
        """The evening's story about `company`."""
        draw = dice(f"{self._seed}:news:{company.symbol}:{session}")
        mood = self._market.mood(company.symbol, session)
        if mood == 0 and draw.random() >= NEUTRAL_SHARE:
            return
        if mood and draw.random() < MISREAD_SHARE:
            mood = draw.choice((0, -mood))
        published_at = datetime.combine(session, EVENING_FROM) + timedelta(
            minutes=draw.randrange(EVENING_MINUTES), seconds=draw.randrange(60)
        )
        languages = [("zh", company.name)]
        if draw.random() < ENGLISH_SHARE:
            languages.append(("en", ENGLISH_NAMES.get(company.symbol, company.name)))
        for language, name in languages:
            words = _WORDS[language]
            title = draw.choice(words[_TONES[mood]]).format(name=name, code=company.symbol)
            yield Headline(
                code=company.symbol,
                mood=mood,
                language=language,
                title=title,
                body=words["body"].format(name=name, code=company.symbol, title=title),
                source=draw.choice(words["source"]),
                url=f"https://news.sandbox.invalid/{session:%Y/%m/%d}/{company.symbol}-{language}",
                published_at=published_at,
            )
