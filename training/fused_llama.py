"""A Llama-shaped model made for training: joined projections, packed examples, LoRA matrices or all weights.

transformers loads the weights and peft's names and shapes are kept, so what comes out is an ordinary adapter. Faster
than layers run one by one because queries, keys and values (gate and up) are one product each, their low-rank parts
too, nothing is computed for padding, the vocabulary head sees only the answers, and torch.compile joins what lies
between the products.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, embedding, linear, rms_norm, scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint

from training.packs import Pack

JOINED: Final = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
TARGETS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
HEAD_ROWS: Final = 4096  # answers whose scores over the whole vocabulary are in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Low-rank changes of the projections in `targets`: weight + alpha / rank x (B A)."""

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = TARGETS


class Joined(nn.Module):
    """Projections of the same input as one product, plus the low-rank changes of some of them as another."""

    mine: Tensor

    def __init__(self, parts: Sequence[tuple[str, Any]], lora: Lora | None) -> None:
        """`parts`: names and linear layers. Without `lora` all weights are trained, kept in float32."""
        super().__init__()
        self.names = [name for name, _ in parts]
        self.sizes = [one.weight.shape[0] for _, one in parts]
        weights = torch.cat([one.weight.detach() for _, one in parts])
        self.weight = nn.Parameter(weights if lora else weights.float(), requires_grad=lora is None)
        biases = [one.bias for _, one in parts if one.bias is not None]
        self.bias = nn.Parameter(torch.cat(biases).detach(), requires_grad=False) if biases else None
        self.tuned = [name for name in self.names if lora and name.rsplit(".", 1)[-1] in lora.targets]
        if lora is None or not self.tuned:
            return
        self.rank, self.scale, self.dropout = lora.rank, lora.alpha / lora.rank, lora.dropout
        device = weights.device
        self.down = nn.Parameter(torch.empty(len(self.tuned) * lora.rank, weights.shape[1], device=device))
        bound = 1 / math.sqrt(weights.shape[1])  # as peft begins: Kaiming's uniform with a = sqrt(5)
        nn.init.uniform_(self.down, -bound, bound)
        self.up = nn.Parameter(torch.zeros(weights.shape[0], lora.rank, device=device))
        # Which rows of `up` belong to which change: rows x changes.
        rows = [torch.full((size,), at) for at, size in enumerate(self.sizes)]
        places = torch.tensor([self.names.index(name) for name in self.tuned])
        self.register_buffer("mine", (torch.cat(rows)[:, None] == places).float().to(device), persistent=False)

    def forward(self, given: Tensor) -> Tensor:
        """All projections of `given` (tokens x in), side by side: tokens x sum of outs."""
        kind = given.dtype
        told = linear(given, self.weight.to(kind), None if self.bias is None else self.bias.to(kind))
        if not self.tuned:
            return told
        kept = dropout(given, self.dropout, self.training) if self.dropout else given
        low = linear(kept, self.down.to(kind))
        up = (self.up[:, None] * self.mine[:, :, None] * self.scale).flatten(1).to(kind)
        return torch.addmm(told, low, up.T)

    def changes(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Each tuned projection's A (rank x in) and B (out x rank), by name."""
        offsets = {name: sum(self.sizes[:at]) for at, name in enumerate(self.names)}
        sizes = dict(zip(self.names, self.sizes, strict=True))
        return {
            name: (
                self.down[at * self.rank : (at + 1) * self.rank],
                self.up[offsets[name] : offsets[name] + sizes[name]],
            )
            for at, name in enumerate(self.tuned)
        }


class Block(nn.Module):
    """One layer."""

    def __init__(self, layer: Any, heads: int, groups: int, size: int, eps: float, lora: Lora | None) -> None:
        """Take over the weights of a transformers layer."""
        super().__init__()
        self.heads, self.groups, self.size, self.eps = heads, groups, size, eps
        self.before = nn.Parameter(layer.input_layernorm.weight.detach(), requires_grad=lora is None)
        self.after = nn.Parameter(layer.post_attention_layernorm.weight.detach(), requires_grad=lora is None)
        self.qkv, self.out, self.gate_up, self.down = (
            Joined([(name, layer.get_submodule(name)) for name in names], lora) for names in JOINED
        )

    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, starts: Tensor, longest: int) -> Tensor:
        """`hidden` (tokens x width) after this layer."""
        kind = hidden.dtype
        tokens, width = hidden.shape
        read = self.qkv(rms_norm(hidden, (width,), self.before.to(kind), self.eps))
        read = read.view(tokens, self.heads + 2 * self.groups, self.size)
        turned = read[:, : self.heads + self.groups]
        turned = turned * cos[:, None] + _half_turned(turned) * sin[:, None]
        query, key = turned[:, : self.heads], turned[:, self.heads :]
        mixed = attention(query, key, read[:, self.heads + self.groups :], starts, longest)
        hidden = hidden + self.out(mixed.reshape(tokens, -1))
        gate, up = self.gate_up(rms_norm(hidden, (width,), self.after.to(kind), self.eps)).chunk(2, dim=-1)
        told: Tensor = hidden + self.down(silu(gate) * up)
        return told

    @property
    def joined(self) -> tuple[Joined, ...]:
        """Its products, in the order of JOINED."""
        return self.qkv, self.out, self.gate_up, self.down


