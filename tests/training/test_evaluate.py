"""Base and adapter on the engine that trades, with a tiny model; the commands as a user calls them."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, bar

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported, as in the child's environment
pytest.importorskip("torch")
pytest.importorskip("peft")
sys.path.append(str(REPO / "tests/adapters"))  # the tiny model and its adapters live there
from tiny_files import write_bars, write_config
from tiny_llm import make_tiny_model
from tiny_lora import make_tiny_adapter
from typer.testing import CliRunner, Result

from backtest.forecast_quality import LAST_CLOSE
from bot.adapters.adapter_store import FOLDER, PROMOTED_NAME, read_promoted
from bot.config_file import load_config
from bot.core.forecast import Forecast, ForecastBar
from bot.errors import BotError, EngineFailed, Refused
from bot.ports import Company, Question
from bot.wiring import engine_of
from training.baselines import GBM, LSTM
from training.cli import train
from training.evaluate import ask_moods, differing, is_whole, score_groups
from training.evaluation import ADAPTER, BASE, read_evaluation
from training.hard_cases import hard_cases

CODES = ("2330", "2317", "3088")
COMPANY = Company(symbol="2330", name="台積電", board="twse")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config, a tiny model, an adapter of it that knows until 2024-06-28, and bars until spring 2025."""
    home = tmp_path_factory.mktemp("home")
    make_tiny_model(home / "models/tiny", digits=3)
    make_tiny_adapter(home / "models/tiny", home / "runs/night-3", told={"windows": ((10, 2),)})
    write_config(home, name="tiny", adapter=PROMOTED_NAME, past_sessions=10, future_sessions=2)
    write_bars(home / "bars", CODES, first=date(2023, 6, 1), sessions=420)
    with (home / "mine.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(("text", "label"))
        out.writerows((f"Headline number {at}", ("positive", "neutral", "negative")[at % 3]) for at in range(30))
    return home


def call(home: Path, *words: str) -> Result:
    return CliRunner().invoke(train, list(words), obj=home / "config.toml")


@pytest.fixture(scope="module")
def told(home: Path) -> dict[str, Any]:
    """One evaluation with everything in it; several tests read it."""
    done = call(
        home, "evaluate", "--adapter", str(home / "runs/night-3"), "--corpus", str(home / "mine.csv"), "--corpus", "hard",
        "--data", str(home / "bars"), "--questions", "60", "--steady", "12", "--out", str(home / "out"), "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.exception or done.output
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_base_and_adapter_stand_side_by_side_on_days_that_neither_knows(told: dict[str, Any]) -> None:
    prices = told["prices"]
    assert told["unseen_after"] == "2024-10-31"  # the config's word on the base, later than the adapter's
    assert prices["first"] > "2024-10-31"
    assert (prices["past"], prices["future"]) == (10, 2)
    assert prices["questions"] == 60
    assert prices["unanswered"] == {BASE: 0, ADAPTER: 0}
    assert {BASE, ADAPTER, LAST_CLOSE, "drift", "BestFourPoint", GBM, LSTM} == set(prices["losses"])
    assert prices["losses"][BASE] != prices["losses"][ADAPTER]
    weights, *ways = told["base_model"].split("+")
    assert weights.startswith("tiny@")
    adapted, adapter, *same = told["adapter_model"].split("+")
    assert (adapted, adapter.partition("@")[0], same) == (weights, "night-3", ways)
    assert [part["horizon"] for part in prices["quality"]["horizons"]] == [1, 2]


def test_moods_are_scored_on_every_set_and_the_hard_cases_come_last(told: dict[str, Any]) -> None:
    assert [(one["corpus"], one["base"]["accuracy"]["count"]) for one in told["moods"]] == [("mine", 30), ("hard", 120)]
    for one in told["moods"]:
        assert sum(map(sum, one["adapter"]["confusion"])) == one["adapter"]["accuracy"]["count"]
        assert sum(part["count"] for part in one["adapter"]["reliability"]) == one["adapter"]["accuracy"]["count"]


def test_the_hard_cases_are_scored_by_language_and_kind_too(told: dict[str, Any], home: Path) -> None:
    mine, hard = told["moods"]
    assert mine["groups"] == []
    kinds = ("mixed", "sarcasm", "context", "negation", "numbers")
    assert {one["group"]: one["base"]["count"] for one in hard["groups"]} == {
        "en": 60, "zh-TW": 60, **dict.fromkeys(kinds, 24)
    }  # fmt: skip
    kind_of = {one.text: one.kind for one in hard_cases()}
    with (home / "out/headlines.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] == "hard" and kind_of[row["text"]] == "negation"]
    [negation] = [one for one in hard["groups"] if one["group"] == "negation"]
    for who in (BASE, ADAPTER):
        assert negation[who]["right"] == sum(row["label"] == row[f"{who}_label"] for row in rows)


def test_a_text_counts_in_each_of_its_groups() -> None:
    groups = [("en", "plain"), ("en",), ("zh-TW", "plain"), ()]
    found = score_groups(groups, [True, False, False, True], [True, True, False, False])
    assert [(one.group, one.base.right, one.adapter.right, one.base.count) for one in found] == [
        ("en", 1, 2, 2), ("plain", 1, 1, 2), ("zh-TW", 0, 0, 1)
    ]  # fmt: skip


def test_an_answer_is_the_same_alone_and_with_the_adapter_beside_the_weights(told: dict[str, Any]) -> None:
    assert told["steadiness"] == {
        "merged": {"count": 24, "differ": 0},
        "alone": {"count": 24, "differ": 0},
    }


def test_the_csv_files_hold_every_prediction_and_give_the_same_scores(home: Path, told: dict[str, Any]) -> None:
    with (home / "out/headlines.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    hard = [row for row in rows if row["corpus"] == "hard"]
    assert len(hard) == 120
    right = sum(row["label"] == row["adapter_label"] for row in hard)
    assert right == told["moods"][1]["adapter"]["accuracy"]["right"]
    with (home / "out/forecasts.csv").open(encoding="utf-8") as file:
        cases = [row for row in csv.DictReader(file) if row["horizon"] == "2"]
    part = told["prices"]["quality"]["horizons"][1]
    assert len(cases) == part["cases"]
    errors = [abs(float(row["adapter close"]) / float(row["came"]) - 1) for row in cases]
    scored = next(row for row in part["rows"] if row["forecaster"] == ADAPTER)
    assert sum(errors) / len(errors) == pytest.approx(scored["mape"], abs=1e-6)
    assert read_evaluation(home / "out").prices is not None


def test_the_tables_are_shown_without_json(home: Path) -> None:
    done = call(home, "evaluate", "--adapter", str(home / "runs/night-3"), "--corpus", "hard", "--steady", "0")
    assert done.exit_code == 0, done.exception
    for words in ("Moods", "hard: each label", "hard: adapter", "hard: each part", "sarcasm", "confidence", "McNemar"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--adapter", "runs/night-3"], "nothing to evaluate on"),
        (["--adapter", "runs/night-3", "--corpus", "tfns"], "corpus tfns: say with --texts"),
        (["--adapter", "runs/night-3", "--corpus", "nonsense"], "'nonsense' is neither a file nor one of"),
        (["--adapter", "runs/night-3", "--corpus", "hard", "--corpus", "hard"], "named twice"),
        (["--adapter", "runs/none", "--corpus", "hard"], "is neither in models/adapters/ nor a folder"),
        (["--adapter", "runs/night-3", "--corpus", "hard", "--base", "other"], "model other"),
        (["--adapter", "runs/night-3", "--data", "nowhere"], "no such folder"),
        (["--adapter", "runs/night-3", "--corpus", "hard", "--out", "mine.csv/out"], "Not a directory"),
    ],
)
def test_a_mistake_is_one_line_before_a_model_is_loaded(words: list[str], line: str, home: Path) -> None:
    at_home = [str(home / one) if "/" in one or one == "nowhere" else one for one in words]
    done = call(home, "evaluate", *at_home)
    assert isinstance(done.exception, BotError)
    assert line in str(done.exception)
    assert "\n" not in str(done.exception)


def test_an_adapter_of_another_base_is_refused(home: Path, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "models/tiny", digits=1)
    write_config(tmp_path, name="tiny", adapter=PROMOTED_NAME)
    done = call(tmp_path, "evaluate", "--adapter", str(home / "runs/night-3"), "--corpus", "hard")
    assert isinstance(done.exception, Refused)
    assert "belongs to tiny with weights" in str(done.exception)


# --- promotion by command ------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(home: Path, tmp_path: Path) -> Path:
    """The same home, with nothing promoted yet."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/tiny").symlink_to(home / "models/tiny")
    write_config(tmp_path, name="tiny", adapter=PROMOTED_NAME)
    return tmp_path


def test_an_adapter_that_earned_nothing_is_refused_in_one_line_beneath_the_table(
    home: Path, fresh: Path, told: dict[str, Any]
) -> None:
    done = call(fresh, "promote", str(home / "runs/night-3"), "--evaluation", str(home / "out"))
    assert isinstance(done.exception, Refused)
    assert str(done.exception).startswith("night-3 is not promoted, ")
    assert "\n" not in str(done.exception)
    assert "May night-3 go live?" in done.stdout
    assert "FAIL" in done.stdout
    assert read_promoted(fresh / "models" / FOLDER).live == ""


def test_force_needs_a_reason_and_keeps_it(home: Path, fresh: Path, told: dict[str, Any]) -> None:
    here = ["promote", str(home / "runs/night-3"), "--evaluation", str(home / "out")]
    assert call(fresh, *here, "--force").exit_code == 2
    assert call(fresh, *here, "--reason", "because").exit_code == 2
    done = call(fresh, *here, "--force", "--reason", "a rehearsal")
    assert done.exit_code == 0, done.exception
    assert "night-3 is live (forced)" in done.stdout

    status = json.loads(call(fresh, "status", "--json").stdout)
    assert (status["live"], status["daemon_follows"]) == ("night-3", True)
    assert (status["history"][0]["forced"], status["history"][0]["reason"]) == (True, "a rehearsal")
    card = (fresh / "models" / FOLDER / "night-3/README.md").read_text(encoding="utf-8")
    assert "The reason given: a rehearsal" in card
    assert "- FAIL: " in card
    assert "2024-06-28" in card
    back = call(fresh, "rollback", "--reason", "enough")
    assert "the base alone is live again, night-3 was" in back.stdout
    assert read_promoted(fresh / "models" / FOLDER).live == ""


def test_an_evaluation_of_other_weights_does_not_count(home: Path, fresh: Path, told: dict[str, Any]) -> None:
    other = fresh / "runs/night-4"
    make_tiny_adapter(home / "models/tiny", other, scale=0.2)
    done = call(fresh, "promote", str(other), "--evaluation", str(home / "out"), "--force", "--reason", "x")
    assert isinstance(done.exception, Refused)
    assert "other weights than night-4's" in str(done.exception)


def test_an_evaluation_from_before_the_calibration_does_not_count(
    home: Path, fresh: Path, told: dict[str, Any]
) -> None:
    warm = fresh / "runs/night-3"
    make_tiny_adapter(home / "models/tiny", warm, told={"windows": ((10, 2),), "mood_temperature": 2.0})
    done = call(fresh, "promote", str(warm), "--evaluation", str(home / "out"), "--force", "--reason", "x")
    assert isinstance(done.exception, Refused)
    assert "night-3 asked otherwise, before `train calibrate` perhaps" in str(done.exception)


# --- live ----------------------------------------------------------------------------------------------------------


def test_the_daemon_asks_what_is_live_when_its_evening_begins_and_every_forecast_says_so(
    home: Path, fresh: Path, told: dict[str, Any]
) -> None:
    night, other = home / "runs/night-3", fresh / "runs/night-4"
    make_tiny_adapter(home / "models/tiny", other, scale=0.2)
    asked = load_config(fresh / "config.toml").model
    forced = ("--force", "--reason", "a rehearsal")
    assert call(fresh, "promote", str(night), *forced).exit_code == 0
    tonight = engine_of(asked)
    assert "+night-3@" in tonight.model
    assert call(fresh, "promote", str(other), *forced).exit_code == 0  # in the middle of the evening

    try:
        [answer] = tonight.forecast([QUESTION])
    finally:
        tonight.close()
    assert answer is not None
    assert answer.model == tonight.model
    assert "+night-3@" in answer.model
    assert "+night-4@" in engine_of(asked).model  # the next one
    assert call(fresh, "rollback").exit_code == 0
    assert engine_of(asked).model == tonight.model
    assert call(fresh, "rollback", "--to", "base").exit_code == 0
    assert engine_of(asked).model == told["base_model"]


# --- parts ---------------------------------------------------------------------------------------------------------


def answer(*closes: str, top: str = "") -> Forecast:
    from decimal import Decimal

    bars = tuple(
        ForecastBar(open=Decimal(one), high=Decimal(top or one), low=Decimal(one), close=Decimal(one)) for one in closes
    )
    return Forecast(
        symbol="2330", as_of=date(2025, 1, 2), trained_until=date(2024, 6, 30), model="m", past_sessions=1, bars=bars
    )


QUESTION = Question(company=COMPANY, bars=(bar("100"),), future_sessions=2)


@pytest.mark.parametrize(
    ("told", "whole"),
    [
        (answer("110", "121"), True),  # limit up twice
        (answer("90", "81"), True),
        (answer("100", "110.5"), False),  # beyond the limit of the day before
        (answer("100", "100", top="110.5"), False),  # so is the high
        (answer("100"), False),  # one session short
        (None, False),
    ],
)
def test_a_whole_answer_has_every_session_inside_the_daily_limits(told: Forecast | None, whole: bool) -> None:
    assert is_whole(QUESTION, told) is whole


def test_answers_differ_in_any_price_and_headlines_in_their_label() -> None:
    told = differing([answer("100"), answer("101"), None], [answer("100"), answer("102"), None])
    assert (told.count, told.differ) == (3, 1)
    assert replace(answer("100"), seconds=2.0).bars == answer("100").bars  # the time it took is no part of an answer


class Silent:
    """An engine that answers every other headline."""

    model = "silent"

    def sentiment(self, titles: Sequence[str]) -> list[Any]:
        from bot.core.forecast import Sentiment

        flat = Sentiment(positive=0.3, neutral=0.4, negative=0.3)
        return [flat if at % 2 else None for at in range(len(titles))]


def test_a_headline_without_an_answer_is_a_failed_engine_and_no_score() -> None:
    with pytest.raises(EngineFailed, match="silent: 2 of 3 headlines got no answer"):
        ask_moods(Silent(), ["a", "b", "c"])  # type: ignore[arg-type]
