"""What the adapters' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina
from loopback import Loopback


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _no_pauses() -> Iterator[None]:
    """Retries happen, their pauses don't."""
    with stamina.set_testing(True, attempts=10, cap=True):
        yield
