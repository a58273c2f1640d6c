"""Weights loaded through unsloth, run by our own decoder; CUDA only, imported by the worker's child process only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from bot.config import UNSLOTH_PRECISIONS, unsloth_refusal
from bot.errors import Refused

_ENVIRONMENT: Final = {"UNSLOTH_DISABLE_STATISTICS": "1", "HF_HUB_OFFLINE": "1"}


def load_unsloth(path: Path, device: str, precision: str) -> Any:
    """The model in `path` as unsloth loads it, in bf16, for our decoder to take its weights over.

    Quantised ones can't be taken over, and the layers that unsloth puts in transformers' place take past tokens as
    tuples, not as our cache: `bot.config` refuses the pair, and this does once more.

    Raises:
        Refused: unsloth's models don't answer in that precision, there is no CUDA, or it can't load the model.
    """
    import torch

    if precision not in UNSLOTH_PRECISIONS:
        raise Refused(unsloth_refusal(precision))
    if device != "cuda":
        raise Refused("engine unsloth needs CUDA, and this machine has none or the config says device cpu")
    os.environ.update(_ENVIRONMENT)
    try:
        from unsloth import FastLanguageModel  # it patches transformers, so it never stands at a module's top

        model, _ = FastLanguageModel.from_pretrained(
            model_name=str(path),
            max_seq_length=2048,
            dtype=torch.bfloat16,
            load_in_4bit=False,
            use_exact_model_name=True,  # no other repository's copy of the same model
            trust_remote_code=False,
            local_files_only=True,
            fix_tokenizer=False,
            use_gradient_checkpointing=False,
            attn_implementation="grouped",
        )
    except (ImportError, ValueError, RuntimeError, OSError, NotImplementedError) as wrong:
        raise Refused(
            f"unsloth can't load {path.name}: {(str(wrong).splitlines() or ['no reason told'])[0][:300]}"
        ) from wrong
    return model.eval()
