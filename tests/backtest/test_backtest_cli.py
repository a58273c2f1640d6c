"""`twtrader backtest run` and `parity`, from the command to the files."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, at, bar, checked, days, forecast
from markets import random_market, write_csv
from typer.testing import CliRunner, Result

from backtest.cli import backtest_app
from backtest.run import Asked, load
from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.config_file import load_config
from bot.core.decide import MarketDay, decide
from bot.core.forecast import Article, Forecast, ForecastBar, Sentiment
from bot.core.market import from_x100
from bot.core.portfolio import Portfolio
from bot.errors import BotError

SESSIONS = days(date(2024, 9, 2), 60)
MARKET = random_market(["2317", "2330", "2382", "2454"], SESSIONS)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the shipped config and a folder of bars."""
    shutil.copy(REPO / "config.toml", tmp_path / "config.toml")
    write_csv(tmp_path / "bars", MARKET)
    return tmp_path


@pytest.fixture
def store(home: Path) -> Iterator[MarketStore]:
    """The daemon's database in `home`, with the market's bars."""
    db = open_database(home / "twtrader.db")
    market = MarketStore(db)
    known = MARKET.after(SESSIONS[-1])
    for symbol in MARKET.symbols:
        market.add_bars(checked(*known.past(symbol, 999)), at(SESSIONS[-1]))
    yield market
    db.close()


def call(home: Path, *words: str) -> Result:
    return CliRunner().invoke(backtest_app, list(words), obj=home / "config.toml")


def told(home: Path, *words: str) -> dict[str, Any]:
    result = call(home, "run", *words, "--json")
    if result.exception:
        raise result.exception
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def refusal(home: Path, *words: str) -> str:
    result = call(home, "run", *words)
    assert isinstance(result.exception, BotError), result.output
    return str(result.exception)


def tomorrow_told(share: int = 1, until: date = date(2024, 6, 30), model: str = "oracle@1") -> list[Forecast]:
    """For every `share`-th session, forecasts that know the next close: five sessions, as the config asks."""
    made = []
    for today, tomorrow in list(itertools.pairwise(SESSIONS))[::share]:
        for symbol in MARKET.after(today).bars:
            close = from_x100(MARKET.closes_x100(tomorrow)[symbol])
            bars = (ForecastBar(open=close, high=close, low=close, close=close),) * 5
            one = forecast("1", symbol=symbol, as_of=today, until=until)
            made.append(
                Forecast(
                    symbol=one.symbol,
                    as_of=one.as_of,
                    trained_until=one.trained_until,
                    model=model,
                    past_sessions=20,
                    bars=bars,
                )
            )
    return made


# --- run --------------------------------------------------------------------------------------------------


def test_a_folder_of_bars_gives_a_table_files_and_one_page(home: Path) -> None:
    result = call(home, "run", "--data", str(home / "bars"))
    assert result.exit_code == 0, result.output
    assert "bestfourpoint" in result.stdout
    assert "buy-and-hold" in result.stdout
    assert result.stdout.count("(worst)") == 2
    [folder] = (home / "reports").iterdir()
    assert re.fullmatch(
        r"20240902-20241122_naive\+bestfourpoint_config-[0-9a-f]{8}_data-[0-9a-f]{8}_code-.+", folder.name
    )
    summary = list(csv.DictReader((folder / "summary.csv").open(encoding="utf-8")))
    assert [(row["forecaster"], row["fill_rule"]) for row in summary] == [
        *(("naive", rule) for rule in ("open", "range", "touch")),
        *(("bestfourpoint", rule) for rule in ("open", "range", "touch")),
        ("buy-and-hold", "open"),
    ]
    equity = list(csv.DictReader((folder / "equity.csv").open(encoding="utf-8")))
    assert len(equity) == len(SESSIONS)
    assert equity[0]["bestfourpoint range"] == "100000000"
    assert equity[-1]["bestfourpoint range"] == summary[4]["final_twd"]
    fills = list(csv.DictReader((folder / "fills.csv").open(encoding="utf-8")))
    assert len(fills) == sum(int(row["fills"]) for row in summary)
    assert sum(int(row["tax_twd"]) for row in fills) == sum(int(row["tax_twd"]) for row in summary)


def test_the_page_needs_no_network(home: Path) -> None:
    facts = told(home, "--data", str(home / "bars"), "--forecaster", "bestfourpoint")
    page = (Path(facts["folder"]) / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)\s*=", page)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)
    assert "Plotly.newPlot" in page
    assert facts["headline"][0] in page
    assert "2330 台積電" in page
    assert "class='up'" in page
    assert "class='down'" in page


