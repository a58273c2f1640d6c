"""One suite that every broker must pass, and what is peculiar to each. The stock API is the real sandbox process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import FRIDAY, RATES, THURSDAY, at, checked, config, order

from bot.adapters.broker_paper import PaperBroker
from bot.adapters.broker_stock_api import StockApiBroker
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.core.market import Bar
from bot.core.orders import OrderState, Side
from bot.errors import ConfigError, DataMissing
from bot.ports import Broker
from bot.sandbox.process import start_sandbox
from bot.sandbox.settings import SandboxSettings

CSV = """date,capacity,turnover,open,high,low,close,change,transaction
2025-01-02,1000000,100000000,100.0,101.0,99.0,100.0,0.0,500
2025-01-03,1000000,100000000,100.5,102.0,99.5,101.0,1.0,500
2025-01-06,1000000,100000000,101.0,103.0,100.5,102.0,1.0,500
"""
PASSWORD = "s3cret-canary"
BASE = "stock/trading_api"


@dataclass
class Bench:
    """A broker on the evening of THURSDAY, and how to let FRIDAY's session pass."""

    broker: Broker
    pass_friday: Callable[[], object]


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prices")
    (folder / "2330.csv").write_text(CSV, encoding="utf-8")
    return folder


@pytest.fixture(params=["paper", "stock/trading_api", "stock/api/v1"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, prices: Path, monkeypatch: Any) -> Iterator[Bench]:
    if request.param == "paper":
        db = open_database(tmp_path / "p.db")
        friday = friday_bar()
        MarketStore(db).add_bars(checked(friday), at(FRIDAY))
        broker = PaperBroker(db, 100_000_000, "touch", RATES)
        yield Bench(broker, lambda: broker.end_session(FRIDAY, {"2330": friday}))
        return
    with started(prices) as sandbox:
        broker_of_api = broker_at(sandbox, request.param, tmp_path, monkeypatch)
        yield Bench(broker_of_api, lambda: sandbox.move_to(at(FRIDAY, "15:45")))


def started(prices: Path) -> Any:
    """A sandbox process on the evening of THURSDAY."""
    accounts = (("somebody", PASSWORD),)
    return start_sandbox(SandboxSettings(start=at(THURSDAY, "18:30"), prices=prices, accounts=accounts))


def broker_at(sandbox: Any, base: str, folder: Path, monkeypatch: Any, timeout_s: float = 15.0) -> StockApiBroker:
    monkeypatch.setenv("TWTRADER_ACCOUNT", "somebody")
    monkeypatch.setenv("TWTRADER_PASSWORD", PASSWORD)
    keys = {"kind": "stock_api", "base_url": f"{sandbox.url}/{base}", "timeout_s": timeout_s}
    return StockApiBroker(config(folder, broker=keys).broker)


@pytest.fixture(scope="module")
def thursday(prices: Path) -> Iterator[Any]:
    """One sandbox for all tests in which no time passes."""
    with started(prices) as sandbox:
        yield sandbox


@pytest.fixture
def api(thursday: Any, tmp_path: Path, monkeypatch: Any) -> Iterator[StockApiBroker]:
    yield broker_at(thursday, BASE, tmp_path, monkeypatch)
    thursday.clear_faults()


def friday_bar() -> Bar:
    from builders import bar

    return bar("101", session=FRIDAY, open="100.5", high="102", low="99.5")


# --- the suite --------------------------------------------------------------------------------------------


def test_a_new_book_is_empty(bench: Bench) -> None:
    assert bench.broker.holdings() == {}


def test_an_order_rests_and_fills_whole_in_the_next_session(bench: Bench) -> None:
    assert bench.broker.submit(order(shares=3_000)).state is OrderState.ACCEPTED
    assert bench.broker.holdings() == {}
    bench.pass_friday()
    assert bench.broker.holdings() == {"2330": 3_000}
    told = bench.broker.prices_x100([order(shares=3_000)])
    assert told in (None, {order().key: 100_00})


def test_an_order_out_of_reach_is_gone_after_the_session(bench: Bench) -> None:
    assert bench.broker.submit(order(limit=95_00)).state is OrderState.ACCEPTED
    bench.pass_friday()
    assert bench.broker.holdings() == {}


def test_what_is_not_held_or_affordable_is_rejected_with_a_reason(bench: Bench) -> None:
    for one in (order(Side.SELL), order(shares=2_000_000)):
        receipt = bench.broker.submit(one)
        assert receipt.state is OrderState.REJECTED
        assert receipt.reply


# --- the paper broker -------------------------------------------------------------------------------------


def test_paper_takes_the_same_order_once(tmp_path: Path) -> None:
    db = open_database(tmp_path / "p.db")
    broker = PaperBroker(db, 100_000_000, "open", RATES)
    for _ in range(2):
        assert broker.submit(order()).state is OrderState.ACCEPTED
    broker.end_session(FRIDAY, {"2330": friday_bar()})
    # rule `open`: the open of 100.5 is above the limit of 100, so nothing trades
    assert broker.holdings() == {}
    assert broker.submit(order(decided=FRIDAY, limit=102_00)).state is OrderState.ACCEPTED
    monday = FRIDAY + timedelta(days=3)
    broker.end_session(monday, {"2330": friday_bar()})
    assert broker.prices_x100([order(decided=FRIDAY)]) == {order(decided=FRIDAY).key: 100_50}


def test_paper_fills_nothing_when_the_session_was_locked(tmp_path: Path) -> None:
    from builders import bar

    db = open_database(tmp_path / "p.db")
    MarketStore(db).add_bars(checked(bar("100")), at(THURSDAY))
    broker = PaperBroker(db, 100_000_000, "open", RATES)
    broker.submit(order(limit=110_00))
    broker.end_session(FRIDAY, {"2330": bar("110", session=FRIDAY)})  # limit up all day: a queue stood before us
    assert broker.holdings() == {}


# --- the stock API: what is not known is unknown ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["http_503_after", "html", "empty", "wrong_json", "reset"])
def test_a_doubtful_reply_is_unknown_and_sent_once(kind: str, api: StockApiBroker, thursday: Any) -> None:
    path = f"/{BASE}/buy"
    before = thursday.requests().get(path, 0)
    thursday.fault(path, kind)
    receipt = api.submit(order())
    assert receipt.state is OrderState.UNKNOWN
    assert PASSWORD not in receipt.reply
    assert thursday.requests()[path] == before + 1


def test_a_slow_reply_is_unknown(thursday: Any, tmp_path: Path, monkeypatch: Any) -> None:
    hasty = broker_at(thursday, BASE, tmp_path, monkeypatch, timeout_s=0.3)
    thursday.fault(f"/{BASE}/buy", "hang", seconds=2)
    assert hasty.submit(order()).state is OrderState.UNKNOWN
    thursday.clear_faults()


@pytest.mark.parametrize("kind", ["http_500", "html", "empty", "wrong_json", "reset"])
def test_a_failed_reading_is_never_an_empty_book(kind: str, api: StockApiBroker, thursday: Any) -> None:
    thursday.fault(f"/{BASE}/get_user_stocks", kind)
    with pytest.raises(DataMissing, match="holdings") as failed:
        api.holdings()
    assert PASSWORD not in str(failed.value)


def test_a_wrong_password_is_a_failed_reading(thursday: Any, tmp_path: Path, monkeypatch: Any) -> None:
    broker_at(thursday, BASE, tmp_path, monkeypatch)
    monkeypatch.setenv("TWTRADER_PASSWORD", "another")
    keys = {"kind": "stock_api", "base_url": f"{thursday.url}/{BASE}"}
    broker = StockApiBroker(config(tmp_path, broker=keys).broker)
    with pytest.raises(DataMissing, match="failed"):
        broker.holdings()
    assert broker.submit(order()).state is OrderState.REJECTED


def test_nobody_there_is_a_rejection_because_nothing_left(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TWTRADER_ACCOUNT", "a")
    monkeypatch.setenv("TWTRADER_PASSWORD", "b")
    keys = {"kind": "stock_api", "base_url": "http://127.0.0.1:9/x"}
    receipt = StockApiBroker(config(tmp_path, broker=keys).broker).submit(order())
    assert (receipt.state, receipt.reply.startswith("no connection")) == (OrderState.REJECTED, True)


@pytest.mark.parametrize(
    ("keys", "environment", "message"),
    [
        ({"base_url": "http://example.test/x"}, {}, "allow_plain_http"),
        ({"base_url": "https://example.test/x"}, {}, "`broker.live` is false"),
        ({"base_url": "https://example.test/x", "live": True}, {}, "TWTRADER_LIVE=1"),
        ({"base_url": "ftp://example.test"}, {}, "no http"),
        ({"base_url": "http://127.0.0.1:1/x"}, {"TWTRADER_PASSWORD": ""}, "TWTRADER_PASSWORD is not set"),
    ],
)
def test_no_order_leaves_by_accident(
    keys: dict[str, Any], environment: dict[str, str], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    for name, value in {"TWTRADER_ACCOUNT": "a", "TWTRADER_PASSWORD": "b", **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        StockApiBroker(config(tmp_path, broker={"kind": "stock_api", **keys}).broker)
