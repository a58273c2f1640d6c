"""LoRA adapters on this disk: a folder with peft's two files and our adapter.json, and which one is live.

Nothing is believed that was not checked: hashes, the plain kind of LoRA, safetensors only, and the base it was made on.
Only the header of the weights is read here, so that the daemon can ask without torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from bot.adapters.engine_ways import USUAL_PATHS, precision_of, way_tag
from bot.adapters.model_store import find_model, sha256_of, weights_sha256
from bot.config import ModelConfig
from bot.core.prompt import COLUMNS, FIELDS, LANGUAGE
from bot.errors import Refused

MANIFEST: Final = "adapter.json"
PEFT_CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
FOLDER: Final = "adapters"  # inside the models' folder
PROMOTED: Final = "promoted.json"  # inside that: which adapter is live
PROMOTED_NAME: Final = "promoted"  # what config says to mean whichever is live

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
LARGEST_HEADER: Final = 16 * 1024 * 1024  # bytes; a LoRA's header has some kilobytes
FLOATS: Final = frozenset({"F32", "F16", "BF16"})
TENSOR: Final = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# The engine reads single rows of the vocabulary's two matrices: an adapter of these would not be seen.
VOCABULARY: Final = frozenset({"lm_head", "embed_tokens", "wte", "embed_out"})

LEAST_TEMPERATURE: Final = 0.05  # below it three log scores are as good as one

# What a plain LoRA's configuration may say. Every other key must be empty: it stands for a kind that computes more than
# W + scale * B A, which merging and the fused decoder know nothing of.
PLAIN_KEYS: Final = frozenset({
    "peft_type", "task_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r",
    "target_modules", "exclude_modules", "lora_alpha", "lora_dropout", "bias", "use_rslora", "init_lora_weights",
    "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "megatron_core", "qalora_group_size",
})  # fmt: skip
PLAIN_STARTS: Final = (True, False, None, "gaussian", "orthogonal")  # the others change the base's weights too


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterManifest:
    """What an adapter is, what it was trained on and when, and how it did. `sha256` is by file name.

    `base_sha256` is `model_store.weights_sha256` of the model it belongs to. `trained_until` is the last day its
    training data can know of. `mood` says which sentiment question it learned: "shown" is asked with examples and
    corrected by reference headlines, "tuned" neither. `columns` are what its questions tell of past bars, `windows`
    pairs of (past, future) sessions. `language` is `prompt.LANGUAGE` of its training; manifests that do not say were 1.
    `mood_temperature` divides the labels' log scores before they become probabilities: above 1 it says less surely what
    it says, below 1 more surely, and no label changes. 1 until `train calibrate` has fitted it.
    """

    name: str
    base: str
    base_sha256: str
    trained_until: date
    mood: Literal["shown", "tuned"]
    columns: tuple[str, ...]
    windows: tuple[tuple[int, int], ...]
    licence: str
    made: datetime
    git: str
    versions: dict[str, str]
    scores: dict[str, float]
    sha256: dict[str, str]
    language: int = 1
    mood_temperature: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """Which adapter is live, "" for none. The history is read by those who write it."""

    live: str


def write_adapter(folder: Path, manifest: AdapterManifest) -> AdapterManifest:
    """Describe the adapter that peft saved in `folder`; the manifest comes back with the files' hashes.

    Raises:
        Refused: what lies there would not be read back by `read_adapter`.
    """
    for file in (PEFT_CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise Refused(f"adapter {manifest.name}: no {file} in {folder}")
    hashes = {file: sha256_of(folder / file) for file in (*manifest.sha256, PEFT_CONFIG, WEIGHTS)}
    told = replace(manifest, sha256=hashes)
    _check_manifest(told)
    _check_files(folder, told)
    part = folder / f".{MANIFEST}-{os.getpid()}"
    part.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    part.replace(folder / MANIFEST)
    return told


def read_adapter(folder: Path) -> AdapterManifest:
    """The manifest of the adapter in `folder`, every file of it checked.

    Raises:
        Refused: a file is missing, has changed or is of a kind that is never loaded; one line says which.
    """
    manifest = read_adapter_manifest(folder)
    for file, expected in manifest.sha256.items():
        path = folder / file
        if not path.is_file():
            raise Refused(f"adapter {manifest.name}: {file} is missing")
        if sha256_of(path) != expected:
            raise Refused(f"adapter {manifest.name}: {file} is not the file that was trained (its sha256 differs)")
    _check_files(folder, manifest)
    return manifest


def read_adapter_manifest(folder: Path) -> AdapterManifest:
    """The manifest alone; no other file is looked at.

    Raises:
        Refused: there is none, or it can't be read.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=AdapterManifest)
    except OSError as absent:
        raise Refused(f"adapter {folder}: no {MANIFEST} there, so nothing says which base it belongs to") from absent
    except msgspec.DecodeError as wrong:
        raise Refused(f"adapter {folder}: {MANIFEST}: {wrong}") from wrong
    _check_manifest(manifest)
    return manifest


