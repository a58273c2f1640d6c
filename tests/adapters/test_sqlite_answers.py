"""Answers in the store: each once, the newest question of a stock and session counts, nothing is lost."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import FRIDAY, THURSDAY, at, bar
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from bot.adapters.asked_questions import Named, named, price_grid
from bot.adapters.askers import OF_FOLDER, OF_STORE, counting
from bot.adapters.sqlite_answer_keys import migrate_answers
from bot.adapters.sqlite_answers import AnswerStore
from bot.adapters.sqlite_open import migrations, open_database
from bot.core.forecast import Band, Forecast, ForecastBar
from bot.ports import Company, Question

TSMC = Company(symbol="2330", name="台積電", board="twse")
FUND = Company(symbol="0050", name="元大台灣50", board="twse")
MODEL = "small@0123456789ab"


def question(close: str = "100", *, company: Company = TSMC, as_of: date = THURSDAY, **more: Any) -> Question:
    """One past bar at `close`."""
    one = bar(close, symbol=company.symbol, session=as_of)
    return Question(company=company, bars=(one,), future_sessions=1, **more)


def asked_of(close: str = "100", **more: Any) -> Named:
    return named(question(close, **more))


def answer(asked: Named, close: str = "105", **more: Any) -> Forecast:
    """One flat bar, with all that an engine may tell."""
    price = Decimal(close)
    told: dict[str, Any] = {
        "trained_until": date(2024, 6, 30),
        "model": MODEL,
        "prompt_sha256": asked.sha256,
        "bands": (Band(low=Decimal("99.50"), high=Decimal("107.00")),),
        "p_up": 0.625,
        "tokens": 165,
        "seconds": 0.25,
    }
    return Forecast(
        symbol=asked.question.company.symbol,
        as_of=asked.question.as_of,
        past_sessions=len(asked.question.bars),
        bars=(ForecastBar(open=price, high=price, low=price, close=price),),
        **(told | more),
    )


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Any]:
    db = open_database(tmp_path / "x.db")
    yield db
    db.close()


def valid(store: AnswerStore, **more: Any) -> dict[str, Forecast]:
    return store.forecasts(as_of=THURSDAY, model=MODEL, past_sessions=1, future_sessions=1, **more)


def test_an_answer_comes_back_with_its_bands_and_its_costs(db: Any) -> None:
    store, asked = AnswerStore(db), asked_of()
    assert store.add([(asked, answer(asked))], at(THURSDAY)) == 1
    assert valid(store) == {"2330": answer(asked)}
    assert store.known([asked_of("101"), asked], MODEL) == {1: answer(asked)}
    assert store.known([asked], "another@model") == {}
    assert store.known([named(replace(asked.question, future_sessions=5))], MODEL) == {}
    assert store.spent(MODEL) == (1, 165, 0.25)
    [row] = db.query("select close_x100, asked_by, asked_at from forecasts")
    assert row == {"close_x100": 100_00, "asked_by": "live", "asked_at": at(THURSDAY).isoformat()}


def test_a_changed_question_has_its_own_answer_and_the_newest_counts(db: Any) -> None:
    """Told once of 100, once of 99.5 (an ex-date became known), then of 100 again: three questions, two answers."""
    store, first, second = AnswerStore(db), asked_of(), asked_of("99.5")
    store.add([(first, answer(first, "105"))], at(THURSDAY, "18:00"))
    store.add([(second, answer(second, "90"))], at(THURSDAY, "19:00"))
    assert valid(store)["2330"].target == 90
    store.take([(first, store.known([first], MODEL)[0])], at(THURSDAY, "20:00"))
    assert valid(store)["2330"].target == 105
    assert db["answers"].count == 2
    assert [row["superseded_at"] for row in db.query("select * from forecasts order by answer")] == [
        None,
        at(THURSDAY, "20:00").isoformat(),
    ]


def test_an_answer_is_not_rewritten(db: Any) -> None:
    store, asked = AnswerStore(db), asked_of()
    assert store.add([(asked, answer(asked, "105"))], at(THURSDAY)) == 1
    assert store.add([(asked, answer(asked, "1"))], at(FRIDAY)) == 0
    assert valid(store)["2330"].target == 105


def test_nothing_counts_while_a_changed_question_has_no_answer(db: Any) -> None:
    store, first, second = AnswerStore(db), asked_of(), asked_of("99.5")
    store.add([(first, answer(first))], at(THURSDAY))
    store.supersede([first], MODEL, at(THURSDAY, "18:30"), by="live")
    assert valid(store) == {"2330": answer(first)}  # it is the same question
    store.supersede([second], MODEL, at(THURSDAY, "19:00"), by="live")
    assert valid(store) == {}
    assert store.model_of(THURSDAY, 1, 1) is None
    assert store.known([first], MODEL) == {0: answer(first)}


def test_a_persons_context_and_masks_do_not_touch_what_the_daemon_uses(db: Any) -> None:
    store, plain = AnswerStore(db), asked_of()
    asked, masked = asked_of(context=("orders doubled",)), asked_of(masked=True)
    store.add([(plain, answer(plain, "105"))], at(THURSDAY))
    store.add([(asked, answer(asked, "110"))], at(FRIDAY), by="person")
    store.add([(masked, answer(masked, "98"))], at(FRIDAY), by="store")
    assert valid(store)["2330"].target == 105
    assert valid(store, by="person")["2330"].target == 110
    assert valid(store, by="store", masked=True)["2330"].target == 98
    assert [one.target for one in store.newest()] == [105]
    span = {"since": THURSDAY, "until": THURSDAY, "past_sessions": 1, "future_sessions": 1}
    assert [one.target for one in counting(store.targets(**span), OF_STORE)] == [105]
    assert [one.target for one in counting(store.targets(**span, masked=True), OF_STORE)] == [98]


def test_one_masked_prompt_is_one_answer_for_all_stocks_that_look_alike(db: Any) -> None:
    """Name, code and day are hidden: another stock, another day, the same prompt. A fund has other ticks."""
    store = AnswerStore(db)
    one = asked_of(masked=True)
    other = asked_of(masked=True, company=replace(TSMC, symbol="2317", name="鴻海"), as_of=FRIDAY)
    fund = asked_of(masked=True, company=FUND)
    assert one.sha256 == other.sha256 == fund.sha256
    assert (price_grid("0050", THURSDAY), price_grid("2330", date(2015, 5, 29))) == ("etf10", "stock7")
    store.add([(one, answer(one))], at(THURSDAY), by="store")
    found = store.known([other, fund], MODEL)
    assert found == {0: replace(answer(one), symbol="2317", as_of=FRIDAY)}
    store.take([(other, found[0])], at(FRIDAY), by="store")
    store.add([(fund, answer(fund))], at(FRIDAY), by="store")
    assert db["answers"].count == 2
    assert db["forecasts"].count == 3


def test_a_replay_takes_what_the_daemon_said_and_of_a_folder_what_was_asked_of_it(db: Any) -> None:
    store, live, folder = AnswerStore(db), asked_of(), asked_of("99")
    store.add([(folder, answer(folder, "80"))], at(FRIDAY), by="folder")
    span = {"since": THURSDAY, "until": THURSDAY, "past_sessions": 1, "future_sessions": 1}
    assert counting(store.targets(**span), OF_STORE) == []
    store.add([(live, answer(live, "105"))], at(THURSDAY), by="live")
    later = asked_of("100.5")
    store.add([(later, answer(later, "70"))], at(FRIDAY), by="store")
    [told] = counting(store.targets(**span), OF_STORE)
    assert (told.target, told.p_up, told.bands) == (105, 0.625, answer(live).bands)
    assert [one.target for one in counting(store.targets(**span, askers=OF_FOLDER), OF_FOLDER)] == [80]
    # Bars of another market than the question's are no reason to believe its answer.
    assert [one.target for one in counting(store.targets(**span), OF_STORE, lambda *_: 100_50)] == [70]
    assert counting(store.targets(**span), OF_STORE, lambda *_: 98_00) == []
    assert [one.target for one in counting(store.targets(**span), OF_STORE, lambda *_: None)] == [105]


PLACES = st.tuples(st.sampled_from(["99", "100", "101"]), st.sampled_from(["live", "store"]), st.booleans())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["add", "take", "supersede"]), PLACES), max_size=12))
def test_whatever_is_asked_the_last_answered_question_counts(steps: list[tuple[str, Any]]) -> None:
    """Against a dictionary: at most one valid answer a place, no answer twice, none lost."""
    db = Database(memory=True)
    migrations.apply(db)
    store, answers, counts = AnswerStore(db), {}, {}
    for number, (verb, (close, by, masked)) in enumerate(steps):
        asked, moment = asked_of(close, masked=masked), at(THURSDAY) + timedelta(minutes=number)
        key, place = (close, masked), (by, masked)
        if verb == "supersede":
            store.supersede([asked], MODEL, moment, by=by)
            if counts.get(place, (key,))[0] != key:
                del counts[place]
            continue
        if verb == "add":
            store.add([(asked, answer(asked, str(50 + number)))], moment, by=by)
            answers.setdefault(key, Decimal(50 + number))
        elif key in answers:
            store.take([(asked, store.known([asked], MODEL)[0])], moment, by=by)
        if key in answers:
            counts[place] = key, answers[key]
    for by, masked in (("live", False), ("live", True), ("store", False), ("store", True)):
        wanted = {"2330": counts[by, masked][1]} if (by, masked) in counts else {}
        assert {symbol: one.target for symbol, one in valid(store, by=by, masked=masked).items()} == wanted
    assert db["answers"].count == len(answers)


def test_every_answer_of_an_old_database_is_carried_over(tmp_path: Path) -> None:
    """The table as it was before this version, written by hand."""
    db = Database(sqlite3.connect(tmp_path / "old.db"))
    db["forecasts"].create(
        {"symbol": str, "as_of": str, "model": str, "past_sessions": int, "future_sessions": int,
         "prompt_sha256": str, "trained_until": str, "bars": str, "made_at": str},
        pk=("symbol", "as_of", "model", "past_sessions", "future_sessions"), strict=True,
    )  # fmt: skip
    rows = [
        (symbol, model, future, sha256)
        for symbol, model, future, sha256 in (
            ("2330", MODEL, 1, "a" * 64),
            ("2330", MODEL, 5, "a" * 64),
            ("2317", MODEL, 1, "a" * 64),  # no real hash is another stock's; even so it is kept
            ("2317", "naive", 1, ""),
            ("2454", "naive", 1, ""),
        )
    ]
    for number, (symbol, model, future, sha256) in enumerate(rows):
        bars = [[f"{100 + number}.0"] * 4] * future
        db["forecasts"].insert(
            {"symbol": symbol, "as_of": str(THURSDAY), "model": model, "past_sessions": 1, "future_sessions": future,
             "prompt_sha256": sha256, "trained_until": "2024-06-30", "bars": json.dumps(bars), "made_at": str(number)}
        )  # fmt: skip
    migrate_answers(db)
    store = AnswerStore(db)
    found = {
        (symbol, model, future): one
        for model in (MODEL, "naive")
        for future in (1, 5)
        for symbol, one in store.forecasts(as_of=THURSDAY, model=model, past_sessions=1, future_sessions=future).items()
    }
    assert {key: one.target for key, one in found.items()} == {
        (symbol, model, future): 100 + number for number, (symbol, model, future, _) in enumerate(rows)
    }
    told = found["2330", MODEL, 1]
    assert (told.prompt_sha256, told.bands, told.p_up, told.tokens) == ("a" * 64, (), None, 0)
    assert store.known([asked_of()], MODEL) == {}


def test_ten_thousand_answers_are_stored_in_no_time(db: Any) -> None:
    """41 stocks x 250 sessions, which an H100 answers in 11 s. Measured 0.5 s on one busy core."""
    store = AnswerStore(db)
    asked = [
        asked_of(str(100 + number % 5), company=replace(TSMC, symbol=f"{1101 + number // 250}"),
                 as_of=THURSDAY + timedelta(days=number % 250))
        for number in range(10_250)
    ]  # fmt: skip
    told = [(one, answer(one)) for one in asked]
    begun = time.process_time()
    assert store.add(told, at(THURSDAY), by="store") == 10_250
    assert time.process_time() - begun < 3
    assert len(store.known(asked, MODEL)) == 10_250
