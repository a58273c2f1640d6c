"""A fine-tune's folder: its settings, its log, its curves, and the adapter that comes out."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bot.errors import Refused
from training.progress import Progress

LOCK: Final = ".lock"
SETTINGS: Final = "settings.json"
LOG: Final = "log.csv"
CURVES: Final = "loss.png"
BOARD: Final = "tb"
ADAPTER: Final = "adapter"
COUNTS: Final = frozenset({"step", "tokens"})  # whole numbers
COLUMNS: Final = ("step", "loss", "valid_loss", "learning_rate", "tokens", "seconds")


def open_run(folder: Path, settings: Mapping[str, Any], needed_bytes: int) -> bool:
    """Make the run's folder, or open it again; whether there is something to go on from.

    Raises:
        Refused: it holds a run with other settings, a finished one, or the disk has less than `needed_bytes` free.
    """
    if (folder / ADAPTER).exists():
        raise Refused(f"{folder}: this run is finished; name another folder")
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder}: is no folder")
    told = msgspec.json.format(msgspec.json.encode(settings, enc_hook=str))
    kept = folder / SETTINGS
    if kept.is_file():
        try:
            before, now = msgspec.json.decode(kept.read_bytes(), type=dict[str, Any]), msgspec.json.decode(told)
        except (OSError, msgspec.DecodeError) as wrong:
            raise Refused(f"{kept}: {wrong}") from wrong
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if changed:
            raise Refused(f"{folder}: a run with another {', '.join(changed)} was begun here; name another folder")
    elif folder.exists() and any(folder.iterdir()):
        raise Refused(f"{folder}: holds something else; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed_bytes:
            raise Refused(f"{folder}: {needed_bytes / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free")
        again = kept.is_file()
        if not again:
            part = kept.with_suffix(".part")
            part.write_bytes(told)
            part.replace(kept)
    except OSError as wrong:
        raise Refused(f"{folder}: {wrong}") from wrong
    return again


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the run while the block runs; the lock dies with its process.

    Raises:
        Refused: another process trains here.
    """
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            raise Refused(f"{folder}: another process is training here") from taken
        yield


class Log:
    """log.csv, and the same for TensorBoard. After a resume it goes on where the state was kept."""

    def __init__(self, folder: Path, *, tensorboard: bool) -> None:
        """Open both.

        Raises:
            Refused: the package tensorboard is wanted and missing.
        """
        self._folder, self._path = folder, folder / LOG
        self._make_board = _board_kind() if tensorboard else None
        self._board: Any = None

    def add(self, now: Progress) -> None:
        """Add a line; lines of steps that a killed run had logged beyond its kept state are dropped."""
        told = {name: getattr(now, name) for name in COLUMNS}
        if now.valid_step != now.step:
            told["valid_loss"] = math.nan  # an earlier step's
        rows = [row for row in read_log(self._path) if row["step"] < now.step] + [told]
        part = self._path.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({name: _cell(name, row[name]) for name in COLUMNS} for row in rows)
        part.replace(self._path)
        if self._make_board is None:
            return
        if self._board is None:  # what was drawn beyond the kept state is hidden
            self._board = self._make_board(str(self._folder / BOARD), purge_step=now.step)
        for name in COLUMNS[1:]:
            if not _is_nan(told[name]):
                self._board.add_scalar(name, told[name], now.step)
        self._board.add_scalar("tokens_a_second", now.tokens_a_second, now.step)
        self._board.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._board is not None:
            self._board.close()


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a log.csv; what was not measured is NaN."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{name: float(cell) if cell else math.nan for name, cell in row.items()} for row in csv.DictReader(file)]


def draw_curves(folder: Path) -> Path:
    """loss.png: the losses by step, from log.csv."""
    from matplotlib.figure import Figure

    rows = read_log(folder / LOG)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, label, style in (("loss", "training", "-"), ("valid_loss", "validation", "o-")):
        points = [(row["step"], row[name]) for row in rows if not math.isnan(row[name])]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=4)
    axes.set(xlabel="step", ylabel="loss, nats an answer token")
    axes.grid(alpha=0.3)
    axes.legend()
    path = folder / CURVES
    figure.savefig(path, dpi=120)
    return path


def settings_of(config: Any, **more: object) -> dict[str, Any]:
    """What makes two runs the same run."""
    return {**dataclasses.asdict(config), **more}


def _board_kind() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as absent:
        raise Refused("train.tensorboard needs the package tensorboard: pip install 'twtrader[train]'") from absent
    return SummaryWriter


def _cell(name: str, value: float) -> str:
    return "" if math.isnan(value) else str(int(value) if name in COUNTS else value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
