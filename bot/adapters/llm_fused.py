"""Answers of a Llama-shaped model run by hand for CUDA: batches of one shape, one CUDA graph an answer.

The same interface and the same answers as llm_decoder.Decoder, for models whose layers are of the plain Llama kind.
transformers loads the weights; started layer by layer, its small operations cost a fast GPU more than the arithmetic.
llm_fused_model.py holds the pass itself, llm_joined.py its weights, llm_small_steps.py what happens between products.

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
from torch.nn.functional import linear

from bot.adapters.llm_answer import Choice, quantile
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
from bot.adapters.llm_fused_model import Buffers, FusedModel
from bot.core import prompt

log = logging.getLogger("twtrader")

# Prompts are padded to a multiple of this many tokens: forecasts are few and each width is recorded, headlines many.
FORECAST_WIDTHS: Final = 16
HEADLINE_WIDTHS: Final = 8
HEADLINE_ROWS: Final = 2  # so many times `rows` headlines are read together on CUDA: nothing is written after them
KEPT_GRAPHS: Final = 2  # each holds buffers of keys and values

Run = Callable[[Sequence[int], int], tuple[Tensor, ...]]  # places of prompts, and their width


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A whole answer as one CUDA graph over its own buffers.

    `levels` (rows x codes, float32) are read and `told`, what `_answer` gives, is written by each replay.
    """

    buffers: Buffers
    levels: Tensor
    told: tuple[Tensor, ...]
    graph: Any


