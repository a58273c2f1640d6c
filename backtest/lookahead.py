"""Does a rule see the future? Its decisions must not change when what comes after them does.

Tests through the path that a backtest takes (History's as-of reads -> forecasts -> MarketDay -> decision):

*Cuts.* For a random session and stock, everything about that stock after that session is cut, scrambled or replaced,
everything is built anew, and the decision of that session is taken again: its hash, which covers inputs and orders,
must be the same.

*The canary.* The whole market after a session is drawn anew, so that the past says nothing about it. Decisions up to
that session must stay the same, and after it no rule can choose better than chance: one that still does, looks ahead.

*Compiled.* The rule as a sweep compiles it must be worth the same every day as the replay's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from math import sqrt
from typing import Any, Final, Protocol

from backtest.history import History
from backtest.replay import Step
from backtest.scrambled import Data, How, drawn_anew, without_future
from bot.core.decide import Decision, MarketDay
from bot.core.orders import Order
from bot.core.portfolio import Portfolio
from bot.errors import Refused

LEAST_SESSIONS: Final = 4
LEAST_ORDERING: Final = 30  # sessions with orders after the canary's first; with fewer an edge can't be told from none
TOO_GOOD: Final = 5.0  # standard errors; an honest rule on a market without memory passes it once in two million times
BPS: Final = 10_000


class Rule(Protocol):
    """What is tested: all that stands between data and decisions."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def days(self, data: Data, sessions: Sequence[date]) -> Sequence[MarketDay]:
        """What is said after each of `sessions`; everything the rule is made of is made anew from `data`."""

    def day(self, data: Data, session: date, coming: date) -> MarketDay:
        """The same after one session; `coming` is the next."""

    def decide(self, day: MarketDay, held: Portfolio, sessions: Sequence[date]) -> Decision:
        """The orders for the session after `day`; `sessions` are those of the replay, from its first on."""

    def steps(self, data: Data, days: Sequence[MarketDay]) -> Sequence[Step]:
        """A replay over `days`, from cash alone."""

    def compiled_equity_twd(self, data: Data, days: Sequence[MarketDay]) -> Sequence[int]:
        """What the rule compiled for a sweep is worth at the close of each of `days`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A decision that changed with the future. `field` is the first input that did, of `field_of`; "orders": none.

    `seen` and `then` are its values with the real and with the other future; `order` says the first order that
    differs, "" when none does.
    """

    session: date
    symbol: str
    how: str
    field: str
    field_of: str
    seen: str
    then: str
    order: str

    @property
    def line(self) -> str:
        """All of it in one line."""
        whose = f" of {self.field_of}" if self.field_of else ""
        order = f"; first order that differs: {self.order}" if self.order else "; the orders stay the same"
        what = f"`{self.field}`{whose} was {self.seen} and became {self.then}"
        return f"{self.session}: with the data of {self.symbol} {self.how} after that session, {what}{order}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """How the ordered stocks did in the next session against all: bought ones up, sold ones down is good.

    `mean_bps` and `errors` (the mean in its standard errors) are over sessions; None with too few of them.
    """

    sessions: int
    orders: int
    mean_bps: float | None
    errors: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """What became of the rule on a market drawn anew after `after`. `changed` is the first decision that differs."""

    after: date
    real: Edge
    shuffled: Edge
    changed: date | None

    @property
    def sings(self) -> bool:
        """Whether nothing is wrong."""
        return self.changed is None and abs(self.shuffled.errors or 0.0) < TOO_GOOD

    @property
    def line(self) -> str:
        """What it says."""
        if self.changed:
            return f"the decision of {self.changed} changed with the market after {self.after}"
        if self.shuffled.mean_bps is None or self.shuffled.errors is None:
            few = f"only {self.shuffled.sessions} sessions with orders after {self.after}"
            return f"{few}: an edge can't be told from none"
        real = "" if self.real.mean_bps is None else f" ({self.real.mean_bps:+.1f} bps on the real one)"
        told = f"{self.shuffled.mean_bps:+.1f} bps an order and session, {self.shuffled.errors:+.1f} standard errors"
        return f"on a market drawn anew after {self.after} the orders earn {told}{real}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The outcome for one rule."""

    rule: str
    first: date
    last: date
    stocks: int
    cuts: int
    seed: int
    leaks: tuple[Leak, ...]
    canary: Canary
    compiled_differs: date | None

    @property
    def clean(self) -> bool:
        """Whether no test found anything."""
        return not self.leaks and self.canary.sings and self.compiled_differs is None

    @property
    def verdict(self) -> str:
        """One line: all is well, or the first thing that is not."""
        if self.leaks:
            found = f"{len(self.leaks)} of {self.cuts} cuts changed a decision"
            return f"{self.rule} looks ahead: {found}; {self.leaks[0].line}"
        if self.compiled_differs:
            differs = f"compiled it is worth something else from {self.compiled_differs} on than as plain Python"
            return f"{self.rule} looks ahead: {differs}: it reads beyond the one session that it is handed"
        if not self.canary.sings:
            return f"{self.rule} looks ahead: {self.canary.line}"
        return (
            f"{self.rule}: {self.cuts} of {self.cuts} decisions stay the same with another future; {self.canary.line}"
        )

    def facts(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self) | {"clean": self.clean, "verdict": self.verdict, "identical": self.cuts - len(self.leaks)}


