"""Scores with and without the sessions that a model may know, and masked beside plain, on a history made by hand.

One stock. It rises from 100 to 105 before the model's cutoff (the fifth session) and falls from 105 to 100 after it. The
model wants to buy on the first evening, and again on the evening of its cutoff. Bills, at 0.1425 % cut to whole TWD, and
95 % of 100,000,000 over five places, 19,000,000 for one stock:

    before  189,000 shares at 100 = 18,900,000, commission 26,932; at 105: 19,845,000  -> equity 100,918,068
    after   180,000 shares at 105 = 18,900,000, commission 26,932; at 100: 18,000,000  -> equity  99,073,068
    all     189,000 shares at 100, held; at 100: 18,900,000                            -> equity  99,973,068
    holding, after the cutoff: 951,000 shares at 105 = 99,855,000, commission 142,293  -> equity  95,102,707
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, at, bar, checked
from markets import SESSIONS, flat, market, write_csv
from typer.testing import CliRunner, Result

from backtest.cli import backtest_app
from backtest.knowledge import known_sessions, rows_of
from bot.adapters.asked_questions import named
from bot.adapters.askers import Asker
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.core.forecast import Forecast, ForecastBar
from bot.errors import BotError
from bot.ports import Company, Question

CLOSES = (100, 100, 105, 105, 105, 105, 100, 100)
HISTORY = market(s2330=[flat(close) for close in CLOSES])
CUTOFF = SESSIONS[4]
TSMC = Company(symbol="2330", name="台積電", board="twse")
MODEL = "oracle@1"


def told(place: int, target: int, *, until: date = CUTOFF, masked: bool = False) -> tuple[Any, Forecast]:
    """The question after SESSIONS[place], unlike any other, and its answer."""
    session = SESSIONS[place]
    past = (
        bar(f"{CLOSES[place] - 4 + place / 2}", session=date(2024, 12, 31)),
        bar(str(CLOSES[place]), session=session),
    )
    flat_bar = ForecastBar(**dict.fromkeys(("open", "high", "low", "close"), Decimal(target)))
    answer = Forecast(
        symbol="2330", as_of=session, trained_until=until, model=MODEL, past_sessions=20, bars=(flat_bar,) * 5
    )
    question = Question(company=TSMC, bars=past, future_sessions=5, masked=masked)
    return named(question), answer


PLAIN = (120, 100, 105, 105, 130, 105, 100, 100)
MASKED = (100, 100, 105, 105, 130, 105, 100, 100)  # without the name it does not want to buy on the first evening


def answers(targets: tuple[int, ...] = PLAIN, **more: Any) -> list[tuple[Any, Forecast]]:
    return [told(place, target, **more) for place, target in enumerate(targets)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a config of one fill rule and a folder of bars."""
    text = (REPO / "config.toml").read_text(encoding="utf-8")
    for old, new in (('["open", "range", "touch"]', '["open"]'), ('file = ""', 'file = "codes.json"')):
        assert old in text
        text = text.replace(old, new, 1)
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    (tmp_path / "codes.json").write_text('[{"code": 2330}]', encoding="utf-8")
    write_csv(tmp_path / "bars", HISTORY)
    return tmp_path


@pytest.fixture
def store(home: Path) -> Iterator[MarketStore]:
    db = open_database(home / "twtrader.db")
    market_store = MarketStore(db)
    market_store.add_bars(checked(*HISTORY.after(SESSIONS[-1]).past("2330", 99)), at(SESSIONS[-1]))
    yield market_store
    db.close()


def keep(store: MarketStore, told: list[tuple[Any, Forecast]], by: Asker = "store") -> None:
    store.answers.add(told, at(SESSIONS[-1]), by=by)


def call(home: Path, *words: str) -> Result:
    return CliRunner().invoke(backtest_app, ["run", *words], obj=home / "config.toml")


def facts(home: Path, *words: str) -> dict[str, Any]:
    result = call(home, "--forecaster", "stored", *words, "--json")
    assert result.exception is None, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def finals(part: dict[str, Any], kind: str = "scores") -> list[int]:
    return [score["final_twd"] for score in part[kind]]


# --- which sessions -----------------------------------------------------------------------------------------


