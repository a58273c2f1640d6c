"""The evening's news against the real sandbox: every source, a budget that outlives a restart, and the commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from builders import at
from click.testing import Result
from rehearsals import SECRETS, rehearsal, twtrader
from typer.testing import CliRunner

from bot.adapters.sqlite_news import NewsStore
from bot.adapters.twstock_signals import points_of
from bot.cli import app
from bot.config import Config
from bot.config_file import load_config
from bot.core.headlines import Story
from bot.daemon import run_due
from bot.errors import DataMissing, Refused
from bot.news import Weight, gather_headlines
from bot.ports import Company, FeedAnswer, Validators
from bot.sandbox.process import start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.stages.forecast import SIGNAL_BARS
from bot.stages.news import gather_news
from bot.stages.stage import Ports
from bot.wiring import open_ports

MONDAY, TUESDAY = date(2025, 3, 3), date(2025, 3, 4)
CODES = ["2330", "2317", "2454", "3231"]
NEWSAPI_PATH, RSS_PATH = "/newsapi/v2/everything", "/rss/headlines.xml"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Any]:
    with start_sandbox(SandboxSettings(start=at(MONDAY, "16:55"), codes=tuple(CODES), seed=12)) as running:
        yield running


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch, sandbox: Any) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    sandbox.clear_faults()


@contextmanager
def day(folder: Path, sandbox: Any, **newsapi: Any) -> Iterator[tuple[Ports, Config]]:
    """The daemon's own ports, as after a fresh start."""
    path = rehearsal(folder, sandbox.url, CODES, feeds__newsapi={"attempts": 1, **newsapi}, feeds__rss={"attempts": 1})
    config = load_config(path)
    with open_ports(config) as ports:
        yield ports, config


def asked(sandbox: Any, path: str) -> int:
    return int(sandbox.requests().get(path, 0))


def test_both_sources_are_read_and_each_headline_is_stored_once(tmp_path: Path, sandbox: Any) -> None:
    with day(tmp_path, sandbox) as (ports, config):
        first = gather_news(MONDAY, ports, config)
        assert first.outcome == "done"
        stories = ports.headlines.stories(limit=1000)
        assert stories
        assert len({story.url for story in stories}) == len(stories)
        for story in stories:
            assert story.symbols == (story.url.rsplit("/", 1)[1].split("-")[0],)
            assert story.published_at <= story.fetched_at
        counts = [int(part.split()[1]) for part in first.detail.split("; ")]
        assert [part.split()[0] for part in first.detail.split("; ")] == ["newsapi", "rss"]
        assert sum(counts) == len(stories)
        assert {story.language for story in stories} == {"zh", "en"}
        before = asked(sandbox, NEWSAPI_PATH)
        again = gather_news(MONDAY, ports, config)
        assert (again.outcome, asked(sandbox, NEWSAPI_PATH)) == ("done", before)
        assert again.detail == "newsapi 0 new (0 of 0 questions); rss 0 new (1 of 1 feeds, 1 unchanged)"
        assert len(ports.headlines.stories(limit=1000)) == len(stories)


def test_the_budget_outlives_a_restart_and_the_rest_is_asked_tomorrow(tmp_path: Path, sandbox: Any) -> None:
    """8 questions (4 stocks, 2 languages), 5 requests a day: 5 tonight, none after the restart, and of tomorrow's 8
    the 3 that wait come first by patience: ceil(5 / 2) = 3."""
    budget = {"requests_per_day": 5}
    before = asked(sandbox, NEWSAPI_PATH)
    with day(tmp_path, sandbox, **budget) as (ports, config):
        assert gather_news(MONDAY, ports, config).detail.startswith("newsapi ")
        first = set(ports.headlines.asked_at())
    assert asked(sandbox, NEWSAPI_PATH) - before == len(first) == 5
    with day(tmp_path, sandbox, **budget) as (ports, config):
        told = gather_news(MONDAY, ports, config)
        assert told.outcome == "done"
        assert "(0 of 3 questions, 3 wait for tomorrow)" in told.detail
    assert asked(sandbox, NEWSAPI_PATH) - before == 5
    sandbox.move_to(at(TUESDAY, "16:55"))
    with day(tmp_path, sandbox, **budget) as (ports, config):
        gather_news(TUESDAY, ports, config)
        moments = ports.headlines.asked_at()
    assert asked(sandbox, NEWSAPI_PATH) - before == 10
    assert len(moments) == 8
    tonight = {question for question, moment in moments.items() if moment.date() == TUESDAY}
    assert {(code, language) for code in CODES for language in ("zh", "en")} - first <= tonight


@pytest.mark.parametrize(("broken", "whole"), [(NEWSAPI_PATH, "rss"), (RSS_PATH, "newsapi")])
def test_one_failing_source_does_not_stop_the_other(tmp_path: Path, sandbox: Any, broken: str, whole: str) -> None:
    sandbox.fault(broken, "http_500", times=1)
    with day(tmp_path, sandbox) as (ports, config):
        told = gather_news(MONDAY, ports, config)
    assert (told.outcome, told.in_the_end) == ("waiting", "failed")  # asked again until the model is
    parts = {part.split()[0]: part for part in told.detail.split("; ")}
    assert parts.keys() == {"newsapi", "rss"}
    assert int(parts[whole].split()[1]) > 0
    assert "HTTP 500" in told.detail
    assert "HTTP 500" not in parts[whole]


