"""18:20: the session's decision, journalled with its orders before anything leaves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final

from bot.calendar import calendar_of
from bot.config import Config
from bot.core.decide import MarketDay, decide, held_back
from bot.core.exrights import references_x100
from bot.core.portfolio import Portfolio, as_if_bought, unsettled_twd
from bot.core.rule import FORECAST_EDGE
from bot.core.sessions import LONGEST_BREAK_DAYS, next_session, sessions_since
from bot.exrights_fetch import known_events
from bot.forecast_view import along_the_median
from bot.moods import evening_moods
from bot.stages.stage import Outcome, Ports
from bot.strategies.registry import find_strategy

TOLD_BACK: Final = 5  # stocks that were not bought, by name


def decide_orders(session: date, ports: Ports, config: Config) -> Outcome:
    """Take the session's decision and journal it, orders included, before anything leaves."""
    if ports.journal.decision_sha256(session) is None:
        day = market_day(session, ports, config)
        waiting = [one.order for one in ports.journal.orders.open()]
        held = as_if_bought(ports.journal.portfolio(), waiting, config.costs)
        decision = decide(
            day,
            held,
            config.rules,
            config.costs,
            held_sessions=_held_sessions(session, held, ports),
            unsettled_twd=_unsettled_twd(session, ports),
            strategy=find_strategy(config.rules.strategy),
        )
        ports.journal.record_decision(decision, ports.clock.now())
    planned = [one for one in ports.journal.orders.select() if one.order.decided == session]
    buys = sum(one.order.signed_shares > 0 for one in planned)
    kept = _held_back(session, ports, config)
    unsure = "" if _is_settled(session, ports) else "; the book is not settled, so nothing is traded"
    return Outcome(outcome="done", detail=f"{buys} to buy, {len(planned) - buys} to sell{kept}{unsure}")


def _held_back(session: date, ports: Ports, config: Config) -> str:
    """In words, which stocks the forecast speaks for and how sure it is speaks against; "" where that is not asked."""
    rules, inputs = config.rules, ports.journal.decision_inputs(session)
    if inputs is None or rules.strategy != FORECAST_EDGE or not (rules.min_p_up_bps or rules.edge_from_low):
        return ""
    told = [f"{symbol} {why}" for symbol, why in held_back(inputs).items()]
    more = f" and {len(told) - TOLD_BACK} more" if len(told) > TOLD_BACK else ""
    back = f"; not bought: {', '.join(told[:TOLD_BACK])}{more}" if told else ""
    return back + _too_sure(session, ports, config)


def _too_sure(session: date, ports: Ports, config: Config) -> str:
    """In words, that the bands which the rule goes by are too narrow; "" where they are not, or there are none."""
    window = config.model
    model = ports.market.model_of(session, window.past_sessions, window.future_sessions)
    if model is None or window.future_sessions == 1 or not along_the_median(model):
        return ""
    told = ports.market.forecasts(
        as_of=session, model=model, past_sessions=window.past_sessions, future_sessions=window.future_sessions
    )
    if not any(one.bands for one in told.values()):
        return ""
    return "; bands and P(up) were read along the median alone and are too sure: set model.paths (docs/bands.md)"


def _held_sessions(session: date, held: Portfolio, ports: Ports) -> dict[str, int]:
    """At how many closes each position was held, the opening fill's session counted."""
    since = {symbol: position.since or session for symbol, position in held.positions.items()}
    if not since:
        return {}
    newest_first = sessions_since(min(since.values()), session, ports.clock.now(), calendar_of(ports))
    return {symbol: sum(one >= first for one in newest_first) for symbol, first in since.items()}


def _unsettled_twd(session: date, ports: Ports) -> int:
    """The part of the cash that sales brought too lately to be spent."""
    wait = ports.broker.abilities.settlement_sessions
    if not wait:
        return 0
    newest_first = sessions_since(
        session - timedelta(days=LONGEST_BREAK_DAYS), session, ports.clock.now(), calendar_of(ports)
    )
    return unsettled_twd(ports.journal.orders.fills(), newest_first[:wait])


def _is_settled(session: date, ports: Ports) -> bool:
    """Whether the broker's book was read and compared this session."""
    run = ports.journal.stages.find(session, "settle")
    return run is not None and run.outcome == "done"


def _blocked(session: date, symbols: Iterable[str], ports: Ports) -> frozenset[str]:
    """Stocks to keep hands off: an order's fate is open, or book and journal disagree. All, while that is unknown."""
    if not _is_settled(session, ports):
        return frozenset(symbols)
    return frozenset({*(one.order.symbol for one in ports.journal.orders.open()), *ports.journal.unexplained()})


def market_day(session: date, ports: Ports, config: Config) -> MarketDay:
    """All that is known after the close of `session`."""
    known = {*ports.journal.portfolio().positions, *(one.order.symbol for one in ports.journal.orders.open())}
    symbols = sorted({*(one.symbol for one in ports.companies), *known})
    model = ports.market.model_of(session, config.model.past_sessions, config.model.future_sessions)
    forecasts = {}
    if model is not None:
        forecasts = ports.market.forecasts(
            as_of=session,
            model=model,
            past_sessions=config.model.past_sessions,
            future_sessions=config.model.future_sessions,
        )
    events = [one for many in known_events(ports, session, config.history.sessions).values() for one in many]
    moods = evening_moods(ports.market.db, session, model, ports.clock.now(), config) if model else {}
    ours = {one.symbol for one in ports.companies}
    return MarketDay(
        session=session,
        reference_x100=references_x100(events, session, next_session(session, ports.clock.now(), calendar_of(ports))),
        bars={symbol: bar for symbol, bar in ports.market.bars_of(session).items() if symbol in symbols},
        closes_x100=ports.market.last_closes(symbols, until=session),
        forecasts=forecasts,
        sentiment_bps={symbol: mood.score_bps for symbol, mood in moods.items() if symbol in ours},
        blocked=_blocked(session, symbols, ports),
    )
