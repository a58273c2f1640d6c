"""The same data with another future: one stock cut or replaced after a session, or the whole market drawn anew."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from math import exp, log
from typing import Final, TypeVar

from backtest.history import History, Quote, Series
from bot.core.exrights import ExRight
from bot.core.forecast import Band, Forecast, ForecastBar

Value = TypeVar("Value")

CENT: Final = Decimal("0.01")
MOODS_BPS: Final = (-10_000, 10_000)
MOST_SHARES: Final = 10**8  # of a made-up session's volume


class How(StrEnum):
    """What becomes of a stock's data after a session."""

    CUT = "cut"  # there is none
    SCRAMBLED = "scrambled"  # its own later sessions, drawn at random with replacement
    REPLACED = "replaced"  # other prices and volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Everything a backtest reads: bars, and what the store holds for each session's evening.

    `forecasts` and `sentiment_bps` are by session, then by symbol.
    """

    history: History
    forecasts: Mapping[date, Mapping[str, Forecast]] = field(default_factory=dict)
    sentiment_bps: Mapping[date, Mapping[str, int]] = field(default_factory=dict)
    ex_rights: tuple[ExRight, ...] = ()


# --- one stock's future ---------------------------------------------------------------------------------------


def without_future(data: Data, symbol: str, after: date, coming: date, how: How, chance: random.Random) -> Data:
    """`data` in which everything about `symbol` from after the evening of `after` is gone or different.

    What was told by that evening stays. The reference price of `coming`, the next session, is: the exchange publishes
    it the evening before. All is built again.
    """
    history = data.history
    others = [history.series(one) for one in history.symbols if one != symbol]

    def forecast(told: Forecast) -> Forecast:
        other = times(told, chance.uniform(0.5, 2.0))
        return other if told.p_up is None else replace(other, p_up=chance.random())

    def mood(_: int) -> int:
        return chance.randint(*MOODS_BPS)

    return Data(
        history=History([*others, _other_bars(history.series(symbol), after, how, chance)]),
        forecasts=_other_told(data.forecasts, symbol, after, None if how is How.CUT else forecast),
        sentiment_bps=_other_told(data.sentiment_bps, symbol, after, None if how is How.CUT else mood),
        ex_rights=tuple(_other_ex_rights(data.ex_rights, symbol, after, coming, how, chance)),
    )


def _other_bars(series: Series, after: date, how: How, chance: random.Random) -> Series:
    """The sessions up to and with `after` as they are, the later ones as `how` says."""
    past = [pair for pair in zip(series.sessions, series.quotes, strict=True) if pair[0] <= after]
    sessions, quotes = series.sessions[len(past) :], list(series.quotes[len(past) :])
    if how is How.CUT:
        return _series(series.symbol, past)
    drawn = chance.choices(quotes, k=len(quotes)) if how is How.SCRAMBLED and quotes else quotes
    if drawn == quotes:  # one session is left, say: no draw could tell
        drawn = [_scaled(quote, chance.uniform(0.5, 2.0), chance.randint(0, MOST_SHARES)) for quote in quotes]
    return _series(series.symbol, [*past, *zip(sessions, drawn, strict=True)])


def _series(symbol: str, rows: Iterable[tuple[date, Quote]]) -> Series:
    series = Series(symbol)
    for session, quote in rows:
        series.add(session, quote)
    return series


def _scaled(quote: Quote, factor: float, volume_shares: int) -> Quote:
    """`quote` with all prices multiplied: low and high still hold the others."""
    open_x100, high_x100, low_x100, close_x100 = (max(1, round(price * factor)) for price in quote[:4])
    return Quote(open_x100, high_x100, low_x100, close_x100, volume_shares)


def _other_told(
    by_session: Mapping[date, Mapping[str, Value]], symbol: str, after: date, other: Callable[[Value], Value] | None
) -> dict[date, Mapping[str, Value]]:
    """What was told of `symbol` after `after` put through `other`, or left out where there is none."""
    changed: dict[date, Mapping[str, Value]] = {}
    for session, told in by_session.items():
        if session <= after or symbol not in told:
            changed[session] = told
            continue
        kept = {one: value for one, value in told.items() if one != symbol}
        changed[session] = kept if other is None else {**kept, symbol: other(told[symbol])}
    return changed


def _other_ex_rights(
    events: Iterable[ExRight], symbol: str, after: date, coming: date, how: How, chance: random.Random
) -> Iterator[ExRight]:
    """Ex-dates of `symbol` that were not known in the evening of `after`: gone, or of other terms."""
    for event in events:
        if event.symbol != symbol or event.known_at.date() <= after or event.ex_date <= coming:
            yield event
        elif how is not How.CUT:
            yield replace(
                event,
                reference_x100=max(1, round(event.reference_x100 * chance.uniform(0.5, 1.5))),
                limit_up_x100=None,
                limit_down_x100=None,
                cash_dividend=None if event.cash_dividend is None else Decimal(chance.randint(0, 50)),
            )


def times(forecast: Forecast, factor: float) -> Forecast:
    """`forecast` with all its prices multiplied, to 0.01 TWD."""
    by = Decimal(factor)

    def price(of: Decimal) -> Decimal:
        return max(CENT, (of * by).quantize(CENT, ROUND_HALF_EVEN))

    bars = tuple(
        ForecastBar(open=price(bar.open), high=price(bar.high), low=price(bar.low), close=price(bar.close))
        for bar in forecast.bars
    )
    bands = tuple(Band(low=price(band.low), high=price(band.high)) for band in forecast.bands)
    return replace(forecast, bars=bars, bands=bands)


# --- the whole market's future --------------------------------------------------------------------------------


def drawn_anew(data: Data, after: date, chance: random.Random) -> Data:
    """`data` with a market after `after` in which nothing that went before says anything about what comes.

    Each later session gets the moves of a later session drawn at random, with replacement, the same one for all
    stocks, so that they still move together. A stock's mean move is taken out first: else past winners would go on
    winning. Stocks trade in the sessions in which they did. Stored forecasts keep the return that they promised;
    ex-dates that were not known yet are left out.
    """
    history = data.history
    later = [session for session in history.sessions if session > after]
    source = dict(zip(later, chance.choices(later, k=len(later)), strict=True))
    series = [_redrawn(history.series(symbol), after, source, chance) for symbol in history.symbols]
    shuffled = History(series)
    return Data(
        history=shuffled,
        forecasts={
            session: {symbol: _moved_along(one, history, shuffled) for symbol, one in told.items()}
            for session, told in data.forecasts.items()
        },
        sentiment_bps=data.sentiment_bps,
        ex_rights=tuple(event for event in data.ex_rights if event.known_at.date() <= after),
    )


def _redrawn(series: Series, after: date, source: Mapping[date, date], chance: random.Random) -> Series:
    """`series` with moves of other sessions after `after`; where it paused in the drawn one, of any of its own."""
    rows: list[tuple[date, Quote]] = []
    moves: dict[date, Quote] = {}  # each later session's prices, and the close before as the first of them
    before_x100: dict[date, int] = {}
    last_x100 = 0
    for session, quote in zip(series.sessions, series.quotes, strict=True):
        if session <= after:
            rows.append((session, quote))
        elif last_x100:
            moves[session], before_x100[session] = quote, last_x100
        last_x100 = quote.close_x100
    if not moves:
        return _series(series.symbol, zip(series.sessions, series.quotes, strict=True))
    mean = sum(log(quote.close_x100 / before_x100[session]) for session, quote in moves.items()) / len(moves)
    own = list(moves)
    level = float(rows[-1][1].close_x100 if rows else before_x100[own[0]])
    if not rows:  # listed later: its first session stands
        rows.append((series.sessions[0], series.quotes[0]))
    for session in own:
        drawn = source[session] if source[session] in moves else chance.choice(own)
        factor = level / before_x100[drawn] * exp(-mean)
        quote = _scaled(moves[drawn], factor, moves[drawn].volume_shares)
        rows.append((session, quote))
        level *= moves[drawn].close_x100 / before_x100[drawn] * exp(-mean)
    return _series(series.symbol, rows)


def _moved_along(forecast: Forecast, real: History, shuffled: History) -> Forecast:
    """`forecast` at the shuffled market's prices, with the return that it promised."""
    was, now = (market.closes_x100(forecast.as_of)[forecast.symbol] for market in (real, shuffled))
    return forecast if was == now else times(forecast, now / was)
