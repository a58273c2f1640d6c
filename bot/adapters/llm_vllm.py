"""The LLM on vLLM in this process: forecasts as sampled answers under the language's regex, moods from label logits.

Written against vLLM 0.26 (docs.vllm.ai: LLM, SamplingParams, structured outputs, LoRA). Only the worker's child process
imports this; vllm itself is imported when an engine is made.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoTokenizer

from bot.adapters.adapter_store import engine_name, find_adapter, read_adapter_manifest
from bot.adapters.engine_ways import require_engine
from bot.adapters.llm_answer import label_ids, moods_of
from bot.adapters.llm_wire import Unreadable, checked_rows, rows_regex
from bot.adapters.model_store import check_files, find_model, read_manifest
from bot.config import ModelConfig
from bot.core import prompt
from bot.core.forecast import Forecast, ForecastBar, Sentiment
from bot.core.samples import bands_of, middle_path, share_above
from bot.errors import EngineFailed, Refused
from bot.ports import Question

TOO_LONG: Final = "longer than the model's window"
_ROW_TOKENS: Final = 13  # 12 digits and a line end, on a tokenizer with single digits
_SPARE_TOKENS: Final = 8
_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)  # what max_lora_rank may be
# In one process, so that whoever ends it gets all the memory back; nothing is reported to anybody.
_ENVIRONMENT: Final = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}


class VllmEngine:
    """Answers from one model under vLLM; implements `bot.ports.Engine`."""

    def __init__(self, config: ModelConfig) -> None:
        """Load the model that `config` names, with its adapter; takes a minute or more.

        Raises:
            Refused: vLLM or CUDA is not here, or the model, its adapter or its precision can't be used.
        """
        require_engine(config)
        if config.device == "cpu" or not torch.cuda.is_available():
            raise Refused("engine vllm needs CUDA, and this machine has none or the config says device cpu")
        path, adapter = find_model(config.name, config.folder), find_adapter(config)
        check_files(path)
        self._config = config
        self._name = engine_name(config, "cuda")
        self._missed: Counter[str] = Counter()
        manifest, learned = read_manifest(path), read_adapter_manifest(adapter) if adapter else None
        known = [config.trained_until, manifest and manifest.knowledge_until, learned and learned.trained_until]
        self._trained_until = max(day for day in known if day)
        self._columns = learned.columns if learned else prompt.FIELDS
        self._tuned = learned is not None and learned.mood == "tuned"
        self._temperature = learned.mood_temperature if learned else 1.0
        self._tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        self._labels = label_ids(self._tokenizer)
        self._llm = _load(path, adapter, config.precision)
        self._window = int(self._llm.llm_engine.model_config.max_model_len)
        self._lora = _lora_request(adapter)
        self._usual: list[float] | None = None  # the labels' scores of an ordinary headline

    @property
    def model(self) -> str:
        """The model's name with the hash of its weights and its adapter's, and the way it is run."""
        return self._name

    @property
    def abstentions(self) -> Mapping[str, int]:
        """Why the last batch has holes, with how many."""
        return dict(self._missed)

    def forecast(self, questions: Sequence[Question]) -> list[Forecast | None]:
        """An answer for each question, in order; None where it does not fit into the window or can't be read."""
        self._missed.clear()
        texts = [self._question_text(one) for one in questions]
        asked = [self._encode(text) for text in texts]
        rooms = [one.future_sessions * _ROW_TOKENS + _SPARE_TOKENS for one in questions]
        fitting = [at for at, ids in enumerate(asked) if len(ids) + rooms[at] <= self._window]
        self._missed.update({TOO_LONG: len(questions) - len(fitting)} if len(fitting) < len(questions) else {})
        began = time.monotonic()
        params = [self._price_params(questions[at].future_sessions, texts[at], rooms[at]) for at in fitting]
        outputs = self._generate([asked[at] for at in fitting], params)
        seconds = (time.monotonic() - began) / max(len(fitting), 1)
        answers: list[Forecast | None] = [None] * len(questions)
        for at, output in zip(fitting, outputs, strict=True):
            answers[at] = self._told(questions[at], texts[at], output, seconds)
        return answers

    def sentiment(self, titles: Sequence[str]) -> list[Sentiment]:
        """The mood of each headline, in order: the probabilities of the three labels as the next word.

        As with our own engine, they are seen relative to ordinary headlines, unless an adapter learned otherwise, and
        as surely as its `mood_temperature` says.
        """
        self._missed.clear()
        if not titles:
            return []
        if self._usual is None:
            ordinary = [] if self._tuned else self._scores(prompt.REFERENCE_TITLES)
            self._usual = [sum(column) / len(ordinary) for column in zip(*ordinary, strict=True)] or [0.0, 0.0, 0.0]
        return moods_of(torch.tensor(self._scores(titles)) - torch.tensor(self._usual), self._temperature)

    def close(self) -> None:
        """Give the memory back as far as Python does; a child process is what gives it back for certain."""
        del self._llm
        torch.cuda.empty_cache()

    def _generate(self, prompts: Sequence[Sequence[int]], params: Sequence[Any]) -> list[Any]:
        """VLLM's outputs, in order; prompts that begin alike are read once."""
        if not prompts:
            return []
        try:
            told: list[Any] = self._llm.generate(
                [{"prompt_token_ids": list(one)} for one in prompts],
                list(params),
                lora_request=self._lora,
                use_tqdm=False,
            )
        except torch.OutOfMemoryError as wrong:
            raise EngineFailed("vLLM: not enough GPU memory") from wrong
        return told

    def _price_params(self, sessions: int, text: str, room: int) -> Any:
        """One greedy answer, or `samples` of the model's own distribution, in the answer language."""
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        many = self._config.samples > 1
        return SamplingParams(
            n=self._config.samples,
            temperature=1.0 if many else 0.0,
            seed=int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) if many else None,
            max_tokens=room,
            structured_outputs=StructuredOutputsParams(regex=rows_regex(sessions)),
        )

    def _scores(self, titles: Sequence[str]) -> list[list[float]]:
        """The labels' log probabilities among themselves, titles x labels, as the next token of each headline."""
        from vllm import SamplingParams

        params = SamplingParams(
            temperature=0.0, max_tokens=1, allowed_token_ids=list(self._labels), logprobs=len(self._labels)
        )
        prefix = prompt.TUNED_MOOD_PREFIX if self._tuned else prompt.SENTIMENT_PREFIX
        asked = [self._encode(prefix + prompt.sentiment_text(title)) for title in titles]
        outputs = self._generate(asked, [params] * len(asked))
        return [[one.outputs[0].logprobs[0][label].logprob for label in self._labels] for one in outputs]

    def _told(self, question: Question, text: str, output: Any, seconds: float) -> Forecast | None:
        """The forecast that the samples say together; None, counted, where fewer than half of them can be read."""
        paths: list[tuple[ForecastBar, ...]] = []
        for one in output.outputs:
            try:
                rows = checked_rows(one.text, question.future_sessions)
            except Unreadable as wrong:
                reason = str(wrong)
            else:
                paths.append(prompt.read_forecast(rows, question.bars[-1]))
        if not paths or 2 * len(paths) < len(output.outputs):
            self._missed[reason] += 1
            return None
        many = self._config.samples > 1
        return Forecast(
            symbol=question.company.symbol,
            as_of=question.as_of,
            trained_until=self._trained_until,
            model=self._name,
            past_sessions=len(question.bars),
            bars=middle_path(paths),
            prompt_sha256=hashlib.sha256(text.encode()).hexdigest(),
            bands=bands_of(paths) if many else (),
            p_up=share_above(paths, question.bars[-1].close) if many else None,
            tokens=len(output.prompt_token_ids) + sum(len(one.token_ids) for one in output.outputs),
            seconds=seconds,
        )

    def _question_text(self, one: Question) -> str:
        """The question in the form that this model learned."""
        return prompt.question_text(
            one.company.name, one.bars, context=one.context, masked=one.masked, columns=self._columns
        )

    def _encode(self, text: str) -> list[int]:
        """Token ids of `text` after the model's own first token; nothing in it can become a special token."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=True, split_special_tokens=True)["input_ids"]
        return ids


def _load(path: Path, adapter: Path | None, precision: str) -> Any:
    """VLLM's LLM on the model in `path`.

    Raises:
        Refused: the precision is none of its own, or it can't load the model.
    """
    if precision == "8bit":
        raise Refused("engine vllm knows no precision 8bit: use auto, bf16, float32 or 4bit")
    os.environ.update(_ENVIRONMENT)
    from vllm import LLM

    told: dict[str, Any] = {"dtype": "float32" if precision == "float32" else "bfloat16"}
    told |= {"quantization": "bitsandbytes"} if precision == "4bit" else {"load_format": "safetensors"}
    if adapter is not None:
        told |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": _rank_of(adapter)}
    try:
        return LLM(
            model=str(path),
            trust_remote_code=False,
            enable_prefix_caching=True,
            logprobs_mode="processed_logprobs",  # after the mask: the labels among themselves
            seed=0,
            **told,
        )
    except (ValueError, RuntimeError, OSError) as wrong:
        raise Refused(
            f"vLLM can't load {path.name}: {(str(wrong).splitlines() or ['no reason told'])[0][:300]}"
        ) from wrong


def _rank_of(adapter: Path) -> int:
    """The least rank that vLLM keeps room for and the adapter fits into."""
    import json

    rank = int(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    return next((one for one in _RANKS if one >= rank), rank)


def _lora_request(adapter: Path | None) -> Any:
    """What tells vLLM to answer with the adapter; None without one."""
    if adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(adapter.name, 1, str(adapter))
