"""The `[train]` table of config.toml as frozen values: every knob of a fine-tune. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

TrainEngine = Literal["auto", "fused", "unsloth", "trl"]
Method = Literal["lora", "qlora", "8bit", "full"]
Scheduler = Literal["cosine", "linear", "constant"]
Optimiser = Literal["adamw", "adamw_8bit", "sgd"]

PROJECTIONS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How `twtrader train sft` trains; config.toml says what each knob means."""

    engine: TrainEngine
    model: str
    start: str
    method: Method
    max_length: int
    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    seed: int
    batch: int
    accumulation: int
    epochs: float
    max_steps: int
    learning_rate: float
    scheduler: Scheduler
    warmup: float
    optimiser: Optimiser
    weight_decay: float
    clip: float
    smoothing: float
    packing: bool
    pack_tokens: int
    checkpointing: Literal["auto", "on", "off"]
    speedup: Literal["auto", "compile", "graphs", "off"]
    logging_steps: int
    evals_per_epoch: int
    patience: int
    keep: Literal["best", "last"]
    save_minutes: float
    tensorboard: bool

    def __post_init__(self) -> None:
        """Refuse knobs that could not work."""
        for name in ("max_length", "rank", "batch", "accumulation", "pack_tokens", "logging_steps", "evals_per_epoch"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1")
        for name in ("alpha", "epochs", "learning_rate", "clip", "save_minutes"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be a positive number")
        for name in ("dropout", "smoothing", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 0 and below 1")
        for name in ("max_steps", "weight_decay", "patience", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"`{name}` must not be negative")
        unknown = [one for one in self.targets if one not in PROJECTIONS]
        if not self.targets or unknown:
            raise ValueError(f"`targets` must be some of {', '.join(PROJECTIONS)}, not {', '.join(unknown) or 'none'}")
