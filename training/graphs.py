"""One forward and backward pass, started operation by operation or replayed as a CUDA graph.

A small model keeps a GPU waiting for Python: its thousand short operations take longer to start than to run. Recorded
once for each shape of pack, they start together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from training.fused_llama import FusedLlama
from training.packs import Pack

KEPT: Final = 48  # shapes recorded; each holds its activations in one pool that all share


class Plain:
    """Gradients by running every operation."""

    def __init__(self, model: FusedLlama, smoothing: float) -> None:
        """`smoothing` is that of the answers' labels."""
        self._model, self._smoothing = model, smoothing

    def add(self, given: Pack, answers: int) -> Tensor:
        """Add the gradients of the pack's loss / `answers` to the parameters'; returns that loss."""
        loss = self._model.loss(given.to(self._model.embed.device), self._smoothing) / answers
        torch.autograd.backward(loss)
        return loss.detach()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A pass over `given`, whose tensors are filled anew before each replay."""

    given: Pack
    share: Tensor
    loss: Tensor
    graph: Any


class Graphed:
    """The same by CUDA graphs, one for each shape of pack. Packs need `longest`, and few shapes, to be worth it."""

    def __init__(self, model: FusedLlama, smoothing: float) -> None:
        """Gradients lie in fixed places from here on: never set them to None."""
        self._model, self._smoothing = model, smoothing
        self._recorded: dict[tuple[int, ...], Recorded] = {}
        self._plain = Plain(model, smoothing)
        self._pool: Any = None
        for one in model.trained():
            one.grad = torch.zeros_like(one)

    def add(self, given: Pack, answers: int) -> Tensor:
        """As `Plain.add`."""
        shape = (len(given.ids), len(given.starts), len(given.wanted), given.longest)
        if shape not in self._recorded:
            if len(self._recorded) == KEPT:
                return self._plain.add(given, answers)
            self._recorded[shape] = self._record(given)
        ready = self._recorded[shape]
        for mine, new in zip(_tensors(ready.given), _tensors(given), strict=True):
            mine.copy_(new.pin_memory(), non_blocking=True)
        ready.share.fill_(1 / answers)
        ready.graph.replay()
        return ready.loss.clone()

    def _record(self, given: Pack) -> Recorded:
        """Record a pass; the one that warms up counts nothing."""
        here = given.to(self._model.embed.device)
        share = torch.zeros((), device=here.ids.device)
        aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._pass(here, share)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            loss = self._pass(here, share)
        self._pool = self._pool or graph.pool()
        return Recorded(given=here, share=share, loss=loss, graph=graph)

    def _pass(self, given: Pack, share: Tensor) -> Tensor:
        loss = self._model.loss(given, self._smoothing) * share
        torch.autograd.backward(loss)
        return loss.detach()


def _tensors(given: Pack) -> tuple[Tensor, ...]:
    return given.ids, given.places, given.starts, given.wanted, given.targets
