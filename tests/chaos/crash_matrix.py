"""The crash matrix: one seed is one rehearsal of several sessions in which the daemon is killed once at every point."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
import tomlkit
from builders import at, config_table
from chaos_audit import (
    Audit,
    check_equity,
    check_money,
    check_nothing_unexplained,
    check_orders,
    check_posts,
    check_stages,
    read_books,
)
from kill_points import HALT_POINTS, POINTS
from person import tidy_up
from real_processes import Ended, ForkServer
from rehearsals import rehearsal

from bot.rehearsal import CHURN
from bot.sandbox.process import Sandbox

Start = Callable[[Path, list[str], Mapping[str, Any] | None], Ended]
LISTED = ("2317", "2330", "2357", "2382", "2454", "3231", "3711", "2308", "2412", "2881")
OVER_THE_COUNTER = ("6488", "5347", "8299")
READY_WITHIN_S = 10.0
SESSIONS = 6  # at least; more until every point has been passed often enough
AT_MOST = 24
STRANGER = "unexplained after commit"  # a point that is passed only if somebody else trades in the account
QUIET = {"entry_edge_bps": 9_999, "exit_return_bps": -9_999, "stop_bps": 0}  # no orders: what is open comes to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What one seed trades, when, and where it dies: `armed` says at which passage of each point."""

    codes: tuple[str, ...]
    strangers_code: str  # what somebody else buys in the same account
    first: date
    cash_twd: int
    rules: Mapping[str, int]
    armed: Mapping[str, int]


def draw_of(seed: int, only: str = "") -> Draw:
    """The rehearsal of `seed`; `only` arms one point alone, at the passage it has in the whole run."""
    draw = Random(f"chaos:{seed}")
    codes = tuple(draw.sample(LISTED, draw.randint(3, 5)) + draw.sample(OVER_THE_COUNTER, draw.randint(0, 1)))
    armed = {point.name: draw.randint(1, point.often) for point in POINTS}
    return Draw(
        codes=codes,
        strangers_code=draw.choice([*codes, draw.choice([code for code in LISTED if code not in codes])]),
        first=date(2024, 11, 1) + timedelta(days=draw.randrange(400)),  # a summer of dividends is among them
        cash_twd=draw.choice((20_000_000, 100_000_000)),
        rules={
            **CHURN["rules"],
            "top_k": len(codes) + draw.randint(0, 1),
            "buy_offset_bps": draw.randrange(-75, 101, 25),
            "sell_offset_bps": draw.randrange(-75, 101, 25),
            "max_order_twd": draw.choice((1_000_000, 2_000_000, 20_000_000)),
            "invest_bps": draw.choice((5_000, 9_500)),
        },
        armed={only: armed[only]} if only else armed,
    )


@dataclass(slots=True)
class SeedResult:
    """How one seed went."""

    seed: int
    audit: Audit = field(default_factory=Audit)
    kills: list[str] = field(default_factory=list)
    strangers: list[int] = field(default_factory=list)  # numbers of POSTs that are not the daemon's
    deeds: list[str] = field(default_factory=list)
    ready_s: dict[str, float] = field(default_factory=dict)  # by the point that was died at before
    wall_s: float = 0.0