class FusedLlama(nn.Module):
    """The whole model; `loss` is all that training needs of it."""

    def __init__(self, model: Any, lora: Lora | None, *, compiled: bool, checkpoints: bool = False) -> None:
        """Take over a loaded transformers model of the plain Llama kind (bot.adapters.llm_joined.can_fuse).

        `compiled` joins the small operations through torch.compile; `checkpoints` computes layers twice to save memory.
        """
        super().__init__()
        config, body = model.config, model.base_model
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.kind = torch.bfloat16 if model.device.type == "cuda" else torch.float32
        shape = (config.num_attention_heads, config.num_key_value_heads, size, config.rms_norm_eps)
        self.eps: float = config.rms_norm_eps
        self.tied = bool(config.tie_word_embeddings)
        train = lora is None
        self.embed = nn.Parameter(_held(body.embed_tokens.weight, train=train), requires_grad=train)
        self.head = None
        if not self.tied:
            self.head = nn.Parameter(_held(model.get_output_embeddings().weight, train=train), requires_grad=train)
        self.norm = nn.Parameter(_held(body.norm.weight, train=train), requires_grad=train)
        self.blocks = nn.ModuleList()
        for at, layer in enumerate(body.layers):
            self.blocks.append(Block(layer, *shape, lora))
            body.layers[at] = nn.Identity()  # its weights live on in the block alone
        self.rotary = body.rotary_emb
        self.checkpoints = checkpoints
        self._run: Callable[..., Tensor] = torch.compile(_run_block, dynamic=True) if compiled else _run_block
        self._score: Callable[..., Tensor] = torch.compile(_answer_loss, dynamic=True) if compiled else _answer_loss

    @property
    def layers(self) -> list[Block]:
        """All layers, first to last."""
        return [one for one in self.blocks if isinstance(one, Block)]

    def trained(self) -> list[nn.Parameter]:
        """What the optimiser changes."""
        return [one for one in self.parameters() if one.requires_grad]

    def hidden(self, pack: Pack) -> Tensor:
        """The last layer's output where an answer's next token is wanted: wanted x width."""
        state = embedding(pack.ids, self.embed).to(self.kind)
        cos, sin = (one[0].to(self.kind) for one in self.rotary(state[None], pack.places[None]))
        for block in self.blocks:
            if self.checkpoints and self.training:
                given = (self._run, block, state, cos, sin, pack.starts, pack.longest)
                state = checkpoint(*given, use_reentrant=False)
            else:
                state = self._run(block, state, cos, sin, pack.starts, pack.longest)
        state = state.index_select(0, pack.wanted)
        return rms_norm(state, state.shape[-1:], self.norm.to(self.kind), self.eps)

    def loss(self, pack: Pack, smoothing: float = 0.0) -> Tensor:
        """The sum over all answer tokens of -log p(token), float32."""
        hidden, head = self.hidden(pack), self.output_head()
        parts = [
            self._score(hidden[at : at + HEAD_ROWS], head, pack.targets[at : at + HEAD_ROWS], smoothing)
            for at in range(0, len(hidden), HEAD_ROWS)
        ]
        return torch.stack(parts).sum()

    def output_head(self) -> Tensor:
        """The vocabulary head: tokens x width."""
        return (self.embed if self.head is None else self.head).to(self.kind)

    def changes(self) -> dict[str, Tensor]:
        """The adapter under peft's names, float32 on the CPU."""
        told: dict[str, Tensor] = {}
        for at, block in enumerate(self.layers):
            for joined in block.joined:
                for name, (down, up) in joined.changes().items():
                    stem = f"base_model.model.model.layers.{at}.{name}"
                    told[f"{stem}.lora_A.weight"] = down.detach().float().cpu().contiguous()
                    told[f"{stem}.lora_B.weight"] = up.detach().float().cpu().contiguous()
        return told

    def take_changes(self, told: Mapping[str, Tensor]) -> None:
        """Go on from an adapter under peft's names.

        Raises:
            ValueError: it changes other projections, or with another rank.
        """
        mine = self.changes()
        if {name: one.shape for name, one in mine.items()} != {name: one.shape for name, one in told.items()}:
            raise ValueError("an adapter of other projections or of another rank")
        with torch.no_grad():
            for at, block in enumerate(self.layers):
                for joined in block.joined:
                    for name, (down, up) in joined.changes().items():
                        stem = f"base_model.model.model.layers.{at}.{name}"
                        down.copy_(told[f"{stem}.lora_A.weight"])
                        up.copy_(told[f"{stem}.lora_B.weight"])

    def weights(self) -> dict[str, Tensor]:
        """All weights under transformers' names, in bf16 on the CPU; for a model whose weights were all trained."""
        told: dict[str, Tensor] = {"model.embed_tokens.weight": self.embed, "model.norm.weight": self.norm}
        if self.head is not None:
            told["lm_head.weight"] = self.head
        for at, block in enumerate(self.layers):
            stem = f"model.layers.{at}"
            told[f"{stem}.input_layernorm.weight"] = block.before
            told[f"{stem}.post_attention_layernorm.weight"] = block.after
            for joined in block.joined:
                for kind, whole in (("weight", joined.weight), ("bias", joined.bias)):
                    pieces = torch.split(whole, joined.sizes) if whole is not None else ()
                    told |= {f"{stem}.{name}.{kind}": piece for name, piece in zip(joined.names, pieces, strict=False)}
        return {name: one.detach().to(torch.bfloat16).cpu().contiguous() for name, one in told.items()}


