"""The mean of adapters, against the mean of the changes computed densely."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("peft")
import torch
from safetensors.torch import load_file
from tiny_llm import make_tiny_model
from tiny_lora import make_tiny_adapter

from bot.adapters.adapter_store import read_adapter
from bot.errors import Refused
from training.average import average


def changes(folder: Path) -> dict[str, torch.Tensor]:
    """scale x B A of each projection."""
    shape = json.loads((folder / "adapter_config.json").read_text())
    told = load_file(folder / "adapter_model.safetensors")
    scale = shape["lora_alpha"] / shape["r"]
    names = {name.split(".lora_")[0] for name in told}
    return {
        name: scale * told[f"{name}.lora_B.weight"].double() @ told[f"{name}.lora_A.weight"].double() for name in names
    }


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters of one tiny base."""
    place = tmp_path_factory.mktemp("average")
    make_tiny_model(place / "base", digits=1, manifest=True)
    made = []
    for name, scale in (("one", 0.1), ("other", 0.3)):
        make_tiny_adapter(place / "base", place / name, r=3, scale=scale)
        made.append(place / name)
    return made


def test_the_mean_of_two_adapters_is_exact(folders: list[Path], tmp_path: Path) -> None:
    average(folders, tmp_path / "mean")

    first, second, mean = (changes(folder) for folder in (*folders, tmp_path / "mean"))
    assert set(mean) == set(first)
    for name, told in mean.items():
        assert not torch.equal(first[name], second[name])
        assert torch.allclose(told, (first[name] + second[name]) / 2, atol=1e-9)
    assert read_adapter(tmp_path / "mean").name == "mean"
    assert average(folders, tmp_path / "run" / "adapter").name == "run"


def test_the_mean_is_not_as_sure_as_its_parts(folders: list[Path], tmp_path: Path) -> None:
    make_tiny_adapter(folders[0].parent / "base", tmp_path / "warm", r=3, told={"mood_temperature": 2.0})
    assert average([tmp_path / "warm", folders[1]], tmp_path / "mean").mood_temperature == 1.0


def test_adapters_that_do_not_fit_together_are_refused(folders: list[Path], tmp_path: Path) -> None:
    make_tiny_adapter(folders[0].parent / "base", tmp_path / "other", r=2)

    with pytest.raises(Refused, match="rank or alpha"):
        average([folders[0], tmp_path / "other"], tmp_path / "mean")
    with pytest.raises(Refused, match="two adapters"):
        average(folders[:1], tmp_path / "mean")
    (tmp_path / "mean").mkdir()
    with pytest.raises(Refused, match="exists already"):
        average(folders, tmp_path / "mean")
