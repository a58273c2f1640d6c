"""A market that never was: random bars on Taiwan's ticks and limits, the same from the same seed.

Good or bad headlines of an evening push the next sessions, so there is something to learn from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import exp, log
from random import Random
from typing import Final

from bot.core.market import LOT_SHARES, floor_to_tick_x100, is_etf, limit_down_x100, limit_pct, limit_up_x100, tick_x100
from bot.errors import Refused
from bot.ports import Company
from bot.sandbox.companies import companies_of
from bot.sandbox.dice import dice
from bot.sandbox.holidays import TYPHOON_CLOSURES, days, is_weekday, scheduled
from bot.sandbox.market import ExEvent, Quote

HISTORY: Final = timedelta(days=400)  # about 265 sessions before the start
FUTURE: Final = timedelta(days=500)

# What a good evening adds to the log return of the next three sessions; a bad one takes it away.
NEWS_PUSH: Final = (0.012, 0.008, 0.005)
_MOODS: Final = (-1, 0, 1)
_MOOD_WEIGHTS: Final = (1, 4, 1)
_THIN_LOTS: Final = 200  # a stock of fewer lots a day now and then sees no trade at all
_NO_TRADE: Final = 1 / 250


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nature:
    """What a stock is like. `lots` a day typically; `volatility` of its own log return, `beta` to the market's."""

    first_x100: int
    lots: float
    volatility: float
    beta: float


class GeneratedMarket:
    """Invented bars of the owner's companies from 400 days before `start`, unless `first` says otherwise."""

    def __init__(
        self,
        seed: int,
        start: datetime,
        codes: Sequence[str] = (),
        first: date | None = None,
        last: date | None = None,
    ) -> None:
        """Only the calendar is made here; a stock's bars follow when first asked for.

        Raises:
            Refused: an asked stock is unknown, or the holidays of a year are.
        """
        self._seed = seed
        self._companies = companies_of(codes)
        unknown = [code for code, company in self._companies.items() if company.name == code]
        if unknown:
            raise Refused(f"sandbox: unknown stock {', '.join(unknown)}")
        first, last = first or start.date() - HISTORY, last or start.date() + FUTURE
        self._holidays = {year: scheduled(year) for year in range(first.year, last.year + 1)}
        typhoons = {self._typhoon(year) for year in self._holidays} | TYPHOON_CLOSURES
        self._sessions = [
            day
            for day in days(first, last)
            if is_weekday(day) and day not in self._holidays[day.year] and day not in typhoons
        ]
        self._index = {session: index for index, session in enumerate(self._sessions)}
        draw = dice(f"{seed}:market")
        self._market_moves = [draw.gauss(0.0003, 0.008) for _ in self._sessions]
        self._moods: dict[str, list[int]] = {}
        self._quotes: dict[str, dict[date, Quote]] = {}
        self._ex_events: dict[str, list[ExEvent]] = {}

    @property
    def companies(self) -> Mapping[str, Company]:
        """By code, sorted."""
        return self._companies

    @property
    def sessions(self) -> Sequence[date]:
        """Every trading day there is, oldest first."""
        return self._sessions

    def quotes(self, code: str) -> Mapping[date, Quote]:
        """All sessions of `code`, oldest first."""
        if code not in self._quotes:
            self._quotes[code] = {quote.session: quote for quote in self._walk(code)}
        return self._quotes[code]

    def holidays(self, year: int) -> dict[date, str]:
        """Weekdays of `year` that are closed by schedule; the year's typhoon is not."""
        return dict(self._holidays.get(year, {}))

    def ex_events(self, code: str) -> list[ExEvent]:
        """All ex-dates of `code`, oldest first."""
        self.quotes(code)
        return self._ex_events[code]

    def mood(self, code: str, session: date) -> int:
        """What the evening's headlines about `code` are; the next sessions follow it."""
        index = self._index.get(session)
        return 0 if index is None else self._moods_of(code)[index]

    def _typhoon(self, year: int) -> date:
        """The one day of `year` on which a typhoon closes the market; a weekend is possible, as in life."""
        return date(year, 7, 1) + timedelta(days=dice(f"{self._seed}:typhoon:{year}").randrange(110))

    def _ex_date(self, code: str, year: int) -> date | None:
        """The one session of a summer on which `code` goes ex-dividend, as most of Taiwan's stocks do."""
        summer = [day for day in self._sessions if date(year, 7, 1) <= day <= date(year, 9, 15)]
        return dice(f"{self._seed}:ex:{code}:{year}").choice(summer) if summer else None

    def _moods_of(self, code: str) -> list[int]:
        """The moods of `code`, one a session."""
        if code not in self._moods:
            draw = dice(f"{self._seed}:mood:{code}")
            self._moods[code] = draw.choices(_MOODS, _MOOD_WEIGHTS, k=len(self._sessions))
        return self._moods[code]

    def _walk(self, code: str) -> list[Quote]:
        """The bars of `code`, each from the close before it."""
        draw = dice(f"{self._seed}:bars:{code}")
        nature = _nature(draw, is_etf(code))
        moods = self._moods_of(code)
        close_x100 = nature.first_x100
        quotes = []
        ex_dates = {self._ex_date(code, year) for year in self._holidays}
        events = self._ex_events[code] = []
        for index, session in enumerate(self._sessions):
            if session in ex_dates and index:
                events.append(_goes_ex(self._seed, code, session, close_x100))
            pushes = (push * moods[index - 1 - ago] for ago, push in enumerate(NEWS_PUSH) if index > ago)
            move = sum(pushes) + nature.beta * self._market_moves[index] + draw.gauss(0, nature.volatility)
            ex = events[-1] if events and events[-1].ex_date == session else None
            quote = _trade(draw, nature, session, ex.reference_x100 if ex else close_x100, move, etf=is_etf(code))
            quote = replace(quote, ex=ex is not None)
            close_x100 = quote.close_x100 or (ex.reference_x100 if ex else close_x100)
            quotes.append(quote)
        return quotes


