"""Examples as token ids, and many of them laid end to end in one row: a step computes no padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Final

import torch
from torch import Tensor

GRAIN: Final = 256  # a pack's length is a multiple of this many tokens: few shapes, so few kernels
IGNORED: Final = -100  # a target that no loss counts, as torch's cross_entropy has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """An example: token ids, of which those from `answer` on are what the model shall learn to say."""

    ids: tuple[int, ...]
    answer: int

    def __post_init__(self) -> None:
        """An example asks something and answers something."""
        if not 0 < self.answer < len(self.ids):
            raise ValueError("an example has a question and an answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Examples end to end. None sees another: attention is cut at `starts`, and each counts its places from 0.

    `ids`, `places`: tokens. `starts`: int32, where each example begins and the last one ends. `wanted`: the positions
    whose next token is an answer's, `targets`: those tokens. `longest`: no example is longer, in tokens.
    """

    ids: Tensor
    places: Tensor
    starts: Tensor
    longest: int
    wanted: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Pack:
        """The pack on another device; from pinned memory nothing waits for the copy."""
        ids, places, starts, wanted, targets = (
            one.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else one.to(device)
            for one in (self.ids, self.places, self.starts, self.wanted, self.targets)
        )
        return Pack(ids=ids, places=places, starts=starts, longest=self.longest, wanted=wanted, targets=targets)


def pack(examples: Sequence[Tokens], longest: int, *, grain: int = GRAIN, slots: int = 1, answers: int = 1) -> Pack:
    """`examples` end to end, filled to a multiple of `grain` with tokens that nobody reads.

    `starts` tells of a multiple of `slots` sequences, empty ones at the end, and the wanted positions are filled to a
    multiple of `answers` with IGNORED targets: so there are few shapes.
    """
    used = sum(len(one.ids) for one in examples)
    total = -(-used // grain) * grain
    fillers = [min(longest, total - at) for at in range(used, total, longest)]
    lengths = [len(one.ids) for one in examples] + fillers
    lengths += [0] * (-len(lengths) % slots)
    ids = [token for one in examples for token in one.ids] + [0] * (total - used)
    wanted: list[int] = []
    targets: list[int] = []
    at = 0
    for one in examples:
        wanted += range(at + one.answer - 1, at + len(one.ids) - 1)
        targets += one.ids[one.answer :]
        at += len(one.ids)
    wanted += [0] * (-len(wanted) % answers)
    targets += [IGNORED] * (-len(targets) % answers)
    starts = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return Pack(
        ids=torch.tensor(ids),
        places=torch.cat([torch.arange(length) for length in lengths]),
        starts=starts,
        longest=longest,
        wanted=torch.tensor(wanted),
        targets=torch.tensor(targets),
    )


def split_batch(batch: Sequence[Tokens], most_tokens: int) -> Iterator[Sequence[Tokens]]:
    """`batch` in as few parts, in order, as fit into `most_tokens` each; a longer example is a part of its own."""
    first, used = 0, 0
    for at, one in enumerate(batch):
        if at > first and used + len(one.ids) > most_tokens:
            yield batch[first:at]
            first, used = at, 0
        used += len(one.ids)
    if batch:
        yield batch[first:]


@lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of `count` examples in `epoch`; the same whenever it is asked for, so that a run can be resumed."""
    order = list(range(count))
    Random(f"{seed} {epoch}").shuffle(order)  # noqa: S311  (an order, no secret)
    return tuple(order)