def check_base(manifest: AdapterManifest, model_path: Path) -> None:
    """Refuse a base that is not the one the adapter was trained on.

    Raises:
        Refused: the base's weights have another hash.
    """
    _check_base_sha256(manifest, weights_sha256(model_path), model_path.name)


def find_adapter(config: ModelConfig) -> Path | None:
    """The folder of the adapter that `[model] adapter` names, None where there is none. Checks nothing in it.

    "" is none, "promoted" whichever is live (none before the first promotion), a name is looked for in
    models/adapters/, and anything else is a folder.

    Raises:
        Refused: there is no such folder, or promoted.json can't be read.
    """
    told = config.adapter
    here = config.folder / FOLDER
    if told == PROMOTED_NAME:
        told = read_promoted(here).live
        if told and not NAME.fullmatch(told):
            raise Refused(f"{here / PROMOTED}: {told!r} is no adapter's name")
    if not told:
        return None
    places = [here / told] if NAME.fullmatch(told) else []
    places += [] if config.adapter == PROMOTED_NAME else [Path(told).expanduser()]
    for path in places:
        if path.is_dir():
            return path
    raise Refused(f"adapter {told} is neither in {config.folder.name}/{FOLDER}/ nor a folder")


def pin_adapter(config: ModelConfig) -> ModelConfig:
    """The same with the live adapter named by its folder: a promotion after this changes nothing for who holds it.

    Raises:
        Refused: as `find_adapter`.
    """
    folder = find_adapter(config)
    return replace(config, adapter="" if folder is None else str(folder)) if config.adapter == PROMOTED_NAME else config


def read_promoted(adapters: Path) -> Promoted:
    """Which adapter in the folder `adapters` is live; none before the first promotion.

    Raises:
        Refused: the file is there and can't be read.
    """
    try:
        return msgspec.json.decode((adapters / PROMOTED).read_bytes(), type=Promoted)
    except FileNotFoundError:
        return Promoted(live="")
    except (OSError, msgspec.DecodeError) as wrong:
        raise Refused(f"{adapters / PROMOTED}: {wrong}") from wrong


def adapter_folders(models: Path) -> list[Path]:
    """The adapters in the folder `models`, by name; their files are not read."""
    return sorted(path.parent for path in (models / FOLDER).glob(f"*/{MANIFEST}"))


def adapter_at(told: str, models: Path) -> Path | None:
    """The adapter's folder that `told` names, in models/adapters/ or as a path; None where no adapter lies there."""
    for path in (models / FOLDER / told, Path(told).expanduser()):
        if (path / MANIFEST).is_file():
            return path
    return None


def verify_adapter(folder: Path, models: Path) -> AdapterManifest:
    """As `read_adapter`, and its base must be here and be the right one.

    Raises:
        Refused: anything is missing, changed, of a kind that is never loaded, or does not belong together.
    """
    manifest = read_adapter(folder)
    check_base(manifest, find_model(manifest.base, models))
    return manifest


