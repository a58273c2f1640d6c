"""Sandboxes for tests: one in this process on a market of three stocks, and a real process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from small_market import START, Caller, SmallMarket

from bot.sandbox.app import app_of
from bot.sandbox.clock import SandboxClock
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings
from bot.sandbox.world import World


@pytest.fixture
def world() -> World:
    """A book of NT$1,000,000 on a market of three stocks and sessions; 08:00 of the first."""
    settings = SandboxSettings(start=START, accounts=(("demo", "secret"),), cash_twd=1_000_000, newsapi_key="key")
    return World(settings, SmallMarket(), SandboxClock(START))


@pytest.fixture
def call(world: World) -> Caller:
    """Asks that world's application."""
    return Caller(app_of(world))


@pytest.fixture(scope="session")
def invented() -> Iterator[Sandbox]:
    """A real process with an invented market, shared between tests: they leave its clock where it is."""
    with start_sandbox(SandboxSettings(start=START, codes=("2330", "2317", "6125"))) as sandbox:
        yield sandbox
