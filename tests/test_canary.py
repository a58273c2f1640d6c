"""Canaries: secrets that are easy to recognise, and nowhere to be found in what the processes say or leave behind.

The real daemon and every command run against a sandbox that sends the form back in six spellings, in an HTML page and
in its own JSON; then the daemon dies of a bug that has the form in its message.
"""

from __future__ import annotations

import base64
import html
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import typer.main
from builders import REPO, at
from rehearsals import command, rehearsal

from bot.adapters.sqlite_journal import Journal
from bot.adapters.sqlite_open import open_database
from bot.cli import app
from bot.rehearsal import CHURN
from bot.sandbox.process import Sandbox, start_sandbox
from bot.sandbox.settings import SandboxSettings

ACCOUNT, PASSWORD, KEY = "cänary+acc<1>", "c@nary \"p&ss/w=rd'%é\\7+Zz", "canary-key-0/12+34"
CANARIES = {"TWTRADER_ACCOUNT": ACCOUNT, "TWTRADER_PASSWORD": PASSWORD, "NEWSAPI_KEY": KEY}
CODES = ["2330", "2317", "2454", "2382"]
MONDAY, TUESDAY = date(2025, 3, 3), date(2025, 3, 4)
API = "/stock/trading_api"
# Commands that are not run here, and why. Any other command, whoever adds it, is.
NOT_RUN = {
    "sandbox": "a server; its accounts are on its own command line, and none of them is real",
    "demo": "a sandbox and a model of its own",
    "model pull": "fetches over the network",
}
# Of commands with --json that is run, and the other form too where it shows what the outside has said.
PLAIN_TOO = {"status", "orders list", "orders show", "reconcile", "secrets list", "news fetch"}
WORDS = {
    "run": ["--once"],
    "rehearse": ["copy.toml"],
    "halt": ["--reason", "canary"],
    "status": ["--once"],
    "forecast": ["2330", "--past", "20", "--future", "1"],
    "secrets forget": ["TWTRADER_PASSWORD"],
    "secrets set": ["TWTRADER_PASSWORD"],
    "backtest run": ["--help"],  # half a minute of arithmetic on prices
}


def shapes(secret: str) -> dict[str, bytes]:
    """A secret as somebody else may write it down, worked out here without the product's help."""
    raw = secret.encode()
    told = {
        "plain": raw,
        "quote": quote(secret).encode(),
        "quote all": quote(secret, safe="").encode(),
        "form": quote_plus(secret).encode(),
        "form, lower": quote_plus(secret).encode().replace(b"%C3%A4", b"%c3%a4").replace(b"%22", b"%22"),
        "json": json.dumps(secret)[1:-1].encode(),
        "json, utf-8": json.dumps(secret, ensure_ascii=False)[1:-1].encode(),
        "html": html.escape(secret).encode(),
        "repr": repr(secret)[1:-1].encode(),
        "ascii": ascii(secret)[1:-1].encode(),
        "hex": raw.hex().encode(),
        "half": raw[: len(raw) * 2 // 3],  # a cut through the middle still leaks
    }
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # What stays the same whatever stands before and after it.
            texts = [alphabet(sign * before + raw + sign * 3) for sign in (b"\x00", b"\xff", b"q", b"\x55")]
            same = bytes(one[0] if len(set(one)) == 1 else 0 for one in zip(*texts, strict=True))
            told[f"{alphabet.__name__} {before}"] = max(same.split(b"\0"), key=len)
    assert all(len(shape) >= 8 for shape in told.values())
    return told


def found_in(told: bytes) -> list[str]:
    """Which canaries sing in `told`, and how."""
    return [
        f"{name} ({shape})"
        for name, secret in CANARIES.items()
        for shape, text in shapes(secret).items()
        if text in told
    ]


def silent(folder: Path, *outputs: bytes) -> None:
    """Nothing said and no file below `folder` holds a canary."""
    for number, output in enumerate(outputs):
        assert not found_in(output), f"output {number}: {found_in(output)}\n{output.decode(errors='replace')[-3000:]}"
    for path in folder.rglob("*"):
        if path.is_file():
            assert not found_in(path.read_bytes()), f"{path.name}: {found_in(path.read_bytes())}"


def environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(REPO), str(REPO / "tests")])
    return {**os.environ, **CANARIES, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8", **more}


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Path]]:
    """A sandbox that knows the canaries, and a config that points at it."""
    settings = SandboxSettings(
        start=at(MONDAY, "14:30"), codes=tuple(CODES), seed=5, accounts=((ACCOUNT, PASSWORD),), newsapi_key=KEY
    )
    with start_sandbox(settings) as sandbox:
        folder = tmp_path_factory.mktemp("canary")
        quick = {"attempts": 1}
        config = rehearsal(folder, sandbox.url, CODES, **CHURN, history={"sessions": 25}, feeds__newsapi=quick)
        yield sandbox, config


def test_the_scanner_finds_what_it_looks_for() -> None:
    for name, secret in CANARIES.items():
        for shape, text in shapes(secret).items():
            assert f"{name} ({shape})" in found_in(b"before " + text + b" after")
        form = f"account=a&password={quote_plus(secret)}".encode()
        assert any("b64" in one for one in found_in(base64.b64encode(b"xyz" + secret.encode() + b"abc")))
        assert found_in(form)


