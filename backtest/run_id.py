"""What a run follows from, and the name that says so: days, forecasters, config, data and code."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from backtest.forecasters import Forecaster
from backtest.history import History
from bot.config import Config
from bot.core.exrights import ExRight
from bot.core.rule import strategy_name


def inputs_of(
    config: Config,
    history: History,
    sessions: Sequence[date],
    forecasters: Sequence[Forecaster],
    events: Sequence[ExRight] = (),
) -> dict[str, Any]:
    """All that the figures follow from: days, forecasters, config, data and code. Plain values, for run.json."""
    settings = {
        "rules": asdict(config.rules) | {"strategy": strategy_name(config.rules.strategy)},
        "costs": {name: str(value) for name, value in asdict(config.costs).items()},
        "backtest": {
            "fill_rules": list(config.backtest.fill_rules),
            "start_cash_twd": config.backtest.start_cash_twd,
            "slippage_ticks": config.backtest.slippage_ticks,
            "volume_share_bps": config.backtest.volume_share_bps,
            "settlement_sessions": config.backtest.settlement_sessions,
        },
    }
    ex_dates = [
        [one.symbol, one.ex_date, one.kind, one.previous_x100, one.reference_x100, one.cash_dividend] for one in events
    ]
    return {
        "from": sessions[0].isoformat(),
        "to": sessions[-1].isoformat(),
        "config": settings,
        "config_sha256": _hash(settings),
        "bars_sha256": history.digest(),
        "ex_dates_sha256": _hash(ex_dates),
        "forecasts_sha256": {one.name: hashlib.sha256(one.digest().encode()).hexdigest() for one in forecasters},
        "code": code_version(),
    }


def run_id_of(inputs: Mapping[str, Any]) -> str:
    """Days, forecasters, config, data and code. The same id means the same figures, unless the code is "-changed"."""
    data = [inputs["bars_sha256"], inputs["ex_dates_sha256"], inputs["forecasts_sha256"]]
    parts = [
        f"{inputs['from'].replace('-', '')}-{inputs['to'].replace('-', '')}",
        _slug("+".join(inputs["forecasts_sha256"])),
        f"config-{inputs['config_sha256'][:8]}",
        f"data-{_hash(data)[:8]}",
        f"code-{_slug(inputs['code'])}",
    ]
    return "_".join(parts)


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _slug(text: str) -> str:
    """`text` as a part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text)[:60].strip("-")


def code_version() -> str:
    """The git revision of the source tree, marked when it has changes; the package's version where there is none."""
    root = Path(__file__).resolve().parents[1]
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty=-changed", "--abbrev=8"]
        told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if told.returncode == 0 and told.stdout.strip():
            return told.stdout.strip()
    try:
        return version("twtrader")
    except PackageNotFoundError:
        return "unknown"
