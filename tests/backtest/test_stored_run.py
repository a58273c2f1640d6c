"""A stored run: read back whole, shown again without a replay, listed, compared; and what of it is refused."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import RATES, REPO, at, checked, days
from markets import RULES, flat, market, random_market
from typer.testing import CliRunner, Result

from backtest.cli import backtest_app
from backtest.forecasters import Forecaster, Naive, Stored
from backtest.history import History
from backtest.kernel import Options
from backtest.played_run import Traded, play_hold, play_rules
from backtest.replay import hold, market_days, replay
from backtest.report_charts import k_line, monthly_errors
from backtest.report_page import monthly_returns
from backtest.score import figures
from backtest.stored_run import Quality, quality_rows
from backtest.tape import market_tape
from backtest.told import told_by
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.chart_colours import colours_of
from bot.core.exrights import ExRight
from bot.core.forecast import Forecast, ForecastBar
from bot.core.market import from_x100
from bot.errors import BotError, LookAheadError

SESSIONS = days(date(2024, 9, 2), 60)
MARKET = random_market(["2317", "2330", "2382", "2454"], SESSIONS)


def told(history: History, model: str = "oracle@1") -> list[Forecast]:
    """A forecast of five sessions for every stock and session: the next close, in thousandths of a TWD."""
    made = []
    for today, tomorrow in itertools.pairwise(history.sessions):
        for symbol in history.after(today).bars:
            close = from_x100(history.closes_x100(tomorrow)[symbol]) + Decimal("0.004")
            bars = (ForecastBar(open=close, high=close, low=close, close=close),) * 5
            made.append(
                Forecast(
                    symbol=symbol,
                    as_of=today,
                    trained_until=date(2024, 6, 30),
                    model=model,
                    past_sessions=20,
                    bars=bars,
                )
            )
    return made


def stored(history: History) -> Stored:
    by_session: dict[date, dict[str, Forecast]] = {}
    for one in told(history):
        by_session.setdefault(one.as_of, {})[one.symbol] = one
    moods = {session: {"2330": place * 100 - 3_000} for place, session in enumerate(history.sessions)}
    return Stored(name="oracle@1", by_session=by_session, sentiment_by_session=moods)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shipped config and a database of bars and forecasts."""
    folder = tmp_path_factory.mktemp("stored")
    shutil.copy(REPO / "config.toml", folder / "config.toml")
    db = open_database(folder / "twtrader.db")
    store = MarketStore(db)
    known = MARKET.after(SESSIONS[-1])
    for symbol in MARKET.symbols:
        store.add_bars(checked(*known.past(symbol, 999)), at(SESSIONS[-1]))
    store.add_forecasts(told(MARKET), at(SESSIONS[0]))
    db.close()
    return folder


def call(home: Path, *words: str) -> Result:
    return CliRunner().invoke(backtest_app, list(words), obj=home / "config.toml")


@pytest.fixture(scope="module")
def run(home: Path) -> dict[str, Any]:
    """The facts of a stored run."""
    result = call(home, "run", "--forecaster", "stored", "--json")
    assert result.exception is None, result.output
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def refusal(home: Path, *words: str) -> str:
    result = call(home, *words)
    assert isinstance(result.exception, BotError), result.output
    return str(result.exception)


# --- the fast path is the replay --------------------------------------------------------------------------


def ex_dates(history: History) -> Iterator[ExRight]:
    """A dividend in cash, one in shares, and a capital reduction."""
    for place, symbol, share, cash in ((20, "2317", 0.97, None), (30, "2382", 0.98, "x"), (40, "2454", 1.3, None)):
        before = history.closes_x100(SESSIONS[place - 1])[symbol]
        reference = round(before * share)
        yield ExRight(
            symbol=symbol,
            ex_date=SESSIONS[place],
            kind="reduction" if share > 1 else "dividend",
            previous_x100=before,
            reference_x100=reference,
            source="test",
            known_at=at(SESSIONS[0]),
            cash_dividend=from_x100(before - reference) if cash else None,
        )


