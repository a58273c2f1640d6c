"""The ledger of bot/core over sessions whose rules change on the way: one account, never reset.

It is the loop of bot/core/ledger.play_sessions for one account, with the rules of the window that a session is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from backtest.kernel import (
    Options,
    PlayedFill,
    empty_accounts,
    empty_orders,
    plain_tables,
    rules_matrix,
)
from backtest.tape import Tape
from bot.core.ledger import (
    CASH,
    CLOSED,
    DIVIDENDS,
    EQUITY,
    FEES,
    FILLS,
    HOLDINGS,
    LOG_WIDTH,
    TAXES,
    TURNOVER,
    UNSETTLED,
    Track,
    account_of,
    exchange_of,
    knobs_of,
    trade_session,
    view_of,
)
from bot.core.rule import Purse, Rules, rank_edges

Stretch = tuple[int, int, Rules]  # rows first..last-1 of the tape are traded by these rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One account over all stretches: `equity_twd` begins with the evening before the first of them."""

    equity_twd: tuple[int, ...]
    fills: tuple[PlayedFill, ...]
    trades: int
    fees_twd: int
    taxes_twd: int
    dividends_twd: int
    turnover_twd: int


def walk(tape: Tape, stretches: Sequence[Stretch], options: Options) -> Walk:
    """Trade the stretches, which follow one another without a gap.

    What trades in a row was decided after the row before, with the row's own rules: the first decision of a stretch
    is taken on the last evening of the one before, on the positions and cash that are there.

    Raises:
        ValueError: the stretches leave a gap, or there is no row before the first.
    """
    if stretches[0][0] < 1 or any(after[0] != before[1] for before, after in pairwise(stretches)):
        raise ValueError("stretches must follow one another, from the second row on")
    tables = plain_tables(tape)
    n = len(tape.symbols)
    rows = sum(last - first for first, last, _ in stretches)
    accounts, orders = empty_accounts(n, options.start_cash_twd), empty_orders(n)
    track = Track(drawdown=[0.0], equity_twd=[[]], equity_on=0, log=[0] * (rows * n * LOG_WIDTH), log_on=1)
    account = account_of(0, accounts)
    money = account.money
    money[EQUITY] = money[CASH]
    equity_twd = [money[EQUITY]]
    for first, last, rules in stretches:
        knobs = knobs_of(rules_matrix([rules])[0].tolist())
        for now in range(first, last):
            purse = Purse(money[EQUITY], money[CASH] - money[UNSETTLED])
            view = view_of(now - 1, tables)
            rank_edges(view, options.rates)
            count = options.strategy.plan(
                now - 1, view, account.book, money[HOLDINGS], purse, options.rates, knobs, orders
            )
            happens = exchange_of(now, tables)
            trade_session(now, happens, options.rates, options.terms, rules.lot_shares, account, orders, count, track)
            equity_twd.append(money[EQUITY])
    log = track.log
    return Walk(
        equity_twd=tuple(equity_twd),
        fills=tuple(PlayedFill(*log[one * LOG_WIDTH : (one + 1) * LOG_WIDTH]) for one in range(money[FILLS])),
        trades=money[CLOSED],
        fees_twd=money[FEES],
        taxes_twd=money[TAXES],
        dividends_twd=money[DIVIDENDS],
        turnover_twd=money[TURNOVER],
    )
