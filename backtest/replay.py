"""The fold over history: decide -> fill in the next session -> carry on. It decides nothing itself."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from backtest.forecasters import Forecaster
from backtest.history import History, Known
from backtest.kernel import Options, empty_accounts, plain_tables
from backtest.tape import Tape, market_tape, tape_of
from bot.core.costs import CostRates
from bot.core.decide import MarketDay, Rules, decide
from bot.core.exrights import ExRight, effective
from bot.core.ledger import (
    CASH,
    EQUITY,
    FILLS,
    HOLDINGS,
    LOG_COMMISSION,
    LOG_PRICE,
    LOG_REASON,
    LOG_SHARES,
    LOG_STOCK,
    LOG_TAX,
    LOG_WIDTH,
    UNSETTLED,
    Account,
    Tables,
    Track,
    account_of,
    exchange_of,
    trade_session,
)
from bot.core.orders import Fill, Order, Side
from bot.core.portfolio import Portfolio, Position
from bot.core.rule import Orders, Rates, affordable_shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What was decided after the close of `decided`, and what became of it in `session`, the one after.

    An order without a fill is dead after `session`, as at the stock API. `equity_twd` is at the close of `session`.
    """

    decided: date
    session: date
    decision_sha256: str
    orders: tuple[Order, ...]
    fills: tuple[Fill, ...]
    held: Portfolio
    equity_twd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A whole replay: who forecast, how orders traded, and every step from `first`, when there was only cash."""

    forecaster: str
    fill_rule: str
    first: date
    start_cash_twd: int
    steps: tuple[Step, ...]

    @property
    def sessions(self) -> tuple[date, ...]:
        """The first session and all in which orders could trade."""
        return (self.first, *(step.session for step in self.steps))

    @property
    def equity_twd(self) -> tuple[int, ...]:
        """What we were worth at the close of each of `sessions`."""
        return (self.start_cash_twd, *(step.equity_twd for step in self.steps))

    @property
    def fills(self) -> tuple[Fill, ...]:
        """Everything that traded, oldest first."""
        return tuple(fill for step in self.steps for fill in step.fills)

    @property
    def order_count(self) -> int:
        """Orders, traded or not."""
        return sum(len(step.orders) for step in self.steps)

    @property
    def open_positions(self) -> int:
        """Stocks held at the end."""
        return len(self.steps[-1].held.positions) if self.steps else 0


def market_days(
    history: History, sessions: Sequence[date], forecaster: Forecaster, events: Iterable[ExRight] = ()
) -> list[MarketDay]:
    """What `forecaster` and the market say after each session; the replays under several fill rules share it.

    `events` are the ex-dates: on the eve of one the next session's reference price is known.
    """
    days = []
    references = _references_x100(events, sessions)
    for session in sessions:
        known = history.after(session)
        day = MarketDay(
            session=session,
            bars=known.bars,
            closes_x100=known.closes_x100,
            forecasts=forecaster.forecasts(known),
            sentiment_bps=forecaster.sentiment_bps(session),
            reference_x100=references.get(session, {}),
        )
        days.append(day)
    return days


def _references_x100(events: Iterable[ExRight], sessions: Sequence[date]) -> dict[date, dict[str, int]]:
    """By the session before, the reference price of each stock that goes ex."""
    found: dict[date, dict[str, int]] = {}
    for event in effective(events):
        row = bisect_left(sessions, event.ex_date)
        if 0 < row < len(sessions):
            found.setdefault(sessions[row - 1], {})[event.symbol] = event.reference_x100
    return found


def replay(
    history: History, days: Sequence[MarketDay], rules: Rules, options: Options, events: Iterable[ExRight] = ()
) -> Iterator[Step]:
    """One step for each session but the first, from cash and no positions: decide, then let the ledger trade.

    Raises:
        LookAheadError: a forecast is from after its day, or its model was trained on it.
    """
    tape = tape_of(history, days, options.costs, events)
    tables, n = plain_tables(tape), len(tape.symbols)
    account = account_of(0, empty_accounts(n, options.start_cash_twd))
    track = Track(drawdown=[], equity_twd=[], equity_on=0, log=[0] * (n * LOG_WIDTH), log_on=1)
    held = Portfolio(cash_twd=options.start_cash_twd)
    for now in range(1, len(days)):
        decision = decide(
            days[now - 1],
            held,
            rules,
            options.costs,
            held_sessions={tape.symbols[i]: now - account.book.opened[i] for i in held_stocks(account)},
            unsettled_twd=account.money[UNSETTLED],
            strategy=options.strategy,
        )
        fills = trade(now, decision.orders, tape, tables, options, rules.lot_shares, account, track)
        held = portfolio_of(account, tape)
        yield Step(
            decided=days[now - 1].session,
            session=days[now].session,
            decision_sha256=decision.sha256,
            orders=decision.orders,
            fills=fills,
            held=held,
            equity_twd=account.money[EQUITY],
        )


def trade(
    now: int,
    decided: Sequence[Order],
    tape: Tape,
    tables: Tables,
    options: Options,
    lot_shares: int,
    account: Account,
    track: Track,
) -> tuple[Fill, ...]:
    """Session number `now` happens to the account and what was `decided` for it; what traded comes back."""
    column = {symbol: place for place, symbol in enumerate(tape.symbols)}
    orders = Orders(
        stock=[column[order.symbol] for order in decided],
        shares=[order.signed_shares for order in decided],
        limit_x100=[order.limit_x100 for order in decided],
        reason=list(range(len(decided))),  # which order it was
    )
    account.money[FILLS] = 0  # the log is the session's
    trade_session(
        now, exchange_of(now, tables), options.rates, options.terms, lot_shares, account, orders,
        len(decided), track,
    )  # fmt: skip
    rows = [track.log[one * LOG_WIDTH : (one + 1) * LOG_WIDTH] for one in range(account.money[FILLS])]
    return tuple(
        Fill(
            key=decided[row[LOG_REASON]].key,
            symbol=tape.symbols[row[LOG_STOCK]],
            session=tape.sessions[now],
            shares=row[LOG_SHARES],
            price_x100=row[LOG_PRICE],
            commission_twd=row[LOG_COMMISSION],
            tax_twd=row[LOG_TAX],
        )
        for row in rows
    )


def held_stocks(account: Account) -> Sequence[int]:
    """The held stocks' columns in the tape, in no order."""
    return account.book.held[: account.money[HOLDINGS]]


