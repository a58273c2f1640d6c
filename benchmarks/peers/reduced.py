"""The reduced job for libraries that call back into Python: what is decided after a row, and what of it trades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True)
class Job:
    """The market as numpy tables, sessions x stocks, and the account's terms."""

    sessions: Sequence[date]
    symbols: list[str]
    opening: Any
    high: Any
    low: Any
    close: Any
    traded: Any
    target: Any
    up: Any
    down: Any
    edge: Any
    ranked: Any
    tax_e8: Any
    cash_twd: int
    lot: int
    rate_e8: int
    minimum_twd: int
    cap_twd: int

    @property
    def market(self) -> tuple[Any, ...]:
        return (self.opening, self.high, self.low, self.close, self.traded, self.target, self.up, self.down,
                self.edge, self.ranked, self.tax_e8)  # fmt: skip


def fee_of(job: Job, price_x100: int, shares: int) -> int:
    return max(job.minimum_twd, price_x100 * shares * job.rate_e8 // 10_000_000_000)


def tax_of(job: Job, price_x100: int, shares: int) -> int:
    return price_x100 * shares * int(job.tax_e8[0]) // 10_000_000_000


def decided(job: Job, knobs: Any, now: int, shares: list[int], cost: Any, cash: int) -> list[tuple[int, int]]:
    """(stock, signed shares) to trade at the next open, if it is no worse than the close of row `now`."""
    top_k, entry, leave, stop, invest = (int(one) for one in knobs)
    close, target, traded = job.close[now].tolist(), job.target[now].tolist(), job.traded[now].tolist()
    held = [i for i, one in enumerate(shares) if one]
    equity = cash + sum(close[i] * shares[i] // 100 for i in held)
    orders = []
    for i in held:
        if not traded[i]:
            continue
        bad = target[i] > 0 and (target[i] - close[i]) * 10_000 < leave * close[i]
        worth = close[i] * shares[i] // 100
        if bad or (stop > 0 and worth * 10_000 <= int(cost[i]) * (10_000 - stop)):
            orders.append((i, -shares[i]))
    slots, left = top_k - len(held), cash
    slot = min(equity * invest // 10_000 // top_k, job.cap_twd)
    for i in job.ranked[now].tolist():
        if slots <= 0 or i < 0 or job.edge[now, i] < entry * 10_000:
            break
        if shares[i]:
            continue
        budget = min(slot, left)
        lots = budget * 100 // (close[i] * job.lot)
        while lots and close[i] * lots * job.lot // 100 + fee_of(job, close[i], lots * job.lot) > budget:
            lots -= 1
        if lots:
            orders.append((i, lots * job.lot))
            left -= close[i] * lots * job.lot // 100 + fee_of(job, close[i], lots * job.lot)
            slots -= 1
    return orders


def fills(job: Job, now: int, orders: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What of the orders trades at the open of the row after `now`."""
    then = now + 1
    for i, wanted in orders:
        price, before = job.opening[then, i], job.close[now, i]
        still = job.high[then, i] == job.low[then, i]
        if not job.traded[then, i]:
            continue
        if wanted > 0 and price <= before and not (still and job.high[then, i] >= job.up[then, i]):
            yield i, wanted
        if wanted < 0 and price >= before and not (still and job.low[then, i] <= job.down[then, i]):
            yield i, wanted
