"""The LLM on transformers, CPU or CUDA: constrained answers for many questions in lockstep, moods from label logits.

Only this file, the worker that runs it and the model conversion import torch. The daemon uses it through
llm_child.ChildEngine, in a process of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import Cache, DynamicLayer
from transformers.masking_utils import sdpa_mask

from bot.adapters.model_store import check_weights, find_model, fingerprint, read_manifest
from bot.config import ModelConfig
from bot.core import prompt
from bot.core.forecast import Forecast, Sentiment
from bot.errors import EngineFailed, Refused
from bot.ports import Question

Item = TypeVar("Item")
Result = TypeVar("Result")
UNEVEN: Final = "this model's tokenizer cuts numbers unevenly: it can't write the answer language"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A place in the answer where the model chooses a number of `digits` digits.

    `allowed` are the tokens it may say, in numeric order; `forced` the line end that follows whatever it says.
    """

    digits: int
    allowed: tuple[int, ...]
    forced: tuple[int, ...]


class TransformersEngine:
    """Answers from one model in this process; implements `bot.ports.Engine`."""

    def __init__(self, config: ModelConfig) -> None:
        """Load the model that `config` names.

        Raises:
            Refused: it is not there, was changed since it was pulled, or its tokenizer cuts numbers unevenly.
        """
        path = find_model(config.name, config.folder)
        check_weights(path)
        self._config = config
        self._name = f"{config.name}@{fingerprint(path)}"
        manifest = read_manifest(path)
        # The later word counts: a model is never taken to know less than its manifest says.
        self._trained_until = max(config.trained_until, manifest.knowledge_until) if manifest else config.trained_until
        self._tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        self._choices = answer_choices(self._tokenizer)
        self._decoder = Decoder(load_weights(str(path), pick_device(config.device)))
        self._mood_labels = label_ids(self._tokenizer)
        self._usual: Tensor | None = None  # the labels' scores of an ordinary headline

    @property
    def model(self) -> str:
        """The model's name and the first 12 hex digits of the sha256 of its weights."""
        return self._name

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        """An answer for each question, in order; None where a question does not fit into the model's window."""
        texts = [prompt.question_text(one.company.name, one.bars) for one in questions]
        prefix = self._encode(prompt.QUESTION_PREFIX, start=True)
        asked = [self._encode(text.removeprefix(prompt.QUESTION_PREFIX)) for text in texts]
        answers: list[Forecast | None] = [None] * len(questions)
        places = sorted(range(len(questions)), key=lambda at: questions[at].future_sessions)
        for sessions, group in groupby(places, key=lambda at: questions[at].future_sessions):
            choices = self._choices * sessions
            room = self._decoder.window - len(prefix) - sum(1 + len(one.forced) for one in choices)
            fitting = [at for at in group if len(asked[at]) <= room]

            def answer(batch: Sequence[int], choices: Sequence[Choice] = choices) -> list[list[int]]:
                return self._decoder.choose(prefix, [asked[at] for at in batch], choices)

            picks = in_batches(fitting, self._config.batch, answer)
            for at, pick in zip(fitting, picks, strict=True):
                text = fill_answer(pick, choices, sessions)
                answers[at] = self._told(questions[at], texts[at], text)
        return answers

    def sentiment(self, titles: Sequence[str]) -> list[Sentiment]:
        """The mood of each headline, in order: the probabilities of the three labels as the next word.

        They are seen relative to prompt.REFERENCE_TITLES; a headline's mood does not depend on its neighbours.
        """
        if self._usual is None:
            self._usual = self._label_scores(prompt.REFERENCE_TITLES).mean(dim=0)
        moods = torch.softmax(self._label_scores(titles) - self._usual, dim=1).tolist() if titles else []
        return [Sentiment(**dict(zip(prompt.LABELS, shares, strict=True))) for shares in moods]

    def close(self) -> None:
        """Give the memory back as far as Python does; a child process is what gives it back for certain."""
        del self._decoder
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _label_scores(self, titles: Sequence[str]) -> Tensor:
        """The labels' log scores, titles x labels, in one pass; the shared beginning is read once for all."""
        prefix = self._encode(prompt.SENTIMENT_PREFIX, start=True)
        asked = [self._encode(prompt.sentiment_text(title)) for title in titles]
        places = sorted(range(len(asked)), key=lambda at: len(asked[at]))  # alike in length, so little padding

        def score(batch: Sequence[int]) -> list[Tensor]:
            return list(self._decoder.scores(prefix, [asked[at] for at in batch], self._mood_labels))

        scores = dict(zip(places, in_batches(places, self._config.batch, score), strict=True))
        return torch.stack([scores[at] for at in range(len(titles))])

    def _encode(self, text: str, *, start: bool = False) -> list[int]:
        """Token ids of `text`; nothing in it can become a special token. `start` adds the model's own first token."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=start, split_special_tokens=True)["input_ids"]
        return ids

    def _told(self, question: Question, text: str, answer: str) -> Forecast:
        """The forecast that `answer` says."""
        return Forecast(
            symbol=question.company.symbol,
            as_of=question.as_of,
            trained_until=self._trained_until,
            model=self._name,
            past_sessions=len(question.bars),
            bars=prompt.read_forecast(answer, question.bars[-1]),
            prompt_sha256=hashlib.sha256(text.encode()).hexdigest(),
        )


# --- the answer language in tokens -----------------------------------------------------------------------------


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


def _plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of `text` alone."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


# --- running the model -----------------------------------------------------------------------------------------


class Decoder:
    """A causal model that reads many prompts with one shared beginning, and chooses among few tokens."""

    def __init__(self, model: Any) -> None:
        """Wrap a loaded transformers model."""
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
        room = sum(1 + len(one.forced) for one in choices)
        reading = self._read(prefix, prompts, room)
        picks: list[Tensor] = []
        digits, rest = 0, torch.empty(0)
        for at, one in enumerate(choices):
            allowed = torch.tensor(one.allowed, device=self._head.device)
            if digits % prompt.CODE_DIGITS == 0:
                rest = torch.full((len(prompts),), level, device=self._head.device)
            pick, rest = quantile(reading.hidden @ self._head[allowed].T, rest)
            digits += one.digits
            picks.append(pick)
            if at + 1 < len(choices):
                forced = torch.tensor(one.forced, dtype=torch.long, device=self._head.device)
                said = torch.cat([allowed[pick, None], forced.expand(len(prompts), -1)], dim=1)
                reading = self._feed(reading, said)
        chosen: list[list[int]] = torch.stack(picks, dim=1).tolist()
        return chosen

    @torch.inference_mode()
    def scores(self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], labels: Sequence[int]) -> Tensor:
        """Log scores of `labels` as the next token of each prompt: prompts x labels, float32 on the CPU."""
        reading = self._read(prefix, prompts, 0)
        return (reading.hidden @ self._head[torch.tensor(labels, device=self._head.device)].T).float().cpu()

    def _read(self, prefix: Sequence[int], prompts: Sequence[Sequence[int]], room: int) -> Reading:
        """All prompts read to their end, padded on the left after the prefix, with room for more tokens."""
        widest = max(len(one) for one in prompts)
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


def quantile(scores: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """The number at `level` of each row's distribution, and the level within it, for the digits that follow.

    `scores` are logits, prompts x numbers in numeric order.
    """
    shares = torch.softmax(scores.float(), dim=-1)
    upto = shares.cumsum(dim=-1)
    pick = (upto < level[:, None]).sum(dim=-1).clamp(max=shares.shape[-1] - 1)
    share, top = shares.gather(1, pick[:, None])[:, 0], upto.gather(1, pick[:, None])[:, 0]
    return pick, ((level - top + share) / share).clamp(0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far a batch has been read. `seen` is 0 at padding; `hidden` is prompts x hidden, at the last token."""

    cache: Cache
    seen: Tensor
    length: int
    hidden: Tensor


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


def pick_device(wanted: str) -> str:
    """The device that config's `auto`, `cpu` or `cuda` means here.

    Raises:
        Refused: CUDA is asked for and there is none.
    """
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise Refused("the config asks for device cuda and this machine has none")
    return "cuda" if present and wanted != "cpu" else "cpu"


def load_weights(path: str, device: str) -> Any:
    """The model in the folder `path`: float32 on the CPU (bf16 was measured slower there), bf16 on CUDA."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        attn_implementation="grouped",
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    return model.to(device).eval()


def in_batches(items: Sequence[Item], size: int, run: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """`run` over all items, `size` at a time; half as many at a time whenever the memory does not suffice.

    Raises:
        EngineFailed: the memory does not suffice for one.
    """
    done: list[Result] = []
    while len(done) < len(items):
        try:
            done += run(items[len(done) : len(done) + size])
        except (RuntimeError, MemoryError) as wrong:
            if not _out_of_memory(wrong):
                raise
            if size == 1:
                raise EngineFailed("not enough memory for a single question") from wrong
            size = max(size // 2, 1)
    return done


def _out_of_memory(wrong: BaseException) -> bool:
    """Whether an error says that memory ran out; on the CPU torch says so only in words."""
    return isinstance(wrong, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(wrong)
