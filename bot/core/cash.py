"""Cash to the dollar: what moved it besides trades, and the identity that every settlement checks. Whole TWD."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from bot.core.dividends import dividend_twd, per_share_e8
from bot.core.exrights import ExRight
from bot.core.orders import Fill
from bot.core.portfolio import Portfolio, apply_fill


@dataclass(frozen=True, slots=True, kw_only=True)
class CashEvent:
    """Cash that came (> 0) or went without a trade: a dividend of `day`, its ex-date, or what a person adopted."""

    kind: Literal["dividend", "adjustment"]
    symbol: str
    day: date
    amount_twd: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """Shares that came (> 0) or went without an order of ours, taken into the books with the reason.

    A price of 0 means that no cash moved and the position's cost stays, as with shares given out or merged.
    `after_fill` is the number of the last fill that was booked before.
    """

    symbol: str
    session: date
    shares: int
    price_x100: int
    commission_twd: int
    tax_twd: int
    reason: str
    after_fill: int = 0

    @property
    def cash_change_twd(self) -> int:
        """What it does to cash."""
        return self.as_fill.cash_change_twd

    @property
    def as_fill(self) -> Fill:
        """The trade that it stands for."""
        return Fill(
            key=f"adopted:{self.session}:{self.symbol}",
            symbol=self.symbol,
            session=self.session,
            shares=self.shares,
            price_x100=self.price_x100,
            commission_twd=self.commission_twd,
            tax_twd=self.tax_twd,
        )


def apply_adjustment(held: Portfolio, one: Adjustment) -> Portfolio:
    """The portfolio after `one`. Shares that go without cash leave the cost of the rest as it was.

    Raises:
        ValueError: more shares go than are held.
    """
    after = apply_fill(held, one.as_fill)
    if one.price_x100 or one.symbol not in after.positions or one.symbol not in held.positions:
        return after
    kept = replace(after.positions[one.symbol], cost_twd=held.positions[one.symbol].cost_twd)
    return replace(after, positions={**after.positions, one.symbol: kept})


@dataclass(frozen=True, slots=True, kw_only=True)
class CashIdentity:
    """start + sells - buys - fees - taxes + dividends + adjustments = cash, at one moment.

    `cash_twd` is the journal's own fold of all that happened; `broker_twd` what the broker tells, None where it tells
    nothing.
    """

    start_twd: int
    sells_twd: int
    buys_twd: int
    fees_twd: int
    taxes_twd: int
    dividends_twd: int
    adjustments_twd: int
    cash_twd: int
    broker_twd: int | None = None

    @property
    def expected_twd(self) -> int:
        """What the parts come to."""
        return (
            self.start_twd
            + self.sells_twd
            - self.buys_twd
            - self.fees_twd
            - self.taxes_twd
            + self.dividends_twd
            + self.adjustments_twd
        )

    @property
    def off_twd(self) -> int:
        """Cash beyond what the parts come to: 0, or our books are wrong."""
        return self.cash_twd - self.expected_twd


def cash_identity(
    start_twd: int,
    fills: Sequence[Fill],
    events: Sequence[CashEvent],
    adjustments: Sequence[Adjustment],
    cash_twd: int,
    broker_twd: int | None = None,
) -> CashIdentity:
    """The identity, its parts summed apart from the fold that made `cash_twd`."""
    values = [(fill.shares > 0, abs(fill.shares) * fill.price_x100 // 100) for fill in fills]
    return CashIdentity(
        start_twd=start_twd,
        sells_twd=sum(value for bought, value in values if not bought),
        buys_twd=sum(value for bought, value in values if bought),
        fees_twd=sum(fill.commission_twd for fill in fills),
        taxes_twd=sum(fill.tax_twd for fill in fills),
        dividends_twd=sum(one.amount_twd for one in events if one.kind == "dividend"),
        adjustments_twd=sum(one.amount_twd for one in events if one.kind == "adjustment")
        + sum(one.cash_change_twd for one in adjustments),
        cash_twd=cash_twd,
        broker_twd=broker_twd,
    )


def shares_before(day: date, symbol: str, fills: Iterable[Fill], adjustments: Iterable[Adjustment]) -> int:
    """Shares of `symbol` at the close before `day`."""
    moves = [*fills, *(one.as_fill for one in adjustments)]
    return sum(one.shares for one in moves if one.symbol == symbol and one.session < day)


def dividends_due(
    events: Iterable[ExRight], fills: Sequence[Fill], adjustments: Sequence[Adjustment], paid: Sequence[CashEvent]
) -> list[CashEvent]:
    """Cash dividends of `events` that `paid` lacks: for the shares held at the close before each ex-date.

    What was paid on fewer or more shares than are known now is put right by the difference, so that a second time
    finds nothing.
    """
    due = []
    for event in events:
        if event.kind != "dividend" or not event.cash_dividend:
            continue
        shares = shares_before(event.ex_date, event.symbol, fills, adjustments)
        whole_twd = dividend_twd(shares, per_share_e8(event.cash_dividend)) if shares > 0 else 0
        before = [
            one.amount_twd
            for one in paid
            if (one.kind, one.symbol, one.day) == ("dividend", event.symbol, event.ex_date)
        ]
        if whole_twd != sum(before):
            note = f"{event.cash_dividend.normalize():f} a share on {shares:,} shares"
            due.append(
                CashEvent(
                    kind="dividend",
                    symbol=event.symbol,
                    day=event.ex_date,
                    amount_twd=whole_twd - sum(before),
                    note=f"put right: {note}" if before else note,
                )
            )
    return due


def shares_after(event: ExRight, held: int) -> range | None:
    """How many shares `held` become by a stock dividend or a capital reduction; None where the boards don't tell.

    The reference price is the close before, less the dividend in cash, over the ratio of the shares; it is told to
    0.01 TWD, so that the ratio, and with it the shares, lie in a range. Parts of a share are paid out in cash. A
    reduction that returns money as well falls outside.
    Source: Operating Rules of the TWSE, art. 67 (ex-rights); the formula in TWTAUU's answer (reductions)
    """
    if event.kind == "dividend" and event.cash_dividend is None:
        return None
    cash_e8 = per_share_e8(event.cash_dividend) if event.kind == "dividend" and event.cash_dividend else 0
    value_e8 = held * (event.previous_x100 * 10**6 - cash_e8)  # in 10^-8 TWD; the reference to half a cent
    least = value_e8 // (event.reference_x100 * 10**6 + 5 * 10**5)
    most = value_e8 // (event.reference_x100 * 10**6 - 5 * 10**5)
    told = range(least, most + 1)
    return None if held in told else told
