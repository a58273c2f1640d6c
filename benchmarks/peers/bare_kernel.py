"""The reduced job by a bare numba kernel that does nothing else: what a hand-written one costs.

The job: hold at most `top_k` stocks, buy the best forecast edges at tomorrow's open if it is not above today's close,
sell the same way on a stop or a bad forecast; whole lots, commission cut to whole TWD and at least the minimum, sales
tax, no trade in a session locked at the limit. Knobs: top_k, entry_edge_bps, exit_return_bps, stop_bps, invest_bps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange


@njit(cache=True, inline="always")
def fee_twd(value_x100: int, rate_e8: int, minimum_twd: int) -> int:
    return max(minimum_twd, value_x100 * rate_e8 // 10_000_000_000)


@njit(cache=True, error_model="numpy")
def lots_for(price_x100: int, budget_twd: int, lot: int, rate_e8: int, minimum_twd: int) -> int:
    lots = budget_twd * 100 // (price_x100 * lot)
    while lots > 0:
        value_x100 = price_x100 * lots * lot
        if value_x100 // 100 + fee_twd(value_x100, rate_e8, minimum_twd) <= budget_twd:
            return lots
        lots -= 1
    return 0


@njit(cache=True, parallel=True, error_model="numpy")
def play(market: Any, matrix: Any, cash_twd: int, lot: int, rate_e8: int, minimum_twd: int, cap_twd: int) -> Any:
    opening, high, low, close, traded, target, up, down, edge, ranked, tax_e8 = market
    rows, n = close.shape
    final = np.zeros(len(matrix), np.int64)
    for one in prange(len(matrix)):
        top_k, entry, leave, stop, invest = matrix[one]
        held = np.zeros(n, np.int64)
        shares = np.zeros(n, np.int64)
        cost = np.zeros(n, np.int64)
        selling = np.zeros(n, np.int64)
        buying = np.zeros(n, np.int64)
        wanted = np.zeros(n, np.int64)
        cash, equity, count = cash_twd, cash_twd, 0
        for now in range(rows - 1):
            sells = 0
            for place in range(count):
                i = held[place]
                price = close[now, i]
                if traded[now, i] == 0:
                    continue
                worth = price * shares[i] // 100
                bad = target[now, i] > 0 and (target[now, i] - price) * 10_000 < leave * price
                if bad or (stop > 0 and worth * 10_000 <= cost[i] * (10_000 - stop)):
                    selling[sells] = i
                    sells += 1
            slots, left, buys = top_k - count, cash, 0
            slot = min(equity * invest // 10_000 // top_k, cap_twd)
            for place in range(n):
                i = ranked[now, place]
                if slots <= 0 or i < 0 or edge[now, i] < entry * 10_000:
                    break
                if shares[i] == 0:
                    lots = lots_for(close[now, i], min(slot, left), lot, rate_e8, minimum_twd)
                    if lots > 0:
                        buying[buys] = i
                        wanted[buys] = lots * lot
                        value_x100 = close[now, i] * lots * lot
                        left -= value_x100 // 100 + fee_twd(value_x100, rate_e8, minimum_twd)
                        buys += 1
                        slots -= 1
            then = now + 1
            for place in range(sells):
                i = selling[place]
                price = opening[then, i]
                still = high[then, i] == low[then, i]
                if traded[then, i] == 1 and price >= close[now, i] and not (still and low[then, i] <= down[then, i]):
                    value_x100 = price * shares[i]
                    tax = value_x100 * tax_e8[i] // 10_000_000_000
                    cash += value_x100 // 100 - fee_twd(value_x100, rate_e8, minimum_twd) - tax
                    shares[i] = 0
                    cost[i] = 0
                    at = 0
                    while held[at] != i:
                        at += 1
                    count -= 1
                    held[at] = held[count]
            for place in range(buys):
                i = buying[place]
                price = opening[then, i]
                still = high[then, i] == low[then, i]
                if traded[then, i] == 1 and price <= close[now, i] and not (still and high[then, i] >= up[then, i]):
                    value_x100 = price * wanted[place]
                    paid = value_x100 // 100 + fee_twd(value_x100, rate_e8, minimum_twd)
                    cash -= paid
                    shares[i] = wanted[place]
                    cost[i] = paid
                    held[count] = i
                    count += 1
            equity = cash
            for place in range(count):
                i = held[place]
                equity += close[then, i] * shares[i] // 100
        final[one] = equity
    return final
