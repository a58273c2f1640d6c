"""A person who tidies up: sees what `orders list --json` and `reconcile --json` say, and the exchange's web page.

The web page is the sandbox's own book: trades with their prices, no keys, no intents. What the person does is what the
commands advise; nothing here looks into the database.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from real_processes import Ended, ForkServer, FreshStarts

from bot.sandbox.process import Sandbox

ROUNDS = 8  # after so many tries a person gives up, and the audit says what is left
WHY = ["--reason", "as the web page shows"]


def tidy_up(config: Path, sandbox: Sandbox, server: ForkServer | FreshStarts) -> list[str]:
    """Resolve orders whose session is over, then take in what no order explains; what was done, in a word each."""
    deeds: list[str] = []
    for _ in range(ROUNDS):
        done = _one_thing(config, sandbox, server)
        if not done:
            break
        deeds.append(done)
    return deeds


def _one_thing(config: Path, sandbox: Sandbox, server: ForkServer | FreshStarts) -> str:
    """Do the first thing that needs doing; empty when there is none that can be done now."""
    told = _asked(server(config, ["reconcile", "--json"]))
    if told is None:
        return ""  # the book can't be read now: another morning
    orders: list[dict[str, Any]] = _asked(server(config, ["orders", "list", "--json"])) or []
    trades = sandbox.book()["orders"]
    page = {symbol: row["shares"] for symbol, row in sandbox.book()["positions"].items()}
    for order in orders:
        words = resolution_of(order, trades)
        if words:
            ended = server(config, ["orders", "resolve", order["key"], *words, *WHY])
            return f"resolved {words[0]}" if not ended.code else f"was refused: {_reason(ended)}"
    for line in told["stocks"]:
        symbol = line["symbol"]
        if not line["difference"] or line["orders"]:
            continue
        if line["book_shares"] != page.get(symbol, 0):
            continue  # what the command was told is not what the page shows: an old book, leave it
        price = price_of_strangers([one for one in orders if one["symbol"] == symbol], trades, line)
        if price is not None:
            ended = server(config, ["reconcile", "--adopt", symbol, "--price", price, *WHY])
            return "adopted" if not ended.code else f"was refused: {_reason(ended)}"
    return ""


def resolution_of(order: dict[str, Any], trades: Sequence[dict[str, Any]]) -> list[str]:
    """The words that resolve `order`, if it is in doubt and its session has been settled; else none."""
    if order["state"] != "unknown":
        return []
    mine = [trade for trade in trades if _is_it(trade, order)]
    settled = any(trade["settled"] for trade in trades if trade["placed_at"][:10] >= order["decided"])
    if any(trade["state"] == "filled" for trade in mine):
        return ["--filled"]
    if any(trade["state"] == "accepted" for trade in mine) or not (mine or settled):
        return []
    return ["--not-filled"]


def price_of_strangers(
    orders: Iterable[dict[str, Any]], trades: Sequence[dict[str, Any]], line: dict[str, Any]
) -> str | None:
    """What was paid or got for the shares that no order of ours explains; None where the page doesn't say clearly."""
    ours = Counter(_looks(one["side"], one["shares"], one["limit"]) for one in orders if one["state"] == "filled")
    left = []
    for trade in trades:
        if trade["symbol"] != line["symbol"] or not trade["fill"]:
            continue
        looks = _looks(trade["side"], trade["shares"], str(trade["limit_x100"] / 100))
        if ours[looks]:
            ours[looks] -= 1
        else:
            left.append(trade["fill"])
    for trade in left:
        if trade["shares"] == line["difference"]:
            return str(trade["price_x100"] / 100)
    return None


def _is_it(trade: dict[str, Any], order: dict[str, Any]) -> bool:
    """Whether a line of the page is this order: same stock, side, size and price, placed since it was decided."""
    same = _looks(trade["side"], trade["shares"], str(trade["limit_x100"] / 100))
    wanted = _looks(order["side"], order["shares"], order["limit"])
    return trade["symbol"] == order["symbol"] and same == wanted and trade["placed_at"][:10] == order["decided"]


def _looks(side: str, shares: int, price: str) -> tuple[str, int, float]:
    return side, shares, round(float(price), 2)


def _asked(ended: Ended) -> Any:
    """The JSON a command printed; None when it could not say."""
    return None if ended.code else json.loads(ended.out)


def _reason(ended: Ended) -> str:
    return ended.err.strip().splitlines()[-1] if ended.err.strip() else f"exit {ended.code}"
