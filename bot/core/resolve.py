"""A person's word on what became of an order: which words make sense, and what they mean for the books. Pure."""

from __future__ import annotations

from datetime import date
from typing import Final

from bot.core.brokerage import Deal
from bot.core.costs import CostRates
from bot.core.explain import Resting
from bot.core.market import from_x100
from bot.core.orders import LATE_STATES, OrderState, Side
from bot.core.settle import Fate, parts
from bot.errors import Refused

_WAITING: Final = frozenset({OrderState.ACCEPTED, OrderState.UNKNOWN})


def not_filled(one: Resting, traded: date | None, reason: str) -> Fate:
    """`one` did not trade: it expired, or never arrived if no session has passed since. `traded` is its session.

    Raises:
        Refused: that can't be said of it.
    """
    key = one.order.key
    _check_reason(key, reason)
    if one.state not in _WAITING:
        raise Refused(f"{key} is {one.state}: only an accepted or unknown order can be resolved as not filled")
    if traded is None and one.state is OrderState.ACCEPTED:
        raise Refused(f"{key} was accepted and the session it is for isn't over: it may still fill")
    state = OrderState.EXPIRED if traded or one.fills else OrderState.REJECTED
    return Fate(key=key, state=state, note=reason)


def filled(
    one: Resting,
    traded: date | None,
    reason: str,
    costs: CostRates,
    *,
    left: bool,
    shares: int | None = None,
    price_x100: int | None = None,
) -> Fate:
    """`shares` (default: all that are left) of `one` traded at `price_x100` (default: its limit); the rest is dead.

    An order thought dead may be resolved so too, if it ever left.

    Raises:
        Refused: that can't be said of it.
    """
    key = one.order.key
    _check_reason(key, reason)
    if not left or one.state not in _WAITING | LATE_STATES.keys():
        why = "" if left else ", and it never left"
        raise Refused(f"{key} is {one.state}{why}: nothing of it can have traded")
    if traded is None:
        raise Refused(f"{key}: the session it is for isn't over, so nothing of it can have traded")
    shares = one.rest_shares if shares is None else shares
    if not 0 < shares <= one.rest_shares:
        raise Refused(f"{key}: {shares:,} shares can't have traded, {one.rest_shares:,} were left to")
    price_x100 = one.order.limit_x100 if price_x100 is None else price_x100
    _check_price(one, price_x100)
    deal = Deal(shares=shares, price_x100=price_x100)
    state = OrderState.FILLED if shares == one.rest_shares else OrderState.EXPIRED
    return Fate(key=key, state=state, note=reason, fills=parts(one, [deal], costs), late=one.state not in _WAITING)


def _check_reason(key: str, reason: str) -> None:
    if not reason.strip():
        raise Refused(f"{key}: say why with --reason: it is kept with the order")


def _check_price(one: Resting, price_x100: int) -> None:
    """A limit is a limit."""
    limit = one.order.limit_x100
    worse = price_x100 > limit if one.order.side is Side.BUY else price_x100 < limit
    if price_x100 <= 0 or worse:
        raise Refused(
            f"{one.order.key}: {from_x100(price_x100)} is no price for a {one.order.side} limited to {from_x100(limit)}"
        )