def test_a_sandbox_that_echoes_the_form_does_not_get_it_written_down(rehearsed: tuple[Sandbox, Path]) -> None:
    sandbox, config = rehearsed
    for path, kind, times in (
        (f"{API}/buy", "echo_html", 2),
        (f"{API}/buy", "echo_json", 1),
        (f"{API}/get_user_stocks", "echo_html", 1),
        (f"{API}/get_user_stocks", "echo_json", 1),
        ("/newsapi", "echo_html", 1),
        ("/newsapi", "echo_json", 1),
    ):
        sandbox.fault(path, kind, times=times)
    done = subprocess.run(
        command(config, "run", "--until", TUESDAY.isoformat()), env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    silent(config.parent, done.stdout, done.stderr)
    assert b"holdings: not the agreed JSON" in done.stderr  # the echoes did arrive, and were shown without the secrets
    assert b"***" in done.stderr
    db = open_database(config.parent / "twtrader.db")
    notes = [row["reply"] for row in db.query("select reply from order_events where state in ('unknown', 'rejected')")]
    assert sum("Whoops" in note and "***" in note for note in notes) == 2
    assert sum("Whoops" not in note and "***" in note for note in notes) == 1
    assert Journal(db).surprises() is not None
    db.close()


CRASH = """
    import sys
    from bot.adapters import broker_stock_api
    from bot.cli import main

    def explode(self, call, form):
        raise ZeroDivisionError(f"{self._account} {self._password!r} {form} {vars(self)}")

    broker_stock_api.StockApiBroker._post = explode
    main()
"""


def test_a_bug_with_the_form_in_its_message_shows_a_traceback_without_it(rehearsed: tuple[Sandbox, Path]) -> None:
    sandbox, config = rehearsed
    sandbox.move_to(at(date(2025, 3, 5), "15:00"))
    words = [sys.executable, "-c", textwrap.dedent(CRASH), "--config", str(config), "run", "--once"]
    done = subprocess.run(words, env=environment(), capture_output=True, check=False)
    silent(config.parent, done.stdout, done.stderr)
    if b"Traceback" not in done.stderr:  # nothing was due before 15:45
        sandbox.move_to(at(date(2025, 3, 5), "15:50"))
        done = subprocess.run(words, env=environment(), capture_output=True, check=False)
        silent(config.parent, done.stdout, done.stderr)
    assert done.returncode != 0
    assert b"Traceback" in done.stderr
    assert b"ZeroDivisionError: *** " in done.stderr


THREAD = """
    import logging, threading, sys
    from bot.cli import main
    from bot.secrets import Redacting, guard_output, secret

    guard_output()
    password = secret("TWTRADER_PASSWORD")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(message)s"))
    logging.basicConfig(handlers=[handler])

    def work():
        try:
            raise ValueError(password)
        except ValueError:
            logging.exception("as an argument %s and a dict %s", password, {"password": password})
        raise RuntimeError(password)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""


def test_logs_and_threads_show_no_secret_either(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(THREAD)], env=environment(), capture_output=True, check=False
    )
    silent(tmp_path, done.stdout, done.stderr)
    assert done.stderr.count(b"***") >= 4
    assert b"RuntimeError: ***" in done.stderr


def leaves(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of twtrader, with its words."""
    if not hasattr(group, "commands"):
        yield prefix, group
        return
    for name, inner in sorted(group.commands.items()):
        yield from leaves(inner, f"{prefix} {name}".strip())


EVERYTHING = """
    import gc, json, os, sys
    import httpx, keyring, msgspec, pydantic, requests, rich.console, rich.table
    import backtest.fill, backtest.history, backtest.lookahead_run, backtest.luck_run, backtest.parity, backtest.quality_run, bot.cli, bot.daemon, bot.prices, bot.status_json, bot.status_picture, bot.wiring
    import bot.adapters.exchange_ex_rights, bot.adapters.price_feed, bot.adapters.twstock_codes, bot.llm_cli

    gc.freeze()  # the children need not look through what they share
    for words in json.load(sys.stdin):
        pid = os.fork()
        if not pid:
            os.close(0)
            os.open(os.devnull, os.O_RDONLY)
            sys.argv = ["twtrader", *words]
            print("-----", words, flush=True)
            bot.cli.main()
            os._exit(0)
        os.waitpid(pid, 0)
"""


def test_no_command_shows_or_leaves_a_secret(rehearsed: tuple[Sandbox, Path]) -> None:
    """Every command there is, in JSON where it has it."""
    sandbox, config = rehearsed
    calls: list[list[str]] = []
    for name, leaf in leaves(typer.main.get_command(app)):
        if name in NOT_RUN:
            continue
        words = [*name.split(), *WORDS.get(name, [])]
        in_json = any("--json" in option.opts for option in leaf.params)
        calls += [[*words, "--json"]] if in_json else []
        calls += [words] if not in_json or name in PLAIN_TOO else []
    assert len(calls) > 20
    calls = [["--config", str(config), *words] for words in calls]
    sandbox.fault("/newsapi", "echo_json", times=1)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EVERYTHING)],
        input=json.dumps(calls).encode(), env=environment(PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring"),
        capture_output=True, check=False, cwd=config.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b"-----") == len(calls)
    silent(config.parent, done.stdout, done.stderr)
    assert b"Traceback" not in done.stderr, done.stderr.decode()


def test_a_killed_daemon_leaves_no_secret_in_its_write_ahead_log(rehearsed: tuple[Sandbox, Path]) -> None:
    sandbox, config = rehearsed
    sandbox.clear_faults()
    (config.parent / "twtrader.db.halt").unlink(missing_ok=True)
    sandbox.fault(f"{API}/buy", "echo_html", times=4)
    sandbox.fault(f"{API}/sell", "echo_html", times=4)
    words = command(config, "run", "--until", "2025-03-14")
    with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"stage=send" in line and b"unknown" in line:
                break
        else:
            pytest.fail("no order was echoed")
        process.kill()
        rest = process.stderr.read()
    assert (config.parent / "twtrader.db-wal").stat().st_size > 0
    silent(config.parent, rest)
