"""A LoRA on a loaded model: put there by peft, then either added to the weights or kept beside them.

Both ways give the same answers. In float32 a kept adapter adds its own two small products. In bf16 that would round
differently from the sum of weights and adapter, and a forecast hangs on such differences: on the small model, of 24
forecasts of two bars 21 came out otherwise (benchmarks/llm_steady.py). So in bf16 the sum is made anew for every
product, by the same operation on the same shapes as when it is made once and kept.

Which adapter, and whether it may be loaded at all, adapter_store.py has checked before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import linear, pad

from bot.adapters.adapter_store import WEIGHTS, read_header
from bot.errors import Refused

ADAPTER: Final = "default"  # what peft calls the only one
RANKS: Final = 8  # joined ranks are filled up with zeros to a multiple of this, as fast matrix products ask


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """What an adapter adds to a product with several joined matrices: up (out x ranks) times down (ranks x in).

    The scale is in `up`.
    """

    down: Tensor
    up: Tensor


def put_adapter(model: Any, folder: Path) -> None:
    """Put the adapter in `folder` on `model`, which is changed in place; `settle_adapter` or FusedDecoder goes on.

    Raises:
        Refused: its matrices do not fit this model, or hold numbers that are none.
    """
    from peft import PeftModel

    try:
        PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    except (ValueError, RuntimeError, SafetensorError) as wrong:
        raise Refused(f"adapter {folder.name} does not fit this model: {str(wrong).splitlines()[0]}") from wrong
    _check_put(model, folder)
    model.eval()


def settle_adapter(model: Any, *, merge: bool) -> None:
    """Add the adapter on `model` to its weights, or keep it beside them in our own way, which is as steady.

    A quantised model's weights can't be added to without quantising them anew, which would be another model: there the
    adapter stays as peft has put it.
    """
    if is_quantised(model):
        return
    for name, part in list(adapted(model)):
        low, base = low_rank([part]), part.base_layer
        if merge and low:
            base.weight.data = whole(base.weight.data, low)
        model.set_submodule(name, base if merge else Beside(base, low))


class Beside(torch.nn.Module):
    """A linear module and what an adapter adds to it."""

    def __init__(self, base: Any, low: LowRank | None) -> None:
        """Take over the module `base`."""
        super().__init__()
        self.base, self.low = base, low

    def forward(self, told: Tensor) -> Tensor:
        """The sum of both products."""
        return adapted_linear(told, self.base.weight, self.base.bias, self.low)


def is_quantised(model: Any) -> bool:
    """Whether the model's weights are not numbers of their own any more but codes of bitsandbytes."""
    return bool(getattr(model, "is_quantized", False))


def adapted(model: Any) -> Iterator[tuple[str, Any]]:
    """The modules of `model` that carry an adapter, with their names."""
    return ((name, part) for name, part in model.named_modules() if hasattr(part, "lora_A"))


def low_rank(parts: Sequence[Any]) -> LowRank | None:
    """What the adapter adds to the joined outputs of `parts`, which share their input; None if it adds nothing."""
    pairs = [_pair(part) for part in parts]
    if not any(pair for pair in pairs):
        return None
    downs = [pair[0] for pair in pairs if pair]
    down = torch.cat(downs)
    up = down.new_zeros(sum(part.out_features for part in parts), len(down))
    row = column = 0
    for part, pair in zip(parts, pairs, strict=True):
        if pair:
            up[row : row + part.out_features, column : column + len(pair[0])] = pair[1]
            column += len(pair[0])
        row += part.out_features
    short = -len(down) % RANKS
    return LowRank(down=pad(down, (0, 0, 0, short)).contiguous(), up=pad(up, (0, short)).contiguous())


def whole(weight: Tensor, low: LowRank | None) -> Tensor:
    """The weights and what an adapter adds to them, as one matrix."""
    return weight if low is None else torch.addmm(weight, low.up, low.down)


def adapted_linear(told: Tensor, weight: Tensor, bias: Tensor | None, low: LowRank | None) -> Tensor:
    """The product of a layer's matrix with `told`, with what an adapter adds. Its shapes are always the same."""
    if low is None or weight.dtype != torch.float32:
        return linear(told, whole(weight, low), bias)
    return linear(told, weight, bias).add_(linear(linear(told, low.down), low.up))


def _pair(part: Any) -> tuple[Tensor, Tensor] | None:
    """A and scale * B of a module, in the type of its weights; None where it has no adapter."""
    if not hasattr(part, "lora_A"):
        return None
    dtype = part.weight.dtype
    down, up = part.lora_A[ADAPTER].weight.data, part.lora_B[ADAPTER].weight.data
    return down.to(dtype), (up.float() * part.scaling[ADAPTER]).to(dtype)


def _check_put(model: Any, folder: Path) -> None:
    """Refuse an adapter of which peft took only a part, and one with numbers that are none."""
    loaded = {
        f"base_model.model.{name}.lora_{side}.weight": getattr(part, f"lora_{side}")[ADAPTER].weight
        for name, part in adapted(model)
        for side in "AB"
    }
    stray = sorted(loaded.keys() ^ read_header(folder / WEIGHTS).keys())
    if stray:
        raise Refused(f"adapter {folder.name} does not fit this model: {stray[0].removeprefix('base_model.model.')}")
    if not all(torch.isfinite(weights).all() for weights in loaded.values()):
        raise Refused(f"adapter {folder.name}: its weights hold numbers that are infinite or none")
