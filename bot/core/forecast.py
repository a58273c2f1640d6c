"""What the model says: a window of future bars, and the mood of a headline."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastBar:
    """One future session as the model sees it, TWD per share, inside the daily limit of the bar before it."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Where a future close lies with 80 % probability, TWD per share: its 10 % and 90 % quantiles."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The next `len(bars)` sessions of `symbol`, told after the close of `as_of`.

    `trained_until` is the last day the model's weights can know of. `model` names the weights exactly. `bars` are the
    median path, `bands` the closes' bands around it, one a bar, or empty where the model told none. `p_up` is the
    probability that the last close is above the last known one, None where it was not told. `tokens` were read and
    written for this answer; `seconds` are its share of the batch's wall time.
    """

    symbol: str
    as_of: date
    trained_until: date
    model: str
    past_sessions: int
    bars: tuple[ForecastBar, ...]
    prompt_sha256: str = ""
    bands: tuple[Band, ...] = ()
    p_up: float | None = None
    tokens: int = 0
    seconds: float = field(default=0.0, compare=False)  # an answer is the same however long it took

    @property
    def target(self) -> Decimal:
        """The close at the end of the window: what the trading rule ranks by."""
        return self.bars[-1].close


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentiment:
    """Probabilities that a headline is good, neither or bad news for the share price; they add up to 1."""

    positive: float
    neutral: float
    negative: float

    @property
    def score(self) -> float:
        """From -1 (surely bad) to +1 (surely good)."""
        return self.positive - self.negative

    @property
    def label(self) -> str:
        """The most probable label."""
        return max(("positive", "neutral", "negative"), key=lambda name: float(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """A headline about `symbol`. A backtest may see it only after both moments."""

    symbol: str
    title: str
    url: str
    source: str
    language: str
    published_at: datetime
    fetched_at: datetime
