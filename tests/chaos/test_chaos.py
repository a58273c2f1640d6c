"""The short form of `make chaos`, and proof that its audits see what they are there to see."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ambiguity import run_mix
from builders import at
from chaos_audit import (
    Audit,
    Books,
    cash_change_twd,
    check_decided_on_truth,
    check_equity,
    check_money,
    check_orders,
    check_posts,
    check_stages,
    read_books,
    shares_by_own_sums,
)
from crash_matrix import draw_of, run_seed, warm_up
from kill_points import POINTS, Watch, write_of
from real_processes import ForkServer

from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings


@dataclass(frozen=True, slots=True)
class Place:
    """A sandbox and a warm server of daemons."""

    sandbox: Sandbox
    server: ForkServer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    settings = SandboxSettings(start=at(date(2025, 1, 6), "15:00"), codes=("2330",), dividends=True)
    with start_sandbox(settings) as sandbox, ForkServer() as server:
        warm_up(tmp_path_factory.mktemp("warm") / "up", sandbox, server)
        yield Place(sandbox, server)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_daemon_killed_at_every_point_loses_nothing(seed: int, place: Place, tmp_path: Path) -> None:
    result = run_seed(seed, tmp_path / "run", place.sandbox, place.server)
    assert result.audit.violations == []
    assert set(result.kills) >= {point.name for point in POINTS}
    assert len(result.kills) == len(set(result.kills))
    assert result.audit.counts["fills"] > 0


@pytest.mark.parametrize("number", [1, 2])
def test_a_mix_of_faults_ends_with_nothing_open(number: int, place: Place, tmp_path: Path) -> None:
    result = run_mix(number, tmp_path / "run", place.sandbox, place.server)
    assert result.audit.violations == []
    assert any(fault != "none" for fault, _ in result.ends)


def test_there_are_enough_points_and_each_seed_arms_them_all() -> None:
    assert len(POINTS) >= 12
    assert draw_of(7).armed.keys() == {point.name for point in POINTS}
    assert draw_of(7) == draw_of(7) != draw_of(8)
    alone = draw_of(7, "POST leaving")
    assert alone.armed == {"POST leaving": draw_of(7).armed["POST leaving"]}
    assert replace(alone, armed=draw_of(7).armed) == draw_of(7)


# --- the audits must be able to fail ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quiet_run(place: Place, tmp_path_factory: pytest.TempPathFactory) -> tuple[Books, int]:
    """Both books after a run with one kill, and the cash it began with; no test may change them."""
    folder = tmp_path_factory.mktemp("audited") / "run"
    result = run_seed(3, folder, place.sandbox, place.server, only="POST unanswered")
    assert result.audit.violations == []
    books = read_books(folder / "twtrader.db", place.sandbox.book(), place.sandbox.posts())
    return books, draw_of(3).cash_twd


def audited(books: Books, start_twd: int) -> set[str]:
    """The kinds of violations that the audits find."""
    audit = Audit()
    sessions = [date.fromisoformat(row["session"]) for row in books.equity]
    check_posts(books, audit)
    check_orders(books, audit)
    check_money(books, audit, start_twd, (books.equity[-1]["cash_twd"], shares_by_own_sums(books)))
    check_equity(books, audit, start_twd)
    check_stages(books, audit, sessions)
    check_decided_on_truth(books, audit)
    return {text.partition(":")[0] for text in audit.violations}


def _send_again(books: Books) -> None:
    books.posts.append({**books.posts[0], "number": len(books.posts) + 1})


def _send_unknown(books: Books) -> None:
    books.posts.append({**books.posts[0], "form": {**books.posts[0]["form"], "stock_code": "1101"}})


def _journal_sending_again(books: Books) -> None:
    books.events.append(next(event for event in books.events if event["state"] == "sending"))


def _leave_open(books: Books) -> None:
    books.orders[0]["state"] = "unknown"


def _forget_an_order(books: Books) -> None:
    filled = next(order for order in books.book["orders"] if order["fill"])
    books.orders[:] = [order for order in books.orders if order["symbol"] != filled["symbol"]]


def _pay_a_dollar_more(books: Books) -> None:
    books.book["cash_twd"] += 1


def _believe_a_dollar_more(books: Books) -> None:
    books.equity[-1]["cash_twd"] += 1


def _bill_a_dollar_more(books: Books) -> None:
    books.fills[0]["commission_twd"] += 1


def _hold_a_lot_more(books: Books) -> None:
    position = books.book["positions"].setdefault("1101", {"shares": 0, "cost_twd": 0})
    position["shares"] += 1_000


def _skip_a_stage(books: Books) -> None:
    books.stages[0]["outcome"] = "failed"


def _decide_on_an_empty_book(books: Books) -> None:
    sold = next(order for order in books.orders if order["side"] == "sell")
    stocks = books.decisions[sold["decided"]]["stocks"]
    stocks["held_shares"] = [0] * len(stocks["held_shares"])


@pytest.mark.parametrize(
    ("forge", "found"),
    [
        (_send_again, "duplicate POSTs"),
        (_send_unknown, "POSTs without an intent"),
        (_journal_sending_again, "sent twice by the journal"),
        (_leave_open, "orders lost"),
        (_forget_an_order, "reservations unknown to the journal"),
        (_pay_a_dollar_more, "cash off"),
        (_believe_a_dollar_more, "equity lines off"),
        (_bill_a_dollar_more, "fills that differ"),
        (_hold_a_lot_more, "shares off"),
        (_skip_a_stage, "stages not done once"),
        (_decide_on_an_empty_book, "decisions on a wrong book"),
    ],
)
def test_the_audit_finds_what_was_forged(
    forge: Callable[[Books], None], found: str, quiet_run: tuple[Books, int]
) -> None:
    true, start_twd = quiet_run
    assert audited(true, start_twd) == set()
    forged = copy.deepcopy(true)
    forge(forged)
    assert found in audited(forged, start_twd)


@pytest.mark.parametrize(
    ("trade", "cash_twd"),
    [
        (("2330", 1_000, 1_055_00), -1_055_000 - 1_503),  # 1,503.375 cut
        (("2330", -1_000, 1_055_00), 1_055_000 - 1_503 - 3_165),
        (("0050", -1_000, 100_00), 100_000 - 142 - 100),  # a fund's tax is 0.1 %; 142.5 cut
        (("1101", 1_000, 10_00), -10_000 - 20),  # the least fee
    ],
)
def test_the_audits_own_arithmetic(trade: tuple[str, int, int], cash_twd: int) -> None:
    assert cash_change_twd(*trade) == cash_twd


# --- the points are where their names say -----------------------------------------------------------------------------


def test_a_commit_is_passed_before_and_after_it_happened() -> None:
    seen: list[tuple[str, int]] = []
    with closing(sqlite3.connect(":memory:")) as db, closing(sqlite3.connect(":memory:")):
        watch = Watch(
            armed={"decision before commit": 1, "decision after commit": 1},
            die=lambda point: seen.append((point, db.in_transaction)),
            ready=lambda: None,
        )
        db.execute("create table decisions (session text)")
        for sql in ("BEGIN", "INSERT INTO [decisions] ([session]) VALUES ('2025-01-02')", "COMMIT"):
            watch.statement(sql, ())
            db.execute(sql)
        watch.committed()
    assert seen == [("decision before commit", True), ("decision after commit", False)]


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ('INSERT INTO "order_events" ("key", "state") VALUES (?, ?)', ("order_events", True)),
        ("insert or ignore into [bars] ([symbol]) values (?)", ("bars", True)),
        ("UPDATE [orders] SET [state] = ? WHERE [key] = ?", ("orders", True)),
        ("delete from unexplained", ("unexplained", False)),
        ("select * from orders", None),
        ("SAVEPOINT x", None),
    ],
)
def test_what_a_statement_writes(sql: str, told: tuple[str, bool] | None) -> None:
    write: Any = write_of(sql, ["sending", 5])
    assert (write and (write.table, write.adds)) == told
    assert write is None or write.texts == {"sending"}


def test_only_the_answer_to_a_post_is_a_receipt() -> None:
    passed: list[str] = []
    points = {"receipt after commit", "interrupted after commit", "first buy before commit", "settlement after commit"}
    watch = Watch(armed=dict.fromkeys(points, 1), die=passed.append, ready=lambda: None)

    def move(key: str, state: str, *more: str) -> None:
        watch.statement("BEGIN", ())
        watch.statement("INSERT INTO order_events VALUES (?, ?)", (key, state))
        for sql in more:
            watch.statement(sql, ())
        watch.statement("COMMIT", ())
        watch.committed()

    move("2025-01-02:2330:buy", "unknown")
    assert passed == ["interrupted after commit"]
    move("2025-01-02:2317:sell", "sending")
    watch.leaving("/stock/trading_api/sell")
    watch.answered("/stock/trading_api/sell")
    move("2025-01-02:2317:sell", "unknown")
    assert passed[1:] == ["receipt after commit"]
    move("2025-01-02:2330:buy", "sending")
    assert passed[2:] == ["first buy before commit"]
    move("2025-01-02:2330:buy", "filled", "INSERT INTO fills VALUES (1)")
    assert passed[3:] == ["settlement after commit"]
