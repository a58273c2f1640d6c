"""The exact ledger: what a session does to cash and positions, and the fold of rule and ledger over all sessions.

Plain Python over integers, as bot/core/rule.py: the replay runs it as it stands, sweeps have it compiled by numba.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Final, NamedTuple

from bot.core.costs import commission_twd, part_twd
from bot.core.dividends import dividend_twd, shares_after
from bot.core.fills import capped_shares, fill_price_x100, is_locked, slipped_range_x100
from bot.core.market import limit_down_x100, limit_up_x100
from bot.core.rule import Book, Knobs, Orders, Plan, Purse, Rates, View, rank_edges

ONE_E8: Final = 100_000_000  # a share stays one share

# Places in an account's `money`; from FEES on they only ever grow.
CASH, UNSETTLED, EQUITY, PEAK, HOLDINGS, FEES, TAXES, DIVIDENDS, TURNOVER, FILLS, CLOSED = range(11)
MONEY_PLACES: Final = 11
# A row of the log, a fill each; a dividend is no fill and follows from the tables.
LOG_SESSION, LOG_STOCK, LOG_SHARES, LOG_PRICE, LOG_COMMISSION, LOG_TAX, LOG_REASON = range(7)
LOG_WIDTH: Final = 7

Table = Sequence[Sequence[int]]


class Tables(NamedTuple):
    """A market and its forecasts, sessions x stocks: what `View` and `Exchange` tell of each session.

    `prepare` fills in the daily limits, the edges and the ranks. `eventful`, `limit_pct` and `banded` have an entry a
    session, `etf` and `tax_e8` an entry a stock.
    """

    open_x100: Table
    high_x100: Table
    low_x100: Table
    close_x100: Table
    reference_x100: Table
    limit_up_x100: Sequence[MutableSequence[int]]
    limit_down_x100: Sequence[MutableSequence[int]]
    volume_shares: Table
    traded: Table
    dividend_e8: Table
    share_ratio_e8: Table
    target_x100: Table
    sentiment_bps: Table
    edge_e8: Sequence[MutableSequence[int]]
    ranked: Sequence[MutableSequence[int]]
    eventful: Sequence[int]
    limit_pct: Sequence[int]
    etf: Sequence[int]
    tax_e8: Sequence[int]
    p_up_bps: Table
    band_low_x100: Table
    low_edge_e8: Sequence[MutableSequence[int]]
    low_ranked: Sequence[MutableSequence[int]]
    banded: Sequence[int]


class Exchange(NamedTuple):
    """What a session turns out to be, an entry a stock; known only when it is over.

    `limit_up_x100` and `limit_down_x100` are the session's highest and lowest allowed price. `dividend_e8` is TWD a
    share on the ex-date, `share_ratio_e8` what becomes of a share then (ONE_E8: nothing), both in
    hundred-millionths; `eventful` is 0 when no stock goes ex.
    """

    open_x100: Sequence[int]
    high_x100: Sequence[int]
    low_x100: Sequence[int]
    close_x100: Sequence[int]
    limit_up_x100: Sequence[int]
    limit_down_x100: Sequence[int]
    volume_shares: Sequence[int]
    traded: Sequence[int]
    dividend_e8: Sequence[int]
    share_ratio_e8: Sequence[int]
    etf: Sequence[int]
    tax_e8: Sequence[int]
    eventful: int


class Terms(NamedTuple):
    """How orders trade: the fill rule's number, slippage, the volume cap (0: none), and when a sale's money is there.

    `settlement_sessions` 2: the proceeds of a sale can be spent from the evening two sessions later.
    """

    fill_rule: int
    slippage_ticks: int
    volume_share_bps: int
    settlement_sessions: int


class Account(NamedTuple):
    """The mutable state of one run: `book`, `money` (see CASH ...), and sale proceeds by the session they come in."""

    book: Book
    money: MutableSequence[int]
    due_twd: MutableSequence[int]


class Accounts(NamedTuple):
    """Several accounts side by side, a row each."""

    held: Sequence[MutableSequence[int]]
    shares: Sequence[MutableSequence[int]]
    cost_twd: Sequence[MutableSequence[int]]
    opened: Sequence[MutableSequence[int]]
    money: Sequence[MutableSequence[int]]
    due_twd: Sequence[MutableSequence[int]]


class Track(NamedTuple):
    """What is kept of the runs: deepest drawdowns; a fill's row in `log` and each session's equity, unless off."""

    drawdown: MutableSequence[float]
    equity_twd: Sequence[MutableSequence[int]]
    equity_on: int
    log: MutableSequence[int]
    log_on: int


def view_of(now: int, tables: Tables) -> View:
    """What may be known after session number `now`, which is not the last: the next one's limits are among it."""
    return View(
        tables.close_x100[now],
        tables.reference_x100[now + 1],
        tables.limit_up_x100[now + 1],
        tables.limit_down_x100[now + 1],
        tables.traded[now],
        tables.target_x100[now],
        tables.sentiment_bps[now],
        tables.edge_e8[now],
        tables.ranked[now],
        tables.etf,
        tables.tax_e8,
        tables.p_up_bps[now],
        tables.band_low_x100[now],
        tables.low_edge_e8[now],
        tables.low_ranked[now],
        tables.banded[now],
    )


