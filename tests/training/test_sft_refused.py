"""What `train sft` refuses, each in one line and before anything is computed."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
torch = pytest.importorskip("torch")
pytest.importorskip("peft")
from tiny_runs import MANIFEST, mood_dataset, prices, tiny_config, tune, write_tiny_config  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from bot.adapters.model_store import sha256_of  # noqa: E402
from bot.cli import app  # noqa: E402
from bot.errors import Refused  # noqa: E402
from training import loop, run_folder, sft_checks  # noqa: E402
from training.dataset import MANIFEST as DATASET  # noqa: E402
from training.dataset import write_dataset  # noqa: E402

STEP = loop._step
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="refused only where there is no GPU")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return mood_dataset(tmp_path / "data")


@pytest.fixture(autouse=True)
def _nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test here fails if a step is taken."""

    def never(*_: object) -> None:
        raise AssertionError("a step was taken")

    monkeypatch.setattr(loop, "_step", never)


def refusal(folder: Path, dataset: Path, out: str = "run", **knobs: Any) -> str:
    with pytest.raises(Refused) as told:
        tune(folder, dataset, out, **knobs)
    assert "\n" not in str(told.value)
    return str(told.value)


def rewritten(folder: Path, side: str, change: Any) -> Path:
    """A side's lines after `change`, with the hash that they have now: as a person makes a dataset by hand."""
    lines = [json.loads(line) for line in (folder / f"{side}.jsonl").read_text().splitlines()]
    change(lines)
    (folder / f"{side}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = json.loads((folder / DATASET).read_text())
    told["sha256"][f"{side}.jsonl"] = sha256_of(folder / f"{side}.jsonl")
    (folder / DATASET).write_text(json.dumps(told))
    return folder


# --- the dataset ---------------------------------------------------------------------------------------------------


def test_no_dataset(tmp_path: Path) -> None:
    assert "no dataset" in refusal(tmp_path, tmp_path / "nowhere")


def test_a_changed_dataset(tmp_path: Path, data: Path) -> None:
    with (data / "train.jsonl").open("a") as file:
        file.write("\n")
    assert refusal(tmp_path, data).endswith("train.jsonl: not as it was written: its hash is another")


def test_an_empty_side(tmp_path: Path, data: Path) -> None:
    assert "no example for valid" in refusal(tmp_path, rewritten(data, "valid", lambda lines: lines.clear()))


def test_sides_that_overlap(tmp_path: Path, data: Path) -> None:
    taken = json.loads((data / "train.jsonl").read_text().splitlines()[0])
    assert "train and test share 1 texts" in refusal(
        tmp_path, rewritten(data, "test", lambda lines: lines.append(taken))
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"label": "bullish", "output": " bullish"},
            "train line 2 (mood): label 'bullish' is none of positive, neutral",
        ),
        ({"label": None}, "train line 2 (mood): label None is none of"),
        ({"output": " negative"}, "train line 2 (mood): the answer ' negative' is not its label 'neutral'"),
        ({"input": "Headline:" + "a" * 300}, "tokens, and train.max_length is 200"),
        ({"output": ""}, "train line 2 (mood): the answer '' is not its label"),
    ],
)
def test_an_example_that_can_not_be_learned(tmp_path: Path, data: Path, change: dict[str, Any], told: str) -> None:
    assert told in refusal(tmp_path, rewritten(data, "train", lambda lines: lines[1].update(change)))


def test_a_validation_example_over_the_limit(tmp_path: Path, data: Path) -> None:
    long = rewritten(data, "valid", lambda lines: lines[0].update({"input": "Headline:" + "b" * 300}))
    assert refusal(tmp_path, long).startswith("valid line 1 (mood): ")


def test_a_price_example_over_the_limit_is_named_by_stock_and_day(tmp_path: Path) -> None:
    from tiny_runs import CUTS

    pairs = [*prices("train", range(1, 5)), *prices("valid", range(21, 24)), *prices("test", range(31, 34))]
    write_dataset(tmp_path / "p", pairs, replace(MANIFEST, cuts=CUTS), lambda: ())
    assert refusal(tmp_path, tmp_path / "p", max_length=20).startswith("train line 1 (prices, 2330 2024-01-02): ")


# --- the base ------------------------------------------------------------------------------------------------------


def test_a_base_that_is_not_there(tmp_path: Path, data: Path) -> None:
    assert (
        refusal(tmp_path, data, model="nix")
        == "model nix is neither in models/ nor a folder with config.json and safetensors"
    )


def test_a_base_whose_hash_is_wrong(tmp_path: Path, data: Path) -> None:
    tiny_config(tmp_path)
    weights = tmp_path / "models/tiny/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert "model.safetensors is not the file that was pulled" in refusal(tmp_path, data)


def test_a_base_of_a_kind_that_transformers_does_not_know(tmp_path: Path, data: Path) -> None:
    tiny_config(tmp_path)
    shutil.copytree(tmp_path / "models/tiny", tmp_path / "models/odd", ignore=shutil.ignore_patterns("manifest.json"))
    (tmp_path / "models/odd/config.json").write_text('{"model_type": "odd"}')
    assert refusal(tmp_path, data, model="odd").startswith("model odd: ")


# --- knobs -----------------------------------------------------------------------------------------------------


