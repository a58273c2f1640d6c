"""The reduced job by vectorbt, in the fastest exact way that it has: its flexible simulator with compiled callbacks.

A group of columns is a set. A segment's orders are worked out before it, and only their columns are visited.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from vectorbt.portfolio.enums import NoOrder
from vectorbt.portfolio.nb import flex_simulate_nb, order_nb

from peers.bare_kernel import fee_twd, lots_for

SETS_AT_ONCE = 100  # its records and tiled prices take some 150 MB then


@njit(cache=True)
def before_segment(c, market, matrix, lot, rate_e8, minimum_twd, cap_twd, held, cost, told, size, price, fees):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Work out what trades in row c.i; told[0] stocks are held, told[1] orders trade, their columns from told[2] on."""
    opening, high, low, close, traded, target, up, down, edge, ranked, tax_e8 = market
    n = close.shape[1]
    if c.i == 0:
        told[0] = 0
        cost[:] = 0
    told[1] = 0
    if c.i == 0:
        return (0,)
    now, then = c.i - 1, c.i
    top_k, entry, leave, stop, invest = matrix[c.group]
    cash = round(c.last_cash[c.group])
    equity = cash
    for place in range(told[0]):
        equity += close[now, held[place]] * int(c.last_position[c.from_col + held[place]]) // 100
    before = told[0]
    slots, left = top_k - before, cash
    slot = min(equity * invest // 10_000 // top_k, cap_twd)
    bought = 0
    for place in range(n):
        i = ranked[now, place]
        if slots <= 0 or i < 0 or edge[now, i] < entry * 10_000:
            break
        if c.last_position[c.from_col + i] == 0:
            lots = lots_for(close[now, i], min(slot, left), lot, rate_e8, minimum_twd)
            if lots > 0:
                value_x100 = close[now, i] * lots * lot
                left -= value_x100 // 100 + fee_twd(value_x100, rate_e8, minimum_twd)
                slots -= 1
                paid = opening[then, i]
                still = high[then, i] == low[then, i]
                if traded[then, i] == 1 and paid <= close[now, i] and not (still and high[then, i] >= up[then, i]):
                    value_x100 = paid * lots * lot
                    fee = fee_twd(value_x100, rate_e8, minimum_twd)
                    at = told[1]
                    told[2 + at], size[at], price[at], fees[at] = i, lots * lot, paid / 100, fee
                    told[1] += 1
                    cost[i] = value_x100 // 100 + fee
                    held[before + bought] = i
                    bought += 1
    for place in range(before - 1, -1, -1):
        i = held[place]
        if traded[now, i] == 0:
            continue
        shares = int(c.last_position[c.from_col + i])
        bad = target[now, i] > 0 and (target[now, i] - close[now, i]) * 10_000 < leave * close[now, i]
        worth = close[now, i] * shares // 100
        if bad or (stop > 0 and worth * 10_000 <= cost[i] * (10_000 - stop)):
            paid = opening[then, i]
            still = high[then, i] == low[then, i]
            if traded[then, i] == 1 and paid >= close[now, i] and not (still and low[then, i] <= down[then, i]):
                value_x100 = paid * shares
                fee = fee_twd(value_x100, rate_e8, minimum_twd) + value_x100 * tax_e8[i] // 10_000_000_000
                at = told[1]
                told[2 + at], size[at], price[at], fees[at] = i, -shares, paid / 100, fee
                told[1] += 1
                last = before + bought - 1
                held[place] = held[last]
                bought -= 1
    told[0] = before + bought
    return (0,)


@njit(cache=True)
def next_order(c, _from_segment, told, size, price, fees):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    if c.call_idx >= told[1]:
        return -1, NoOrder
    at = c.call_idx
    return c.from_col + told[2 + at], order_nb(size=size[at], price=price[at], fixed_fees=fees[at])


def play(market: Any, matrix: Any, cash_twd: int, lot: int, rate_e8: int, minimum_twd: int, cap_twd: int) -> Any:
    close = market[3]
    rows, n = close.shape
    final = []
    for first in range(0, len(matrix), SETS_AT_ONCE):
        part = matrix[first : first + SETS_AT_ONCE]
        held, cost, told = np.zeros(n + 1, np.int64), np.zeros(n, np.int64), np.zeros(2 * n + 3, np.int64)
        size, price, fees = np.zeros(2 * n + 1), np.zeros(2 * n + 1), np.zeros(2 * n + 1)
        sets = len(part)
        records, _ = flex_simulate_nb(
            (rows, n * sets), np.full(sets, n), np.full(sets, float(cash_twd)), True, np.full((rows, sets), True),
            pre_segment_func_nb=before_segment,
            pre_segment_args=(market, part, lot, rate_e8, minimum_twd, cap_twd, held, cost, told, size, price, fees),
            flex_order_func_nb=next_order, flex_order_args=(told, size, price, fees),
            close=np.tile(close / 100, (1, sets)), fill_pos_record=False, ffill_val_price=False,
            max_orders=rows * sets * 12,
        )  # fmt: skip
        final.append(_worth(records, close, sets, cash_twd))
    return np.concatenate(final)


def _worth(records: Any, close: Any, sets: int, cash_twd: int) -> Any:
    """Each set's cash and positions after its order records."""
    n = close.shape[1]
    signed = np.where(records["side"] == 0, records["size"], -records["size"])
    group = records["col"] // n
    spent = np.bincount(group, weights=signed * records["price"] + records["fees"], minlength=sets)
    shares = np.bincount(records["col"], weights=signed, minlength=n * sets).reshape(sets, n)
    return np.rint(cash_twd - spent + (shares * close[-1] / 100).sum(axis=1)).astype(np.int64)
