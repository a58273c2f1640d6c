"""The recorded live days played again by the ledger: the same decision hashes, and the same book to the dollar.

The replay starts with the account's cash and carries its own book: of each recorded decision it takes what was known
of the market and of the model, and puts its own cash and shares in the place of the recorded ones. What a replay can't
know (an order that never reached the market, shares that a person took in) it takes from the journal, and says so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final

import numpy as np

from backtest.book_comparison import BookDay, BookParity, Decided
from backtest.history import History
from backtest.kernel import Options, empty_accounts, plain_tables
from backtest.recorded_account import Recorded, journal_books, recorded_account, sent, taken_from_journal
from backtest.replay import held_stocks, portfolio_of, trade
from backtest.tape import Ints, Tape, market_tape
from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_market import MarketStore
from bot.config import Config
from bot.core.cash import Adjustment, apply_adjustment
from bot.core.decide import Decision, decision_from, strategy_of
from bot.core.dividends import per_share_e8
from bot.core.exrights import ExRight
from bot.core.ledger import CASH, HOLDINGS, LOG_WIDTH, ONE_E8, UNSETTLED, Account, Track, account_of
from bot.core.orders import Order
from bot.core.portfolio import Portfolio
from bot.core.rule import Strategy
from bot.errors import Refused

BEFORE: Final = timedelta(days=60)  # bars before the first decision: a stock's last close may be older
RULE_OF_API: Final = "touch"  # Source: api/STOCK_API.md, "Orders": filled when the session's range holds the limit


def replay_account(db: Any, config: Config, strategies: Sequence[Strategy]) -> BookParity:
    """The account of this database, played again from its first decision to its last settled session.

    There is a decision: check_parity refuses before. `strategies` are those that may have taken one.

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
    recorded = recorded_account(db, journal, start_cash_twd)
    if not recorded.settled or recorded.settled[-1] <= min(recorded.decisions):
        return BookParity(fill_rule=fill_rule, outside=("no session is settled since the first decision",))
    options = Options(fill_rule=fill_rule, start_cash_twd=start_cash_twd, costs=config.costs)
    tape = _tape(db, recorded, config)
    decided, days = _played(tape, recorded, options, journal, {one.name: one for one in strategies})
    outside = (*taken_from_journal(recorded, journal), *_other_inputs(tape, recorded, config))
    return BookParity(fill_rule=fill_rule, decided=tuple(decided), days=tuple(days), outside=outside)


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
    settled, books = set(recorded.settled), journal_books(tape.sessions, recorded, journal)
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
            orders = [leg for order in (taken.orders if taken else ()) for leg in sent(order, recorded)]
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


def _book_day(session: date, recorded: tuple[int, dict[str, int]], held: Portfolio) -> BookDay:
    return BookDay(
        session=session,
        recorded_twd=recorded[0],
        replayed_twd=held.cash_twd,
        recorded_shares=recorded[1],
        replayed_shares={symbol: position.shares for symbol, position in sorted(held.positions.items())},
    )


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
