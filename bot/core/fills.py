"""When a resting limit order trades in a session, under a named rule. The live sandbox, paper and replay share it."""

from __future__ import annotations

from typing import Final

from bot.core.market import tick_x100

OPEN: Final = 0
RANGE: Final = 1
TOUCH: Final = 2
FILL_RULES: Final = {"open": OPEN, "range": RANGE, "touch": TOUCH}


def fill_price_x100(
    rule: int,
    buys: bool,  # noqa: FBT001  (a plain function: numba compiles it)
    limit_x100: int,
    open_x100: int,
    high_x100: int,
    low_x100: int,
    locked: bool,  # noqa: FBT001
) -> int:
    """The price at which a limit order trades, or 0 when it does not.

    `open`: at the opening price, if the limit allows it. `range`: at the limit, if it lies strictly inside the
    session's range. `touch`: at the limit, if low <= limit <= high; the simulated stock API's own rule, and the
    most flattering one. `locked`: the whole session traded at the daily limit against this side, so that a queue
    stood before us; only `touch` ignores that, as the API does.
    """
    if rule == TOUCH:
        return limit_x100 if low_x100 <= limit_x100 <= high_x100 else 0
    if locked:
        return 0
    if rule == RANGE:
        return limit_x100 if low_x100 < limit_x100 < high_x100 else 0
    allowed = open_x100 <= limit_x100 if buys else open_x100 >= limit_x100
    return open_x100 if allowed else 0


def is_locked(buys: bool, high_x100: int, low_x100: int, limit_up_x100: int, limit_down_x100: int) -> bool:  # noqa: FBT001
    """Whether a session traded only at the daily limit on the far side of this order."""
    if high_x100 != low_x100:
        return False
    return high_x100 >= limit_up_x100 if buys else low_x100 <= limit_down_x100


def moved_x100(price_x100: int, ticks: int, etf: bool) -> int:  # noqa: FBT001
    """The price `ticks` steps above `price_x100`, or below it where `ticks` < 0; each step by the tick it stands on."""
    for _ in range(ticks):
        price_x100 += tick_x100(price_x100, etf)
    for _ in range(-ticks):
        price_x100 -= tick_x100(price_x100 - 1, etf)
    return price_x100


def slipped_range_x100(
    buys: bool,  # noqa: FBT001
    open_x100: int,
    high_x100: int,
    low_x100: int,
    ticks: int,
    etf: bool,  # noqa: FBT001
) -> tuple[int, int, int]:
    """Opening price, high and low as an order sees them whose fills are `ticks` worse than the rule's own.

    The opening price moves against us, no further than the session traded. The end of the range that a limit has to
    reach moves towards us: `range` and `touch` never pay more than the limit, so the market must trade that much
    through it.
    """
    if buys:
        return min(moved_x100(open_x100, ticks, etf), high_x100), high_x100, moved_x100(low_x100, ticks, etf)
    return max(moved_x100(open_x100, -ticks, etf), low_x100), moved_x100(high_x100, -ticks, etf), low_x100


def capped_shares(shares: int, volume_shares: int, share_bps: int, lot_shares: int) -> int:
    """How many of an order's signed `shares` trade if we take at most `share_bps` of the session's volume; 0: no cap.

    A fill that the cap cuts is in whole steps of `lot_shares`; the rest expires.
    """
    if share_bps == 0:
        return shares
    most = volume_shares * share_bps // 10_000
    if abs(shares) <= most:
        return shares
    most -= most % lot_shares
    return most if shares > 0 else -most