def _nature(draw: Random, etf: bool) -> _Nature:  # noqa: FBT001
    """A stock drawn by lot: 20 to 900 TWD, 60 to 20,000 lots a day."""
    price_x100 = round(100 * exp(draw.uniform(log(20), log(900))))
    return _Nature(
        first_x100=floor_to_tick_x100(price_x100, etf),
        lots=exp(draw.uniform(log(60), log(20_000))),
        volatility=draw.uniform(0.011, 0.02),
        beta=draw.uniform(0.6, 1.4),
    )


def _goes_ex(seed: int, code: str, session: date, close_x100: int) -> ExEvent:
    """A dividend in cash of 1 to 4 % of the close, in whole 0.01 TWD."""
    dividend_x100 = max(1, close_x100 * dice(f"{seed}:dividend:{code}:{session.year}").randint(100, 400) // 10_000)
    return ExEvent(
        code=code,
        ex_date=session,
        previous_x100=close_x100,
        reference_x100=close_x100 - dividend_x100,
        reduction=False,
    )


def _trade(draw: Random, nature: _Nature, session: date, reference_x100: int, move: float, *, etf: bool) -> Quote:
    """One session that wants to close `move` (log return) away from `reference_x100`, inside ticks and limit."""
    if nature.lots < _THIN_LOTS and draw.random() < _NO_TRADE:
        return Quote(
            session=session, open_x100=0, high_x100=0, low_x100=0, close_x100=0,
            volume_shares=0, turnover_twd=0, trades=0, change_x100=0,
        )  # fmt: skip
    up_x100 = limit_up_x100(reference_x100, etf, limit_pct(session))
    down_x100 = limit_down_x100(reference_x100, etf, limit_pct(session))

    def allowed(wanted_x100: float) -> int:
        # The nearest tick: always rounding down would let a cheap stock fade away by half a tick a session.
        nearest_x100 = floor_to_tick_x100(round(wanted_x100) + tick_x100(round(wanted_x100), etf) // 2, etf)
        return min(max(nearest_x100, down_x100), up_x100)

    open_x100 = allowed(reference_x100 * exp(0.35 * move + draw.gauss(0, 0.4 * nature.volatility)))
    close_x100 = allowed(reference_x100 * exp(move))
    high_x100 = allowed(max(open_x100, close_x100) * (1 + abs(draw.gauss(0, 0.4 * nature.volatility))))
    low_x100 = allowed(min(open_x100, close_x100) * (1 - abs(draw.gauss(0, 0.4 * nature.volatility))))
    lots = 1 + int(nature.lots * exp(draw.gauss(0, 0.4)) * (1 + 20 * abs(move)))
    volume = lots * LOT_SHARES + draw.randrange(LOT_SHARES)
    return Quote(
        session=session,
        open_x100=open_x100,
        high_x100=high_x100,
        low_x100=low_x100,
        close_x100=close_x100,
        volume_shares=volume,
        turnover_twd=volume * (open_x100 + high_x100 + low_x100 + close_x100) // 400,
        trades=1 + volume // draw.randrange(800, 3_000),
        change_x100=close_x100 - reference_x100,
    )
