"""Orders and fills, and the states an order may pass through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final


class Side(StrEnum):
    """Which way an order trades."""

    BUY = "buy"
    SELL = "sell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A limit order decided after the close of `decided`, for the session after it. `shares` is positive.

    `strategy` is the name of the rule that decided it.
    """

    symbol: str
    decided: date
    side: Side
    shares: int
    limit_x100: int
    reason: str = ""
    strategy: str = "forecast_edge"

    @property
    def key(self) -> str:
        """One intent per session, stock and side; the quantity is no part of it, so a re-plan can't slip by."""
        return f"{self.decided}:{self.symbol}:{self.side}"

    @property
    def signed_shares(self) -> int:
        """Shares gained: negative for a sale."""
        return self.shares if self.side is Side.BUY else -self.shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """What traded in `session`. `shares` < 0 is a sale. Costs in whole TWD."""

    key: str
    symbol: str
    session: date
    shares: int
    price_x100: int
    commission_twd: int
    tax_twd: int

    @property
    def cash_change_twd(self) -> int:
        """What the fill does to cash: purchases cost, sales bring. Value is cut to whole TWD."""
        value_twd = self.price_x100 * abs(self.shares) // 100
        return (-value_twd if self.shares > 0 else value_twd) - self.commission_twd - self.tax_twd


class OrderState(StrEnum):
    """Where an order stands. `unknown` is a state of knowledge, and is never sent again."""

    PLANNED = "planned"
    SENDING = "sending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    FILLED = "filled"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


_S = OrderState
NEXT_STATES: Final[dict[OrderState, frozenset[OrderState]]] = {
    _S.PLANNED: frozenset({_S.SENDING, _S.CANCELLED}),
    _S.SENDING: frozenset({_S.ACCEPTED, _S.REJECTED, _S.UNKNOWN}),
    _S.ACCEPTED: frozenset({_S.FILLED, _S.EXPIRED, _S.UNKNOWN}),
    _S.UNKNOWN: frozenset({_S.FILLED, _S.EXPIRED, _S.REJECTED}),
    _S.REJECTED: frozenset(),
    _S.FILLED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.CANCELLED: frozenset(),
}
OPEN_STATES: Final = frozenset(state for state, following in NEXT_STATES.items() if following)


def check_transition(before: OrderState, after: OrderState) -> None:
    """Refuse a step that the state machine doesn't have.

    Raises:
        ValueError: `after` can't follow `before`.
    """
    if after not in NEXT_STATES[before]:
        raise ValueError(f"an order can't go from {before} to {after}")
