"""What the exchange fixes: bars, ticks, the daily limit, lots. Pure integers inside, `Decimal` at the door.

Prices inside are whole hundredths of a TWD (`_x100`), so every tick is an exact integer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from bot.errors import DataMissing

LOT_SHARES: Final = 1_000  # one board lot. Source: TWSE Operating Rules, art. 60
MOST_LOTS: Final = 499  # in one order. Source: TWSE, "Trading mechanism": fewer than 500 trading units an order
ETF_PREFIX: Final = "00"  # codes of listed funds start so; common stocks are four digits from 1101 up

# The daily limit was 7 % until this date. Source: TWSE announcement on the 10 % limit from 2015-06-01, art. 63
LIMIT_10_PCT_SINCE: Final = date(2015, 6, 1)
_FRIDAY: Final = 4


def is_etf(symbol: str) -> bool:
    """Whether `symbol` trades under the fund rules for ticks and tax."""
    return symbol.startswith(ETF_PREFIX)


def to_x100(price: Decimal) -> int:
    """`price` in TWD as whole hundredths; exact.

    Raises:
        ValueError: `price` is finer than a hundredth of a TWD, or not finite.
    """
    if not price.is_finite():
        raise ValueError(f"{price} is not a price")
    hundredths = price * 100
    if hundredths != int(hundredths):
        raise ValueError(f"{price} is finer than 0.01 TWD")
    return int(hundredths)


def from_x100(price_x100: int) -> Decimal:
    """Whole hundredths of a TWD as a price in TWD; exact, always two decimals."""
    return Decimal(price_x100).scaleb(-2)


def tick_x100(price_x100: int, etf: bool) -> int:  # noqa: FBT001  (a plain function: numba compiles it)
    """The smallest price step at `price_x100`. Source: TWSE Operating Rules, art. 62."""
    if etf:
        return 1 if price_x100 < 50_00 else 5
    if price_x100 < 10_00:
        return 1
    if price_x100 < 50_00:
        return 5
    if price_x100 < 100_00:
        return 10
    if price_x100 < 500_00:
        return 50
    if price_x100 < 1000_00:
        return 100
    return 500


def floor_to_tick_x100(price_x100: int, etf: bool) -> int:  # noqa: FBT001
    """The highest tradable price at or below `price_x100`."""
    return price_x100 - price_x100 % tick_x100(price_x100, etf)


def ceil_to_tick_x100(price_x100: int, etf: bool) -> int:  # noqa: FBT001
    """The lowest tradable price at or above `price_x100`."""
    below = floor_to_tick_x100(price_x100, etf)
    return below if below == price_x100 else below + tick_x100(price_x100, etf)


def limit_up_x100(reference_x100: int, etf: bool, limit_pct: int = 10) -> int:  # noqa: FBT001
    """The highest price allowed in a session whose reference price is `reference_x100`, on the tick."""
    return floor_to_tick_x100(reference_x100 * (100 + limit_pct) // 100, etf)


def limit_down_x100(reference_x100: int, etf: bool, limit_pct: int = 10) -> int:  # noqa: FBT001
    """The lowest price allowed in a session whose reference price is `reference_x100`, on the tick."""
    scaled = reference_x100 * (100 - limit_pct)
    exact_or_above = -(-scaled // 100)
    return ceil_to_tick_x100(exact_or_above, etf)


def limit_pct(session: date) -> int:
    """The daily limit in percent that was in force on `session`."""
    return 10 if session >= LIMIT_10_PCT_SINCE else 7


def limit_pct_after(session: date) -> int:
    """The daily limit in percent in the session after `session`: the change came into force on a Monday, a session."""
    weekend = 3 if session.weekday() == _FRIDAY else 1
    return limit_pct(session + timedelta(days=weekend))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One session of one stock, unadjusted, as the exchange publishes it. Prices are TWD per share.

    `turnover_twd` and `trades` are None where the source left them empty.
    """

    symbol: str
    session: date
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume_shares: int
    turnover_twd: int | None = None
    trades: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a bar.

        Raises:
            DataMissing: a price is not positive, the range does not hold the body, or volume is negative.
        """
        where = f"{self.symbol} {self.session}"
        if min(self.open, self.high, self.low, self.close) <= 0:
            raise DataMissing(f"{where}: a price is not positive")
        if not self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high:
            raise DataMissing(f"{where}: open or close is outside low..high")
        if self.volume_shares < 0:
            raise DataMissing(f"{where}: negative volume")


def shares_told(shares: int) -> str:
    """`shares` with a sign, in lots where they are whole ones: "+1 lot", "-2 lots", "+500 shares"."""
    if shares % LOT_SHARES:
        return f"{shares:+,} shares"
    lots = shares // LOT_SHARES
    return f"{lots:+,} lot{'s' if abs(lots) != 1 else ''}"
