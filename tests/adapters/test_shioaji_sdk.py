"""Our seam against the SDK that is installed: its signatures, its classes' fields and its errors. No network.

The SDK's client asks the network as soon as it is made, so none is made here. What could not be tried is listed in
docs/brokers.md.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
from pathlib import Path
from typing import Any

import pytest
import sinopac
from builders import config, order
from sinopac import SinoPac, sj

from bot.adapters import shioaji_sdk
from bot.adapters.broker_shioaji import _REFUSALS
from bot.adapters.shioaji_sdk import Sdk, account_of, check_ready
from bot.errors import ConfigError, Refused

ENVIRONMENT = {"TWTRADER_SHIOAJI_KEY": "k3y-canary", "TWTRADER_SHIOAJI_SECRET": "s3cret-canary"}


def stub() -> dict[str, ast.ClassDef]:
    """The classes of the SDK's own type stub, by name."""
    text = (Path(sj.__file__).parent / "_core.pyi").read_text(encoding="utf-8")
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}


def fields_of(name: str) -> set[str]:
    """The attributes that the stub gives a class."""
    body = stub()[name].body
    told = {node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    return told | {node.name for node in body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("call", [name for name in vars(Sdk) if not name.startswith("_")])
def test_the_sdk_has_the_calls_that_we_use_with_the_parameters_that_we_give(call: str) -> None:
    ours = inspect.signature(getattr(Sdk, call)).parameters
    theirs = inspect.signature(getattr(sj.Shioaji, call)).parameters
    assert [name for name in theirs if name in ours] == list(ours)
    required = [name for name, one in theirs.items() if one.default is one.empty]
    assert set(required) <= set(ours)
    assert fields_of("Shioaji") >= {call}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Trade", shioaji_sdk.TradeSeen), ("OrderResult", shioaji_sdk.OrderSeen), ("Deal", shioaji_sdk.DealSeen),
        ("OrderStatusInfo", shioaji_sdk.StatusSeen), ("BaseContract", shioaji_sdk.ContractSeen),
    ],
)  # fmt: skip
def test_the_sdks_classes_have_the_fields_that_we_read(name: str, ours: Any) -> None:
    wanted = {field for field in vars(ours) if not field.startswith("_")}
    assert wanted <= fields_of(name)
    assert all(hasattr(getattr(sj, name), field) for field in wanted)


@pytest.mark.parametrize(
    "name", ["Trade", "OrderResult", "OrderStatusInfo", "Deal", "StockPosition", "AccountBalance", "SettlementV1"]
)
def test_the_simulated_answers_have_no_field_that_the_sdks_lack(name: str) -> None:
    ours = {field.name for field in dataclasses.fields(getattr(sinopac, name))}
    assert ours <= fields_of(name)
    assert all(hasattr(getattr(sj, name), field) for field in ours)


def test_every_state_of_an_order_is_one_that_we_know() -> None:
    states = {name for name in fields_of("OrderStatus") if hasattr(sj.OrderStatus, name)} - {"value"}
    known = {"PreSubmitted", "Submitted", "PartFilled", "Filled", "Cancelled", "Failed", "PendingSubmit", "Inactive"}
    assert {name for name in states if not name.startswith("_")} == known


def test_the_errors_that_mean_refused_are_none_that_leave_an_order_in_doubt() -> None:
    refusals = tuple(getattr(sj, name) for name in _REFUSALS)
    doubts = (sj.ShioajiTimeoutError, sj.ShioajiConnectionError, sj.ResponseError, sj.OrderOutcomeUnknownError,
              sj.ServerError, sj.SystemMaintenance, sj.DecodeError, sj.ResponseRecvError)  # fmt: skip
    assert not any(issubclass(doubt, refusals) for doubt in doubts)


@pytest.mark.parametrize(
    ("environment", "keys", "message"),
    [
        ({}, {}, "TWTRADER_SHIOAJI_KEY is not set"),
        ({"TWTRADER_SHIOAJI_KEY": "k3y-canary"}, {}, "TWTRADER_SHIOAJI_SECRET is not set"),
        (ENVIRONMENT, {"live": True}, "TWTRADER_SHIOAJI_CA_PASSWORD is not set"),
        ({**ENVIRONMENT, "TWTRADER_SHIOAJI_CA_PASSWORD": "ca-canary"}, {"live": True}, "broker.shioaji.ca_path"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_sent(
    environment: dict[str, str], keys: dict[str, Any], message: str, tmp_path: Path, monkeypatch: Any
) -> None:
    for name in ("KEY", "SECRET", "CA_PASSWORD"):
        monkeypatch.delenv(f"TWTRADER_SHIOAJI_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        check_ready(config(tmp_path, broker={"kind": "shioaji", **keys}).broker)


def test_an_absent_sdk_is_one_line_that_names_the_extra(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(Refused, match=r"pip install \"twtrader\[shioaji\]\""):
        check_ready(config(tmp_path, broker={"kind": "shioaji"}).broker)


def test_the_account_is_the_only_one_or_the_one_that_is_named() -> None:
    def account(number: str, kind: Any = sj.AccountType.Stock) -> Any:
        return sj.Account(kind, "A1", "9A95", number, True, "")

    one, two, futures = account("111"), account("222"), account("333", sj.AccountType.Future)
    assert account_of([futures, one], "") == one
    assert account_of([one, two], "222") == two
    for accounts, wanted in (([one, two], ""), ([futures], ""), ([one], "999"), ([futures, one], "333")):
        with pytest.raises(ConfigError, match="TWTRADER_SHIOAJI_ACCOUNT fits"):
            account_of(accounts, wanted)


def test_the_simulation_takes_the_sdks_own_order() -> None:
    from builders import RATES

    told = sj.StockOrder(
        action="Buy", price=100.0, quantity=1, price_type="LMT", time_in_force="ROD", custom_field="toolong"
    )
    with pytest.raises(sj.ValidationError):
        SinoPac(1_000_000, RATES).place_order(sj.BaseContract("STK", "TSE", order().symbol), told, 1)
