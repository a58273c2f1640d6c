"""A strategy that buys at random: the kernel plays a thousand of it as it plays a thousand parameter sets.

It reads no forecast. Its numbers come from a hash of the draw, the session and the stock, in whole numbers below 2^63,
so that plain Python and the compiled kernel draw the same. Four knobs of the rules mean something else here:

    max_holding_sessions   the seed                  take_profit_bps   the number of the draw
    stop_bps               how often a free slot buys, in 1/10,000 a session
    target_x100 (of the tape) holds in every row the lengths of stay to draw from, in thousandths of a session

All others mean what they always do: `top_k`, `invest_bps` and `max_order_twd` size the orders, the offsets set limits.
"""

from __future__ import annotations

from typing import Final

from bot.core.costs import commission_twd
from bot.core.rule import (
    BPS,
    Book,
    Knobs,
    Orders,
    Purse,
    Rates,
    Strategy,
    View,
    affordable_shares,
    buy_limit_x100,
    sell_limit_x100,
)

RANDOM: Final = "random"
THOUSAND: Final = 1_000
TRIES: Final = 3  # times the number of stocks: so often a stock is drawn before a slot stays empty for a session
_ENTERS, _PICKS, _STAYS = 0, 1, 2  # what a number is drawn for
_BUY, _SELL = 1, 2
_LOW_32: Final = 4_294_967_295


def mixed(number: int) -> int:
    """32 bits in which each bit of `number` counts for each: C. Wellons' two-round multiply-xorshift, "lowbias32"."""
    number &= _LOW_32
    number ^= number >> 16
    number = number * 569_420_461 & _LOW_32
    number ^= number >> 15
    number = number * 1_935_289_751 & _LOW_32
    return number ^ number >> 15


def drawn(rules: Knobs, what: int, session: int, place: int) -> int:
    """A number of 32 bits for one draw, one session and one place (a slot, a try or a stock)."""
    number = mixed(rules.max_holding_sessions * 4 + what)
    number = mixed(number + rules.take_profit_bps)
    number = mixed(number + session)
    return mixed(number + place)


def stay_sessions(rules: Knobs, view: View, opened: int, stock: int) -> int:
    """For how many sessions the position that was opened in session `opened` is to stay."""
    chance = drawn(rules, _STAYS, opened, stock)
    length = view.target_x100[chance % len(view.etf)]
    up = 1 if chance // len(view.etf) % THOUSAND < length % THOUSAND else 0
    return length // THOUSAND + up


def plan_random(
    now: int,
    view: View,
    book: Book,
    holdings: int,
    purse: Purse,
    rates: Rates,
    rules: Knobs,
    orders: Orders,
) -> int:
    """Offer what has stayed long enough; then each free slot buys a stock drawn by lot, or not. Counts the orders."""
    count = 0
    for place in range(holdings):
        i = book.held[place]
        # The stay began at the close before the opening fill, when the purchase was decided.
        if view.tradable[i] != 0 and now - book.opened[i] + 1 >= stay_sessions(rules, view, book.opened[i], i):
            orders.stock[count] = i
            orders.shares[count] = -book.shares[i]
            orders.limit_x100[count] = sell_limit_x100(i, view, rules.sell_offset_bps)
            orders.reason[count] = _SELL
            count += 1

    n = len(view.etf)
    sold = count
    cash_left = purse.spendable_twd
    slot_twd = min(max(purse.equity_twd, 0) * rules.invest_bps // BPS // rules.top_k, rules.max_order_twd)
    for slot in range(rules.top_k - holdings):
        if drawn(rules, _ENTERS, now, slot) % BPS >= rules.stop_bps:
            continue
        for attempt in range(TRIES * n):
            i = drawn(rules, _PICKS, now, slot * TRIES * n + attempt) % n
            taken = view.tradable[i] == 0 or book.shares[i] != 0
            for k in range(sold, count):
                taken = taken or orders.stock[k] == i
            if taken:
                continue
            limit = buy_limit_x100(i, view, rules.buy_offset_bps)
            shares = affordable_shares(limit, min(slot_twd, cash_left), rules.lot_shares, rates)
            if shares > 0:
                orders.stock[count] = i
                orders.shares[count] = shares
                orders.limit_x100[count] = limit
                orders.reason[count] = _BUY
                count += 1
                cash_left -= limit * shares // 100 + commission_twd(limit, shares, rates.rate_e8, rates.minimum_twd)
                break
    return count


RANDOM_RULE: Final = Strategy(
    name=RANDOM, plan=plan_random, reasons={_BUY: "drawn by lot", _SELL: "stayed long enough"}
)
