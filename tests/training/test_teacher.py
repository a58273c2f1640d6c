"""Asking a teacher: real HTTP, real files, real kills."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import REPO, at, config, days
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_teacher import loopback_teacher
from typer.testing import CliRunner

from bot.cli import app
from bot.config import Config
from bot.errors import ConfigError, EngineFailed, Refused
from bot.sandbox.process import start_sandbox
from bot.sandbox.settings import SandboxSettings
from training.dataset import read_dataset
from training.dataset_job import Job, make_dataset
from training.teacher import cost_micro, most_tokens_in
from training.teacher_file import read_told
from training.teacher_job import Wanted, ask_teacher, weeks_known
from training.teacher_log import Line, State, open_log, read_log
from training.windows import Window

SESSIONS = days(date(2025, 1, 1), 60)
FAST = {"pause_s": 0.01, "timeout_s": 5.0, "attempts": 3, "tries": 2, "concurrency": 1, "model": "m"}


def close_of(place: int) -> str:
    """Every session's close is a number that no other one has: 200.5, 201, 201.5 ..."""
    return f"{Decimal(200) + Decimal(place) / 2:f}"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with a market of one stock, and headlines of some of its days."""
    bars = tmp_path / "bars"
    bars.mkdir()
    lines = ["date,capacity,turnover,open,high,low,close,change,transaction"]
    for place, day in enumerate(SESSIONS):
        price = close_of(place)
        lines.append(f"{day},{7000001 + place},1,{price},{price},{price},{price},0,1")
    (bars / "2330.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    news = ["time,title,url"]
    for place, day in enumerate(SESSIONS[20::2]):
        news.append(f"{day} 10:00,台積電接獲第{place + 1}號大單,{place}")
    (tmp_path / "headlines.csv").write_text("\n".join(news) + "\n", encoding="utf-8")
    (tmp_path / "u.json").write_text('[{"code": "2330"}]', encoding="utf-8")
    return tmp_path


def told(world: Path, url: str, **changes: Any) -> Config:
    return config(world, universe={"file": "u.json"}, teacher={"base_url": url, **FAST, **changes})


def wanted(world: Path, what: str = "analyses", **changes: Any) -> Wanted:
    return Wanted(what=what, data=world / "bars", headlines=world / "headlines.csv", **changes)


def analysis(number: int = 0, label: str = "U1") -> str:
    return json.dumps(
        {
            "positives": [f"Order number {number} came in."],
            "concerns": ["The currency is strong."],
            "label": label,
            "reasons": f"Order {number} outweighs the currency this week.",
        }
    )


def mood(_: int, body: dict[str, Any]) -> str:
    return '{"label": "positive"}'


# --- what it is told -----------------------------------------------------------------------------------------------


def test_no_request_tells_a_price_or_a_headline_from_after_its_day(world: Path) -> None:
    with loopback_teacher(lambda number, _: analysis(number)) as teacher:
        outcome = ask_teacher(told(world, teacher.url), wanted(world), world / "t.jsonl")
    assert outcome.accepted == len(teacher.bodies) == 8  # sessions 20, 25, ... 55
    for body in teacher.bodies:
        text = "\n".join(turn["content"] for turn in body["messages"])
        [asked] = re.findall(r"on (\d{4}-\d\d-\d\d)", body["messages"][-1]["content"])
        place = SESSIONS.index(date.fromisoformat(asked))
        numbers = set(re.findall(r"\d+(?:\.\d+)?", text))
        assert close_of(place) in numbers  # the scan finds what is there
        assert not numbers & {close_of(later) for later in range(place + 1, 60)}
        assert all(date.fromisoformat(day) <= SESSIONS[place] for day in re.findall(r"\d{4}-\d\d-\d\d", text))
        assert all(SESSIONS[20 + 2 * (int(one) - 1)] <= SESSIONS[place] for one in re.findall(r"第(\d+)號", text))
    shown = [len(body["messages"]) // 2 - 1 for body in teacher.bodies]
    assert shown == [0, 1, 2, 3, 4, 5, 6, 7]  # few-shot grows from what was accepted, at most eight


def test_requests_do_not_change_with_the_future(world: Path) -> None:
    ours = told(world, "http://127.0.0.1:9/v1")
    before = weeks_known(ours, wanted(world))
    path = world / "bars/2330.csv"
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    changed = [line.replace(f",{close_of(place)}", ",300") if place > 40 else line for place, line in enumerate(lines)]
    path.write_text("\n".join([header, *changed]) + "\n", encoding="utf-8")
    after = weeks_known(ours, wanted(world))
    assert [one for one in before if one.as_of <= SESSIONS[40]] == [one for one in after if one.as_of <= SESSIONS[40]]
    assert before != after


def test_the_request_is_openais_and_the_key_is_in_the_header_alone(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWTRADER_TEACHER_KEY", "sk-secret-123")
    with loopback_teacher(mood) as teacher:
        ask_teacher(told(world, teacher.url), wanted(world, "headlines", most=1), world / "t.jsonl")
    [body], [headers] = teacher.bodies, teacher.headers
    assert headers["Authorization"] == "Bearer sk-secret-123"
    assert body["model"] == "m"
    assert (body["temperature"], body["max_tokens"]) == (0.7, 800)
    assert body["response_format"]["json_schema"]["schema"]["properties"]["label"]["enum"] == [
        "positive", "neutral", "negative"
    ]  # fmt: skip
    assert "secret" not in json.dumps(body) + (world / "t.jsonl").read_text()


# --- contract, retries, duplicates ---------------------------------------------------------------------------------


def test_an_answer_that_breaks_the_contract_is_asked_again_and_then_refused_with_the_reason(world: Path) -> None:
    def says(number: int, body: dict[str, Any]) -> str:
        return (
            '{"label": "bullish"}' if "第2號" in body["messages"][-1]["content"] or number == 1 else mood(number, body)
        )

    with loopback_teacher(says) as teacher:
        outcome = ask_teacher(told(world, teacher.url), wanted(world, "headlines", most=3, seed=1), world / "t.jsonl")
        again = ask_teacher(told(world, teacher.url), wanted(world, "headlines"), world / "t.jsonl")
    state = read_log(world / "t.jsonl")
    assert (outcome.accepted, outcome.refused, outcome.left) == (3, 0, 0)
    assert outcome.rejected == 1  # the very first answer
    assert (again.accepted, again.refused) == (20 - 3 - 1, 1)
    [(key, reason)] = state.refused.items()
    assert "2號" in key
    assert reason == "2 answers were none, the last: label 'bullish' is none of positive, neutral, negative"
    assert len(set(teacher.asked())) == 20  # nothing settled was asked again


@pytest.mark.parametrize("trouble", [500, 429, None])
def test_trouble_on_the_way_is_tried_again(world: Path, trouble: int | None) -> None:
    with loopback_teacher(lambda number, body: trouble if number % 3 else mood(number, body)) as teacher:
        outcome = ask_teacher(told(world, teacher.url), wanted(world, "headlines", most=2), world / "t.jsonl")
    assert (outcome.accepted, outcome.left) == (2, 0)
    assert len(teacher.bodies) == 6


def test_when_nobody_answers_any_more_the_run_ends_and_the_next_goes_on(world: Path) -> None:
    with loopback_teacher(lambda number, body: 503 if number > 2 else mood(number, body)) as teacher:
        outcome = ask_teacher(told(world, teacher.url), wanted(world, "headlines", most=4), world / "t.jsonl")
    assert (outcome.accepted, outcome.refused, outcome.left) == (2, 0, 2)
    assert "HTTP 503, 3 tries" in outcome.why
    with loopback_teacher(mood) as teacher:
        outcome = ask_teacher(told(world, teacher.url), wanted(world, "headlines", most=4), world / "t.jsonl")
    assert (outcome.accepted, len(teacher.bodies)) == (2, 2)


def test_a_server_that_takes_no_request_at_all_costs_no_question_its_tries(world: Path) -> None:
    with loopback_teacher(lambda *_: 400) as teacher:
        outcome = ask_teacher(told(world, teacher.url), wanted(world, "headlines", most=4), world / "t.jsonl")
    assert (outcome.refused, outcome.rejected, outcome.left) == (0, 0, 4)
    assert "HTTP 400" in outcome.why


def test_a_wrong_key_ends_the_run_at_once(world: Path) -> None:
    with loopback_teacher(lambda *_: 401) as teacher, pytest.raises(EngineFailed, match="HTTP 401"):
        ask_teacher(told(world, teacher.url), wanted(world, "headlines", most=4), world / "t.jsonl")
    assert len(teacher.bodies) == 1


def test_an_answer_said_before_is_not_taken_twice(world: Path) -> None:
    def says(number: int, _: dict[str, Any]) -> str:
        again = analysis(1).replace("came in.", "CAME IN!")
        return {1: analysis(1), 2: again, 3: again}.get(number, analysis(number))

    with loopback_teacher(says) as teacher:
        outcome = ask_teacher(told(world, teacher.url), wanted(world, most=3), world / "t.jsonl")
    # The second question heard the first's answer twice, and was refused; the third got its own.
    assert (outcome.accepted, outcome.refused) == (2, 1)
    [reason] = read_log(world / "t.jsonl").refused.values()
    assert "repeats the answer to analysis 2330" in reason


def test_invented_headlines_lose_only_what_was_said_before(world: Path) -> None:
    def says(number: int, _: dict[str, Any]) -> str:
        return json.dumps({"headlines": ["Orders for servers double", f"Plant number {number} opens in Tainan"]})

    with loopback_teacher(says) as teacher:
        ask_teacher(told(world, teacher.url), wanted(world, "invent", most=3), world / "t.jsonl")
    texts = [one.text for one in read_told(world / "t.jsonl").texts]
    assert texts == ["Orders for servers double", *(f"Plant number {number} opens in Tainan" for number in (1, 2, 3))]


# --- money ---------------------------------------------------------------------------------------------------------


def test_tokens_are_counted_and_paid(world: Path) -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 10}
    with loopback_teacher(mood, usage) as teacher:
        ours = told(world, teacher.url, price_in=Decimal("2.5"), price_out=Decimal(10))
        outcome = ask_teacher(ours, wanted(world, "headlines", most=4), world / "t.jsonl")
    # 4 x (1,000 x 2.5 + 10 x 10) / 10^6
    assert (outcome.tokens_in, outcome.tokens_out, outcome.spent) == (4_000, 40, Decimal("0.0104"))


def test_the_budget_is_never_passed_even_by_a_server_that_tells_no_tokens(world: Path) -> None:
    with loopback_teacher(mood) as teacher:
        ours = told(world, teacher.url, price_in=Decimal(1), price_out=Decimal(100), budget=Decimal("0.6"), attempts=1)
        outcome = ask_teacher(ours, wanted(world, "headlines"), world / "t.jsonl")
    # An answer counts as 800 tokens at 100 a million, 0.08, and a question as about 0.001: seven fit into 0.6.
    assert outcome.accepted == 7
    assert outcome.left == 13
    assert outcome.spent <= Decimal("0.6")
    assert "budget of 0.6" in outcome.why


def test_half_an_answer_may_have_been_billed(world: Path) -> None:
    with loopback_teacher(lambda number, body: None if number == 1 else mood(number, body)) as teacher:
        ours = told(world, teacher.url, price_out=Decimal(1000))
        outcome = ask_teacher(ours, wanted(world, "headlines", most=1), world / "t.jsonl")
    assert outcome.spent == 2 * Decimal("0.8")  # 800 tokens a try: what was lost counts as the most it can be


@given(st.text(max_size=300))
def test_no_text_has_more_tokens_than_its_bound(text: str) -> None:
    bound = most_tokens_in({"messages": [{"role": "user", "content": text}]})
    assert bound >= len(text.encode())  # a token is at least a byte


def test_costs_are_rounded_up(tmp_path: Path) -> None:
    teacher = replace(config(tmp_path).teacher, price_in=Decimal("0.15"), price_out=Decimal("0.6"))
    assert cost_micro(1, 0, teacher) == 1
    assert cost_micro(1_000_000, 1_000_000, teacher) == 750_000


# --- killed --------------------------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_where_it_was_and_its_lost_request_is_paid(world: Path) -> None:
    waiting, release = threading.Event(), threading.Event()

    def says(number: int, body: dict[str, Any]) -> str:
        if number == 4:
            waiting.set()
            release.wait(60)
        return mood(number, body)

    ours = toml_of(world)
    with loopback_teacher(says, {"prompt_tokens": 100, "completion_tokens": 10}) as teacher:
        command = [
            sys.executable, "-m", "bot", "-c", str(ours), "train", "teacher", "headlines", "--out", str(world / "t.jsonl"),
            "--headlines", str(world / "headlines.csv"), "--url", teacher.url, "--model", "m", "--price-out", "1000",
            "--json",
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(REPO)}
        child = subprocess.Popen(command, env=environment, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert waiting.wait(60), "the fourth request never came"
            child.send_signal(signal.SIGKILL)
            child.communicate()
        finally:
            child.kill()
            release.set()
        with (world / "t.jsonl").open("ab") as file:
            file.write(b'{"event":"accepted","key":"mood torn')  # the kernel took half a line
        killed = read_log(world / "t.jsonl")
        done = subprocess.run(command, env=environment, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert len(killed.accepted) == 3
    assert facts["accepted"] == 17
    assert len(teacher.bodies) == 21  # twenty, and the one that was lost
    assert len(read_log(world / "t.jsonl").accepted) == 20
    # 20 answers of 10 tokens at 1,000 a million, and the lost one with all five attempts of 800 tokens.
    assert Decimal(facts["spent"]) == Decimal("0.2") + Decimal("4.0")


def toml_of(world: Path) -> Path:
    """The shipped config with the universe of the test, one request at a time."""
    text = (REPO / "config.toml").read_text(encoding="utf-8")
    changes = {'file = ""  ': 'file = "u.json"  ', "concurrency = 4  ": "concurrency = 1  "}
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    head, mark, tail = text.partition("[teacher]")
    tail = re.sub(r"^concurrency = \d+", "concurrency = 1", tail, flags=re.MULTILINE)
    path = world / "config.toml"
    path.write_text(head + mark + tail, encoding="utf-8")
    return path


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    with open_log(path), pytest.raises(Refused, match="another process is writing it"), open_log(path):
        pass


def test_a_line_that_is_none_of_ours_is_refused_by_number(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"event":"refused","key":"a"}\nhello\n')
    with pytest.raises(Refused, match=r"t\.jsonl line 2: no line of a teacher's file"):
        read_log(tmp_path / "t.jsonl")


LINES = st.lists(
    st.one_of(
        st.builds(Line, event=st.just("asked"), key=st.just("k"), number=st.integers(1, 9), micro=st.integers(1, 99)),
        st.builds(
            Line, event=st.just("answered"), key=st.just("k"), number=st.integers(1, 9), micro=st.integers(0, 99)
        ),
        st.builds(
            Line,
            event=st.sampled_from(["rejected", "refused", "accepted"]),
            key=st.sampled_from("abc"),
            answer=st.text(max_size=5),
        ),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(LINES, st.data())
def test_a_file_cut_anywhere_reads_as_the_whole_lines_before(
    tmp_path_factory: pytest.TempPathFactory, lines, data
) -> None:
    path = tmp_path_factory.mktemp("log") / "t.jsonl"
    with open_log(path) as log:
        log.add(lines)
    text = path.read_bytes()
    cut = data.draw(st.integers(0, len(text)))
    path.write_bytes(text[:cut])
    whole = text[:cut].count(b"\n")
    expected = State()
    for line in lines[:whole]:
        expected.take(line)
    assert read_log(path) == expected
    with open_log(path) as log:
        assert log.state == expected
        log.add([Line(event="refused", key="z", reason="r")])
    assert read_log(path).refused["z"] == "r"


# --- refusals ------------------------------------------------------------------------------------------------------


def test_what_is_not_configured_is_said(world: Path) -> None:
    with pytest.raises(ConfigError, match=r"set `teacher\.base_url` and `teacher\.model`"):
        ask_teacher(config(world), wanted(world), world / "t.jsonl")
    with pytest.raises(ConfigError, match="must be an address"):
        ask_teacher(told(world, "example.org"), wanted(world), world / "t.jsonl")
    with pytest.raises(Refused, match="nothing to ask"):
        ask_teacher(told(world, "http://127.0.0.1:9"), wanted(world, since=date(2030, 1, 1)), world / "t.jsonl")


def test_a_key_does_not_travel_unencrypted(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWTRADER_TEACHER_KEY", "sk-secret-123")
    with pytest.raises(ConfigError, match="would travel unencrypted"):
        ask_teacher(told(world, "http://example.org/v1"), wanted(world), world / "t.jsonl")


# --- the sandbox's models, and the dataset they make ---------------------------------------------------------------


def test_the_sandbox_teaches_a_whole_dataset_through_its_faults(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWTRADER_TEACHER_KEY", "k")
    with start_sandbox(SandboxSettings(start=at(SESSIONS[0]), codes=("2330",), model_key="k")) as sandbox:
        ours = told(world, f"{sandbox.url}/llm/vllm/v1", model="sandbox-llm", tries=8, concurrency=2)
        for kind in ("http_429", "http_500", "llm_cut", "llm_garbage"):
            sandbox.fault("/llm", kind, times=1)
        first = ask_teacher(ours, wanted(world, "headlines"), world / "t.jsonl")
        weeks = ask_teacher(ours, wanted(world, stride=1, most=12), world / "t.jsonl")
    assert (first.accepted, first.refused, first.left) == (20, 0, 0)
    assert first.rejected >= 1  # half an answer and garbage were no answers
    assert weeks.accepted >= 5
    assert weeks.tokens_in > 1_000  # as the server's usage says
    words = read_told(world / "t.jsonl")
    assert {one.label for one in words.moods} == {"positive"}  # 大單 is a large order
    job = Job(
        out=world / "d", data=world / "bars", windows=(Window(1, 1),), analysis=True, teacher=world / "t.jsonl",
        headlines=world / "headlines.csv", cut=SESSIONS[40], valid_until=SESSIONS[49],
    )  # fmt: skip
    made = make_dataset(ours, replace(job, out=world / "d"))
    assert set(made.counts["train"]) == {"prices", "analysis", "mood"}
    records = [record for split in ("train", "valid", "test") for record in read_dataset(world / "d").records(split)]  # type: ignore[arg-type]
    taught = [one for one in records if one.kind == "analysis" and one.source == "teacher sandbox-llm"]
    assert taught
    for one in taught:
        assert one.output.startswith("Positive developments:\n- ")
        assert f"Prediction: {one.label}\n" in one.output
        assert one.label == "U2"  # half a TWD a session: 2.5 / 210 to 2.5 / 227 is 1.1 to 1.2 %


def test_the_command_prints_what_it_did_and_fails_where_questions_are_left(world: Path) -> None:
    with loopback_teacher(lambda *_: 503) as teacher:
        done = CliRunner().invoke(
            app,
            ["-c", str(toml_of(world)), "train", "teacher", "headlines", "--out", str(world / "t.jsonl"),
             "--headlines", str(world / "headlines.csv"), "--url", teacher.url, "--model", "m", "--budget", "0.000001",
             "--price-in", "1"],
        )  # fmt: skip
    assert "0 accepted, 0 refused, 0 answers rejected; 0 tokens read and 0 written so far, cost 0" in done.stdout
    assert isinstance(done.exception, Refused)  # bot.cli.main makes it one line and exit code 1
    assert str(done.exception) == (
        "20 questions are left: one more request could pass the budget of 0.000001; the same command goes on from here"
    )
    assert teacher.bodies == []