@no_gpu
@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        (
            {"engine": "auto", "method": "qlora"},
            'train.method = "qlora" needs CUDA: bitsandbytes has no kernels for this',
        ),
        ({"engine": "trl", "method": "8bit"}, 'train.method = "8bit" needs CUDA: bitsandbytes has no kernels for this'),
        ({"engine": "unsloth"}, 'train.engine = "unsloth" runs only where there is a GPU'),
        ({"optimiser": "adamw_8bit"}, 'train.optimiser = "adamw_8bit" needs CUDA'),
        ({"max_length": 1025}, "train.max_length is 1025 and tiny reads at most 1024 tokens"),
    ],
)
def test_what_this_machine_or_model_can_not_do(tmp_path: Path, data: Path, knobs: dict[str, Any], told: str) -> None:
    assert told in refusal(tmp_path, data, **knobs)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("knobs", "cuda", "fusable", "engine"),
    [
        ({"method": "lora"}, False, True, "fused"),
        ({"method": "full"}, False, True, "fused"),
        ({"method": "lora"}, True, True, "fused"),
        ({"method": "lora"}, False, False, "trl"),
        ({"method": "full"}, True, False, "trl"),
        ({"method": "lora", "engine": "trl"}, False, True, "trl"),  # what is asked for by name is taken
    ],
)
def test_auto_is_our_engine_wherever_it_can(
    tmp_path: Path, knobs: dict[str, Any], cuda: bool, fusable: bool, engine: str
) -> None:
    pytest.importorskip("trl")
    asked = tiny_config(tmp_path, **{"engine": "auto", **knobs}).train
    assert sft_checks.pick_engine(asked, cuda=cuda, fusable=fusable) == engine


@pytest.mark.parametrize("method", ["qlora", "8bit"])
def test_auto_is_unsloth_for_few_bits(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # as where everything is installed
    asked = tiny_config(tmp_path, engine="auto", method=method).train
    assert sft_checks.pick_engine(asked, cuda=True, fusable=True) == "unsloth"


@pytest.mark.parametrize("world", ["2"])
def test_several_processes_with_another_engine(tmp_path: Path, data: Path, world: str, monkeypatch) -> None:
    pytest.importorskip("trl")
    monkeypatch.setenv("WORLD_SIZE", world)
    assert refusal(tmp_path, data, engine="trl") == 'several GPUs are used by train.engine = "fused", not by "trl"'


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--targets", "nonsense"], "`targets` must be some of q_proj"),
        (["--targets", ""], "`targets` must be some of q_proj"),
        (["--scheduler", "cubic"], "Invalid enum value 'cubic'"),
        (["--engine", "vllm"], "Invalid enum value 'vllm'"),
        (["--rank", "0"], "`rank` must be at least 1"),
        (["--dropout", "1"], "`dropout` must be at least 0 and below 1"),
        (["--learning-rate", "0"], "`learning_rate` must be a positive number"),
        (["--learning-rate", "nan"], "`learning_rate` must be a positive number"),
        (["--epochs", "inf"], "`epochs` must be a positive number"),
    ],
)
def test_a_knob_that_is_out_of_range(tmp_path: Path, data: Path, options: list[str], told: str) -> None:
    path = write_tiny_config(tmp_path)
    given = ["--config", str(path), "train", "sft", str(data), "--out", str(tmp_path / "run"), *options]
    done = CliRunner().invoke(app, given)
    assert isinstance(done.exception, Refused)
    assert told in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not (tmp_path / "run").exists()


# --- the run's folder ----------------------------------------------------------------------------------------------


def test_a_name_that_no_adapter_could_have(tmp_path: Path, data: Path) -> None:
    for name in ("promoted", "收盤", "a b"):
        assert "the folder's name becomes the adapter's" in refusal(tmp_path, data, name)


def test_a_finished_run_and_other_settings(tmp_path: Path, data: Path, monkeypatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_step", STEP)
        tune(tmp_path, data, epochs=1.0)
    assert refusal(tmp_path, data, epochs=1.0).endswith("run: this run is finished; name another folder")
    (tmp_path / "run/adapter").rename(tmp_path / "away")
    told = refusal(tmp_path, data, epochs=2.0, rank=8)
    assert told.endswith("run: a run with another epochs, rank was begun here; name another folder")
    shutil.rmtree(data)
    told = refusal(tmp_path, mood_dataset(data, train=9), epochs=1.0)
    assert told.endswith("run: a run with another dataset was begun here; name another folder")


def test_a_folder_that_holds_something_else(tmp_path: Path, data: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/letter.txt").write_text("dear")
    assert refusal(tmp_path, data).endswith("run: holds something else; name another folder")
    assert (tmp_path / "run/letter.txt").read_text() == "dear"
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path, data, "file").endswith("file: is no folder")


def test_no_room_on_the_disk(tmp_path: Path, data: Path, monkeypatch) -> None:
    usage = namedtuple("usage", "free")  # noqa: PYI024
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda _: usage(free=1_000_000))
    assert refusal(tmp_path, data).endswith("run: 200 MB are needed and 1 MB are free")


def test_the_room_that_a_run_needs(tmp_path: Path) -> None:
    """Tiny: width 32, keys and values 16, inner 64, two layers; rank 4 on all seven projections."""
    knobs = tiny_config(tmp_path).train
    shape = sft_checks.shape_of(tmp_path / "models/tiny")
    sides = (32 + 32) * 2 + (32 + 16) * 2 + (32 + 64) * 3
    assert sft_checks.needed_bytes(knobs, shape) == 200_000_000 + 40 * 2 * 4 * sides
    weights = 2 * (32 * 32 * 2 + 32 * 16 * 2 + 32 * 64 * 3 + 2 * 32) + 32 + shape.vocab_size * 32
    assert sft_checks.needed_bytes(replace(knobs, method="full"), shape) == 200_000_000 + 40 * weights


def test_two_processes_in_one_folder(tmp_path: Path) -> None:
    with run_folder.alone(tmp_path), pytest.raises(Refused, match="another process is training here"):  # noqa: SIM117
        with run_folder.alone(tmp_path):
            pass
    with run_folder.alone(tmp_path):
        pass  # it is free again
