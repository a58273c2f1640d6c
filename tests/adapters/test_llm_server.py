"""The server engine against the sandbox's four servers, each in its own words, with their faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from builders import bar, config, days

from bot.adapters.llm_server import ServerEngine
from bot.core.forecast import ForecastBar
from bot.core.market import floor_to_tick_x100, limit_down_x100, limit_up_x100, to_x100
from bot.errors import ConfigError, EngineFailed, Refused
from bot.ports import Company, Question
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings

KEY = "model-key-0123456789"
NOWHERE = "http://127.0.0.1:9/v1"  # the discard port: nobody listens
EVERY_WAY = [
    ("vllm", "completions", "vllm"),
    ("vllm", "chat", "vllm"),
    ("vllm", "completions", "json_schema"),
    ("sglang", "completions", "sglang"),
    ("sglang", "chat", "sglang"),
    ("llamacpp", "completions", "llamacpp"),
    ("llamacpp", "chat", "llamacpp"),
    ("ollama", "chat", "json_schema"),
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    settings = SandboxSettings(start=datetime(2025, 3, 3, 12), codes=("2330",), model_key=KEY)  # noqa: DTZ001
    with start_sandbox(settings) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_broken(sandbox: Sandbox) -> None:
    sandbox.clear_faults()


def engine_at(
    url: str, folder: Path = Path(), *, key: str = KEY, samples: int = 1, timeout_s: float = 60.0, **server: Any
) -> ServerEngine:
    told = {"base_url": url, "timeout_s": 5.0, **server}
    model = {"engine": "openai", "samples": samples, "timeout_s": timeout_s, "server": told}
    return ServerEngine(config(folder, model=model).model, key)


def vllm(sandbox: Sandbox, **more: Any) -> ServerEngine:
    return engine_at(f"{sandbox.url}/llm/vllm/v1", **more)


def question(code: str = "2330", close: str = "100", future: int = 5, past: int = 5) -> Question:
    bars = tuple(bar(close, symbol=code, session=day) for day in days(date(2025, 1, 2), past))
    return Question(company=Company(symbol=code, name=code, board="twse"), bars=bars, future_sessions=future)


def inside_the_limit(asked: Question, bars: tuple[ForecastBar, ...]) -> bool:
    before = to_x100(asked.bars[-1].close)
    for one in bars:
        prices = [to_x100(price) for price in (one.low, one.open, one.close, one.high)]
        held = min(prices) == prices[0] and max(prices) == prices[-1]
        traded = limit_down_x100(before, etf=False) <= prices[0] and prices[-1] <= limit_up_x100(before, etf=False)
        if not (held and traded and all(floor_to_tick_x100(price, etf=False) == price for price in prices)):
            return False
        before = to_x100(one.close)
    return True


# --- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flavour", "api", "structured"), EVERY_WAY)
def test_each_server_is_asked_in_its_own_words_and_answers_in_our_language(
    sandbox: Sandbox, flavour: str, api: str, structured: str
) -> None:
    engine = engine_at(f"{sandbox.url}/llm/{flavour}/v1", api=api, structured=structured, samples=3)
    asked = [question("2330", "1040"), question("2317", "207.5", future=1), question("6125", "9.87", future=20)]

    told = engine.forecast(asked)

    assert engine.abstentions == {}
    for one, answer in zip(asked, told, strict=True):
        assert answer is not None
        assert (answer.symbol, answer.as_of, len(answer.bars)) == (one.company.symbol, one.as_of, one.future_sessions)
        assert inside_the_limit(one, answer.bars)
        assert answer.trained_until == date(2024, 10, 31)
        assert answer.tokens > 3 * 13 * one.future_sessions  # three answers of 12 digits and a line end, and questions
    engine.close()


@pytest.mark.parametrize(
    ("flavour", "structured"), [("sglang", "vllm"), ("vllm", "sglang"), ("vllm", "llamacpp"), ("ollama", "vllm")]
)
def test_a_chat_server_that_does_not_know_the_constraint_makes_us_abstain(
    sandbox: Sandbox, flavour: str, structured: str
) -> None:
    engine = engine_at(f"{sandbox.url}/llm/{flavour}/v1", api="chat", structured=structured)

    assert engine.forecast([question(), question("2317")]) == [None, None]
    assert engine.abstentions == {"not in the answer language": 2}


def test_one_answer_is_the_likeliest_and_several_make_a_band(sandbox: Sandbox) -> None:
    asked = question("2330", "1040")
    (likeliest,) = vllm(sandbox).forecast([asked])
    (sampled,) = vllm(sandbox, samples=31).forecast([asked])

    assert likeliest
    assert sampled
    assert (likeliest.bands, likeliest.p_up) == ((), None)
    assert len(sampled.bands) == 5
    assert sampled.p_up is not None
    assert 0 <= sampled.p_up <= 1
    assert inside_the_limit(asked, sampled.bars)
    widths = [band.high - band.low for band in sampled.bands]
    for told, band in zip(sampled.bars, sampled.bands, strict=True):
        assert band.low <= told.close <= band.high
    assert widths[-1] > widths[0] > 0  # uncertainty grows


def test_the_same_question_gets_the_same_answer_alone_and_among_others(sandbox: Sandbox) -> None:
    asked = [question(code) for code in ("2330", "2317", "2454")]

    together = vllm(sandbox, samples=4).forecast(asked)

    for one, told in zip(asked, together, strict=True):
        (alone,) = vllm(sandbox, samples=4).forecast([one])
        assert alone
        assert told
        assert (alone.bars, alone.bands, alone.p_up) == (told.bars, told.bands, told.p_up)


def test_a_sample_is_a_request_where_a_server_may_ignore_n(sandbox: Sandbox) -> None:
    """VLLM reads the question once for all samples."""
    for flavour, structured, requests in (("vllm", "vllm", 1), ("sglang", "sglang", 7)):
        engine = engine_at(f"{sandbox.url}/llm/{flavour}/v1", structured=structured, samples=7)
        path = f"/llm/{flavour}/v1/completions"
        before = sandbox.requests().get(path, 0)

        (told,) = engine.forecast([question()])

        assert told
        assert told.bands[-1].low < told.bands[-1].high
        assert sandbox.requests()[path] - before == requests


def test_a_server_that_gives_fewer_samples_than_asked_for_is_an_abstention(sandbox: Sandbox) -> None:
    engine = engine_at(f"{sandbox.url}/llm/ollama/v1", samples=7)  # which ignores `n`, and vLLM's constraint

    assert engine.forecast([question()]) == [None]
    assert engine.abstentions == {"not the agreed shape": 1}


@pytest.mark.parametrize(("flavour", "api"), [("vllm", "completions"), ("llamacpp", "completions"), ("sglang", "chat")])
def test_moods_come_from_the_probabilities_of_the_next_word(sandbox: Sandbox, flavour: str, api: str) -> None:
    engine = engine_at(f"{sandbox.url}/llm/{flavour}/v1", api=api)

    good, bad, none = engine.sentiment(["台積電營收創新高 法人看好", "Foxconn cuts outlook, shares fall", "年會"])

    assert good
    assert bad
    assert none
    assert (good.label, bad.label) == ("positive", "negative")
    assert good.positive + good.neutral + good.negative == pytest.approx(1)
    assert abs(none.score) < 0.5
    assert engine.abstentions == {}


def test_a_server_without_probabilities_says_so_and_no_mood_is_made_up(sandbox: Sandbox) -> None:
    engine = engine_at(f"{sandbox.url}/llm/ollama/v1", api="chat", structured="json_schema")

    with pytest.raises(EngineFailed, match="16 x the server tells no label probabilities"):
        engine.sentiment(["up"])


# --- names ---------------------------------------------------------------------------------------------------------


def test_the_name_says_that_nobody_hashed_the_weights(sandbox: Sandbox) -> None:
    plain = vllm(sandbox).model
    names = {
        plain,
        vllm(sandbox, samples=8).model,
        vllm(sandbox, api="chat").model,
        vllm(sandbox, model="sandbox-llm").model,
        vllm(sandbox, structured="json_schema").model,
        vllm(sandbox, mood="tuned").model,
        engine_at(f"{sandbox.url}/llm/sglang/v1").model,
    }

    assert plain.startswith("smollm2-135m(sandbox-llm)@unverified-")
    assert vllm(sandbox, model="sandbox-llm").model.startswith("sandbox-llm@unverified-")
    assert vllm(sandbox, samples=8).model == f"{plain}+n8"
    assert vllm(sandbox, samples=2, api="chat", structured="json_schema", mood="tuned").model == (
        f"{plain}+chat+json_schema+tuned+n2"
    )
    assert len(names) == 7
    assert vllm(sandbox).model == plain


def test_ollamas_tag_may_be_left_away_and_another_model_is_refused(sandbox: Sandbox) -> None:
    tagged = engine_at(f"{sandbox.url}/llm/ollama/v1", model="sandbox-llm", api="chat", structured="json_schema")
    assert tagged.forecast([question()])[0] is not None

    with pytest.raises(Refused, match=r"`model\.server\.model` must name one of its models: sandbox-llm$"):
        _ = vllm(sandbox, model="gpt-9").model


# --- trouble -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http_429", "http_500"])
def test_a_busy_server_is_asked_again(sandbox: Sandbox, kind: str) -> None:
    engine = vllm(sandbox, attempts=3)
    _ = engine.model
    sandbox.fault("/llm/vllm/v1/completions", kind, times=1)
    before = sandbox.requests().get("/llm/vllm/v1/completions", 0)

    assert engine.forecast([question()])[0] is not None
    assert sandbox.requests()["/llm/vllm/v1/completions"] - before == 2


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("llm_cut", "not in the answer language"),
        ("llm_garbage", "not in the answer language"),
        ("wrong_json", "not the agreed shape"),
        ("html", "not the agreed JSON"),
        ("empty", "not the agreed JSON"),
        ("reset", "the answer broke off"),
        ("http_500", "HTTP 500"),
    ],
)
def test_one_bad_answer_is_that_stocks_abstention_and_counted(sandbox: Sandbox, kind: str, reason: str) -> None:
    engine = vllm(sandbox, attempts=1, concurrency=1)
    _ = engine.model
    sandbox.fault("/llm/vllm/v1/completions", kind, times=1)
    before = sandbox.requests().get("/llm/vllm/v1/completions", 0)

    first, second = engine.forecast([question("2330"), question("2317")])

    assert first is None
    assert second is not None
    assert engine.abstentions == {reason: 1}
    assert sandbox.requests()["/llm/vllm/v1/completions"] - before == 2  # nothing but 429 and 5xx is asked again
    assert engine.forecast([question()])[0] is not None
    assert engine.abstentions == {}


def test_a_late_answer_is_not_waited_for(sandbox: Sandbox) -> None:
    engine = vllm(sandbox, attempts=4, concurrency=1, timeout_s=60.0)
    _ = engine.model
    engine._server._http.timeout = 0.2  # seconds; the rest of the engine still says 5
    sandbox.fault("/llm/vllm/v1/completions", "hang_before", times=1, seconds=30)

    told = engine.forecast([question("2330"), question("2317")])

    assert [one is None for one in told] == [True, False]
    assert engine.abstentions == {"no answer in 5 s": 1}


def test_few_unreadable_samples_are_left_out_and_many_are_an_abstention(sandbox: Sandbox) -> None:
    engine = engine_at(f"{sandbox.url}/llm/sglang/v1", structured="sglang", samples=4, concurrency=1)
    _ = engine.model
    sandbox.fault("/llm/sglang/v1/completions", "llm_garbage", times=2)
    (told,) = engine.forecast([question()])
    assert told
    assert len(told.bands) == 5

    sandbox.fault("/llm/sglang/v1/completions", "llm_garbage", times=3)
    assert engine.forecast([question()]) == [None]
    assert engine.abstentions == {"not in the answer language": 1}


def test_a_question_that_the_window_does_not_hold_is_an_abstention(sandbox: Sandbox) -> None:
    engine = vllm(sandbox)

    fits, too_long = engine.forecast([question(), question(past=320)])

    assert fits is not None
    assert too_long is None
    assert engine.abstentions == {"HTTP 400": 1}


def test_a_dead_server_is_one_line() -> None:
    engine = engine_at(NOWHERE, key="")

    with pytest.raises(EngineFailed, match=r"^model server at http://127\.0\.0\.1:9/v1: nobody answers there$"):
        engine.forecast([question()])


def test_a_server_that_dies_among_the_questions_ends_the_batch_at_once(sandbox: Sandbox) -> None:
    settings = SandboxSettings(start=datetime(2025, 3, 3, 12), codes=("2330",))  # noqa: DTZ001
    with start_sandbox(settings) as other:
        engine = engine_at(f"{other.url}/llm/vllm/v1", key="", attempts=2)
        _ = engine.model
    with pytest.raises(EngineFailed, match="nobody answers there"):
        engine.forecast([question(str(code)) for code in range(1000, 1041)])


def test_a_server_that_only_fails_is_one_line_with_the_count(sandbox: Sandbox) -> None:
    engine = vllm(sandbox, attempts=1)
    _ = engine.model
    sandbox.fault("/llm/vllm/v1/completions", "http_500", times=3)

    with pytest.raises(EngineFailed, match=r"no answer to 3 questions: 3 x HTTP 500$"):
        engine.forecast([question(code) for code in ("2330", "2317", "2454")])


def test_the_evening_has_an_end(sandbox: Sandbox) -> None:
    engine = vllm(sandbox, timeout_s=0.000_001)

    with pytest.raises(EngineFailed, match="2 x no time left"):
        engine.forecast([question("2330"), question("2317")])


@pytest.mark.parametrize("key", ["", "wrong-key"])
def test_a_wrong_key_is_one_line_without_it(sandbox: Sandbox, key: str) -> None:
    with pytest.raises(EngineFailed, match=r"HTTP 401: Incorrect API key provided\.$") as failed:
        vllm(sandbox, key=key).forecast([question()])

    assert "wrong-key" not in str(failed.value)


def test_a_key_travels_encrypted_or_on_this_machine_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TWTRADER_MODEL_KEY would travel unencrypted"):
        engine_at("http://10.0.0.5:8000/v1", tmp_path)
    with pytest.raises(ConfigError, match="is no key"):
        engine_at("https://example.org/v1", tmp_path, key="two words")
    engine_at("http://10.0.0.5:8000/v1", tmp_path, key="").close()
    engine_at("https://example.org/v1", tmp_path).close()


def test_an_echoed_key_is_in_no_error(sandbox: Sandbox) -> None:
    engine = vllm(sandbox, attempts=1)
    _ = engine.model
    sandbox.fault("/llm/vllm/v1/completions", "echo_json", times=1)

    assert engine.forecast([question()]) == [None]
    assert KEY not in json.dumps(engine.abstentions)


def test_decimal_prices_stay_exact(sandbox: Sandbox) -> None:
    (told,) = vllm(sandbox, samples=5).forecast([question("2330", "52.35")])

    assert told
    assert all(isinstance(price, Decimal) for one in told.bars for price in (one.open, one.high, one.low, one.close))
