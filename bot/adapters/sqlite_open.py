"""Opening the one SQLite file: WAL, waiting instead of failing, and the schema brought up to date."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bot.adapters.sqlite_migrations import Migrations, writable
from bot.errors import Refused

BUSY_TIMEOUT_S: Final = 30.0  # the status view and the daemon share the file; neither may see "locked"


migrations = Migrations("twtrader")


def open_database(path: Path, *, create: bool = True) -> Any:
    """The database at `path` with the current schema.

    Raises:
        Refused: it does not exist and `create` is off, its folder is missing, or it is no SQLite file.
    """
    if not create and not path.exists():
        raise Refused(f"{path.name}: no such database yet; `twtrader run` makes it")
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
        db = writable(connection)
        db.enable_wal()
        db.execute("pragma synchronous = full")  # an order must be on disk before it is on the wire
        db.execute("pragma foreign_keys = on")
        migrations.apply(db)
    except sqlite3.Error as wrong:
        raise Refused(f"{path}: {wrong}") from wrong
    return db


@contextmanager
def writing(db: Any) -> Iterator[None]:
    """A transaction that takes the right to write at once, or joins the one that is open.

    A plain one that reads first and then writes fails with "database is locked", without waiting, when another process
    wrote in between: the daemon and a command may both be at work.
    """
    if db.conn.in_transaction:
        with db.atomic():
            yield
        return
    db.conn.execute("begin immediate")
    try:
        yield
    except BaseException:
        db.conn.rollback()
        raise
    db.conn.commit()


@migrations()
def m001_market(db: Any) -> None:
    """What came in: bars, closings, headlines, and what the model said of them."""
    db["bars"].create(
        {"symbol": str, "session": str, "open_x100": int, "high_x100": int, "low_x100": int, "close_x100": int,
         "volume_shares": int, "turnover_twd": int, "trades": int, "fetched_at": str},
        pk=("symbol", "session"), strict=True,
        not_null={"open_x100", "high_x100", "low_x100", "close_x100", "volume_shares", "fetched_at"},
    )  # fmt: skip
    db["bars"].create_index(["session"])
    db["holidays"].create({"session": str, "name": str}, pk="session", strict=True)
    db["holiday_years"].create({"year": int, "fetched_at": str}, pk="year", strict=True)
    db["articles"].create(
        {"id": int, "symbol": str, "title": str, "url": str, "source": str, "language": str,
         "published_at": str, "fetched_at": str},
        pk="id", strict=True, not_null={"symbol", "title", "published_at", "fetched_at"},
    )  # fmt: skip
    db["articles"].create_index(["symbol", "url", "title"], unique=True)
    db["articles"].create_index(["symbol", "published_at"])
    db["forecasts"].create(
        {"symbol": str, "as_of": str, "model": str, "past_sessions": int, "future_sessions": int,
         "prompt_sha256": str, "trained_until": str, "bars": str, "made_at": str},
        pk=("symbol", "as_of", "model", "past_sessions", "future_sessions"), strict=True,
    )  # fmt: skip
    db["forecasts"].create_index(["as_of"])
    db["sentiments"].create(
        {"title": str, "model": str, "positive": float, "neutral": float, "negative": float, "made_at": str},
        pk=("title", "model"), strict=True,
    )  # fmt: skip


@migrations()
def m002_journal(db: Any) -> None:
    """What we did: the account, stages, decisions, orders and all their states, fills, equity, surprises."""
    db["account"].create({"id": int, "broker": str, "start_cash_twd": int, "opened_at": str}, pk="id", strict=True)
    db["stages"].create(
        {"session": str, "stage": str, "started_at": str, "duration_s": float, "outcome": str, "detail": str},
        pk=("session", "stage"), strict=True,
    )  # fmt: skip
    db["decisions"].create({"session": str, "decided_at": str, "sha256": str, "inputs": str}, pk="session", strict=True)
    db["orders"].create(
        {"key": str, "symbol": str, "decided": str, "side": str, "shares": int, "limit_x100": int, "reason": str,
         "state": str},
        pk="key", strict=True, foreign_keys=[("decided", "decisions", "session")],
    )  # fmt: skip
    db["orders"].create_index(["state"])
    db["order_events"].create(
        {"id": int, "key": str, "at": str, "state": str, "note": str},
        pk="id", strict=True, foreign_keys=[("key", "orders", "key")],
    )  # fmt: skip
    db["fills"].create(
        {"key": str, "symbol": str, "session": str, "shares": int, "price_x100": int, "commission_twd": int,
         "tax_twd": int},
        pk="key", strict=True, foreign_keys=[("key", "orders", "key")],
    )  # fmt: skip
    db["equity"].create({"session": str, "cash_twd": int, "value_twd": int}, pk="session", strict=True)
    db["surprises"].create({"id": int, "at": str, "session": str, "text": str}, pk="id", strict=True)
    db["surprises"].create_index(["session", "text"], unique=True)
    db["paper_orders"].create(
        {"key": str, "symbol": str, "decided": str, "side": str, "shares": int, "limit_x100": int, "state": str,
         "session": str, "price_x100": int},
        pk="key", strict=True,
    )  # fmt: skip


@migrations()
def m003_companies(db: Any) -> None:
    """Names by code, so that a view needs no list of the exchange's 46,000 codes."""
    db["companies"].create({"symbol": str, "name": str, "board": str}, pk="symbol", strict=True)


