"""Ex-dates: the reference price that replaces the close before, and past prices told in today's terms.

Orders and fills use prices as they were traded; questions to the model and indicators use adjusted ones, by what was
known as of a session. A price before an ex-date is multiplied by reference / close before, as the exchange fixed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Final, Literal

from bot.core.dividends import E8, per_share_e8
from bot.core.market import Bar, limit_down_x100, limit_up_x100, tick_x100

Kind = Literal["dividend", "reduction"]
_CENT: Final = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExRight:
    """One stock's ex-date: a dividend in cash or shares, a capital increase, or a capital reduction.

    `previous_x100` is the last close before, `reference_x100` what the exchange counts `ex_date`'s limits from, both in
    hundredths of a TWD. `cash_dividend` is TWD per share where the exchange tells it apart from the rest. The limits
    are the exchange's own, None where it tells none. `known_at` is when we read it.
    """

    symbol: str
    ex_date: date
    kind: Kind
    previous_x100: int
    reference_x100: int
    source: str
    known_at: datetime
    limit_up_x100: int | None = None
    limit_down_x100: int | None = None
    cash_dividend: Decimal | None = None

    @property
    def factor(self) -> Fraction:
        """What a price before `ex_date` is multiplied by: under 1 for a dividend, over 1 for a reduction."""
        return Fraction(self.reference_x100, self.previous_x100)

    def limits_x100(self, pct: int, *, etf: bool) -> tuple[int, int]:
        """Lowest and highest price of `ex_date`: the exchange's, else from the reference price.

        They may differ where new shares are sold for cash, when the tables tell a second reference price.
        """
        low, high = self.limit_down_x100, self.limit_up_x100
        return (
            limit_down_x100(self.reference_x100, etf, pct) if low is None else low,
            limit_up_x100(self.reference_x100, etf, pct) if high is None else high,
        )


def effective(events: Iterable[ExRight]) -> list[ExRight]:
    """`events` oldest first, one a stock and day: a reduction's reference has the same day's dividend in it already.

    Source: the formula in TWTAUU's answer, (close - dividend - money returned) / exchange ratio.
    """
    chosen: dict[tuple[date, str], ExRight] = {}
    for event in sorted(events, key=lambda one: one.kind):  # dividend, then reduction
        chosen[event.ex_date, event.symbol] = event
    return [chosen[key] for key in sorted(chosen)]


def going_ex(events: Iterable[ExRight], after: date, until: date) -> dict[str, ExRight]:
    """The events of after < ex_date <= until by symbol, the last one of each.

    A range, not a day: an ex-date on which the exchange turns out to be closed holds on the next session.
    """
    return {event.symbol: event for event in effective(events) if after < event.ex_date <= until}


def adjusted(bars: Sequence[Bar], events: Iterable[ExRight], as_of: date) -> list[Bar]:
    """`bars` of one stock in the prices of `as_of`, to 0.01 TWD; volumes, turnover and trades as they were.

    Only events with ex_date <= as_of count: hand in those that were known by then. Bars after the last event are the
    very same values. Volumes stay because the exchange does not tell a dividend in shares apart from one in cash.

    Raises:
        DataMissing: a price vanishes.
    """
    ahead = [event for event in effective(events) if event.ex_date <= as_of]
    factor, done = Fraction(1), []
    for bar in reversed(bars):
        while ahead and bar.session < ahead[-1].ex_date:
            factor *= ahead.pop().factor
        done.append(bar if factor == 1 else _scaled(bar, factor))
    return done[::-1]


def in_prices_of(bars: Sequence[Bar], events: Iterable[ExRight], as_of: date) -> list[Bar]:
    """`bars` of one stock, those after `as_of` too, in the prices of `as_of`: what came true beside a forecast.

    Bars up to `as_of` as `adjusted` has them; a price after an ex-date that came later is divided by its factor.

    Raises:
        DataMissing: a price vanishes.
    """
    told = effective(events)
    past = [bar for bar in bars if bar.session <= as_of]
    coming = [event for event in told if event.ex_date > as_of]
    factor, later = Fraction(1), []
    for bar in bars[len(past) :]:
        while coming and coming[0].ex_date <= bar.session:
            factor /= coming.pop(0).factor
        later.append(bar if factor == 1 else _scaled(bar, factor))
    return adjusted(past, told, as_of) + later


def references_x100(events: Iterable[ExRight], after: date, until: date) -> Mapping[str, int]:
    """The reference price of each stock that goes ex after `after`, by `until`; other stocks keep their close."""
    return {symbol: event.reference_x100 for symbol, event in going_ex(events, after, until).items()}


def parts_e8(event: ExRight, *, etf: bool) -> tuple[int, int]:
    """What a share held at the close before gets on `event`: cash, and what becomes of it, in hundred-millionths.

    The cash is TWD, the second part 10^8 where a share stays one. Where the exchange does not tell the cash apart (new
    shares, or money returned in a reduction), all of the fall counts as shares, which keeps the holding's worth; new
    shares are there on the ex-date, though companies hand them out some weeks later.
    """
    told = event.cash_dividend if event.kind == "dividend" else None
    cash_e8 = per_share_e8(told) if told is not None else 0
    without_e6 = event.previous_x100 * 10**6 - cash_e8
    reference_e6 = event.reference_x100 * 10**6
    if told is not None and abs(without_e6 - reference_e6) <= tick_x100(event.reference_x100, etf) * 10**6:
        return cash_e8, E8  # the rest is the rounding of the reference price
    return cash_e8, (without_e6 * E8 + reference_e6 // 2) // reference_e6


def is_estimated(event: ExRight, *, etf: bool) -> bool:
    """Whether `parts_e8` had to take a fall in price for new shares."""
    return parts_e8(event, etf=etf)[1] != E8


def _scaled(bar: Bar, factor: Fraction) -> Bar:
    def price(of: Decimal) -> Decimal:
        exact = Decimal(factor.numerator) * of / Decimal(factor.denominator)
        return exact.quantize(_CENT, ROUND_HALF_EVEN)

    return replace(bar, open=price(bar.open), high=price(bar.high), low=price(bar.low), close=price(bar.close))
