"""Sweeps over a small market: the figures, the files, going on after a kill, and what is refused."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, THURSDAY, at, checked, days, forecast
from markets import RULES, random_market, write_csv
from sweeps import CASH_TWD, FILL_RULES, Silent, sweep, tape
from typer.testing import CliRunner, Result

from backtest.kernel import play
from backtest.sweep import check_forecasts, run_sweep, silent_notes
from backtest.sweep_engine import Local, engine_of
from backtest.sweep_job import compute, cut, tape_digest
from backtest.sweep_parts import read_facts
from backtest.sweep_results import Results, heat_map, read_results
from backtest.sweep_space import rules_of
from backtest.trials import tried
from bot.adapters.process_lock import only_one
from bot.adapters.sqlite_ex_rights import ExRightStore
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.cli import app
from bot.core.exrights import ExRight
from bot.core.forecast import ForecastBar
from bot.core.rule import KNOBS
from bot.errors import BotError, Refused
from bot.sweep_config import KnobRange

NOW = at(THURSDAY)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Any]:
    opened = open_database(tmp_path / "twtrader.db")
    yield opened
    opened.close()


def run(made: Any, db: Any) -> tuple[Results, Silent]:
    watch = Silent()
    return run_sweep(made, Local(), db, NOW, watch), watch


# --- figures ----------------------------------------------------------------------------------------------


def test_each_row_says_what_one_replay_of_its_set_says(tmp_path: Path) -> None:
    made = sweep(tmp_path)
    table = compute(made.job, made.space.matrix(0, 18), 0).to_pylist()
    for row in table[::5]:
        rules = rules_of([row[name] for name in KNOBS], RULES)
        finals = {}
        for options in made.job.options:
            played, rule = play(made.job.tape, rules, options), options.fill_rule
            equity = played.equity_twd
            finals[rule] = equity[-1]
            assert row[f"{rule}_final_equity_twd"] == equity[-1]
            assert row[f"{rule}_net_return"] == pytest.approx(equity[-1] / CASH_TWD - 1)
            assert row[f"{rule}_trades"] == played.trades
            assert row[f"{rule}_fills"] == len(played.fills)
            assert row[f"{rule}_fees_twd"] == sum(one.commission_twd for one in played.fills)
            assert row[f"{rule}_taxes_twd"] == sum(one.tax_twd for one in played.fills)
            traded_twd = sum(one.price_x100 * abs(one.shares) // 100 for one in played.fills)
            assert row[f"{rule}_turnover"] == pytest.approx(traded_twd / statistics.fmean(equity))
            falls = [1 - now / max(equity[: place + 1]) for place, now in enumerate(equity)]
            assert row[f"{rule}_max_drawdown"] == pytest.approx(max(falls))
            steps = [after / before - 1 for before, after in pairwise(equity)]
            sharpe = statistics.fmean(steps) / statistics.stdev(steps) * math.sqrt(245)
            assert row[f"{rule}_sharpe"] == pytest.approx(sharpe)
        assert row["worst_rule"] == min(FILL_RULES, key=lambda rule: finals[rule])


def test_a_set_that_never_trades_has_no_sharpe_ratio_and_stands_in_no_table(tmp_path: Path, db: Any) -> None:
    made = sweep(tmp_path, knobs={"entry_edge_bps": (0, 9_000), "top_k": (1, 2)})
    results, _ = run(made, db)
    assert results.traded.tolist() == [True, True, False, False]
    assert results.table.column("open_sharpe").null_count == 2
    assert set(results.pareto().tolist()) <= {0, 1}
    heat = heat_map(results, "top_k", "entry_edge_bps")
    assert heat.down_labels == ("0", "9000")
    assert heat.sets.tolist() == [[1, 1], [0, 0]]
    assert [math.isnan(value) for value in heat.median[1]] == [True, True]


def test_a_cell_of_the_heat_map_is_the_median_of_its_sets(tmp_path: Path, db: Any) -> None:
    results, _ = run(sweep(tmp_path), db)
    heat = heat_map(results, "top_k", "entry_edge_bps")
    rows = results.table.to_pylist()
    for down, label in enumerate(heat.down_labels):
        for across, other in enumerate(heat.across_labels):
            cell = [row[f"{row['worst_rule']}_net_return"] for row in rows
                    if (row["entry_edge_bps"], row["top_k"]) == (int(label), int(other))]  # fmt: skip
            assert heat.median[down, across] == pytest.approx(statistics.median(cell))
            assert heat.sets[down, across] == len(cell) == 2


def test_a_tape_that_was_cut_knows_nothing_of_the_rest() -> None:
    whole = tape(60)
    part = cut(whole, 10, 40)
    assert part.sessions == whole.sessions[10:40]
    later = tape(60)
    later.close_x100[40:] += 100
    later.target_x100[40:] = 0
    assert tape_digest(cut(later, 10, 40)) == tape_digest(part)
    assert tape_digest(later) != tape_digest(whole)


# --- files ------------------------------------------------------------------------------------------------


def test_all_sets_are_in_one_table_that_says_what_it_is(tmp_path: Path, db: Any) -> None:
    made = sweep(tmp_path)
    results, watch = run(made, db)
    assert (watch.total, watch.before, watch.done) == (18, 0, 18)
    assert results.table.column("set").to_pylist() == list(range(18))
    facts = read_facts(made.folder / "results.parquet")
    assert facts["run_id"] == made.folder.name
    assert facts["fill_rules"] == list(FILL_RULES)
    assert facts["data_sha256"] == made.data_sha256
    assert facts["rules"]["lot_shares"] == 1000
    assert sorted(path.name for path in made.folder.iterdir()) == ["results.parquet", "sweep.lock"]


def test_the_name_follows_the_config_and_the_data(tmp_path: Path) -> None:
    names = {
        made.run_id
        for made in (
            sweep(tmp_path),
            sweep(tmp_path, seed=8),
            sweep(tmp_path, knobs={"top_k": (1, 2)}),
            sweep(tmp_path, on=tape(119)),
            sweep(tmp_path, guided=18),
        )
    }
    assert len(names) == 5
    assert sweep(tmp_path).run_id == sweep(tmp_path / "elsewhere").run_id


def test_chunks_of_any_size_give_the_same_rows(tmp_path: Path, db: Any) -> None:
    one, _ = run(sweep(tmp_path, chunk=18), db)
    many, _ = run(sweep(tmp_path, chunk=1), db)
    assert one.table.equals(many.table)


def test_a_finished_sweep_is_read_and_not_done_again(tmp_path: Path, db: Any) -> None:
    first, _ = run(sweep(tmp_path), db)
    second, watch = run(sweep(tmp_path), db)
    assert (watch.before, watch.done) == (18, 0)
    assert second.table.equals(first.table)


def test_a_part_that_is_torn_is_computed_again(tmp_path: Path, db: Any) -> None:
    whole, _ = run(sweep(tmp_path / "whole"), db)
    made = sweep(tmp_path)

    class Dies(Local):
        def tables(self, job: Any, chunks: Any) -> Any:
            for count, told in enumerate(super().tables(job, chunks)):
                if count == 3:
                    raise KeyboardInterrupt
                yield told

    with pytest.raises(KeyboardInterrupt):
        run_sweep(made, Dies(), db, NOW, Silent())
    parts = sorted(made.folder.glob("part-*.parquet"))
    assert len(parts) == 3
    parts[1].write_bytes(parts[1].read_bytes()[:-20])
    (made.folder / "part-000003.parquet.tmp").write_bytes(b"half")
    resumed, watch = run(made, db)
    assert (watch.before, watch.done) == (10, 8)  # of four parts of 5, 5, 5 and 3 sets, the first and third were whole
    assert resumed.table.equals(whole.table)
    assert resumed.facts == whole.facts


def test_two_processes_never_compute_the_same_sweep(tmp_path: Path, db: Any) -> None:
    made = sweep(tmp_path)
    made.folder.mkdir(parents=True)
    with only_one(made.folder / "sweep"), pytest.raises(Refused, match="is being computed"):
        run(made, db)


def test_every_set_is_a_trial_once(tmp_path: Path, db: Any) -> None:
    made = sweep(tmp_path)
    results, _ = run(made, db)
    run(sweep(tmp_path, chunk=7), db)
    found = tried(db, strategy="forecast_edge")
    sharpes = results.worst("sharpe") / math.sqrt(245)
    assert (found.count, found.with_sharpe) == (18, 18)
    assert found.sharpe_variance == pytest.approx(statistics.variance(sharpes.tolist()))
    run(sweep(tmp_path, knobs={"top_k": (1, 3), "stop_bps": (0,), "entry_edge_bps": (0,)}), db)
    assert tried(db, strategy="forecast_edge").count == 19  # top_k 1 was tried before


# --- guided -----------------------------------------------------------------------------------------------


def test_a_guided_search_that_was_killed_asks_for_the_same_sets(tmp_path: Path, db: Any) -> None:
    wide = {"top_k": (1, 2, 3, 4, 5), "entry_edge_bps": KnobRange(low=-100, high=400), "stop_bps": (0, 200, 400, 800)}
    whole, _ = run(sweep(tmp_path / "whole", guided=150, method="random", knobs=wide), db)
    assert whole.table.num_rows == 150
    made = sweep(tmp_path, guided=150, method="random", knobs=wide)
    watch = Silent()

    def dies(sets: int) -> None:
        raise KeyboardInterrupt

    watch.add = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run_sweep(made, Local(), db, NOW, watch)
    assert len(list(made.folder.glob("part-*"))) == 1
    resumed, _ = run(made, db)
    assert resumed.table.equals(whole.table)
    worth = whole.objective("return")
    assert worth[64:].mean() > worth[:64].mean(), "it should learn from what it saw"


# --- the process ------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the shipped config, small parts, and bars of four stocks."""
    text = (REPO / "config.toml").read_text(encoding="utf-8").replace("chunk = 2_000", "chunk = 50")
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    market = random_market(["2317", "2330", "2382", "2454"], days(date(2024, 9, 2), 60))
    write_csv(tmp_path / "bars", market)
    return tmp_path


