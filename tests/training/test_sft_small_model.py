"""`train sft` on the real small model: twenty steps, the loss falls, and the adapter answers otherwise than its base."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from builders import REPO, config

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
pytest.importorskip("torch")
pytest.importorskip("peft")
from rich.console import Console
from tiny_runs import mood_dataset

from bot.adapters.adapter_store import check_base, read_adapter
from bot.adapters.llm_transformers import TransformersEngine
from training.run_folder import read_log
from training.sft import run_sft

SMALL = REPO / "models/smollm2-135m"
TITLES = ["profit up train 3", "no change train 4", "loss down train 5"]


@pytest.mark.model
@pytest.mark.skipif(not SMALL.is_dir(), reason="models/smollm2-135m is absent: run `make model`")
def test_twenty_steps_on_the_small_model(tmp_path: Path) -> None:
    data = mood_dataset(tmp_path / "data", train=40)
    told = config(tmp_path, model={"name": SMALL.name, "folder": str(SMALL.parent), "device": "cpu"})
    knobs = {"engine": "fused", "model": SMALL.name, "rank": 4, "batch": 2, "max_steps": 20, "learning_rate": 1e-3}
    knobs |= {"targets": ("q_proj", "v_proj"), "logging_steps": 1, "tensorboard": False}
    told = replace(told, train=replace(told.train, **knobs))

    made = run_sft(told, data, tmp_path / "run", Console(quiet=True))

    assert made is not None
    losses = [row["loss"] for row in read_log(tmp_path / "run/log.csv")]
    assert len(losses) == 20
    assert sum(losses[-5:]) < sum(losses[:5]) / 2
    check_base(read_adapter(made.adapter), SMALL)
    tuned = TransformersEngine(replace(told.model, adapter=str(made.adapter)))
    moods = [one for one in tuned.sentiment(TITLES) if one]
    # The base, asked as a tuned model is, says one label of all three; the words are learned in twenty steps.
    assert [one.label for one in moods] == ["positive", "neutral", "negative"]
