"""What must be true after a run, worked out from the sandbox's side with arithmetic of our own.

Nothing here asks the product what is right: the journal is read with plain SQL, fees are Decimal arithmetic written from
the platform's rules (0.1425 % a side, at least NT$20, 0.3 % on sales of stocks, 0.1 % of funds, each cut to whole TWD).
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

FINAL = {"filled", "expired", "rejected", "cancelled"}
STAGES = ("prices", "settle", "news", "forecast", "decide", "send")


@dataclass(slots=True)
class Audit:
    """Counts for the report, and every violation in a line of its own."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def must(self, holds: bool, count: str, text: str) -> None:
        """Count `text` as a violation of `count` unless it `holds`."""
        self.counts[count] += not holds
        if not holds:
            self.violations.append(f"{count}: {text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Both sides at the end: the journal's rows, and the exchange's book and log of POSTs.

    `book` holds all that happened in the account, `posts` what the daemon sent; `strangers` are the numbers of the
    reservations that others made.
    """

    orders: list[dict[str, Any]]
    events: list[dict[str, Any]]
    fills: list[dict[str, Any]]
    stages: list[dict[str, Any]]
    equity: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    surprises: list[str]
    decisions: dict[str, dict[str, Any]]
    book: dict[str, Any]
    posts: list[dict[str, Any]]
    dividends: list[dict[str, Any]]
    strangers: set[int]


def read_books(
    database: Path, book: dict[str, Any], posts: Sequence[dict[str, Any]], strangers: Sequence[int] = ()
) -> Books:
    """The journal at `database` beside what the sandbox tells; `strangers` are numbers of POSTs that others sent."""
    orders = [post for post in posts if post["path"].endswith(("/buy", "/sell"))]
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row

        def rows(sql: str) -> list[dict[str, Any]]:
            return [dict(row) for row in db.execute(sql)]

        return Books(
            orders=rows("select * from orders order by key"),
            events=rows("select * from order_events order by id"),
            fills=rows("select * from fills"),
            stages=rows("select * from stages"),
            equity=rows("select * from equity order by session"),
            differences=rows("select * from book_events"),
            surprises=[row["text"] for row in rows("select text from surprises order by id")],
            decisions={row["session"]: json.loads(row["inputs"]) for row in rows("select * from decisions")},
            book=book,
            posts=[post for post in orders if post["number"] not in strangers],
            dividends=rows("select * from cash_events where kind = 'dividend'"),
            strangers={number for post in orders if post["number"] in strangers for number in post["reservations"]},
        )


def cash_change_twd(symbol: str, shares: int, price_x100: int) -> int:
    """What a trade does to cash; `shares` < 0 sells."""
    value = Decimal(price_x100) / 100 * abs(shares)
    fee = max(Decimal(20), (value * Decimal("0.001425")).to_integral_value(ROUND_FLOOR))
    if shares > 0:
        return int(-value - fee)
    tax_rate = Decimal("0.001") if symbol.startswith("00") else Decimal("0.003")
    return int(value - fee - (value * tax_rate).to_integral_value(ROUND_FLOOR))


def _traded(books: Books, until: str = "9999") -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """Reservations that filled in a session up to `until`, with their fills."""
    for order in books.book["orders"]:
        if order["fill"] is not None and order["fill"]["session"] <= until:
            yield order, order["fill"]


def cash_by_own_sums_twd(books: Books, start_twd: int, until: str = "9999") -> int:
    """Cash after `until`: what every filled reservation did, from its shares and limit alone, and dividends.

    What dividends came to is the journal's figure; `check_money` holds their sum against the exchange's own.
    """
    dividends_twd = sum(row["amount_twd"] for row in books.dividends if row["day"] <= until)
    return (
        start_twd
        + dividends_twd
        + sum(
            cash_change_twd(
                order["symbol"], order["shares"] if order["side"] == "buy" else -order["shares"], order["limit_x100"]
            )
            for order, _ in _traded(books, until)
        )
    )


def shares_by_own_sums(books: Books, until: str = "9999") -> dict[str, int]:
    """Shares by symbol after `until`."""
    held: Counter[str] = Counter()
    for order, fill in _traded(books, until):
        held[order["symbol"]] += fill["shares"]
    return {symbol: shares for symbol, shares in held.items() if shares}


# --- the checks -------------------------------------------------------------------------------------------------------


def check_posts(books: Books, audit: Audit) -> None:
    """At most one POST an intent, none without an intent, and none for an order that never went to `sending`."""
    went = {event["key"] for event in books.events if event["state"] == "sending"}
    twice = [
        key for key, count in Counter(e["key"] for e in books.events if e["state"] == "sending").items() if count > 1
    ]
    audit.must(not twice, "sent twice by the journal", ", ".join(twice))
    intents: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for order in books.orders:
        intents.setdefault((order["decided"], order["symbol"], order["side"]), []).append(order)
    posted: Counter[tuple[str, str, str]] = Counter()
    for post in books.posts:
        form, side = post["form"], post["path"].rpartition("/")[2]
        decided = max((one["decided"] for one in books.orders if one["decided"] <= post["at"][:10]), default="")
        intent = (decided, form["stock_code"], side)
        posted[intent] += 1
        mine = intents.get(intent, [])
        audit.must(
            bool(mine), "POSTs without an intent", f"POST {post['number']} {post['at']} {side} {form['stock_code']}"
        )
        audit.must(
            any(
                one["shares"] == int(form["stock_shares"]) * 1000
                and Decimal(one["limit_x100"]) / 100 == Decimal(form["stock_price"])
                for one in mine
            ),
            "POSTs unlike their intent", f"POST {post['number']} {form}",
        )  # fmt: skip
    for intent, count in posted.items():
        allowed = sum(one["key"] in went for one in intents.get(intent, []))
        audit.must(count <= allowed, "duplicate POSTs", f"{count} POSTs for {' '.join(intent)}, {allowed} intents sent")
    audit.counts["POSTs"] += len(books.posts)
    audit.counts["orders"] += len(books.orders)


def check_orders(books: Books, audit: Audit) -> None:
    """Every order ended, and its end is what the exchange's book says; every reservation is in the journal."""
    fills = {fill["key"]: fill for fill in books.fills}
    by_intent: dict[tuple[str, str, int, int], list[dict[str, Any]]] = {}
    for order in books.orders:
        audit.must(order["state"] in FINAL, "orders lost", f"{order['key']} is still {order['state']}")
        audit.must(
            (order["state"] == "filled") == (order["key"] in fills), "fills beside the state",
            f"{order['key']} is {order['state']}",
        )  # fmt: skip
        by_intent.setdefault((order["symbol"], order["side"], order["shares"], order["limit_x100"]), []).append(order)
    for reservation in books.book["orders"]:
        if reservation["number"] in books.strangers:
            continue
        key = tuple(reservation[name] for name in ("symbol", "side", "shares", "limit_x100"))
        known = [one for one in by_intent.get(key, []) if one["decided"] == _decided_before(reservation, books)]  # type: ignore[arg-type]
        audit.must(bool(known), "reservations unknown to the journal", f"number {reservation['number']} {key}")
        if known:
            _same_end(known[0], reservation, fills.get(known[0]["key"]), audit)


def _decided_before(reservation: dict[str, Any], books: Books) -> str:
    """The session whose decision a reservation comes from: the newest one when it was placed."""
    return max((one["decided"] for one in books.orders if one["decided"] <= reservation["placed_at"][:10]), default="")


def _same_end(order: dict[str, Any], reservation: dict[str, Any], fill: dict[str, Any] | None, audit: Audit) -> None:
    """The journal's end of an order is the exchange's."""
    ends = {"filled": {"filled"}, "expired": {"expired"}, "rejected": {"rejected", "expired"}}
    allowed = ends.get(reservation["state"], {"accepted"})
    audit.must(
        order["state"] in allowed, "ends that differ",
        f"{order['key']} is {order['state']}, the exchange says {reservation['state']}",
    )  # fmt: skip
    if fill is not None and reservation["fill"] is not None:
        names = ("session", "shares", "price_x100", "commission_twd", "tax_twd")
        mine, theirs = ([one[name] for name in names] for one in (fill, reservation["fill"]))
        audit.must(mine == theirs, "fills that differ", f"{order['key']}: {mine}, the exchange says {theirs}")


def check_money(books: Books, audit: Audit, start_twd: int, journal: tuple[int, dict[str, int]]) -> None:
    """Journal, exchange and our own sums agree to NT$1 and to the share; so does each session's equity line."""
    cash_twd, shares = journal
    own_twd, own_shares = cash_by_own_sums_twd(books, start_twd), shares_by_own_sums(books)
    book_shares = {symbol: row["shares"] for symbol, row in books.book["positions"].items()}
    dividends_twd = sum(row["amount_twd"] for row in books.dividends)
    paid_twd = books.book["dividends_twd"]
    audit.must(dividends_twd == paid_twd, "dividends off", f"journal {dividends_twd:,}, exchange {paid_twd:,}")
    audit.counts["dividends"] += len(books.dividends)
    told = f"journal {cash_twd:,}, exchange {books.book['cash_twd']:,}, own sums {own_twd:,}"
    audit.must(cash_twd == books.book["cash_twd"] == own_twd, "cash off", told)
    audit.must(
        shares == book_shares == own_shares, "shares off", f"journal {shares}, exchange {book_shares}, {own_shares}"
    )


def check_equity(books: Books, audit: Audit, start_twd: int) -> None:
    """Each session's equity line has the cash that our own sums have, except while a difference was open for a person."""
    for row in books.equity:
        session = row["session"]
        if any(one["first_seen"] <= session <= (one["solved_at"] or "9")[:10] for one in books.differences):
            audit.counts["equity lines while a difference was open"] += 1
            continue
        own_twd = cash_by_own_sums_twd(books, start_twd, session)
        audit.must(row["cash_twd"] == own_twd, "equity lines off", f"{session}: {row['cash_twd']:,}, {own_twd:,}")


def check_stages(books: Books, audit: Audit, sessions: Sequence[date]) -> None:
    """Each stage of each session is done, once."""
    done = Counter((row["session"], row["stage"], row["outcome"]) for row in books.stages)
    for session in sessions:
        for stage in STAGES:
            count = done[session.isoformat(), stage, "done"]
            audit.must(count == 1, "stages not done once", f"{session} {stage}: {count}")
    audit.must(len(books.equity) == len(sessions), "stages not done once", f"{len(books.equity)} equity lines")
    audit.counts["sessions"] += len(sessions)


def check_nothing_unexplained(books: Books, audit: Audit) -> None:
    """No difference between the books is left."""
    left = [f"{one['shares']:+,} {one['symbol']}" for one in books.differences if one["solved_at"] is None]
    audit.must(not left, "unexplained differences", ", ".join(left))


def check_decided_on_truth(books: Books, audit: Audit) -> None:
    """Every order was planned on a stock whose position the decision had right: never on a failed or stale reading."""
    for order in books.orders:
        inputs = books.decisions[order["decided"]]
        believed = dict(zip(inputs["day"]["symbols"], inputs["stocks"]["held_shares"], strict=True))[order["symbol"]]
        true = shares_by_own_sums(books, order["decided"]).get(order["symbol"], 0)
        audit.must(
            believed == true, "decisions on a wrong book",
            f"{order['key']}: decided on {believed:,} shares, there were {true:,}",
        )  # fmt: skip
