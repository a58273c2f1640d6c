"""What holding a stock over its ex-date brings, in whole TWD. Plain integers: numba compiles it as it stands."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

E8: Final = 10**8


def per_share_e8(cash_dividend_twd: Decimal) -> int:
    """A cash dividend in TWD a share as whole hundred-millionths: the exchanges publish up to eight decimals.

    Raises:
        ValueError: it is negative, not finite, or finer than that.
    """
    scaled = cash_dividend_twd * E8
    if not scaled.is_finite() or scaled < 0 or scaled != int(scaled):
        raise ValueError(f"{cash_dividend_twd} is no dividend in TWD a share")
    return int(scaled)


def dividend_twd(shares: int, dividend_e8: int) -> int:
    """Cash for `shares` held at the close before the ex-date, cut to whole TWD as companies pay it."""
    return _times_e8(shares, dividend_e8)


def shares_after(shares: int, ratio_e8: int) -> int:
    """What `shares` become on the ex-date of a capital reduction or of a dividend in shares.

    Fractions of a share are cut: companies pay them out in cash some weeks later, which is not counted.
    """
    return _times_e8(shares, ratio_e8)


def _times_e8(shares: int, each_e8: int) -> int:
    """`shares` times `each_e8` hundred-millionths, cut to a whole number; split so that it fits 64 bits."""
    return shares * (each_e8 // 100_000_000) + shares * (each_e8 % 100_000_000) // 100_000_000
