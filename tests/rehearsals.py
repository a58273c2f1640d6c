"""Running the real daemon process against the real sandbox process, for end-to-end tests."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from builders import REPO, SHARED

from bot.rehearsal import write_rehearsal_config

SECRETS = {"TWTRADER_ACCOUNT": "demo", "TWTRADER_PASSWORD": "demo", "NEWSAPI_KEY": "k"}


def rehearsal(folder: Path, url: str, codes: list[str], **changes: Mapping[str, Any]) -> Path:
    """A config in `folder` pointed at the sandbox, trading `codes`, with the naive forecaster unless changed.

    Dots in table names are written as two underscores.
    """
    (folder / "codes.json").write_text(json.dumps([{"code": code} for code in codes]), encoding="utf-8")
    tables: dict[str, dict[str, Any]] = {
        "store": {"path": "twtrader.db"},
        "universe": {"file": "codes.json"},
        "model": {"engine": "naive"},
    }
    for name, keys in changes.items():
        tables.setdefault(name.replace("__", "."), {}).update(keys)
    path = folder / "config.toml"
    write_rehearsal_config(REPO / "config.toml", path, url, tables)
    return path


def twtrader(config: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; the caller looks at its exit code."""
    return subprocess.run(
        command(config, *words),
        env={**os.environ, **SECRETS, **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=config.parent,
        timeout=240,
    )


def command(config: Path, *words: str) -> list[str]:
    """The words of a `twtrader` call in this interpreter."""
    return [sys.executable, "-m", "bot", "--config", str(config), *words]


def real_bars(code: str, first: date, last: date) -> dict[date, dict[str, Decimal]]:
    """Real bars by session, read here independently of the product: open, high, low, close in TWD."""
    with (SHARED / "prices" / f"{code}.csv").open(encoding="utf-8") as file:
        return {
            date.fromisoformat(row["date"]): {name: Decimal(row[name]) for name in ("open", "high", "low", "close")}
            for row in csv.DictReader(file)
            if first <= date.fromisoformat(row["date"]) <= last
        }