def test_the_same_run_has_the_same_name_and_another_config_another(home: Path) -> None:
    one = told(home, "--data", str(home / "bars"), "--forecaster", "naive")
    two = told(home, "--data", str(home / "bars"), "--forecaster", "naive")
    assert one == two
    text = (home / "config.toml").read_text(encoding="utf-8").replace("top_k = 5", "top_k = 4")
    (home / "config.toml").write_text(text, encoding="utf-8")
    assert told(home, "--data", str(home / "bars"), "--forecaster", "naive")["run_id"] != one["run_id"]


def test_a_forecaster_that_never_trades_is_said_not_to(home: Path) -> None:
    facts = told(home, "--data", str(home / "bars"), "--forecaster", "naive")
    assert facts["headline"][0].startswith("naive: no trade; buy-and-hold ")
    assert "naive: no trade under any fill rule: it never promised enough to pay the costs" in facts["notes"]


def test_stored_forecasts_set_the_period_and_come_first(home: Path, store: MarketStore) -> None:
    store.add_forecasts(tomorrow_told()[100:], at(SESSIONS[0]))
    facts = told(home)
    first = tomorrow_told()[100].as_of
    assert facts["from"] == first.isoformat()
    assert [row["forecaster"] for row in facts["rows"][::3]] == ["oracle@1", "naive", "bestfourpoint", "buy-and-hold"]
    oracle = [row for row in facts["rows"] if row["forecaster"] == "oracle@1"]
    assert all(row["total_return"] > 0.05 for row in oracle), "who knows tomorrow's close should gain"


def test_only_the_model_asked_for_is_scored(home: Path, store: MarketStore) -> None:
    store.add_forecasts([*tomorrow_told(), *tomorrow_told(model="other@2")], at(SESSIONS[0]))
    facts = told(home, "--forecaster", "stored", "--model", "other")
    assert {row["forecaster"] for row in facts["rows"]} == {"other@2", "buy-and-hold"}


def test_sessions_without_a_forecast_are_said(home: Path, store: MarketStore) -> None:
    store.add_forecasts(tomorrow_told(share=2), at(SESSIONS[0]))
    facts = told(home, "--forecaster", "stored")
    assert f"oracle@1: no forecast as of 29 of 59 sessions, the first {SESSIONS[1]}: it abstains" in facts["notes"]


def test_bad_news_keeps_a_replay_from_buying_as_it_would_live(home: Path, store: MarketStore) -> None:
    store.add_forecasts(tomorrow_told(), at(SESSIONS[0]))
    without = told(home, "--forecaster", "stored")["rows"][2]
    moments = [at(session, "12:00") for session in SESSIONS]
    store.add_articles(
        Article(symbol=symbol, title=f"{symbol} {moment} {n}", url="", source="", language="zh", published_at=moment,
                fetched_at=moment + timedelta(hours=1))
        for symbol in MARKET.symbols
        for moment in moments
        for n in range(4)  # as many as it takes: one headline an evening decides nothing
    )  # fmt: skip
    gloomy = Sentiment(positive=0.1, neutral=0.1, negative=0.8)
    titles = {f"{symbol} {moment} {n}": gloomy for symbol in MARKET.symbols for moment in moments for n in range(4)}
    store.add_sentiments("another model", titles, at(SESSIONS[-1]))
    assert told(home, "--forecaster", "stored")["rows"][2] == without
    store.add_sentiments("oracle@1", titles, at(SESSIONS[-1]))
    assert told(home, "--forecaster", "stored")["rows"][2]["orders"] == 0


# --- what is refused --------------------------------------------------------------------------------------


def test_a_model_is_not_scored_on_the_days_it_was_trained_on_without_a_mark(home: Path, store: MarketStore) -> None:
    """The run marks them (test_knowledge.py); what can't mark refuses them, and without --from leaves them out."""
    store.add_forecasts(tomorrow_told(until=SESSIONS[20]), at(SESSIONS[0]))
    config = load_config(home / "config.toml")
    with pytest.raises(BotError) as refused:
        load(config, Asked(since=SESSIONS[5]))
    assert str(refused.value) == (
        f"oracle@1 was trained until {SESSIONS[20]}: its forecasts as of {SESSIONS[5]} and other sessions before that "
        f"can't be scored; ask with --from {SESSIONS[20]} or later"
    )
    assert told(home, "--from", str(SESSIONS[20]))["known_to_model"] == {}
    loaded = load(config, Asked())
    assert loaded.sessions[0] == SESSIONS[20]
    assert any("are left out" in note for note in loaded.notes)


