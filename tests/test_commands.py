"""The commands as a user types them: bad input is one clear line and exit code 1, and the daemon is well behaved."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import at
from rehearsals import SECRETS, command, rehearsal, twtrader

from bot.sandbox.process import start_sandbox
from bot.sandbox.settings import SandboxSettings

NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens
MONDAY = date(2025, 3, 3)


def offline(folder: Path, **changes: Any) -> Path:
    """A config whose feeds can't be reached, on this machine's clock, with the paper broker."""
    quick = {"attempts": 1}
    tables = {
        "clock": {"url": ""},
        "broker": {"kind": "paper"},
        "feeds__twse": quick,
        "feeds__tpex": quick,
        "feeds__newsapi": quick,
        **changes,
    }
    return rehearsal(folder, NOWHERE, ["2330"], **tables)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused command says last; the exit code must be 1 and no traceback shown."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("twtrader: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_missing_config_names_the_file(tmp_path: Path) -> None:
    assert "config.toml: no such file" in one_line(twtrader(tmp_path / "config.toml", "status", "--once"))


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = offline(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("top_k = 5", "topk = 5"), encoding="utf-8")
    assert "unknown key `rules.topk`" in one_line(twtrader(path, "run", "--once"))


def test_a_negative_choice_is_bad_usage_and_no_traceback(tmp_path: Path) -> None:
    done = twtrader(offline(tmp_path), "run", "--once", "--choose", "-1")
    assert done.returncode == 2
    assert "--choose" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_exchange_is_named(tmp_path: Path) -> None:
    said = one_line(twtrader(offline(tmp_path), "run", "--once"))
    assert "twse at http://127.0.0.1:9" in said
    assert "connection refused" in said.lower()


def test_an_unknown_stock_is_named(tmp_path: Path) -> None:
    path = offline(tmp_path)
    (tmp_path / "codes.json").write_text('[{"code": "084863"}]', encoding="utf-8")
    assert "084863" in one_line(twtrader(path, "run", "--once"))


def test_an_absent_model_says_how_to_get_it(tmp_path: Path) -> None:
    path = offline(tmp_path, model={"engine": "transformers", "name": "smollm2-135m", "folder": "nowhere"})
    assert "twtrader model pull smollm2-135m" in one_line(twtrader(path, "run", "--once"))


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    path = offline(tmp_path, broker={"kind": "stock_api", "base_url": f"{NOWHERE}/x"})
    assert "TWTRADER_PASSWORD is not set" in one_line(twtrader(path, "run", "--once", TWTRADER_PASSWORD=""))


def test_another_account_on_the_same_database_is_refused(tmp_path: Path) -> None:
    one_line(twtrader(offline(tmp_path), "run", "--once"))
    said = one_line(twtrader(offline(tmp_path, broker={"kind": "paper", "start_cash_twd": 5}), "run", "--once"))
    assert "opened with NT$100,000,000" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--date", "tomorrow"], "'tomorrow' is no date"),
        (["run", "--until", "2025-03-03"], "--until needs a sandbox's clock"),
        (["status", "--once"], "no such database yet"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    assert message in one_line(twtrader(offline(tmp_path), *words))


def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    assert twtrader(offline(tmp_path), "run", "--no-such-option").returncode == 2


@contextmanager
def daemon(config: Path) -> Iterator[subprocess.Popen[str]]:
    """A running daemon that has done its first round and is now idle."""
    with subprocess.Popen(
        command(config, "run"), env={**os.environ, **SECRETS}, stderr=subprocess.PIPE, text=True, cwd=config.parent
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "outcome=waiting" in line:
                    break
            else:
                pytest.fail("the daemon ended before it was idle")
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_one_daemon_for_one_database_small_and_gone_on_sigterm(tmp_path: Path) -> None:
    config = offline(tmp_path)
    with daemon(config) as first:
        said = one_line(twtrader(config, "run"))
        assert f"twtrader.db is in use by twtrader, process {first.pid} on " in said
        assert resident_mb(first.pid) < 120
        # The view works beside it.
        seen = json.loads(twtrader(config, "status", "--json").stdout)
        assert seen["stages"][0]["stage"] == "calendar"
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    config = offline(tmp_path)
    with daemon(config) as first:
        first.kill()
        first.wait(20)
    with daemon(config) as second:
        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0


def resident_mb(pid: int) -> float:
    """The resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    pytest.fail("no such process")


def test_a_cycle_then_the_views(tmp_path: Path) -> None:
    """`run --once` at a sandbox, `--choose`, then what status and orders say of it."""
    with start_sandbox(SandboxSettings(start=at(MONDAY, "18:40"), codes=("2330", "2317", "6488"), seed=3)) as sandbox:
        config = rehearsal(tmp_path, sandbox.url, ["2330", "2317", "6488"], rules={"entry_edge_bps": -100})
        done = twtrader(config, "run", "--once", "--choose", "1")
        assert done.returncode == 0, done.stderr
        seen = json.loads(twtrader(config, "status", "--json").stdout)
        assert len(seen["forecasts"]) == 1
        assert [run["outcome"] for run in seen["stages"]] == ["done"] * 6
        listed = json.loads(twtrader(config, "orders", "--json").stdout)
        assert [row["state"] for row in listed] == ["accepted"]
        shown = twtrader(config, "status", "--once", COLUMNS="100").stdout
        assert listed[0]["symbol"] in shown
        assert "NT$100,000,000" in shown
        again = twtrader(config, "run", "--date", MONDAY.isoformat())
        assert again.returncode == 0
        assert sandbox.requests()["/stock/trading_api/buy"] == 1
        assert "2025-03-04 is in the future" in one_line(twtrader(config, "run", "--date", "2025-03-04"))
        assert "2025-03-02 is no session" in one_line(twtrader(config, "run", "--date", "2025-03-02"))
        assert "2025-02-27 is past" in one_line(twtrader(config, "run", "--date", "2025-02-27"))
