"""Adapters on disk: what is read back, and all that is refused in one line."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import struct
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import typer
from builders import REPO, config
from typer.testing import CliRunner

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
torch = pytest.importorskip("torch")
from tiny_llm import make_tiny_model  # noqa: E402
from tiny_lora import make_tiny_adapter, manifest_of  # noqa: E402

from bot.adapters.adapter_store import (  # noqa: E402
    MANIFEST,
    PEFT_CONFIG,
    PROMOTED,
    WEIGHTS,
    adapter_folders,
    but_for_the_device,
    check_base,
    engine_name,
    find_adapter,
    fingerprint,
    read_adapter,
    read_header,
    write_adapter,
)
from bot.adapters.model_store import sha256_of, weights_sha256  # noqa: E402
from bot.config_file import load_config  # noqa: E402
from bot.errors import Refused  # noqa: E402
from bot.llm_cli import model_app  # noqa: E402
from bot.rehearsal import write_rehearsal_config  # noqa: E402


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(made, digits=1)
    return made


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    make_tiny_adapter(base, tmp_path / "first")
    return tmp_path / "first"


def model_config(folder: Path, **model: Any) -> Any:
    return config(folder, model={"folder": str(folder), "name": "tiny", **model}).model


def test_what_was_written_is_read_back_with_its_hashes(base: Path, adapter: Path) -> None:
    manifest = read_adapter(adapter)

    assert (manifest.name, manifest.mood, manifest.trained_until) == ("first", "tuned", date(2024, 6, 28))
    assert manifest.sha256 == {file: sha256_of(adapter / file) for file in (PEFT_CONFIG, WEIGHTS)}
    assert manifest.windows == ((5, 2),)
    check_base(manifest, base)
    assert sorted(path.name for path in adapter.iterdir()) == sorted([MANIFEST, PEFT_CONFIG, WEIGHTS])


def test_the_header_is_what_safetensors_says(adapter: Path) -> None:
    from safetensors import safe_open

    with safe_open(adapter / WEIGHTS, "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  (no mapping)

    assert {name: told["shape"] for name, told in read_header(adapter / WEIGHTS).items()} == shapes
    assert len(shapes) == 2 * 7 * 2  # layers, projections, matrices


@pytest.mark.parametrize("file", [WEIGHTS, PEFT_CONFIG])
def test_a_changed_or_missing_file_is_refused(adapter: Path, file: str) -> None:
    held = (adapter / file).read_bytes()
    (adapter / file).write_bytes(held[:-2] + b"  ")
    with pytest.raises(Refused, match=rf"^adapter first: {file} is not the file that was trained"):
        read_adapter(adapter)

    (adapter / file).unlink()
    with pytest.raises(Refused, match=rf"^adapter first: {file} is missing$"):
        read_adapter(adapter)


@pytest.mark.parametrize(
    "name", ["adapter_model.bin", "training_args.bin", "optimizer.pt", "deep/scheduler.PT", "a.pkl"]
)
def test_a_pickle_in_the_folder_is_refused(adapter: Path, name: str) -> None:
    path = adapter / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps({}))

    with pytest.raises(Refused, match=rf"^adapter first: {path.name} is a pickle, which is never loaded"):
        read_adapter(adapter)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("peft_type", "IA3", "its kind is IA3"),
        ("task_type", "SEQ_CLS", "its task is SEQ_CLS"),
        ("modules_to_save", ["lm_head"], "modules_to_save in"),
        ("auto_mapping", {"base_model_class": "X", "parent_library": "x"}, "auto_mapping in"),
        ("use_dora", True, "use_dora in"),
        ("lora_bias", True, "lora_bias in"),
        ("layer_replication", [[0, 1]], "layer_replication in"),
        ("trainable_token_indices", [1], "trainable_token_indices in"),
        ("fan_in_fan_out", True, "fan_in_fan_out in"),
        ("a_kind_of_tomorrow", {"x": 1}, "a_kind_of_tomorrow in"),
        ("bias", "all", "bias 'all'"),
        ("init_lora_weights", "pissa", "init_lora_weights 'pissa' changes the base's weights"),
    ],
)
def test_anything_but_plain_lora_is_refused(base: Path, adapter: Path, key: str, value: Any, reason: str) -> None:
    told = json.loads((adapter / PEFT_CONFIG).read_text())
    (adapter / PEFT_CONFIG).write_text(json.dumps(told | {key: value}))

    with pytest.raises(Refused, match=f"^adapter first: {reason}"):
        write_adapter(adapter, manifest_of(base, "first"))


def test_adapted_vocabulary_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="lm_head is adapted"):
        make_tiny_adapter(base, tmp_path / "head", target_modules=["q_proj", "lm_head"])


def safetensors(tensors: dict[str, Any], length: int | None = None) -> bytes:
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is no safetensors file"),
        (b"PK\x03\x04 a zip archive, as torch.save writes", "is no safetensors file"),
        (safetensors({}, length=2**40), "is no safetensors file"),
        (safetensors({"x": []}), "is no safetensors file"),
        (safetensors({}), "no weights in"),
        (safetensors({"model.q_proj.weight": {"dtype": "F32", "shape": [2, 2]}}), "is no matrix of a plain LoRA"),
        (
            safetensors({"base_model.model.q_proj.lora_A.weight": {"dtype": "F32", "shape": [2, 2]}}),
            "q_proj: its two matrices do not fit",
        ),
        (
            safetensors(
                {f"base_model.model.q_proj.lora_{side}.weight": {"dtype": "F32", "shape": [2, 8]} for side in "AB"}
            ),
            "q_proj: its two matrices do not fit",
        ),
        (
            safetensors({"base_model.model.q_proj.lora_A.weight": {"dtype": "I64", "shape": [2, 2]}}),
            "is no matrix of a plain LoRA",
        ),
    ],
)
def test_weights_that_are_no_lora_are_refused(base: Path, adapter: Path, data: bytes, reason: str) -> None:
    (adapter / WEIGHTS).write_bytes(data)

    with pytest.raises(Refused, match=reason) as refusal:
        write_adapter(adapter, manifest_of(base, "first"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"name": "../up"}, "no adapter's name"),
        ({"name": "promoted"}, "no adapter's name"),
        ({"base_sha256": "abc"}, "base_sha256 is no sha256"),
        ({"columns": ("open", "close")}, "columns must be some of"),
        ({"language": 1}, "it learned answer language 1 and is asked in 2: train it anew"),
        ({"columns": ()}, "columns must be some of"),
        ({"windows": ((0, 5),)}, "at least one session each way"),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_refused(
    base: Path, adapter: Path, told: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        write_adapter(adapter, manifest_of(base, **{"name": "first", **told}))


def test_a_file_named_outside_the_folder_is_refused(adapter: Path) -> None:
    told = json.loads((adapter / MANIFEST).read_text())
    told["sha256"]["../secret"] = "0" * 64
    (adapter / MANIFEST).write_text(json.dumps(told))

    with pytest.raises(Refused, match="files of this folder"):
        read_adapter(adapter)


def test_a_folder_without_a_manifest_or_with_a_broken_one_is_refused(adapter: Path) -> None:
    (adapter / MANIFEST).write_text('{"name": 3}')
    with pytest.raises(Refused, match=r"adapter\.json: Expected `str`"):
        read_adapter(adapter)

    (adapter / MANIFEST).unlink()
    with pytest.raises(Refused, match="nothing says which base it belongs to"):
        read_adapter(adapter)


def test_another_base_is_refused_by_hash(base: Path, adapter: Path, tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "other", digits=3)

    with pytest.raises(Refused, match=r"^adapter first belongs to tiny with weights [0-9a-f]{12}\.\.\., and other has"):
        check_base(read_adapter(adapter), tmp_path / "other")


def test_the_fingerprint_covers_weights_scale_and_the_way_it_is_asked(base: Path, tmp_path: Path) -> None:
    variants = [
        make_tiny_adapter(base, tmp_path / "a"),
        make_tiny_adapter(base, tmp_path / "b", scale=0.2),
        make_tiny_adapter(base, tmp_path / "c", lora_alpha=7),
        make_tiny_adapter(base, tmp_path / "d", told={"mood": "shown"}),
        make_tiny_adapter(base, tmp_path / "e", told={"columns": ("close",)}),
        make_tiny_adapter(base, tmp_path / "f", told={"mood_temperature": 2.5}),
        make_tiny_adapter(base, tmp_path / "g", told={"mood_temperature": 2.6}),
    ]

    assert len({fingerprint(one) for one in variants}) == len(variants)
    assert fingerprint(variants[0]) == fingerprint(make_tiny_adapter(base, tmp_path / "again"))


def test_an_adapter_that_was_never_calibrated_keeps_its_name(base: Path, adapter: Path) -> None:
    manifest = read_adapter(adapter)
    # as it was before there was a temperature: weights, scale, mood and columns, a line each
    files = (adapter / WEIGHTS, adapter / PEFT_CONFIG)
    told = [*(sha256_of(file) for file in files), manifest.mood, *manifest.columns]
    assert fingerprint(manifest) == hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]

    read = json.loads((adapter / MANIFEST).read_text())
    del read["mood_temperature"]
    (adapter / MANIFEST).write_text(json.dumps(read))
    assert read_adapter(adapter) == manifest


@pytest.mark.parametrize("told", [0.0, 0.049, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_none_is_refused(base: Path, adapter: Path, told: float) -> None:
    before = (adapter / MANIFEST).read_bytes()
    with pytest.raises(Refused, match=r"mood_temperature must be a number from 0\.05 up"):
        write_adapter(adapter, replace(read_adapter(adapter), mood_temperature=told))
    assert (adapter / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("told", ["0.01", "1e999", "null", '"2"'])
def test_a_written_temperature_that_is_none_is_refused(adapter: Path, told: str) -> None:
    text = (adapter / MANIFEST).read_text()
    (adapter / MANIFEST).write_text(text.replace('"mood_temperature": 1.0', f'"mood_temperature": {told}'))
    assert (adapter / MANIFEST).read_text() != text
    with pytest.raises(Refused, match="first"):
        read_adapter(adapter)


# --- which one is meant --------------------------------------------------------------------------------------------


@pytest.fixture
def models(base: Path, tmp_path: Path) -> Path:
    """A models' folder with a base and one adapter."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "tiny").symlink_to(base)
    make_tiny_adapter(base, folder / "adapters/mine")
    return folder


