"""What a broker can do, declared, and what its own list says of an order. Pure; `bot/ports.py` has the calls.

What a broker can't do is False, None or empty here and is asked of it nowhere: nothing is faked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time
from typing import Final

from bot.core.market import LOT_SHARES
from bot.core.orders import OrderState

AT_ONCE: Final = 0  # cash and shares are there with the fill
T_PLUS_2: Final = 2  # Taiwan's own: both change hands two sessions after the trade


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a broker can do. Times are of the day, Asia/Taipei, naive; None means that it has no such time."""

    lot_shares: int  # the smallest step of an order: 1 takes odd lots, 1000 does not
    odd_apart: bool = False  # whole lots and the odd rest are two orders: see `bot.core.legs`
    takes_once: bool = False  # the same order twice is one order there
    can_cancel: bool = False  # it is a `bot.ports.Cancels`
    lists_orders: bool = False  # `order_states` answers: an order in doubt can be looked up
    tells_cash: bool = False  # `cash_twd` answers
    tells_fills: bool = False  # `prices_x100` answers; otherwise an order is taken to fill at its limit
    fills_in_parts: bool = False  # an order may fill for less than its shares
    fills_by_touch: bool = False  # it fills, whole, exactly when the session's range touches its limit
    settlement_sessions: int = AT_ONCE  # sessions between a trade and its cash
    window_opens: time | None = None  # orders are taken from here ...
    window_closes: time | None = None  # ... to just before here, over midnight when it is the earlier of the two
    settles_at: time | None = None  # the book shows a session's fills from here on

    def __post_init__(self) -> None:
        """Refuse abilities that no broker has.

        Raises:
            ValueError: names what can't be.
        """
        if self.lot_shares not in {1, LOT_SHARES}:
            raise ValueError(f"lot_shares {self.lot_shares}: a broker takes single shares or lots of {LOT_SHARES}")
        if self.odd_apart and self.lot_shares != 1:
            raise ValueError("odd_apart without odd lots")
        if self.settlement_sessions not in {AT_ONCE, T_PLUS_2}:
            raise ValueError(f"settlement_sessions {self.settlement_sessions}: 0 or 2")
        if (self.window_opens is None) != (self.window_closes is None):
            raise ValueError("an order window has two ends or none")

    @property
    def takes_odd_lots(self) -> bool:
        """Whether fewer than 1,000 shares can be ordered."""
        return self.lot_shares == 1

    def takes_orders_at(self, moment: time) -> bool:
        """Whether the order window is open at `moment` (its offset, if it has one, is Taipei's and not looked at)."""
        if self.window_opens is None or self.window_closes is None:
            return True
        at = moment.replace(tzinfo=None)
        if self.window_opens < self.window_closes:
            return self.window_opens <= at < self.window_closes
        return at >= self.window_opens or at < self.window_closes


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """A part of an order that traded: `shares` is positive whatever the side."""

    shares: int
    price_x100: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the broker's own list says of an order that we sent.

    `state` is accepted (it works), filled (whole), rejected, cancelled, expired, or unknown where the list itself
    is not sure. `deals` are what traded so far: also of a cancelled or expired order, when it filled in part.
    """

    order_id: str
    state: OrderState
    deals: tuple[Deal, ...] = ()
    note: str = ""

    @property
    def filled_shares(self) -> int:
        """Shares that traded."""
        return sum(deal.shares for deal in self.deals)

    @property
    def value_x100(self) -> int:
        """What the shares that traded are worth at their prices, in hundredths of a TWD."""
        return sum(deal.shares * deal.price_x100 for deal in self.deals)
