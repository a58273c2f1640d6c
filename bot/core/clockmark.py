"""How far a clock is believed, given the highest moment that was seen before. Pure.

A clock may go back (NTP, a person) or be far ahead by mistake; both must neither send an order into a session that
has begun nor, once it is set right, keep the daemon from working. docs/operations.md tells it in words.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

BEHIND_BY: Final = timedelta(minutes=1)  # NTP slews smaller errors away
# A night or a Sunday asleep needs no proof; two days ahead by mistake cost at most the orders of those two days.
BELIEVED_AHEAD: Final = timedelta(days=2)


class Trust(StrEnum):
    """What a reading of the clock is worth."""

    STEADY = "steady"  # where it can be
    BEHIND = "behind"  # it went back: nothing may rest on an order deadline that it says is still to come
    AHEAD = "ahead"  # it jumped too far to be believed before the exchange shows bars from after the jump


def trust(now: datetime, highest: datetime | None) -> Trust:
    """What the reading `now` is worth after `highest`, the highest moment believed so far; None on the first start."""
    if highest is None:
        return Trust.STEADY
    if now < highest - BEHIND_BY:
        return Trust.BEHIND
    return Trust.AHEAD if now > highest + BELIEVED_AHEAD else Trust.STEADY


MEANING: Final = {
    Trust.STEADY: "the clock is believed",
    Trust.BEHIND: "the clock went back: no order goes out for a session that had begun at the highest moment seen. If "
    "the clock is right now and was ahead then: stop the daemon, `twtrader clock --trust-now`, start it",
    Trust.AHEAD: "the clock jumped ahead: nothing is decided until the exchange has shown bars of the newest session. "
    "If the clock is wrong, set it right; nothing else is needed",
}
