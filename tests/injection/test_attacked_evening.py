"""Real evenings on the sandbox with and without each attack headline: what it may move is its cap, and nothing else.

The daemon's own stages fetch all attacks at once over NewsAPI's wire, the real engine reads them in one call. Then, for
each attack alone, the recorded decision is taken again with that headline among the others.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from attacks import ATTACKS, Attack
from builders import REPO, at
from rehearsals import SECRETS, rehearsal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported, as in the child's environment
pytest.importorskip("torch")
from tiny_llm import make_tiny_model

from bot.adapters.llm_transformers import TransformersEngine
from bot.config import Config
from bot.config_file import load_config
from bot.core import prompt
from bot.core.decide import NO_SENTIMENT, decision_from
from bot.core.forecast import Forecast, Sentiment
from bot.core.headlines import plain_title
from bot.core.mood import MoodRules, Scored, mood_of
from bot.core.orders import Order
from bot.core.rule import BPS
from bot.daemon import run_due
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.stages.stage import Ports
from bot.wiring import open_ports

MONDAY = date(2025, 3, 3)
START = at(MONDAY, "14:30")
CODES = ["2330", "2317", "2454", "3231"]
TARGET = "2330"
SMALL = REPO / "models/smollm2-135m"
SHORT_CHARS = 64  # of an attack that the small model reads too
# Whatever the model thinks of prices, the rule buys: so that the news alone decide what is bought.
EAGER = {"entry_edge_bps": -10_000, "exit_return_bps": -10_000, "top_k": 3}


class KeptEngine(TransformersEngine):
    """The engine of several evenings: loaded once."""

    def close(self) -> None:
        """Later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evening:
    """What one evening left behind: the model's answers, the decision and its inputs, and the headlines by stock."""

    forecasts: Mapping[str, Forecast]
    inputs: Mapping[str, Any]
    orders: tuple[Order, ...]
    scored: Mapping[str, Sequence[Scored]]
    sentiments: Mapping[str, Sentiment]
    outcomes: Mapping[str, str]
    forecast_detail: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evenings:
    """Evenings of one session that differ in the headlines sent in: none, all attacks and, last, perhaps one alone."""

    config: Config
    sent_in: Sequence[Attack]
    without: Evening
    attacked: Evening
    one: Evening | None


@pytest.fixture(scope="module", params=["tiny", pytest.param("small model", marks=pytest.mark.model)])
def evenings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evenings:
    folder = tmp_path_factory.mktemp("evenings")
    if request.param == "tiny":
        make_tiny_model(folder / "tiny", digits=3)
        return _evenings(folder, (), ATTACKS, ATTACKS[:1], name="tiny", folder=str(folder))
    if not SMALL.is_dir():
        pytest.skip("models/smollm2-135m is absent: run `make model`")
    # Short questions, little padding, and not the longest attacks: 135 million weights on a CPU.
    short = [one for one in ATTACKS if len(prompt.clean_text(one.text, prompt.TITLE_CHARS)) <= SHORT_CHARS]
    cheap = {"past_sessions": 5, "future_sessions": 1, "batch": 8}
    return _evenings(folder, (), short, name=SMALL.name, folder=str(SMALL.parent), **cheap)


def _evenings(home: Path, *sent_in: Sequence[Attack], **model: Any) -> Evenings:
    """One evening for each of `sent_in`, all after the same afternoon and with the same loaded model."""
    with pytest.MonkeyPatch.context() as patch, start_sandbox(SandboxSettings(start=START, codes=tuple(CODES))) as box:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        path = rehearsal(home, box.url, CODES, model={"engine": "transformers", "device": "cpu", **model}, rules=EAGER,
                         feeds__newsapi={"page_size": 100}, feeds__rss={"urls": []})  # fmt: skip
        config = load_config(path)
        engine = KeptEngine(config.model)
        _afternoon(box, config)
        shutil.copy(config.store.path, home / "afternoon.db")
        told = []
        for attacks in sent_in:
            box.reset(start=START, seed=7, codes=CODES, cash_twd=100_000_000)
            shutil.copy(home / "afternoon.db", config.store.path)
            told.append(_evening(box, config, engine, attacks))
    return Evenings(
        config=config, sent_in=sent_in[1], without=told[0], attacked=told[1], one=told[2] if told[2:] else None
    )


def _afternoon(box: Sandbox, config: Config) -> None:
    """What every evening has behind it: prices, with their history, and the settled book."""
    box.move_to(at(MONDAY, "16:50"))
    with open_ports(config) as ports:
        assert run_due(ports, config) is None
        ports.market.db.execute("pragma wal_checkpoint(truncate)")


