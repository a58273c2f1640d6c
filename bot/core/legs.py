"""An order as the pieces that a broker takes: whole lots, and the odd rest by itself. Pure."""

from __future__ import annotations

from bot.core.brokerage import Abilities
from bot.core.market import LOT_SHARES


def leg_shares(shares: int, abilities: Abilities) -> tuple[int, ...]:
    """`shares` (positive) as the quantities to send, whole lots first: 2,345 is (2,000, 345) where odd lots are apart.

    Raises:
        ValueError: no shares, or an odd lot where the broker takes none (a bug: the rule knows `lot_shares`).
    """
    if shares <= 0 or shares % abilities.lot_shares:
        raise ValueError(f"{shares} shares can't be ordered in steps of {abilities.lot_shares}")
    odd = shares % LOT_SHARES if abilities.odd_apart else 0
    whole, most = shares - odd, (abilities.most_lots or shares) * LOT_SHARES
    pieces = [most] * (whole // most)
    return tuple(piece for piece in (*pieces, whole % most, odd) if piece)