@migrations()
def m004_unexplained(db: Any) -> None:
    """Where the broker's book and the journal disagree, and whose account this is."""
    db["unexplained"].create({"symbol": str, "shares": int, "session": str}, pk="symbol", strict=True)
    db["account"].add_column("address", str, not_null_default="")


@migrations()
def m010_pipeline(db: Any) -> None:
    """What did not pass the gate, later different answers, and which questions about prices were answered."""
    db["quarantine"].create(
        {"id": int, "symbol": str, "session": str, "kind": str, "reason": str, "raw": str, "source": str,
         "close_x100": int, "other_x100": int, "quarantined_at": str},
        pk="id", strict=True, not_null={"symbol", "session", "kind", "reason", "raw", "source", "quarantined_at"},
    )  # fmt: skip
    db["quarantine"].create_index(["symbol", "session", "source", "kind", "raw"], unique=True)
    db["bar_revisions"].create(
        {"symbol": str, "session": str, "open_x100": int, "high_x100": int, "low_x100": int, "close_x100": int,
         "volume_shares": int, "turnover_twd": int, "trades": int, "known_at": str},
        pk=("symbol", "session", "known_at"), strict=True,
    )  # fmt: skip
    db["reference_prices"].create(
        {"symbol": str, "session": str, "reference_x100": int, "source": str},
        pk=("symbol", "session"), strict=True, not_null={"reference_x100", "source"},
    )  # fmt: skip
    db["month_answers"].create(
        {"symbol": str, "month": str, "through": str, "answered_at": str}, pk=("symbol", "month"), strict=True,
    )  # fmt: skip
    db["day_answers"].create(
        {"board": str, "session": str, "rows": int, "answered_at": str}, pk=("board", "session"), strict=True,
    )  # fmt: skip


@migrations()
def m020_schedules(db: Any) -> None:
    """Each version of the exchange's schedule with the moment it was read, in place of the newest one alone."""
    db["schedules"].create(
        {"year": int, "fetched_at": str, "checked_at": str, "closed": str, "weekend_sessions": str},
        pk=("year", "fetched_at"), strict=True,
    )  # fmt: skip
    for row in list(db["holiday_years"].rows):
        days = db["holidays"].rows_where("session like ?", [f"{row['year']:04d}-%"])
        closed = json.dumps({day["session"]: day["name"] for day in days}, ensure_ascii=False)
        db["schedules"].insert(
            {"year": row["year"], "fetched_at": row["fetched_at"], "checked_at": row["fetched_at"], "closed": closed,
             "weekend_sessions": "{}"}
        )  # fmt: skip
    db["holidays"].drop()
    db["holiday_years"].drop()


@migrations()
def m021_ex_rights(db: Any) -> None:
    """Ex-dates with their reference prices, each version with the moment it was read."""
    db["ex_rights"].create(
        {"symbol": str, "ex_date": str, "kind": str, "previous_x100": int, "reference_x100": int, "limit_up_x100": int,
         "limit_down_x100": int, "cash_dividend_twd": str, "source": str, "known_at": str,
         "withdrawn": int},
        pk=("symbol", "ex_date", "kind", "known_at"), strict=True,
        not_null={"previous_x100", "reference_x100", "source"},
    )  # fmt: skip
    db["ex_rights"].create_index(["ex_date"])
    db["ex_rights_asked"].create({"what": str, "since": str, "through": str, "asked_at": str}, pk="what", strict=True)