def test_the_config_names_none_one_by_name_or_a_folder(models: Path, adapter: Path) -> None:
    assert find_adapter(model_config(models)) is None
    assert find_adapter(model_config(models, adapter="mine")) == models / "adapters/mine"
    assert find_adapter(model_config(models, adapter=str(adapter))) == adapter
    assert (
        find_adapter(model_config(models, adapter="adapters/mine")) == models / "adapters/mine"
    )  # from config's folder
    assert adapter_folders(models) == [models / "adapters/mine"]
    with pytest.raises(Refused, match=r"^adapter other is neither in models/adapters/ nor a folder$"):
        find_adapter(model_config(models, adapter="other"))


def test_a_rehearsal_finds_the_adapter_where_the_original_says(models: Path, tmp_path: Path) -> None:
    original = models / "config.toml"
    text = (REPO / "config.toml").read_text(encoding="utf-8")
    original.write_text(text.replace('\nadapter = ""', '\nadapter = "adapters/mine"'), encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere/copy.toml"

    write_rehearsal_config(original, copy, "http://127.0.0.1:1", {})

    assert find_adapter(load_config(copy).model) == models / "adapters/mine"


def test_promoted_means_the_live_one(models: Path) -> None:
    asked = model_config(models, adapter="promoted")
    assert find_adapter(asked) is None  # nothing was ever promoted

    promoted = models / "adapters" / PROMOTED
    promoted.write_text(json.dumps({"live": "mine", "history": [{"name": "mine", "reason": "better"}]}))
    assert find_adapter(asked) == models / "adapters/mine"

    promoted.write_text(json.dumps({"live": "", "history": []}))
    assert find_adapter(asked) is None

    promoted.write_text(json.dumps({"live": "gone"}))
    with pytest.raises(Refused, match="adapter gone is neither in models/adapters/"):
        find_adapter(asked)

    promoted.write_text(json.dumps({"live": "../../tiny"}))
    with pytest.raises(Refused, match="is no adapter's name"):
        find_adapter(asked)

    promoted.write_text("{")
    with pytest.raises(Refused, match=r"promoted\.json"):
        find_adapter(asked)


def test_the_engines_name_tells_base_precision_and_adapter(models: Path, base: Path) -> None:
    weights = weights_sha256(base)[:12]
    manifest = read_adapter(models / "adapters/mine")

    assert engine_name(model_config(models, device="cpu")) == f"tiny@{weights}:float32"
    assert engine_name(model_config(models, device="cuda")) == f"tiny@{weights}:bf16+p8"
    assert engine_name(model_config(models, device="cuda", precision="float32")) == f"tiny@{weights}:float32+p8"
    assert engine_name(model_config(models, device="cpu", precision="bf16")) == f"tiny@{weights}:bf16"
    assert engine_name(model_config(models, precision="4bit")) == f"tiny@{weights}:4bit"
    name = engine_name(model_config(models, adapter="mine", device="cpu"))
    assert name == f"tiny@{weights}:float32+mine@{fingerprint(manifest)}"
    assert engine_name(model_config(models, adapter="mine", device="cpu", merge=False)) == name
    assert engine_name(model_config(models, adapter="mine", device="cpu", paths=8)) == f"{name}+p8"
    on_a_gpu = engine_name(model_config(models, adapter="mine", device="cuda"))
    assert on_a_gpu == name.replace("float32", "bf16") + "+p8"
    assert engine_name(model_config(models, adapter="mine", device="cuda", paths=0)) == on_a_gpu.removesuffix("+p8")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("tiny@0123456789ab:bf16+news@77ab01c2d3e4", "tiny@0123456789ab:float32+news@77ab01c2d3e4", True),
        ("tiny@0123456789ab", "tiny@0123456789ab:bf16", True),  # stored by an earlier version
        ("tiny@0123456789ab:4bit", "tiny@0123456789ab:bf16", False),
        ("tiny@0123456789ab:bf16", "tiny@ba9876543210:bf16", False),
        ("tiny@0123456789ab:bf16+vllm", "tiny@0123456789ab:bf16", False),
        ("tiny@0123456789ab:bf16+news@77ab01c2d3e4+p8", "tiny@0123456789ab:float32+news@77ab01c2d3e4", True),
        ("tiny@0123456789ab:bf16+p2", "tiny@0123456789ab:bf16+p8", False),  # asked for, not "auto": other bands
        ("tiny@0123456789ab:bf16+p8@77ab01c2d3e4", "tiny@0123456789ab:bf16", False),  # an adapter called so
    ],
)
def test_what_runs_is_the_same_in_float32_and_bf16(one: str, other: str, same: bool) -> None:
    assert (but_for_the_device(one) == but_for_the_device(other)) is same


