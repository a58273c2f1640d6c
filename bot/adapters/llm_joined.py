"""A Llama-shaped model's weights, joined as the fused pass wants them, and which models they can be joined of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from bot.adapters.llm_lora import LowRank, adapted, is_quantised, low_rank, whole

FUSED_MODELS: Final = frozenset({"llama", "mistral", "qwen2"})
PROJECTIONS: Final = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer's weights: queries, keys and values in one matrix, gate and up in another.

    Each matrix is out x in, as torch's `linear` takes it; beside it stands what an unmerged adapter adds to it.
    """

    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    after: Tensor
    gate_up: Tensor
    down: Tensor
    qkv_more: LowRank | None
    out_more: LowRank | None
    gate_up_more: LowRank | None
    down_more: LowRank | None


def can_fuse(model: Any) -> bool:
    """Whether `model` (transformers) is of the plain Llama kind, every layer reading everything before it.

    Quantised weights can't be joined. An adapter may lie on the seven matrices of a layer, and on nothing else.
    """
    config = model.config
    if is_quantised(model) or any(name.rpartition(".")[2] not in PROJECTIONS for name, _ in adapted(model)):
        return False
    if config.model_type not in FUSED_MODELS or config.hidden_act != "silu" or getattr(config, "mlp_bias", False):
        return False
    layer = model.base_model.layers[0]
    plain = all(hasattr(layer.self_attn, f"{part}_proj") for part in "qkvo") and layer.self_attn.o_proj.bias is None
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return plain and not windowed


def join_layer(layer: Any, *, merge: bool) -> Layer:
    """A transformers layer's weights, joined; the parts are given up as they are taken."""
    attention, mlp = layer.self_attn, layer.mlp
    reading = (attention.q_proj, attention.k_proj, attention.v_proj)
    bias = None if reading[0].bias is None else torch.cat([part.bias.data for part in reading])
    qkv, qkv_more = _joined(reading, merge=merge)
    out, out_more = _joined((attention.o_proj,), merge=merge)
    gate_up, gate_up_more = _joined((mlp.gate_proj, mlp.up_proj), merge=merge)
    down, down_more = _joined((mlp.down_proj,), merge=merge)
    return Layer(
        qkv=qkv,
        qkv_bias=bias,
        out=out,
        after=layer.post_attention_layernorm.weight.data,
        gate_up=gate_up,
        down=down,
        qkv_more=qkv_more,
        out_more=out_more,
        gate_up_more=gate_up_more,
        down_more=down_more,
    )


def _joined(parts: Sequence[Any], *, merge: bool) -> tuple[Tensor, LowRank | None]:
    """The matrices of `parts` below each other, and what an adapter adds to them unless it is merged."""
    more = low_rank(parts)
    matrix = parts[0].weight.data if len(parts) == 1 else torch.cat([part.weight.data for part in parts])
    for part in parts:
        getattr(part, "base_layer", part).weight = None
    return (whole(matrix, more), None) if merge else (matrix, more)
