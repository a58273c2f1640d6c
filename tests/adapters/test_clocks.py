from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from loopback import Answer, Loopback

from bot.adapters.clocks import SandboxClock, SystemClock
from bot.config import TAIPEI
from bot.errors import ConfigError, Refused

NINE = datetime(2025, 1, 2, 9, 0, tzinfo=TAIPEI)


def test_this_machines_clock_tells_taipei_time() -> None:
    now = SystemClock().now()
    assert now.tzinfo is TAIPEI
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_sandbox_tells_its_time(loopback: Loopback) -> None:
    loopback.tell({"now": "2025-01-02T01:00:00+00:00"})
    now = SandboxClock(loopback.url).now()
    assert (now, now.tzinfo) == (NINE, TAIPEI)
    assert [(request.method, request.path) for request in loopback.requests] == [("GET", "/sandbox/clock")]


def test_moves_the_sandbox(loopback: Loopback) -> None:
    loopback.tell({"now": NINE.isoformat(), "settled": []})
    assert SandboxClock(loopback.url).move_to(NINE.astimezone(UTC)) == NINE
    [request] = loopback.requests
    assert (request.method, json.loads(request.body)) == ("POST", {"now": "2025-01-02T01:00:00+00:00"})


def test_a_busy_sandbox_is_asked_again(loopback: Loopback) -> None:
    loopback.tell(Answer(b"", status=503), {"now": NINE.isoformat()})
    assert SandboxClock(loopback.url).now() == NINE


def test_a_refused_move_is_told_in_the_sandboxs_words(loopback: Loopback) -> None:
    loopback.tell(Answer({"error": "can't go back"}, status=409))
    with pytest.raises(Refused, match=r"to move to 2025-01-02T09:00:00.*HTTP 409: .*can't go back"):
        SandboxClock(loopback.url).move_to(NINE)
    assert len(loopback.requests) == 1


def test_an_unreachable_sandbox_is_named_in_one_line(loopback: Loopback) -> None:
    loopback.close()
    with pytest.raises(Refused) as failed:
        SandboxClock(loopback.url).now()
    assert str(failed.value) == f"clock at {loopback.url}: the time: connection refused, 3 tries"


@pytest.mark.parametrize("answer", [{}, {"now": 5}, {"now": "soon"}, {"now": "2025-01-02T09:00:00"}, [], b"<html>"])
def test_a_server_that_is_no_sandbox_is_refused(loopback: Loopback, answer: object) -> None:
    loopback.tell(answer)
    with pytest.raises(Refused, match=r"^clock at http://127\.0\.0\.1"):
        SandboxClock(loopback.url).now()


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`clock\.url` must be an address"):
        SandboxClock("localhost:8000")
    with pytest.raises(ValueError, match="no timezone"):
        SandboxClock("http://127.0.0.1:9").move_to(datetime(2025, 1, 2))  # noqa: DTZ001
