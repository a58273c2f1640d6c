"""`train calibrate`: what is asked, what is written, and what is refused before a model is loaded."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import REPO

pytest.importorskip("torch")
pytest.importorskip("peft")
sys.path.append(str(REPO / "tests/adapters"))  # the tiny model and its adapters live there
import torch
from safetensor_files import plain_adapter
from tiny_files import write_config
from tiny_llm import make_tiny_model
from tiny_lora import make_tiny_adapter
from tiny_runs import CUTS, MANIFEST, moods, price_dataset, prices
from typer.testing import CliRunner

from bot.adapters.adapter_store import MANIFEST as ADAPTER_JSON
from bot.adapters.adapter_store import read_adapter
from bot.adapters.llm_transformers import TransformersEngine
from bot.adapters.model_store import weights_sha256
from bot.config import ModelConfig
from bot.config_file import load_config
from bot.core.prompt import LABELS
from bot.errors import Refused
from training.calibrate import calibrate
from training.cli import train
from training.dataset import read_dataset, write_dataset
from training.examples import mood_record
from training.run_folder import SETTINGS

LICENCE = "made here: MIT; moods of made here: as above"
AHEAD = 3 * math.log(2)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config and a tiny model."""
    home = tmp_path_factory.mktemp("home")
    make_tiny_model(home / "models/tiny", digits=3)
    write_config(home, name="tiny")
    return home


@pytest.fixture
def model(home: Path) -> ModelConfig:
    return load_config(home / "config.toml").model


def adapter_in(folder: Path, home: Path, **told: Any) -> Path:
    base = {"base_sha256": weights_sha256(home / "models/tiny"), "licence": LICENCE}
    return plain_adapter(folder, "night-3", **base | told)


def dataset(folder: Path, valid: Sequence[str] = ("neutral", "positive", "neutral", "negative") * 15) -> Path:
    """Headlines; `valid` are the labels of its valid side."""
    told = [("valid", mood_record(f"No {at} in valid", label, "made here")) for at, label in enumerate(valid)]
    pairs: list[Any] = [*moods("train", 6), *told, *moods("test", 3)]
    write_dataset(folder, pairs, MANIFEST, lambda: MANIFEST.sources)
    return folder


def neutral(asked: list[str]) -> Any:
    """A model that finds everything neutral, 3 ln 2 ahead of both others; `asked` is what it is asked."""

    def scores(titles: Sequence[str]) -> list[list[float]]:
        asked.extend(titles)
        return [[0.0, AHEAD, 0.0] for _ in titles]

    return lambda _: scores


def never(_: ModelConfig) -> Any:
    raise AssertionError("a model was loaded")


def test_the_valid_side_alone_is_asked_and_the_temperature_stands_in_the_manifest(
    home: Path, model: ModelConfig, tmp_path: Path
) -> None:
    asked: list[str] = []
    folder = adapter_in(tmp_path / "adapter", home)
    before = read_adapter(folder)

    told = calibrate(folder, dataset(tmp_path / "data"), model, neutral(asked))

    # 8 : 1 : 1 where half of the texts are neutral: 2 : 1 : 1 is right, and 8 = 2 ** 3
    assert told.temperature == pytest.approx(3, abs=1e-4)
    assert asked == [f"No {at} in valid" for at in range(60)]
    assert read_adapter(folder) == replace(before, mood_temperature=told.temperature)
    [part] = told.parts
    assert (part.source, part.texts, part.before.accuracy, part.after.accuracy) == ("made here", 60, 0.5, 0.5)
    assert (part.before.error, part.after.error) == (pytest.approx(0.3), pytest.approx(0, abs=1e-4))

    again = calibrate(folder, tmp_path / "data", model, neutral([]))
    assert again.before == again.temperature == told.temperature
    assert again.parts[0].before == again.parts[0].after


