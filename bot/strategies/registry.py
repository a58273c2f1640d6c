"""From the name in `rules.strategy` to the strategy, tried out before anything trusts it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

from bot.core.rule import (
    NO_P_UP,
    NO_SENTIMENT,
    Book,
    Knobs,
    Orders,
    Plan,
    Purse,
    Rates,
    Strategy,
    View,
    plan_orders,
    rank_edges,
    strategy_name,
)
from bot.errors import ConfigError

PARAMETERS: Final = tuple(inspect.signature(plan_orders).parameters)
# A stock that gains, one that falls and is held, one that is held and did not trade.
_TRIAL: Final = {
    "close_x100": [100_00, 50_00, 20_00],
    "target_x100": [110_00, 40_00, 0],
    "tradable": [1, 1, 0],
    "held": [0, 2_000, 1_000],
}


@cache
def find_strategy(told: str) -> Strategy:
    """The strategy that `rules.strategy` names: one of ours, a module by its dotted name, or a .py file.

    Raises:
        ConfigError: there is no such module, or its `plan` is not a function of PARAMETERS that does what one must.
    """
    module = _module(told)
    plan = getattr(module, "plan", None)
    if not isinstance(plan, FunctionType):
        raise ConfigError(f"strategy {told!r}: {module.__name__} has no function `plan`")
    names = tuple(inspect.signature(plan).parameters)
    if names != PARAMETERS:
        raise ConfigError(f"strategy {told!r}: plan({', '.join(names)}) must be plan({', '.join(PARAMETERS)})")
    reasons = getattr(module, "REASONS", {})
    if not isinstance(reasons, dict) or not all(isinstance(one, int) for one in reasons):
        raise ConfigError(f"strategy {told!r}: REASONS must be a dict from the numbers that `plan` writes to words")
    problem = _problem(plan)
    if problem:
        raise ConfigError(f"strategy {told!r}: {problem}")
    return Strategy(name=strategy_name(told), plan=plan, reasons=reasons)


def _module(told: str) -> ModuleType:
    """The module behind the name."""
    if told.endswith(".py"):
        return _from_file(told)
    dotted = told if "." in told else f"bot.strategies.{told}"
    try:
        return importlib.import_module(dotted)
    except ImportError as wrong:
        raise ConfigError(f"no strategy {told!r}: {wrong}") from wrong
    except Exception as wrong:  # whatever a user's module does while it is read
        raise ConfigError(f"strategy {told!r}: {type(wrong).__name__}: {wrong}") from wrong


def _from_file(told: str) -> ModuleType:
    """The module in a user's file, known under a name of its own."""
    path = Path(told)
    name = f"twtrader_strategy_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"no strategy {told!r}: no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as wrong:
        del sys.modules[name]
        raise ConfigError(f"strategy {told!r}: {type(wrong).__name__}: {wrong}") from wrong
    return module


def _problem(plan: Plan) -> str:
    """What is wrong with what `plan` does on a market of three stocks; "" when nothing is."""
    try:
        first, second = _tried(plan), _tried(plan)
    except Exception as wrong:  # noqa: BLE001  (whatever a user's function does)
        return f"plan fails on a trial market: {type(wrong).__name__}: {wrong}"
    if first != second:
        return "plan is not a function of its arguments: two calls gave two answers"
    count, orders = first
    if not isinstance(count, int) or not 0 <= count <= len(orders.stock):
        return f"plan must return the number of its orders, not {count!r}"
    stocks = orders.stock[:count]
    if len(set(stocks)) != count or not set(stocks) <= {0, 1, 2}:
        return f"plan must order each stock once at most, by its place: it ordered {stocks}"
    for i, shares in zip(stocks, orders.shares, strict=False):
        if not isinstance(shares, int) or shares < -_TRIAL["held"][i]:
            return f"plan sells {-shares} of {_TRIAL['held'][i]} shares"
    return ""


def _tried(plan: Plan) -> tuple[Any, Orders]:
    close = list(_TRIAL["close_x100"])
    n = len(close)
    view = View(
        close_x100=close,
        coming_x100=list(close),
        limit_up_x100=[price * 11 // 10 for price in close],
        limit_down_x100=[price * 9 // 10 for price in close],
        tradable=list(_TRIAL["tradable"]),
        target_x100=list(_TRIAL["target_x100"]),
        sentiment_bps=[NO_SENTIMENT] * n,
        edge_e8=[0] * n,
        ranked=[0] * n,
        etf=[0] * n,
        tax_e8=[300_000] * n,
        p_up_bps=[NO_P_UP] * n,
        band_low_x100=[0] * n,
        low_edge_e8=[0] * n,
        low_ranked=[0] * n,
        banded=0,
    )
    rates = Rates(142_500, 20)
    rank_edges(view, rates)
    held = list(_TRIAL["held"])
    book = Book(held=[1, 2, 0], shares=held, cost_twd=[0, 110_000, 20_000], opened=[0, -5, -9])
    rules = Knobs(5, 50, -50, 800, -2_000, -6_000, 9_500, 20_000_000, 0, 0, 1_000, 0, 0, 0, 0)
    orders = Orders([0] * n, [0] * n, [0] * n, [0] * n)
    count = plan(0, view, book, 2, Purse(10_120_000, 10_000_000), rates, rules, orders)
    return count, orders
