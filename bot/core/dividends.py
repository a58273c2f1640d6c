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
    return shares * dividend_e8 // 100_000_000
