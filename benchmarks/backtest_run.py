"""How long `twtrader backtest run` takes on five years of 41 stocks with stored forecasts, imports told apart.

    python benchmarks/backtest_run.py [--prices ../shared/data/prices] [--stocks 41] [--rounds 3]

Fills a store with the real bars (an invented market where the folder is absent) and with a forecast of five sessions
for every stock and session: a target drawn around the close. Then it runs the command in fresh processes and prints the
seconds of each phase. The goal: under 3 s after imports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path[0] = str(REPO)  # not this folder: its backtest.py would hide the package
MODEL = "drawn@1"
FIRST, LAST = date(2020, 6, 1), date(2025, 6, 30)

INSIDE = """
import json, sys, time
from pathlib import Path
phases, begun = {}, time.perf_counter()
def done(name):
    global begun
    now = time.perf_counter()
    phases[name], begun = now - begun, time.perf_counter()
import backtest.report_beside, backtest.report_page
from backtest.run import Asked, run_backtest
from backtest.run_command import page_of, write_csv
from backtest.stored_run import read_run, store_run
from bot.config_file import load_config
done("imports")
busy = time.process_time()
config = load_config(Path(sys.argv[1]))
result = run_backtest(config, Asked(forecaster="stored"))
done("read and replay")
folder = store_run(result, config.backtest.reports)
run = read_run(folder)
done("store")
write_csv(run)
done("csv")
page_of(run, config, folder / "report.html")
done("page")
heavy = ("vectorbt", "pandas", "numba", "twstock", "torch", "plotly.graph_objs")
unused = [name for name in heavy if name in sys.modules]
print(json.dumps({"phases": phases, "busy": time.process_time() - busy, "unused": unused}))
"""


def main() -> None:
    """Fill a store, run the command a few times, print the phases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prices", type=Path, default=REPO.parent / "shared/data/prices")
    parser.add_argument("--stocks", type=int, default=41)
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        bars, forecasts, sessions = fill_store(home, told.prices, told.stocks)
        print(f"{bars:,} bars, {forecasts:,} forecasts of 5 sessions, {sessions:,} sessions, {os.cpu_count()} cores")
        for _ in range(told.rounds):
            print(phases(home))


def fill_store(home: Path, prices: Path, stocks: int) -> tuple[int, int, int]:
    """A database in `home` as a daemon of five years would have left it; counts of bars, forecasts and sessions."""
    from backtest.history import History
    from bot.adapters.sqlite_open import open_database

    shutil.copy(REPO / "config.toml", home / "config.toml")
    history = History.from_csv(prices, since=FIRST, until=LAST)
    symbols = history.symbols[:stocks]
    (home / "codes.json").write_text(json.dumps([{"code": symbol} for symbol in symbols]), encoding="utf-8")
    text = (home / "config.toml").read_text(encoding="utf-8").replace('file = ""', 'file = "codes.json"', 1)
    (home / "config.toml").write_text(text, encoding="utf-8")
    db, dice = open_database(home / "twtrader.db"), random.Random(7)
    bars, forecasts = [], []
    for symbol in symbols:
        series = history.series(symbol)
        for session, quote in zip(series.sessions, series.quotes, strict=True):
            bars.append((symbol, session.isoformat(), *quote, f"{session}T15:00:00+08:00"))
            forecasts.append((symbol, session.isoformat(), _told(quote.close_x100, dice)))
    with db.conn:
        db.conn.executemany(
            "insert into bars (symbol, session, open_x100, high_x100, low_x100, close_x100, volume_shares, fetched_at) "
            "values (?, ?, ?, ?, ?, ?, ?, ?)",
            bars,
        )
        db.conn.executemany(
            "insert into answers (question, bars, model, past_sessions, future_sessions, grid, masked, prompt_sha256, "
            f"bands, tokens, seconds, trained_until, made_at) values (? || ' ' || ?, ?, '{MODEL}', 20, 5, 'stock10', "
            "0, '', '[]', 165, 0.01, '2020-05-29', '2020-06-01')",
            forecasts,
        )
        db.conn.execute(
            "insert into forecasts (symbol, as_of, asked_by, answer, asked_at) select substr(question, 1, "
            "instr(question, ' ') - 1), substr(question, instr(question, ' ') + 1), 'live', id, made_at from answers"
        )
    db.close()
    return len(bars), len(forecasts), len({row[1] for row in bars})


def _told(close_x100: int, dice: random.Random) -> str:
    """Five sessions that walk from the close, as a model's answer is stored."""
    rows, price = [], close_x100
    for _ in range(5):
        price = max(1, round(price * (1 + dice.gauss(0, 0.012))))
        rows.append(
            [f"{price / 100:.2f}", f"{price * 1.01 / 100:.2f}", f"{price * 0.99 / 100:.2f}", f"{price / 100:.2f}"]
        )
    return json.dumps(rows)


def phases(home: Path) -> str:
    """One run of the command in a fresh process: seconds by phase."""
    shutil.rmtree(home / "reports", ignore_errors=True)
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, str(home / "config.toml")], capture_output=True, text=True, check=True, cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip
    whole = time.perf_counter() - begun
    told: dict[str, Any] = json.loads(done.stdout)
    after = sum(seconds for name, seconds in told["phases"].items() if name != "imports")
    line = "  ".join(f"{name} {seconds:.2f}" for name, seconds in told["phases"].items())
    line += f"  after imports {after:.2f} (processor {told['busy']:.2f})  whole process {whole:.2f} s"
    return f"{line}  needless imports: {told['unused'] or 'none'}"


if __name__ == "__main__":
    main()