class FusedDecoder:
    """Reads many prompts with one shared beginning, and chooses among few tokens."""

    def __init__(self, model: Any, *, rows: int, graphs: bool, merge: bool = True) -> None:
        """Take over the weights of a loaded transformers model, which is of no use afterwards.

        `rows` prompts are read together. `graphs` needs CUDA; without them the same steps run one by one. `merge` adds
        an adapter to the weights once, instead of keeping it beside them.
        """
        self._model = FusedModel(model, merge=merge)
        self.window = self._model.window
        self.rows = rows
        self._headline_rows = HEADLINE_ROWS if graphs else 1
        self._headlines: tuple[tuple[tuple[int, ...], int], Buffers] | None = None
        self._recorded: dict[tuple[object, ...], Recorded] | None = {} if graphs else None

    @torch.inference_mode()
    def choose(
        self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], choices: Sequence[Choice], level: float = 0.5
    ) -> list[list[int]]:
        """What is chosen at each of `choices` for each prompt: prompts x choices, among the allowed tokens only.

        Each code is the `level` quantile of the model's distribution of that code, given the codes before it. What
        comes back are places within `allowed`, not tokens.

        Raises:
            torch.OutOfMemoryError: not even one prompt fits.
        """
        levels = [level] * (sum(one.digits for one in choices) // prompt.CODE_DIGITS)

        def answer(places: Sequence[int], width: int) -> tuple[Tensor, ...]:
            batch = [prompts[at] for at in places]
            return self._choose(tuple(prefix), batch, tuple(choices), [levels] * len(batch), width, tells=False)

        (picks,) = self._by_width([len(one) for one in prompts], FORECAST_WIDTHS, answer)
        told: list[list[int]] = picks.tolist()
        return told

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

        Raises:
            torch.OutOfMemoryError: not even one way of one prompt fits.
        """
        levels = [code_levels(one) for one in ways or median_way(choices)]
        count = len(levels)

        def answer(places: Sequence[int], width: int) -> tuple[Tensor, ...]:
            batch, taken = [prompts[at // count] for at in places], [levels[at % count] for at in places]
            return self._choose(tuple(prefix), batch, tuple(choices), taken, width, tells=True)

        lengths = [len(one) for one in prompts for _ in range(count)]
        picks, closes = self._by_width(lengths, FORECAST_WIDTHS, answer)
        return picks.reshape(len(prompts), count, -1), closes.reshape(len(prompts), count, *closes.shape[1:])

    @torch.inference_mode()
    def scores(self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], labels: Sequence[int]) -> Tensor:
        """Logits of `labels` as the next token of each prompt: prompts x labels, float32 on the CPU.

        Raises:
            torch.OutOfMemoryError: not even one prompt fits.
        """

        def score(places: Sequence[int], width: int) -> tuple[Tensor]:
            buffers = self._headline_buffers(tuple(prefix), width)
            self._read([prompts[at] for at in places], buffers)
            return (linear(buffers.hidden, self._model.head_rows(tuple(labels))).float(),)

        (told,) = self._by_width([len(one) for one in prompts], HEADLINE_WIDTHS, score, self._headline_rows)
        return told

    def forget(self) -> None:
        """Give back the buffers; they are made again, for `rows` prompts, when they are needed."""
        self._headlines = None
        if self._recorded:
            self._recorded.clear()
        torch.cuda.empty_cache()

    # --- batches of one shape -----------------------------------------------------------------------------

    def _by_width(self, lengths: Sequence[int], step: int, run: Run, times: int = 1) -> tuple[Tensor, ...]:
        """`run` over prompts of one width class at a time, always `times` x `rows`; results in order, on the CPU.

        `lengths` are the prompts' tokens.

        Nothing is waited for between batches: the next one is prepared while the GPU still works.
        """
        classes: dict[int, list[int]] = {}
        for at, length in enumerate(lengths):
            classes.setdefault(-(-length // step) * step, []).append(at)
        order: list[int] = []
        done: list[tuple[Tensor, ...]] = []
        for width, places in sorted(classes.items()):
            done.append(self._in_full(run, places, width, times))
            order += places
        back = torch.tensor(order).argsort()
        return tuple(torch.cat(parts).cpu()[back] for parts in zip(*done, strict=True))

    def _in_full(self, run: Run, mine: list[int], width: int, times: int) -> tuple[Tensor, ...]:
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
        levels: Sequence[Sequence[float]],
        width: int,
        *,
        tells: bool,
    ) -> tuple[Tensor, ...]:
        """The picks of a batch at `levels` (rows x codes), and where it `tells` them the closes' distributions."""
        branches = branches_of(choices) if tells else None
        room = room_of(choices, branches)
        if self._recorded is None:
            buffers = self._begun(prefix, width, room)
            self._read(batch, buffers)
            return self._answer(buffers, choices, torch.tensor(levels, device=self._model.device), tells=tells)
        key = (prefix, width, choices, tells)
        if key not in self._recorded:
            while len(self._recorded) >= KEPT_GRAPHS:
                self._recorded.pop(next(iter(self._recorded)))
            self._recorded[key] = self._record(self._begun(prefix, width, room), choices, tells=tells)
        ready = self._recorded[key]
        ready.levels.copy_(torch.tensor(levels))
        self._read(batch, ready.buffers)
        ready.graph.replay()
        return ready.told

    def _record(self, buffers: Buffers, choices: tuple[Choice, ...], *, tells: bool) -> Recorded:
        """The whole answer recorded once for this width and these choices."""
        codes = sum(one.digits for one in choices) // prompt.CODE_DIGITS
        levels = torch.full((self.rows, codes), 0.5, device=self._model.device)
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # the libraries choose their kernels before anything is recorded
            self._answer(buffers, choices, levels, tells=tells)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            told = self._answer(buffers, choices, levels, tells=tells)
        return Recorded(buffers=buffers, levels=levels, told=told, graph=graph)

    # --- reading and answering ----------------------------------------------------------------------------

    def _begun(self, prefix: tuple[int, ...], width: int, room: int, times: int = 1) -> Buffers:
        """Buffers for a batch of `times` x `rows` prompts of `width` tokens, the shared beginning read already."""
        buffers = self._model.buffers(times * self.rows, len(prefix), len(prefix) + width, room)
        for (first_keys, first_values), keys, values in zip(
            self._model.prefix(prefix), buffers.keys, buffers.values, strict=True
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
        start, device = buffers.start, self._model.device
        width = buffers.length - start
        short = [width - len(one) for one in batch]
        ids = torch.tensor([[0] * gap + list(one) for gap, one in zip(short, batch, strict=True)], device=device)
        gaps = torch.tensor(short, device=device)
        buffers.seen[:, start : buffers.length] = torch.arange(width, device=device) >= gaps[:, None]
        buffers.hidden.copy_(self._model.feed(buffers, ids, start))

    def _answer(
        self, buffers: Buffers, choices: tuple[Choice, ...], levels: Tensor, *, tells: bool
    ) -> tuple[Tensor, ...]:
        """Choose at each place and feed what was said: rows x choices. As `_choose`."""
        hidden, length, digits, rest = buffers.hidden, buffers.length, 0, levels[:, 0]
        picks: list[Tensor] = []
        closes, branches = (Closes(), branches_of(choices)) if tells else (None, None)
        for at, one in enumerate(choices):
            if digits % prompt.CODE_DIGITS == 0:
                rest = levels[:, digits // prompt.CODE_DIGITS]
            scores = linear(hidden, self._model.head_rows(one.allowed))
            pick, rest = quantile(scores, rest)
            if closes:
                if branches and digits % BAR_DIGITS == CLOSE_AT:
                    closes.see_beside(scores, *self._beside(buffers, length, branches, choices[at + 1 : at + 3]))
                closes.see(digits, scores, pick)
            digits += one.digits
            picks.append(pick)
            if at + 1 < len(choices):
                forced = self._model.ids(one.forced).expand(self.rows, -1)
                said = torch.cat([self._model.ids(one.allowed)[pick, None], forced], dim=1)
                hidden = self._model.feed(buffers, said, length)
                length += said.shape[1]
        told = torch.stack(picks, dim=1)
        return (told, closes.told()) if closes else (told,)

    def _beside(
        self, buffers: Buffers, length: int, branches: Branches, following: Sequence[Choice]
    ) -> tuple[Tensor, Tensor]:
        """Scores of the digits `following` each first one, and each of FINE; what is written is written over later."""
        ids = self._model.ids(branches.ids).expand(self.rows, -1)
        hidden = self._model.feed(buffers, ids, length, branches)
        firsts = branches.parents.count(-1)
        second, third = (self._model.head_rows(one.allowed) for one in following)
        return linear(hidden[:, :firsts], second), linear(hidden[:, firsts:], third)
