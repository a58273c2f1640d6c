"""What examples are made of: bars, ex-dates and headlines, from a folder of files or from the daemon's own database."""

from __future__ import annotations

import csv
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

from backtest.history import History
from bot.config import TAIPEI
from bot.core.exrights import ExRight
from bot.core.feed_rows import row_of
from bot.core.forecast import Article
from bot.core.market import Bar
from bot.errors import Refused
from bot.ports import Company
from bot.price_files import references_beside
from training.windows import Stock

HEADLINE_FILES: Final = "headlines*.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Stocks by code, and every session on which any stock of the source traded."""

    stocks: tuple[Stock, ...]
    sessions: tuple[date, ...]
    source: str
    absent: tuple[str, ...] = ()  # asked for, without a bar there


class Headlines:
    """Headlines by symbol, as they were known at a moment."""

    def __init__(self, articles: Iterable[Article]) -> None:
        """Each counts from the later of both its moments on."""
        self._of: dict[str, list[Article]] = defaultdict(list)
        for article in articles:
            self._of[article.symbol].append(article)
        for found in self._of.values():
            found.sort(key=lambda one: one.published_at)
        self._published = {symbol: [one.published_at for one in found] for symbol, found in self._of.items()}

    def known(self, symbol: str, moment: datetime, lookback_days: int) -> tuple[str, ...]:
        """What was published about `symbol` in the days before `moment` and known by then, newest first, each once."""
        published = self._published.get(symbol, [])
        begin = bisect_left(published, moment - timedelta(days=lookback_days))
        newest_first = reversed(self._of.get(symbol, [])[begin : bisect_right(published, moment)])
        return tuple(dict.fromkeys(one.title for one in newest_first if one.fetched_at <= moment))

    def all(self) -> list[Article]:
        """Every headline about every symbol, oldest first."""
        return sorted(
            (one for found in self._of.values() for one in found), key=lambda one: (one.published_at, one.url)
        )


def market_in_folder(folder: Path, companies: Sequence[Company], since: date, until: date, reach: int) -> Market:
    """The bars of since..until in a folder of CODE.csv files, with the ex-dates of `ex_rights.csv` beside them.

    Every file there counts for which days were sessions; `reach` is the most bars of a window.

    Raises:
        Refused: no bars, or a file that can't be read.
    """
    history = History.from_csv(folder, since=since, until=until)
    bars = _bars(history, {one.symbol for one in companies})
    rows = [row_of(bar) for series in bars.values() for bar in series]
    events: dict[str, list[ExRight]] = defaultdict(list)
    before = {
        (symbol, bar.session): previous.close for symbol, series in bars.items() for previous, bar in pairwise(series)
    }
    for (symbol, ex_date), reference_x100 in sorted(references_beside(folder, rows).items()):
        events[symbol].append(
            ExRight(
                symbol=symbol,
                ex_date=ex_date,
                kind="dividend",
                previous_x100=round(before[symbol, ex_date] * 100),
                reference_x100=reference_x100,
                source="ex_rights.csv",
                known_at=datetime.combine(ex_date, time(), tzinfo=TAIPEI),
            )
        )
    return _market(history, bars, events, companies, reach, f"files of {folder.name}")


def market_in_store(path: Path, companies: Sequence[Company], since: date, until: date, reach: int) -> Market:
    """The stored bars of since..until with the ex-dates that are known now; raises as `market_in_folder`."""
    from bot.adapters.sqlite_ex_rights import ExRightStore
    from bot.adapters.sqlite_market import MarketStore
    from bot.adapters.sqlite_read import open_for_reading

    with closing(open_for_reading(path)) as db:
        history = History.from_store(MarketStore(db), since=since, until=until)
        told = ExRightStore(db).events(since=since, until=until)
    events: dict[str, list[ExRight]] = defaultdict(list)
    for event in told:
        events[event.symbol].append(event)
    bars = _bars(history, {one.symbol for one in companies})
    return _market(history, bars, events, companies, reach, f"database {path.name}")


def headlines_in(path: Path, symbols: Collection[str]) -> Headlines:
    """The headlines of one CSV (time, title, url), or of a folder's headlines*.csv, about `symbols`.

    Whom a headline speaks of is found as the daemon finds it; it counts as known from its own (Taipei) time on.

    Raises:
        Refused: no such file, or a row that has no time.
    """
    from bot.adapters.company_names import symbols_of

    files = [path] if path.is_file() else sorted(path.glob(HEADLINE_FILES))
    if not files:
        raise Refused(f"{path}: no {HEADLINE_FILES} there")
    found = []
    for file in files:
        for moment, title, url in _headline_rows(file):
            found += [
                Article(
                    symbol=symbol,
                    title=title,
                    url=url,
                    source=file.stem,
                    language="zh",
                    published_at=moment,
                    fetched_at=moment,
                )
                for symbol in symbols_of(title)
                if symbol in symbols
            ]
    return Headlines(found)


def headlines_in_store(path: Path, symbols: Collection[str]) -> Headlines:
    """The stored headlines about `symbols`, each known from when it was fetched."""
    from bot.adapters.sqlite_market import MarketStore
    from bot.adapters.sqlite_read import open_for_reading

    first, last = (datetime.combine(day, time(), tzinfo=TAIPEI) for day in (date(1995, 1, 1), date(9000, 1, 1)))
    with closing(open_for_reading(path)) as db:
        store = MarketStore(db)
        return Headlines(
            article for symbol in sorted(symbols) for article in store.articles(symbol, since=first, known_at=last)
        )


def _headline_rows(path: Path) -> list[tuple[datetime, str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [
                (datetime.fromisoformat(row["time"]).replace(tzinfo=TAIPEI), row["title"], row.get("url") or "")
                for row in csv.DictReader(file)
                if row["title"]
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as wrong:
        raise Refused(f"{path}: no headlines with `time` and `title`: {wrong}") from wrong


def _bars(history: History, symbols: Collection[str]) -> dict[str, list[Bar]]:
    """The bars of each of `symbols` that has any."""
    found = {}
    for symbol in history.symbols:
        if symbol in symbols:
            series = history.series(symbol)
            found[symbol] = [series.bar(index) for index in range(len(series.sessions))]
    return found


def _market(
    history: History,
    bars: Mapping[str, Sequence[Bar]],
    events: Mapping[str, Sequence[ExRight]],
    companies: Sequence[Company],
    reach: int,
    source: str,
) -> Market:
    place = {session: number for number, session in enumerate(history.sessions)}
    stocks = tuple(
        Stock(
            symbol=company.symbol,
            name=company.name,
            bars=bars[company.symbol],
            places=[place[bar.session] for bar in bars[company.symbol]],
            events=events.get(company.symbol, ()),
            reach=reach,
        )
        for company in companies
        if company.symbol in bars
    )
    if not stocks:
        raise Refused(f"{source}: no bars of any stock of the universe in the asked days")
    absent = tuple(company.symbol for company in companies if company.symbol not in bars)
    return Market(stocks=stocks, sessions=history.sessions, source=source, absent=absent)