def _evening(box: Sandbox, config: Config, engine: KeptEngine, attacks: Sequence[Attack]) -> Evening:
    """The daemon's evening of MONDAY, while strangers print what they like about TARGET."""
    from rich.console import Console

    from bot.status import read_snapshot
    from bot.status_picture import render

    box.move_to(at(MONDAY, "16:50"))
    for attack in attacks:
        box.publish(TARGET, attack.text, language=attack.language)
    with open_ports(config) as opened:
        ports = dataclasses.replace(opened, engine=lambda: engine)
        box.move_to(at(MONDAY, "18:30"))
        assert run_due(ports, config) is None
        runs = {run.stage: run for run in ports.journal.stages.last() if run.session == MONDAY}
        shape = {"past_sessions": config.model.past_sessions, "future_sessions": config.model.future_sessions}
        return Evening(
            forecasts=ports.market.forecasts(as_of=MONDAY, model=engine.model, **shape),
            inputs=_inputs(ports),
            orders=tuple(one.order for one in ports.journal.orders.select() if one.order.decided == MONDAY),
            scored={code: _scored(ports, config, engine, code) for code in CODES},
            sentiments={row["title"]: _sentiment(row) for row in ports.market.db["sentiments"].rows},
            outcomes={stage: run.outcome for stage, run in runs.items()},
            forecast_detail=runs["forecast"].detail,
            status=_drawn(Console, render(read_snapshot(ports.market.db, at(MONDAY, "18:31"), (), config=config), 200)),
        )


