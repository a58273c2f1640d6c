"""`twtrader backtest luck` and `lookahead`, from the command to the words; and what they refuse."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, SHARED, at, days
from markets import random_market, write_csv
from typer.testing import CliRunner, Result

from backtest.luck_run import chosen_from
from backtest.trials import Trial, TriedOn, record_trials
from bot.adapters.sqlite_open import open_database
from bot.cli import app
from bot.config_file import load_config
from bot.errors import BotError

SESSIONS = days(date(2024, 1, 2), 200)
MARKET = random_market(["1101", "2317", "2330", "2382", "2412", "2454"], SESSIONS)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the shipped config and a folder of bars."""
    shutil.copy(REPO / "config.toml", tmp_path / "config.toml")
    write_csv(tmp_path / "bars", MARKET)
    return tmp_path


def call(home: Path, *words: str) -> Result:
    return CliRunner().invoke(
        app, ["-c", str(home / "config.toml"), "backtest", *words, "--data", str(home / "bars")], catch_exceptions=True
    )


def told(home: Path, *words: str) -> Any:
    result = call(home, *words, "--json")
    if result.exception:
        raise result.exception
    return json.loads(result.stdout)


def refusal(home: Path, *words: str) -> str:
    result = call(home, *words)
    assert isinstance(result.exception, BotError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def set_key(home: Path, before: str, after: str) -> None:
    path = home / "config.toml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def record(home: Path, sharpes: list[float | None]) -> None:
    """So many sets tried in the middle of the period."""
    db = open_database(home / "twtrader.db")
    on = TriedOn(sha256="x", strategy="forecast_edge", since=SESSIONS[50], until=SESSIONS[90])
    record_trials(db, on, [Trial(set_id=i, sharpe=sharpe) for i, sharpe in enumerate(sharpes)], at(SESSIONS[90]))
    db.close()


# --- luck ---------------------------------------------------------------------------------------------------------


def test_luck_says_in_two_languages_what_can_be_said(home: Path) -> None:
    result = call(home, "luck", "--forecaster", "bestfourpoint", "--draws", "200")
    assert result.exit_code == 0, result.output
    assert "(worst)" in result.stdout
    assert "no sweep over these days is in the database: the number of trials counts as 1" in result.stdout
    assert "試驗次數以" in result.stdout
    assert "counts as 1 trial" in " ".join(result.stdout.split())


def test_the_facts_stand_on_the_runs_that_backtest_run_makes(home: Path) -> None:
    facts = told(home, "luck", "--forecaster", "bestfourpoint", "--draws", "200")
    runs = told(home, "run", "--forecaster", "bestfourpoint")
    of_rule = {row["fill_rule"]: row for row in runs["rows"] if row["forecaster"] == "bestfourpoint"}
    assert [row["fill_rule"] for row in facts["rows"]] == ["open", "range", "touch"]
    for row in facts["rows"]:
        scored = of_rule[row["fill_rule"]]
        assert row["total_return"] == pytest.approx(scored["total_return"])
        assert row["trades"] == scored["trades"]
        assert row["hold_return"] == pytest.approx(runs["rows"][-1]["total_return"])
        assert row["random"]["result"] == pytest.approx(scored["total_return"])
        assert row["deflated"]["trials"] == 1
        yearly = row["deflated"]["sharpe"] * facts["sessions_a_year"] ** 0.5
        assert yearly == pytest.approx(scored["sharpe"], abs=0.01)
        assert row["headline"] == scored["worst"]
        assert bool(row["verdict"]) == row["headline"]


def test_the_config_chooses_the_language(home: Path) -> None:
    set_key(home, 'language = "both"', 'language = "en"')
    facts = told(home, "luck", "--forecaster", "naive", "--draws", "100")
    [headline] = [row for row in facts["rows"] if row["headline"]]
    assert headline["verdict"] == {"en": ["The rule never traded: there is nothing to judge."]}
    set_key(home, 'language = "en"', 'language = "zh"')
    assert "backtest.language" in refusal(home, "luck")


def test_what_was_tried_counts_and_brings_the_probability_of_overfitting(home: Path) -> None:
    record(home, [0.01 * i for i in range(40)])
    facts = told(home, "luck", "--forecaster", "bestfourpoint", "--draws", "100")
    assert facts["trials"]["count"] == 40
    for row in facts["rows"]:
        assert row["deflated"]["trials"] == 40
        assert row["deflated"]["measured_variance"]
        assert row["deflated"]["by_luck"] > 0
        assert row["deflated"]["deflated"] < row["deflated"]["against_zero"]
        assert 0 <= row["overfitting"]["probability"] <= 1
        assert row["overfitting"]["columns"] > 1
    text = call(home, "luck", "--forecaster", "bestfourpoint", "--draws", "100").stdout
    assert "40 settings were tried" in " ".join(text.split())


def test_trials_on_other_days_do_not_count(home: Path) -> None:
    record(home, [0.1, 0.2])
    config = load_config(home / "config.toml")
    assert chosen_from(config, SESSIONS[0], SESSIONS[40]).trials.count == 0
    assert chosen_from(config, SESSIONS[60], SESSIONS[199]).trials.count == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("luck", "--draws", "99"), "--draws 99 must be between 100 and 100,000"),
        (("luck", "--seed", "-1"), "--seed -1 must be between 0"),
        (("lookahead", "--cuts", "0"), "--cuts 0 must be between 1 and 1,000,000"),
        (("lookahead", "--seed", "-5"), "--seed -5 must be between 0"),
        (("luck", "--strategy", "nobody"), "no strategy 'nobody'"),
        (("lookahead", "--strategy", "nowhere.py"), "no strategy 'nowhere.py'"),
        (("luck", "--forecaster", "stored"), "no such database yet"),
        (("lookahead", "--from", "2031-01-01"), "no bars between 2031-01-01"),
        (("lookahead", "--from", "2024-10-03", "--to", "2024-10-07"), "3 sessions are too few"),
    ],
)
def test_what_can_not_be_done_is_one_line(home: Path, words: tuple[str, ...], said: str) -> None:
    assert said in refusal(home, *words)


def test_a_date_that_is_none_is_bad_usage(home: Path) -> None:
    assert call(home, "luck", "--from", "yesterday").exit_code == 2


# --- lookahead ----------------------------------------------------------------------------------------------------


def test_lookahead_checks_every_forecaster_that_run_would_score(home: Path) -> None:
    facts = told(home, "lookahead", "--cuts", "12", "--seed", "3")
    assert [one["rule"] for one in facts] == ["naive", "bestfourpoint"]
    assert all(one["clean"] and one["identical"] == 12 for one in facts)
    text = call(home, "lookahead", "--cuts", "12", "--seed", "3", "--forecaster", "naive").stdout
    assert text.startswith("naive: 12 of 12 decisions stay the same with another future; ")


@pytest.mark.skipif(not (SHARED / "prices").is_dir(), reason="../shared/data/prices is absent")
def test_no_decision_on_real_bars_changes_with_the_future(tmp_path: Path) -> None:
    """The short form; the full one is `twtrader backtest lookahead --cuts 1000`."""
    shutil.copy(REPO / "config.toml", tmp_path / "config.toml")
    result = CliRunner().invoke(
        app,
        ["-c", str(tmp_path / "config.toml"), "backtest", "lookahead", "--data", str(SHARED / "prices"),
         "--from", "2024-09-01", "--cuts", "60", "--json"],
    )  # fmt: skip
    assert result.exception is None, result.output
    assert all(one["clean"] and one["identical"] == 60 for one in json.loads(result.stdout))
