"""kill -9 in the middle of a rehearsal: the next start carries on, nothing is sent twice and no dollar is missing."""

from __future__ import annotations

import os
import subprocess
from datetime import date
from pathlib import Path

import pytest
from builders import at
from rehearsals import SECRETS, command, rehearsal, twtrader

from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_open import open_database
from bot.rehearsal import CHURN
from bot.sandbox.process import start_sandbox
from bot.sandbox.settings import SandboxSettings

CODES = ["2330", "2317", "2454", "2382"]
LAST = "2025-03-14"


@pytest.mark.parametrize("stage", ["decide", "send", "settle"])
def test_a_killed_daemon_carries_on_where_it_was(stage: str, tmp_path: Path) -> None:
    settings = SandboxSettings(start=at(date(2025, 3, 3), "15:00"), codes=tuple(CODES), seed=5)
    with start_sandbox(settings) as sandbox:
        config = rehearsal(tmp_path, sandbox.url, CODES, **CHURN)
        killed_at = f"session=2025-03-05 stage={stage} "
        with subprocess.Popen(
            command(config, "run", "--until", LAST),
            env={**os.environ, **SECRETS},
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        ) as process:
            assert process.stderr is not None
            assert any(killed_at in line for line in process.stderr)  # reads up to that line, no further
            process.kill()
        done = twtrader(config, "run", "--until", LAST)
        assert done.returncode == 0, done.stderr
        journal, book = Journal(open_database(tmp_path / "twtrader.db")), sandbox.book()
        held = journal.portfolio()
        assert held.cash_twd == book["cash_twd"]
        assert {symbol: one.shares for symbol, one in held.positions.items()} == {
            symbol: row["shares"] for symbol, row in book["positions"].items()
        }
        sent = [row["key"] for row in journal.db.query("select key from order_events where state = 'sending'")]
        posts = sum(count for path, count in sandbox.requests().items() if path.endswith(("/buy", "/sell")))
        assert len(sent) == len(set(sent))
        assert len(sent) - 1 <= posts <= len(sent)  # the one on the wire at the kill may not have left
        assert len(journal.equity()) == 10  # 3 to 14 March: every session, the killed one too
        assert journal.surprises() == []
