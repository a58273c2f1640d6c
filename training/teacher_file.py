"""What a teacher said, as a dataset needs it: analyses by stock and day, headlines with their mood and day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from training.analysis import Analysis
from training.examples import Dated


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Accepted answers only."""

    analyses: Mapping[tuple[str, date], Analysis] = field(default_factory=dict)
    moods: tuple[Dated, ...] = ()
    source: str = "teacher"
    language: str = "en"


def read_told(path: Path) -> Told:
    raise NotImplementedError
