"""config.toml -> frozen values, once, at start. A missing, unknown or wrong key is refused by name."""

from __future__ import annotations

import dataclasses
import os
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from bot.core.costs import CostRates
from bot.core.decide import Rules
from bot.errors import ConfigError

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which model answers, and how long it may take."""

    engine: Literal["transformers", "naive"]
    name: str
    folder: Path
    device: Literal["auto", "cpu", "cuda"]
    past_sessions: int
    future_sessions: int
    batch: int
    timeout_s: float
    trained_until: date

    def __post_init__(self) -> None:
        """Refuse knobs that could not work."""
        _check_positive(self, "past_sessions", "future_sessions", "timeout_s")
        if not 0 <= self.batch <= LARGEST_BATCH:
            raise ValueError(f"`batch` must be between 0 (as suits the machine) and {LARGEST_BATCH:,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Where orders go."""

    kind: Literal["paper", "stock_api"]
    start_cash_twd: int
    fill_rule: FillRule
    base_url: str
    allow_plain_http: bool
    live: bool
    timeout_s: float

    def __post_init__(self) -> None:
        """Refuse an account that opened with nothing."""
        _check_positive(self, "start_cash_twd", "timeout_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestConfig:
    """What `twtrader backtest run` shows and where it writes."""

    fill_rules: tuple[FillRule, ...]
    start_cash_twd: int
    reports: Path

    def __post_init__(self) -> None:
        """Refuse a report without a fill rule."""
        _check_positive(self, "start_cash_twd")
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
    history: HistoryConfig
    model: ModelConfig
    broker: BrokerConfig
    costs: CostRates
    rules: Rules
    backtest: BacktestConfig

    def __post_init__(self) -> None:
        """Refuse a history too short for a question."""
        if self.history.sessions < self.model.past_sessions:
            raise ValueError("`history.sessions` must be at least `model.past_sessions`")


def load_config(path: Path) -> Config:
    """The configuration in the file at `path`; relative paths in it are taken from the file's folder.

    Raises:
        ConfigError: the file is absent or no TOML, or a key is missing, unknown, of the wrong type or out of range.
    """
    try:
        with path.open("rb") as file:
            told = tomllib.load(file, parse_float=Decimal)
    except FileNotFoundError as absent:
        raise ConfigError(f"{path}: no such file; start from the config.toml of the repository") from absent
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise ConfigError(f"{path}: {wrong}") from wrong
    return config_of(told, path)


def config_of(told: Mapping[str, Any], path: Path) -> Config:
    """The configuration in the parsed TOML `told`; `path` names it in errors and anchors relative paths.

    Raises:
        ConfigError: as `load_config`.
    """
    unknown = _unknown_key(told, Config, "")
    if unknown:
        raise ConfigError(f"{path}: unknown key `{unknown}`")
    try:
        config = msgspec.convert(told, Config, dec_hook=_decode)
    except msgspec.ValidationError as wrong:
        raise ConfigError(f"{path}: {_plain(str(wrong))}") from wrong
    base = path.resolve().parent
    return dataclasses.replace(
        config,
        store=dataclasses.replace(config.store, path=base / config.store.path),
        model=dataclasses.replace(config.model, folder=base / config.model.folder),
        backtest=dataclasses.replace(config.backtest, reports=base / config.backtest.reports),
        universe=dataclasses.replace(
            config.universe, file=str(base / config.universe.file) if config.universe.file else ""
        ),
    )


def secret(name: str) -> str:
    """The secret in the environment variable `name`.

    Raises:
        ConfigError: it is not set.
    """
    value = os.environ.get(name, "")
    if not value:
        raise ConfigError(f"the environment variable {name} is not set")
    return value


def _decode(kind: type, value: Any) -> Any:
    """Paths are the one type here that msgspec does not know."""
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected {kind.__name__}, got {type(value).__name__}")


def _unknown_key(told: Mapping[str, Any], kind: type, prefix: str) -> str | None:
    """The first key in `told` that the dataclass `kind` does not have, with its path."""
    types_of = typing.get_type_hints(kind)
    for key, value in told.items():
        if key not in types_of:
            return prefix + key
        inner = types_of[key]
        if isinstance(value, Mapping) and dataclasses.is_dataclass(inner) and isinstance(inner, type):
            deeper = _unknown_key(value, inner, f"{prefix}{key}.")
            if deeper:
                return deeper
    return None


def _plain(message: str) -> str:
    """The message of msgspec with the key in the user's spelling: `model.batch`, not `$.model.batch`."""
    what, _, where = message.partition(" - at `$.")
    if not where:
        return what.replace("Object missing required field", "missing key")
    table = where.rstrip("`")
    if "missing required field" in what:
        return f"missing key `{table}.{what.split('`')[1]}`"
    return f"`{table}`: {what}"
