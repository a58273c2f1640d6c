"""What was known after each session: bars from the store or a folder of CSV files, read as of a day.

Prices stay whole hundredths of a TWD (`_x100`) in parallel lists; a `Bar` is made when somebody asks for one.
"""

from __future__ import annotations

import csv
import hashlib
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Final, NamedTuple

from bot.adapters.sqlite_market import MarketStore
from bot.core.market import Bar, from_x100
from bot.errors import LookAheadError, Refused

# The longest closing in 2015-2025 is the lunar new year of 2023, 13 days from session to session.
LONGEST_CLOSING: Final = timedelta(days=16)
HOLE_SESSIONS: Final = 5  # a stock without a bar for so many sessions is named in the notes
CODE: Final = re.compile(r"\d{4,6}[A-Z]?")  # 2330.csv is a stock's file, ex_rights.csv is not
COLUMNS: Final = ("date", "open", "high", "low", "close", "capacity")


class Quote(NamedTuple):
    """One session of one stock as integers: prices in hundredths of a TWD, volume in shares."""

    open_x100: int
    high_x100: int
    low_x100: int
    close_x100: int
    volume_shares: int


@dataclass(slots=True)
class Series:
    """One stock's sessions with a trade, oldest first."""

    symbol: str
    sessions: list[date] = field(default_factory=list)
    quotes: list[Quote] = field(default_factory=list)
    _bars: dict[int, Bar] = field(default_factory=dict)

    def add(self, session: date, quote: Quote) -> None:
        """Append a session.

        Raises:
            Refused: it is not after the last one, or it can't be a bar.
        """
        low_x100, high_x100 = quote.low_x100, quote.high_x100
        body_inside = low_x100 <= quote.open_x100 <= high_x100 and low_x100 <= quote.close_x100 <= high_x100
        if low_x100 <= 0 or not body_inside or quote.volume_shares < 0:
            raise Refused(f"{self.symbol} {session}: {quote} can't be a bar")
        if self.sessions and session <= self.sessions[-1]:
            raise Refused(f"{self.symbol} {session}: stands after {self.sessions[-1]}; bars must be oldest first")
        self.sessions.append(session)
        self.quotes.append(quote)

    def bar(self, index: int) -> Bar:
        """The session at `index` as a value, made once."""
        bar = self._bars.get(index)
        if bar is None:
            quote = self.quotes[index]
            bar = self._bars[index] = Bar(
                symbol=self.symbol,
                session=self.sessions[index],
                open=from_x100(quote.open_x100),
                high=from_x100(quote.high_x100),
                low=from_x100(quote.low_x100),
                close=from_x100(quote.close_x100),
                volume_shares=quote.volume_shares,
            )
        return bar


