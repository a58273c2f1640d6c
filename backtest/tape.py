"""A market and its forecasts as whole numbers, sessions x symbols: what one replay or a hundred thousand run over."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from backtest.history import History
from bot.core.costs import CostRates
from bot.core.decide import NO_P_UP, NO_SENTIMENT, MarketDay, band_low_x100, p_up_bps, target_x100
from bot.core.exrights import ExRight, effective, parts_e8
from bot.core.forecast import Forecast
from bot.core.ledger import ONE_E8
from bot.core.market import is_etf, limit_pct
from bot.core.rule import BPS
from bot.errors import Refused

Ints = npt.NDArray[np.int64]
LARGEST_PRICE_X100: Final = 10**9  # ten million TWD a share; beyond it sums would not fit 64 bits
LARGEST_VOLUME: Final = 10**12


@dataclass(frozen=True, kw_only=True, eq=False)
class Tape:
    """C-contiguous int64 tables, sessions x symbols; prices in hundredths of a TWD, 0 before a stock's first bar.

    `close_x100` is the last known close, `reference_x100` the price that the session's limits count from. Open, high,
    low and volume mean something only where `traded` is 1. `dividend_e8` is cash per share on its ex-date,
    `share_ratio_e8` what becomes of a share (10^8: nothing), both in hundred-millionths. `target_x100` is 0 where the
    model abstained, `sentiment_bps` NO_SENTIMENT where nothing is known, `p_up_bps` NO_P_UP and `band_low_x100` (the
    lower end of the forecast's band) 0 where the model told none; all are told after the session's close. `etf` and
    `tax_e8` hold one entry a symbol.
    """

    sessions: tuple[date, ...]
    symbols: tuple[str, ...]
    open_x100: Ints
    high_x100: Ints
    low_x100: Ints
    close_x100: Ints
    reference_x100: Ints
    volume_shares: Ints
    traded: Ints
    dividend_e8: Ints
    share_ratio_e8: Ints
    target_x100: Ints
    sentiment_bps: Ints
    etf: Ints
    tax_e8: Ints
    p_up_bps: Ints
    band_low_x100: Ints

    def __post_init__(self) -> None:
        """Refuse tables that don't fit one another or hold what no market has.

        Raises:
            Refused: names the table, and the first stock and session where it is wrong.
        """
        shape = len(self.sessions), len(self.symbols)
        if shape[0] < 2 or shape[1] < 1:  # noqa: PLR2004
            raise Refused(f"a tape of {shape[0]} sessions and {shape[1]} stocks: at least 2 and 1 are needed")
        for one in fields(self):
            table = getattr(self, one.name)
            wanted = shape[1:] if one.name in {"etf", "tax_e8"} else shape
            if one.name in {"sessions", "symbols"}:
                continue
            if table.dtype != np.int64 or table.shape != wanted or not table.flags.c_contiguous:
                raise Refused(f"tape: {one.name} is {table.dtype}{table.shape}, not int64{wanted} in C order")
        for table_name, wrong in self._wrong():
            if wrong.any():
                row, column = np.argwhere(wrong)[0]
                told = getattr(self, table_name)[row, column]
                raise Refused(f"{self.symbols[column]} {self.sessions[row]}: {table_name} is {told}")

    def _wrong(self) -> Iterable[tuple[str, Any]]:
        """Each table with where it holds what can't be."""
        traded = self.traded != 0
        yield "traded", (self.traded != 0) & (self.traded != 1)
        for name in ("open_x100", "high_x100", "low_x100", "close_x100"):
            price = getattr(self, name)
            yield name, (price < 0) | (price > LARGEST_PRICE_X100) | (traded & (price == 0))
        yield "low_x100", traded & (self.low_x100 > np.minimum(self.open_x100, self.close_x100))
        yield "high_x100", traded & (self.high_x100 < np.maximum(self.open_x100, self.close_x100))
        for name, most in (
            ("reference_x100", LARGEST_PRICE_X100),
            ("target_x100", LARGEST_PRICE_X100),
            ("band_low_x100", LARGEST_PRICE_X100),
            ("volume_shares", LARGEST_VOLUME),
            ("dividend_e8", 10**5 * ONE_E8),
            ("share_ratio_e8", 100 * ONE_E8),
        ):
            table = getattr(self, name)
            yield name, (table < 0) | (table > most)
        yield "p_up_bps", (self.p_up_bps < NO_P_UP) | (self.p_up_bps > BPS)


def untold(shape: tuple[int, ...]) -> dict[str, Any]:
    """The tables of a tape that a model fills in, by name, where none has spoken yet."""
    return {
        "target_x100": np.zeros(shape, dtype=np.int64),
        "sentiment_bps": np.full(shape, NO_SENTIMENT, dtype=np.int64),
        "p_up_bps": np.full(shape, NO_P_UP, dtype=np.int64),
        "band_low_x100": np.zeros(shape, dtype=np.int64),
    }


def tell(tables: Mapping[str, Ints], place: tuple[int, int], forecast: Forecast) -> None:
    """Write what `forecast` says at `place` (session, stock) of `untold` tables."""
    tables["target_x100"][place] = target_x100(forecast)
    tables["p_up_bps"][place] = p_up_bps(forecast)
    tables["band_low_x100"][place] = band_low_x100(forecast)


def forecast_tables(days: Sequence[MarketDay], symbols: Sequence[str]) -> dict[str, Any]:
    """What models say on `days`: the tables of `untold`, filled in."""
    column = {symbol: place for place, symbol in enumerate(symbols)}
    tables = untold((len(days), len(symbols)))
    for row, day in enumerate(days):
        for symbol, forecast in day.forecasts.items():
            tell(tables, (row, column[symbol]), forecast)
        for symbol, mood in day.sentiment_bps.items():
            if symbol in column:
                tables["sentiment_bps"][row, column[symbol]] = mood
    return tables


def tape_of(history: History, days: Sequence[MarketDay], costs: CostRates, events: Iterable[ExRight] = ()) -> Tape:
    """The tape of `days`, which are consecutive sessions of `history`; `events` are the ex-dates among them.

    Without an event a session's reference price is the close before.
    """
    tape = market_tape(history, [day.session for day in days], costs, events)
    return replace(tape, **forecast_tables(days, tape.symbols))


def market_tape(history: History, sessions: Sequence[date], costs: CostRates, events: Iterable[ExRight] = ()) -> Tape:
    """As `tape_of`, with no word from any model."""
    symbols = history.symbols
    shape = len(sessions), len(symbols)
    quotes = np.zeros((*shape, 5), dtype=np.int64)
    traded = np.zeros(shape, dtype=np.int64)
    row_of = {session: row for row, session in enumerate(sessions)}
    close = np.zeros(shape, dtype=np.int64)
    for place, symbol in enumerate(symbols):
        series = history.series(symbol)
        rows, told, last = [], [], 0
        for session, quote in zip(series.sessions, series.quotes, strict=True):
            if session in row_of:
                rows.append(row_of[session])
                told.append(quote)
            elif session < sessions[0]:
                last = quote.close_x100
        close[0, place] = last
        if rows:
            quotes[rows, place] = told
            traded[rows, place] = 1
    close = _last_known(np.where(traded == 1, quotes[:, :, 3], close))
    return Tape(
        sessions=tuple(sessions),
        symbols=symbols,
        open_x100=np.ascontiguousarray(quotes[:, :, 0]),
        high_x100=np.ascontiguousarray(quotes[:, :, 1]),
        low_x100=np.ascontiguousarray(quotes[:, :, 2]),
        close_x100=close,
        volume_shares=np.ascontiguousarray(quotes[:, :, 4]),
        traded=traded,
        **untold(shape),
        etf=np.array([is_etf(symbol) for symbol in symbols], dtype=np.int64),
        tax_e8=np.array([costs.tax_e8(symbol) for symbol in symbols], dtype=np.int64),
        **ex_date_tables(events, sessions, symbols, close),
    )


def ex_date_tables(
    events: Iterable[ExRight], sessions: Sequence[date], symbols: Sequence[str], close_x100: Ints
) -> Mapping[str, Ints]:
    """`reference_x100`, `dividend_e8` and `share_ratio_e8` of a tape, from the `events` that fall on its sessions."""
    reference = np.vstack([close_x100[:1], close_x100[:-1]])
    dividend = np.zeros_like(close_x100)
    ratio = np.full_like(close_x100, ONE_E8)
    column = {symbol: place for place, symbol in enumerate(symbols)}
    for event in effective(events):
        row = bisect_left(sessions, event.ex_date)  # an ex-date on which the exchange was closed holds on the next one
        if event.symbol in column and 0 < row < len(sessions):
            place = row, column[event.symbol]
            reference[place] = event.reference_x100
            dividend[place], ratio[place] = parts_e8(event, etf=is_etf(event.symbol))
    return {"reference_x100": reference, "dividend_e8": dividend, "share_ratio_e8": ratio}


def limit_pcts(sessions: Sequence[date]) -> Ints:
    """The daily limit in percent in force on each session."""
    return np.array([limit_pct(session) for session in sessions], dtype=np.int64)


def _last_known(close_x100: Ints) -> Ints:
    """Zeros filled with the row before."""
    rows = np.where(close_x100 != 0, np.arange(len(close_x100))[:, None], 0)
    filled = np.take_along_axis(close_x100, np.maximum.accumulate(rows, axis=0), axis=0)
    return np.ascontiguousarray(filled)
