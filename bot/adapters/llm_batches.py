"""Many prompts, some at a time: fewer when memory runs out, in the same shapes always where rounding tells them apart.

A product of matrices in bf16 may come out otherwise in another shape, and a forecast then too: on the small model 3 of
24 changed with their neighbours. Where all batches have the same shape, none does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import torch

from bot.errors import EngineFailed

WIDTHS: Final = 16  # prompts are padded to a multiple of this many tokens

Item = TypeVar("Item")
Result = TypeVar("Result")


def width_class(length: int) -> int:
    """The tokens to which a prompt of `length` is padded."""
    return -(-length // WIDTHS) * WIDTHS


def in_batches(items: Sequence[Item], size: int, run: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """`run` over all items, `size` at a time; half as many at a time whenever the memory does not suffice.

    Raises:
        EngineFailed: the memory does not suffice for one.
    """
    return _halving(items, size, lambda batch, _: run(batch))[0]


def steady_batches(
    items: Sequence[Item], lengths: Sequence[int], size: int, run: Callable[[Sequence[Item]], Sequence[Result]]
) -> list[Result]:
    """As `in_batches`, but one width class of prompts at a time, and always exactly `size` of them.

    `lengths` are the items' tokens. What is lacking in a batch is filled up with its last item.
    """
    classes: dict[int, list[int]] = {}
    for at, length in enumerate(lengths):
        classes.setdefault(width_class(length), []).append(at)

    def filled(batch: Sequence[int], size: int) -> Sequence[Result]:
        places = [*batch, *[batch[-1]] * (size - len(batch))]
        return run([items[at] for at in places])[: len(batch)]

    done: dict[int, Result] = {}
    for _, places in sorted(classes.items()):
        results, size = _halving(places, size, filled)
        done |= zip(places, results, strict=True)
    return [done[at] for at in range(len(items))]


def _halving(
    items: Sequence[Item], size: int, run: Callable[[Sequence[Item], int], Sequence[Result]]
) -> tuple[list[Result], int]:
    """`run` over at most `size` items at a time, and the size that the memory sufficed for."""
    done: list[Result] = []
    while len(done) < len(items):
        try:
            done += run(items[len(done) : len(done) + size], size)
        except (RuntimeError, MemoryError) as wrong:
            if not _out_of_memory(wrong):
                raise
            if size == 1:
                raise EngineFailed("not enough memory for a single question") from wrong
            size = max(size // 2, 1)
    return done, size


def _out_of_memory(wrong: BaseException) -> bool:
    """Whether an error says that memory ran out; on the CPU torch says so only in words."""
    return isinstance(wrong, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(wrong)
