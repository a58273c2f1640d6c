"""The sandbox's RSS feed: only what is out, and 304 when nothing is new."""

from __future__ import annotations

from datetime import datetime

import feedparser
import pytest
import requests
from builders import at

from bot.sandbox.process import start_sandbox
from bot.sandbox.settings import SandboxSettings

START = datetime(2025, 3, 3)  # noqa: DTZ001  (only its date counts)


@pytest.mark.timeout(60)
def test_serves_what_is_published_and_says_when_nothing_changed() -> None:
    settings = SandboxSettings(start=at(START.date(), "12:00"), codes=("2330", "2317", "2454"), seed=5)
    with start_sandbox(settings) as sandbox:
        url = f"{sandbox.url}/rss/headlines.xml"
        noon = requests.get(url, timeout=5)
        assert noon.headers["Content-Type"].startswith("application/rss+xml")
        again = requests.get(url, headers={"If-None-Match": noon.headers["ETag"]}, timeout=5)
        assert (again.status_code, again.content) == (304, b"")
        sandbox.move_to(at(START.date(), "16:55"))
        evening = requests.get(url, headers={"If-None-Match": noon.headers["ETag"]}, timeout=5)
        told = feedparser.parse(evening.content.decode())
        assert not told.bozo
        assert {entry.link for entry in feedparser.parse(noon.content.decode()).entries} <= {
            entry.link for entry in told.entries
        }
        today = [entry for entry in told.entries if "/2025/03/03/" in entry.link]
        assert today
        assert all(entry.published.endswith("+0800") for entry in told.entries)
