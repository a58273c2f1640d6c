"""One run of the kernel with all that a report needs: what traded and why, what each stock brought, the equity line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from backtest.history import History
from backtest.kernel import Options, empty_accounts, empty_orders, plain_tables, rules_matrix
from backtest.replay import equal_weights, trade
from backtest.tape import Tape
from bot.core.dividends import dividend_twd, shares_after
from bot.core.ledger import (
    CLOSED,
    DIVIDENDS,
    EQUITY,
    FILLS,
    HOLDINGS,
    LOG_WIDTH,
    ONE_E8,
    Account,
    Tables,
    Track,
    account_of,
    play_sessions,
    view_of,
)
from bot.core.orders import Fill, Order, Side
from bot.core.rule import Rules, Strategy, rank_edges

HOLD_REASON = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traded:
    """A fill with what led to it. `shares` < 0 is a sale; costs in whole TWD.

    `reference_x100` is the price that the session counted from; a `target_x100` of 0: the order followed from no
    forecast.
    """

    session: date
    decided: date
    symbol: str
    shares: int
    price_x100: int
    commission_twd: int
    tax_twd: int
    reference_x100: int
    target_x100: int
    reason: str

    @property
    def fill(self) -> Fill:
        """As the books have it."""
        side = Side.BUY if self.shares > 0 else Side.SELL
        order = Order(symbol=self.symbol, decided=self.decided, side=side, shares=abs(self.shares), limit_x100=1)
        return Fill(
            key=order.key,
            symbol=self.symbol,
            session=self.session,
            shares=self.shares,
            price_x100=self.price_x100,
            commission_twd=self.commission_twd,
            tax_twd=self.tax_twd,
        )

    @property
    def value_twd(self) -> int:
        """Price times shares, without costs."""
        return self.price_x100 * abs(self.shares) // 100

    @property
    def cash_change_twd(self) -> int:
        """What it did to cash."""
        value_twd = self.value_twd if self.shares < 0 else -self.value_twd
        return value_twd - self.commission_twd - self.tax_twd

    @property
    def slippage_twd(self) -> int:
        """What it cost to trade at this price and not at the reference; negative where the price was the better one."""
        return (self.price_x100 - self.reference_x100) * self.shares // 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedRun:
    """One forecaster under one fill rule. `contribution_twd` is by stock what it brought, costs and dividends included.

    `held_shares` are the shares left at the end; the first of `sessions` is all cash.
    """

    forecaster: str
    fill_rule: str
    sessions: tuple[date, ...]
    start_cash_twd: int
    equity_twd: tuple[int, ...]
    traded: tuple[Traded, ...]
    order_count: int
    closed: int
    dividends_twd: int
    held_shares: Mapping[str, int]
    contribution_twd: Mapping[str, int]

    @property
    def fills(self) -> tuple[Fill, ...]:
        """Everything that traded, oldest first."""
        return tuple(one.fill for one in self.traded)

    @property
    def open_positions(self) -> int:
        """Stocks held at the end."""
        return len(self.held_shares)

    @property
    def label(self) -> str:
        """Its name among the runs."""
        return f"{self.forecaster} {self.fill_rule}"


def play_rules(tape: Tape, forecaster: str, rules: Rules, all_options: Sequence[Options]) -> list[PlayedRun]:
    """A run under each of `all_options`, which differ in how orders trade and have the same costs."""
    tables = plain_tables(tape)
    for now in range(len(tape.sessions) - 1):
        rank_edges(view_of(now, tables), all_options[0].rates)
    return [_play(tape, tables, forecaster, rules, options) for options in all_options]


def _play(tape: Tape, tables: Tables, forecaster: str, rules: Rules, options: Options) -> PlayedRun:
    n, rows = len(tape.symbols), len(tape.sessions)
    accounts = empty_accounts(n, options.start_cash_twd)
    log = [0] * (rows * n * LOG_WIDTH)
    track = Track(drawdown=[0.0], equity_twd=[[0] * rows], equity_on=1, log=log, log_on=1)
    strategy, counted = _counting(options.strategy)
    play_sessions(
        strategy.plan, tables, options.rates, options.terms, rules_matrix([rules]).tolist(), 0, accounts,
        empty_orders(n), track,
    )  # fmt: skip
    account = account_of(0, accounts)
    traded = _traded(log, account.money[FILLS], tape, strategy)
    return _run(tape, forecaster, options, traded, account, track.equity_twd[0], counted[0])


def _counting(strategy: Strategy) -> tuple[Strategy, list[int]]:
    """`strategy`, and how many orders it has given so far."""
    counted, plan = [0], strategy.plan

    def counting(*words: Any) -> int:
        count = plan(*words)
        counted[0] += count
        return count

    return replace(strategy, plan=counting), counted


def play_hold(history: History, tape: Tape, name: str, options: Options, lot_shares: int) -> PlayedRun:
    """Buy-and-hold beside the rule, as `replay.hold` does it."""
    sessions, n = tape.sessions, len(tape.symbols)
    tables = plain_tables(tape)
    account = account_of(0, empty_accounts(n, options.start_cash_twd))
    orders = equal_weights(
        history.after(sessions[0]), history.after(sessions[1]), options.start_cash_twd, options.costs, lot_shares
    )
    track = Track(drawdown=[], equity_twd=[], equity_on=0, log=[0] * (max(1, len(orders)) * LOG_WIDTH), log_on=1)
    equity, fills = [options.start_cash_twd], tuple[Fill, ...]()
    for now in range(1, len(sessions)):
        bought = trade(now, orders if now == 1 else (), tape, tables, options, lot_shares, account, track)
        fills = bought if now == 1 else fills
        equity.append(account.money[EQUITY])
    column = {symbol: place for place, symbol in enumerate(tape.symbols)}
    traded = [
        Traded(
            session=fill.session,
            decided=sessions[0],
            symbol=fill.symbol,
            shares=fill.shares,
            price_x100=fill.price_x100,
            commission_twd=fill.commission_twd,
            tax_twd=fill.tax_twd,
            reference_x100=int(tape.reference_x100[1, column[fill.symbol]]),
            target_x100=0,
            reason=HOLD_REASON,
        )
        for fill in fills
    ]
    return _run(tape, name, options, traded, account, equity, len(orders))


def _traded(log: Sequence[int], count: int, tape: Tape, strategy: Strategy) -> list[Traded]:
    """The log's rows in our words: by session, sales first, then by symbol, as the daemon orders."""
    traded = []
    for one in range(count):
        now, i, shares, price, commission, tax, reason = log[one * LOG_WIDTH : (one + 1) * LOG_WIDTH]
        traded.append(
            Traded(
                session=tape.sessions[now],
                decided=tape.sessions[now - 1],
                symbol=tape.symbols[i],
                shares=shares,
                price_x100=price,
                commission_twd=commission,
                tax_twd=tax,
                reference_x100=int(tape.reference_x100[now, i]),
                target_x100=int(tape.target_x100[now - 1, i]),
                reason=strategy.reasons.get(reason, ""),
            )
        )
    return sorted(traded, key=lambda one: (one.session, one.shares > 0, one.symbol))


