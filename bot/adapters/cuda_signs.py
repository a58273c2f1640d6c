"""Whether torch will find CUDA on this machine, by its signs: importing torch to ask it costs seconds and 200 MB.

The daemon must name an answer's precision before any model is loaded. The process that loads it knows, and its word is
compared with this one (bot/adapters/llm_child.py): a wrong guess is a refusal, never an answer under another's name.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Final

DEVICES: Final = Path("/dev")
_GPU: Final = re.compile(r"nvidia\d+|dxg")  # the driver's nodes, one a GPU; dxg: a GPU under WSL 2
_BUILT_WITH: Final = re.compile(r"^cuda\b.*= *['\"]\d", re.MULTILINE)  # torch/version.py


def cuda_here(devices: Path = DEVICES, torch: Path | None = None) -> bool:
    """Whether this machine has a GPU that its torch can use; `torch` is the package's folder, where not installed.

    `CUDA_VISIBLE_DEVICES` counts, as for torch.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in {"", "-1"}:
        return False
    if not devices.is_dir() or not any(_GPU.fullmatch(node.name) for node in devices.iterdir()):
        return False
    folder = torch or _installed_torch()
    try:
        return bool(folder and _BUILT_WITH.search((folder / "version.py").read_text(encoding="utf-8")))
    except OSError:
        return False


def _installed_torch() -> Path | None:
    """The folder of the package torch, which is not imported."""
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).parent if spec and spec.origin else None
