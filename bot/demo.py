"""Two trading sessions on the sandbox, start to end: the real daemon, a real model, real HTTP, an invented market."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from bot.config import TAIPEI
from bot.errors import Refused
from bot.rehearsal import write_rehearsal_config
from bot.sandbox.process import start_sandbox
from bot.sandbox.settings import SandboxSettings

STOCKS: Final = ("2317", "2330", "2357", "2382", "2454", "3231", "3711", "6488")
SESSIONS: Final = (date(2025, 3, 3), date(2025, 3, 4))
ACCOUNT: Final = "demo"
ADAPTER: Final = Path(__file__).resolve().parents[1] / "training" / "adapters" / "smollm2-135m-tw"
# The demo must show orders and fills within two sessions, so it trades on any forecast rise.
EAGER: Final[dict[str, dict[str, Any]]] = {
    "store": {"path": "twtrader.db"},
    "backtest": {"reports": "reports"},
    "rules": {"entry_edge_bps": -58, "exit_return_bps": -300, "lot_shares": 1000},
}


def run_demo(config: Path, folder: Path) -> None:
    """Run the demo in `folder`, which is emptied first.

    Raises:
        Refused: a step failed, or did not do what the demo promises.
    """
    console = Console()
    begun = perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    universe = folder / "companies.json"
    universe.write_text(json.dumps([{"code": code} for code in STOCKS]), encoding="utf-8")
    start = datetime.combine(SESSIONS[0], time(15, 0), tzinfo=TAIPEI)
    with start_sandbox(SandboxSettings(start=start, codes=STOCKS, seed=20250303)) as sandbox:
        console.rule("[bold]a sandbox exchange on loopback")
        console.print(f"{sandbox.url} invents a market: prices, headlines, an order book. Nothing leaves this machine.")
        copy = folder / "config.toml"
        eager = {**EAGER, "universe": {"file": universe.name}, "model": {"adapter": str(ADAPTER)}}
        write_rehearsal_config(config, copy, sandbox.url, eager)
        console.rule(f"[bold]twtrader run --until {SESSIONS[-1]}")
        for line in _daemon(copy):
            console.print(line)
        facts = json.loads(_twtrader(copy, "status", "--json", capture=True))
        console.rule("[bold]twtrader status --once")
        _twtrader(copy, "status", "--once")
        console.rule("[bold]twtrader backtest run")
        _twtrader(copy, "backtest", "run")
    _check(facts)
    console.rule("[bold]done")
    console.print(
        f"{len(SESSIONS)} sessions, {len(facts['forecasts'])} stocks forecast by {facts['forecasts'][0]['model']}, "
        f"{_filled(facts)} orders filled, in {perf_counter() - begun:.0f} s. All of it lies in {folder}/: "
        f"try `twtrader -c {copy} orders`."
    )


def _environment() -> Mapping[str, str]:
    """The secrets that the sandbox takes."""
    secrets = {"TWTRADER_ACCOUNT": ACCOUNT, "TWTRADER_PASSWORD": ACCOUNT, "NEWSAPI_KEY": "demo"}
    return {**os.environ, **secrets}


def _command(config: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "bot", "--config", str(config), *words]


def _daemon(config: Path) -> Iterator[Text]:
    """The real daemon as a process; its log becomes one line a stage.

    Raises:
        Refused: it ended with an error; its last words are in the message.
    """
    words = _command(config, "run", "--until", SESSIONS[-1].isoformat())
    last = ""
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=_environment()) as process:  # noqa: S603
        assert process.stderr is not None
        for line in process.stderr:
            last = line.strip() or last
            if " stage session=" in line:
                yield _stage_line(line)
    if process.returncode:
        raise Refused(f"the daemon ended with {process.returncode}: {last}")


def _stage_line(line: str) -> Text:
    """`... stage session=D stage=S outcome=O s=N detail=TEXT` for people."""
    fields, _, detail = line.partition(" detail=")
    told = dict(word.split("=", 1) for word in fields.split() if "=" in word)
    style = "" if told["outcome"] == "done" else "yellow"
    text = Text(f"  {told['session']}  {told['stage']:9}", "bold")
    return text.append(f"{told['outcome']:8} {float(told['s']):6.1f} s   {detail.strip()}", style)


def _twtrader(config: Path, *words: str, capture: bool = False) -> str:
    """Run one command as the user would.

    Raises:
        Refused: it failed.
    """
    done = subprocess.run(  # noqa: S603
        _command(config, *words),
        env=_environment(),
        check=False,
        text=True,
        stdout=subprocess.PIPE if capture else None,
    )
    if done.returncode:
        raise Refused(f"`twtrader {' '.join(words)}` ended with {done.returncode}")
    return done.stdout or ""


def _filled(facts: Mapping[str, Any]) -> int:
    return sum(order["state"] == "filled" for order in facts["orders"])


def _check(facts: Mapping[str, Any]) -> None:
    """The demo promises forecasts and fills: say so if it breaks its word.

    Raises:
        Refused: names what is missing.
    """
    least_stocks = 5
    if len(facts["forecasts"]) < least_stocks:
        raise Refused(f"only {len(facts['forecasts'])} stocks were forecast, {least_stocks} were promised")
    if not _filled(facts):
        raise Refused("no order was filled, one was promised")
