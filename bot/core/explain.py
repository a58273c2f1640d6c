"""Which orders explain a change in the broker's book of one stock. Pure.

A broker that fills by touch is predictable: the session's range says what an accepted order must have done. Where that
and the book agree there is no doubt. Otherwise the book counts, and more than one way to read it is no way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain, combinations

from bot.core.orders import Fill, Order, OrderState


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """An order that left for the broker and could trade in `session`. `fills` are the parts the journal has already.

    `touched` says whether the session's range touched its limit; None where that predicts nothing, or isn't known.
    `arrived`: the broker said once that it has the order, whatever doubts came later.
    """

    order: Order
    state: OrderState
    session: date
    touched: bool | None = None
    arrived: bool = False
    fills: tuple[Fill, ...] = ()

    @property
    def rest_shares(self) -> int:
        """Shares that may still trade."""
        return self.order.shares - sum(abs(fill.shares) for fill in self.fills)

    @property
    def signed_rest(self) -> int:
        """The same, negative for a sale."""
        return self.rest_shares if self.order.signed_shares > 0 else -self.rest_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One way in which the book came to change: who filled, and who of the dead had filled after all."""

    filled: tuple[Resting, ...] = ()
    late: tuple[Resting, ...] = ()


def explanations(change: int, resting: Sequence[Resting], late: Sequence[Resting] = ()) -> tuple[Explanation, ...]:
    """The best explanations of `change` in one stock, all equally good; empty when there is none.

    Better is: what must have filled by the rule did; then one order thought dead had filled after all; then the book
    against the rule; then an order that the platform took twice, whose surplus stays unexplained. `late` are orders
    thought dead. Orders fill whole.
    """
    must = [one for one in resting if one.touched and one.arrived]
    may = [one for one in resting if one.touched is not False and one not in must]
    possible = [one for one in late if one.touched is not False]
    tiers: Iterable[Iterator[Explanation]] = (
        (Explanation(filled=(*must, *some)) for some in _subsets(may) if _shares(must, some) == change),
        (
            Explanation(filled=(*must, *some), late=(dead,))
            for some in _subsets(may)
            for dead in possible
            if change and _shares(must, some, [dead]) == change
        ),
        (Explanation(filled=some) for some in _subsets(resting) if _shares(some) == change),
        _doubled(change, must, resting),
        (Explanation(late=(dead,)) for dead in late if change and _shares([dead]) == change and not resting),
    )
    return next((found for found in map(tuple, tiers) if found), ())


def _doubled(change: int, must: Sequence[Resting], resting: Sequence[Resting]) -> Iterator[Explanation]:
    """More shares than the orders had: whoever must have filled did, or the one order twice over."""
    sure = _shares(must)
    if sure and (change - sure) * sure > 0:
        yield Explanation(filled=tuple(must))
    elif len(resting) == 1 and not must and change == 2 * resting[0].signed_rest:
        yield Explanation(filled=tuple(resting))


def _subsets(orders: Sequence[Resting]) -> Iterator[tuple[Resting, ...]]:
    return chain.from_iterable(combinations(orders, count) for count in range(len(orders) + 1))


def _shares(*orders: Iterable[Resting]) -> int:
    return sum(one.signed_rest for one in chain.from_iterable(orders))