def call(home: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["-c", str(home / "config.toml"), "backtest", *words])


def sweeping(home: Path) -> list[str]:
    return [
        "sweep",
        "--data",
        str(home / "bars"),
        "--forecaster",
        "bestfourpoint",
        "--method",
        "random",
        "--sets",
        "3000",
    ]


def test_a_sweep_killed_with_9_goes_on_and_ends_with_the_same_bytes(home: Path) -> None:
    words = [sys.executable, "-m", "bot", "-c", "config.toml", "backtest", *sweeping(home)]
    env = {**os.environ, "PYTHONPATH": str(REPO), "NUMBA_NUM_THREADS": "1"}
    with subprocess.Popen(words, cwd=home, env=env, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while len(list(home.glob("reports/*/part-*.parquet"))) < 5:
            assert time.monotonic() < until
            with suppress(subprocess.TimeoutExpired):
                assert process.wait(0.01) is None, "it ended before it could be killed"
        process.kill()
    [folder] = (home / "reports").iterdir()
    done = len(list(folder.glob("part-*.parquet")))
    assert 5 <= done < 60
    assert not (folder / "results.parquet").exists()
    assert call(home, *sweeping(home)).exit_code == 0
    killed = (folder / "results.parquet").read_bytes()
    count = tried(open_database(home / "twtrader.db"), strategy="forecast_edge")
    shutil.rmtree(home / "reports")
    (home / "twtrader.db").unlink()
    assert call(home, *sweeping(home)).exit_code == 0
    assert (folder / "results.parquet").read_bytes() == killed
    assert tried(open_database(home / "twtrader.db"), strategy="forecast_edge") == count


def test_the_command_shows_the_front_the_best_and_the_map(home: Path) -> None:
    words = ["sweep", "--data", str(home / "bars"), "--forecaster", "bestfourpoint", "--heat", "stop_bps,top_k"]
    shown = call(home, *words)
    assert shown.exit_code == 0, shown.output
    for word in ("2,160 sets", "Pareto front", "Best by sharpe", "Median return", "different sets were tried", "note:"):
        assert word in shown.stdout
    told = call(home, *words, "--json")
    facts = json.loads(told.stdout)
    assert facts["trials"]["count"] == 2160
    assert {one["worst_rule"] for one in facts["pareto"]} <= set(FILL_RULES)
    run = call(home, "run", "--data", str(home / "bars"), "--forecaster", "bestfourpoint", "--json")
    page = (Path(json.loads(run.stdout)["folder"]) / "report.html").read_text(encoding="utf-8")
    assert '"heat-0":{"data":[{"type":"heatmap","x":["3","5","8"]' in page  # the sweep is of the run's own data
    page = (Path(facts["folder"]) / "heat-stop_bps-top_k.html").read_text(encoding="utf-8")
    assert "Plotly.newPlot" in page
    assert "src=" not in page.split("Plotly.newPlot", maxsplit=1)[1]
    results = read_results(Path(facts["folder"]) / "results.parquet")
    best = max(results.objective("sharpe")[results.traded])
    assert facts["best"][0]["sharpe"] == pytest.approx(best)
    assert facts["heat"]["across"] == "stop_bps"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--heat", "top_k"), "--heat top_k: name two of the swept knobs, like top_k,entry_edge_bps"),
        (("--heat", "top_k,invest_bps"), "--heat top_k,invest_bps: name two of the swept knobs"),
        (("--method", "random", "--sets", "0"), "`sets` must be between 1 and 1,000,000"),
        (("--guided", "10", "--engine", "ray"), "--guided learns from each batch"),
        (("--guided", "2000000"), "--guided 2,000,000: more than `sweep.most_sets` 1,000,000"),
        (("--address", "127.0.0.1:1"), "--address belongs to --engine ray"),
        (("--forecaster", "naive", "--from", "2024-11-22"), "2024-11-22 is the only session with bars"),
        (("--forecaster", "all"), "twtrader.db: no such database yet|no stored forecasts to sweep over"),
        (("--from", "2024-11-11", "--to", "2024-11-12"), "2024-11-11..2024-11-12 are 2 sessions: at least 20"),
    ],
)
def test_what_cannot_be_is_one_line(home: Path, words: tuple[str, ...], line: str) -> None:
    given = ("--data", str(home / "bars"))
    result = call(home, "sweep", *given, "--forecaster", "bestfourpoint", *words)
    assert isinstance(result.exception, BotError), result.output
    assert any(part in str(result.exception) for part in line.split("|")), result.exception
    assert "\n" not in str(result.exception)


