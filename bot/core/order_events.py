"""What is known of one order, from the facts about it: a pure fold that any order, doubling or loss of facts survives.

Facts only add up. An order's state is the strongest thing that any fact says of it, and each part that traded counts
once, by its number. So facts may come shuffled or doubled, and one that got lost is made up for by any later one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bot.core.orders import Fill, OrderState

# How much a fact says, weakest first. `unknown` outweighs `accepted`: only what became of the order ends a doubt.
STRENGTH: Final = {
    state: strength
    for strength, state in enumerate(
        (
            OrderState.PLANNED,
            OrderState.SENDING,
            OrderState.ACCEPTED,
            OrderState.UNKNOWN,
            OrderState.REJECTED,
            OrderState.CANCELLED,
            OrderState.EXPIRED,
            OrderState.FILLED,
        )
    )
}
LEFT: Final = frozenset({OrderState.SENDING, OrderState.ACCEPTED, OrderState.UNKNOWN, OrderState.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent:
    """One thing that was learned of an order: the state it speaks of, when, why and by whom.

    `reply` holds the broker's own words without secrets, where it said any. `by` is "twtrader", "book" (a settlement)
    or "person".
    """

    key: str
    at: datetime
    state: OrderState
    note: str = ""
    reply: str = ""
    by: str = "twtrader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an order stands. `fills` are the parts that count, by number; `contradictions` is what could not be."""

    state: OrderState
    fills: tuple[Fill, ...]
    left: bool  # whether it was ever on the wire
    contradictions: tuple[str, ...] = ()

    @property
    def filled_shares(self) -> int:
        """Shares that traded, whatever the side."""
        return sum(abs(fill.shares) for fill in self.fills)


def standing(shares: int, events: Iterable[OrderEvent], fills: Iterable[Fill]) -> Standing:
    """Where an order of `shares` > 0 stands by the facts, in whichever order and how often they are told.

    Fills beyond the quantity do not count: they are named as contradictions.
    """
    said = {event.state for event in events}
    kept, contradictions = _parts(shares, fills)
    state = max(said, key=STRENGTH.__getitem__, default=OrderState.PLANNED)
    if kept and sum(abs(fill.shares) for fill in kept) == shares:
        state = OrderState.FILLED
    return Standing(
        state=state, fills=tuple(kept), left=bool(said & LEFT) or bool(kept), contradictions=tuple(contradictions)
    )


def _parts(shares: int, fills: Iterable[Fill]) -> tuple[list[Fill], list[str]]:
    """The parts that count, by number, and what is wrong with the others."""
    by_number: dict[int, Fill] = {}
    contradictions = []
    for fill in sorted(set(fills), key=lambda one: (one.n, one.session, one.shares, one.price_x100)):
        if fill.n in by_number:
            contradictions.append(f"part {fill.n} is told in two ways")
        else:
            by_number[fill.n] = fill
    kept: list[Fill] = []
    for fill in by_number.values():
        if sum(abs(one.shares) for one in kept) + abs(fill.shares) > shares:
            contradictions.append(f"part {fill.n} of {abs(fill.shares):,} shares is beyond the order's {shares:,}")
        else:
            kept.append(fill)
    return kept, contradictions
