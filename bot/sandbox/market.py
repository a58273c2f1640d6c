"""What a market is to the sandbox, and the one door that keeps the future shut."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final, Protocol

from bot.ports import Company
from bot.sandbox.settings import TAIPEI

PUBLISHED_AT: Final = time(14, 0, tzinfo=TAIPEI)  # the session closes 13:30; both boards' day files follow soon


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """One session of one stock as the exchange publishes it; prices in hundredths of a TWD, 0 when none traded.

    `change_x100` is against the close before; on an ex-date (`ex`) the exchange compares nothing and shows X0.00.
    """

    session: date
    open_x100: int
    high_x100: int
    low_x100: int
    close_x100: int
    volume_shares: int
    turnover_twd: int
    trades: int
    change_x100: int
    ex: bool = False

    @property
    def traded(self) -> bool:
        """Whether there was a trade at all."""
        return self.close_x100 > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExEvent:
    """A stock's ex-date; prices in hundredths of a TWD. `reduction`: of its capital, after days without trade."""

    code: str
    ex_date: date
    previous_x100: int
    reference_x100: int
    reduction: bool


class Market(Protocol):
    """Bars, past and future, of some companies. Routes never read it but through `Published`."""

    @property
    def companies(self) -> Mapping[str, Company]:
        """By code, sorted."""

    @property
    def sessions(self) -> Sequence[date]:
        """Every trading day there is, oldest first."""

    def quotes(self, code: str) -> Mapping[date, Quote]:
        """All sessions of `code`, oldest first; one without a row is a hole in the source."""

    def holidays(self, year: int) -> dict[date, str]:
        """Weekdays of `year` that are closed by schedule, with their names."""

    def ex_events(self, code: str) -> Sequence[ExEvent]:
        """All ex-dates of `code`, oldest first."""

    def mood(self, code: str, session: date) -> int:
        """What the evening's headlines about `code` are: 1 good, 0 nothing much, -1 bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """`market` as everybody may know it at `now`."""

    market: Market
    now: datetime

    @property
    def latest(self) -> date | None:
        """The newest session whose figures are out."""
        index = bisect_right(self.market.sessions, self.now.date())
        if index and self.market.sessions[index - 1] == self.now.date() and self.now.timetz() < PUBLISHED_AT:
            index -= 1
        return self.market.sessions[index - 1] if index else None

    def ex_events(self, board: str, first: date, last: date) -> list[ExEvent]:
        """The ex-dates of `board` in first..last that are out, oldest first: a session's on the session before."""
        index = bisect_right(self.market.sessions, self.latest or date.min)
        known = self.market.sessions[index] if index < len(self.market.sessions) else date.max
        events = [
            event
            for code, company in self.market.companies.items()
            if company.board == board
            for event in self.market.ex_events(code)
            if first <= event.ex_date <= min(last, known)
        ]
        return sorted(events, key=lambda event: (event.ex_date, event.code))

    def company(self, code: str) -> Company | None:
        """Who `code` is."""
        return self.market.companies.get(code)

    def between(self, code: str, first: date, last: date) -> list[Quote]:
        """The sessions of `code` in first..last that are out, oldest first."""
        latest = self.latest
        if latest is None or code not in self.market.companies:
            return []
        last = min(last, latest)
        return [quote for session, quote in self.market.quotes(code).items() if first <= session <= last]

    def day(self, session: date, board: str) -> list[tuple[Company, Quote]]:
        """Every stock of `board` in `session`, by code; empty before it is out."""
        latest = self.latest
        if latest is None or session > latest:
            return []
        found = [
            (company, self.market.quotes(code).get(session))
            for code, company in self.market.companies.items()
            if company.board == board
        ]
        return [(company, quote) for company, quote in found if quote is not None]
