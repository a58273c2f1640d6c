"""What a replay asks for forecasts: the stored answers of a model, and two baselines that need no model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final, Protocol

from backtest.history import Known
from bot.core.costs import CostRates
from bot.core.decide import BPS, Rules, band_low_x100, p_up_bps
from bot.core.forecast import Forecast, ForecastBar
from bot.core.market import Bar, from_x100, to_x100

# BestFourPoint looks at the last five gaps between the 3- and the 6-session average, the oldest of which needs
# 6 + 4 closes; all its other conditions look less far back. Source: twstock 1.5.1, analytics.py
FOUR_POINT_SESSIONS: Final = 10
SIGNAL_MARGIN_BPS: Final = 50  # how far beyond the rule's threshold a bare buy or sell signal is put, at least
LOT_BPS: Final = 50  # how much further the lot drawn among equal buy signals may put it

Signal = Callable[[Sequence[Bar]], str]


class Forecaster(Protocol):
    """Something that says, after a session, where prices go. It sees no more than a `Known`."""

    @property
    def name(self) -> str:
        """The row's name in the report: a baseline or the exact model."""

    def forecasts(self, known: Known) -> Mapping[str, Forecast]:
        """Forecasts as of the session; a stock about which nothing is said is absent."""

    def sentiment_bps(self, session: date) -> Mapping[str, int]:
        """The mean score of each stock's news in basis points, as it was known when the session was decided."""

    def digest(self) -> str:
        """What names this forecaster's answers in a run id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naive:
    """Tomorrow is today: the baseline that every model has to beat. It promises nothing, so it never buys."""

    name: str = "naive"

    def forecasts(self, known: Known) -> Mapping[str, Forecast]:
        """The last close of each stock that traded."""
        return {symbol: flat_forecast(bar, bar.close, self.name, 1) for symbol, bar in known.bars.items()}

    def sentiment_bps(self, session: date) -> Mapping[str, int]:  # noqa: ARG002  (a baseline reads no news)
        """Nothing: a baseline reads no news."""
        return {}

    def digest(self) -> str:
        """Its name says all."""
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class BestFourPoint:
    """twstock's BestFourPoint: a buy signal promises just more than the rule asks for, a sell signal just less.

    Which of many equal buys the rule takes is drawn by lot, from a hash of the code and the day and so always the
    same: left to the rounding of a hundredth of a TWD, the cheapest stocks would always win. Stocks with neither
    signal are left out: the rule holds what it has.
    """

    signal: Signal
    rules: Rules
    costs: CostRates
    name: str = "bestfourpoint"

    def forecasts(self, known: Known) -> Mapping[str, Forecast]:
        """A flat forecast for each stock that traded and has a signal."""
        forecasts = {}
        for symbol in known.bars:
            bars = known.past(symbol, FOUR_POINT_SESSIONS)
            if len(bars) < FOUR_POINT_SESSIONS:
                continue
            signal = self.signal(bars)
            if signal != "none":
                target = self._target(bars[-1], buys=signal == "buy")
                forecasts[symbol] = flat_forecast(bars[-1], target, self.name, len(bars))
        return forecasts

    def _target(self, bar: Bar, *, buys: bool) -> Decimal:
        """A close beyond the rule's entry (with the round trip's costs on top) or exit, never at or below zero."""
        close_x100 = to_x100(bar.close)
        if buys:
            costs_e8 = 2 * self.costs.commission_e8 + self.costs.tax_e8(bar.symbol)
            needed_e8 = costs_e8 + self.rules.entry_edge_bps * BPS
            least_x100 = close_x100 - (-close_x100 * needed_e8 // 10**8)  # rounded up
            wanted_e8 = needed_e8 + (SIGNAL_MARGIN_BPS + _lot_bps(bar)) * BPS
            return from_x100(max(1, least_x100, _moved(close_x100, wanted_e8)))
        most_x100 = close_x100 + self.rules.exit_return_bps * close_x100 // BPS - 1  # surely below the exit
        wanted_e8 = (self.rules.exit_return_bps - SIGNAL_MARGIN_BPS) * BPS
        return from_x100(max(1, min(most_x100, _moved(close_x100, wanted_e8))))

    def sentiment_bps(self, session: date) -> Mapping[str, int]:  # noqa: ARG002
        """Nothing: a baseline reads no news."""
        return {}

    def digest(self) -> str:
        """Its name says all: the signals follow from the bars."""
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The answers of one model as the daemon stored them. The model itself is never asked."""

    name: str
    by_session: Mapping[date, Mapping[str, Forecast]]
    sentiment_by_session: Mapping[date, Mapping[str, int]] = field(default_factory=dict)

    def forecasts(self, known: Known) -> Mapping[str, Forecast]:
        """The stored answers as of the session, for stocks that traded in it."""
        told = self.by_session.get(known.session, {})
        return {symbol: forecast for symbol, forecast in told.items() if symbol in known.bars}

    def sentiment_bps(self, session: date) -> Mapping[str, int]:
        """The stored moods of the headlines that were there when the session was decided."""
        return self.sentiment_by_session.get(session, {})

    def digest(self) -> str:
        """A hash of every answer."""
        told = hashlib.sha256()
        for session, forecasts in sorted(self.by_session.items()):
            targets = ",".join(f"{symbol}={_digest_of(forecasts[symbol])}" for symbol in sorted(forecasts))
            moods = sorted(self.sentiment_bps(session).items())
            told.update(f"{session} {targets} {moods}\n".encode())
        return f"{self.name}:{told.hexdigest()}"


def _digest_of(forecast: Forecast) -> str:
    """What a decision may read of a forecast; the target alone where no more was told."""
    if forecast.p_up is None and not forecast.bands:
        return str(forecast.target)
    return f"{forecast.target} {p_up_bps(forecast)} {band_low_x100(forecast)}"


def flat_forecast(bar: Bar, close: Decimal, model: str, past_sessions: int) -> Forecast:
    """One future session that stands still at `close`, told by something that knows nothing after `bar`."""
    return Forecast(
        symbol=bar.symbol,
        as_of=bar.session,
        trained_until=bar.session,
        model=model,
        past_sessions=past_sessions,
        bars=(ForecastBar(open=close, high=close, low=close, close=close),),
    )


def _lot_bps(bar: Bar) -> int:
    """A number from 0 to LOT_BPS drawn for the stock and the day."""
    drawn = hashlib.blake2b(f"{bar.symbol} {bar.session}".encode(), digest_size=4).digest()
    return int.from_bytes(drawn, "big") % (LOT_BPS + 1)


def _moved(price_x100: int, change_e8: int) -> int:
    """`price_x100` changed by `change_e8` hundred-millionths, to the nearest hundredth of a TWD."""
    return price_x100 + (price_x100 * change_e8 + 5 * 10**7) // 10**8
