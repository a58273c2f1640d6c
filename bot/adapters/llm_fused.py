"""A Llama-shaped model run by hand for CUDA: joined projections, buffers of fixed shape, one CUDA graph an answer.

The same interface and the same answers as llm_decoder.Decoder, for models whose layers are of the plain Llama kind.
transformers loads the weights; started layer by layer, its small operations cost a fast GPU more than the arithmetic.

A batch always has `rows` prompts and each prompt its own width class, so that every product has the same shape whatever
else is asked: an answer does not depend, to the last bit, on its neighbours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, pad, rms_norm, scaled_dot_product_attention, silu

from bot.adapters.llm_answer import Choice, quantile
from bot.adapters.llm_closes import BAR_DIGITS, CLOSE_AT, Branches, Closes, branches_of, room_of
from bot.adapters.llm_lora import LowRank, adapted, adapted_linear, is_quantised, low_rank, whole
from bot.core import prompt

log = logging.getLogger("twtrader")

FUSED_MODELS: Final = frozenset({"llama", "mistral", "qwen2"})
PROJECTIONS: Final = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})
# Prompts are padded to a multiple of this many tokens: forecasts are few and each width is recorded, headlines many.
FORECAST_WIDTHS: Final = 16
HEADLINE_WIDTHS: Final = 8
HEADLINE_ROWS: Final = 2  # so many times `rows` headlines are read together on CUDA: nothing is written after them
KEPT_GRAPHS: Final = 2  # each holds buffers of keys and values

Run = Callable[[Sequence[Sequence[int]], int], tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer's weights: queries, keys and values in one matrix, gate and up in another.

    Beside each of the four matrices stands what an unmerged adapter adds to it.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """A batch being read: keys and values by layer, `seen` is 0 at padding, `hidden` is at the last token read.

    Prompts begin at `start`, after what they share, and answers at `length`.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    seen: Tensor
    start: int
    length: int
    hidden: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A whole answer as one CUDA graph over its own buffers."""

    buffers: Buffers
    level: Tensor
    told: tuple[Tensor, ...]
    graph: Any


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


class FusedDecoder:
    """Reads many prompts with one shared beginning, and chooses among few tokens."""

    def __init__(self, model: Any, *, rows: int, graphs: bool, merge: bool = True) -> None:
        """Take over the weights of a loaded transformers model, which is of no use afterwards.

        `rows` prompts are read together. `graphs` needs CUDA; without them the same steps run one by one. `merge` adds
        an adapter to the weights once, instead of keeping it beside them.
        """
        config, body = model.config, model.base_model
        self.window: int = config.max_position_embeddings
        self.rows = rows
        self._headline_rows = HEADLINE_ROWS if graphs else 1
        self._heads, self._groups = config.num_attention_heads, config.num_key_value_heads
        self._size: int = getattr(config, "head_dim", None) or config.hidden_size // self._heads
        self._eps: float = config.rms_norm_eps
        self._embed: Tensor = body.embed_tokens.weight
        self._head: Tensor = model.get_output_embeddings().weight
        self._rotary = body.rotary_emb
        self._norms = [*(layer.input_layernorm.weight.data for layer in body.layers), body.norm.weight.data]
        self._layers = [_join(layer, merge=merge) for layer in body.layers]
        self._angles: tuple[Tensor, Tensor] | None = None
        self._constants: dict[tuple[object, ...], Tensor] = {}
        self._prefixes: dict[tuple[int, ...], tuple[tuple[Tensor, Tensor], ...]] = {}
        self._headlines: tuple[tuple[tuple[int, ...], int], Buffers] | None = None
        self._recorded: dict[tuple[object, ...], Recorded] | None = {} if graphs else None
        self._small = small_steps(self._head.device)

    @torch.inference_mode()
    def choose(
        self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], choices: Sequence[Choice], level: float = 0.5
    ) -> list[list[int]]:
        """What is chosen at each of `choices` for each prompt: prompts x choices, among the allowed tokens only.

        Each code is the `level` quantile of the model's distribution of that code, given the codes before it.
        """

        def answer(batch: Sequence[Sequence[int]], width: int) -> tuple[Tensor, ...]:
            return self._choose(tuple(prefix), batch, tuple(choices), level, width, tells=False)

        (picks,) = self._by_width(prompts, FORECAST_WIDTHS, answer)
        told: list[list[int]] = picks.tolist()
        return told

    @torch.inference_mode()
    def tell(
        self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], choices: Sequence[Choice]
    ) -> tuple[list[list[int]], Tensor]:
        """As `choose` at the median, and the distribution of each bar's close: prompts x bars x 1000, on the CPU."""

        def answer(batch: Sequence[Sequence[int]], width: int) -> tuple[Tensor, ...]:
            return self._choose(tuple(prefix), batch, tuple(choices), 0.5, width, tells=True)

        picks, closes = self._by_width(prompts, FORECAST_WIDTHS, answer)
        return picks.tolist(), closes

    @torch.inference_mode()
    def scores(self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], labels: Sequence[int]) -> Tensor:
        """Log scores of `labels` as the next token of each prompt: prompts x labels, float32 on the CPU."""

        def score(batch: Sequence[Sequence[int]], width: int) -> tuple[Tensor]:
            buffers = self._headline_buffers(tuple(prefix), width)
            self._read(batch, buffers)
            return (linear(buffers.hidden, self._head_rows(tuple(labels))).float(),)

        (told,) = self._by_width(prompts, HEADLINE_WIDTHS, score, self._headline_rows)
        return told

    def forget(self) -> None:
        """Give back the buffers; they are made again, for `rows` prompts, when they are needed."""
        self._headlines = None
        if self._recorded:
            self._recorded.clear()
        torch.cuda.empty_cache()

    # --- batches of one shape -----------------------------------------------------------------------------

    def _by_width(self, prompts: Sequence[Sequence[int]], step: int, run: Run, times: int = 1) -> tuple[Tensor, ...]:
        """`run` over prompts of one width class at a time, always `times` x `rows`; results in order, on the CPU.

        Nothing is waited for between batches: the next one is prepared while the GPU still works.
        """
        classes: dict[int, list[int]] = {}
        for at, one in enumerate(prompts):
            classes.setdefault(-(-len(one) // step) * step, []).append(at)
        order: list[int] = []
        done: list[tuple[Tensor, ...]] = []
        for width, places in sorted(classes.items()):
            done.append(self._in_full(run, [prompts[at] for at in places], width, times))
            order += places
        back = torch.tensor(order).argsort()
        return tuple(torch.cat(parts).cpu()[back] for parts in zip(*done, strict=True))

    def _in_full(self, run: Run, mine: list[Sequence[int]], width: int, times: int) -> tuple[Tensor, ...]:
        """`run` over `mine`, `times` x `rows` at once; half as many from now on when the memory does not suffice."""
        size = times * self.rows
        if len(mine) > size:
            parts = [mine[at : at + size] for at in range(0, len(mine), size)]
            done = [self._in_full(run, part, width, times) for part in parts]
            return tuple(torch.cat(told) for told in zip(*done, strict=True))
        try:
            return tuple(told[: len(mine)].clone() for told in run(mine + [mine[-1]] * (size - len(mine)), width))
        except torch.OutOfMemoryError:
            if self.rows == 1:
                raise
        self.rows //= 2
        self.forget()
        log.warning("not enough GPU memory: %s prompts at once from now on", self.rows)
        return self._in_full(run, mine, width, times)

    def _choose(
        self,
        prefix: tuple[int, ...],
        batch: Sequence[Sequence[int]],
        choices: tuple[Choice, ...],
        level: float,
        width: int,
        *,
        tells: bool,
    ) -> tuple[Tensor, ...]:
        """The picks of a batch, and where it `tells` them the distributions of the closes."""
        branches = branches_of(choices) if tells else None
        room = room_of(choices, branches)
        if self._recorded is None:
            buffers = self._begun(prefix, width, room)
            self._read(batch, buffers)
            levels = torch.full((self.rows,), level, device=self._head.device)
            return self._answer(buffers, choices, levels, tells=tells)
        key = (prefix, width, choices, tells)
        if key not in self._recorded:
            while len(self._recorded) >= KEPT_GRAPHS:
                self._recorded.pop(next(iter(self._recorded)))
            self._recorded[key] = self._record(self._begun(prefix, width, room), choices, tells=tells)
        ready = self._recorded[key]
        ready.level.fill_(level)
        self._read(batch, ready.buffers)
        ready.graph.replay()
        return ready.told

    def _record(self, buffers: Buffers, choices: tuple[Choice, ...], *, tells: bool) -> Recorded:
        """The whole answer recorded once for this width and these choices."""
        level = torch.full((self.rows,), 0.5, device=self._head.device)
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # the libraries choose their kernels before anything is recorded
            self._answer(buffers, choices, level, tells=tells)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            told = self._answer(buffers, choices, level, tells=tells)
        return Recorded(buffers=buffers, level=level, told=told, graph=graph)

    # --- reading and answering ----------------------------------------------------------------------------

    def _buffers(self, batch: int, start: int, length: int, room: int) -> Buffers:
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

    def _begun(self, prefix: tuple[int, ...], width: int, room: int, times: int = 1) -> Buffers:
        """Buffers for a batch of `times` x `rows` prompts of `width` tokens, the shared beginning read already."""
        buffers = self._buffers(times * self.rows, len(prefix), len(prefix) + width, room)
        for (first_keys, first_values), keys, values in zip(
            self._prefix(prefix), buffers.keys, buffers.values, strict=True
        ):
            keys[:, :, : len(prefix)], values[:, :, : len(prefix)] = first_keys, first_values
        return buffers

    def _headline_buffers(self, prefix: tuple[int, ...], width: int) -> Buffers:
        """Buffers for headlines, those of the last width kept."""
        if self._headlines is None or self._headlines[0] != (prefix, width):
            self._headlines = None  # its memory first
            self._headlines = ((prefix, width), self._begun(prefix, width, 0, self._headline_rows))
        return self._headlines[1]

    def _read(self, batch: Sequence[Sequence[int]], buffers: Buffers) -> None:
        """Read all prompts to their end, padded on the left after the shared beginning."""
        start, device = buffers.start, self._head.device
        width = buffers.length - start
        short = [width - len(one) for one in batch]
        ids = torch.tensor([[0] * gap + list(one) for gap, one in zip(short, batch, strict=True)], device=device)
        gaps = torch.tensor(short, device=device)
        buffers.seen[:, start : buffers.length] = torch.arange(width, device=device) >= gaps[:, None]
        buffers.hidden.copy_(self._feed(buffers, ids, start))

    def _prefix(self, prefix: tuple[int, ...]) -> tuple[tuple[Tensor, Tensor], ...]:
        """Keys and values of the shared beginning, layer by layer; computed once and kept."""
        if prefix not in self._prefixes:
            alone = self._buffers(1, 0, len(prefix), 0)
            self._feed(alone, torch.tensor([prefix], device=self._head.device), 0)
            self._prefixes[prefix] = tuple(zip(alone.keys, alone.values, strict=True))
        return self._prefixes[prefix]

    def _answer(
        self, buffers: Buffers, choices: tuple[Choice, ...], level: Tensor, *, tells: bool
    ) -> tuple[Tensor, ...]:
        """Choose at each place and feed what was said: rows x choices. As `_choose`."""
        hidden, length, digits, rest = buffers.hidden, buffers.length, 0, level
        picks: list[Tensor] = []
        closes, branches = (Closes(), branches_of(choices)) if tells else (None, None)
        for at, one in enumerate(choices):
            if digits % prompt.CODE_DIGITS == 0:
                rest = level
            scores = linear(hidden, self._head_rows(one.allowed))
            pick, rest = quantile(scores, rest)
            if closes:
                if branches and digits % BAR_DIGITS == CLOSE_AT:
                    closes.see_beside(scores, *self._beside(buffers, length, branches, choices[at + 1 : at + 3]))
                closes.see(digits, scores, pick)
            digits += one.digits
            picks.append(pick)
            if at + 1 < len(choices):
                forced = self._ids(one.forced).expand(self.rows, -1)
                said = torch.cat([self._ids(one.allowed)[pick, None], forced], dim=1)
                hidden = self._feed(buffers, said, length)
                length += said.shape[1]
        told = torch.stack(picks, dim=1)
        return (told, closes.told()) if closes else (told,)

    def _beside(
        self, buffers: Buffers, length: int, branches: Branches, following: Sequence[Choice]
    ) -> tuple[Tensor, Tensor]:
        """Scores of the digits `following` each first one, and each of FINE; what is written is written over later."""
        ids = self._ids(branches.ids).expand(self.rows, -1)
        hidden = self._feed(buffers, ids, length, branches)
        firsts = branches.parents.count(-1)
        second, third = (self._head_rows(one.allowed) for one in following)
        return linear(hidden[:, :firsts], second), linear(hidden[:, firsts:], third)

    def _ids(self, ids: tuple[int, ...]) -> Tensor:
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

    def _head_rows(self, allowed: tuple[int, ...]) -> Tensor:
        """The head's rows of the allowed tokens alone, kept."""
        key = ("head", allowed)
        if key not in self._constants:
            self._constants[key] = self._head[self._ids(allowed)].contiguous()
        return self._constants[key]

    # --- the model ----------------------------------------------------------------------------------------

    def _feed(self, buffers: Buffers, ids: Tensor, start: int, branches: Branches | None = None) -> Tensor:
        """The hidden state at the last of `ids` (prompts x tokens), written to the buffers from `start` on.

        `branches` are tokens beside each other: the hidden states at all of them.
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
        """Cosines and sines of the rotary embedding, and the mask as something to add to the scores."""
        end = seen.shape[1]
        cos, sin = self._turns()
        if branches:
            at = seen[:, :start].sum(dim=1)[:, None] + self._ids(branches.depths)
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
            everywhere = torch.arange(min(self.window, 8192), device=self._head.device)[None]
            cos, sin = self._rotary(self._embed, everywhere)
            self._angles = (cos[0].to(self._head.dtype), sin[0].to(self._head.dtype))
        return self._angles


# --- the small steps between the products -----------------------------------------------------------------------


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


def _join(layer: Any, *, merge: bool) -> Layer:
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
