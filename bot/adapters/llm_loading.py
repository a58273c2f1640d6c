"""From a checked folder to weights in memory: the device, the precision, the adapter, and the way to run them.

Nothing here reaches the network, runs code that came with a model, or reads a pickle.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Final

import torch

from bot.adapters.engine_ways import auto_precision
from bot.adapters.lean_transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from bot.adapters.llm_decoder import Decoder
from bot.adapters.llm_fused import FusedDecoder
from bot.adapters.llm_joined import can_fuse
from bot.adapters.llm_lora import put_adapter, settle_adapter
from bot.adapters.llm_unsloth import load_unsloth
from bot.errors import Refused

QUANTISED: Final = frozenset({"8bit", "4bit"})


def stay_offline() -> None:
    """Keep the model hub's library from asking the network, in this process and its children.

    The child process is started with this in its environment; here it also holds where the library is imported already.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def pick_device(wanted: str) -> str:
    """The device that config's `auto`, `cpu` or `cuda` means here.

    Raises:
        Refused: CUDA is asked for and there is none.
    """
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise Refused("the config asks for device cuda and this machine has none")
    return "cuda" if present and wanted != "cpu" else "cpu"


def check_precision(precision: str, device: str) -> None:
    """Refuse a precision that this machine can't give.

    Raises:
        Refused: 8 or 4 bits without CUDA or without bitsandbytes.
    """
    if precision not in QUANTISED:
        return
    if device != "cuda":
        raise Refused(
            f"precision {precision} is bitsandbytes' on CUDA, and this runs on the {device}: use float32 or bf16"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise Refused(f"precision {precision} needs the package bitsandbytes: pip install 'twtrader[gpu]'")


def load_tokenizer(path: Path) -> Any:
    """The tokenizer in a model's folder.

    Raises:
        Refused: there is none that can be read.
    """
    stay_offline()
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as wrong:
        raise Refused(f"model {path.name}: its tokenizer can't be loaded: {_line(wrong)}") from wrong


def load_weights(path: str, device: str, precision: str = "auto") -> Any:
    """The model in the folder `path`; `auto` is as engine_ways.auto_precision says.

    `8bit` is LLM.int8 without its outlier columns; `4bit` is NF4 with double quantisation, computing in bf16.

    Raises:
        Refused: this machine can't give that precision, or the folder holds no model that runs without its own code.
    """
    check_precision(precision, device)
    stay_offline()
    whole = (auto_precision(device) if precision == "auto" else precision) == "float32"
    told: dict[str, Any] = {"dtype": torch.float32 if whole else torch.bfloat16, "attn_implementation": "grouped"}
    told |= {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    if precision in QUANTISED:
        told |= {"quantization_config": quantisation(precision), "device_map": {"": device}}
    try:
        model = AutoModelForCausalLM.from_pretrained(path, **told)
    except (OSError, ValueError, KeyError) as wrong:
        raise Refused(f"model {Path(path).name} can't be loaded: {_line(wrong)}") from wrong
    return (model if precision in QUANTISED else model.to(device)).eval()


def quantisation(precision: str) -> BitsAndBytesConfig:
    """What bitsandbytes is told for `8bit` and `4bit`.

    LLM.int8 looks for outlier columns over the whole batch, so that an answer would depend on its neighbours;
    threshold 0 leaves each row to itself.
    """
    if precision == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def load_model(path: Path, device: str, precision: str, adapter: Path | None, *, through: str = "transformers") -> Any:
    """The model in `path`, with the adapter on it if there is one, loaded `through` transformers or unsloth.

    Raises:
        Refused: as `load_weights`, `load_unsloth` and `put_adapter`.
    """
    if through == "unsloth":
        stay_offline()
        model = load_unsloth(path, device, precision)
    else:
        model = load_weights(str(path), device, precision)
    if adapter is not None:
        put_adapter(model, adapter)
    return model


def decoder_of(model: Any, rows: int, *, merge: bool = True, fuse: bool = True) -> Decoder | FusedDecoder:
    """The fastest way to run `model`: by hand on CUDA if its layers are plain, else through transformers.

    The first leaves nothing of `model`; without `fuse` it stays of use.
    """
    if fuse and model.device.type == "cuda" and can_fuse(model):
        return FusedDecoder(model, rows=rows, graphs=True, merge=merge)
    settle_adapter(model, merge=merge)
    return Decoder(model, steady=model.dtype != torch.float32)


def _line(wrong: BaseException) -> str:
    """The first line of an error's text."""
    return (str(wrong).strip().splitlines() or [type(wrong).__name__])[0][:300]
