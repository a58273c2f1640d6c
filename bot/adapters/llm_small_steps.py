"""The small steps between a model's matrix products: Triton's kernels on CUDA, torch's operations elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

log = logging.getLogger("twtrader")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallSteps:
    """What happens between matrix products: on CUDA one kernel each, elsewhere torch's operations."""

    add_norm: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    swiglu: Callable[[Tensor], Tensor]
    turn: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor]


def small_steps(device: torch.device) -> SmallSteps:
    """The kernels where Triton is, which also takes a C compiler; the same steps in torch's operations elsewhere."""
    plain = SmallSteps(add_norm=add_norm, swiglu=swiglu, turn=turn)
    if device.type != "cuda":
        return plain
    try:
        from bot.adapters import llm_kernels

        llm_kernels.swiglu(torch.ones(1, 1, 8, device=device))
    except Exception as wrong:  # noqa: BLE001  (whatever is lacking, the plain steps give the same answers)
        log.warning("Triton does not work here, so the model runs slower: %s: %s", type(wrong).__name__, wrong)
        return plain
    return SmallSteps(add_norm=llm_kernels.add_norm, swiglu=llm_kernels.swiglu, turn=llm_kernels.turn)


def add_norm(hidden: Tensor, said: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The residual sum and its norm."""
    hidden = hidden + said
    return hidden, rms_norm(hidden, hidden.shape[-1:], weight, eps)


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, where `gate_up` holds both side by side in its last dimension."""
    gate, up = gate_up.chunk(2, dim=-1)
    return silu(gate) * up


def turn(told: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Queries turned by their place (rotary embedding, halves apart); turned keys and values go to their buffers.

    `told` is prompts x tokens x (heads + 2 groups) x size, `cos` and `sin` prompts x tokens x size. What comes back is
    prompts x groups x (members x tokens) x size: the queries of a group stand below each other.
    """
    batch, tokens, _, size = told.shape
    groups = keys.shape[1]
    turned = told[:, :, : heads + groups]
    left, right = turned.chunk(2, dim=-1)
    turned = turned * cos[:, :, None] + torch.cat([-right, left], dim=-1) * sin[:, :, None]
    keys.copy_(turned[:, :, heads:].transpose(1, 2))
    values.copy_(told[:, :, heads + groups :].transpose(1, 2))
    query = turned[:, :, :heads].view(batch, tokens, groups, heads // groups, size).permute(0, 2, 3, 1, 4)
    return query.reshape(batch, groups, heads // groups * tokens, size)
