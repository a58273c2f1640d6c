"""The colours of a rise and a fall, the same in every picture: in Taiwan red is up (`backtest.up` in the config)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RED: Final = "#d62728"
GREEN: Final = "#2ca02c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """The colours of a gain and a loss."""

    up: str = RED
    down: str = GREEN


def colours_of(up: str) -> Colours:
    """The colours where gains are `up`, "red" or "green"."""
    return Colours() if up == "red" else Colours(up=GREEN, down=RED)
