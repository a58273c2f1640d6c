"""Nothing of a developer's own account may reach a test."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Several workers share two cores: an example that once took 0.3 s is no failure.
settings.register_profile("twtrader", deadline=None)
settings.load_profile("twtrader")
SECRETS = ("TWTRADER_TEACHER_KEY", "TWTRADER_ACCOUNT", "TWTRADER_PASSWORD", "TWTRADER_LIVE", "NEWSAPI_KEY", "TWTRADER_SHIOAJI_KEY",
           "TWTRADER_SHIOAJI_SECRET", "TWTRADER_SHIOAJI_ACCOUNT", "TWTRADER_SHIOAJI_CA_PASSWORD")  # fmt: skip


@pytest.fixture(autouse=True)
def _no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
