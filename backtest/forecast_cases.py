"""Forecasts and bars -> cases: what each forecaster said of a close and what came, in the prices of the day asked."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from statistics import NormalDist
from typing import Final

from backtest.forecast_quality import DRIFT, FOUR_POINT, LAST_CLOSE, Case, View
from bot.core.exrights import ExRight, in_prices_of
from bot.core.forecast import Forecast
from bot.core.market import Bar

LOOKBACK: Final = 60  # past closes from which drift and volatility are told, by what was known
LEAST_RETURNS: Final = 20
HOLE_SESSIONS: Final = 5  # a stock that was halted for longer has no answer to compare with
LEVEL: Final = NormalDist().inv_cdf(0.9)  # 1.2816: from the middle to the 90 % point, in standard deviations

Signal = Callable[[Sequence[Bar]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """The bars as they traded, oldest first, and ex-dates, by symbol; the market's sessions."""

    bars: Mapping[str, Sequence[Bar]]
    events: Mapping[str, Sequence[ExRight]]
    sessions: Sequence[date]

    @classmethod
    def of(cls, bars: Mapping[str, Sequence[Bar]], events: Mapping[str, Sequence[ExRight]]) -> Market:
        """The market of these stocks; a session is a day on which one of them traded."""
        return cls(bars=bars, events=events, sessions=sorted({bar.session for one in bars.values() for bar in one}))

    def number(self, session: date) -> int:
        """The place of `session` among the sessions."""
        return bisect_left(self.sessions, session)

    def place(self, symbol: str, session: date) -> int | None:
        """Where the bar of `session` stands among the stock's; None where it did not trade."""
        bars = self.bars.get(symbol, ())
        place = bisect_left(bars, session, key=lambda bar: bar.session)
        return place if place < len(bars) and bars[place].session == session else None

    def around(self, symbol: str, place: int, past: int, future: int) -> tuple[list[Bar], list[Bar]]:
        """Up to `past` bars up to the one at `place`, and up to `future` after it, all in the prices of that session.

        Bars after a hole of more than HOLE_SESSIONS are left out: what came then did not come in time.
        """
        bars = self.bars[symbol]
        as_of = bars[place].session
        before = bars[max(0, place + 1 - past) : place + 1]
        after = bars[place + 1 : place + 1 + future]
        here = self.number(as_of)
        whole = [one for at, one in enumerate(after, 1) if self.number(one.session) - here <= at + HOLE_SESSIONS]
        told = in_prices_of([*before, *whole], self.events.get(symbol, ()), as_of)
        return told[: len(before)], told[len(before) :]


def cases_of(
    forecasts: Mapping[str, Iterable[Forecast]], market: Market, horizons: Sequence[int], signal: Signal | None = None
) -> list[Case]:
    """A case for each stock, day and horizon that any of `forecasts` (by the forecaster's name) told and that came.

    Beside them stand the baselines: the last close (its band from the volatility of the last 60 sessions), the drift
    (the mean return of those sessions goes on, around the same band), and twstock's BestFourPoint where `signal` is
    given. A stock with fewer than 20 known returns has neither band nor drift, so its case is left out of tables.
    """
    asked: dict[tuple[str, date], dict[str, Forecast]] = {}
    for name, told in forecasts.items():
        for one in told:
            before = asked.setdefault((one.symbol, one.as_of), {}).get(name)
            if before is None or len(before.bars) < len(one.bars):
                asked[one.symbol, one.as_of][name] = one
    return [
        case
        for (symbol, as_of), told in sorted(asked.items(), key=lambda row: (row[0][1], row[0][0]))
        for case in _cases(symbol, as_of, told, market, horizons, signal)
    ]


def _cases(
    symbol: str,
    as_of: date,
    told: Mapping[str, Forecast],
    market: Market,
    horizons: Sequence[int],
    signal: Signal | None,
) -> Iterator[Case]:
    """The cases of one stock and day."""
    here = market.place(symbol, as_of)
    if here is None:
        return
    past, came = market.around(symbol, here, LOOKBACK + 1, max(horizons))
    closes = [float(bar.close) for bar in past]
    says = signal(past) if signal else ""
    for horizon in horizons:
        views = {name: view for name, one in told.items() if (view := _view(one, horizon))}
        if not views or horizon > len(came):
            continue
        yield Case(
            symbol=symbol,
            as_of=as_of,
            number=market.number(as_of),
            horizon=horizon,
            last=closes[-1],
            came=float(came[horizon - 1].close),
            views=views | naive_views(closes, horizon, says),
            seen=any(one.trained_until > as_of for one in told.values()),
        )


def _view(told: Forecast, horizon: int) -> View | None:
    """What a forecast says of the close after `horizon` sessions; None where it does not reach so far."""
    if horizon > len(told.bars):
        return None
    band = told.bands[horizon - 1] if told.bands else None
    return View(
        told=float(told.bars[horizon - 1].close),
        low=float(band.low) if band else None,
        high=float(band.high) if band else None,
        p_up=told.p_up if horizon == len(told.bars) else None,
    )


def naive_views(closes: Sequence[float], horizon: int, signal: str = "") -> dict[str, View]:
    """What the baselines say after the last of `closes`, oldest first; those that can't be told are absent.

    BestFourPoint says a way and no price: its close is the last one moved by the typical (median) move of so many
    sessions, up for "buy", down for "sell", not at all for "none".
    """
    last = closes[-1]
    returns = [math.log(after / before) for before, after in pairwise(closes)]
    if len(returns) < LEAST_RETURNS:
        return {}
    mean, spread = statistics.fmean(returns), statistics.stdev(returns)
    wide = LEVEL * spread * math.sqrt(horizon)
    drifted = last * math.exp(mean * horizon)
    views = {
        LAST_CLOSE: View(told=last, low=last * math.exp(-wide), high=last * math.exp(wide)),
        DRIFT: View(told=drifted, low=drifted * math.exp(-wide), high=drifted * math.exp(wide)),
    }
    if signal:
        moves = [abs(math.log(after / before)) for before, after in zip(closes, closes[horizon:], strict=False)]
        way = {"buy": 1, "sell": -1}.get(signal, 0)
        views[FOUR_POINT] = View(told=last * math.exp(way * statistics.median(moves)))
    return views
