"""Your configuration, pointed at a sandbox: every address replaced, everything else as you have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tomlkit

from bot.errors import ConfigError


def write_rehearsal_config(original: Path, copy: Path, url: str, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write to `copy` the config at `original` with each feed, the broker and the clock at the sandbox `url`.

    The copy has a database and a folder of reports of its own, named like itself: what is rehearsed must not mix with
    what is real. `changes` are further keys by table. Comments are kept, so that the copy reads like the original.

    Raises:
        ConfigError: `original` can't be read, or lacks a table; `copy` can't be written.
    """
    try:
        told = tomlkit.parse(original.read_text(encoding="utf-8"))
        _own_places(told, original, copy)
        for table, keys in [*at_sandbox(url).items(), *changes.items()]:
            inner: Any = told
            for name in table.split("."):
                inner = inner[name]
            for key, value in keys.items():
                inner[key] = value
    except (OSError, UnicodeDecodeError) as wrong:
        raise ConfigError(f"{original}: {wrong}") from wrong
    except (tomlkit.exceptions.ParseError, tomlkit.exceptions.NonExistentKey) as wrong:
        raise ConfigError(f"{original}: {wrong}") from wrong
    try:
        copy.write_text(tomlkit.dumps(told), encoding="utf-8")
    except OSError as wrong:
        raise ConfigError(f"{copy}: {wrong.strerror}") from wrong


def _own_places(told: Any, original: Path, copy: Path) -> None:
    """What is written lies beside the copy; what is only read stays where the original says."""
    told["store"]["path"] = f"{copy.stem}.db"
    told["backtest"]["reports"] = f"{copy.stem}-reports"
    told["model"]["folder"] = str(original.resolve().parent / told["model"]["folder"])
    if "/" in told["model"]["adapter"]:
        told["model"]["adapter"] = str(original.resolve().parent / told["model"]["adapter"])
    if told["universe"]["file"]:
        told["universe"]["file"] = str(original.resolve().parent / told["universe"]["file"])


# Without a model nothing promises a profit: with these knobs the rule buys all the same, and sells the day after.
CHURN: Final[dict[str, dict[str, Any]]] = {
    "model": {"engine": "naive"},
    "rules": {"entry_edge_bps": -100, "exit_return_bps": 1},
    "limits": {"daily_loss_bps": 0, "drawdown_bps": 0},  # it loses its costs every day, by design
}


def at_sandbox(url: str) -> dict[str, dict[str, Any]]:
    """The keys, by table, that point a config at the sandbox at `url`. Its exchange has no request limit."""
    unhurried = {"requests_per_window": 1_000, "window_s": 1.0}
    return {
        "clock": {"url": url},
        "feeds.twse": {"base_url": f"{url}/twse", **unhurried},
        "feeds.tpex": {"base_url": f"{url}/tpex", **unhurried},
        "feeds.newsapi": {"base_url": f"{url}/newsapi"},
        "feeds.rss": {"urls": [f"{url}/rss/headlines.xml"]},
        "broker": {"kind": "stock_api", "base_url": f"{url}/stock/trading_api", "live": False},
    }