@pytest.mark.parametrize("forecaster", [Naive(), stored(MARKET)], ids=["naive", "stored"])
@pytest.mark.parametrize("knobs", [{"slippage_ticks": 1}, {"volume_share_bps": 200, "settlement_sessions": 2}])
def test_what_is_played_from_columns_is_what_the_replay_decides(forecaster: Forecaster, knobs: Any) -> None:
    rules = dataclasses.replace(RULES, entry_edge_bps=-100, exit_return_bps=1, top_k=3)
    events = list(ex_dates(MARKET))
    tape = told_by(forecaster, market_tape(MARKET, SESSIONS, RATES, events), MARKET)
    all_options = [
        Options(fill_rule=rule, start_cash_twd=100_000_000, costs=RATES, **knobs) for rule in ("open", "range", "touch")
    ]
    told_days = market_days(MARKET, SESSIONS, forecaster, events)
    traded = 0
    for run, options in zip(play_rules(tape, forecaster.name, rules, all_options), all_options, strict=True):
        steps = list(replay(MARKET, told_days, rules, options, events))
        assert run.equity_twd[1:] == tuple(step.equity_twd for step in steps)
        assert run.fills == tuple(fill for step in steps for fill in step.fills)
        assert run.order_count == sum(len(step.orders) for step in steps)
        held = steps[-1].held.positions
        assert run.held_shares == {symbol: position.shares for symbol, position in held.items()}
        reasons = {order.key: order.reason for step in steps for order in step.orders}
        assert all(one.reason == reasons[one.fill.key] for one in run.traded)
        assert sum(run.contribution_twd.values()) == run.equity_twd[-1] - run.start_cash_twd
        traded += len(run.traded)
    assert traded > 30


def test_holding_is_what_the_replay_of_holding_is() -> None:
    events = list(ex_dates(MARKET))
    options = Options(fill_rule="open", start_cash_twd=100_000_000, costs=RATES)
    run = play_hold(MARKET, market_tape(MARKET, SESSIONS, RATES, events), "hold", options, 1_000)
    steps = list(hold(MARKET, SESSIONS, 100_000_000, RATES, 1_000, events))
    assert run.equity_twd[1:] == tuple(step.equity_twd for step in steps)
    assert run.dividends_twd > 0
    assert sum(run.contribution_twd.values()) == run.equity_twd[-1] - 100_000_000
    # what a month brought, month after month, is what the whole brought
    whole = 1.0
    for months in monthly_returns(run).values():
        for change in months.values():
            whole *= 1 + change
    assert whole - 1 == pytest.approx(figures(run, 245.0).total_return)


def test_a_model_that_saw_the_day_can_not_be_put_on_a_tape() -> None:
    one = told(MARKET)[0]
    seen = dataclasses.replace(one, trained_until=one.as_of + timedelta(days=1))
    liar = Stored(name="liar", by_session={one.as_of: {one.symbol: seen}})
    with pytest.raises(LookAheadError, match=one.symbol):
        told_by(liar, market_tape(MARKET, SESSIONS, RATES), MARKET)


# --- what is shown ----------------------------------------------------------------------------------------