def test_what_nothing_tells_of_the_texts_is_said(home: Path, model: ModelConfig, tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    folder = adapter_in(tmp_path / "run/adapter", home)
    assert "nothing tells which texts night-3 learned" in calibrate(folder, data, model, neutral([])).unknown

    settings: dict[str, Any] = {"dataset": read_dataset(data).manifest.sha256, "start": ""}
    (tmp_path / "run" / SETTINGS).write_text(json.dumps(settings))
    assert calibrate(folder, data, model, neutral([])).unknown == ""

    (tmp_path / "run" / SETTINGS).write_text(json.dumps(settings | {"start": "runs/first/adapter"}))
    assert "runs/first/adapter" in calibrate(folder, data, model, neutral([])).unknown


def test_what_the_adapter_did_not_learn_from_is_refused_before_a_model_is_loaded(
    home: Path, model: ModelConfig, tmp_path: Path
) -> None:
    data = dataset(tmp_path / "data")
    for at, (told, why) in enumerate((
        ({"base_sha256": "0" * 64}, "belongs to tiny with weights 000000000000"),
        ({"mood": "shown"}, "night-3 learned no moods"),
        ({"licence": "unmade here: MIT"}, "night-3 did not learn from made here"),
    )):  # fmt: skip
        folder = adapter_in(tmp_path / str(at), home, **told)
        refused(folder, data, model, why)


def test_another_train_side_is_refused(home: Path, model: ModelConfig, tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    folder = adapter_in(tmp_path / "run/adapter", home)
    hashes = {**read_dataset(data).manifest.sha256, "train.jsonl": "0" * 64}
    (tmp_path / "run" / SETTINGS).write_text(json.dumps({"dataset": hashes, "start": ""}))

    refused(folder, data, model, "its train side is not the one that adapter night-3 learned")


def test_too_few_headlines_and_later_ones_are_refused(home: Path, model: ModelConfig, tmp_path: Path) -> None:
    folder = adapter_in(tmp_path / "adapter", home, trained_until=date(2023, 12, 31))
    refused(folder, dataset(tmp_path / "few", ["neutral"] * 49), model, "49 headlines in its valid side, 50 are needed")
    refused(folder, price_dataset(tmp_path / "prices"), model, "no headlines in its valid side")

    later = tmp_path / "later"
    told = [("valid", mood_record(f"No {at}", "neutral", "made here")) for at in range(60)]
    pairs: list[Any] = [*prices("train", range(1, 19)), *told, *prices("test", range(31, 39))]
    write_dataset(later, pairs, replace(MANIFEST, cuts=CUTS), lambda: MANIFEST.sources)
    refused(folder, later, model, f"teaches until {CUTS.cut}, adapter night-3 says 2023-12-31")


def test_where_no_temperature_fits_nothing_is_written(home: Path, model: ModelConfig, tmp_path: Path) -> None:
    folder = adapter_in(tmp_path / "adapter", home)
    refused(folder, dataset(tmp_path / "data", ["neutral"] * 60), model, "are read right", neutral([]))


def refused(folder: Path, data: Path, model: ModelConfig, why: str, start: Any = never) -> None:
    before = (folder / ADAPTER_JSON).read_bytes()
    with pytest.raises(Refused, match=re.escape(why)):
        calibrate(folder, data, model, start)
    assert (folder / ADAPTER_JSON).read_bytes() == before


def test_the_command_asks_the_engine_and_no_label_changes(home: Path, model: ModelConfig, tmp_path: Path) -> None:
    folder = tmp_path / "night-4"
    make_tiny_adapter(home / "models/tiny", folder, told={"licence": LICENCE})
    titles = [f"No {at} in valid" for at in range(60)]
    config = replace(model, adapter=str(folder))
    engine = TransformersEngine(config)
    scores, before = engine.mood_scores(titles).double(), engine.sentiment(titles)
    # of three texts the model reads two as their label says
    labels = [one.label if at % 3 else LABELS[(LABELS.index(one.label) + 1) % 3] for at, one in enumerate(before)]
    dataset(tmp_path / "data", labels)

    words = ["calibrate", str(folder), "--dataset", str(tmp_path / "data")]
    done = CliRunner().invoke(train, [*words, "--json"], obj=home / "config.toml")
    shown = CliRunner().invoke(train, words, obj=home / "config.toml")

    assert done.exit_code == 0, done.exception
    temperature = read_adapter(folder).mood_temperature
    assert json.loads(done.stdout)["temperature"] == temperature != 1
    assert f"mood_temperature {temperature:g}, was {temperature:g}" in shown.stdout
    # At the least loss the true labels' scores are, in the mean, what the probabilities expect of scores.
    shares = torch.softmax(scores / temperature, dim=1)
    true = torch.tensor([scores[at, LABELS.index(label)].item() for at, label in enumerate(labels)])
    assert true.mean().item() == pytest.approx((shares * scores).sum(dim=1).mean().item(), abs=1e-3)
    after = TransformersEngine(config).sentiment(titles)
    assert [one.label for one in after] == [one.label for one in before]
    for one, expected in zip(after, shares.tolist(), strict=True):
        assert [one.positive, one.neutral, one.negative] == pytest.approx(expected, abs=1e-6)
