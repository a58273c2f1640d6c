"""Any causal model of transformers, many prompts in lockstep: read once, then choose among few tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from bot.adapters.lean_transformers import AttentionInterface, AttentionMaskInterface
from bot.adapters.llm_answer import Choice, quantile
from bot.adapters.llm_batches import width_class
from bot.adapters.llm_closes import (
    BAR_DIGITS,
    CLOSE_AT,
    Branches,
    Closes,
    branches_of,
    code_levels,
    median_way,
    room_of,
)
from bot.core import prompt

from transformers.cache_utils import Cache, DynamicLayer  # isort: skip  (after lean_transformers)
from transformers.masking_utils import sdpa_mask  # isort: skip


class Decoder:
    """A causal model that reads many prompts with one shared beginning, and chooses among few tokens."""

    def __init__(self, model: Any, *, steady: bool = False) -> None:
        """Wrap a loaded transformers model.

        `steady` asks for what llm_batches.steady_batches hands over: always as many prompts, of one width class; they
        are padded to the whole class then, so that an answer does not depend on its neighbours' lengths.
        """
        self.steady = steady
        self._body = model.base_model
        self._head: Tensor = model.get_output_embeddings().weight  # vocabulary x hidden
        self._prefixes: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        self.window: int = model.config.max_position_embeddings

    @torch.inference_mode()
    def choose(
        self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], choices: Sequence[Choice], level: float = 0.5
    ) -> list[list[int]]:
        """What is chosen at each of `choices` for each prompt: prompts x choices, among the allowed tokens only.

        Each code is the `level` quantile of the model's distribution of that code, given the codes before it: with
        0.5 the median. (The most probable digits are no forecast: a small model repeats them line after line.)
        """
        codes = sum(one.digits for one in choices) // prompt.CODE_DIGITS
        picks = self._answer(prefix, prompts, choices, [[level] * codes], None)
        chosen: list[list[int]] = picks[:, 0].tolist()
        return chosen

    @torch.inference_mode()
    def tell(
        self,
        prefix: Sequence[int],
        prompts: Sequence[Sequence[int]],
        choices: Sequence[Choice],
        ways: Sequence[Sequence[float]] = (),
    ) -> tuple[Tensor, Tensor]:
        """Answers along several `ways`, and the distribution of each close that was read on them, on the CPU.

        A way names the quantile at which each bar's close is taken (ways x bars); all else is the median. No `ways` are
        the median alone. What comes back are prompts x ways x choices, as `choose` gives them, and
        prompts x ways x bars x 1000.
        """
        closes = Closes()
        ways = ways or median_way(choices)
        picks = self._answer(prefix, prompts, choices, [code_levels(one) for one in ways], closes)
        told = closes.told()
        return picks.cpu(), told.reshape(len(prompts), len(ways), *told.shape[1:]).cpu()

    def _answer(
        self,
        prefix: Sequence[int],
        prompts: Sequence[Sequence[int]],
        choices: Sequence[Choice],
        levels: Sequence[Sequence[float]],
        closes: Closes | None,
    ) -> Tensor:
        """The picks, prompts x ways x choices; `levels` are ways x codes. `closes` sees every place on the way."""
        branches = branches_of(tuple(choices)) if closes else None
        device = self._head.device
        reading = self._read(prefix, prompts, room_of(choices, branches)).times(len(levels))
        each = torch.tensor(levels, device=device).repeat(len(prompts), 1)
        picks: list[Tensor] = []
        digits, rest = 0, torch.empty(0)
        for at, one in enumerate(choices):
            allowed = torch.tensor(one.allowed, device=device)
            if digits % prompt.CODE_DIGITS == 0:
                rest = each[:, digits // prompt.CODE_DIGITS]
            scores = reading.hidden @ self._head[allowed].T
            pick, rest = quantile(scores, rest)
            if closes:
                if branches and digits % BAR_DIGITS == CLOSE_AT:
                    closes.see_beside(scores, *self._beside(reading, branches, choices[at + 1 : at + 3]))
                closes.see(digits, scores, pick)
            digits += one.digits
            picks.append(pick)
            if at + 1 < len(choices):
                forced = torch.tensor(one.forced, dtype=torch.long, device=device)
                said = torch.cat([allowed[pick, None], forced.expand(len(each), -1)], dim=1)
                reading = self._feed(reading, said)
        return torch.stack(picks, dim=1).reshape(len(prompts), len(levels), -1)

    def _beside(self, reading: Reading, branches: Branches, following: Sequence[Choice]) -> tuple[Tensor, Tensor]:
        """Scores of the digits `following` each first one, and each of FINE, read beside the answer: no trace stays."""
        device, end, rows = self._head.device, reading.length, len(reading.seen)
        past = reading.seen[:, :end].bool()
        own = torch.tensor(branches.sees, device=device).expand(rows, 1, -1, -1)
        mask = torch.cat([past[:, None, None].expand(-1, 1, len(branches.ids), -1), own], dim=-1)
        told = self._body(
            input_ids=torch.tensor(branches.ids, device=device).expand(rows, -1),
            attention_mask=mask,
            position_ids=past.sum(dim=1)[:, None] + torch.tensor(branches.depths, device=device),
            past_key_values=reading.cache,
            use_cache=True,
        )
        reading.cache.crop(-len(branches.ids))
        firsts = branches.parents.count(-1)
        second, third = (self._head[torch.tensor(one.allowed, device=device)].T for one in following)
        hidden = told.last_hidden_state
        return hidden[:, :firsts] @ second, hidden[:, firsts:] @ third

    @torch.inference_mode()
    def scores(self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], labels: Sequence[int]) -> Tensor:
        """Log scores of `labels` as the next token of each prompt: prompts x labels, float32 on the CPU."""
        reading = self._read(prefix, prompts, 0)
        return (reading.hidden @ self._head[torch.tensor(labels, device=self._head.device)].T).float().cpu()

    def _read(self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], room: int) -> Reading:
        """All prompts read to their end, padded on the left after the prefix, with room for more tokens."""
        widest = max(len(one) for one in prompts)
        widest = width_class(widest) if self.steady else widest
        start = len(prefix)
        seen = torch.ones(len(prompts), start + widest + room, dtype=torch.long)
        ids = torch.zeros(len(prompts), widest, dtype=torch.long)
        for row, one in enumerate(prompts):
            seen[row, start : start + widest - len(one)] = 0
            ids[row, widest - len(one) :] = torch.tensor(one)
        layers = [
            RoomyLayer(keys, values, batch=len(prompts), room=seen.shape[1]) for keys, values in self._prefix(prefix)
        ]
        device = self._head.device
        empty = torch.empty(0, device=device)
        reading = Reading(cache=Cache(layers=layers), seen=seen.to(device), length=start, hidden=empty)
        return self._feed(reading, ids.to(device))

    def _feed(self, reading: Reading, ids: Tensor) -> Reading:
        """The state after `ids` (prompts x tokens) too; the cache grows in place."""
        end = reading.length + ids.shape[1]
        seen = reading.seen[:, :end]
        places = (seen.cumsum(dim=1) - 1).clamp(min=0)[:, reading.length :]
        told = self._body(
            input_ids=ids, attention_mask=seen, position_ids=places, past_key_values=reading.cache, use_cache=True
        )
        hidden = told.last_hidden_state[:, -1]
        return Reading(cache=reading.cache, seen=reading.seen, length=end, hidden=hidden)

    def _prefix(self, prefix: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the shared beginning, layer by layer; computed once and kept."""
        key = tuple(prefix)
        if key not in self._prefixes:
            layers = [DynamicLayer() for _ in range(self._body.config.num_hidden_layers)]
            ids = torch.tensor([key], device=self._head.device)
            self._body(input_ids=ids, past_key_values=Cache(layers=layers), use_cache=True)
            self._prefixes[key] = [(layer.keys, layer.values) for layer in layers]
        return self._prefixes[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far a batch has been read. `seen` is 0 at padding; `hidden` is prompts x hidden, at the last token."""

    cache: Cache
    seen: Tensor
    length: int
    hidden: Tensor

    def times(self, count: int) -> Reading:
        """Each prompt `count` times, side by side, and this reading used up: read once, it goes on in many ways."""
        if count == 1:
            return self
        self.cache.batch_repeat_interleave(count)
        return Reading(
            cache=self.cache,
            seen=self.seen.repeat_interleave(count, dim=0),
            length=self.length,
            hidden=self.hidden.repeat_interleave(count, dim=0),
        )


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """Keys and values in a buffer of full size, so that a step writes its own tokens and copies nothing."""

    def __init__(self, keys: Tensor, values: Tensor, *, batch: int, room: int) -> None:
        """A buffer for `batch` prompts of `room` tokens that all begin with `keys` (1 x heads x tokens x size)."""
        super().__init__()
        _, heads, start, size = keys.shape
        self._all_keys = keys.new_empty(batch, heads, room, size)
        self._all_values = values.new_empty(batch, heads, room, size)
        self._all_keys[:, :, :start], self._all_values[:, :, :start] = keys, values
        self.keys, self.values = self._all_keys[:, :, :start], self._all_values[:, :, :start]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each prompt `repeats` times, side by side; what was to be room stays room."""
        self._all_keys = self._all_keys.repeat_interleave(repeats, dim=0)
        self._all_values = self._all_values.repeat_interleave(repeats, dim=0)
        end = self.keys.shape[-2]
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """All keys and values up to the new ones, as views of the buffer."""
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        self._all_keys[:, :, start:end], self._all_values[:, :, start:end] = key_states, value_states
        self.keys, self.values = self._all_keys[:, :, :end], self._all_values[:, :, :end]
        return self.keys, self.values


def grouped_attention(
    _module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Grouped-query attention without copying keys for each query head: the heads of a group become more queries."""
    batch, heads, queries, size = query.shape
    groups = heads // key.shape[1]
    stacked = query.reshape(batch, key.shape[1], groups * queries, size)
    mask = attention_mask.repeat(1, 1, groups, 1)
    mixed = scaled_dot_product_attention(stacked, key, value, attn_mask=mask, scale=scaling)
    return mixed.reshape(batch, heads, queries, size).transpose(1, 2).contiguous(), None


def _explicit_mask(**told: Any) -> Tensor:
    """Always a mask (prompts x 1 x queries x tokens), as grouped_attention needs one."""
    mask: Tensor = sdpa_mask(**{**told, "allow_is_causal_skip": False})
    return mask


AttentionInterface.register("grouped", grouped_attention)
AttentionMaskInterface.register("grouped", _explicit_mask)
