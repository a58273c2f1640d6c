"""Prices: checking ten years of 41 stocks, storing an evening of 2,000 rows, reading both boards' day answers.

Each figure beside a peer that does less in the same run: pandas that only reads the files, sqlite3's executemany that
only writes the rows, json that only decodes the answer. Needs ../shared/data for the first.

Run: make bench, or .venv/bin/python benchmarks/feeds.py
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

REPO = Path(__file__).parents[1]
sys.path[:0] = [str(REPO), str(REPO / "tests")]
ROUNDS = 5
EVENING_ROWS = 2_000
DAY = date(2025, 3, 4)


def seconds(work: Callable[[], object]) -> float:
    """The median wall time of `work`, in seconds."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def line(what: str, ours_s: float, peer: str, peer_s: float, limit_s: float | None = None) -> None:
    allowed = f"  (allowed: {limit_s:g} s)" if limit_s else ""
    print(f"{what:58} {ours_s:8.3f} s{allowed:20}  {peer}: {peer_s:.3f} s")


def check_ten_years() -> None:
    """The whole command in a process of its own, beside pandas reading the same files."""
    from builders import SHARED

    if not SHARED.exists():
        print("check of ten years: left out, no ../shared/data")
        return
    prices = SHARED / "prices"
    words = [sys.executable, "-m", "bot", "data", "check", "--folder", str(prices), "--json"]
    peer = [
        sys.executable,
        "-c",
        f"import pandas as p, glob\nfor f in glob.glob({str(prices)!r} + '/[0-9]*.csv'): p.read_csv(f)",
    ]
    ours = seconds(lambda: subprocess.run(words, capture_output=True, cwd=REPO, check=False))
    theirs = seconds(lambda: subprocess.run(peer, capture_output=True, check=True))
    line("twtrader data check, 95,704 bars, start-up included", ours, "pandas.read_csv alone", theirs, 10)


def store_an_evening(folder: Path) -> None:
    """2,000 checked bars and the day's marks, beside the same rows by executemany into a bare table."""
    from price_fuzz import quotes

    from bot.adapters.sqlite_bars import BarStore
    from bot.adapters.sqlite_open import open_database
    from bot.config import TAIPEI
    from bot.core.feed_rows import Reading, Row
    from bot.prices import Gate

    chance = random.Random(1)
    [one] = quotes(chance, 100_00, [DAY])
    rows = tuple(
        Row(
            symbol=f"{1000 + number}", session=DAY, open_x100=one.open_x100, high_x100=one.high_x100,
            low_x100=one.low_x100, close_x100=one.close_x100, volume_shares=one.volume_shares,
            turnover_twd=one.turnover_twd, trades=one.trades,
        )
        for number in range(EVENING_ROWS)
    )  # fmt: skip
    store = BarStore(open_database(folder / "ours.db"))
    days = iter([date(2025, 3, day) for day in range(3, 3 + ROUNDS)])

    def ours() -> None:
        day = next(days)
        reading = Reading(rows=tuple(replace(row, session=day) for row in rows), sessions=frozenset({day}))
        checked = Gate(store=store).check(reading)
        stored = store.add_day([checked], {"twse": len(rows)}, day, datetime.now(TAIPEI))
        assert stored.new == EVENING_ROWS

    bare = sqlite3.connect(folder / "bare.db")
    bare.execute("create table bars (symbol, session, a, b, c, d, e, f, g)")

    def peer() -> None:
        with bare:
            bare.executemany(
                "insert into bars values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(row.symbol, str(row.session), row.open_x100, row.high_x100, row.low_x100, row.close_x100,
                  row.volume_shares, row.turnover_twd, row.trades) for row in rows],
            )  # fmt: skip

    line(f"gate and store an evening of {EVENING_ROWS:,} rows", seconds(ours), "executemany alone", seconds(peer), 1)


def read_day_answers() -> None:
    """MI_INDEX and dailyQuotes with 1,000 stocks each, beside json.loads of the same texts."""
    from price_fuzz import quotes

    from bot.adapters import tpex_bulk, twse_bulk
    from bot.ports import Company
    from bot.sandbox.tpex_payloads import tpex_day
    from bot.sandbox.twse_payloads import mi_index

    chance = random.Random(1)
    stocks = [(f"{1000 + number}", quotes(chance, 100_00, [DAY])[0]) for number in range(EVENING_ROWS // 2)]
    texts = {
        board: json.dumps(shape([(Company(symbol=code, name="某某", board=board), one) for code, one in stocks], DAY))
        for board, shape in (("twse", mi_index), ("tpex", tpex_day))
    }

    def ours() -> None:
        rows = len(twse_bulk.day_of(json.loads(texts["twse"]), DAY).rows)
        assert rows + len(tpex_bulk.day_of(json.loads(texts["tpex"]), DAY).rows) == EVENING_ROWS

    peer = seconds(lambda: [json.loads(text) for text in texts.values()])
    line(f"read both boards' day, {EVENING_ROWS:,} rows", seconds(ours), "json.loads alone", peer)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    check_ten_years()
    with tempfile.TemporaryDirectory() as name:
        store_an_evening(Path(name))
    read_day_answers()


if __name__ == "__main__":
    main()