def test_a_page_is_made_again_to_the_byte_without_the_database(home: Path, run: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(home / "reports", tmp_path / "reports")
    shutil.copy(home / "config.toml", tmp_path / "config.toml")  # and no database: nothing can be replayed
    result = call(tmp_path, "report", run["run_id"], "--html", str(tmp_path / "again.html"))
    assert result.exception is None, result.output
    page = (Path(run["folder"]) / "report.html").read_bytes()
    assert (tmp_path / "again.html").read_bytes() == page
    again = json.loads(call(tmp_path, "report", run["run_id"][:12], "--json").stdout)
    assert again | {"folder": ""} == run | {"folder": ""}
    assert page.count(b"Plotly.newPlot") >= 2
    assert len(re.findall(rb"<script", page.split(b"</head>")[0])) == 1


def test_what_lies_beside_of_the_same_data_is_on_the_page_and_nothing_else_is(
    home: Path, run: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(home / "reports", tmp_path / "reports")
    shutil.copy(home / "config.toml", tmp_path / "config.toml")
    folder = tmp_path / "reports" / run["run_id"]
    [tape] = json.loads((folder / "run.json").read_text(encoding="utf-8"))["tape_sha256"].values()
    luck = {"rows": [{"forecaster": "oracle@1", "headline": True, "verdict": {"en": ["It is <luck>."]}}]}
    (folder / "luck.json").write_text(json.dumps(luck), encoding="utf-8")
    for name, data in (("mine", tape), ("others", "0" * 64)):
        walk = tmp_path / "reports" / f"walk-{name}"
        walk.mkdir()
        (walk / "walk.json").write_text(
            json.dumps({"data_sha256": data, "headline": f"line of {name}"}), encoding="utf-8"
        )
        (walk / "equity.csv").write_text("session,open\n2024-10-01,100\n2024-10-02,101\n", encoding="utf-8")
    assert call(tmp_path, "report", run["run_id"], "--html", str(tmp_path / "x.html")).exception is None
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "It is &lt;luck&gt;." in page
    assert "line of mine" in page
    assert "line of others" not in page
    charts = json.loads(page.split("const CHARTS = ")[1].split(";\nconst KLINES")[0])
    assert charts["walk-0"]["data"][0]["y"] == [100.0, 101.0]


def test_the_page_has_every_part(run: dict[str, Any]) -> None:
    page = (Path(run["folder"]) / "report.html").read_text(encoding="utf-8")
    for part in ("By month", "Turnover and costs", "How good the forecasts were", "What each stock brought",
                 "Trades on K-lines", "Is it luck?", "Notes", "What the figures follow from"):  # fmt: skip
        assert part in page, part
    charts = json.loads(page.split("const CHARTS = ")[1].split(";\nconst KLINES")[0])
    assert {"equity", "costs", "quality", "brought-0"} == set(charts)
    klines = json.loads(page.split("const KLINES = ")[1].split(";\nconst LOOK")[0])
    worst = next(row for row in run["rows"] if row["worst"])
    marks = [chart["data"][place]["x"] for chart in klines["kline-0"].values() for place in (2, 3)]
    assert sum(map(len, marks)) == worst["fills"] > 0
    equity = {trace["name"]: trace["y"] for trace in charts["equity"]["data"] if "yaxis" not in trace}
    assert equity[f"{worst['forecaster']} {worst['fill_rule']}"][-1] == worst["final_twd"]
    costs = {trace["name"]: sum(trace["y"]) for trace in charts["costs"]["data"]}
    assert costs["tax"] == sum(row["tax_twd"] for row in run["rows"])


def test_red_is_up_unless_the_config_says_green() -> None:
    bars: dict[str, list[Any]] = {
        "session": SESSIONS[:3],
        **{f"{name}_x100": [100_00, 101_00, 102_00] for name in ("open", "high", "low", "close")},
    }
    bought = Traded(
        session=SESSIONS[1],
        decided=SESSIONS[0],
        symbol="2330",
        shares=1_000,
        price_x100=101_00,
        commission_twd=143,
        tax_twd=0,
        reference_x100=100_00,
        target_x100=105_00,
        reason="because",
    )
    assert bought.slippage_twd == 1_000  # a TWD a share above the close before
    chart = k_line(bars, [bought], 2, colours_of("red"))
    candles, promised, buys, sells = chart["data"]
    assert candles["increasing"]["line"]["color"] == "#d62728"
    assert k_line(bars, [bought], 2, colours_of("green"))["data"][0]["increasing"]["line"]["color"] == "#2ca02c"
    # the forecast that caused it: from the close it was made at to its target, two sessions later
    assert promised["x"] == [SESSIONS[0].isoformat(), SESSIONS[2].isoformat(), None]
    assert promised["y"] == [100.0, 105.0, None]
    assert (buys["x"], buys["y"], sells["x"]) == ([SESSIONS[1].isoformat()], [101.0], [])
    assert "because, target 105.00" in buys["text"][0]


def test_a_forecasts_error_stands_beside_that_of_the_last_close() -> None:
    history = market(s2330=[flat(100), flat(110), flat(100)], s2317=[flat(50), flat(50), flat(40)])
    tape = market_tape(history, history.sessions, RATES)
    tape.target_x100[0] = [50_00, 121_00]  # 2317 right; 2330 said 121, came 110
    tape.target_x100[1] = [0, 100_00]  # 2317 unsaid; 2330 right, where the last close was 10 % off
    rows = list(quality_rows(tape, 1))
    assert [row[:2] for row in rows] == [(history.sessions[0], 2), (history.sessions[1], 1)]
    assert rows[0][2:] == pytest.approx((11 / 110 / 2, 10 / 110 / 2))
    assert rows[1][2:] == pytest.approx((0.0, 0.1))
    names = [field.name for field in dataclasses.fields(Quality)]
    quality = Quality(**dict(zip(names, zip(*rows, strict=True), strict=True)))
    months, errors, plain = monthly_errors(quality)
    assert months == ["2025-01"]
    assert errors == pytest.approx([11 / 110 / 3], abs=1e-6)
    assert plain == pytest.approx([(10 / 110 + 0.1) / 3], abs=1e-6)


@pytest.mark.parametrize(("words", "unused"), [(["--no-html"], {"plotly"}), ([], {"plotly.graph_objs"})])
def test_the_command_imports_nothing_it_does_not_use(home: Path, words: list[str], unused: set[str]) -> None:
    heavy = sorted({"vectorbt", "pandas", "numba", "twstock", "torch", "transformers", "ray", "optuna", *unused})
    line = ["--config", str(home / "config.toml"), "backtest", "run", "--forecaster", "stored", *words]
    code = (
        "import sys\nfrom bot.cli import app\n"
        f"try: app({line!r})\nexcept SystemExit as end: assert not end.code\n"
        f"print('needless', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}, cwd=REPO
    )
    assert done.stdout.splitlines()[-1] == "needless []"


# --- runs and compare -------------------------------------------------------------------------------------


def test_two_runs_differ_in_what_was_changed(home: Path, run: dict[str, Any]) -> None:
    text = (home / "config.toml").read_text(encoding="utf-8")
    try:
        (home / "config.toml").write_text(text.replace("top_k = 5 ", "top_k = 2 ", 1), encoding="utf-8")
        other = json.loads(call(home, "run", "--forecaster", "stored", "--no-html", "--json").stdout)
    finally:
        (home / "config.toml").write_text(text, encoding="utf-8")
    told = json.loads(call(home, "compare", run["run_id"], other["run_id"], "--json").stdout)
    changed = {row["key"]: (row["a"], row["b"]) for row in told["inputs"]}
    assert changed.pop("config.rules.top_k") == (5, 2)
    assert set(changed) == {"config_sha256"}
    finals = [row for row in told["figures"] if row["figure"] == "final_twd"]
    assert {(row["a"], row["b"]) for row in finals} <= {
        (a["final_twd"], b["final_twd"]) for a, b in zip(run["rows"], other["rows"], strict=True)
    }
    assert finals
    assert "config.rules.top_k: 5 -> 2" in call(home, "compare", run["run_id"], other["run_id"]).stdout
    same = call(home, "compare", run["run_id"], run["run_id"]).stdout
    assert "inputs: the same" in same
    assert "figures: the same" in same
    listed = json.loads(call(home, "runs", "--json").stdout)
    assert {one["run_id"] for one in listed} >= {run["run_id"], other["run_id"]}
    assert run["run_id"] in call(home, "runs").stdout
    assert "2 stored runs begin so" in refusal(home, "report", "2024")


def test_what_is_no_stored_run_is_refused_in_a_line(home: Path, run: dict[str, Any], tmp_path: Path) -> None:
    shutil.copy(home / "config.toml", tmp_path / "config.toml")
    assert "no run is stored yet" in call(tmp_path, "runs").stdout
    assert refusal(tmp_path, "report", "nothing") == (
        "'nothing': no such stored run in reports; `twtrader backtest runs` lists them"
    )
    copy = tmp_path / "reports" / run["run_id"]
    shutil.copytree(run["folder"], copy)
    assert "no such stored run" in refusal(tmp_path, "compare", run["run_id"], "nothing")
    (copy / "fills.parquet").write_bytes(b"PAR1")
    assert refusal(tmp_path, "report", run["run_id"]).endswith("incomplete, a table can't be read: run it again")
    facts = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    (copy / "run.json").write_text(json.dumps(facts | {"version": 0}), encoding="utf-8")
    assert "stored by another version of twtrader" in refusal(tmp_path, "report", run["run_id"])
    assert "stored by another version of twtrader" in call(tmp_path, "runs").stdout


def test_a_run_of_other_code_says_so(home: Path, run: dict[str, Any], tmp_path: Path) -> None:
    shutil.copy(home / "config.toml", tmp_path / "config.toml")
    copy = tmp_path / "reports" / run["run_id"]
    shutil.copytree(run["folder"], copy)
    facts = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    facts["inputs"]["code"] = "0123abcd"
    (copy / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    result = call(tmp_path, "report", run["run_id"])
    assert result.exception is None
    assert "note: stored by code 0123abcd; this is " in result.stderr
    assert "note: stored by code" not in call(home, "report", run["run_id"]).stderr


def test_a_page_that_can_not_be_written_is_refused(home: Path, run: dict[str, Any]) -> None:
    assert "No such file or directory" in refusal(
        home, "report", run["run_id"], "--html", str(home / "absent" / "x.html")
    )


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [("top_k", "0"), ("invest_bps", "-1"), ("lot_shares", "0"), ("max_order_twd", "10_000_000_000_000")],
)
def test_a_parameter_out_of_range_is_refused_by_name(home: Path, tmp_path: Path, key: str, value: str) -> None:
    text = (home / "config.toml").read_text(encoding="utf-8")
    changed, count = re.subn(rf"(?m)^{key} = \S+", f"{key} = {value}", text, count=1)
    assert count == 1
    (tmp_path / "config.toml").write_text(changed, encoding="utf-8")
    assert f"`{key}`" in refusal(tmp_path, "run")


def test_a_stock_that_lists_late_or_stops_is_named_and_never_a_silent_zero(home: Path, tmp_path: Path) -> None:
    shutil.copy(home / "config.toml", tmp_path / "config.toml")
    shutil.copy(home / "twtrader.db", tmp_path / "twtrader.db")
    db = open_database(tmp_path / "twtrader.db")
    db.execute("delete from bars where symbol = '2317' and session < ?", [str(SESSIONS[10])])
    db.execute("delete from bars where symbol = '2382' and session > ?", [str(SESSIONS[49])])
    db.execute("delete from forecasts where as_of = ?", [str(SESSIONS[30])])
    db.conn.commit()
    db.close()
    facts = json.loads(call(tmp_path, "run", "--forecaster", "stored", "--no-html", "--json").stdout)
    notes = "\n".join(facts["notes"])
    assert f"2317: no bars {SESSIONS[0]}..{SESSIONS[9]}, 10 sessions" in notes
    assert f"2382: no bars {SESSIONS[50]}..{SESSIONS[59]}, 10 sessions" in notes
    assert f"no forecast as of 1 of 59 sessions, the first {SESSIONS[30]}" in notes
