"""Small datasets, the tiny model as a base, and fine-tunes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import tomlkit
from builders import REPO, bar, config, days
from rich.console import Console
from tiny_llm import make_tiny_model

from bot.config import TAIPEI, Config
from bot.core import prompt
from training.cuts import Cuts, Split
from training.dataset import Manifest, Source, write_dataset
from training.examples import mood_record
from training.records import Record
from training.sft import Trained, run_sft

SESSIONS = days(date(2024, 1, 1), 40)
CUTS = Cuts(cut=SESSIONS[19], valid_until=SESSIONS[29], embargo_sessions=0, after_cut=(), after_valid=())
MANIFEST = Manifest(
    form="pairs", made=datetime(2025, 1, 1, tzinfo=TAIPEI), cuts=None, columns=prompt.FIELDS, windows=(), masked=False,
    context="none", stride=1, most=0, seed=1, sources=(Source(name="made here", licence="MIT"),),
)  # fmt: skip
WORDS = {"positive": "profit up ", "neutral": "no change ", "negative": "loss down "}
# Knobs of a run that takes a second on the tiny model.
QUICK: dict[str, Any] = {
    "engine": "fused", "model": "tiny", "max_length": 200, "rank": 4, "alpha": 8.0, "batch": 6, "epochs": 3.0,
    "learning_rate": 1e-2, "logging_steps": 1, "tensorboard": False,
}  # fmt: skip


def moods(split: str, count: int) -> list[tuple[Split, Record]]:
    """So many headlines whose words tell their label, one label after the other; no two are the same."""
    told = [
        (label, f"{WORDS[label]}{split} {number}") for number in range(count) for label in [prompt.LABELS[number % 3]]
    ]
    return [(split, mood_record(text, label, "made here")) for label, text in told]  # type: ignore[misc]


def prices(split: Split, places: range) -> list[tuple[Split, Record]]:
    """A question with two past bars and one to come, asked after each of these sessions."""
    found = []
    for at in places:
        before, last, after = (
            bar(str(100 + (place % 3)), session=SESSIONS[place], high="104", low="99") for place in (at - 1, at, at + 1)
        )
        record = Record(
            kind="prices",
            input=prompt.question_text("台積電", [before, last]),
            output=prompt.answer_text([after], last.close),
            symbol="2330",
            as_of=SESSIONS[at],
            answer_until=SESSIONS[at + 1],
        )
        found.append((split, record))
    return found


def mood_dataset(folder: Path, train: int = 18) -> Path:
    """Headlines without dates."""
    pairs = [*moods("train", train), *moods("valid", 6), *moods("test", 3)]
    write_dataset(folder, pairs, MANIFEST, lambda: MANIFEST.sources)
    return folder


def price_dataset(folder: Path) -> Path:
    """Windows 2:1, cut after session 19."""
    pairs = [*prices("train", range(1, 19)), *prices("valid", range(21, 29)), *prices("test", range(31, 39))]
    write_dataset(folder, pairs, replace(MANIFEST, cuts=CUTS, windows=((2, 1),)), lambda: MANIFEST.sources)
    return folder


def tiny_config(folder: Path, **knobs: Any) -> Config:
    """The shipped configuration with the tiny model in `folder`/models as its base."""
    models = folder / "models"
    if not (models / "tiny").is_dir():
        make_tiny_model(models / "tiny", digits=1, manifest=True)
    told = config(folder, model={"name": "tiny", "folder": str(models), "device": "cpu"})
    return replace(told, train=replace(told.train, **{**QUICK, **knobs}))


def write_tiny_config(folder: Path, **knobs: Any) -> Path:
    """The same as a file, for commands in processes of their own."""
    tiny_config(folder)
    told: Any = tomlkit.parse((REPO / "config.toml").read_text(encoding="utf-8"))
    told["model"].update({"name": "tiny", "folder": str(folder / "models"), "device": "cpu"})
    told["train"].update({**QUICK, **knobs})
    (folder / "config.toml").write_text(tomlkit.dumps(told), encoding="utf-8")
    return folder / "config.toml"


def tune(folder: Path, dataset: Path, out: str = "run", **knobs: Any) -> Trained:
    """Run `train sft` in this process, quietly."""
    made = run_sft(tiny_config(folder, **knobs), dataset, folder / out, Console(quiet=True))
    assert made is not None
    return made