class History:
    """Bars of several stocks. What a replay may see of them it gets from `after(session)`."""

    def __init__(self, series: Iterable[Series]) -> None:
        """`series` hold one stock each; one without a bar is dropped."""
        self._series = {one.symbol: one for one in sorted(series, key=lambda one: one.symbol) if one.sessions}
        self._traded: dict[date, dict[str, int]] = {}
        for symbol, one in self._series.items():
            for index, session in enumerate(one.sessions):
                self._traded.setdefault(session, {})[symbol] = index
        self.symbols: tuple[str, ...] = tuple(self._series)
        self.sessions: tuple[date, ...] = tuple(sorted(self._traded))

    @classmethod
    def from_csv(
        cls, folder: Path, *, symbols: Collection[str] | None = None, since: date = date.min, until: date = date.max
    ) -> History:
        """The bars of since..until in `folder`: one file CODE.csv a stock, with at least the columns COLUMNS.

        Raises:
            Refused: no such folder, no stock's file in it, a file of an asked stock is absent, or a line is no bar.
        """
        if not folder.is_dir():
            raise Refused(f"{folder}: no such folder of bars")
        found = {path.stem: path for path in folder.glob("*.csv") if CODE.fullmatch(path.stem)}
        if not found:
            raise Refused(f"{folder}: no file of bars named CODE.csv, like 2330.csv")
        absent = sorted(set(symbols or ()) - set(found))
        if absent:
            raise Refused(f"{folder}: no bars of {', '.join(absent)}")
        return cls(_read_csv(found[symbol], since, until) for symbol in sorted(symbols or found))

    @classmethod
    def from_store(
        cls,
        store: MarketStore,
        *,
        symbols: Collection[str] | None = None,
        since: date = date.min,
        until: date = date.max,
    ) -> History:
        """The stored bars of since..until; a symbol without any is absent."""
        rows = store.db.execute(
            "select symbol, session, open_x100, high_x100, low_x100, close_x100, volume_shares from bars "
            "where session between ? and ? order by symbol, session",
            [since.isoformat(), until.isoformat()],
        )
        by_symbol: dict[str, Series] = {}
        for symbol, session, *numbers in rows:
            if symbols is None or symbol in symbols:
                by_symbol.setdefault(symbol, Series(symbol)).add(date.fromisoformat(session), Quote(*numbers))
        return cls(by_symbol.values())

    def between(self, since: date, until: date) -> tuple[date, ...]:
        """The sessions in since..until: days on which any stock traded."""
        return self.sessions[bisect_left(self.sessions, since) : bisect_right(self.sessions, until)]

    def after(self, session: date) -> Known:
        """What was known after the close of `session`.

        Raises:
            KeyError: nothing traded that day.
        """
        return Known(self, session, self._traded[session])

    def series(self, symbol: str) -> Series:
        """All loaded sessions of `symbol`: for valuation and reports, never for a decision."""
        return self._series[symbol]

    @cached_property
    def _closes(self) -> dict[date, Mapping[str, int]]:
        """Each stock's last close up to the sessions asked for so far."""
        return {}

    @cached_property
    def _bars(self) -> dict[date, Mapping[str, Bar]]:
        """The bars of the sessions asked for so far; forecasters and fill rules share them."""
        return {}

    def closes_x100(self, session: date) -> Mapping[str, int]:
        """Each stock's last close up to and with `session`, in hundredths of a TWD."""
        closes = self._closes.get(session)
        if closes is None:
            ends = ((one, bisect_right(one.sessions, session)) for one in self._series.values())
            closes = self._closes[session] = {one.symbol: one.quotes[end - 1].close_x100 for one, end in ends if end}
        return closes

    def close_x100(self, symbol: str, session: date) -> int | None:
        """The close of `symbol` in `session` itself, in hundredths of a TWD; None where it is not known to trade."""
        index = self._traded.get(session, {}).get(symbol)
        return None if index is None else self._series[symbol].quotes[index].close_x100

    def bars(self, session: date) -> Mapping[str, Bar]:
        """The bars of `session`, by symbol."""
        bars = self._bars.get(session)
        if bars is None:
            traded = self._traded[session].items()
            bars = self._bars[session] = {symbol: self._series[symbol].bar(index) for symbol, index in traded}
        return bars

    def digest(self) -> str:
        """A hash of every loaded bar, the same on every machine."""
        told = hashlib.sha256()
        for symbol, one in self._series.items():
            told.update(symbol.encode())
            told.update(array("q", (session.toordinal() for session in one.sessions)).tobytes())
            for quote in zip(*one.quotes, strict=True):
                told.update(array("q", quote).tobytes())
        return told.hexdigest()


class Known:
    """What may be known after the close of `session`: that day's bars and everything before, nothing after."""

    __slots__ = ("_history", "_traded", "session")

    def __init__(self, history: History, session: date, traded: Mapping[str, int]) -> None:
        """`traded` says where each stock that traded in `session` stands in its series."""
        self._history = history
        self._traded = traded
        self.session = session

    @property
    def bars(self) -> Mapping[str, Bar]:
        """The bars of the session itself, by symbol; a stock that did not trade is absent."""
        return self._history.bars(self.session)

    @property
    def closes_x100(self) -> Mapping[str, int]:
        """Each stock's last close so far, in hundredths of a TWD; a stock not yet listed is absent."""
        return self._history.closes_x100(self.session)

    def quote(self, symbol: str) -> Quote | None:
        """The session's prices of `symbol`, or None when it did not trade."""
        index = self._traded.get(symbol)
        return None if index is None else self._history.series(symbol).quotes[index]

    def past(self, symbol: str, last: int) -> list[Bar]:
        """The newest `last` bars of `symbol` up to and with the session, oldest first."""
        series = self._history.series(symbol)
        end = bisect_right(series.sessions, self.session)
        return [series.bar(index) for index in range(max(0, end - last), end)]

    def bar(self, symbol: str, session: date) -> Bar | None:
        """The bar of `symbol` in `session`, or None when it did not trade.

        Raises:
            LookAheadError: `session` is still to come.
        """
        if session > self.session:
            raise LookAheadError(f"{symbol}: the bar of {session} was asked for after the close of {self.session}")
        series = self._history.series(symbol)
        index = bisect_right(series.sessions, session) - 1
        return series.bar(index) if index >= 0 and series.sessions[index] == session else None


