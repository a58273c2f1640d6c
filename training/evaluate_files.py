"""An evaluation as CSV: every prediction, and every score."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from bot.errors import Refused
from training.evaluate import Evaluated, MoodSet
from training.evaluation import ADAPTER, BASE, write_evaluation


def check_writable(folder: Path) -> None:
    """Make the folder, before any model is asked.

    Raises:
        Refused: it can't be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".probe").touch()
        (folder / ".probe").unlink()
    except OSError as wrong:
        raise Refused(f"{folder}: {wrong.strerror}") from wrong


def write_files(folder: Path, told: Evaluated, sets: Sequence[MoodSet]) -> list[Path]:
    """evaluation.json, scores.csv, and headlines.csv and forecasts.csv where such were asked; returns their paths."""
    written = [write_evaluation(folder, told.evaluation)]
    written.append(_write(folder / "scores.csv", ("score", "value"), sorted(told.evaluation.scores().items())))
    if sets:
        shares = [f"{who}_{label}" for who in (BASE, ADAPTER) for label in ("label", "positive", "neutral", "negative")]
        written.append(_write(folder / "headlines.csv", ("corpus", "text", "label", *shares), _headlines(told, sets)))
    if told.cases:
        names = sorted({name for case in told.cases for name in case.views})
        columns = [f"{name} {what}" for name in names for what in ("close", "10 %", "90 %")]
        head = ("symbol", "as_of", "horizon", "last_close", "came", *columns)
        written.append(_write(folder / "forecasts.csv", head, _forecasts(told, names)))
    return written


def _headlines(told: Evaluated, sets: Sequence[MoodSet]) -> Iterable[Sequence[object]]:
    rows = [(one.name, row) for one in sets for row in one.rows]
    for (corpus, row), base, adapter in zip(rows, told.base.moods, told.adapter.moods, strict=True):
        shares = [[mood.label, *(f"{share:.6f}" for share in (mood.positive, mood.neutral, mood.negative))]
                  for mood in (base, adapter)]  # fmt: skip
        yield (corpus, row.text, row.label, *shares[0], *shares[1])


def _forecasts(told: Evaluated, names: Sequence[str]) -> Iterable[Sequence[object]]:
    for case in told.cases:
        views = [case.views.get(name) for name in names]
        prices = [(view.told, view.low, view.high) if view else (None, None, None) for view in views]
        cells = ["" if price is None else f"{price:.4f}" for told_prices in prices for price in told_prices]
        yield (case.symbol, case.as_of, case.horizon, f"{case.last:.4f}", f"{case.came:.4f}", *cells)


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(head)
        out.writerows(rows)
    return path
