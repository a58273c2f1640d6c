"""The table [teacher] of config.toml: who writes analyses and labels headlines for `twtrader train teacher`."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

MOST_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherConfig:
    """Where the teacher is, how it is asked, and what it may cost. Prices and the budget are in one currency."""

    base_url: str
    model: str
    structured: bool
    temperature: float
    max_tokens: int
    shown: int
    tries: int
    attempts: int
    pause_s: float
    timeout_s: float
    concurrency: int
    price_in: Decimal
    price_out: Decimal
    budget: Decimal

    def __post_init__(self) -> None:
        """Refuse knobs that could not work."""
        if not 0 <= self.shown <= 8:  # noqa: PLR2004  (the issue's own figure)
            raise ValueError("`shown` must be between 0 and 8")
        if not 0 <= self.temperature <= 2:  # noqa: PLR2004  (OpenAI's range)
            raise ValueError("`temperature` must be between 0 and 2")
        for name in ("max_tokens", "tries", "attempts"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1")
        for name in ("pause_s", "timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be positive")
        if not 1 <= self.concurrency <= MOST_AT_ONCE:
            raise ValueError(f"`concurrency` must be between 1 and {MOST_AT_ONCE}")
        for name in ("price_in", "price_out", "budget"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"`{name}` must not be negative")