@migrations()
def m030_news(db: Any) -> None:
    """Each headline once, with the symbols it speaks of; requests spent on news; feeds' validators; signals."""
    from bot.adapters.sqlite_news import migrate_articles

    migrate_articles(db)
    db["news_requests"].create({"id": int, "source": str, "day": str, "at": str}, pk="id", strict=True)
    db["news_requests"].create_index(["source", "day"])
    db["news_questions"].create(
        {"symbol": str, "language": str, "asked_at": str}, pk=("symbol", "language"), strict=True
    )
    db["feeds"].create({"url": str, "etag": str, "last_modified": str, "fetched_at": str}, pk="url", strict=True)
    db["signals"].create(
        {"symbol": str, "as_of": str, "name": str, "value": int, "reasons": str, "made_at": str},
        pk=("symbol", "as_of", "name"), strict=True,
    )  # fmt: skip


@migrations()
def m040_order_keys(db: Any) -> None:
    """The key of an order names its strategy and leg too, and an order may fill in parts."""
    from bot.adapters.sqlite_order_keys import migrate_order_keys

    migrate_order_keys(db)


@migrations()
def m041_books(db: Any) -> None:
    """Unexplained differences, adjustments, dividends, and the cash identity of each settlement."""
    from bot.adapters.sqlite_order_keys import migrate_books

    migrate_books(db)


@migrations()
def m050_stops(db: Any) -> None:
    """The kill switch's rows, and what tripped the breaker."""
    db["halts"].create(
        {"id": int, "halted_at": str, "reason": str, "resumed_at": str},
        pk="id", strict=True, not_null={"halted_at", "reason"},
    )  # fmt: skip
    db["breaker_trips"].create(
        {"id": int, "session": str, "text": str, "tripped_at": str, "counts_from": str, "reset_at": str},
        pk="id", strict=True, not_null={"session", "text", "tripped_at"},
    )  # fmt: skip


@migrations()
def m070_stage_runs(db: Any) -> None:
    """Every run of every stage; a second final outcome of one stage of one session can't be stored."""
    db["stage_runs"].create(
        {"id": int, "session": str, "stage": str, "first_at": str, "last_at": str, "duration_s": float, "tries": int,
         "killed": int, "outcome": str, "detail": str},
        pk="id", strict=True, not_null={"session", "stage", "first_at", "last_at", "tries", "killed", "outcome"},
    )  # fmt: skip
    db.execute(
        "create unique index one_final_outcome on stage_runs (session, stage) "
        "where outcome not in ('running', 'waiting', 'void')"
    )
    db["stage_runs"].create_index(["session", "stage"])
    db.execute(
        "insert into stage_runs (session, stage, first_at, last_at, duration_s, tries, killed, outcome, detail) "
        "select session, stage, started_at, started_at, duration_s, 1, 0, outcome, detail from stages "
        "where stage <> 'calendar'"
    )


@migrations()
def m071_clock_mark(db: Any) -> None:
    """The highest moment that the clock has shown."""
    db["clock_mark"].create({"id": int, "highest_at": str}, pk="id", strict=True, not_null={"highest_at"})


@migrations()
def m080_trials(db: Any) -> None:
    """Every parameter set ever tried on which data, with its Sharpe ratio per session (see backtest/trials.py)."""
    db["trial_tapes"].create(
        {"id": int, "sha256": str, "strategy": str, "since": str, "until": str, "forecaster": str,
         "first_tried_at": str},
        pk="id", strict=True, not_null={"sha256", "strategy", "since", "until"},
    )  # fmt: skip
    db["trial_tapes"].create_index(["sha256", "strategy"], unique=True)
    # A hundred thousand rows a sweep: without a rowid they take 25 bytes each.
    db.execute(
        "create table trials (tape integer not null references trial_tapes(id), set_id integer not null, sharpe real, "
        "primary key (tape, set_id)) strict, without rowid"
    )


@migrations()
def m100_answers(db: Any) -> None:
    """Answers by the question they answer, so that none is computed twice and a changed question keeps both."""
    from bot.adapters.sqlite_answer_keys import migrate_answers

    migrate_answers(db)


@migrations()
def m110_mood_wording(db: Any) -> None:
    """In which `prompt.WORDING` a headline was asked; all moods so far in the first, which had no number."""
    db.execute("alter table sentiments rename to sentiments_before")
    db["sentiments"].create(
        {"title": str, "model": str, "wording": int, "positive": float, "neutral": float, "negative": float,
         "made_at": str},
        pk=("title", "model", "wording"), strict=True,
    )  # fmt: skip
    db.execute(
        "insert into sentiments (title, model, wording, positive, neutral, negative, made_at) "
        "select title, model, 1, positive, neutral, negative, made_at from sentiments_before"
    )
    db.execute("drop table sentiments_before")
