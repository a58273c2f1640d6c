"""Which stored answers a backtest takes: to whose questions, about which bars, from which side of a cutoff."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from backtest.forecasters import Stored
from backtest.history import History
from bot.adapters.askers import OF_FOLDER, OF_STORE, Asker, Said, counting
from bot.adapters.sqlite_market import MarketStore
from bot.config import Config
from bot.core.forecast import Forecast
from bot.errors import Refused

if TYPE_CHECKING:
    from backtest.run import Asked


def said_of(store: MarketStore | None, config: Config, asked: Asked) -> list[Said]:
    """The stored answers of the models asked for.

    Raises:
        Refused: there are none though they were asked for.
    """
    if store is None or not asked.reads_forecasts:
        return []
    found = _targets(store, config, asked, masked=False)
    told = [one for one in found if asked.model is None or one.forecast.model.startswith(asked.model)]
    if not told and (asked.forecaster == "stored" or asked.model):
        raise Refused(_none_found(config, asked, sorted({one.forecast.model for one in found})))
    return told


def _targets(store: MarketStore, config: Config, asked: Asked, *, masked: bool) -> list[Said]:
    return store.answers.targets(
        since=asked.since or date.min,
        until=asked.until or date.max,
        past_sessions=config.model.past_sessions,
        future_sessions=config.model.future_sessions,
        askers=_askers(asked),
        masked=masked,
    )


def _askers(asked: Asked) -> tuple[Asker, ...]:
    return OF_STORE if asked.data is None else OF_FOLDER


def cutoffs_of(said: Iterable[Said], config: Config) -> dict[str, date]:
    """By model the last day that it can know of: the latest that any of its answers, or the config about it, says."""
    found: dict[str, date] = {}
    for one in said:
        model = one.forecast.model
        ours = model.startswith(f"{config.model.name}@")
        least = found.get(model, config.model.trained_until if ours else date.min)
        found[model] = max(least, one.forecast.trained_until)
    return found


def allowed(said: Sequence[Said], cutoffs: Mapping[str, date], asked: Asked) -> tuple[Sequence[Said], list[str]]:
    """The answers that may be scored, and a note on those left out.

    With `known_too` all are: the caller marks what the models may know. Without it and without --from, answers from
    before their model's last training day are left out and the period starts after them; with --from, the user asked
    for those very days.

    Raises:
        Refused: a model saw days that it is asked for.
    """
    if asked.known_too:
        return said, []
    clean = [one for one in said if cutoffs[one.forecast.model] <= one.forecast.as_of]
    if len(clean) == len(said):
        return said, []
    seen = next(one.forecast for one in said if cutoffs[one.forecast.model] > one.forecast.as_of)
    free_from = max(cutoffs.values())
    line = f"{seen.model} was trained until {cutoffs[seen.model]}: its forecasts as of {seen.as_of} and other sessions"
    if asked.since or not clean:
        raise Refused(f"{line} before that can't be scored; ask with --from {free_from} or later")
    return clean, [f"{line} before that are left out"]


def of_these_bars(said: Sequence[Said], history: History, asked: Asked) -> tuple[list[Forecast], list[str]]:
    """The answers that count for these bars, and a note on those that are about others.

    Raises:
        Refused: all of them are, though they were asked for.
    """
    told = counting(said, _askers(asked), history.close_x100)
    lost = len(counting(said, _askers(asked))) - len(told)
    if not lost:
        return told, []
    line = f"{lost} stored forecasts were told after other closes than these bars have: they are of another market"
    if not told and asked.forecaster == "stored":
        raise Refused(f"{line}; `twtrader backtest fill` asks about these")
    return told, [f"{line}, and left out"]


def masked_of(
    store: MarketStore | None, config: Config, asked: Asked, history: History, cutoffs: Mapping[str, date]
) -> dict[str, Stored]:
    """By model its answers to masked questions about these bars.

    Raises:
        Refused: there are none.
    """
    said = _targets(store, config, asked, masked=True) if store is not None else []
    told = counting((one for one in said if one.forecast.model in cutoffs), _askers(asked), history.close_x100)
    if not told:
        raise Refused("no masked answers of these models and sessions: `twtrader backtest fill --masked` asks for them")
    by_model: dict[str, dict[date, dict[str, Forecast]]] = {}
    for one in told:
        by_model.setdefault(one.model, {}).setdefault(one.as_of, {})[one.symbol] = one
    return {model: Stored(name=model, by_session=by_session) for model, by_session in by_model.items()}


def _none_found(config: Config, asked: Asked, models: Sequence[str]) -> str:
    """Why no forecast was found, in one line."""
    days = f"{asked.since or 'the beginning'}..{asked.until or 'the end'}"
    window = f"{config.model.past_sessions} past and {config.model.future_sessions} future sessions"
    whose = f" of a model named {asked.model}" if asked.model else ""
    there = f"; there are forecasts of {', '.join(models)}" if models else ""
    return f"{config.store.path.name}: no stored forecasts{whose} in {days} with {window}{there}"