def portfolio_of(account: Account, tape: Tape) -> Portfolio:
    """The account as the daemon would see it."""
    book = account.book
    positions = {
        tape.symbols[i]: Position(shares=book.shares[i], cost_twd=book.cost_twd[i], since=tape.sessions[book.opened[i]])
        for i in sorted(held_stocks(account))
    }
    return Portfolio(cash_twd=account.money[CASH], positions=positions)


def hold(
    history: History,
    sessions: Sequence[date],
    cash_twd: int,
    costs: CostRates,
    lot_shares: int,
    events: Iterable[ExRight] = (),
) -> Iterator[Step]:
    """Buy-and-hold beside the rule: an equal part of the cash into every stock, kept to the end with its dividends.

    Bought in whole lots at the open of the second session, which is when the rule can first trade, and in the same
    way: not where the stock did not trade or was locked at limit-up. What does not fill a lot stays cash.
    """
    tape = market_tape(history, sessions, costs, events)
    options = Options(fill_rule="open", start_cash_twd=cash_twd, costs=costs)
    tables, n = plain_tables(tape), len(tape.symbols)
    account = account_of(0, empty_accounts(n, cash_twd))
    track = Track(drawdown=[], equity_twd=[], equity_on=0, log=[0] * (n * LOG_WIDTH), log_on=1)
    orders = equal_weights(history.after(sessions[0]), history.after(sessions[1]), cash_twd, costs, lot_shares)
    for now in range(1, len(sessions)):
        fills = trade(now, orders if now == 1 else (), tape, tables, options, lot_shares, account, track)
        yield Step(
            decided=sessions[now - 1],
            session=sessions[now],
            decision_sha256="",
            orders=(),
            fills=fills,
            held=portfolio_of(account, tape),
            equity_twd=account.money[EQUITY],
        )


def equal_weights(today: Known, market: Known, cash_twd: int, costs: CostRates, lot_shares: int) -> tuple[Order, ...]:
    """Purchases at the open that put an equal part of the cash, fees included, into each stock that traded `today`."""
    budget_twd = cash_twd // max(1, len(today.bars))
    rates = Rates(costs.commission_e8, costs.minimum_twd)
    orders = []
    for symbol in sorted(today.bars):
        quote = market.quote(symbol)
        shares = affordable_shares(quote.open_x100, budget_twd, lot_shares, rates) if quote else 0
        if quote and shares:
            order = Order(
                symbol=symbol,
                decided=today.session,
                side=Side.BUY,
                shares=shares,
                limit_x100=quote.open_x100,
                reason="hold",
            )
            orders.append(order)
    return tuple(orders)