def _run(
    tape: Tape,
    forecaster: str,
    options: Options,
    traded: Sequence[Traded],
    account: Account,
    equity: Sequence[int],
    order_count: int,
) -> PlayedRun:
    held = sorted(account.book.held[: account.money[HOLDINGS]])
    return PlayedRun(
        forecaster=forecaster,
        fill_rule=options.fill_rule,
        sessions=tape.sessions,
        start_cash_twd=options.start_cash_twd,
        equity_twd=tuple(equity),
        traded=tuple(traded),
        order_count=order_count,
        closed=account.money[CLOSED],
        dividends_twd=account.money[DIVIDENDS],
        held_shares={tape.symbols[i]: account.book.shares[i] for i in held},
        contribution_twd=_contributions(tape, traded, account, held),
    )


def _contributions(tape: Tape, traded: Sequence[Traded], account: Account, held: Sequence[int]) -> dict[str, int]:
    """By stock: what its trades did to cash, its dividends, and what is left of it at the last close."""
    brought: dict[str, int] = {}
    by_stock: dict[str, list[Traded]] = {}
    for one in traded:
        brought[one.symbol] = brought.get(one.symbol, 0) + one.cash_change_twd
        by_stock.setdefault(one.symbol, []).append(one)
    for i in held:
        brought[tape.symbols[i]] += int(tape.close_x100[-1, i]) * account.book.shares[i] // 100
    for symbol, fills in by_stock.items():
        brought[symbol] += _dividends_twd(tape, tape.symbols.index(symbol), fills)
    return dict(sorted(brought.items()))


def _dividends_twd(tape: Tape, i: int, fills: Sequence[Traded]) -> int:
    """The dividends of one stock over all its fills, by the tape's ex-dates."""
    ex_rows = [
        row for row in range(len(tape.sessions)) if tape.dividend_e8[row, i] or tape.share_ratio_e8[row, i] != ONE_E8
    ]
    total, shares, waiting = 0, 0, list(fills)
    for row in ex_rows:
        while waiting and waiting[0].session < tape.sessions[row]:
            shares += waiting.pop(0).shares
        total += dividend_twd(shares, int(tape.dividend_e8[row, i]))
        shares = shares_after(shares, int(tape.share_ratio_e8[row, i]))
    return total
