"""`twtrader backtest quality`: what is stored or asked for, beside what came; a sample that can be stopped."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from builders import REPO, at, days
from typer.testing import CliRunner

import bot.wiring
from backtest.forecast_cases import Market
from backtest.quality_run import Asked, judge, sample
from backtest.questions import Shape
from bot.adapters.asked_questions import named
from bot.adapters.sqlite_answers import AnswerStore
from bot.adapters.sqlite_open import open_database
from bot.cli import app
from bot.config import Config
from bot.config_file import load_config
from bot.core.forecast import Band, Forecast, ForecastBar
from bot.core.market import Bar
from bot.errors import EngineFailed, Refused
from bot.known_bars import read_known
from bot.ports import Company, Question
from bot.stages.forecast import question_after

CODES = ("2330", "2317", "2454")
DAYS = days(date(2024, 9, 2), 130)
TRAINED = date(2024, 10, 31)  # the shipped config's


class Seer:
    """Knows the bars that come, or a share of them; counts what it is asked."""

    def __init__(self, bars: dict[str, Sequence[Bar]], model: str = "seer@1", *, until: date = TRAINED) -> None:
        self.bars, self.model, self.until = bars, model, until
        self.asked: list[Question] = []
        self.dies_after: int | None = None

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise EngineFailed("gone")
        self.asked += questions
        return [self._told(one) for one in questions]

    def _told(self, one: Question) -> Forecast | None:
        bars = self.bars[one.company.symbol]
        place = next(at for at, bar in enumerate(bars) if bar.session == one.as_of)
        coming = bars[place + 1 : place + 1 + one.future_sessions]
        return Forecast(
            symbol=one.company.symbol,
            as_of=one.as_of,
            trained_until=self.until,
            model=self.model,
            past_sessions=len(one.bars),
            bars=tuple(ForecastBar(open=x.open, high=x.high, low=x.low, close=x.close) for x in coming),
            bands=tuple(Band(low=x.low, high=x.high) for x in coming),
            p_up=0.9 if coming[-1].close > one.bars[-1].close else 0.1,
        )

    def sentiment(self, titles: Sequence[str]) -> list[Any]:
        raise NotImplementedError

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stocks that walk at random for half a year."""
    folder = tmp_path_factory.mktemp("prices")
    dice = random.Random(4)
    for code in CODES:
        close, rows = 100, []
        for day in DAYS:
            close = max(60, close + dice.choice((-3, -2, -1, 1, 2, 3)))
            rows.append(f"{day},1000,,{close},{close + 1},{close - 1},{close},0,1")
        header = "date,capacity,turnover,open,high,low,close,change,transaction\n"
        (folder / f"{code}.csv").write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def told(tmp_path: Path) -> Config:
    text = tomlkit.parse((REPO / "config.toml").read_text(encoding="utf-8"))
    text["model"]["engine"] = "naive"  # type: ignore[index]
    (tmp_path / "config.toml").write_text(tomlkit.dumps(text), encoding="utf-8")
    return load_config(tmp_path / "config.toml")


def asked(made: Path, **more: Any) -> Asked:
    return Asked(**{"data": made, "past": 5, "horizons": (1, 5), "questions": 150, "seed": 3, **more})


def engine_is(engine: Seer, monkeypatch: pytest.MonkeyPatch) -> Seer:
    monkeypatch.setattr(bot.wiring, "engine_of", lambda _: engine)
    return engine