def run_seed(seed: int, folder: Path, sandbox: Sandbox, start: Start, only: str = "") -> SeedResult:
    """Rehearse `seed` in `folder` with a kill at every point, and audit what is left."""
    begun, drawn, result = time.monotonic(), draw_of(seed, only), SeedResult(seed=seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sessions = new_world(sandbox, drawn, seed)
    config = small_rehearsal(folder, sandbox.url, drawn)
    armed, last = dict(drawn.armed), 0
    while (armed or last < SESSIONS) and last < AT_MOST and not result.audit.violations:
        last += 2
        armed = _until(sessions[last - 1], config, armed, start, result)
        if STRANGER in armed:
            result.strangers += strangers_buy(sandbox, drawn.strangers_code)
        if last == SESSIONS and not only and "limits" in config_table():
            last += 1
            halt_and_die(config, sandbox, sessions[last - 1], start, result)
    for point in armed:
        result.audit.must(False, "points never reached", point)
    if not result.audit.violations:
        set_rules(config, QUIET)
        for _ in range(2):
            last += 2
            _until(sessions[last - 1], config, {}, start, result)
            result.deeds += tidy_up(config, sandbox, start)
    audit_run(folder / "twtrader.db", sandbox, drawn.cash_twd, sessions[:last], result)
    result.wall_s = time.monotonic() - begun
    return result


def halt_and_die(config: Path, sandbox: Sandbox, day: date, start: Start, result: SeedResult) -> None:
    """Kill `twtrader halt` twice: on `day` nothing may leave all the same; then lift the halt."""
    log = config.parent / "halt.jsonl"
    for point in HALT_POINTS:
        ended = start(config, ["halt", "--reason", "chaos"], {"armed": {point.name: 1}, "log": str(log)})
        result.audit.must(ended.killed, "points never reached", f"{point.name}: exit {ended.code} {ended.err[-200:]}")
        result.kills += [point.name] if ended.killed else []
        before = sent(sandbox)
        ended = start(config, ["run", "--until", day.isoformat()], None)
        result.audit.must(not ended.code, "daemons that failed", f"halted: exit {ended.code}: {ended.err[-400:]}")
        result.audit.must(sent(sandbox) == before, "POSTs while halted", f"{day}, after {point.name}")
        ended = start(config, ["resume"], None)
        result.audit.must(not ended.code, "daemons that failed", f"resume: exit {ended.code}: {ended.err[-400:]}")


def sent(sandbox: Sandbox) -> int:
    """How many orders have been posted."""
    return sum(post["path"].endswith(("/buy", "/sell")) for post in sandbox.posts())


def strangers_buy(sandbox: Sandbox, code: str) -> list[int]:
    """Somebody else buys at the last close with the same account; the number of that POST.

    Never as many shares as an order of ours that waits: a purchase that undoes our sale to the share leaves no trace in
    a book that shows holdings only.
    """
    today = sandbox.clock.date()
    api, month = f"{sandbox.url}/stock/api/v1", f"{today - timedelta(days=30):%Y%m%d}/{today:%Y%m%d}"
    bars = httpx.get(f"{api}/api_get_stock_info_from_date_json/{code}/{month}").json()["data"]
    waiting = {
        one["shares"] for one in sandbox.book()["orders"] if one["symbol"] == code and one["state"] == "accepted"
    }
    lots = next(lots for lots in range(1, 99) if lots * 1_000 not in waiting)
    form = {"stock_code": code, "stock_shares": str(lots), "stock_price": str(bars[0]["close"])}
    httpx.post(f"{api}/buy", data={"account": "demo", "password": "demo", **form}).raise_for_status()
    return [sandbox.posts()[-1]["number"]]


def new_world(sandbox: Sandbox, drawn: Draw, seed: int) -> list[date]:
    """Begin `drawn` on the afternoon of its first session; that session and those after it."""
    codes = list(dict.fromkeys([*drawn.codes, drawn.strangers_code]))
    sandbox.reset(start=at(drawn.first, "15:00"), seed=seed, codes=codes, cash_twd=drawn.cash_twd)
    sessions = sandbox.sessions(drawn.first, drawn.first + timedelta(days=90))
    sandbox.move_to(at(sessions[0], "15:00"))
    return sessions


def warm_up(folder: Path, sandbox: Sandbox, server: ForkServer) -> None:
    """Let the fork server see one day, so that it has imported what a day imports."""
    drawn = draw_of(0)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sessions = new_world(sandbox, drawn, 0)
    ended = server(small_rehearsal(folder, sandbox.url, drawn), ["run", "--until", sessions[0].isoformat()], learn=True)
    if ended.code:
        raise RuntimeError(ended.err)


def small_rehearsal(folder: Path, url: str, drawn: Draw, **more: Any) -> Path:
    """A config with short questions, so that a session takes a tenth of a second; `more` are keys of the broker."""
    tables: dict[str, Mapping[str, Any]] = {
        "rules": drawn.rules,
        "history": {"sessions": 6},
        "model": {"engine": "naive", "past_sessions": 5, "future_sessions": 1},
        "feeds__newsapi": {"languages": ["zh"], "requests_per_day": 10_000},
        "broker": {"start_cash_twd": drawn.cash_twd, "dividends": "paid", **more},
    }
    limits = config_table().get("limits", {})
    if limits:  # they have tests of their own; here as many orders as may be should leave
        tables["limits"] = {name: 0 for name in limits if name.startswith(("max_", "daily_", "drawdown_"))}
    return rehearsal(folder, url, list(drawn.codes), **tables)


def set_rules(config: Path, rules: Mapping[str, int]) -> None:
    """Change some rules of a config in place."""
    told = tomlkit.parse(config.read_text(encoding="utf-8"))
    told["rules"].update(rules)  # type: ignore[union-attr]
    config.write_text(tomlkit.dumps(told), encoding="utf-8")


def _until(day: date, config: Path, armed: dict[str, int], start: Start, result: SeedResult) -> dict[str, int]:
    """Run the daemon to the end of `day`, starting it again at once whenever it was killed; what is armed then."""
    log = config.parent / "log.jsonl"
    died_at = ""
    while True:
        log.unlink(missing_ok=True)
        ended = start(config, ["run", "--until", day.isoformat()], {"armed": armed, "log": str(log)})
        said = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
        if died_at:
            _measure_restart(died_at, ended, said, result)
        if not said or not ("killed" in said[-1] or "ended" in said[-1]):
            result.audit.must(False, "daemons that died of themselves", f"exit {ended.code}: {ended.err[-400:]}")
            return {}
        armed = {point: left for point, left in said[-1]["armed"].items() if left > 0}
        if "ended" in said[-1]:
            result.audit.must(ended.code == 0, "daemons that failed", f"exit {ended.code}: {ended.err[-400:]}")
            return armed
        died_at = said[-1]["killed"]
        result.audit.must(ended.killed, "deaths not by SIGKILL", f"{died_at}: exit {ended.code}")
        result.kills.append(died_at)


def _measure_restart(died_at: str, ended: Ended, said: list[dict[str, Any]], result: SeedResult) -> None:
    """From the start of the process to the first work it has finished, or to finding that none is due."""
    ready = next((one["at"] for one in said if "ready" in one), None)
    if ready is None:  # killed again before that: the next start is measured
        return
    result.ready_s[died_at] = max(result.ready_s.get(died_at, 0.0), ready - ended.started)
    result.audit.must(
        ready - ended.started <= READY_WITHIN_S,
        "restarts slower than 10 s",
        f"{died_at}: {ready - ended.started:.1f} s",
    )


def audit_run(database: Path, sandbox: Sandbox, start_twd: int, sessions: list[date], result: SeedResult) -> None:
    """Everything that must hold at the end."""
    from contextlib import closing

    from bot.adapters.sqlite_journal import Journal
    from bot.adapters.sqlite_open import open_database

    audit, books = result.audit, read_books(database, sandbox.book(), sandbox.posts(), result.strangers)
    with closing(open_database(database)) as db:
        held = Journal(db).portfolio()
    journal = held.cash_twd, {symbol: one.shares for symbol, one in held.positions.items()}
    check_posts(books, audit)
    check_orders(books, audit)
    check_money(books, audit, start_twd, journal)
    check_equity(books, audit, start_twd)
    check_stages(books, audit, sessions)
    check_nothing_unexplained(books, audit)
    audit.counts["fills"] += len(books.fills)
