"""The recorded live days played again by the ledger: the same decision hashes, and the same book to the dollar.

The replay starts with the account's cash and carries its own book: of each recorded decision it takes what was known
of the market and of the model, and puts its own cash and shares in the place of the recorded ones. What a replay can't
know (an order that never reached the market, shares that a person took in) it takes from the journal, and says so.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np

from backtest.history import History
from backtest.kernel import Options, empty_accounts, plain_tables
from backtest.replay import held_stocks, portfolio_of, trade
from backtest.tape import Ints, Tape, market_tape
from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_journal import Journal, JournalOrder
from bot.adapters.sqlite_market import MarketStore
from bot.config import Config
from bot.core.cash import Adjustment, CashEvent, apply_adjustment
from bot.core.decide import Decision, decision_from, strategy_of
from bot.core.dividends import per_share_e8
from bot.core.exrights import ExRight
from bot.core.ledger import CASH, HOLDINGS, LOG_WIDTH, ONE_E8, UNSETTLED, Account, Track, account_of
from bot.core.orders import Order, OrderState
from bot.core.portfolio import Portfolio
from bot.core.rule import Strategy
from bot.errors import Refused

BEFORE: Final = timedelta(days=60)  # bars before the first decision: a stock's last close may be older
RULE_OF_API: Final = "touch"  # Source: api/STOCK_API.md, "Orders": filled when the session's range holds the limit
REACHED_MARKET: Final = {OrderState.ACCEPTED, OrderState.FILLED, OrderState.EXPIRED}

Intent = tuple[str, date, str, str]  # strategy, decided, symbol, side


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One session's decision as it is recorded and as the replay, on its own book, takes it."""

    session: date
    recorded_sha256: str
    replayed_sha256: str
    difference: str

    @property
    def same(self) -> bool:
        """Whether the hashes agree."""
        return self.recorded_sha256 == self.replayed_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class BookDay:
    """Cash (whole TWD) and shares by symbol after a settled session: the journal's and the replay's."""

    session: date
    recorded_twd: int
    replayed_twd: int
    recorded_shares: Mapping[str, int]
    replayed_shares: Mapping[str, int]

    @property
    def difference(self) -> str:
        """The first thing that differs, in words; "" when nothing does."""
        for symbol in sorted({*self.recorded_shares, *self.replayed_shares}):
            recorded, replayed = self.recorded_shares.get(symbol, 0), self.replayed_shares.get(symbol, 0)
            if recorded != replayed:
                return f"{self.session} {symbol}: {recorded:,} shares in the journal, {replayed:,} in the replay"
        if self.recorded_twd != self.replayed_twd:
            off = self.recorded_twd - self.replayed_twd
            return (
                f"{self.session} cash: NT${self.recorded_twd:,} in the journal, NT${self.replayed_twd:,} in the "
                f"replay (NT${off:+,})"
            )
        return ""

    def facts(self) -> dict[str, object]:
        """For --json."""
        return {
            "session": self.session.isoformat(),
            "recorded": {"cash_twd": self.recorded_twd, "shares": dict(self.recorded_shares)},
            "replayed": {"cash_twd": self.replayed_twd, "shares": dict(self.replayed_shares)},
            "same": not self.difference,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BookParity:
    """The replay of an account beside its journal.

    `fill_rule` is "" where no rule tells how the broker fills: then there is no replay, and `outside` says why. Else
    `outside` names what the replay took from the journal, for it can't follow from bars and forecasts.
    """

    fill_rule: str
    decided: tuple[Decided, ...] = ()
    days: tuple[BookDay, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def first_difference(self) -> str:
        """Where journal and replay part: session, stock and what; "" when they don't."""
        books = {day.session: day.difference for day in self.days}
        decisions = {one.session: one.difference for one in self.decided if not one.same}
        for session in sorted({*books, *decisions}):  # a session's book is settled before its decision is taken
            if books.get(session):
                return books[session]
            if session in decisions:
                return f"{session}: {decisions[session]}"
        return ""

    @property
    def hashes(self) -> tuple[str, str]:
        """One hash over all recorded decision hashes, and one over all replayed ones."""
        recorded = [one.recorded_sha256 for one in self.decided]
        return _hash_of(recorded), _hash_of([one.replayed_sha256 for one in self.decided])

    def facts(self) -> dict[str, object]:
        """For --json."""
        recorded, replayed = self.hashes
        return {
            "fill_rule": self.fill_rule,
            "recorded_sha256": recorded,
            "replayed_sha256": replayed,
            "first_difference": self.first_difference,
            "outside": list(self.outside),
            "decisions": [
                {"session": one.session.isoformat(), "recorded_sha256": one.recorded_sha256,
                 "replayed_sha256": one.replayed_sha256, "same": one.same}
                for one in self.decided
            ],
            "days": [day.facts() for day in self.days],
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the journal holds: decisions by session, orders by intent, and what happened without an order of ours.

    What a person took in stands beside the first session whose decision could know of it.
    """

    start_cash_twd: int
    decisions: Mapping[date, tuple[str, dict[str, Any]]]
    legs: Mapping[Intent, Sequence[JournalOrder]]
    adjustments: Sequence[tuple[date, Adjustment]]
    cash_events: Sequence[tuple[date, CashEvent]]
    settled: Sequence[date]


def replay_account(db: Any, config: Config, strategies: Sequence[Strategy]) -> BookParity:
    """The account of this database, played again from its first decision to its last settled session.

    Raises:
        Refused: the config names another broker than the journal's, or bars that the replay needs are not stored.
    """
    journal = Journal(db)
    account = journal.account()
    if account is None:
        return BookParity(fill_rule="", outside=("no account was opened, so that there is no book to compare",))
    broker, start_cash_twd = account
    if broker != config.broker.kind:
        raise Refused(f"this database is the journal of a {broker} account, and the config names {config.broker.kind}")
    if broker == "shioaji":
        line = "shioaji fills at the market's own prices and in parts: no fill rule tells its book, only hashes compare"
        return BookParity(fill_rule="", outside=(line,))
    fill_rule = config.broker.fill_rule if broker == "paper" else RULE_OF_API
    recorded = _recorded(db, journal, start_cash_twd)
    if not recorded.settled or recorded.settled[-1] <= min(recorded.decisions):
        return BookParity(fill_rule=fill_rule, outside=("no session is settled since the first decision",))
    options = Options(fill_rule=fill_rule, start_cash_twd=start_cash_twd, costs=config.costs)
    tape = _tape(db, recorded, config)
    decided, days = _played(tape, recorded, options, journal, {one.name: one for one in strategies})
    outside = (*_outside(recorded, journal), *_other_inputs(tape, recorded, config))
    return BookParity(fill_rule=fill_rule, decided=tuple(decided), days=tuple(days), outside=outside)


# --- what is recorded -------------------------------------------------------------------------------------


def _recorded(db: Any, journal: Journal, start_cash_twd: int) -> Recorded:
    rows = list(db.execute("select session, sha256, inputs, decided_at from decisions order by session"))
    decided = [(date.fromisoformat(row[0]), datetime.fromisoformat(row[3])) for row in rows]
    adjusted_at, cash_at = (
        [datetime.fromisoformat(at) for (at,) in db.execute(f"select at from {table} order by id")]
        for table in ("adjustments", "cash_events")
    )
    legs: dict[Intent, list[JournalOrder]] = {}
    for one in journal.orders():
        legs.setdefault(_intent(one.order), []).append(one)
    return Recorded(
        start_cash_twd=start_cash_twd,
        decisions={date.fromisoformat(session): (sha256, json.loads(inputs)) for session, sha256, inputs, _ in rows},
        legs=legs,
        adjustments=[
            (_known_on(one.session, at, decided), one)
            for one, at in zip(journal.books.adjustments(), adjusted_at, strict=True)
        ],
        cash_events=[
            (one.day if one.kind == "dividend" else _known_on(one.day, at, decided), one)
            for one, at in zip(journal.books.cash_events(), cash_at, strict=True)
        ],
        settled=[point.session for point in journal.equity()],
    )


def _known_on(day: date, at: datetime, decided: Sequence[tuple[date, datetime]]) -> date:
    """The session after which what happened on `day` and was booked at `at` was known to the decision."""
    return next((session for session, when in decided if session >= day and at <= when), date.max)


def _intent(order: Order) -> Intent:
    return order.strategy, order.decided, order.symbol, str(order.side)


def _tape(db: Any, recorded: Recorded, config: Config) -> Tape:
    """The stored bars of the recorded days, with the ex-dates as the account's broker pays them.

    Neither the paper broker nor the stock API changes share counts on an ex-date: what did change is an adjustment.

    Raises:
        Refused: no bars are stored of a session that was decided or settled.
    """
    symbols = {symbol for _, inputs in recorded.decisions.values() for symbol in inputs["day"]["symbols"]}
    symbols |= {intent[2] for intent in recorded.legs} | {one.symbol for _, one in recorded.adjustments}
    first, last = min(recorded.decisions), recorded.settled[-1]
    history = History.from_store(MarketStore(db), symbols=symbols, since=first - BEFORE, until=last)
    sessions = history.between(first, last)
    needed = {day for day in (*recorded.decisions, *recorded.settled) if first <= day <= last}
    absent = sorted(needed - set(sessions))
    if absent:
        raise Refused(f"no bars of {absent[0]} are stored, a session that the journal has: fetch them first")
    events = ExRightStore(db).events(symbols, since=first, until=last)
    tape = market_tape(history, sessions, config.costs, events)
    dividends = _dividends_e8(events, tape) if config.broker.pays_dividends else np.zeros_like(tape.dividend_e8)
    return replace(tape, dividend_e8=dividends, share_ratio_e8=np.full_like(tape.share_ratio_e8, ONE_E8))


def _dividends_e8(events: Sequence[ExRight], tape: Tape) -> Ints:
    """What the exchange tells of cash a share, on the first session that is not before its ex-date."""
    dividends = np.zeros_like(tape.dividend_e8)
    for event in events:
        row = np.searchsorted(np.array(tape.sessions, dtype="datetime64[D]"), np.datetime64(event.ex_date))
        if event.kind == "dividend" and event.cash_dividend and 0 < row < len(tape.sessions):
            dividends[row, tape.symbols.index(event.symbol)] += per_share_e8(event.cash_dividend)
    return dividends


# --- the replay -------------------------------------------------------------------------------------------


def _played(
    tape: Tape, recorded: Recorded, options: Options, journal: Journal, strategies: Mapping[str, Strategy]
) -> tuple[list[Decided], list[BookDay]]:
    """Every recorded decision taken on the replay's own book, and both books after each settled session."""
    tables, n = plain_tables(tape), len(tape.symbols)
    account = account_of(0, empty_accounts(n, options.start_cash_twd))
    decided: list[Decided] = []
    days: list[BookDay] = []
    settled, books = set(recorded.settled), _journal_books(tape.sessions, recorded, journal)
    orders: list[Order] = []
    for now, session in enumerate(tape.sessions):
        if now:
            log = [0] * (max(1, len(orders)) * LOG_WIDTH)
            track = Track(drawdown=[], equity_twd=[], equity_on=0, log=log, log_on=1)
            trade(now, orders, tape, tables, options, 1, account, track)
        _happen(now, tape, recorded, account)
        held, orders = portfolio_of(account, tape), []
        if session in settled:
            days.append(_book_day(session, books[session], held))
        if session in recorded.decisions:
            sha256, inputs = recorded.decisions[session]
            taken = _taken(inputs, held, _ages(now, tape, account), account, strategies)
            decided.append(_decided(session, sha256, inputs, taken))
            orders = [leg for order in (taken.orders if taken else ()) for leg in _sent(order, recorded)]
    return decided, days


def _ages(now: int, tape: Tape, account: Account) -> dict[str, int]:
    """At how many closes each stock was held, the first and today's included."""
    return {tape.symbols[i]: now + 1 - account.book.opened[i] for i in held_stocks(account)}


def _taken(
    recorded: dict[str, Any],
    held: Portfolio,
    ages: Mapping[str, int],
    account: Account,
    strategies: Mapping[str, Strategy],
) -> Decision | None:
    """The decision that follows from the recorded market and the replay's book; None where it can't be taken."""
    symbols, own = recorded["day"]["symbols"], held.positions
    if not set(own) <= set(symbols) or strategy_of(recorded) not in strategies:
        return None
    stocks = {
        "held_shares": [own[symbol].shares if symbol in own else 0 for symbol in symbols],
        "held_cost_twd": [own[symbol].cost_twd if symbol in own else 0 for symbol in symbols],
        "held_sessions": [ages.get(symbol, 0) for symbol in symbols],
    }
    cash = {"cash_twd": held.cash_twd, "unsettled_twd": account.money[UNSETTLED]}
    inputs = {
        **recorded,
        "stocks": {**recorded["stocks"], **{key: told for key, told in stocks.items() if key in recorded["stocks"]}},
        "cash": {**recorded["cash"], **{key: told for key, told in cash.items() if key in recorded["cash"]}},
    }
    return decision_from(inputs, strategies[strategy_of(recorded)])


def _decided(session: date, sha256: str, inputs: dict[str, Any], taken: Decision | None) -> Decided:
    """The two decisions side by side, with the first input that differs."""
    if taken is None:
        why = "the replay holds a stock that the recorded decision does not know, or its strategy is not there"
        return Decided(session=session, recorded_sha256=sha256, replayed_sha256="", difference=why)
    difference = ""
    if taken.sha256 != sha256:
        told = f"decision {sha256[:12]} recorded, {taken.sha256[:12]} replayed"
        difference = f"{told}: {_first_input(inputs, taken.inputs) or 'the inputs are the same, the orders are not'}"
    return Decided(session=session, recorded_sha256=sha256, replayed_sha256=taken.sha256, difference=difference)


def _first_input(recorded: Mapping[str, Any], replayed: Mapping[str, Any]) -> str:
    for name, before in recorded["cash"].items():
        if before != replayed["cash"][name]:
            return f"{name} {before:,} recorded, {replayed['cash'][name]:,} replayed"
    for name, before in recorded["stocks"].items():
        for symbol, one, other in zip(recorded["day"]["symbols"], before, replayed["stocks"][name], strict=True):
            if one != other:
                return f"{symbol} {name} {one:,} recorded, {other:,} replayed"
    return ""


def _sent(order: Order, recorded: Recorded) -> list[Order]:
    """The parts of `order` that reached the market as the journal has them; all of it where it knows nothing."""
    legs = recorded.legs.get(_intent(order))
    if legs is None:
        return [order]
    return [replace(order, shares=one.order.shares, leg=one.order.leg) for one in legs if one.state in REACHED_MARKET]


def _happen(now: int, tape: Tape, recorded: Recorded, account: Account) -> None:
    """What came or went without an order of ours since the session before: taken from the journal as it stands."""
    before, session = tape.sessions[now - 1] if now else date.min, tape.sessions[now]
    for known, one in recorded.adjustments:
        if before < known <= session:
            _adjust(one, tape, account)
    account.money[CASH] += sum(
        one.amount_twd for known, one in recorded.cash_events if one.kind != "dividend" and before < known <= session
    )


def _adjust(one: Adjustment, tape: Tape, account: Account) -> None:
    """`one` in the replay's account, as the journal books it."""
    held, i, book = portfolio_of(account, tape), tape.symbols.index(one.symbol), account.book
    if held.shares_of(one.symbol) + one.shares < 0:
        return  # the books had parted before, and that is told
    after = apply_adjustment(held, one)
    account.money[CASH] = after.cash_twd
    kept = after.positions.get(one.symbol)
    places = [place for place in held_stocks(account) if place != i] + ([i] if kept else [])
    if kept and one.symbol not in held.positions:
        book.opened[i] = max(0, bisect_right(tape.sessions, one.session) - 1)
    book.shares[i], book.cost_twd[i] = (kept.shares, kept.cost_twd) if kept else (0, 0)
    for place, stock in enumerate(places):
        book.held[place] = stock
    account.money[HOLDINGS] = len(places)


def _journal_books(
    sessions: Sequence[date], recorded: Recorded, journal: Journal
) -> dict[date, tuple[int, dict[str, int]]]:
    """Cash and shares after each session by all that the journal knows now of what happened up to it."""
    moves = [*((fill.session, fill) for fill in journal.fills())]
    moves += [(known, one.as_fill) for known, one in recorded.adjustments]
    books = {}
    for session in sessions:
        cash_twd, shares = recorded.start_cash_twd, dict[str, int]()
        cash_twd += sum(one.amount_twd for known, one in recorded.cash_events if known <= session)
        for day, fill in moves:
            if day <= session:
                cash_twd += fill.cash_change_twd
                shares[fill.symbol] = shares.get(fill.symbol, 0) + fill.shares
        books[session] = cash_twd, {symbol: held for symbol, held in sorted(shares.items()) if held}
    return books


def _book_day(session: date, recorded: tuple[int, dict[str, int]], held: Portfolio) -> BookDay:
    return BookDay(
        session=session,
        recorded_twd=recorded[0],
        replayed_twd=held.cash_twd,
        recorded_shares=recorded[1],
        replayed_shares={symbol: position.shares for symbol, position in sorted(held.positions.items())},
    )


# --- what a replay can't know -----------------------------------------------------------------------------


def _outside(recorded: Recorded, journal: Journal) -> list[str]:
    """Each thing that the replay took from the journal, in words."""
    lines = []
    for one in (leg for legs in recorded.legs.values() for leg in legs):
        events = journal.order_events(one.order.key)
        if one.state not in REACHED_MARKET:
            lines.append(
                f"{one.order.key} {one.state}: {one.note or one.order.reason}: not traded in the replay either"
            )
        elif any(event.by == "person" for event in events):
            lines.append(f"{one.order.key} {one.state} by a person's word: {one.note}")
        elif any(event.state is OrderState.UNKNOWN for event in events):
            lines.append(f"{one.order.key} {one.state} after its fate was unknown for a while: {one.note}")
    lines += [
        f"{one.session} {one.symbol}: {one.shares:+,} shares taken in: {one.reason}" for _, one in recorded.adjustments
    ]
    lines += [
        f"{one.day}: NT${one.amount_twd:+,} taken in: {one.note}"
        for _, one in recorded.cash_events
        if one.kind != "dividend"
    ]
    lines += [f"open: {event.text}, first seen {event.first_seen}" for event in journal.books.events(only_open=True)]
    return lines


def _other_inputs(tape: Tape, recorded: Recorded, config: Config) -> list[str]:
    """Where a decision saw another market, or paid another commission, than the store and the config tell now."""
    lines = []
    row_of = {session: row for row, session in enumerate(tape.sessions)}
    for session, (_, inputs) in recorded.decisions.items():
        if session not in row_of:
            continue
        for symbol, close in zip(inputs["day"]["symbols"], inputs["stocks"]["close_x100"], strict=True):
            now = int(tape.close_x100[row_of[session], tape.symbols.index(symbol)]) if symbol in tape.symbols else 0
            if close != now:
                lines.append(
                    f"{session} {symbol}: decided on a close of {close / 100:.2f}; stored now is {now / 100:.2f}"
                )
        rates = inputs["cash"]["rate_e8"], inputs["cash"]["minimum_twd"]
        if rates != (config.costs.commission_e8, config.costs.minimum_twd):
            lines.append(f"{session}: decided with another commission than `costs` says now")
    return lines


def _hash_of(hashes: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