def seer(config: Config, made: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Seer:
    return engine_is(Seer(dict(read_known(config, made).bars), **more), monkeypatch)


def nothing(_done: int, _total: int) -> None:
    pass


def test_one_that_knows_what_comes_is_right_everywhere(
    told: Config, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seer(told, made, monkeypatch)
    [judged] = judge(told, asked(made), nothing)
    assert judged.answers == 150
    assert [part.cases for part in judged.clean.horizons] == [150, 150]
    for part in judged.clean.horizons:
        row, plain = part.of("seer@1"), part.of("last close")
        assert row.mape == 0
        assert plain.mape > 0
        assert row.direction is not None
        assert row.direction.value == 1
        assert row.coverage is not None
        assert row.coverage.value == 1
        assert row.p_holm is not None
        assert row.p_holm < 0.001
    assert judged.clean.horizons[1].of("seer@1").brier == pytest.approx(0.01)
    assert "smaller" in judged.verdict
    assert judged.seen.horizons == ()


def test_days_that_the_model_may_know_stand_apart_and_count_for_nothing(
    told: Config, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seer(told, made, monkeypatch, until=date(2026, 1, 1))
    [judged] = judge(told, asked(made), nothing)
    assert judged.clean.horizons == ()
    assert judged.seen.horizons[0].cases == 150
    assert "unknown" in judged.verdict


def test_a_sample_that_died_goes_on_where_it_was(told: Config, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = seer(told, made, monkeypatch)
    dying.dies_after = 82
    with pytest.raises(EngineFailed):
        judge(told, asked(made), nothing)
    again = seer(told, made, monkeypatch)
    [judged] = judge(told, asked(made), nothing)
    assert len(dying.asked) == 82
    assert len(again.asked) == 150 - 82
    assert judged.answers == 150
    third = seer(told, made, monkeypatch)
    judge(told, asked(made), nothing)
    assert third.asked == []


def test_the_sample_is_the_seeds_and_of_days_the_model_cannot_know(told: Config, made: Path) -> None:
    known = read_known(told, made)
    market = Market.of(known.bars, known.events)
    one, same, other = (sample(told, asked(made, seed=seed), market) for seed in (3, 3, 4))
    assert one == same
    assert one != other
    assert min(question.as_of for question in one) >= TRAINED
    assert max(question.as_of for question in one) < DAYS[-5]  # five sessions later it has come true
    assert len({(question.as_of, question.company.symbol) for question in one}) == 150
    with pytest.raises(Refused, match="not more"):
        sample(told, asked(made, questions=10_000), market)


def test_stored_answers_of_this_market_are_judged(told: Config, made: Path) -> None:
    """Those of the live evenings and of `backtest fill`; one after another close is about another market."""
    bars = dict(read_known(told, made).bars)
    model = Seer(bars)
    db = open_database(told.store.path)
    pairs = []
    for place in range(70, 110):
        for code in CODES:
            line = bars[code]
            shape = Shape(past_sessions=5, future_sessions=5)
            company = Company(symbol=code, name=code, board="twse")
            question = question_after(line[place].session, company, line[place - 4 : place + 1], (), shape)
            assert question is not None
            [answer] = model.forecast([question])
            assert answer is not None
            pairs.append((named(question), answer))
    strange = dataclasses.replace(
        pairs[0][0].question,
        bars=tuple(
            dataclasses.replace(one, close=one.close + 1, high=one.high + 1) for one in pairs[0][0].question.bars
        ),
    )
    AnswerStore(db).add([(named(strange), pairs[0][1])], at(DAYS[0]), by="store")
    AnswerStore(db).add(pairs[1:], at(DAYS[0]), by="live")
    db.close()
    [judged] = judge(told, asked(made, questions=0), nothing)
    assert judged.answers == 40 * 3 - 1
    assert judged.clean.horizons[0].cases == 40 * 3 - 1
    with pytest.raises(Refused, match="no stored answers of a model named other"):
        judge(told, asked(made, questions=0, model="other"), nothing)
    with pytest.raises(Refused, match="backtest fill"):
        judge(told, asked(made, questions=0, past=60), nothing)


def test_the_command_prints_a_table_for_each_horizon_and_json(told: Config, made: Path, tmp_path: Path) -> None:
    line = ["-c", str(tmp_path / "config.toml"), "backtest", "quality", "--data", str(made), "--questions", "60"]
    words = [*line, "--past", "5", "--horizons", "5,1"]
    shown = CliRunner().invoke(app, words, env={"COLUMNS": "130"})
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.index("1 session:") < shown.stdout.index("5 sessions:")
    for word in ("last close", "drift", "BestFourPoint", "Diebold-Mariano", "naive: unknown"):
        assert word in shown.stdout
    told_json = CliRunner().invoke(app, [*words, "--json"])
    [facts] = json.loads(told_json.stdout)
    assert [part["horizon"] for part in facts["clean"]["horizons"]] == [1, 5]
    # The naive engine is the last close: the same errors, and nothing to tell them apart by.
    naive, last = facts["clean"]["horizons"][0]["rows"][:2]
    assert naive["mape"] == last["mape"]
    assert naive["against"]["p"] is None


@pytest.mark.parametrize("horizons", ["", "0", "1,x", "1,-5", "251"])
def test_horizons_that_are_none_are_bad_usage(told: Config, tmp_path: Path, horizons: str) -> None:
    words = ["-c", str(tmp_path / "config.toml"), "backtest", "quality", "--horizons", horizons]
    assert CliRunner().invoke(app, words).exit_code == 2
