"""A user's folder for the training commands: a config and bars in files."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import tomlkit
from builders import REPO, days

from bot.core.market import floor_to_tick_x100


def write_config(home: Path, **model: Any) -> Path:
    """The shipped config.toml with some keys of [model] replaced."""
    told = tomlkit.parse((REPO / "config.toml").read_text(encoding="utf-8"))
    table: Any = told["model"]
    table.update({"device": "cpu", **model})
    (home / "config.toml").write_text(tomlkit.dumps(told), encoding="utf-8")
    return home / "config.toml"


def write_bars(folder: Path, codes: Sequence[str], *, first: date, sessions: int) -> None:
    """Seeded walks on the tick, a file a stock, a bar each weekday."""
    folder.mkdir(parents=True)
    for number, code in enumerate(codes):
        dice = random.Random(number)
        close = dice.randrange(40_00, 400_00)
        with (folder / f"{code}.csv").open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(("date", "capacity", "turnover", "open", "high", "low", "close", "change", "transaction"))
            for day in days(first, sessions):
                prices = sorted(
                    floor_to_tick_x100(round(close * dice.uniform(0.98, 1.02)), etf=False) for _ in range(4)
                )
                low, opened, close, high = (
                    prices if dice.random() < 0.5 else (prices[0], prices[2], prices[1], prices[3])
                )
                told = (f"{price / 100:.2f}" for price in (opened, high, low, close))
                out.writerow((day, dice.randrange(10**5, 10**7), "", *told, "", ""))