def _held(weights: Tensor, *, train: bool) -> Tensor:
    """Weights as they are kept: what is trained in float32, what is frozen as it was loaded."""
    return weights.detach().float() if train else weights.detach()


def _run_block(block: Block, *given: Any) -> Tensor:
    """A layer; one function for all, so that it is compiled once."""
    told: Tensor = block(*given)
    return told


def _answer_loss(hidden: Tensor, head: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    return cross_entropy(linear(hidden, head).float(), targets, reduction="sum", label_smoothing=smoothing)


def _half_turned(given: Tensor) -> Tensor:
    """Llama's rotation by a quarter: (a, b) -> (-b, a) on the halves of each head."""
    first, second = given.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


def attention(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int) -> Tensor:
    """Causal attention inside each example: tokens x heads x size. Keys and values may have fewer heads."""
    if query.is_cuda:
        return _flash(query, key, value, starts, longest)
    mixed = []
    for first, end in pairwise(dict.fromkeys(starts.tolist())):  # empty slots are for CUDA graphs, and not free here
        asked, keys, values = (each[first:end].transpose(0, 1)[None] for each in (query, key, value))
        told = scaled_dot_product_attention(asked, keys, values, is_causal=True, enable_gqa=True)
        mixed.append(told[0].transpose(0, 1))
    return torch.cat(mixed)


def _flash(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, longest: int) -> Tensor:
    """FlashAttention over packed examples, as torch ships it; its options differ between torch's versions."""
    known = _flash_options()
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "enable_gqa" in known:
        options["enable_gqa"] = True
    else:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    from torch.nn.attention.varlen import varlen_attn

    told: Any = varlen_attn(query, key, value, starts, starts, longest, longest, **options)
    mixed: Tensor = told
    return mixed


def _flash_options() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)
