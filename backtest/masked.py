"""Plain against masked answers of one model: what it loses, or does otherwise, when it isn't told whom and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any, Final

from backtest.forecasters import Stored
from backtest.history import History
from backtest.kernel import Options
from backtest.knowledge import CONTAMINATED, LABELS, PartName, Player, known_sessions, part_of, rows_of
from backtest.replay import market_days, replay
from backtest.score import Score
from backtest.tape import Tape
from backtest.told import told_by
from bot.core.decide import decide
from bot.core.exrights import ExRight
from bot.core.forecast import Forecast
from bot.core.orders import Order
from bot.core.portfolio import Portfolio
from bot.core.rule import Rules

MEANING: Final = (
    "A masked question hides name, code and day and nothing else. Where the plain answers earn more, above all before "
    "the cutoff, the model may remember these stocks and days instead of reading the prices. Where they don't, that "
    "proves nothing: a known path of prices may be recognised without a name, and a name may tell something honest, "
    "like the branch of industry. Some decisions differ between any two wordings of one question."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedPart:
    """The scores of both over some of the sessions, and how many evenings' decisions differ.

    Decisions are compared evening by evening, both taken with the book of the plain answers: what is to be bought and
    sold, whatever the shares. `ordering` are the evenings on which either orders something.
    """

    name: PartName
    first: date
    last: date
    plain: tuple[Score, ...]
    masked: tuple[Score, ...]
    evenings: int
    ordering: int
    differing: int

    def facts(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        return asdict(self) | {
            "label": LABELS[self.name],
            "contaminated": self.name in CONTAMINATED,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "differing_share": self.differing / self.evenings if self.evenings else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedBeside:
    """One model with and without masks, over the `pairs` of stock and session that have both; `alone` have one only."""

    forecaster: str
    trained_until: date
    pairs: int
    alone: int
    parts: tuple[MaskedPart, ...]

    def facts(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        told: dict[str, Any] = {"forecaster": self.forecaster, "trained_until": self.trained_until.isoformat()}
        told |= {"pairs": self.pairs, "alone": self.alone, "meaning": MEANING}
        return told | {"parts": [part.facts() for part in self.parts]}


@dataclass(frozen=True, kw_only=True, eq=False)
class Market:
    """What both are played on."""

    history: History
    tape: Tape
    events: Sequence[ExRight]
    rules: Rules
    options: Options
    player: Player


def masked_beside(plain: Stored, masked: Stored, trained_until: date, market: Market) -> MaskedBeside | None:
    """The comparison; None when no stock and session has both answers."""
    decided = set(market.tape.sessions[:-1])
    ours, theirs = _keys(plain, decided), _keys(masked, decided)
    both = ours & theirs
    if not both:
        return None
    plain, masked = _only(plain, both), _only(masked, both)
    sessions = market.tape.sessions
    tapes = [told_by(one, market.tape, market.history, known_too=True) for one in (plain, masked)]
    wished = list(zip(*(_wishes(plain, masked, market)), strict=True))
    clean = known_sessions(sessions, trained_until)
    parts = []
    for name, (first, last) in rows_of(sessions, trained_until).items():
        if name != "all" and not 0 < clean < len(sessions) - 1:
            continue  # it is all there is
        scores = [market.player.scores(part_of(tape, first, last), plain.name) for tape in tapes]
        some = wished[first:last]
        part = MaskedPart(
            name=name,
            first=sessions[first],
            last=sessions[last],
            plain=scores[0],
            masked=scores[1],
            evenings=len(some),
            ordering=sum(bool(one or other) for one, other in some),
            differing=sum(one != other for one, other in some),
        )
        parts.append(part)
    return MaskedBeside(
        forecaster=plain.name,
        trained_until=trained_until,
        pairs=len(both),
        alone=len(ours ^ theirs),
        parts=tuple(parts),
    )


Wish = frozenset[tuple[str, str]]


def _wishes(plain: Stored, masked: Stored, market: Market) -> tuple[list[Wish], list[Wish]]:
    """What both want bought and sold after each session but the last, with the book that the plain answers lead to."""
    sessions = market.tape.sessions
    # These decisions are compared and thrown away: what guards those that trade would refuse a known session's.
    days = [market_days(market.history, sessions, _dated(one), market.events) for one in (plain, masked)]
    options = replace(market.options, settlement_sessions=0)
    held, place = Portfolio(cash_twd=options.start_cash_twd), {session: row for row, session in enumerate(sessions)}
    ours, theirs = [], []
    for row, step in enumerate(replay(market.history, days[0], market.rules, options, market.events)):
        ages = {symbol: row + 1 - place[one.since] for symbol, one in held.positions.items() if one.since is not None}
        other = decide(days[1][row], held, market.rules, options.costs, held_sessions=ages, strategy=options.strategy)
        ours.append(_wish(step.orders))
        theirs.append(_wish(other.orders))
        held = step.held
    return ours, theirs


def _wish(orders: Sequence[Order]) -> Wish:
    return frozenset((order.symbol, str(order.side)) for order in orders)


def _dated(told: Stored) -> Stored:
    """The same answers as if each were of a model that knows nothing after it."""
    by_session = {
        session: {symbol: replace(one, trained_until=date.min) for symbol, one in forecasts.items()}
        for session, forecasts in told.by_session.items()
    }
    return replace(told, by_session=by_session)


def _keys(told: Stored, decided: AbstractSet[date]) -> set[tuple[date, str]]:
    """Each session after which something was decided, with each stock that has an answer."""
    return {(session, symbol) for session, found in told.by_session.items() if session in decided for symbol in found}


def _only(told: Stored, keys: set[tuple[date, str]]) -> Stored:
    by_session: dict[date, Mapping[str, Forecast]] = {
        session: {symbol: one for symbol, one in forecasts.items() if (session, symbol) in keys}
        for session, forecasts in told.by_session.items()
    }
    return replace(told, by_session=by_session)