def check_covers(sessions: Sequence[date], since: date | None, until: date | None) -> None:
    """Refuse sessions that leave out a stretch of the asked days, at an end or in the middle.

    `since` and `until` are None where the user asked for whatever there is.

    Raises:
        Refused: names the days without a bar.
    """
    if not sessions:
        raise Refused(f"no bars between {since or 'the beginning'} and {until or 'the end'}")
    if since is not None and sessions[0] - since > LONGEST_CLOSING:
        raise Refused(f"no bars between {since} and {sessions[0]}: ask with --from {sessions[0]}, or fetch them")
    if until is not None and until - sessions[-1] > LONGEST_CLOSING:
        raise Refused(f"no bars between {sessions[-1]} and {until}: ask with --to {sessions[-1]}, or fetch them")
    for before, after in pairwise(sessions):
        if after - before > LONGEST_CLOSING:
            raise Refused(f"a hole in the bars: no stock has one between {before} and {after}; fetch them first")


def hole_notes(history: History, sessions: Sequence[date]) -> list[str]:
    """A line for each stretch in which one stock has no bar though the market traded: it is held, not traded."""
    place = {session: index for index, session in enumerate(sessions)}
    notes = []
    for symbol in history.symbols:
        traded = [place[session] for session in history.series(symbol).sessions if session in place]
        for before, after in pairwise([-1, *traded, len(sessions)]):
            if after - before - 1 >= HOLE_SESSIONS:
                notes.append(_hole_note(symbol, sessions[before + 1 : after]))
    return notes


def _hole_note(symbol: str, missing: Sequence[date]) -> str:
    return f"{symbol}: no bars {missing[0]}..{missing[-1]}, {len(missing)} sessions: no trade, valued at the last close"


def _read_csv(path: Path, since: date, until: date) -> Series:
    """The bars of since..until in one file.

    Raises:
        Refused: names the file and the line that is no bar.
    """
    series = Series(path.stem)
    with path.open(newline="", encoding="utf-8-sig") as file:
        for line, row in _rows(path, file, since.isoformat(), until.isoformat()):
            try:
                session = date.fromisoformat(row[0])
                quote = Quote(_x100(row[1]), _x100(row[2]), _x100(row[3]), _x100(row[4]), int(row[5]))
            except ValueError as wrong:
                raise Refused(f"{path.name} line {line}: {wrong}") from wrong
            series.add(session, quote)
    return series


def _rows(path: Path, file: Iterable[str], first: str, last: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line number and the fields COLUMNS of each line whose date is in first..last (ISO dates sort as text)."""
    reader = csv.reader(file)
    header = next(reader, [])
    absent = [name for name in COLUMNS if name not in header]
    if absent:
        raise Refused(f"{path.name}: no column {', '.join(absent)}")
    places = [header.index(name) for name in COLUMNS]
    day = places[0]
    for row in reader:
        if len(row) < len(header):
            raise Refused(f"{path.name} line {reader.line_num}: {len(row)} fields where the header has {len(header)}")
        if first <= row[day] <= last:
            yield reader.line_num, tuple([row[place] for place in places])


def _x100(text: str) -> int:
    """A price in TWD as whole hundredths; exact, for a float holds 15 digits and prices have at most 8.

    Raises:
        ValueError: no number, or finer than 0.01 TWD.
    """
    hundredths = float(text) * 100
    if not isfinite(hundredths):
        raise ValueError(f"{text} is not a price")
    price_x100 = round(hundredths)
    if abs(hundredths - price_x100) > 1e-6:  # noqa: PLR2004  (far above the float's error, far below a hundredth)
        raise ValueError(f"{text} is finer than 0.01 TWD")
    return price_x100
