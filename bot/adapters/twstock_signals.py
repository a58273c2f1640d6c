"""twstock's BestFourPoint (四大買賣點) on our bars: a baseline to beat, and a way to choose stocks.

As installed (1.5.1) its gate `if self.mins_bias_ratio() and any(check)` tests a tuple, which is always true: what it
calls a pivot never filters. We report what twstock reports, and so its "buy" is frequent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from bot.core.market import Bar
from bot.core.signals import Signal

# The 6-session average of 10 bars gives the 5 values that twstock looks for a pivot in; with fewer it would
# quietly look at fewer.
NEEDED_BARS: Final = 10
NAME: Final = "best_four_point"


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Which of the four buying and four selling points hold after the last bar, in twstock's words."""

    buy: tuple[str, ...]
    sell: tuple[str, ...]

    @property
    def score(self) -> int:
        """Buying points minus selling points, -4..4."""
        return len(self.buy) - len(self.sell)


def best_four_point(bars: Sequence[Bar]) -> Literal["buy", "sell", "none"]:
    """What twstock says after the last of `bars` (oldest first): a buying point counts before a selling point.

    "none" with fewer than 10 bars: twstock could not look for its pivot.
    """
    if len(bars) < NEEDED_BARS:
        return "none"
    told = _four_points(bars).best_four_point()
    if told is None:
        return "none"
    return "buy" if told[0] else "sell"


def points_of(bars: Sequence[Bar]) -> Points:
    """The points that hold after the last of `bars` (oldest first); none with fewer than 10 bars."""
    if len(bars) < NEEDED_BARS:
        return Points(buy=(), sell=())
    four = _four_points(bars)
    return Points(buy=_reasons(four.best_four_point_to_buy()), sell=_reasons(four.best_four_point_to_sell()))


def signals_of(pasts: Iterable[Sequence[Bar]]) -> list[Signal]:
    """BestFourPoint's word on each stock after its last bar: buying points minus selling points, -4..4.

    Stocks with fewer than 10 bars get none.
    """
    signals = []
    for bars in pasts:
        if len(bars) < NEEDED_BARS:
            continue
        points, last = points_of(bars), bars[-1]
        reasons = (*(f"buy: {one}" for one in points.buy), *(f"sell: {one}" for one in points.sell))
        signals.append(Signal(symbol=last.symbol, as_of=last.session, name=NAME, value=points.score, reasons=reasons))
    return signals


def choose(bars_by_symbol: Mapping[str, Sequence[Bar]], n: int) -> list[str]:
    """The `n` symbols with the most buying points minus selling points, best first; a tie goes to the lower code.

    Stocks with fewer than 10 bars are not chosen. All bars must end with the same session: that is the caller's.
    """
    scores = {symbol: points_of(bars).score for symbol, bars in bars_by_symbol.items() if len(bars) >= NEEDED_BARS}
    return sorted(scores, key=lambda symbol: (-scores[symbol], symbol))[:n]


def _four_points(bars: Sequence[Bar]) -> Any:
    """BestFourPoint over a stand-in for twstock's Stock; floats, as its own fetchers give it."""
    from twstock.analytics import Analytics, BestFourPoint

    stock = Analytics()
    stock.price = [float(bar.close) for bar in bars]
    stock.open = [float(bar.open) for bar in bars]
    stock.capacity = [bar.volume_shares for bar in bars]
    return BestFourPoint(stock)


def _reasons(told: str | Literal[False]) -> tuple[str, ...]:
    return tuple(told.split(", ")) if told else ()
