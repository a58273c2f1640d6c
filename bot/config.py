"""What config.toml says, as frozen values which refuse what could not work. config_file.py reads the file.

What a table's `__post_init__` raises is a ValueError that names the key; config_file.py makes a ConfigError of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from bot.core.costs import CostRates
from bot.core.lateness import Late
from bot.core.limits import Limits
from bot.core.mood import MoodRules
from bot.core.rule import BPS, Rules
from bot.server_config import ServerConfig
from bot.sweep_config import SweepConfig, check_knobs
from bot.teacher_config import TeacherConfig
from bot.train_config import TrainConfig

TAIPEI: Final = ZoneInfo("Asia/Taipei")
FillRule = Literal["open", "range", "touch"]
STAGES: Final = ("prices", "settle", "news", "forecast", "decide", "send")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Where everything that is known lies."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class UniverseConfig:
    """Which stocks are looked at."""

    file: str
    choose: int

    def __post_init__(self) -> None:
        """Refuse a negative count."""
        if self.choose < 0:
            raise ValueError("`choose` must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockConfig:
    """Whose clock counts."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """When each stage of a session starts, Asia/Taipei."""

    prices: str
    settle: str
    news: str
    forecast: str
    decide: str
    send: str
    late: Late

    def __post_init__(self) -> None:
        """Refuse what is no time of day, and an order in which a stage would miss what it needs."""
        times = [self.at(stage) for stage in STAGES]
        if times != sorted(times):
            raise ValueError("the stages must keep the order " + ", ".join(STAGES))

    def at(self, stage: str) -> time:
        """The time of day at which `stage` starts."""
        text = getattr(self, stage)
        try:
            hour, minute = text.split(":")
            return time(int(hour), int(minute), tzinfo=TAIPEI)
        except ValueError as wrong:
            raise ValueError(f"`{stage}` must be HH:MM, not {text!r}") from wrong


LARGEST: Final = 10**12  # no knob here makes sense beyond it, and none overflows below


def _check_positive(config: Any, *names: str) -> None:
    """Refuse a knob below or at zero."""
    for name in names:
        value = getattr(config, name)
        if not 0 < value <= LARGEST:  # a NaN is neither
            raise ValueError(f"`{name}` must be positive and at most {LARGEST:,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeFeedConfig:
    """How one board's server is asked."""

    base_url: str
    requests_per_window: int
    window_s: float
    timeout_s: float
    attempts: int

    def __post_init__(self) -> None:
        """Refuse knobs that could not work."""
        _check_positive(self, "requests_per_window", "window_s", "timeout_s", "attempts")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsFeedConfig:
    """How NewsAPI is asked."""

    base_url: str
    languages: tuple[str, ...]
    requests_per_day: int
    lookback_days: int
    page_size: int
    timeout_s: float
    attempts: int

    def __post_init__(self) -> None:
        """Refuse knobs that could not work."""
        _check_positive(self, "requests_per_day", "lookback_days", "page_size", "timeout_s", "attempts")
        if not self.languages or len(set(self.languages)) != len(self.languages):
            raise ValueError('`languages` must name at least one language, each once, like ["zh", "en"]')
        if self.page_size > 100:  # noqa: PLR2004  (NewsAPI's own limit)
            raise ValueError("`page_size` must be at most 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class RssConfig:
    """Which RSS and Atom feeds are read, and how."""

    urls: tuple[str, ...]
    timeout_s: float
    attempts: int
    limit_kib: int

    def __post_init__(self) -> None:
        """Refuse knobs that could not work."""
        _check_positive(self, "timeout_s", "attempts", "limit_kib")
        if len(set(self.urls)) != len(self.urls):
            raise ValueError("`urls` names a feed twice")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedsConfig:
    """Where data comes from."""

    twse: ExchangeFeedConfig
    tpex: ExchangeFeedConfig
    newsapi: NewsFeedConfig
    rss: RssConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryConfig:
    """How far back a question may look."""

    sessions: int

    def __post_init__(self) -> None:
        """Refuse an empty history."""
        _check_positive(self, "sessions")


LARGEST_BATCH: Final = 4_096  # more prompts than fit on any GPU at once
MOST_SAMPLES: Final = 256
MOST_PATHS: Final = 64
UNSLOTH_PRECISIONS: Final = frozenset({"auto", "bf16"})


def unsloth_refusal(precision: str) -> str:
    """Why engine unsloth does not answer in `precision`: its own layers read past tokens in a way that is not ours."""
    return f'`engine` "unsloth" answers in bf16: for `precision` "{precision}" take `engine` "transformers"'


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which model answers, and how long it may take."""

    engine: Literal["transformers", "unsloth", "vllm", "openai", "naive"]
    style: Literal["codes", "seed"]
    samples: int
    paths: int | Literal["auto"]
    name: str
    folder: Path
    device: Literal["auto", "cpu", "cuda"]
    past_sessions: int
    future_sessions: int
    batch: int
    timeout_s: float
    trained_until: date
    bands: bool
    adapter: str
    merge: bool
    precision: Literal["auto", "float32", "bf16", "8bit", "4bit"]
    server: ServerConfig

    def __post_init__(self) -> None:
        """Refuse knobs that could not work."""
        _check_positive(self, "past_sessions", "future_sessions", "timeout_s")
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise ValueError(f"`samples` must be between 1 and {MOST_SAMPLES}")
        if isinstance(self.paths, int) and self.paths and not 2 <= self.paths <= MOST_PATHS:  # noqa: PLR2004
            raise ValueError(f'`paths` must be "auto", 0 (along the median alone) or between 2 and {MOST_PATHS}')
        if self.style == "seed" and self.engine not in {"transformers", "unsloth"}:
            raise ValueError('`style` "seed" needs `engine` "transformers" or "unsloth"')
        if self.engine == "unsloth" and self.precision not in UNSLOTH_PRECISIONS:
            raise ValueError(unsloth_refusal(self.precision))
        if not 0 <= self.batch <= LARGEST_BATCH:
            raise ValueError(f"`batch` must be between 0 (as suits the machine) and {LARGEST_BATCH:,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShioajiConfig:
    """What SinoPac's SDK needs beside its secrets."""

    odd_lots: Literal["intraday", "after_hours"]
    ca_path: Path


MOST_CLOSED_RETRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Where orders go."""

    kind: Literal["paper", "stock_api", "shioaji"]
    start_cash_twd: int
    dividends: Literal["auto", "paid", "unpaid"]
    fill_rule: FillRule
    base_url: str
    allow_plain_http: bool
    live: bool
    timeout_s: float
    closed_retries: int
    shioaji: ShioajiConfig

    def __post_init__(self) -> None:
        """Refuse an account that opened with nothing."""
        _check_positive(self, "start_cash_twd", "timeout_s")
        if not 0 <= self.closed_retries <= MOST_CLOSED_RETRIES:
            raise ValueError(f"`closed_retries` must be between 0 and {MOST_CLOSED_RETRIES}")

    @property
    def pays_dividends(self) -> bool:
        """Whether this broker pays cash dividends: paper does, the stock API does not as far as is known."""
        return self.dividends == "paid" or (self.dividends == "auto" and self.kind == "paper")


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestConfig:
    """What `twtrader backtest run` shows and where it writes."""

    fill_rules: tuple[FillRule, ...]
    start_cash_twd: int
    slippage_ticks: int
    volume_share_bps: int
    settlement_sessions: Literal[0, 2]
    reports: Path
    language: Literal["zh-TW", "en", "both"]
    up: Literal["red", "green"]

    def __post_init__(self) -> None:
        """Refuse a report without a fill rule, and fills that no market gives."""
        _check_positive(self, "start_cash_twd")
        if not 0 <= self.slippage_ticks <= 100:  # noqa: PLR2004
            raise ValueError("`slippage_ticks` must be between 0 and 100")
        if not 0 <= self.volume_share_bps <= BPS:
            raise ValueError(f"`volume_share_bps` must be between 0 and {BPS}")
        if not self.fill_rules:
            raise ValueError("`fill_rules` must name at least one rule")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole of config.toml."""

    store: StoreConfig
    universe: UniverseConfig
    clock: ClockConfig
    timetable: Timetable
    feeds: FeedsConfig
    news: MoodRules
    history: HistoryConfig
    model: ModelConfig
    broker: BrokerConfig
    costs: CostRates
    rules: Rules
    limits: Limits
    backtest: BacktestConfig
    sweep: SweepConfig
    train: TrainConfig
    teacher: TeacherConfig

    def __post_init__(self) -> None:
        """Refuse a history too short for a question, and a sweep over what the rule refuses."""
        if self.history.sessions < self.model.past_sessions:
            raise ValueError("`history.sessions` must be at least `model.past_sessions`")
        offset_bps = max(abs(self.rules.buy_offset_bps), abs(self.rules.sell_offset_bps))
        if 0 < self.limits.price_band_bps < offset_bps:
            raise ValueError(
                "`limits.price_band_bps` would refuse every order of `rules.buy_offset_bps`/`sell_offset_bps`"
            )
        check_knobs(self.sweep, self.rules)