def exchange_of(now: int, tables: Tables) -> Exchange:
    """What session number `now` turned out to be."""
    return Exchange(
        tables.open_x100[now],
        tables.high_x100[now],
        tables.low_x100[now],
        tables.close_x100[now],
        tables.limit_up_x100[now],
        tables.limit_down_x100[now],
        tables.volume_shares[now],
        tables.traded[now],
        tables.dividend_e8[now],
        tables.share_ratio_e8[now],
        tables.etf,
        tables.tax_e8,
        tables.eventful[now],
    )


def account_of(one: int, accounts: Accounts) -> Account:
    """The one-th account; what happens to it happens in `accounts`."""
    book = Book(accounts.held[one], accounts.shares[one], accounts.cost_twd[one], accounts.opened[one])
    return Account(book, accounts.money[one], accounts.due_twd[one])


def knobs_of(row: Sequence[int]) -> Knobs:
    """The rules in a row of a sweep's matrix."""
    return Knobs(*row)


def prepare(tables: Tables, rates: Rates) -> None:
    """Fill in each session's limits, edges and ranks: no knob changes them."""
    fill_limits(tables)
    for now in range(len(tables.limit_pct) - 1):
        rank_edges(view_of(now, tables), rates)


def fill_limits(tables: Tables) -> None:
    """Fill in each session's highest and lowest allowed prices."""
    for now in range(len(tables.limit_pct)):
        pct = tables.limit_pct[now]
        for i in range(len(tables.etf)):
            reference = tables.reference_x100[now][i]
            tables.limit_up_x100[now][i] = limit_up_x100(reference, tables.etf[i] != 0, pct)
            tables.limit_down_x100[now][i] = limit_down_x100(reference, tables.etf[i] != 0, pct)


def play_sessions(  # noqa: PLR0917  (numba has no keyword-only arguments)
    plan: Plan,
    tables: Tables,
    rates: Rates,
    terms: Terms,
    matrix: Table,
    first: int,
    accounts: Accounts,
    orders: Orders,
    track: Track,
) -> None:
    """Decide after each session and trade in the next one, for every account, which hold cash only at first.

    The one-th account trades by row first + one of `matrix`; `track` has the matrix's rows too. `orders` is scratch.
    Sessions come before accounts, so that a session's prices stay near the processor.
    """
    sets = len(accounts.money)
    for one in range(sets):
        money = accounts.money[one]
        money[EQUITY] = money[PEAK] = money[CASH]
        if track.equity_on != 0:
            track.equity_twd[first + one][0] = money[EQUITY]
    for now in range(1, len(tables.limit_pct)):
        view, exchange = view_of(now - 1, tables), exchange_of(now, tables)
        for one in range(sets):
            account, rules = account_of(one, accounts), knobs_of(matrix[first + one])
            money = account.money
            purse = Purse(money[EQUITY], money[CASH] - money[UNSETTLED])
            count = plan(now - 1, view, account.book, money[HOLDINGS], purse, rates, rules, orders)
            trade_session(now, exchange, rates, terms, rules.lot_shares, account, orders, count, track)
            if money[EQUITY] > money[PEAK]:
                money[PEAK] = money[EQUITY]
            elif money[PEAK] - money[EQUITY] > track.drawdown[first + one] * money[PEAK]:
                track.drawdown[first + one] = (money[PEAK] - money[EQUITY]) / money[PEAK]
            if track.equity_on != 0:
                track.equity_twd[first + one][now] = money[EQUITY]


def trade_session(  # noqa: PLR0917  (numba has no keyword-only arguments)
    now: int,
    exchange: Exchange,
    rates: Rates,
    terms: Terms,
    lot_shares: int,
    account: Account,
    orders: Orders,
    count: int,
    track: Track,
) -> None:
    """Session number `now` happens to the account and its first `count` orders.

    In this order: orders are taken in as a broker takes them (purchases only up to the cash that may be spent, at their
    limits), due proceeds come in, ex-dates change cash and shares, orders trade or expire, equity is told at the close.
    """
    money = account.money
    left_twd = money[CASH] - money[UNSETTLED]
    if terms.settlement_sessions > 0:
        due = now % terms.settlement_sessions
        money[UNSETTLED] -= account.due_twd[due]
        account.due_twd[due] = 0
    if exchange.eventful != 0:
        go_ex(exchange, account)
    for k in range(count):
        i = orders.stock[k]
        shares = orders.shares[k]
        limit = orders.limit_x100[k]
        if shares > 0:
            reserved_twd = limit * shares // 100 + commission_twd(limit, shares, rates.rate_e8, rates.minimum_twd)
            if reserved_twd > left_twd:
                continue
            left_twd -= reserved_twd
        else:
            shares = max(shares, -account.book.shares[i])  # an ex-date may have left fewer than were ordered to go
        if shares == 0 or exchange.traded[i] == 0:
            continue
        price = order_price_x100(i, shares > 0, limit, exchange, terms)
        if price == 0:
            continue
        shares = capped_shares(shares, exchange.volume_shares[i], terms.volume_share_bps, lot_shares)
        if shares != 0:
            fill(now, i, shares, price, orders.reason[k], exchange.tax_e8[i], rates, terms, account, track)
    equity_twd = money[CASH]
    for place in range(money[HOLDINGS]):
        i = account.book.held[place]
        equity_twd += exchange.close_x100[i] * account.book.shares[i] // 100
    money[EQUITY] = equity_twd


