"""Ambiguity: random mixes of faults on buys, sells and holdings over several sessions, and a person for what is left.

The daemon is the real process on the real HTTP path; only the exchange misbehaves. A client that waits 0.12 s meets "30 s
late" as 0.12 s: the sandbox holds its answer for 30 s, but no longer than the client waits.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from chaos_audit import (
    Audit,
    Books,
    check_decided_on_truth,
    check_money,
    check_nothing_unexplained,
    check_posts,
    read_books,
)
from crash_matrix import LISTED, OVER_THE_COUNTER, QUIET, Draw, new_world, set_rules, small_rehearsal
from person import tidy_up
from real_processes import ForkServer

from bot.rehearsal import CHURN
from bot.sandbox.process import Sandbox

TIMEOUT_S = 0.12
SLOW_S = 0.02  # late, but in time
ORDER_FAULTS = (
    "hang", "hang_before", "http_500", "http_503_after", "reset", "reset_after", "empty", "empty_after", "html",
    "html_after", "wrong_json", "wrong_json_after", "no_session", "accepted_twice", "slow",
)  # fmt: skip
BOOK_FAULTS = ("holdings_failed", "holdings_stale", "http_500", "empty", "html", "wrong_json", "reset", "hang", "slow")
ENDS = {"filled", "expired", "rejected", "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What goes wrong: for each path the fault of each call in its turn, "none" where there is none."""

    drawn: Draw
    sessions: int
    faults: Mapping[str, Sequence[str]]
    visits: Sequence[bool]  # whether the person looks in the morning after each session


def mix_of(number: int) -> Mix:
    """The mix `number`."""
    draw = Random(f"ambiguity:{number}")
    codes = tuple(draw.sample(LISTED, draw.randint(2, 3)) + draw.sample(OVER_THE_COUNTER, draw.randint(0, 1)))
    sessions = draw.randint(3, 5)

    def queue(kinds: Sequence[str], length: int) -> list[str]:
        share = draw.choice((0.2, 0.5, 0.8))
        return [draw.choice(kinds) if draw.random() < share else "none" for _ in range(length)]

    return Mix(
        drawn=Draw(
            codes=codes,
            strangers_code=codes[0],
            first=date(2024, 11, 1) + timedelta(days=draw.randrange(400)),
            cash_twd=draw.choice((3_000_000, 100_000_000)),
            rules={
                **CHURN["rules"],
                "top_k": len(codes) + draw.randint(0, 1),
                "buy_offset_bps": draw.randrange(-100, 151, 50),
                "sell_offset_bps": draw.randrange(-100, 151, 50),
                "max_order_twd": draw.choice((400_000, 2_000_000)),
            },
            armed={},
        ),
        sessions=sessions,
        faults={
            "buy": queue(ORDER_FAULTS, 4 * sessions),
            "sell": queue(ORDER_FAULTS, 4 * sessions),
            # A failed reading is repeated every ten minutes until 18:20: now and then a whole evening of them fails.
            "get_user_stocks": [
                kind
                for kind in queue(BOOK_FAULTS, 2 * sessions)
                for _ in range(draw.choice((1, 1, 1, 3, 20)) if kind not in {"none", "holdings_stale"} else 1)
            ],
        },
        visits=[draw.random() < 0.3 for _ in range(sessions)],
    )


@dataclass(slots=True)
class MixResult:
    """How one mix went: for each order the fault its POST met and where it ended, readings, and the person's deeds."""

    number: int
    audit: Audit = field(default_factory=Audit)
    ends: list[tuple[str, str]] = field(default_factory=list)
    readings: list[str] = field(default_factory=list)
    deeds: list[str] = field(default_factory=list)


def run_mix(number: int, folder: Path, sandbox: Sandbox, server: ForkServer) -> MixResult:
    """Rehearse mix `number` in `folder`, let the person tidy up, and audit both books."""
    mix, result = mix_of(number), MixResult(number=number)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sessions = new_world(sandbox, mix.drawn, number)
    config = small_rehearsal(folder, sandbox.url, mix.drawn, timeout_s=TIMEOUT_S)
    for path, kinds in mix.faults.items():
        for kind in kinds:
            slow = kind == "slow"
            sandbox.fault(f"/stock/trading_api/{path}", "hang" if slow else kind, seconds=SLOW_S if slow else 30.0)

    def run(session: date) -> None:
        ended = server(config, ["run", "--until", session.isoformat()])
        result.audit.must(ended.code == 0, "daemons that failed", f"exit {ended.code}: {ended.err[-400:]}")

    for session, visit in zip(sessions[: mix.sessions], mix.visits, strict=True):
        if visit:
            run(session)
            result.deeds += tidy_up(config, sandbox, server)
    run(sessions[mix.sessions - 1])
    sandbox.clear_faults()
    set_rules(config, QUIET)
    run(sessions[mix.sessions + 1])
    result.deeds += tidy_up(config, sandbox, server)
    _audit(folder / "twtrader.db", sandbox, mix.drawn.cash_twd, result)
    return result


def _audit(database: Path, sandbox: Sandbox, start_twd: int, result: MixResult) -> None:
    from contextlib import closing

    from bot.adapters.sqlite_journal import Journal
    from bot.adapters.sqlite_open import open_database

    books = read_books(database, sandbox.book(), sandbox.posts())
    with closing(open_database(database)) as db:
        held = Journal(db).portfolio()
    audit = result.audit
    check_posts(books, audit)
    check_decided_on_truth(books, audit)
    for order in books.orders:
        audit.must(order["state"] in ENDS, "orders still open", f"{order['key']} is {order['state']}")
    check_nothing_unexplained(books, audit)
    check_money(
        books, audit, start_twd, (held.cash_twd, {symbol: one.shares for symbol, one in held.positions.items()})
    )
    met = faults_met(books)
    result.ends = [
        (met.get((one["decided"], one["symbol"], one["side"]), "not sent"), end_of(one, books)) for one in books.orders
    ]
    result.readings = [post["fault"] or "none" for post in sandbox.posts() if post["path"].endswith("get_user_stocks")]
    audit.counts["sessions"] += len(books.decisions)


def faults_met(books: Books) -> dict[tuple[str, str, str], str]:
    """By intent, the fault that met its POST."""
    return {
        (
            max(one["decided"] for one in books.orders if one["decided"] <= post["at"][:10]),
            post["form"]["stock_code"],
            post["path"].rpartition("/")[2],
        ): post["fault"] or "none"
        for post in books.posts
    }


def end_of(order: dict[str, Any], books: Books) -> str:
    """Where the order ended, and whether it was `unknown` on the way."""
    states = [event["state"] for event in books.events if event["key"] == order["key"]]
    return order["state"] + (" after unknown" if "unknown" in states else "")
