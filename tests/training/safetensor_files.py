"""A LoRA for one layer written byte by byte, as peft would: promotion moves files and needs no torch."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from bot.adapters.adapter_store import PEFT_CONFIG, WEIGHTS, AdapterManifest, write_adapter
from bot.core.prompt import FIELDS, LANGUAGE


def plain_adapter(folder: Path, name: str, fill: float = 1.0, **told: Any) -> Path:
    """A valid adapter named `name`; `fill` stands in every matrix, so that other fills are other weights."""
    folder.mkdir(parents=True, exist_ok=True)
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    matrices = {f"{module}.lora_A.weight": [2, 4], f"{module}.lora_B.weight": [4, 2]}
    (folder / WEIGHTS).write_bytes(_safetensors(matrices, fill))
    lora = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "lora_dropout": 0.05}
    (folder / PEFT_CONFIG).write_text(json.dumps(lora | {"target_modules": ["q_proj"], "bias": "none"}))
    write_adapter(folder, manifest(name, **told))
    return folder


def manifest(name: str, **told: Any) -> AdapterManifest:
    plain: dict[str, Any] = {
        "name": name,
        "base": "tiny",
        "base_sha256": "0" * 64,
        "trained_until": date(2024, 6, 28),
        "mood": "tuned",
        "columns": FIELDS,
        "windows": ((20, 5),),
        "licence": "MIT",
        "made": datetime(2025, 1, 1, tzinfo=UTC),
        "git": "0" * 40,
        "versions": {"peft": "0.21.0"},
        "scores": {"mood_accuracy": 0.8},
        "sha256": {},
        "language": LANGUAGE,
    }
    return AdapterManifest(**plain | told)


def _safetensors(matrices: dict[str, list[int]], fill: float) -> bytes:
    header, data = {}, b""
    for name, shape in matrices.items():
        numbers = struct.pack(f"<{shape[0] * shape[1]}f", *[fill] * (shape[0] * shape[1]))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    told = json.dumps(header).encode()
    return struct.pack("<Q", len(told)) + told + data