def order_price_x100(
    i: int,
    buys: bool,  # noqa: FBT001  (a plain function: numba compiles it)
    limit_x100: int,
    exchange: Exchange,
    terms: Terms,
) -> int:
    """Where a limit order for stock `i` trades in the session, 0 when it does not."""
    etf = exchange.etf[i] != 0
    high, low = exchange.high_x100[i], exchange.low_x100[i]
    locked = exchange.limit_up_x100[i] > 0 and is_locked(
        buys, high, low, exchange.limit_up_x100[i], exchange.limit_down_x100[i]
    )
    opening = exchange.open_x100[i]
    if terms.slippage_ticks > 0:
        opening, high, low = slipped_range_x100(buys, opening, high, low, terms.slippage_ticks, etf)
    return fill_price_x100(terms.fill_rule, buys, limit_x100, opening, high, low, locked)


def go_ex(exchange: Exchange, account: Account) -> None:
    """The session's ex-dates, for what was held at the close before: dividends in cash, then new share counts."""
    money, book = account.money, account.book
    place = 0
    while place < money[HOLDINGS]:
        i = book.held[place]
        cash_twd = dividend_twd(book.shares[i], exchange.dividend_e8[i])
        money[CASH] += cash_twd
        money[DIVIDENDS] += cash_twd
        if exchange.share_ratio_e8[i] != ONE_E8:
            book.shares[i] = shares_after(book.shares[i], exchange.share_ratio_e8[i])
            if book.shares[i] == 0:
                drop(place, account)
                continue
        place += 1


def fill(  # noqa: PLR0917  (numba has no keyword-only arguments)
    now: int,
    i: int,
    shares: int,
    price_x100: int,
    reason: int,
    tax_e8: int,
    rates: Rates,
    terms: Terms,
    account: Account,
    track: Track,
) -> None:
    """`shares` of stock `i` trade at the price: money, position, log. A sale carries out its share of the cost."""
    money, book = account.money, account.book
    traded = abs(shares)
    value_twd = price_x100 * traded // 100
    fee_twd = commission_twd(price_x100, traded, rates.rate_e8, rates.minimum_twd)
    tax_twd = 0
    if shares > 0:
        if book.shares[i] == 0:
            book.held[money[HOLDINGS]] = i
            money[HOLDINGS] += 1
            book.opened[i] = now
        money[CASH] -= value_twd + fee_twd
        book.cost_twd[i] += value_twd + fee_twd
    else:
        tax_twd = part_twd(price_x100, traded, tax_e8)
        proceeds_twd = value_twd - fee_twd - tax_twd
        money[CASH] += proceeds_twd
        if terms.settlement_sessions > 0 and proceeds_twd > 0:
            money[UNSETTLED] += proceeds_twd
            account.due_twd[now % terms.settlement_sessions] += proceeds_twd
        book.cost_twd[i] -= book.cost_twd[i] * traded // book.shares[i]
    book.shares[i] += shares
    if book.shares[i] == 0:
        place = 0
        while book.held[place] != i:
            place += 1
        drop(place, account)
    if track.log_on != 0:
        row = money[FILLS] * LOG_WIDTH
        track.log[row + LOG_SESSION] = now
        track.log[row + LOG_STOCK] = i
        track.log[row + LOG_SHARES] = shares
        track.log[row + LOG_PRICE] = price_x100
        track.log[row + LOG_COMMISSION] = fee_twd
        track.log[row + LOG_TAX] = tax_twd
        track.log[row + LOG_REASON] = reason
    money[FILLS] += 1
    money[FEES] += fee_twd
    money[TAXES] += tax_twd
    money[TURNOVER] += value_twd


def drop(place: int, account: Account) -> None:
    """The stock at `place` of the held is no longer held."""
    money, book = account.money, account.book
    book.cost_twd[book.held[place]] = 0
    money[HOLDINGS] -= 1
    book.held[place] = book.held[money[HOLDINGS]]
    money[CLOSED] += 1
