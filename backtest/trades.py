"""Fills -> positions bought and sold, with what each brought and why it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from backtest.played_run import PlayedRun
from backtest.replay import Run
from bot.core.orders import Fill


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """Shares from purchase to sale, costs included, dividends not; `closed` and `exit_x100` are None while held.

    A position that is sold in parts is a trade for each part. `entry_x100` is the mean price of its purchases.
    """

    symbol: str
    shares: int
    opened: date
    entry_x100: int
    closed: date | None
    exit_x100: int | None
    profit_twd: int
    profit: float
    reason: str


@dataclass(slots=True)
class _Position:
    """What is bought and not sold yet."""

    opened: date
    shares: int = 0
    value_x100: int = 0
    cost_twd: int = 0


def trades_of(run: Run | PlayedRun) -> list[Trade]:
    """The trades of `run` in the order of their first purchase."""
    return sorted(_trades(run), key=lambda trade: (trade.opened, trade.symbol))


def _trades(run: Run | PlayedRun) -> Iterator[Trade]:
    reasons = _reasons(run)
    held: dict[str, _Position] = {}
    for fill in run.fills:
        if fill.shares > 0:
            position = held.setdefault(fill.symbol, _Position(opened=fill.session))
            position.shares += fill.shares
            position.value_x100 += fill.shares * fill.price_x100
            position.cost_twd -= fill.cash_change_twd
        else:
            yield _sold(held, fill, reasons.get(fill.key, ""))
    for symbol, position in held.items():
        yield Trade(
            symbol=symbol,
            shares=position.shares,
            opened=position.opened,
            entry_x100=position.value_x100 // position.shares,
            closed=None,
            exit_x100=None,
            profit_twd=0,
            profit=0.0,
            reason="",
        )


def _sold(held: dict[str, _Position], fill: Fill, reason: str) -> Trade:
    """The part of a position that `fill` sells; with new shares of an ex-date more may go than were bought."""
    position = held[fill.symbol]
    whole = max(position.shares, -fill.shares)
    entry_x100 = position.value_x100 // position.shares
    cost_twd = position.cost_twd * -fill.shares // whole
    left = whole + fill.shares
    position.shares, position.value_x100 = left, left * entry_x100
    position.cost_twd -= cost_twd
    if not left:
        del held[fill.symbol]
    profit_twd = fill.cash_change_twd - cost_twd
    return Trade(
        symbol=fill.symbol,
        shares=-fill.shares,
        opened=position.opened,
        entry_x100=entry_x100,
        closed=fill.session,
        exit_x100=fill.price_x100,
        profit_twd=profit_twd,
        profit=profit_twd / cost_twd,
        reason=reason,
    )


def _reasons(run: Run | PlayedRun) -> Mapping[str, str]:
    """Why each order was given, by its key."""
    if isinstance(run, PlayedRun):
        return {one.fill.key: one.reason for one in run.traded}
    return {order.key: order.reason for step in run.steps for order in step.orders}
