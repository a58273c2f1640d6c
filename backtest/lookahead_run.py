"""From the configuration to the rules under test: what `twtrader backtest lookahead` checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from backtest.forecasters import Forecaster, Stored
from backtest.lookahead import Checked, check
from backtest.run import Asked, Loaded, load, options_of
from backtest.scrambled import Data
from backtest.shipped_rule import ForecastRule
from bot.config import Config
from bot.errors import Refused

MOST_CUTS = 1_000_000


def look_ahead(config: Config, asked: Asked, *, cuts: int, seed: int) -> list[Checked]:
    """Both tests for each forecaster that `backtest run` would score, followed by the config's strategy.

    Raises:
        Refused: as `backtest run`, or `cuts` or `seed` are out of range, or the rule fails on the real data.
    """
    if not 1 <= cuts <= MOST_CUTS:
        raise Refused(f"--cuts {cuts:,} must be between 1 and {MOST_CUTS:,}")
    if not 0 <= seed < 2**63:
        raise Refused(f"--seed {seed} must be between 0 and {2**63 - 1}")
    loaded = load(config, asked)
    checked = []
    for rules, data in _groups(loaded, config):
        checked += check(rules, data, loaded.sessions, cuts=cuts, seed=seed)
    return checked


def _groups(loaded: Loaded, config: Config) -> Iterator[tuple[list[ForecastRule], Data]]:
    """Rules with the data that they read: each stored model has its own, the baselines share the first one's."""
    stored = [one for one in loaded.forecasters if isinstance(one, Stored)]
    others = [one for one in loaded.forecasters if not isinstance(one, Stored)]
    baselines = [_rule(one, lambda _, one=one: one, config) for one in others]  # type: ignore[misc]
    for place, model in enumerate(stored):
        data = Data(history=loaded.history, forecasts=model.by_session, sentiment_bps=model.sentiment_by_session)
        yield [_rule(model, _stored_by(model.name), config), *(() if place else baselines)], data
    if baselines and not stored:
        yield baselines, Data(history=loaded.history)


def _stored_by(name: str) -> Callable[[Data], Forecaster]:
    """The stored answers of one model, as far as the data has them."""
    return lambda data: Stored(name=name, by_session=data.forecasts, sentiment_by_session=data.sentiment_bps)


def _rule(forecaster: Forecaster, made: Callable[[Data], Forecaster], config: Config) -> ForecastRule:
    """The forecaster and what follows it."""
    return ForecastRule(
        name=forecaster.name,
        forecaster=made,
        rules=config.rules,
        # Money that is not settled yet is no part of the portfolio that a cut's decision is taken with.
        options=replace(options_of(config, config.backtest.fill_rules[0]), settlement_sessions=0),
    )
