"""A small market with forecasts that make the rule trade, for tests of sweeps and walk-forwards."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numba
from builders import RATES, config, days
from markets import RULES, random_market

from backtest.forecasters import flat_forecast
from backtest.history import History, Known
from backtest.kernel import Options
from backtest.replay import market_days
from backtest.sweep import Sweep
from backtest.sweep_job import Job, tape_digest
from backtest.sweep_space import space_of
from backtest.tape import Tape, tape_of
from bot.config import Config
from bot.core.forecast import Forecast
from bot.sweep_config import KnobRange, SweepConfig, WalkForwardConfig

# Hundreds of small chunks: threads that wait for one another cost more than they do, most of all beside other tests.
numba.set_num_threads(1)

CODES = ("2317", "2330", "2382", "2454", "3008", "2412")
CASH_TWD = 50_000_000
FILL_RULES = ("open", "range", "touch")
KNOBS: dict[str, Any] = {
    "top_k": (1, 2, 4),
    "entry_edge_bps": KnobRange(low=0, high=200, step=100),
    "stop_bps": (0, 300),
}


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """A forecaster that guesses within 5 % of the close, by lot from the stock, the day and its seed."""

    seed: int = 0
    name: str = "guesses"

    def forecasts(self, known: Known) -> Mapping[str, Forecast]:
        told = {}
        for symbol, one in known.bars.items():
            chance = random.Random(f"{self.seed} {symbol} {known.session}")
            close = (one.close * Decimal(str(round(1 + chance.uniform(-0.05, 0.05), 4)))).quantize(Decimal("0.01"))
            told[symbol] = flat_forecast(one, close, self.name, 1)
        return told

    def sentiment_bps(self, session: date) -> Mapping[str, int]:
        return {}

    def digest(self) -> str:
        return f"{self.name}{self.seed}"


def history(sessions: int = 120) -> History:
    return random_market(CODES, days(date(2024, 1, 2), sessions))


def tape(sessions: int = 120, market: History | None = None) -> Tape:
    market = market or history(sessions)
    return tape_of(market, market_days(market, market.sessions, Guesses()), RATES)


def options(fill_rule: str = "open", **more: Any) -> Options:
    return Options(fill_rule=fill_rule, start_cash_twd=CASH_TWD, costs=RATES, **more)


def job(on: Tape | None = None) -> Job:
    return Job(tape=on or tape(), options=tuple(options(rule) for rule in FILL_RULES), year_sessions=245.0)


def sweep_config(**changes: Any) -> SweepConfig:
    told: dict[str, Any] = {
        "method": "grid", "sets": 100, "seed": 7, "chunk": 5, "most_sets": 10_000, "objective": "return",
        "walk_forward": WalkForwardConfig(train_sessions=40, trade_sessions=15), "knobs": KNOBS,
    }  # fmt: skip
    return SweepConfig(**{**told, **changes})


def sweep(folder: Path, on: Tape | None = None, guided: int = 0, **changes: Any) -> Sweep:
    """A sweep over the small market whose files go to `folder`."""
    on = on or tape()
    settings = sweep_config(**changes)
    told: Config = dataclasses.replace(config(folder), sweep=settings, rules=RULES)
    return Sweep(
        config=told,
        space=space_of(RULES, settings),
        job=job(on),
        forecaster="guesses",
        data_sha256=tape_digest(on),
        notes=(),
        guided=guided,
    )


class Silent:
    """A watch that only counts."""

    def __init__(self) -> None:
        self.total = self.before = self.done = 0

    def start(self, total: int, done: int) -> None:
        self.total, self.before = total, done

    def add(self, sets: int) -> None:
        self.done += sets
