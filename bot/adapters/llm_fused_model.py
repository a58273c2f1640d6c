"""The pass through a Llama-shaped model's layers by hand, over buffers of keys and values of fixed shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import embedding, pad, rms_norm, scaled_dot_product_attention

from bot.adapters.llm_closes import Branches
from bot.adapters.llm_joined import join_layer
from bot.adapters.llm_lora import adapted_linear
from bot.adapters.llm_small_steps import small_steps

# Tokens that a prompt and its answer may have together, whatever the model could: their angles are computed beforehand.
LONGEST: Final = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """A batch being read. Prompts begin at `start`, after what they share, and answers at `length`.

    `keys` and `values` are by layer, each batch x groups x tokens x size; `seen` (batch x tokens) is false at padding;
    `hidden` (batch x hidden size) is at the last token read.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    seen: Tensor
    start: int
    length: int
    hidden: Tensor


class FusedModel:
    """A model's joined weights, and what computes with them. Whoever calls is in torch.inference_mode."""

    def __init__(self, model: Any, *, merge: bool) -> None:
        """Take over the weights of a loaded transformers model, which is of no use afterwards.

        `merge` adds an adapter to the weights once, instead of keeping it beside them.
        """
        config, body = model.config, model.base_model
        self.window: int = min(config.max_position_embeddings, LONGEST)
        self._heads, self._groups = config.num_attention_heads, config.num_key_value_heads
        self._size: int = getattr(config, "head_dim", None) or config.hidden_size // self._heads
        self._eps: float = config.rms_norm_eps
        self._embed: Tensor = body.embed_tokens.weight
        self._head: Tensor = model.get_output_embeddings().weight
        self._rotary = body.rotary_emb
        self._norms = [*(layer.input_layernorm.weight.data for layer in body.layers), body.norm.weight.data]
        self._layers = [join_layer(layer, merge=merge) for layer in body.layers]
        self._angles: tuple[Tensor, Tensor] | None = None
        self._constants: dict[tuple[object, ...], Tensor] = {}
        self._prefixes: dict[tuple[int, ...], tuple[tuple[Tensor, Tensor], ...]] = {}
        self._small = small_steps(self._head.device)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._head.device

    def buffers(self, batch: int, start: int, length: int, room: int) -> Buffers:
        """Room for `batch` prompts of `length` tokens, their shared beginning of `start` included, and `room` more."""
        like, device = self._head.dtype, self._head.device
        shape = (batch, self._groups, length + room, self._size)
        return Buffers(
            keys=tuple(torch.empty(shape, dtype=like, device=device) for _ in self._layers),
            values=tuple(torch.empty(shape, dtype=like, device=device) for _ in self._layers),
            seen=torch.ones(batch, length + room, dtype=torch.bool, device=device),
            start=start,
            length=length,
            hidden=torch.zeros(batch, self._embed.shape[1], dtype=like, device=device),
        )

    def prefix(self, prefix: tuple[int, ...]) -> tuple[tuple[Tensor, Tensor], ...]:
        """Keys and values of the shared beginning, layer by layer; computed once and kept."""
        if prefix not in self._prefixes:
            alone = self.buffers(1, 0, len(prefix), 0)
            self.feed(alone, torch.tensor([prefix], device=self._head.device), 0)
            self._prefixes[prefix] = tuple(zip(alone.keys, alone.values, strict=True))
        return self._prefixes[prefix]

    def feed(self, buffers: Buffers, ids: Tensor, start: int, branches: Branches | None = None) -> Tensor:
        """The hidden state at the last of `ids` (prompts x tokens): prompts x hidden size, after the last norm.

        Their keys and values are written to the buffers from `start` on. `branches` are tokens beside each other: then
        the hidden states at all of them, prompts x tokens x hidden size.
        """
        batch, tokens = ids.shape
        end, group = start + tokens, self._heads // self._groups
        cos, sin, bias = self._places(buffers.seen[:, :end], start, branches)
        hidden = embedding(ids, self._embed)
        normed = rms_norm(hidden, hidden.shape[-1:], self._norms[0], self._eps)
        for at, layer in enumerate(self._layers):
            told = adapted_linear(normed, layer.qkv, layer.qkv_bias, layer.qkv_more)
            told = told.view(batch, tokens, self._heads + 2 * self._groups, self._size)
            keys, values = buffers.keys[at][:, :, :end], buffers.values[at][:, :, :end]
            query = self._small.turn(told, cos, sin, keys[:, :, start:], values[:, :, start:], self._heads)
            asked, mask = tokens, bias
            if at + 1 == len(self._layers) and not branches:  # of which only the last token is wanted
                asked, hidden = 1, hidden[:, -1:]
                query, mask = query[:, :, tokens - 1 :: tokens].contiguous(), bias[:, :, tokens - 1 :: tokens]
            mixed = scaled_dot_product_attention(query, keys, values, attn_mask=mask)
            mixed = mixed.view(batch, self._groups, group, asked, self._size).permute(0, 3, 1, 2, 4)
            said = adapted_linear(mixed.reshape(batch, asked, -1), layer.out, None, layer.out_more)
            hidden, normed = self._small.add_norm(hidden, said, layer.after, self._eps)
            gated = self._small.swiglu(adapted_linear(normed, layer.gate_up, None, layer.gate_up_more))
            said = adapted_linear(gated, layer.down, None, layer.down_more)
            hidden, normed = self._small.add_norm(hidden, said, self._norms[at + 1], self._eps)
        return normed if branches else normed[:, -1]

    def _places(self, seen: Tensor, start: int, branches: Branches | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Cosines and sines of the rotary embedding (prompts x tokens x size), and the mask to add to the scores.

        The mask is prompts x 1 x (members x tokens) x places up to the last token: 0 where one sees, -inf elsewhere.
        """
        end = seen.shape[1]
        cos, sin = self._turns()
        if branches:
            at = seen[:, :start].sum(dim=1)[:, None] + self.ids(branches.depths)
            own_mask = self._sees(branches).expand(len(seen), -1, -1)
            mask = torch.cat([seen[:, None, :start].expand(-1, end - start, -1), own_mask], dim=2)
        else:
            at = (seen.cumsum(dim=1) - 1).clamp(min=0)[:, start:]
            own = torch.arange(start, end, device=seen.device)[:, None]
            all_tokens = torch.arange(end, device=seen.device)
            # A padded place sees itself, so that no row of the softmax is empty.
            mask = (seen[:, None, :] & (all_tokens <= own)) | (all_tokens == own)
        bias = torch.zeros(mask.shape, dtype=self._head.dtype, device=seen.device).masked_fill_(~mask, float("-inf"))
        bias = bias.repeat(1, self._heads // self._groups, 1)  # the queries of a group stand below each other
        short = -end % 8  # rows at multiples of 16 bytes, as the fast attention kernels ask
        aligned = pad(bias, (0, short))[..., :end] if short else bias
        return cos[at], sin[at], aligned[:, None]

    def _turns(self) -> tuple[Tensor, Tensor]:
        """Cosines and sines of every place in the window, from transformers' own rotary embedding."""
        if self._angles is None:
            everywhere = torch.arange(self.window, device=self._head.device)[None]
            cos, sin = self._rotary(self._embed, everywhere)
            self._angles = (cos[0].to(self._head.dtype), sin[0].to(self._head.dtype))
        return self._angles

    def ids(self, ids: tuple[int, ...]) -> Tensor:
        """`ids` on the device, kept."""
        key = ("ids", ids)
        if key not in self._constants:
            self._constants[key] = torch.tensor(ids, dtype=torch.long, device=self._head.device)
        return self._constants[key]

    def _sees(self, branches: Branches) -> Tensor:
        """Which of the branches each of them sees, kept."""
        key = ("sees", branches)
        if key not in self._constants:
            self._constants[key] = torch.tensor(branches.sees, device=self._head.device)
        return self._constants[key]

    def head_rows(self, allowed: tuple[int, ...]) -> Tensor:
        """The head's rows of the allowed tokens alone, kept."""
        key = ("head", allowed)
        if key not in self._constants:
            self._constants[key] = self._head[self.ids(allowed)].contiguous()
        return self._constants[key]
