from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import stamina

from bot.adapters.retry import AskedToWait, Retry
from bot.errors import DataMissing, Refused, Transient

RETRY = Retry(source="twse at https://exchange.example", attempts=4)


def failing(*errors: Exception) -> tuple[Callable[[], str], list[int]]:
    """A read that raises `errors` in turn, then answers; and its calls."""
    calls: list[int] = []
    left = list(errors)

    def read() -> str:
        calls.append(1)
        if left:
            raise left.pop(0)
        return "answer"

    return read, calls


def test_tries_again_after_what_may_pass() -> None:
    read, calls = failing(Transient("busy"), Transient("busy"))
    assert RETRY("2330 2025-03", read) == "answer"
    assert len(calls) == 3


def test_ends_with_one_line_that_names_server_question_and_last_reason() -> None:
    read, calls = failing(*[Transient("busy")] * 3, Transient("HTML instead of JSON"))
    with pytest.raises(DataMissing) as failed:
        RETRY("2330 2025-03", read)
    assert str(failed.value) == "twse at https://exchange.example: 2330 2025-03: HTML instead of JSON, 4 tries"
    assert len(calls) == 4


def test_does_not_repeat_what_was_refused() -> None:
    read, calls = failing(Refused("apiKeyInvalid"))
    with pytest.raises(DataMissing, match=r"^twse at https://exchange.example: x: apiKeyInvalid$"):
        RETRY("x", read)
    assert len(calls) == 1


def test_lets_bad_data_and_bugs_pass_unchanged() -> None:
    for error in (DataMissing("2330 2025-03-04: two rows"), ValueError("a bug")):
        read, calls = failing(error)
        with pytest.raises(type(error)) as failed:
            RETRY("x", read)
        assert failed.value is error
        assert len(calls) == 1


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The real pauses, recorded instead of slept."""
    pauses: list[float] = []
    stamina.set_testing(False)
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    return pauses


def test_pauses_double_and_jitter(slept: list[float]) -> None:
    read, _ = failing(*[Transient("busy")] * 3)
    RETRY("x", read)
    assert [low <= pause <= low + 1 for low, pause in zip((1, 2, 4), slept, strict=True)] == [True] * 3


def test_waits_as_long_as_the_server_asks(slept: list[float]) -> None:
    read, _ = failing(AskedToWait("HTTP 429", 17.0), AskedToWait("HTTP 503", None))
    RETRY("x", read)
    assert slept[0] == 17.0
    assert 2 <= slept[1] <= 3


def test_gives_up_at_once_when_asked_to_wait_too_long(slept: list[float]) -> None:
    read, calls = failing(AskedToWait("HTTP 429, come back in 3600 s", 3600.0))
    with pytest.raises(DataMissing, match=r"come back in 3600 s, 1 try$"):
        RETRY("x", read)
    assert (len(calls), slept) == (1, [])


def test_logs_each_failed_try(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read, _ = failing(Transient("busy"))
    RETRY("2330 2025-03", read)
    assert caplog.messages == ["twse at https://exchange.example: 2330 2025-03: busy"]
