"""A LoRA made by peft for the tiny model, with random matrices that change its answers, and our manifest beside it."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from bot.adapters.adapter_store import AdapterManifest, write_adapter
from bot.adapters.model_store import weights_sha256
from bot.core.prompt import FIELDS, LANGUAGE

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def make_tiny_adapter(
    base: Path, folder: Path, *, scale: float = 0.1, told: dict[str, Any] | None = None, **lora: Any
) -> AdapterManifest:
    """An adapter of the model in `base`; `lora` are peft's own knobs, `told` what its manifest says otherwise."""
    logging.getLogger("peft").setLevel(logging.ERROR)
    shape = LoraConfig(
        **{"r": 4, "lora_alpha": 6, "target_modules": list(PROJECTIONS), "task_type": "CAUSAL_LM"} | lora
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), shape)
    torch.manual_seed(3)
    for name, weights in model.named_parameters():
        if "lora_" in name:
            weights.data.normal_(0, scale)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    return write_adapter(folder, manifest_of(base, folder.name, **(told or {})))


def manifest_of(base: Path, name: str, **told: Any) -> AdapterManifest:
    """What describes an adapter of the model in `base`, before its files are hashed."""
    plain = AdapterManifest(
        name=name,
        base=base.name,
        base_sha256=weights_sha256(base),
        trained_until=date(2024, 6, 28),
        mood="tuned",
        columns=FIELDS,
        windows=((5, 2),),
        licence="MIT",
        made=datetime(2025, 1, 1, tzinfo=UTC),
        git="0" * 40,
        versions={"peft": "0.21.0"},
        scores={"mood_accuracy": 0.8},
        sha256={},
        language=LANGUAGE,
    )
    return replace(plain, **told)
