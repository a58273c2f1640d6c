"""A market that happened: bars from a folder of CSV files, read when first asked for."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final

from bot.errors import Refused
from bot.ports import Company
from bot.sandbox.companies import companies_of
from bot.sandbox.holidays import TYPHOON_CLOSURES, YEARS, days, is_weekday, scheduled
from bot.sandbox.market import ExEvent, Quote

COLUMNS: Final = ["date", "capacity", "turnover", "open", "high", "low", "close", "change", "transaction"]
_CODE: Final = re.compile(r"\d{4,6}[A-Z]?")
_BIG_MOVE_PCT: Final = 3  # a session that moved this much makes good or bad headlines


class ReplayMarket:
    """Bars of the CSV files in `folder`; README.md beside the data says what the columns mean.

    Headlines tell of the session's own move and nothing of later ones: a replay holds no signal that we put in.
    """

    def __init__(
        self,
        folder: Path,
        codes: Sequence[str] = (),
        first: date | None = None,
        last: date | None = None,
    ) -> None:
        """Only the dates are read here, from every file, so that a hole of one stock is no holiday.

        Raises:
            Refused: no such folder, no bars in it, none of an asked stock, or none in first..last.
        """
        if not folder.is_dir():
            raise Refused(f"sandbox: no such folder: {folder}")
        self._paths = {path.stem: path for path in sorted(folder.glob("*.csv")) if _CODE.fullmatch(path.stem)}
        if not self._paths:
            raise Refused(f"sandbox: no CODE.csv in {folder}")
        missing = sorted(set(codes) - set(self._paths))
        if missing:
            raise Refused(f"sandbox: no bars of {', '.join(missing)} in {folder}")
        everything = sorted(set().union(*(_dates(path) for path in self._paths.values())))
        self._calendar = frozenset(everything)
        self._sessions = [day for day in everything if (first or day) <= day <= (last or day)]
        if not self._sessions:
            raise Refused(f"sandbox: no session from {first} to {last} in {folder}")
        self._companies = companies_of(codes or self._paths)
        self._factors = _factors(folder / "ex_rights.csv")
        self._quotes: dict[str, dict[date, Quote]] = {}

    @property
    def companies(self) -> Mapping[str, Company]:
        """By code, sorted."""
        return self._companies

    @property
    def sessions(self) -> Sequence[date]:
        """Every trading day there is, oldest first."""
        return self._sessions

    def quotes(self, code: str) -> Mapping[date, Quote]:
        """All sessions of `code`, oldest first.

        Raises:
            Refused: its file holds what is no bar.
        """
        if code not in self._quotes:
            told = _read(self._paths[code], frozenset(self._factors.get(code, ())))
            first, last = self._sessions[0], self._sessions[-1]
            self._quotes[code] = {quote.session: quote for quote in told if first <= quote.session <= last}
        return self._quotes[code]

    def holidays(self, year: int) -> dict[date, str]:
        """Weekdays of `year` without bars of any stock, as far as the files reach; typhoons are in no schedule."""
        first, last = max(min(self._calendar), date(year, 1, 1)), min(max(self._calendar), date(year, 12, 31))
        names = scheduled(year) if year in YEARS else {}
        return {
            day: names.get(day, "依規定放假")
            for day in days(first, last)
            if is_weekday(day) and day not in self._calendar and day not in TYPHOON_CLOSURES
        }

    def ex_events(self, code: str) -> list[ExEvent]:
        """All ex-dates of `code` before which a close is in its file; the reference is factor x close, to the cent."""
        events, before_x100 = [], 0
        factors = self._factors.get(code, {})
        for session, quote in self.quotes(code).items():
            if session in factors and before_x100:
                reference_x100 = int((factors[session] * before_x100).quantize(Decimal(1), ROUND_HALF_UP))
                events.append(
                    ExEvent(
                        code=code,
                        ex_date=session,
                        previous_x100=before_x100,
                        reference_x100=reference_x100,
                        reduction=reference_x100 > before_x100,
                    )
                )
            before_x100 = quote.close_x100 or before_x100
        return events

    def mood(self, code: str, session: date) -> int:
        """Whether the session itself moved `code` much: 1 up, -1 down, 0 otherwise."""
        quote = self.quotes(code).get(session)
        if quote is None or not quote.traded or quote.ex:
            return 0
        before_x100 = quote.close_x100 - quote.change_x100
        if abs(quote.change_x100) * 100 < _BIG_MOVE_PCT * before_x100:
            return 0
        return 1 if quote.change_x100 > 0 else -1


def _dates(path: Path) -> set[date]:
    """The dates in the first column of the file at `path`."""
    with path.open(encoding="utf-8") as file:
        if next(file, "").strip().split(",") != COLUMNS:
            raise Refused(f"sandbox: {path}: the first line must be {','.join(COLUMNS)}")
        try:
            return {date.fromisoformat(line.partition(",")[0]) for line in file if line.strip()}
        except ValueError as wrong:
            raise Refused(f"sandbox: {path}: {wrong}") from wrong


def _factors(path: Path) -> dict[str, dict[date, Decimal]]:
    """Reference price / close before, by code and ex-date; none when there is no such file."""
    if not path.exists():
        return {}
    found: dict[str, dict[date, Decimal]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["code"], {})[date.fromisoformat(row["ex_date"])] = Decimal(row["factor"])
    return found


def _read(path: Path, ex_dates: frozenset[date]) -> list[Quote]:
    """The file's sessions, oldest first."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = sorted(row for row in csv.reader(file) if row and row != COLUMNS)
    closes = [0]
    quotes = []
    for row in rows:
        try:
            quote = _quote(row, closes[-1], ex_dates)
        except (ValueError, IndexError) as wrong:
            raise Refused(f"sandbox: {path}: {','.join(row)}: {wrong}") from wrong
        quotes.append(quote)
        closes.append(quote.close_x100 or closes[-1])
    for before, after in pairwise(quotes):
        if before.session == after.session:
            raise Refused(f"sandbox: {path}: {after.session} stands there twice")
    return quotes


def _quote(row: Sequence[str], before_x100: int, ex_dates: frozenset[date]) -> Quote:
    """One line as a quote; `before_x100` is the close before, 0 when there is none.

    An empty price is a session without a trade. An empty turnover or count of trades, which the exchange never
    leaves empty, is estimated: the volume at the close, one trade a lot.
    """
    session = date.fromisoformat(row[0])
    open_x100, high_x100, low_x100, close_x100 = (_x100(text) for text in row[3:7])
    volume = int(row[1] or 0)
    return Quote(
        session=session,
        open_x100=open_x100,
        high_x100=high_x100,
        low_x100=low_x100,
        close_x100=close_x100,
        volume_shares=volume,
        turnover_twd=int(row[2]) if row[2] else volume * close_x100 // 100,
        trades=int(row[8]) if row[8] else -(-volume // 1000),
        change_x100=close_x100 - before_x100 if before_x100 and close_x100 else 0,
        ex=session in ex_dates,
    )


@lru_cache(65_536)
def _x100(text: str) -> int:
    """`140.5` -> 14050, exactly; empty -> 0. Remembered: ticks repeat, and a request must not wait for 95,000 rows."""
    whole, _, cents = text.partition(".")
    if whole.startswith("-"):
        raise ValueError(f"{text} is negative")
    if len(cents.rstrip("0")) > 2:  # noqa: PLR2004  (hundredths)
        raise ValueError(f"{text} is finer than 0.01 TWD")
    return int(whole or 0) * 100 + int((cents + "00")[:2])
