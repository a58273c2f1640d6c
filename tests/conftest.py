"""Nothing of a developer's own account may reach a test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TWTRADER_ACCOUNT", "TWTRADER_PASSWORD", "TWTRADER_LIVE", "NEWSAPI_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
