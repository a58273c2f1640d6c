"""The sandbox as a process: how it starts, refuses, breaks and ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest
from small_market import START

from bot.errors import Refused
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings, settings_of

ROOT = Path(__file__).parents[2]
A_LOT = {"account": "demo", "password": "demo", "stock_code": "2330", "stock_shares": "1", "stock_price": "100"}


def test_the_command_line_says_what_the_settings_say() -> None:
    settings = SandboxSettings(
        start=START,
        prices=Path("/data/prices"),
        codes=("2330", "2317"),
        first=date(2024, 1, 1),
        last=date(2025, 1, 31),
        seed=-3,
        port=8787,
        accounts=(("demo", "demo"), ("--odd name", "-p w")),
        cash_twd=5,
        speed=2.5,
        newsapi_key="k",
        until_stdin_closes=True,
    )
    assert settings_of(settings.words()) == settings


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--start=soon"], "'soon' is no date and time"),
        (["--start=2025-01-02", "--from=x"], "'x' is no date"),
        (["--start=2025-01-02", "--from=2025-02-01", "--to=2025-01-01"], "is after"),
        (["--start=2025-01-02", "--speed=-1"], "speed -1.0"),
        (["--start=2025-01-02", "--cash=0"], "cash 0"),
        (["--start=2025-01-02", "--port=70000"], "port 70000"),
        (["--start=2025-01-02", "--account=a", "--account=b"], "2 accounts but 1 passwords"),
        (["--start=2025-01-02", "--account=", "--password=x"], "account with a name"),
    ],
)
def test_bad_settings_are_refused_by_name(words: list[str], message: str) -> None:
    with pytest.raises(Refused, match=message):
        settings_of(words)


def test_a_bad_start_is_one_line_and_exit_code_1() -> None:
    words = [sys.executable, "-m", "bot.sandbox.serve", "--start=soon"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "sandbox: 'soon' is no date and time like 2025-01-02T08:00\n"


def test_it_says_once_where_it_listens_and_ends_with_its_stdin() -> None:
    words = ["--start=2025-01-02T08:00", "--codes=2330", "--until-stdin-closes"]
    with subprocess.Popen(
        [sys.executable, "-m", "bot.sandbox.serve", *words],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        told = json.loads(child.stdout.readline())
        assert told["listening"].startswith("http://127.0.0.1:")
        assert told["now"] == "2025-01-02T08:00:00+08:00"
        assert httpx.get(f"{told['listening']}/sandbox/clock").json() == {"now": told["now"]}
        child.stdin.close()
        assert child.wait(10) == 0
        assert child.stdout.read() == ""


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=f"can't listen on 127.0.0.1:{port}: Address already in use"):
            start_sandbox(SandboxSettings(start=START, codes=("2330",), port=port))


def test_an_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such folder"):
        start_sandbox(SandboxSettings(start=START, prices=tmp_path / "absent"))


def test_the_handle(invented: Sandbox) -> None:
    assert invented.clock == START
    assert invented.move_to(START) == []
    with pytest.raises(Refused, match="can't go back"):
        invented.move_to(START - timedelta(minutes=1))
    assert invented.book("demo")["cash_twd"] == 100_000_000
    assert invented.sessions(date(2025, 1, 1), date(2025, 1, 7)) == [date(2025, 1, day) for day in (2, 3, 6, 7)]


def test_a_connection_can_be_cut(invented: Sandbox) -> None:
    invented.fault("/stock/trading_api/stock_list", "reset")
    with pytest.raises(httpx.ReadError):
        httpx.get(f"{invented.url}/stock/trading_api/stock_list")
    assert httpx.get(f"{invented.url}/stock/trading_api/stock_list").status_code == 200
    assert invented.requests()["/stock/trading_api/stock_list"] == 2


def test_an_answer_can_hang(invented: Sandbox) -> None:
    invented.fault("/stock/trading_api/stock_type", "hang", seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{invented.url}/stock/trading_api/stock_type", timeout=0.05)


def test_a_fault_that_there_is_not_is_refused(invented: Sandbox) -> None:
    with pytest.raises(Refused, match="unknown fault 'fire'"):
        invented.fault("/", "fire")


@pytest.fixture(scope="module")
def own() -> Iterator[Sandbox]:
    """A process whose book a test may change; each begins it anew."""
    with start_sandbox(SandboxSettings(start=START, codes=("2330",), cash_twd=10_000_000)) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("kind", "error", "reservations"),
    [
        ("reset", httpx.ReadError, 0),
        ("reset_after", httpx.ReadError, 1),
        ("hang", httpx.ReadTimeout, 1),
        ("hang_before", httpx.ReadTimeout, 0),
    ],
)
def test_an_order_without_an_answer_may_or_may_not_be_taken(
    own: Sandbox, kind: str, error: type[Exception], reservations: int
) -> None:
    own.reset(start=START, seed=7, codes=["2330"], cash_twd=10_000_000)
    own.fault("/stock/trading_api/buy", kind)
    with pytest.raises(error):
        httpx.post(f"{own.url}/stock/trading_api/buy", data=A_LOT, timeout=0.2)
    assert len(own.book()["orders"]) == reservations
    [post] = own.posts()
    assert (post["number"], post["fault"], len(post["reservations"])) == (1, kind, reservations)


def test_a_request_held_to_its_end_is_cut_off(own: Sandbox) -> None:
    own.reset(start=START, seed=7, codes=["2330"], cash_twd=10_000_000)
    own.fault("/stock/trading_api/buy", "hang_before", seconds=0)
    with pytest.raises(httpx.ReadError):
        httpx.post(f"{own.url}/stock/trading_api/buy", data=A_LOT)
    assert own.book()["orders"] == []


def test_a_reset_is_a_new_sandbox_in_the_same_process(own: Sandbox) -> None:
    own.move_to(START + timedelta(days=1))
    httpx.post(f"{own.url}/stock/trading_api/buy", data=A_LOT)
    own.fault("/", "http_500", times=9)
    later = START + timedelta(days=60)
    own.reset(start=later, seed=8, codes=["2317", "6488"], cash_twd=5_000_000)
    settings = SandboxSettings(start=later, codes=("2317", "6488"), seed=8, cash_twd=5_000_000)
    bulk = "/tpex/www/zh-tw/afterTrading/dailyQuotes?date=2025/03/03&type=EW&response=json"
    with start_sandbox(settings) as new:
        assert own.clock == new.clock == later
        assert own.book() == new.book()
        assert own.posts() == new.posts() == []
        assert own.requests() == new.requests() == {}
        assert httpx.get(f"{own.url}{bulk}").json() == httpx.get(f"{new.url}{bulk}").json()


def test_a_reset_that_cannot_be_leaves_all_as_it_was(own: Sandbox) -> None:
    before = own.book(), own.clock
    with pytest.raises(Refused, match="unknown stock 0000"):
        own.reset(start=START, seed=1, codes=["0000"], cash_twd=1)
    assert (own.book(), own.clock) == before
    assert httpx.post(f"{own.url}/sandbox/reset", json={"speed": 2}).json() == {
        "error": "a reset takes start, seed, codes and cash_twd, not speed"
    }