def test_no_forecast_is_no_zero(home: Path, store: MarketStore) -> None:
    assert refusal(home, "--forecaster", "stored") == (
        "twtrader.db: no stored forecasts in the beginning..the end with 20 past and 5 future sessions"
    )
    store.add_forecasts(tomorrow_told(), at(SESSIONS[0]))
    assert "no stored forecasts of a model named llama" in refusal(home, "--model", "llama")
    assert "there are forecasts of oracle@1" in refusal(home, "--model", "llama")
    last = [one for one in tomorrow_told(model="late") if one.as_of == SESSIONS[-2]]
    store.add_forecasts(last, at(SESSIONS[0]))
    line = refusal(
        home, "--forecaster", "stored", "--model", "late", "--to", str(SESSIONS[-2]), "--from", str(SESSIONS[-4])
    )
    assert line.startswith("no stored forecast is as of")


def test_no_database_no_bars_no_folder(home: Path) -> None:
    assert "no such database yet" in refusal(home)
    assert "no such folder of bars" in refusal(home, "--data", str(home / "absent"))
    open_database(home / "twtrader.db").close()
    assert refusal(home) == "no bars between the beginning and the end"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--from", "2024-11-01", "--to", "2024-10-01"), "--from 2024-11-01 must be before --to 2024-10-01"),
        (("--from", "2024-06-01"), "no bars between 2024-06-01 and 2024-09-02"),
        (("--to", "2025-06-01"), "no bars between 2024-11-22 and 2025-06-01"),
        (("--from", "2024-11-22"), "2024-11-22 is the only session with bars"),
    ],
)
def test_days_that_are_not_there_are_refused(home: Path, words: tuple[str, ...], line: str) -> None:
    assert line in refusal(home, "--data", str(home / "bars"), *words)


def test_a_hole_in_the_bars_is_refused(home: Path) -> None:
    for path in (home / "bars").glob("*.csv"):
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not "2024-09-20" <= line[:10] <= "2024-10-20" or line.startswith("date")]
        path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    assert "a hole in the bars: no stock has one between 2024-09-19 and 2024-10-21" in refusal(
        home, "--data", str(home / "bars")
    )


def test_what_is_no_date_is_bad_usage(home: Path) -> None:
    result = call(home, "run", "--from", "yesterday")
    assert result.exit_code == 2
    assert "'yesterday' is no date" in result.output


# --- parity -----------------------------------------------------------------------------------------------


def record(home: Path, store: MarketStore) -> None:
    """Two live decisions, as the daemon records them."""
    config = load_config(home / "config.toml")
    for session in SESSIONS[:2]:
        day = MarketDay(
            session=session,
            bars={"2330": bar("100", session=session)},
            closes_x100={"2330": 100_00},
            forecasts={"2330": forecast("103", as_of=session)},
            sentiment_bps={"2330": 5},
        )
        taken = decide(day, Portfolio(cash_twd=100_000_000), config.rules, config.costs)
        Journal(store.db).record_decision(taken, at(session))


def test_parity_takes_every_recorded_decision_again(home: Path, store: MarketStore) -> None:
    record(home, store)
    result = call(home, "parity")
    assert f"2 decisions, {SESSIONS[0]}..{SESSIONS[1]}: 2 the same, hash for hash" in result.stdout
    assert "no account was opened, so that there is no book to compare" in result.stdout
    told = json.loads(call(home, "parity", "--json").stdout)
    assert [check["same"] for check in told["decisions"]] == [True, True]


def test_parity_names_the_first_difference(home: Path, store: MarketStore) -> None:
    record(home, store)
    store.db.execute(
        "update decisions set inputs = replace(inputs, '10300', '10000') where session = ?", [str(SESSIONS[1])]
    )
    store.db.conn.commit()
    result = call(home, "parity")
    assert isinstance(result.exception, BotError)
    assert str(result.exception) == (
        f"1 of 2 decisions differ; the first is {SESSIONS[1]}: recorded forecast_edge:{SESSIONS[1]}:2330:buy:1 "
        "189000 at 100.00 "
        "(forecast pays after costs), and the replay does not order it"
    )


def test_parity_of_nothing_is_refused(home: Path, store: MarketStore) -> None:
    assert "no decision is recorded yet" in str(call(home, "parity").exception)
