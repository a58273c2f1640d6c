"""The answer language in a model's tokens: which places are forced, which are chosen, and how a choice is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from bot.core import prompt
from bot.core.forecast import Sentiment
from bot.errors import Refused

UNEVEN: Final = "this model's tokenizer cuts numbers unevenly: it can't write the answer language"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A place in the answer where the model chooses a number of `digits` digits.

    `allowed` are the tokens it may say, in numeric order; `forced` the line end that follows whatever it says.
    """

    digits: int
    allowed: tuple[int, ...]
    forced: tuple[int, ...]


def answer_choices(tokenizer: Any) -> tuple[Choice, ...]:
    """The places of one answered bar, derived from how the tokenizer cuts it.

    There are 4 on tokenizers with 3-digit tokens and 12 on those with single digits.

    Raises:
        Refused: numbers are not cut evenly, so that no static mask exists.
    """
    ids = _plain_ids(tokenizer, prompt.answer_shape(1))
    slots = [_slot(tokenizer, token) for token in ids]
    if len(slots[0]) == 1 or _plain_ids(tokenizer, prompt.answer_shape(2)) != ids * 2:
        raise Refused(UNEVEN)
    choices: list[Choice] = []
    for slot in slots:
        if len(slot) > 1:
            choices.append(Choice(digits=len(str(len(slot))) - 1, allowed=slot, forced=()))
        else:
            last = choices[-1]
            choices[-1] = Choice(digits=last.digits, allowed=last.allowed, forced=last.forced + slot)
    _check_choices(tokenizer, choices)
    return tuple(choices)


def _slot(tokenizer: Any, token: int) -> tuple[int, ...]:
    """What may stand where `token` stands in an answer of zeros: itself, or all numbers of as many digits.

    -1 stands for a number that is no single token.
    """
    piece: str = tokenizer.convert_ids_to_tokens(token)
    zeros = re.search(r"0+$", piece)
    if zeros is None:
        return (token,)
    digits = len(zeros[0])
    if digits not in {1, prompt.CODE_DIGITS}:
        raise Refused(UNEVEN)
    pieces = [piece[: zeros.start()] + f"{number:0{digits}d}" for number in range(10**digits)]
    known = tokenizer.get_vocab()
    return tuple(known.get(one, -1) for one in pieces)


def _check_choices(tokenizer: Any, choices: Sequence[Choice]) -> None:
    """Refuse where the tokenizer writes an answer otherwise than through `choices`."""
    for number in (0, 7, 10, 99, 123, 499, 500, 505, 512, 777, 900, 999):
        digits = f"{number:03d}" * 4
        text = fill_shape(digits)
        told = [*_chosen(digits, choices)]
        if -1 in told or _plain_ids(tokenizer, text) != told:
            raise Refused(UNEVEN)


def _chosen(digits: str, choices: Sequence[Choice]) -> Iterator[int]:
    """The tokens of an answer with these digits."""
    at = 0
    for one in choices:
        yield one.allowed[int(digits[at : at + one.digits])]
        yield from one.forced
        at += one.digits


def fill_answer(picks: Sequence[int], choices: Sequence[Choice], sessions: int) -> str:
    """The answer's text: `picks` are the numbers chosen at each of `choices`."""
    return fill_shape("".join(f"{pick:0{one.digits}d}" for pick, one in zip(picks, choices, strict=True)), sessions)


def fill_shape(digits: str, sessions: int = 1) -> str:
    """The answer of `sessions` bars whose digits are `digits`."""
    following = iter(digits)
    return re.sub("0", lambda _: next(following), prompt.answer_shape(sessions))


def label_ids(tokenizer: Any) -> tuple[int, ...]:
    """The token with which each sentiment label begins after the question.

    Raises:
        Refused: two labels begin alike.
    """
    before = len(_plain_ids(tokenizer, prompt.SENTIMENT_SUFFIX))
    firsts = tuple(_plain_ids(tokenizer, f"{prompt.SENTIMENT_SUFFIX} {label}")[before] for label in prompt.LABELS)
    if len(set(firsts)) != len(prompt.LABELS):
        raise Refused("this model's tokenizer begins two sentiment labels alike")
    return firsts


def moods_of(scores: Tensor, temperature: float) -> list[Sentiment]:
    """The moods that the labels' log scores tell, headlines x labels; a higher temperature makes them less sure."""
    shares = torch.softmax(scores.double() / temperature, dim=1).tolist()  # finely, so that no label becomes another
    return [Sentiment(**dict(zip(prompt.LABELS, one, strict=True))) for one in shares]


def _plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of `text` alone."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def quantile(scores: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """The number at `level` of each row's distribution, and the level within it, for the digits that follow.

    `scores` are logits, prompts x numbers in numeric order.
    """
    shares = torch.softmax(scores.float(), dim=-1)
    upto = shares.cumsum(dim=-1)
    pick = (upto < level[:, None]).sum(dim=-1).clamp(max=shares.shape[-1] - 1)
    share, top = shares.gather(1, pick[:, None])[:, 0], upto.gather(1, pick[:, None])[:, 0]
    return pick, ((level - top + share) / share).clamp(0, 1)
