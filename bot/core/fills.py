"""When a resting limit order trades in a session, under a named rule. The live sandbox, paper and replay share it."""

from __future__ import annotations

from typing import Final

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
