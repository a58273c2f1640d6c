"""An answer is stored under the precision that it was computed in, and never taken for one of another."""

from __future__ import annotations

import importlib.util
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from builders import THURSDAY, at, bar, config

from bot.adapters import engine_ways
from bot.adapters.cuda_signs import cuda_here
from bot.adapters.engine_ways import precision_of
from bot.adapters.llm_child import ChildEngine
from bot.adapters.sqlite_answers import AnswerStore
from bot.adapters.sqlite_open import open_database
from bot.answers import ask_once
from bot.core.forecast import Forecast
from bot.errors import Refused
from bot.ports import Company, Question

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed: extra llm")
TSMC = Company(symbol="2330", name="台積電", board="twse")
QUESTIONS = [
    Question(company=TSMC, bars=(bar(price, session=day),), future_sessions=2)
    for price, day in [("100", THURSDAY), ("612", date(2025, 3, 14)), ("38.5", date(2025, 3, 17))]
]


def on_this_machine(folder: Path, **model: Any) -> Any:
    return config(folder, model={"name": "tiny", "folder": str(folder), **model}).model


# --- what the machine shows ----------------------------------------------------------------------------------------


def machine(folder: Path, *, nodes: tuple[str, ...] = (), cuda: str = "None") -> dict[str, Path]:
    """A /dev with `nodes`, and a torch whose version.py says `cuda`."""
    devices, torch = folder / "dev", folder / "torch"
    for one in (devices, torch):
        one.mkdir()
    for node in ("null", "tty0", *nodes):
        (devices / node).touch()
    (torch / "version.py").write_text(f"__version__ = '2.13.0'\ndebug = False\ncuda: Optional[str] = {cuda}\n")
    return {"devices": devices, "torch": torch}


@pytest.mark.parametrize(
    ("nodes", "cuda", "expected"),
    [
        (("nvidia0", "nvidiactl"), "'12.8'", True),
        (("nvidia7",), '"13.0"', True),
        (("dxg",), "'12.8'", True),  # a GPU under WSL 2
        (("nvidiactl", "nvidia-uvm"), "'12.8'", False),  # the driver without a GPU
        ((), "'12.8'", False),
        (("nvidia0",), "None", False),  # torch for the CPU on a GPU box
    ],
)
def test_cuda_is_where_a_gpu_and_a_torch_for_it_are(
    tmp_path: Path, nodes: tuple[str, ...], cuda: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cuda_here(**machine(tmp_path, nodes=nodes, cuda=cuda)) is expected


@pytest.mark.parametrize(("visible", "expected"), [("", False), ("-1", False), ("0", True), ("1,0", True)])
def test_hidden_gpus_are_none(tmp_path: Path, visible: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cuda_here(**machine(tmp_path, nodes=("nvidia0",), cuda="'12.8'")) is expected


def test_no_devices_and_no_torch_are_no_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    told = machine(tmp_path, nodes=("nvidia0",), cuda="'12.8'")
    assert not cuda_here(tmp_path / "nowhere", told["torch"])
    assert not cuda_here(told["devices"], tmp_path / "nowhere")


@needs_torch
def test_the_signs_of_this_machine_say_what_torch_says() -> None:
    import torch

    assert cuda_here() is torch.cuda.is_available()


@pytest.mark.parametrize(
    ("told", "device", "expected"),
    [
        ({"device": "cpu"}, "", "float32"),
        ({"device": "cuda"}, "", "bf16"),
        ({"device": "auto"}, "cpu", "float32"),  # what the model runs on counts, whatever the signs say
        ({"device": "auto"}, "cuda", "bf16"),
        ({"device": "cpu", "precision": "bf16"}, "", "bf16"),
        ({"device": "cuda", "precision": "4bit"}, "", "4bit"),
        ({"engine": "vllm"}, "", "bf16"),
        ({"engine": "unsloth"}, "", "bf16"),
    ],
)
def test_auto_is_float32_on_a_cpu_and_bf16_on_cuda(
    tmp_path: Path, told: dict[str, Any], device: str, expected: str
) -> None:
    assert precision_of(on_this_machine(tmp_path, **told), device) == expected


@pytest.mark.parametrize(("signs", "expected"), [(True, "bf16"), (False, "float32")])
def test_the_signs_decide_what_auto_is(
    tmp_path: Path, signs: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_ways, "cuda_here", lambda: signs)
    assert precision_of(on_this_machine(tmp_path)) == expected


# --- what is stored ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_llm import make_tiny_model

    folder = tmp_path_factory.mktemp("models")
    make_tiny_model(folder / "tiny", digits=1)
    return folder


def told_by(models: Path, store: AnswerStore, **model: Any) -> tuple[list[Forecast], int]:
    """The answers to QUESTIONS through the store, by the real engine; how many were computed."""
    from bot.adapters.llm_transformers import TransformersEngine

    engine = TransformersEngine(on_this_machine(models, device="cpu", **model))
    answered = ask_once(QUESTIONS, engine, store, by="store", now=lambda: at(THURSDAY))
    return [one for one in answered.forecasts if one], len(answered.made)


@needs_torch
def test_one_store_keeps_the_answers_of_two_precisions_apart(models: Path, tmp_path: Path) -> None:
    """As when a store is moved between a CPU and a GPU: the same question, the same weights, other bits."""
    store = AnswerStore(open_database(tmp_path / "x.db"))
    whole, made = told_by(models, store, precision="auto")
    assert made == len(QUESTIONS)
    half, made_again = told_by(models, store, precision="bf16")
    assert made_again == len(QUESTIONS)  # none of float32's was taken for it
    assert {one.model.partition(":")[2] for one in whole} == {"float32"}
    assert {one.model.partition(":")[2] for one in half} == {"bf16"}
    assert told_by(models, store, precision="float32") == (whole, 0)  # each finds its own
    assert told_by(models, store, precision="bf16") == (half, 0)
    assert store.db["answers"].count == 2 * len(QUESTIONS)


@needs_torch
def test_an_old_answer_whose_precision_nobody_knows_is_kept_and_not_taken(models: Path, tmp_path: Path) -> None:
    store = AnswerStore(open_database(tmp_path / "x.db"))
    told_by(models, store)
    store.db.execute(
        "update answers set model = replace(model, ':float32', '')"
    )  # as this version's forerunner kept it
    old = [row["model"] for row in store.db["answers"].rows]
    again, made = told_by(models, store)
    assert made == len(QUESTIONS)
    assert [row["model"] for row in store.db["answers"].rows] == [*old, *(one.model for one in again)]


@needs_torch
def test_a_guess_that_torch_contradicts_is_refused_and_stores_nothing(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.import_module("torch").cuda.is_available():
        pytest.skip("this machine's signs can't be wrong the other way round: CUDA is there")
    monkeypatch.setattr(engine_ways, "cuda_here", lambda: True)  # the child reads the true signs
    store = AnswerStore(open_database(tmp_path / "x.db"))
    engine = ChildEngine(on_this_machine(models, device="auto"))
    with pytest.raises(Refused, match=r'tiny@[0-9a-f]{12}:bf16\+p8: torch finds .*:float32: set model.device to "cpu"'):
        ask_once(QUESTIONS, engine, store, by="store", now=lambda: at(THURSDAY))
    assert engine.pid is None
    assert store.db["answers"].count == 0
