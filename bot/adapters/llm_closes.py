"""The model's distribution of a bar's close, read off while the bar is answered: the probability of each of 1000 codes.

Where a token is a whole code, the 1000 scores among which the close is chosen are that distribution. Where a token is
one digit, the answer itself tells it along the told close alone; the others are read beside it: ten first digits at one
place, each seeing what the answer saw and itself, and after one of them a second digit (`Branches`). They are a pass
that leaves no trace, so that an answer is the same with and without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import torch
from torch import Tensor

from bot.adapters.llm_answer import Choice
from bot.core import prompt

BAR_DIGITS: Final = len(prompt.FIELDS) * prompt.CODE_DIGITS
CLOSE_AT: Final = prompt.FIELDS.index("close") * prompt.CODE_DIGITS  # digits of a bar before its close
MEDIAN: Final = 0.5
# First and second digits after which the third is read too: around "unchanged" ten codes side by side are no coarse
# step but the difference between up and down.
FINE: Final = ((4, 9), (5, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Branches:
    """Tokens read beside the answer where a close begins. `parents` are places among them, -1 what the answer saw."""

    ids: tuple[int, ...]
    parents: tuple[int, ...]

    @property
    def depths(self) -> tuple[int, ...]:
        """How many tokens stand between each and what the answer saw."""
        return tuple(0 if one < 0 else 1 for one in self.parents)

    @property
    def sees(self) -> tuple[tuple[bool, ...], ...]:
        """Which of the others each of them sees: its parent and itself."""
        places = range(len(self.ids))
        return tuple(tuple(other in {place, self.parents[place]} for other in places) for place in places)


@cache
def branches_of(choices: tuple[Choice, ...]) -> Branches | None:
    """What is to be read beside an answer of `choices`; None where a token is a whole code."""
    first, second = choices_of_close(choices)[:2] if choices[0].digits == 1 else (None, None)
    if first is None or second is None:
        return None
    return Branches(
        ids=(*first.allowed, *(second.allowed[digit] for _, digit in FINE)),
        parents=(*(-1 for _ in first.allowed), *(digit for digit, _ in FINE)),
    )


def choices_of_close(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """The choices of the first bar's close."""
    first = CLOSE_AT // choices[0].digits
    return tuple(choices[first : first + prompt.CODE_DIGITS // choices[0].digits])


def code_levels(way: Sequence[float]) -> tuple[float, ...]:
    """The quantile of each code of an answer whose closes are taken at those of `way`, one a bar; all else: medians."""
    each = [MEDIAN] * len(prompt.FIELDS)
    return tuple(
        level
        for close in way
        for level in (*each[: CLOSE_AT // prompt.CODE_DIGITS], close, *each[CLOSE_AT // prompt.CODE_DIGITS + 1 :])
    )


def median_way(choices: Sequence[Choice]) -> tuple[tuple[float, ...], ...]:
    """The one way of an answer of `choices` that takes each close at its median."""
    return ((MEDIAN,) * (sum(one.digits for one in choices) // BAR_DIGITS),)


def close_codes(picks: Tensor, choices: Sequence[Choice]) -> Tensor:
    """The closes' codes among `picks` (... x choices): ... x bars."""
    digits = choices[0].digits
    each = BAR_DIGITS // digits
    bars = picks.reshape(*picks.shape[:-1], -1, each)
    taken = bars[..., CLOSE_AT // digits : (CLOSE_AT + prompt.CODE_DIGITS) // digits]
    places = torch.tensor([10 ** (digits * at) for at in range(taken.shape[-1])][::-1], device=picks.device)
    return (taken * places).sum(dim=-1)


def room_of(choices: Sequence[Choice], branches: Branches | None) -> int:
    """How many tokens an answer writes, those beside it included."""
    return sum(1 + len(one.forced) for one in choices) + (len(branches.ids) if branches else 0)


class Closes:
    """Collects the distributions while an answer is made, bar by bar."""

    def __init__(self) -> None:
        """Nothing is told yet."""
        self._told: list[Tensor] = []
        self._shares: Tensor | None = None  # prompts x 10 x 10: of the first two digits
        self._fine: list[Tensor] = []
        self._picks: list[Tensor] = []

    def see(self, digits: int, scores: Tensor, pick: Tensor) -> None:
        """A place after `digits` digits of the answer: the scores of its numbers, and the number that was chosen."""
        place = digits % BAR_DIGITS - CLOSE_AT
        if not 0 <= place < prompt.CODE_DIGITS:
            return
        shares = torch.softmax(scores.float(), dim=-1)
        if shares.shape[-1] == prompt.CODES:
            self._told.append(shares)
        elif place == prompt.CODE_DIGITS - 1:
            self._told.append(self._joined(shares))
        else:
            self._picks = [*self._picks, pick] if place else [pick]

    def see_beside(self, first: Tensor, second: Tensor, third: Tensor) -> None:
        """Scores of first digits (prompts x 10), of second ones after each (x 10 x 10), of third ones (x FINE x 10)."""
        shares = torch.softmax(first.float(), dim=-1)[:, :, None]
        self._shares = shares * torch.softmax(second.float(), dim=-1)
        self._fine = list(torch.softmax(third.float(), dim=-1).unbind(dim=1))

    def _joined(self, third: Tensor) -> Tensor:
        """The distribution of the code: third digits as they were read, and all alike where they were not."""
        assert self._shares is not None
        rows = third.shape[0]
        thirds = torch.full((rows, 100, 10), 0.1, device=third.device)
        for (first, second), told in zip(FINE, self._fine, strict=True):
            thirds[:, 10 * first + second] = told
        at = (10 * self._picks[0] + self._picks[1])[:, None, None].expand(-1, 1, 10)
        thirds = thirds.scatter(1, at, third[:, None])
        return (self._shares.reshape(rows, 100, 1) * thirds).reshape(rows, prompt.CODES)

    def told(self) -> Tensor:
        """Everything: prompts x bars x 1000, float32."""
        return torch.stack(self._told, dim=1)
