"""An auxiliary signal: what a rule of thumb says after a session, stored beside the forecasts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What `name` says of `symbol` after the close of `as_of`: above 0 speaks for buying, below for selling."""

    symbol: str
    as_of: date
    name: str
    value: int
    reasons: tuple[str, ...]