def test_a_sweep_over_the_store_counts_its_dividends(home: Path) -> None:
    """Stored bars, stored forecasts that always promise 10 %, and an ex-date: dividends as a replay counts them."""
    market = random_market(["2317", "2330", "2382", "2454"], days(date(2024, 9, 2), 60))
    with closing(open_database(home / "twtrader.db")) as db:
        store = MarketStore(db)
        sessions = market.sessions
        told = []
        for session in sessions:
            for symbol, one in market.after(session).bars.items():
                target = (one.close * 11 / 10).quantize(Decimal(1))
                high = ForecastBar(open=target, high=target, low=target, close=target)
                base = forecast("1", symbol=symbol, as_of=session)
                told.append(replace(base, model="oracle@1", past_sessions=20, bars=(high,) * 5))
        for symbol in market.symbols:
            store.add_bars(checked(*market.after(sessions[-1]).past(symbol, 999)), at(sessions[-1]))
        store.add_forecasts(told, at(sessions[0]))
        close = market.closes_x100(sessions[29])["2330"]
        event = ExRight(symbol="2330", ex_date=sessions[30], kind="dividend", previous_x100=close,
                        reference_x100=close - 500, cash_dividend=Decimal(5), source="test",
                        known_at=at(sessions[0]))  # fmt: skip
        span = {"first": sessions[0], "last": sessions[-1]}
        ExRightStore(db).keep([event], kind="dividend", symbols=["2330"], known_at=at(sessions[0]), **span)
    done = call(home, "sweep", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["forecaster"] == "oracle@1"
    table = read_results(Path(facts["folder"]) / "results.parquet").table
    dividends = {one for rule in FILL_RULES for one in table.column(f"{rule}_dividends_twd").to_pylist()}
    assert max(dividends) > 0
    assert all(one % 5_000 == 0 for one in dividends)  # 5 TWD on lots of 1,000 shares


def test_days_on_which_nothing_was_forecast_are_refused() -> None:
    silent = tape(60)
    silent.target_x100[10:40] = 0
    check_forecasts(silent, "guesses", 0, 60)
    check_forecasts(silent, "guesses", 10, 42)  # the forecast as of row 40 trades in row 41
    with pytest.raises(
        Refused, match=rf"no forecast as of any session in {silent.sessions[10]}..{silent.sessions[40]}"
    ):
        check_forecasts(silent, "guesses", 10, 41)
    assert list(silent_notes(silent, "guesses")) == [
        f"guesses: no forecast as of 30 of 59 sessions, the first {silent.sessions[10]}: it abstains"
    ]


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Refused, match=r"twtrader\[cluster\]"):
        engine_of("ray", None)