def test_without_any_source_the_stage_is_skipped_and_says_why(
    tmp_path: Path, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NEWSAPI_KEY")
    path = rehearsal(tmp_path, sandbox.url, CODES, feeds__rss={"urls": []})
    with open_ports(load_config(path)) as ports:
        told = gather_news(MONDAY, ports, load_config(path))
    assert (told.outcome, told.detail) == ("skipped", "NEWSAPI_KEY is not set, no RSS feed is: sentiment is unknown")


class Recorder:
    """A NewsFeed that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, datetime]] = []

    def about(self, company: Company, name: str, language: str, since: datetime, until: datetime) -> list[Story]:
        self.asked.append((company.symbol, name, language, since))
        return []


class TwoFeeds:
    """The first is broken, the second holds one story."""

    urls = ("https://a.org/feed", "https://b.org/feed")

    def read(self, url: str, known: Validators) -> FeedAnswer:
        if url == self.urls[0]:
            raise DataMissing("rss at https://a.org: feed https://a.org/feed: HTTP 500, 1 try")
        now = at(MONDAY, "17:00")
        story = Story(title="t", url=url, source="s", language="en", published_at=now, fetched_at=now)
        return FeedAnswer(stories=(story,), validators=Validators(etag="v"), fetched_at=now)


class Monday:
    def now(self) -> datetime:
        return at(MONDAY, "17:00")


def test_the_weightiest_is_asked_first_and_a_question_that_waited_looks_further_back(tmp_path: Path) -> None:
    from bot.adapters.sqlite_open import open_database

    db = open_database(tmp_path / "t.db")
    store, feed, config = NewsStore(db), Recorder(), load_config(rehearsal(tmp_path, "http://127.0.0.1:1", CODES))
    store.answered("2330", "zh", at(date(2025, 2, 21), "17:00"))
    companies = [
        Company(symbol="1101", name="台泥", board="twse"),
        Company(symbol="2330", name="台積電", board="twse"),
        Company(symbol="9999", name="無名*", board="tpex"),
    ]
    gathered = gather_headlines(
        news=feed, feeds=TwoFeeds(), store=store, clock=Monday(), companies=companies,
        weights={"2330": Weight(position_twd=100), "1101": Weight(signal_bps=-80)}, config=config.feeds.newsapi,
    )  # fmt: skip
    normally = at(date(2025, 2, 28), "17:00")
    assert feed.asked == [
        ("2330", "TSMC", "en", normally),
        ("2330", "台積電", "zh", at(date(2025, 2, 21), "17:00")),
        ("1101", "Taiwan Cement", "en", normally),
        ("1101", "台泥", "zh", normally),
        ("9999", "無名", "zh", normally),
    ]
    assert [one.failed for one in gathered] == [False, True]
    assert gathered[1].detail == (
        "rss 1 new (1 of 2 feeds, rss at https://a.org: feed https://a.org/feed: HTTP 500, 1 try)"
    )
    db.close()


def command(config: Path, *words: str) -> Result:
    """One `twtrader` command in this process: a refusal is the result's exception."""
    return CliRunner().invoke(app, ["--config", str(config), *words])


def test_the_commands_fetch_and_list(tmp_path: Path, sandbox: Any) -> None:
    config = rehearsal(tmp_path, sandbox.url, CODES, feeds__newsapi={"languages": ["zh"]}, feeds__rss={"attempts": 1})
    fetched = twtrader(config, "news", "fetch", "--json")
    assert fetched.returncode == 0, fetched.stderr
    facts = json.loads(fetched.stdout)
    assert [(one["source"], one["ok"]) for one in facts] == [("newsapi", True), ("rss", True)]
    listed = json.loads(command(config, "news", "list", "--json", "--limit", "500").stdout)
    assert len(listed) == sum(one["new"] for one in facts) > 0
    some = listed[0]["symbols"][0]
    about = json.loads(command(config, "news", "list", "--code", some, "--json").stdout)
    assert about
    assert all(some in one["symbols"] for one in about)
    plain = command(config, "news", "list", "--code", some, "--limit", "1").stdout
    assert listed[0]["title"] in plain
    assert isinstance(command(config, "news", "list", "--code", "nobody").exception, Refused)
    sandbox.fault(RSS_PATH, "html", times=1)
    failed = command(config, "news", "fetch")
    assert isinstance(failed.exception, Refused)
    assert "a source failed: rss 0 new (0 of 1 feeds, rss at" in str(failed.exception)


def test_signals_are_computed_with_the_forecasts_and_told_by_status(tmp_path: Path, sandbox: Any) -> None:
    with day(tmp_path, sandbox) as (ports, config):
        assert run_due(ports, config, MONDAY) is None
        before = ports.signals.newest()
        expected = {code: points_of(ports.market.bars(code, until=MONDAY, last=SIGNAL_BARS)).score for code in CODES}
    assert {one.symbol: one.value for one in before} == expected
    signals = json.loads(command(tmp_path / "config.toml", "status", "--json").stdout)["signals"]
    assert {(one["symbol"], one["as_of"], one["name"]) for one in signals} == {
        (code, "2025-03-03", "best_four_point") for code in CODES
    }
    for one in signals:
        words = [reason.split(": ")[0] for reason in one["reasons"]]
        assert one["value"] == words.count("buy") - words.count("sell") == expected[one["symbol"]]
