"""Bars and ex-dates for a command that looks at history: from the store, or from a folder of CSV files.

known = read_known(config, folder, symbols=["2330"])
known.bars["2330"], known.events.get("2330", ())
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bot.config import Config
from bot.core.exrights import ExRight
from bot.core.market import Bar


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBars:
    """Bars as they traded, oldest first, and the ex-dates among them, by symbol; a stock without bars is absent."""

    bars: Mapping[str, Sequence[Bar]]
    events: Mapping[str, Sequence[ExRight]]


def read_known(config: Config, folder: Path | None, *, symbols: Collection[str] | None = None) -> KnownBars:
    """Everything that is there about `symbols`, or about every stock: in `folder` if told, else in the store.

    Raises:
        Refused: no store, no such folder, or no bars of a symbol in it.
    """
    if folder is not None:
        return _in_folder(folder, symbols)
    from bot.adapters.sqlite_ex_rights import ExRightStore
    from bot.adapters.sqlite_market import MarketStore
    from bot.adapters.sqlite_read import open_for_reading

    with closing(open_for_reading(config.store.path)) as db:
        market = MarketStore(db)
        if symbols is None:
            bars = market.all_bars(since=date.min, until=date.max)
        else:
            told = {symbol: market.bars(symbol, until=date.max) for symbol in symbols}
            bars = {symbol: one for symbol, one in told.items() if one}
        events: dict[str, list[ExRight]] = {}
        for event in ExRightStore(db).events(bars, since=date.min, until=date.max):
            events.setdefault(event.symbol, []).append(event)
    return KnownBars(bars=bars, events=events)


def _in_folder(folder: Path, symbols: Collection[str] | None) -> KnownBars:
    """The CODE.csv files of a folder and its ex_rights.csv."""
    from backtest.history import History
    from backtest.questions import events_beside

    history = History.from_csv(folder, symbols=symbols)
    series = {symbol: history.series(symbol) for symbol in history.symbols}
    bars = {symbol: [one.bar(place) for place in range(len(one.sessions))] for symbol, one in series.items()}
    return KnownBars(bars=bars, events=events_beside(folder, history))
