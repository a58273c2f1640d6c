"""The evening says when the rule goes by bands that were read along the median alone."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import THURSDAY, at, bar, checked, config, forecast

from bot.adapters.sqlite_market import MarketStore
from bot.adapters.sqlite_open import open_database
from bot.core.forecast import Band
from bot.stages.decide import _too_sure

BAND = Band(low=Decimal(95), high=Decimal(105))


@pytest.mark.parametrize(
    ("model", "bars", "bands", "told"),
    [
        ("small@3a1f6c0d92e4:float32", 2, 2, True),
        ("small@3a1f6c0d92e4:float32+p8", 2, 2, False),
        ("small@3a1f6c0d92e4:float32", 1, 1, False),  # of one session the median says all
        ("small@3a1f6c0d92e4:float32+nobands", 2, 0, False),
    ],
)
def test_bands_along_the_median_are_named(tmp_path: Path, model: str, bars: int, bands: int, *, told: bool) -> None:
    store = MarketStore(open_database(tmp_path / "x.db"))
    store.add_bars(checked(bar("100")), at(THURSDAY))
    plain = forecast("100")
    said = replace(plain, model=model, bars=plain.bars * bars, bands=(BAND,) * bands, p_up=0.5 if bands else None)
    store.add_forecasts([said], at(THURSDAY))
    ports: Any = SimpleNamespace(market=store)

    words = _too_sure(THURSDAY, ports, config(tmp_path, model={"future_sessions": bars}))

    assert ("set model.paths" in words) is told