def check(
    rules: Sequence[Rule], data: Data, sessions: Sequence[date], *, cuts: int, seed: int, compiled: bool = True
) -> list[Checked]:
    """All tests of each of `rules` over `sessions` of `data`; they share the cuts.

    `compiled` off leaves out the third: numba takes some 10 s for a strategy that it has not seen before.

    Raises:
        Refused: too few sessions, or a rule fails on the real data already.
    """
    if len(sessions) < LEAST_SESSIONS:
        raise Refused(f"{len(sessions)} sessions are too few to look for look-ahead: at least {LEAST_SESSIONS}")
    chance = random.Random(seed)  # noqa: S311  (a test's seed, no secret)
    played = [_real_steps(rule, data, sessions, compiled=compiled) for rule in rules]
    steps = [one for one, _ in played]
    leaks = _leaks(rules, data, sessions, steps, _cuts(data.history, sessions, cuts, chance), chance)
    after = sessions[chance.randrange(len(sessions) // 4, len(sessions) // 2)]
    other = drawn_anew(data, after, chance)
    return [
        Checked(
            rule=rule.name,
            first=sessions[0],
            last=sessions[-1],
            stocks=len(data.history.symbols),
            cuts=cuts,
            seed=seed,
            leaks=tuple(found),
            canary=_canary(rule, data.history, other, sessions, own, after),
            compiled_differs=differs,
        )
        for rule, (own, differs), found in zip(rules, played, leaks, strict=True)
    ]


def _real_steps(
    rule: Rule, data: Data, sessions: Sequence[date], *, compiled: bool
) -> tuple[Sequence[Step], date | None]:
    """The rule's replay of what really came, and the first session at which the compiled one is worth something else.

    A strategy is handed the numbers of one session. In plain Python there is nothing beyond them; compiled, an index
    that is too large reads the next session's.

    Raises:
        Refused: it fails, as a strategy does that reads beyond the one session it is handed.
    """
    try:
        days = rule.days(data, sessions)
        steps = rule.steps(data, days)
    except (IndexError, KeyError, TypeError, ZeroDivisionError) as error:
        raise Refused(f"{rule.name} fails on the real data: {type(error).__name__}: {error}") from error
    if not compiled:
        return steps, None
    line = rule.compiled_equity_twd(data, days)[1:]
    differs = (one.session for one, worth_twd in zip(steps, line, strict=True) if one.equity_twd != worth_twd)
    return steps, next(differs, None)


# --- cuts -----------------------------------------------------------------------------------------------------


def _cuts(history: History, sessions: Sequence[date], count: int, chance: random.Random) -> list[tuple[int, str, How]]:
    """`count` sessions by their place, each with a stock that has a bar afterwards, and what becomes of it."""
    last_of = {symbol: history.series(symbol).sessions[-1] for symbol in history.symbols}
    hows = list(How)
    found = []
    for number in range(count):
        place = chance.randrange(len(sessions) - 1)
        later = [symbol for symbol, last in last_of.items() if last > sessions[place]]
        found.append((place, chance.choice(later), hows[number % len(hows)]))
    return found


def _leaks(
    rules: Sequence[Rule],
    data: Data,
    sessions: Sequence[date],
    steps: Sequence[Sequence[Step]],
    cuts: Sequence[tuple[int, str, How]],
    chance: random.Random,
) -> list[list[Leak]]:
    """For each rule the cuts that change its decision of their session. What was held then is what its replay held."""
    found: list[list[Leak]] = [[] for _ in rules]
    for place, symbol, how in cuts:
        session, coming = sessions[place], sessions[place + 1]
        other = without_future(data, symbol, session, coming, how, chance)
        if coming not in other.history.sessions:  # nothing else traded then, and a calendar is no secret
            other = without_future(data, symbol, session, coming, How.REPLACED, chance)
        for rule, own, leaks in zip(rules, steps, found, strict=True):
            leak = _leak(rule, data, other, sessions, own, place, symbol, how)
            if leak:
                leaks.append(leak)
    return found


def _leak(
    rule: Rule,
    data: Data,
    other: Data,
    sessions: Sequence[date],
    steps: Sequence[Step],
    place: int,
    symbol: str,
    how: How,
) -> Leak | None:
    """What changed in the decision after session number `place` with the `other` future; None when nothing did."""
    session, coming = sessions[place], sessions[place + 1]
    held = steps[place - 1].held if place else _start(steps)
    try:
        changed = rule.decide(rule.day(other, session, coming), held, sessions)
    except Exception as error:  # noqa: BLE001  (a rule of the user's that stumbles over the cut has looked there)
        return _stumbled(session, symbol, how, error)
    if changed.sha256 == steps[place].decision_sha256:
        return None
    return _difference(symbol, how, rule.decide(rule.day(data, session, coming), held, sessions), changed)


def _start(steps: Sequence[Step]) -> Portfolio:
    """What the replay began with."""
    return Portfolio(cash_twd=steps[0].held.cash_twd - sum(fill.cash_change_twd for fill in steps[0].fills))


def _stumbled(session: date, symbol: str, how: How, error: Exception) -> Leak:
    return Leak(
        session=session,
        symbol=symbol,
        how=how,
        field="a decision",
        field_of="",
        seen="taken",
        then=f"{type(error).__name__}: {error}",
        order="",
    )


def _difference(symbol: str, how: How, real: Decision, other: Decision) -> Leak:
    """What differs first between two decisions that should be the same."""
    name, whose, seen, then = _first_input(real.inputs, other.inputs)
    return Leak(
        session=real.session,
        symbol=symbol,
        how=how,
        field=name,
        field_of=whose,
        seen=seen,
        then=then,
        order=_first_order(real.orders, other.orders),
    )


def _first_input(real: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Name, stock and both values of the first input that differs; ("orders", ...) where all are the same."""
    symbols = real["day"]["symbols"]
    for table, told in real.items():
        for name, value in told.items():
            then = other.get(table, {}).get(name)
            if then == value:
                continue
            if isinstance(value, list) and isinstance(then, list) and len(value) == len(then) == len(symbols):
                at = next(place for place in range(len(value)) if value[place] != then[place])
                return name, symbols[at], str(value[at]), str(then[at])
            return name, "", str(value), str(then)
    return "orders", "", "the same inputs, other orders", "these"


def _first_order(real: Sequence[Order], other: Sequence[Order]) -> str:
    """The first order that only one of the two has; "" where they are the same."""
    for one in real:
        if one not in other:
            return f"{_told(one)} is not ordered any more"
    for one in other:
        if one not in real:
            return f"{_told(one)} is ordered then"
    return ""


def _told(order: Order) -> str:
    return f"{order.side} {order.shares:,} {order.symbol} at {order.limit_x100 / 100:.2f} ({order.reason})"


# --- the canary -----------------------------------------------------------------------------------------------


def _canary(
    rule: Rule, history: History, other: Data, sessions: Sequence[date], steps: Sequence[Step], after: date
) -> Canary:
    """`rule` on the `other` market, which is the real one up to `after`."""
    shuffled = rule.steps(other, rule.days(other, sessions))
    changed = (
        ours.decided
        for ours, theirs in zip(steps, shuffled, strict=True)
        if ours.decided <= after and ours.decision_sha256 != theirs.decision_sha256
    )
    return Canary(
        after=after,
        real=edge(history, [step for step in steps if step.decided > after]),
        shuffled=edge(other.history, [step for step in shuffled if step.decided > after]),
        changed=next(changed, None),
    )


def edge(history: History, steps: Sequence[Step]) -> Edge:
    """What the orders of `steps` would have earned in the next session, close to close, over all stocks' mean.

    Each session's orders count as one observation, for their stocks move together.
    """
    earned, orders = [], 0
    for step in steps:
        if step.orders:
            moves = _moves(history, step.decided, step.session)
            told = [one for one in step.orders if one.symbol in moves]
            if told:
                mean = sum(moves.values()) / len(moves)
                gains = [(moves[one.symbol] - mean) * (1 if one.signed_shares > 0 else -1) for one in told]
                earned.append(sum(gains) / len(gains))
                orders += len(told)
    if len(earned) < LEAST_ORDERING:
        return Edge(sessions=len(earned), orders=orders, mean_bps=None, errors=None)
    mean = sum(earned) / len(earned)
    variance = sum((one - mean) ** 2 for one in earned) / (len(earned) - 1)
    errors = mean / sqrt(variance / len(earned)) if variance else None
    return Edge(sessions=len(earned), orders=orders, mean_bps=mean * BPS, errors=errors)


def _moves(history: History, today: date, tomorrow: date) -> dict[str, float]:
    """Each stock's move from close to close, of those that traded on both days."""
    before, after = history.bars(today), history.bars(tomorrow)
    closes, next_closes = history.closes_x100(today), history.closes_x100(tomorrow)
    return {symbol: next_closes[symbol] / closes[symbol] - 1 for symbol in before if symbol in after}
