"""What `train sft` decides and refuses before anything is computed."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any, Final

import torch

from bot.adapters.adapter_store import NAME, PEFT_CONFIG, PROMOTED_NAME, check_base, read_adapter
from bot.adapters.llm_joined import can_fuse
from bot.errors import Refused
from bot.train_config import TrainConfig

SMALL: Final = 1_000_000_000  # weights below which a GPU waits for Python: CUDA graphs help more than a compiler
# Three states (the third while it replaces the first) of a float32 and the optimiser's two, and the result.
STATES_BYTES: Final = 3 * 12 + 4
SPARE_BYTES: Final = 200_000_000  # for logs and curves


def check_name(out: Path) -> None:
    """Refuse a run's folder whose name could be no adapter's.

    Raises:
        Refused: says what a name may be.
    """
    if not NAME.fullmatch(out.name) or out.name == PROMOTED_NAME:
        raise Refused(
            f"--out {out}: the folder's name becomes the adapter's: letters, digits, . _ - and at most 64 of them"
        )


def shape_of(path: Path) -> Any:
    """The configuration of the model in `path`.

    Raises:
        Refused: transformers knows no such model.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as wrong:
        raise Refused(f"model {path.name}: {str(wrong).strip().splitlines()[0]}") from wrong


def pick_engine(knobs: TrainConfig, *, cuda: bool, fusable: bool) -> Any:
    """The engine that `auto` means here: ours wherever it can do the method on the base, else unsloth or trl.

    `fusable`: the base is of the kind that ours runs.

    Raises:
        Refused: the one that is asked for can't run here.
    """
    bits = knobs.method in {"qlora", "8bit"}
    engine = knobs.engine
    if engine == "auto":
        engine = "unsloth" if bits else "fused" if fusable else "trl"
    if bits and not cuda:
        raise Refused(f'train.method = "{knobs.method}" needs CUDA: bitsandbytes has no kernels for this machine')
    if bits and engine == "fused":
        raise Refused(f'train.engine = "fused" trains in bf16: for "{knobs.method}" take "unsloth" or "trl"')
    if engine == "unsloth" and not cuda:
        raise Refused('train.engine = "unsloth" runs only where there is a GPU')
    if knobs.optimiser == "adamw_8bit" and not cuda:
        raise Refused('train.optimiser = "adamw_8bit" needs CUDA')
    wanted = {"unsloth": ("unsloth", "trl", "datasets"), "trl": ("trl", "datasets", "peft")}.get(engine, ())
    if bits or knobs.optimiser == "adamw_8bit":
        wanted = (*wanted, "bitsandbytes")
    if knobs.tensorboard:
        wanted = (*wanted, "tensorboard")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        extra = "gpu" if {"unsloth", "bitsandbytes"} & set(missing) else "train"
        raise Refused(f"{', '.join(missing)} is not installed: pip install 'twtrader[{extra}]'")
    return engine


def pick_speedup(knobs: TrainConfig, path: Path) -> Any:
    """`train.speedup`, and what `auto` means for a model of the size of that in `path`."""
    if knobs.speedup != "auto":
        return knobs.speedup
    weights = sum(file.stat().st_size for file in path.glob("*.safetensors")) / 2  # at least two bytes each
    return "graphs" if weights < SMALL and knobs.method == "lora" else "compile"


def check_knobs(knobs: TrainConfig, engine: str, shape: Any, path: Path, *, fusable: bool) -> None:
    """Refuse what would fail, or silently be otherwise, an hour from now.

    `shape` is the configuration of the model in `path`, `engine` what `pick_engine` said, `fusable` as there.

    Raises:
        Refused: names the knob.
    """
    limit = getattr(shape, "max_position_embeddings", knobs.max_length)
    if knobs.max_length > limit:
        raise Refused(f"train.max_length is {knobs.max_length} and {knobs.model} reads at most {limit} tokens")
    if engine == "fused" and not fusable:
        raise Refused(f'train.engine = "fused" knows Llama-shaped models, not {shape.model_type}: take "trl"')
    if engine == "unsloth" and knobs.method == "full":
        raise Refused('train.method = "full" is done by "fused" or "trl", not by unsloth')
    if knobs.start:
        check_start(knobs, engine, path)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and engine != "fused":
        raise Refused(f'several GPUs are used by train.engine = "fused", not by "{engine}"')


def check_start(knobs: TrainConfig, engine: str, path: Path) -> None:
    """Refuse an adapter, `knobs.start`, that the run could not go on from.

    Raises:
        Refused: it is damaged, of another base or of another shape, or the engine can't go on from one.
    """
    if engine != "fused" or knobs.method != "lora":
        raise Refused('train.start needs train.engine = "fused" and train.method = "lora"')
    folder = Path(knobs.start)
    check_base(read_adapter(folder), path)
    told = json.loads((folder / PEFT_CONFIG).read_text())
    before = (told["r"], sorted(told["target_modules"]), told["lora_alpha"])
    if before != (knobs.rank, sorted(knobs.targets), knobs.alpha):
        raise Refused(f"{folder}: rank, alpha or targets are not those of [train]; go on with the same")


def can_be_fused(shape: Any) -> bool:
    """Whether the model is of the kind that our own engine knows."""
    return can_fuse(_without_weights(shape))


def needed_bytes(knobs: TrainConfig, shape: Any) -> int:
    """Room on the disk, in bytes: STATES_BYTES for each number that is trained, and logs."""
    model = _without_weights(shape)
    if knobs.method == "full":
        return SPARE_BYTES + STATES_BYTES * int(model.num_parameters())
    layers = [one for name, one in model.named_modules() if name.rsplit(".", 1)[-1] in knobs.targets]
    numbers: int = knobs.rank * sum(one.in_features + one.out_features for one in layers)
    return SPARE_BYTES + STATES_BYTES * numbers


def _without_weights(shape: Any) -> Any:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(shape)
