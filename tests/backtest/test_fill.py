"""Filling history: exact counts, stopped at any moment and resumed, and the very questions that are asked live."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, at, checked, config, days
from markets import random_market, write_csv
from rehearsals import command

import backtest.fill
from backtest.fill import FIRST_BATCH, LARGEST_BATCH, Filled, Progress, Wanted, fill, next_size
from backtest.fill_cli import fill_lines
from backtest.history import History
from backtest.questions import Shape, events_beside, questions_of_history
from bot.adapters.naive_forecaster import NaiveEngine
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.answers import ask_once
from bot.core.exrights import ExRight
from bot.core.forecast import Forecast, Sentiment
from bot.errors import EngineFailed, Refused
from bot.ports import Company, Question

SESSIONS = days(date(2024, 9, 2), 40)
MARKET = random_market(["2317", "2330", "2382", "2454"], SESSIONS)
PAST = 5
QUESTIONS = sum(max(0, len(MARKET.series(symbol).sessions) - PAST + 1) for symbol in MARKET.symbols)
SHORT = sum(len(MARKET.series(symbol).sessions) for symbol in MARKET.symbols) - QUESTIONS


class Counting(NaiveEngine):
    """The naive engine, which remembers what it was asked, may abstain, and dies after `lasts` batches."""

    def __init__(self, *, lasts: int = 10**9, silent: str = "") -> None:
        self.asked: list[Question] = []
        self.titles: list[str] = []
        self.closed = 0
        self._lasts, self._silent = lasts, silent

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        if self._lasts == 0:
            raise EngineFailed("naive: the child was killed by signal 9")
        self._lasts -= 1
        self.asked += questions
        told = super().forecast(questions)
        return [
            None if one.company.symbol == self._silent or answer is None else replace(answer, tokens=7, seconds=0.001)
            for one, answer in zip(questions, told, strict=True)
        ]

    def sentiment(self, titles: Sequence[str]) -> list[Sentiment]:
        self.titles += titles
        return [Sentiment(positive=0.2, neutral=0.5, negative=0.3) for _ in titles]

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def home(tmp_path: Path) -> Path:
    shutil.copy(REPO / "config.toml", tmp_path / "config.toml")
    write_csv(tmp_path / "bars", MARKET)
    return tmp_path


def filled(home: Path, engine: NaiveEngine, monkeypatch: pytest.MonkeyPatch, **wanted: Any) -> Filled:
    monkeypatch.setattr(backtest.fill, "engine_of", lambda _: engine)
    told: dict[str, Any] = {"data": home / "bars", "past_sessions": PAST, "future_sessions": 2}
    return fill(config(home), Wanted(**(told | wanted)), Progress())


def counts(one: Filled) -> tuple[int, int, int, int, int]:
    return one.asked, one.made, one.there, one.abstained, one.left


def rows(home: Path, question: str = "select count(*) from answers") -> int:
    with sqlite3.connect(home / "twtrader.db") as db:
        return int(db.execute(question).fetchone()[0])


# --- counts -------------------------------------------------------------------------------------------------


def test_every_missing_answer_is_made_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Counting()
    first = filled(home, engine, monkeypatch, until=SESSIONS[20])
    whole = filled(home, engine, monkeypatch)
    again = filled(home, engine, monkeypatch)
    assert counts(whole) == (QUESTIONS, QUESTIONS - first.made, first.made, 0, 0)
    assert counts(again) == (QUESTIONS, 0, QUESTIONS, 0, 0)
    assert (whole.short, whole.tokens) == (SHORT, 7 * whole.made)
    asked = [(one.company.symbol, one.as_of) for one in engine.asked]
    assert len(asked) == len(set(asked)) == QUESTIONS == rows(home)
    assert engine.closed == 3
    assert fill_lines(again) == [
        f"naive: 4 stocks, {SESSIONS[0]}..{SESSIONS[-1]}, 5 past and 2 future sessions",
        f"{QUESTIONS} questions: 0 answered now; {QUESTIONS} were there; 0 abstained",
        f"{SHORT} without a question: fewer than 5 bars up to that session",
    ]


def test_another_window_mask_or_bar_is_another_question(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Counting()
    filled(home, engine, monkeypatch)
    assert filled(home, engine, monkeypatch, future_sessions=3).made == QUESTIONS
    assert filled(home, engine, monkeypatch, masked=True).made == QUESTIONS
    assert sum(one.masked for one in engine.asked) == QUESTIONS
    path = home / "bars/2330.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    cells = lines[21].split(",")
    cells[4] = f"{float(cells[4]) * 1.04:.0f}"  # its high
    path.write_text("\n".join([*lines[:21], ",".join(cells), *lines[22:]]) + "\n", encoding="utf-8")
    changed = filled(home, engine, monkeypatch)
    assert changed.made == PAST  # the five questions with that bar in their past
    assert rows(home, "select count(*) from forecasts where superseded_at is not null") == PAST
    assert rows(home) == 3 * QUESTIONS + PAST


def test_an_abstention_is_said_and_asked_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = len(MARKET.series("2330").sessions) - PAST + 1
    told = filled(home, Counting(silent="2330"), monkeypatch)
    assert counts(told) == (QUESTIONS, QUESTIONS - silent, 0, silent, 0)
    assert told.reasons == {"the question does not fit into the window of naive": silent}
    assert filled(home, Counting(), monkeypatch).made == silent


def test_a_dead_engine_ends_it_and_the_next_run_goes_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = filled(home, Counting(lasts=2), monkeypatch, batch=10)
    assert counts(told) == (QUESTIONS, 20, 0, 0, QUESTIONS - 20)
    assert told.stopped == "naive: the child was killed by signal 9"
    assert counts(filled(home, Counting(), monkeypatch)) == (QUESTIONS, QUESTIONS - 20, 20, 0, 0)


def test_only_some_stocks_and_days(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Counting()
    told = filled(home, engine, monkeypatch, symbols=("2330", "2317"), since=SESSIONS[10], until=SESSIONS[11])
    assert {one.company.symbol for one in engine.asked} == {"2317", "2330"}
    assert {one.as_of for one in engine.asked} == {SESSIONS[10], SESSIONS[11]}
    assert engine.asked[0].company.name == "鴻海"
    assert told.made == 4
    with pytest.raises(Refused, match="no bars of 9999"):
        filled(home, engine, monkeypatch, symbols=("9999",))
    with pytest.raises(Refused, match="no bars between"):
        filled(home, engine, monkeypatch, since=date(2030, 1, 1), until=date(2030, 2, 1))


def test_headlines_of_the_archive_get_their_mood_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.core.forecast import Article

    db = open_database(home / "twtrader.db")
    store, told = MarketStore(db), []
    for number, day in enumerate((SESSIONS[0] - timedelta(days=30), SESSIONS[3], SESSIONS[5])):
        lone = f"https://t.co/{number}"  # nothing to read
        told.append(
            Article(symbol="2330", title=lone, url=lone, source="s", language="en", published_at=at(day, "09:00"),
                    fetched_at=at(day, "17:00"))
        )  # fmt: skip
        told.append(
            Article(symbol="2330", title=f"headline {number}", url=f"u{number}", source="s", language="zh",
                    published_at=at(day, "09:00"), fetched_at=at(day, "17:00"))
        )  # fmt: skip
    store.add_articles(told)
    store.add_sentiments("naive", {"headline 1": Sentiment(positive=1, neutral=0, negative=0)}, at(SESSIONS[3]))
    engine = Counting()
    first = filled(home, engine, monkeypatch)
    assert engine.titles == ["headline 2"]
    assert (first.headlines, first.headlines_there, first.headlines_made) == (2, 1, 1)
    assert filled(home, engine, monkeypatch).headlines_made == 0
    db.close()


def test_a_batch_grows_while_it_is_quick_and_shrinks_when_a_kill_would_cost_much() -> None:
    assert next_size(FIRST_BATCH, 0.1) == 4 * FIRST_BATCH
    assert next_size(LARGEST_BATCH, 0.1) == LARGEST_BATCH
    assert next_size(100, 10) == 100
    assert next_size(100, 60) == 50
    assert next_size(1, 60) == 1


# --- the questions --------------------------------------------------------------------------------------------


def test_history_is_asked_what_the_daemon_asks(home: Path) -> None:
    """The same store, the same day: the live stage's question and the one of history are equal, ex-dates included."""
    from types import SimpleNamespace

    from bot.adapters.sqlite_ex_rights import ExRightStore
    from bot.stages.forecast import questions_of

    db = open_database(home / "twtrader.db")
    store, rights, evening = MarketStore(db), ExRightStore(db), SESSIONS[30]
    for symbol in MARKET.symbols:
        store.add_bars(checked(*MARKET.after(SESSIONS[-1]).past(symbol, 99)), at(SESSIONS[-1]))
    close = MARKET.closes_x100(SESSIONS[27])["2330"]
    for ex_date, before in ((SESSIONS[28], close), (SESSIONS[35], 100_00)):  # one is in the past, one still to come
        event = ExRight(symbol="2330", ex_date=ex_date, kind="dividend", previous_x100=before,
                        reference_x100=before * 9 // 10, source="x", known_at=at(SESSIONS[20]))  # fmt: skip
        rights.keep([event], kind="dividend", symbols={"2330"}, first=ex_date, last=ex_date, known_at=at(SESSIONS[20]))
    companies = tuple(Company(symbol=symbol, name=f"{symbol} 公司", board="twse") for symbol in MARKET.symbols)
    model = {"past_sessions": PAST, "future_sessions": 2}
    ports: Any = SimpleNamespace(
        market=store,
        ex_right_store=rights,
        companies=companies,
        clock=SimpleNamespace(now=lambda: at(evening, "18:00")),
    )
    live = questions_of(evening, ports, config(home, model=model))
    history = History.from_store(store)
    events = {"2330": rights.events({"2330"}, since=date.min, until=SESSIONS[-1])}
    shape = Shape(past_sessions=PAST, future_sessions=2)
    made = questions_of_history(history, [evening], {one.symbol: one for one in companies}, events, shape)
    assert [one for one in made if one] == live
    assert len(live) == 4
    # Bars before the ex-date are told in today's terms: 0.9 of what they traded at.
    told = next(one for one in live if one.company.symbol == "2330")
    assert float(told.bars[0].close) == pytest.approx(
        MARKET.closes_x100(told.bars[0].session)["2330"] / 100 * 0.9, abs=0.1
    )
    db.close()


def test_ex_dates_beside_a_folder(home: Path) -> None:
    """factor x the close before, on the tick; not where a gap in the bars hides that close."""
    history = History.from_csv(home / "bars")
    before = history.series("2330").sessions[9]
    ex_date = history.series("2330").sessions[10]
    (home / "bars/ex_rights.csv").write_text(
        "code,ex_date,factor,prev\n"
        f"2330,{ex_date},0.98,{before}\n"
        f"2317,{SESSIONS[0]},0.98,{SESSIONS[0] - timedelta(days=1)}\n"
        f"9999,{ex_date},0.98,{before}\n",
        encoding="utf-8",
    )
    [(symbol, [event])] = events_beside(home / "bars", history).items()
    close = history.series("2330").quotes[9].close_x100
    assert (symbol, event.ex_date, event.previous_x100) == ("2330", ex_date, close)
    assert abs(event.reference_x100 - close * 0.98) <= 50
    (home / "bars/ex_rights.csv").write_text("code,ex_date,factor,prev\n2330,soon,x,\n", encoding="utf-8")
    with pytest.raises(Refused, match="ex_rights"):
        events_beside(home / "bars", history)


def test_equal_questions_of_one_batch_are_computed_once(home: Path) -> None:
    """Masked, two stocks with the same past are one question: one computation, an answer for each."""
    db = open_database(home / "twtrader.db")
    store, engine = MarketStore(db), Counting()
    [one] = [
        asked
        for asked in questions_of_history(
            MARKET, SESSIONS[9:10], {symbol: Company(symbol=symbol, name="x", board="twse") for symbol in MARKET.symbols},
            {}, Shape(past_sessions=PAST, future_sessions=2, masked=True),
        )
        if asked and asked.company.symbol == "2330"
    ]  # fmt: skip
    twin = replace(
        one,
        company=Company(symbol="2317", name="y", board="twse"),
        bars=tuple(replace(bar, symbol="2317") for bar in one.bars),
    )
    answered = ask_once([one, twin, one], engine, store.answers, by="store", now=lambda: at(SESSIONS[9]))
    assert len(engine.asked) == 1
    assert [forecast.symbol for forecast in answered.forecasts if forecast] == ["2330", "2317", "2330"]
    assert (len(answered.made), answered.there, answered.abstained) == (1, 2, 0)
    found = store.answers.forecasts(
        as_of=SESSIONS[9], model="naive", past_sessions=PAST, future_sessions=2, by="store", masked=True
    )
    assert set(found) == {"2317", "2330"}
    db.close()


def test_live_a_changed_question_without_an_answer_is_an_abstention(home: Path) -> None:
    """An ex-date became known after the first answer: that one is void, whether or not the model answers anew."""
    db = open_database(home / "twtrader.db")
    store, shape = MarketStore(db), Shape(past_sessions=PAST, future_sessions=2)
    companies = {symbol: Company(symbol=symbol, name="x", board="twse") for symbol in MARKET.symbols}
    event = ExRight(symbol="2330", ex_date=SESSIONS[9], kind="dividend", previous_x100=100_00, reference_x100=90_00,
                    source="x", known_at=at(SESSIONS[9]))  # fmt: skip
    first, second = (
        [one for one in questions_of_history(MARKET, SESSIONS[9:10], companies, events, shape) if one]
        for events in ({}, {"2330": [event]})
    )

    def counting_for_tonight() -> set[str]:
        return set(store.forecasts(as_of=SESSIONS[9], model="naive", past_sessions=PAST, future_sessions=2))

    ask_once(first, Counting(), store.answers, by="live", now=lambda: at(SESSIONS[9], "18:00"))
    assert counting_for_tonight() == set(MARKET.symbols)
    silent = Counting(silent="2330")
    ask_once(second, silent, store.answers, by="live", now=lambda: at(SESSIONS[9], "19:00"))
    assert [one.company.symbol for one in silent.asked] == ["2330"]
    assert counting_for_tonight() == {"2317", "2382", "2454"}
    ask_once(first, Counting(lasts=0), store.answers, by="live", now=lambda: at(SESSIONS[9], "20:00"))
    assert counting_for_tonight() == set(MARKET.symbols)  # the first question again: its answer is there
    db.close()


# --- the real process -----------------------------------------------------------------------------------------


def started(home: Path, batch: int = 1) -> subprocess.Popen[bytes]:
    """`twtrader backtest fill` with the naive engine; an answer a transaction, if nothing else is said."""
    text = (home / "config.toml").read_text(encoding="utf-8")
    (home / "config.toml").write_text(text.replace('engine = "transformers" ', 'engine = "naive" '), encoding="utf-8")
    words = ("backtest", "fill", "--data", str(home / "bars"), "--past", str(PAST), "--batch", str(batch), "--json")
    return subprocess.Popen(
        command(home / "config.toml", *words), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )  # fmt: skip


def stop_after(home: Path, process: subprocess.Popen[bytes], answers: int, how: signal.Signals) -> tuple[bytes, bytes]:
    """Send `how` as soon as so many answers are on disk; what it said."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit and process.poll() is None:
        try:
            if rows(home) >= answers:
                process.send_signal(how)
                break
        except sqlite3.Error:
            pass  # the database, or its table, is not there yet
        time.sleep(0.002)
    return process.communicate(timeout=60)


@pytest.fixture
def large(home: Path) -> tuple[Path, int]:
    """A market whose answers take a second or two to store one by one."""
    sessions = days(date(2022, 1, 3), 200)
    one = random_market(["2317", "2330", "2382", "2454"], sessions)
    write_csv(home / "bars", one)
    return home, sum(len(one.series(symbol).sessions) - PAST + 1 for symbol in one.symbols)


def test_killed_in_the_middle_it_computes_no_stored_answer_again(large: tuple[Path, int]) -> None:
    home, questions = large
    process = started(home)
    stop_after(home, process, 20, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    stored = rows(home)
    assert 20 <= stored < questions
    with sqlite3.connect(home / "twtrader.db") as db:
        before = db.execute("select * from answers order by id").fetchall()
    out, err = started(home, batch=0).communicate(timeout=120)
    told = json.loads(out)
    assert err == b""
    assert (told["asked"], told["there"], told["made"], told["left"]) == (questions, stored, questions - stored, 0)
    assert rows(home) == questions
    with sqlite3.connect(home / "twtrader.db") as db:
        assert db.execute("select * from answers order by id limit ?", [stored]).fetchall() == before
        assert db.execute("select count(*) from forecasts where superseded_at is null").fetchone() == (questions,)


def test_interrupted_it_reports_and_says_so_in_one_line(large: tuple[Path, int]) -> None:
    home, questions = large
    process = started(home)
    out, err = stop_after(home, process, 20, signal.SIGINT)
    told = json.loads(out)
    assert process.returncode == 1
    assert err.decode() == (
        "twtrader: stopped: interrupted; what was answered is stored, the same command goes on from there\n"
    )
    assert told["stopped"] == "interrupted"
    assert 0 <= rows(home) - told["made"] <= 1  # the one in the air may be stored and not counted
    assert told["left"] == questions - told["made"]
