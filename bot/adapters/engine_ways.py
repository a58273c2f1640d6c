"""The ways in which the same weights may be run: what each needs here, and how its answers are told apart."""

from __future__ import annotations

import importlib.util
from typing import Final

from bot.adapters.cuda_signs import cuda_here
from bot.config import ModelConfig
from bot.errors import Refused

# The package that an engine needs beside the common ones, and the extra of ours that brings it.
_NEEDS: Final = {"vllm": ("vllm", "vllm"), "unsloth": ("unsloth", "gpu")}


USUAL_PATHS: Final = 8  # on CUDA: coverage was measured with as many (docs/bands.md)


def way_tag(config: ModelConfig, device: str = "") -> str:
    """What the name of a local model gets where its answers are made otherwise than by our own decoder.

    The same weights forecast otherwise through sampling, in free text, or with another library's kernels, and say less
    where no bands are asked for, or other bands along other paths: such answers are stored under a name of their own.
    """
    samples = f".n{config.samples}" if config.samples > 1 else ""
    engine = {"vllm": f"+vllm{samples}", "unsloth": "+unsloth"}.get(config.engine, "")
    if config.style == "seed":
        return f"{engine}+seed{samples}"
    if config.engine == "vllm":
        return engine
    count = paths_of(config, device)
    paths = f"+p{count}" if count else ""
    return f"{engine}{paths}" if config.bands else f"{engine}+nobands"


def paths_of(config: ModelConfig, device: str = "") -> int:
    """Along how many paths `config` means bands to be read; `device` as in `precision_of`. Imports no torch."""
    if not config.bands:
        return 0
    if config.paths != "auto":
        return config.paths
    return USUAL_PATHS if _device_of(config, device) == "cuda" else 0


def precision_of(config: ModelConfig, device: str = "") -> str:
    """The precision that `config` means: float32, bf16, 8bit or 4bit. Imports no torch.

    `device` is the one that the model runs on, where that is known; otherwise it is read off the machine's signs.
    """
    if config.precision != "auto":
        return config.precision
    return auto_precision(_device_of(config, device))


def _device_of(config: ModelConfig, device: str) -> str:
    """The `device` that is known, the one in `config`, or the one that the machine's signs say: "cuda" or "cpu"."""
    if config.engine in _NEEDS:  # both run on CUDA only
        return "cuda"
    wanted = device or config.device
    return ("cuda" if cuda_here() else "cpu") if wanted == "auto" else wanted


def auto_precision(device: str) -> str:
    """What "auto" is on the device "cpu" or "cuda": bf16 was measured slower than float32 on a CPU."""
    return "bf16" if device == "cuda" else "float32"


def require_engine(config: ModelConfig) -> None:
    """Refuse, without importing it, an engine whose package is not installed.

    Raises:
        Refused: tells how to install it.
    """
    package, extra = _NEEDS.get(config.engine, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        raise Refused(f"engine {config.engine} needs the package {package}: pip install 'twtrader[{extra}]'")