def test_the_cutoffs_own_session_is_the_first_that_counts() -> None:
    assert known_sessions(SESSIONS, CUTOFF) == 4
    assert rows_of(SESSIONS, CUTOFF) == {"all": (0, 7), "after": (4, 7), "before": (0, 4)}
    assert known_sessions(SESSIONS, SESSIONS[0]) == 0
    assert rows_of(SESSIONS, SESSIONS[0]) == {"all": (0, 7), "after": (0, 7)}
    # What the last session decides trades in no session of these: nothing is left to score.
    assert rows_of(SESSIONS, SESSIONS[7]) == {"all": (0, 7), "before": (0, 7)}
    assert rows_of(SESSIONS, date(2030, 1, 1)) == {"all": (0, 7), "before": (0, 7)}


# --- with and without ---------------------------------------------------------------------------------------


def test_scores_with_and_without_what_the_model_may_know(home: Path, store: MarketStore) -> None:
    keep(store, answers())
    told = facts(home)
    [known] = told["knowledge"]
    assert (known["trained_until"], known["known"], known["sessions"]) == (str(CUTOFF), 4, 8)
    assert {part["name"]: (finals(part), part["contaminated"], part["sessions"]) for part in known["parts"]} == {
        "all": ([99_973_068], True, 8),
        "after": ([99_073_068], False, 4),
        "before": ([100_918_068], True, 5),
    }
    assert [part["hold"]["final_twd"] for part in known["parts"]][1] == 95_102_707
    assert told["known_to_model"] == {MODEL: [str(session) for session in SESSIONS[:4]]}
    line = f"{MODEL}: -0.9% under its worst fill rule, `open`; buy-and-hold -4.9%"
    assert told["headline"] == [f"{line} (only the 4 sessions from {CUTOFF} on; the 4 before are known to the model)"]
    [row, _] = told["rows"]
    assert (row["worst"], row["known_sessions"]) == (False, 4)


def test_the_part_that_counts_is_the_run_from_the_cutoff_on(home: Path, store: MarketStore) -> None:
    keep(store, answers())
    after = facts(home)["knowledge"][0]["parts"][1]
    alone = facts(home, "--from", str(CUTOFF))
    assert alone["knowledge"] == []
    assert alone["rows"][0]["worst"]
    assert {**alone["rows"][0]} == {**after["scores"][0], "worst": True, "known_sessions": 0}


def test_a_model_that_may_know_everything_has_no_headline(home: Path, store: MarketStore) -> None:
    keep(store, answers(until=date(2026, 1, 1)))
    told = facts(home)
    assert told["headline"] == [f"{MODEL}: no headline: the model may know every session (trained until 2026-01-01)"]
    assert [part["name"] for part in told["knowledge"][0]["parts"]] == ["all", "before"]
    result = call(home, "--forecaster", "stored", "--luck")
    assert isinstance(result.exception, BotError)
    assert str(result.exception) == f"--luck: {MODEL} may know every session: there is nothing to judge"
    listed = CliRunner().invoke(backtest_app, ["runs", "--json"], obj=home / "config.toml")
    assert json.loads(listed.stdout)[0]["worst"] == {MODEL: None}


def test_the_config_may_say_that_the_model_knows_more_than_its_answers_do(home: Path, store: MarketStore) -> None:
    text = (home / "config.toml").read_text(encoding="utf-8")
    text = text.replace('name = "smollm2-135m"', 'name = "oracle"')
    text = text.replace("trained_until = 2024-10-31", f"trained_until = {SESSIONS[2]}")
    (home / "config.toml").write_text(text, encoding="utf-8")
    keep(store, answers(until=date(2024, 6, 30)))
    [known] = facts(home)["knowledge"]
    assert (known["trained_until"], known["known"]) == (str(SESSIONS[2]), 2)


