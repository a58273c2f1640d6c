"""Which broker the config gets, and what is refused because the broker can't do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builders import config

from bot.adapters.broker_paper import PaperBroker
from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.errors import ConfigError
from bot.ports import Company
from bot.wiring import account_address, board_of, broker_of

LOOPBACK = {"kind": "stock_api", "base_url": "http://127.0.0.1:1/stock/trading_api"}
SECRETS = ("TWTRADER_ACCOUNT", "TWTRADER_PASSWORD", "TWTRADER_SHIOAJI_KEY", "TWTRADER_SHIOAJI_SECRET")


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: Any) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"canary-{name}")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"broker": LOOPBACK, "rules": {"lot_shares": 1}}, r"`rules.lot_shares` must be 1000"),
        ({"broker": LOOPBACK, "timetable": {"settle": "15:29"}}, r"`timetable.settle`: stock_api settles at 15:30"),
        ({"broker": LOOPBACK, "timetable": {"prices": "14:00", "settle": "15:30", "news": "15:30", "forecast": "15:40",
          "decide": "15:50", "send": "15:59"}}, r"`timetable.send`: stock_api takes orders from 16:00"),
    ],
)  # fmt: skip
def test_what_the_stock_api_can_not_do_is_refused_at_the_start(
    tables: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        broker_of(config(tmp_path, **tables), None)


@pytest.mark.parametrize("tables", [{"rules": {"lot_shares": 1}}, {"timetable": {"settle": "15:05"}}])
def test_paper_takes_what_the_stock_api_does_not(tables: dict[str, Any], tmp_path: Path) -> None:
    assert isinstance(broker_of(config(tmp_path, **tables), open_database(tmp_path / "t.db")), PaperBroker)


@pytest.mark.parametrize("lot_shares", [1, 1000])
def test_sinopacs_broker_is_its_simulation_with_odd_lots_unless_told_otherwise(lot_shares: int, tmp_path: Path) -> None:
    pytest.importorskip("shioaji", reason="SinoPac's SDK is not installed (pip install 'twtrader[shioaji]')")
    told = config(tmp_path, broker={"kind": "shioaji"}, rules={"lot_shares": lot_shares})
    broker = broker_of(told, open_database(tmp_path / "t.db"))
    assert type(broker).__name__ == "ShioajiBroker"
    assert broker.abilities.takes_odd_lots
    assert not broker.abilities.tells_cash


def test_a_symbols_board_is_that_of_the_universe_or_of_what_was_ever_looked_at(tmp_path: Path) -> None:
    db, told = open_database(tmp_path / "t.db"), config(tmp_path)
    MarketStore(db).add_companies([Company(symbol="6488", name="環球晶", board="tpex")])
    assert board_of(told, db, "2330") == "twse"  # one of the owner's 41
    assert board_of(told, db, "6488") == "tpex"
    assert board_of(told, db, "9999") == ""


def test_a_simulation_and_real_money_are_two_accounts(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [{"kind": "shioaji"}, {"kind": "shioaji", "live": True}, LOOPBACK, {"kind": "paper"}]
    told = [account_address(config(tmp_path, broker=keys).broker) for keys in kinds]
    assert told == ["SinoPac simulation", "SinoPac live", LOOPBACK["base_url"], ""]