def fingerprint(manifest: AdapterManifest) -> str:
    """12 hex digits that stand for all that makes this adapter's answers: weights, scale, and how it is asked."""
    parts = [manifest.sha256[WEIGHTS], manifest.sha256[PEFT_CONFIG], manifest.mood, *manifest.columns]
    if manifest.mood_temperature != 1.0:  # names of stored answers are older than it
        parts.append(f"mood_temperature {manifest.mood_temperature!r}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def learned_columns(config: ModelConfig) -> tuple[str, ...]:
    """What a past bar's line tells the model that `config` means: its adapter's columns, without one the prices.

    Raises:
        Refused: the adapter is not there, or its manifest can't be read.
    """
    folder = find_adapter(config)
    return read_adapter_manifest(folder).columns if folder else FIELDS


def adapter_tag(manifest: AdapterManifest) -> str:
    """What an engine's name says of its adapter."""
    return f"+{manifest.name}@{fingerprint(manifest)}"


def engine_name(config: ModelConfig, device: str = "") -> str:
    """The name of the weights that `config` means, as stored answers keep it; loads nothing.

    `model@weights:precision`, then `+adapter@weights`, then the way of running them where it is not our own decoder.
    `device` is the one they run on, where that is known already. The same question may have other answers in another
    precision, so that none is ever taken for another's.

    Raises:
        Refused: the model or the adapter is not there, was changed, or they do not belong together.
    """
    path = find_model(config.name, config.folder)
    weights = weights_sha256(path)  # seconds for a large model without a manifest: once
    name = f"{config.name}@{weights[:12]}:{precision_of(config, device)}"
    adapter = find_adapter(config)
    if adapter is None:
        return name + way_tag(config, device)
    manifest = read_adapter(adapter)
    _check_base_sha256(manifest, weights, path.name)
    return name + adapter_tag(manifest) + way_tag(config, device)


def but_for_the_device(name: str) -> str:
    """An engine's name without what "auto" hangs on the device: float32 or bf16, and bands along USUAL_PATHS or not."""
    return re.sub(rf"\+p{USUAL_PATHS}$", "", re.sub(r"(@[0-9a-f]{12}):(?:float32|bf16)\b", r"\1", name))


# --- checks --------------------------------------------------------------------------------------------------------


def _check_base_sha256(manifest: AdapterManifest, found: str, name: str) -> None:
    """Refuse an adapter of other weights than those `found` under `name`."""
    if found != manifest.base_sha256:
        raise Refused(
            f"adapter {manifest.name} belongs to {manifest.base} with weights {manifest.base_sha256[:12]}..., "
            f"and {name} has {found[:12]}..."
        )


def _check_manifest(manifest: AdapterManifest) -> None:
    """Refuse a manifest that says what can't be."""
    wrong = ""
    if not NAME.fullmatch(manifest.name) or manifest.name == PROMOTED_NAME:
        wrong = "no adapter's name"
    elif not re.fullmatch(r"[0-9a-f]{64}", manifest.base_sha256):
        wrong = "base_sha256 is no sha256"
    elif manifest.language != LANGUAGE:
        wrong = f"it learned answer language {manifest.language} and is asked in {LANGUAGE}: train it anew"
    elif not manifest.columns or list(manifest.columns) != [one for one in COLUMNS if one in manifest.columns]:
        wrong = f"columns must be some of {', '.join(COLUMNS)}, in this order"
    elif any(min(window) < 1 for window in manifest.windows):
        wrong = "windows must have at least one session each way"
    elif not (math.isfinite(manifest.mood_temperature) and manifest.mood_temperature >= LEAST_TEMPERATURE):
        wrong = f"mood_temperature must be a number from {LEAST_TEMPERATURE} up"
    elif not {PEFT_CONFIG, WEIGHTS} <= manifest.sha256.keys() or any(
        Path(file).name != file for file in manifest.sha256
    ):
        wrong = f"sha256 must name {PEFT_CONFIG}, {WEIGHTS} and files of this folder"
    if wrong:
        raise Refused(f"adapter {manifest.name!r}: {wrong}")


def _check_files(folder: Path, manifest: AdapterManifest) -> None:
    """Refuse pickles, anything but plain LoRA, and weights that do not fit its configuration."""
    pickled = sorted(path.name for path in folder.rglob("*") if path.suffix.lower() in PICKLES)
    if pickled:
        raise Refused(f"adapter {manifest.name}: {pickled[0]} is a pickle, which is never loaded: safetensors only")
    try:
        config = json.loads((folder / PEFT_CONFIG).read_bytes())
        header = read_header(folder / WEIGHTS)
    except (OSError, ValueError) as wrong:
        raise Refused(f"adapter {manifest.name}: {wrong}") from wrong
    reason = (_why_not_plain(config) if isinstance(config, dict) else "no configuration") or _why_not_lora(header)
    if reason:
        raise Refused(f"adapter {manifest.name}: {reason}")


def _why_not_plain(config: Mapping[str, Any]) -> str:
    """What a LoRA's configuration asks for beyond W + scale * B A, "" if nothing."""
    more = sorted(key for key, value in config.items() if key not in PLAIN_KEYS and value)
    if config.get("peft_type") != "LORA":
        return f"its kind is {config.get('peft_type')}, only plain LoRA is loaded"
    if config.get("task_type") not in {"CAUSAL_LM", None}:
        return f"its task is {config['task_type']}, not CAUSAL_LM"
    if more:
        return f"{more[0]} in {PEFT_CONFIG}: only plain LoRA is loaded"
    if config.get("bias", "none") != "none":
        return f"bias {config['bias']!r} in {PEFT_CONFIG}: only plain LoRA is loaded"
    if config.get("init_lora_weights", True) not in PLAIN_STARTS:
        return (
            f"init_lora_weights {config['init_lora_weights']!r} changes the base's weights: only plain LoRA is loaded"
        )
    return ""


def _why_not_lora(header: Mapping[str, Any]) -> str:
    """What is wrong with the tensors, "" if nothing: pairs of A (rank x in) and B (out x rank), of floats."""
    sides: dict[str, dict[str, list[int]]] = {}
    for name, told in header.items():
        adapted = VOCABULARY & set(name.split("."))
        if adapted:
            return f"{min(adapted)} is adapted, and this engine reads single rows of the vocabulary"
        found = TENSOR.fullmatch(name)
        if found is None or told["dtype"] not in FLOATS or len(told["shape"]) != 2:  # noqa: PLR2004  (a matrix)
            return f"{name} in {WEIGHTS} is no matrix of a plain LoRA"
        sides.setdefault(found["module"], {})[found["side"]] = told["shape"]
    if not sides:
        return f"no weights in {WEIGHTS}"
    for module, pair in sides.items():
        if set(pair) != {"A", "B"} or pair["A"][0] != pair["B"][1]:
            return f"{module}: its two matrices do not fit each other"
    return ""


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """The names, types and shapes in a safetensors file, without its numbers.

    Raises:
        ValueError: it is no safetensors file.
    """
    with path.open("rb") as file:
        size = file.read(8)
        length = struct.unpack("<Q", size)[0] if len(size) == 8 else 0  # noqa: PLR2004  (the header's length)
        if not 0 < length <= LARGEST_HEADER:
            raise ValueError(f"{path.name} is no safetensors file")
        try:
            header = json.loads(file.read(length))
        except ValueError as wrong:
            raise ValueError(f"{path.name} is no safetensors file") from wrong
    if not isinstance(header, dict):
        raise ValueError(f"{path.name} is no safetensors file")  # noqa: TRY004  (the file is wrong, not the call)
    return {name: told for name, told in header.items() if name != "__metadata__" and _is_tensor(told, path)}


def _is_tensor(told: object, path: Path) -> bool:
    """Whether a header's entry describes a tensor; anything else means that the file is none of ours."""
    if isinstance(told, dict) and isinstance(told.get("dtype"), str) and isinstance(told.get("shape"), Sequence):
        return True
    raise ValueError(f"{path.name} is no safetensors file")
