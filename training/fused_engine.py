"""The fast way on CUDA: our own Llama for training, all weights in bf16, or float32 where all are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from bot.adapters.adapter_store import WEIGHTS
from bot.train_config import TrainConfig
from training.fused_llama import FusedLlama, Lora
from training.loop import fit
from training.packs import Tokens
from training.progress import Progress
from training.run_folder import ADAPTER


def train(
    path: Path,
    examples: Sequence[Tokens],
    valid: Sequence[Tokens],
    knobs: TrainConfig,
    out: Path,
    watch: Callable[[Progress, int], None],
) -> Progress:
    """Train the model in the folder `path` and write what came out to `out`/.adapter; raises as `training.loop.fit`."""
    model = load(path, knobs)
    if knobs.start:
        model.take_changes(load_file(Path(knobs.start) / WEIGHTS))
    now = fit(model, examples, valid, knobs, out, watch)
    if torch.distributed.is_initialized() and torch.distributed.get_rank():
        return now
    folder = out / f".{ADAPTER}"
    folder.mkdir(exist_ok=True)
    if knobs.method == "full":
        _write_model(model, path, folder)
    else:
        _write_changes(model, path, knobs, folder)
    return now


def load(path: Path, knobs: TrainConfig) -> FusedLlama:
    """The base in `path`, ready to be trained as `knobs` say, on this process's GPU or the CPU."""
    from transformers import AutoModelForCausalLM

    cuda = torch.cuda.is_available()
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    kind = torch.bfloat16 if cuda and knobs.method != "full" else torch.float32
    base = AutoModelForCausalLM.from_pretrained(
        path, dtype=kind, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    return prepare(base.to(device), knobs)


def prepare(base: Any, knobs: TrainConfig) -> FusedLlama:
    """A loaded transformers model, taken over."""
    torch.manual_seed(knobs.seed)
    lora = Lora(rank=knobs.rank, alpha=knobs.alpha, dropout=knobs.dropout, targets=knobs.targets)
    compiled = base.device.type == "cuda" and knobs.speedup == "compile"
    return FusedLlama(
        base, None if knobs.method == "full" else lora, compiled=compiled, checkpoints=knobs.checkpointing == "on"
    )


def _write_changes(model: FusedLlama, path: Path, knobs: TrainConfig, folder: Path) -> None:
    """Peft's two files. On CUDA the model computed with bf16 copies of its changes: these are what is kept."""
    write_peft_config(path, knobs, folder)
    changes = {name: one.to(model.kind) for name, one in model.changes().items()}
    save_file(changes, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def write_peft_config(path: Path, knobs: TrainConfig, folder: Path) -> None:
    """Peft's description of the changes: plain LoRA, and of the base no more than its name."""
    from peft import LoraConfig

    told = LoraConfig(
        r=knobs.rank,
        lora_alpha=knobs.alpha,
        lora_dropout=knobs.dropout,
        target_modules=sorted(knobs.targets),
        task_type="CAUSAL_LM",
        base_model_name_or_path=path.name,
        inference_mode=True,
    )
    told.save_pretrained(folder)


def _write_model(model: FusedLlama, path: Path, folder: Path) -> None:
    """A whole model folder: the base's files with our weights."""
    from transformers import AutoConfig, AutoTokenizer

    shape = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    replaced: Any = shape
    replaced.dtype = torch.bfloat16
    replaced.save_pretrained(folder)
    AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False).save_pretrained(folder)
    save_file(model.weights(), folder / "model.safetensors", metadata={"format": "pt"})