def test_known_sessions_are_marked_on_screen_in_the_csv_and_on_the_page(home: Path, store: MarketStore) -> None:
    keep(store, answers())
    result = call(home, "--forecaster", "stored")
    assert result.exception is None, result.output
    screen = " ".join(result.stdout.split())
    assert "open (knows 4 of 8)" in screen
    assert f"{MODEL} was trained until {CUTOFF}: it may know 4 of 8 sessions" in screen
    for words in ("all sessions (contaminated)", "only after the cutoff open", "only before it (contaminated)"):
        assert words in screen
    assert "(worst)" not in screen
    [folder] = (home / "reports").iterdir()
    equity = list(csv.DictReader((folder / "equity.csv").open(encoding="utf-8")))
    assert [row[f"known to {MODEL}"] for row in equity] == ["1"] * 4 + ["0"] * 4
    [first, *_] = csv.DictReader((folder / "summary.csv").open(encoding="utf-8"))
    assert first["known_sessions"] == "4"
    parts = list(csv.DictReader((folder / "knowledge.csv").open(encoding="utf-8")))
    assert [(row["sessions_counted"], row["contaminated"], row["final_twd"]) for row in parts] == [
        ("all sessions", "1", "99973068"),
        ("only after the cutoff", "0", "99073068"),
        ("only before it", "1", "100918068"),
    ]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"Known to the model: {SESSIONS[0]}..{SESSIONS[3]}, shaded" in page
    assert f'"x0":"{SESSIONS[0]}","x1":"{CUTOFF}"' in page
    assert "<tr class='worst'>" not in page
    assert "only the 4 sessions from" in page


# --- masked -------------------------------------------------------------------------------------------------


def test_plain_and_masked_side_by_side(home: Path, store: MarketStore) -> None:
    keep(store, answers())
    keep(store, answers(MASKED, masked=True))
    [told] = facts(home, "--masked-beside")["masked"]
    assert (told["forecaster"], told["pairs"], told["alone"]) == (MODEL, 7, 0)
    found = {
        part["name"]: (finals(part, "plain"), finals(part, "masked"), part["differing"], part["evenings"])
        for part in told["parts"]
    }
    # Only on the first evening: on the cutoff's the stock is in the book, and neither wants more of it.
    assert found == {
        "all": ([99_973_068], [99_073_068], 1, 7),
        "after": ([99_073_068], [99_073_068], 0, 3),
        "before": ([100_918_068], [100_000_000], 1, 4),
    }
    result = call(home, "--forecaster", "stored", "--masked-beside")
    screen = " ".join(result.stdout.split())
    assert "1 of 7 (14.3%)" in screen
    assert "that proves nothing" in screen
    [folder] = (home / "reports").iterdir()
    rows = list(csv.DictReader((folder / "masked.csv").open(encoding="utf-8")))
    assert [(row["answers"], row["final_twd"]) for row in rows[:2]] == [("plain", "99973068"), ("masked", "99073068")]
    assert "<h2>Masked</h2>" in (folder / "report.html").read_text(encoding="utf-8")


def test_masked_is_compared_where_both_answered(home: Path, store: MarketStore) -> None:
    keep(store, answers())
    keep(store, answers(MASKED, masked=True)[1:])
    [told] = facts(home, "--masked-beside")["masked"]
    assert (told["pairs"], told["alone"]) == (6, 1)
    assert [part["differing"] for part in told["parts"]] == [0, 0, 0]


def test_without_masked_answers_the_comparison_says_how_to_get_them(home: Path, store: MarketStore) -> None:
    keep(store, answers())
    result = call(home, "--forecaster", "stored", "--masked-beside")
    assert isinstance(result.exception, BotError)
    assert str(result.exception).endswith("`twtrader backtest fill --masked` asks for them")


# --- of which market ------------------------------------------------------------------------------------------


def test_a_folders_answers_are_those_that_were_asked_of_it(home: Path, store: MarketStore) -> None:
    keep(store, answers(until=date(2024, 6, 30)), by="folder")
    result = call(home, "--forecaster", "stored")
    assert "no stored forecasts" in str(result.exception)
    told = facts(home, "--data", str(home / "bars"))
    assert told["rows"][0]["final_twd"] == 99_973_068


def test_answers_told_after_other_closes_are_left_out(home: Path, store: MarketStore) -> None:
    keep(store, answers(until=date(2024, 6, 30)), by="folder")
    other = market(s2330=[flat(close * 2) for close in CLOSES])
    write_csv(home / "other", other)
    result = call(home, "--forecaster", "stored", "--data", str(home / "other"))
    assert isinstance(result.exception, BotError)
    assert str(result.exception) == (
        "8 stored forecasts were told after other closes than these bars have: they are of another market; "
        "`twtrader backtest fill` asks about these"
    )
    mixed = market(s2330=[flat(close * (2 if place == 0 else 1)) for place, close in enumerate(CLOSES)])
    write_csv(home / "mixed", mixed)
    told = facts(home, "--data", str(home / "mixed"))
    assert any(note.startswith("1 stored forecasts were told after other closes") for note in told["notes"])
