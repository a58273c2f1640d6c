"""Three Triton kernels for the steps between a model's matrix products. CUDA only; llm_small_steps.py has plain ones.

Each reads and writes every number once; torch's own operations do the same in five passes over memory.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_HEADS_A_PROGRAM = 8
_COLUMNS_A_PROGRAM = 2048


@triton.jit  # type: ignore[untyped-decorator]  # triton has no types
def _turn_kernel(  # noqa: PLR0917  (a kernel takes its addresses one by one)
    told,
    cos,
    sin,
    query,
    keys,
    values,
    tokens,
    batch_step,
    group_step,
    heads: tl.constexpr,
    groups: tl.constexpr,
    size: tl.constexpr,
    block: tl.constexpr,
):
    """One token of one prompt, block heads: turn queries and keys, put queries, keys and values where they belong."""
    place = tl.program_id(0).to(tl.int64)
    row, token = place // tokens, place % tokens
    head = tl.program_id(1) * block + tl.arange(0, block)
    at = tl.arange(0, size // 2)
    here = (head < heads + 2 * groups)[:, None]
    source = told + place * (heads + 2 * groups) * size + head[:, None] * size + at[None, :]
    left = tl.load(source, mask=here, other=0.0).to(tl.float32)
    right = tl.load(source + size // 2, mask=here, other=0.0).to(tl.float32)
    c = tl.load(cos + place * size + at).to(tl.float32)[None, :]
    s = tl.load(sin + place * size + at).to(tl.float32)[None, :]
    turned_left, turned_right = left * c - right * s, right * c + left * s

    of_query = (head < heads)[:, None]
    group, member = head // (heads // groups), head % (heads // groups)
    row_of_query = ((row * groups + group) * (heads // groups) + member) * tokens + token
    target = query + row_of_query[:, None] * size + at[None, :]
    tl.store(target, turned_left, mask=of_query)
    tl.store(target + size // 2, turned_right, mask=of_query)

    of_key = ((head >= heads) & (head < heads + groups))[:, None]
    target = keys + row * batch_step + (head - heads)[:, None] * group_step + token * size + at[None, :]
    tl.store(target, turned_left, mask=of_key)
    tl.store(target + size // 2, turned_right, mask=of_key)

    of_value = here & (head >= heads + groups)[:, None]
    target = values + row * batch_step + (head - heads - groups)[:, None] * group_step + token * size + at[None, :]
    tl.store(target, left, mask=of_value)
    tl.store(target + size // 2, right, mask=of_value)


@triton.jit  # type: ignore[untyped-decorator]
def _swiglu_kernel(gate_up, out, columns, block: tl.constexpr):
    """One token, `block` columns: silu(gate) * up."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * block + tl.arange(0, block)
    here = at < columns
    gate = tl.load(gate_up + row * 2 * columns + at, mask=here, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * columns + columns + at, mask=here, other=0.0).to(tl.float32)
    tl.store(out + row * columns + at, gate * tl.sigmoid(gate) * up, mask=here)


def turn(told: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Queries turned by their place, groups x (members x tokens) x size; keys and values go to their buffers.

    `told` is prompts x tokens x (heads + 2 groups) x size, `cos` and `sin` prompts x tokens x size; `keys` and `values`
    are slices of buffers, prompts x groups x tokens x size, whose tokens lie next to each other.
    """
    batch, tokens, all_heads, size = told.shape
    groups = keys.shape[1]
    query = told.new_empty(batch, groups, heads // groups * tokens, size)
    grid = (batch * tokens, triton.cdiv(all_heads, _HEADS_A_PROGRAM))
    _turn_kernel[grid](
        told, cos, sin, query, keys, values, tokens, keys.stride(0), keys.stride(1),
        heads=heads, groups=groups, size=size, block=_HEADS_A_PROGRAM,
    )  # fmt: skip
    return query


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, where `gate_up` holds both side by side in its last dimension."""
    columns = gate_up.shape[-1] // 2
    out = gate_up.new_empty(*gate_up.shape[:-1], columns)
    rows = out.numel() // columns
    _swiglu_kernel[(rows, triton.cdiv(columns, _COLUMNS_A_PROGRAM))](gate_up, out, columns, block=_COLUMNS_A_PROGRAM)
    return out


def add_norm(hidden: Tensor, said: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The residual sum and its norm, in one pass."""
    total, normed = torch.empty_like(said), torch.empty_like(said)
    size = said.shape[-1]
    block = triton.next_power_of_2(size)
    _add_norm_kernel[(said.numel() // size,)](
        hidden, said, weight, total, normed, size, hidden.stride(0), said.shape[1], hidden.stride(1), eps, block=block
    )
    return total, normed


@triton.jit  # type: ignore[untyped-decorator]
def _add_norm_kernel(  # noqa: PLR0917
    hidden,
    said,
    weight,
    total,
    normed,
    size,
    row_step,
    tokens,
    token_step,
    eps,
    block: tl.constexpr,
):
    """One token: hidden + said, and that divided by its root mean square. `hidden` may be a slice of tokens."""
    place = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, block)
    here = at < size
    before = hidden + (place // tokens) * row_step + (place % tokens) * token_step
    told = tl.load(before + at, mask=here, other=0.0).to(tl.float32)
    told += tl.load(said + place * size + at, mask=here, other=0.0).to(tl.float32)
    told = told.to(said.dtype.element_ty).to(tl.float32)  # the residual is kept in the model's own precision
    tl.store(total + place * size + at, told, mask=here)
    scale = tl.rsqrt(tl.sum(told * told) / size + eps)
    times = tl.load(weight + at, mask=here, other=0.0).to(tl.float32)
    tl.store(normed + place * size + at, told * scale * times, mask=here)