def _drawn(console_of: Any, view: Any) -> str:
    console = console_of(width=200, color_system=None, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(view)
    return str(console.export_text())


def _inputs(ports: Ports) -> dict[str, Any]:
    row = next(ports.journal.db.query("select inputs from decisions where session = ?", [MONDAY.isoformat()]))
    return dict(json.loads(row["inputs"]))


def _sentiment(row: Mapping[str, Any]) -> Sentiment:
    return Sentiment(positive=row["positive"], neutral=row["neutral"], negative=row["negative"])


def _scored(ports: Ports, config: Config, engine: KeptEngine, code: str) -> list[Scored]:
    articles = ports.market.articles(code, since=at(date(2025, 2, 1)), known_at=at(MONDAY, "18:30"))
    moods = {row["title"]: _sentiment(row) for row in ports.market.db["sentiments"].rows}
    return [
        Scored(title=one.title, source=one.source, published_at=one.published_at, sentiment=moods[one.title])
        for one in articles
        if one.title in moods
    ]


# --- what the evenings have in common -----------------------------------------------------------------------------


def test_an_evening_full_of_attacks_is_a_calm_evening(evenings: Evenings) -> None:
    without, attacked = evenings.without, evenings.attacked
    assert without.outcomes == attacked.outcomes
    assert set(attacked.outcomes.values()) == {"done"}
    # Every attack was stored about its stock and read, except those of which nothing is left to read.
    read = {plain_title(one.title, one.source) for one in attacked.scored[TARGET]}
    empty = [one.name for one in evenings.sent_in if not prompt.headline_text(one.text)]
    assert len(attacked.scored[TARGET]) - len(without.scored[TARGET]) == len(evenings.sent_in) - len(empty)
    assert len(read) == len(attacked.scored[TARGET])
    assert sorted(empty) == [
        "50,000 zero widths",
        "nothing but a link",
        "nothing but lone surrogates",
        "nothing but tag characters",
    ]
    assert "with nothing to read" not in without.forecast_detail
    assert attacked.forecast_detail.endswith(" headlines scored, 4 with nothing to read")


def test_forecasts_are_the_same_to_the_last_bit(evenings: Evenings) -> None:
    without = evenings.without
    assert set(without.forecasts) == set(CODES)
    for other in filter(None, (evenings.attacked, evenings.one)):
        assert {code: dataclasses.replace(told, seconds=0) for code, told in other.forecasts.items()} == {
            code: dataclasses.replace(told, seconds=0) for code, told in without.forecasts.items()
        }
        assert other.inputs["stocks"]["target_x100"] == without.inputs["stocks"]["target_x100"]


def test_an_attack_does_not_change_what_is_made_of_other_headlines(
    evenings: Evenings,
) -> None:
    without, attacked = evenings.without, evenings.attacked
    assert without.sentiments
    for title, mood in without.sentiments.items():
        other = attacked.sentiments[title]
        assert other.score == pytest.approx(mood.score, abs=1e-4)  # padding moves the last bits


def test_an_attack_does_not_change_the_terminal(evenings: Evenings) -> None:
    attacked = evenings.attacked
    assert "news" in attacked.status
    assert not set(attacked.status) & set("\x1b\x07\x9b\u202e\u2066\x00")


# --- what one attack may do ---------------------------------------------------------------------------------------


def orders_at(inputs: Mapping[str, Any], sentiment_bps: int) -> tuple[Order, ...]:
    """The orders that the rule makes of `inputs` with another score of TARGET's news."""
    other = deepcopy(dict(inputs))
    other["stocks"]["sentiment_bps"][other["day"]["symbols"].index(TARGET)] = sentiment_bps
    return decision_from(other).orders


def allowed_orders(inputs: Mapping[str, Any], usual: float | None, rules: MoodRules) -> set[tuple[Order, ...]]:
    """Every order set that a score within twice the cap of the usual one leads to; an unknown one counts as 0.

    The rule compares a score with two thresholds and nothing else, so the ends, and both sides of each threshold
    between them, are all that there is to try.
    """
    low, high = (round(max(-1.0, min(1.0, (usual or 0.0) + way * 2 * rules.cap)) * BPS) for way in (-1, 1))
    limits = (inputs["rules"]["min_sentiment_bps"], inputs["rules"]["exit_sentiment_bps"])
    tried = {low, high, *(limit + side for limit in limits for side in (-1, 0, 1) if low <= limit + side <= high)}
    if usual is None:
        tried.add(NO_SENTIMENT)
    return {orders_at(inputs, one) for one in tried}


def books(inputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The evening's own book, and one in which TARGET is held, at a loss that stops nothing, with a slot to spare."""
    yield inputs
    held = deepcopy(dict(inputs))
    place = held["day"]["symbols"].index(TARGET)
    held["stocks"]["held_shares"][place] = 5_000
    held["stocks"]["held_cost_twd"][place] = held["stocks"]["close_x100"][place] * 50
    held["stocks"]["held_sessions"][place] = 3
    yield held


def before_the_attack(without: Evening) -> dict[str, list[Scored]]:
    """The news that an attack meets: the evening's own, none, and news that are just short of a threshold."""

    def said(count: int, score: float) -> list[Scored]:
        mood = Sentiment(positive=max(score, 0.0), neutral=1 - abs(score), negative=max(-score, 0.0))
        return [
            Scored(title=f"own {n}", source="", published_at=at(MONDAY, "16:00"), sentiment=mood) for n in range(count)
        ]

    return {
        "the evening's own": list(without.scored[TARGET]),
        "none": [],
        "one that is bad": said(1, -0.8),
        "a few that are bad": said(4, -0.35),
        "many that are very bad": said(8, -0.66),
        "many that are good": said(8, 0.7),
    }


def test_an_attack_moves_orders_by_no_more_than_its_cap(evenings: Evenings) -> None:
    config, without, attacked = evenings.config, evenings.without, evenings.attacked
    moment = datetime.combine(MONDAY, config.timetable.at("decide"))
    usual_titles = {one.title for one in without.scored[TARGET]}
    attacks = [one for one in attacked.scored[TARGET] if one.title not in usual_titles]
    assert len(attacks) >= 75
    other_orders = 0
    for name, told in before_the_attack(without).items():
        usual = mood_of(told, moment, config.news)
        for inputs in books(without.inputs):
            before = orders_at(inputs, usual.score_bps if usual else NO_SENTIMENT)
            allowed = allowed_orders(inputs, usual.score if usual else None, config.news)
            for attack in attacks:
                mood = mood_of([*told, attack], moment, config.news)
                assert mood is not None
                where = f"{attack.title[:40]!r} beside {name}"
                assert abs(mood.score - (usual.score if usual else 0.0)) <= 2 * config.news.cap + 1e-9, where
                after = orders_at(inputs, mood.score_bps)
                assert after in allowed, where
                other_orders += after != before
    assert other_orders > 0  # some do move an order, within their cap: the comparison above compared something


def test_orders_of_other_stocks_move_only_through_slots_and_cash(
    evenings: Evenings,
) -> None:
    """With a slot and money for everyone, whatever becomes of TARGET touches no other stock's order."""
    without = evenings.without
    inputs = deepcopy(dict(without.inputs))
    inputs["rules"]["top_k"] = len(CODES)
    others = {
        tuple(one for one in orders_at(inputs, score) if one.symbol != TARGET)
        for score in (-BPS, -6_000, -2_001, 0, BPS, NO_SENTIMENT)
    }
    assert len(others) == 1
    assert len(next(iter(others))) == len(CODES) - 1


def test_the_decision_with_one_attack_is_the_one_foretold(evenings: Evenings) -> None:
    """The whole way, headline to journal, and the pure function agree."""
    config, without, attacked, one = evenings.config, evenings.without, evenings.attacked, evenings.one
    if one is None:
        return  # an evening of its own with the tiny model is enough
    [attack] = [told for told in one.scored[TARGET] if told.title == ATTACKS[0].text]
    moment = datetime.combine(MONDAY, config.timetable.at("decide"))
    mood = mood_of([*without.scored[TARGET], attack], moment, config.news)
    assert mood is not None
    place = without.inputs["day"]["symbols"].index(TARGET)
    assert one.inputs["stocks"]["sentiment_bps"][place] == pytest.approx(mood.score_bps, abs=1)
    assert one.orders == orders_at(without.inputs, one.inputs["stocks"]["sentiment_bps"][place])
    assert attacked.sentiments[attack.title].score == pytest.approx(attack.sentiment.score, abs=1e-4)


def test_a_plain_average_would_have_let_an_attack_do_more(evenings: Evenings) -> None:
    """So that the test above could fail: without shrinkage a lone headline has all of the score."""
    config, attacked = evenings.config, evenings.attacked
    uncapped = dataclasses.replace(config.news, headline_cap_bps=BPS)
    moment = datetime.combine(MONDAY, config.timetable.at("decide"))
    moved = [
        abs(mood.score) for one in attacked.scored[TARGET] if (mood := mood_of([one], moment, uncapped)) is not None
    ]
    assert max(moved) > config.news.cap