# --- the commands --------------------------------------------------------------------------------------------------


def ran(*words: str) -> Any:
    app = typer.Typer()
    app.add_typer(model_app, name="model")
    return CliRunner().invoke(app, ["model", *words], env={"COLUMNS": "200"})


def test_the_list_shows_adapters_the_live_and_the_damaged_one_too(models: Path) -> None:
    (models / "adapters" / PROMOTED).write_text('{"live": "mine", "history": []}')
    (models / "adapters/broken").mkdir()
    (models / "adapters/broken" / MANIFEST).write_text("{}")

    told = json.loads(ran("list", "--folder", str(models), "--json").stdout)["adapters"]

    assert [(one["name"], one["live"]) for one in told] == [("broken", False), ("mine", True)]
    assert "missing required field" in told[0]["damaged"]
    assert told[1]["fingerprint"] == fingerprint(read_adapter(models / "adapters/mine"))
    assert told[1]["manifest"]["trained_until"] == "2024-06-28"
    shown = ran("list", "--folder", str(models)).stdout
    assert "mine" in shown
    assert told[1]["fingerprint"] in shown


@pytest.mark.parametrize("by", ["name", "folder"])
def test_an_adapter_is_verified_with_its_base(models: Path, by: str) -> None:
    folder = models / "adapters/mine"
    name = "mine" if by == "name" else str(folder)

    verified = ran("verify", name, "--folder", str(models))
    assert verified.stdout == "mine: 2 files, each as it was trained; it belongs to tiny, which is here\n"

    (folder / WEIGHTS).write_bytes(b"other")
    damaged = ran("verify", name, "--folder", str(models))
    assert isinstance(damaged.exception, Refused)
    assert str(damaged.exception).startswith(f"adapter mine: {WEIGHTS} is not the file that was trained")


def test_an_adapter_whose_base_is_not_here_does_not_verify(models: Path, tmp_path: Path) -> None:
    told = ran("verify", str(models / "adapters/mine"), "--folder", str(tmp_path / "empty"))

    assert isinstance(told.exception, Refused)
    assert str(told.exception).startswith("model tiny is neither in empty/ nor a folder")
