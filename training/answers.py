"""Free answers of a base and of its adapter to the same questions, side by side with what came true.

No mask forces these: the models write what they like, greedily, until they end or run out of room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from bot.adapters.adapter_store import check_base, read_adapter
from bot.adapters.llm_loading import load_model, load_tokenizer, pick_device
from bot.adapters.model_store import check_files, find_model
from bot.config import ModelConfig
from training.analysis import read_prediction
from training.packs import Tokens
from training.records import Record
from training.tokens import encode_records

TOGETHER: Final = 8  # questions answered in one batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A question and both answers. `label` is what came true, the two others what the answers predict, if anything."""

    symbol: str | None
    as_of: str | None
    question: str
    label: str | None
    base: str
    tuned: str
    base_label: str | None
    tuned_label: str | None


def answers_of(config: ModelConfig, adapter: Path, records: Sequence[Record], most_tokens: int) -> list[Answered]:
    """What the base in `config` and the adapter say to each record's input, in at most `most_tokens` tokens.

    Raises:
        Refused: the adapter is damaged, or does not belong to this base.
    """
    path = find_model(config.name, config.folder)
    check_files(path)
    check_base(read_adapter(adapter), path)
    tokenizer = load_tokenizer(path)
    asked = encode_records(tokenizer, records, max_length=1 << 30, side="test")
    told = []
    for put in (None, adapter):
        model = load_model(path, pick_device(config.device), config.precision, put)
        told.append(_written(model, tokenizer, asked, most_tokens))
        del model
    return [
        Answered(
            symbol=one.symbol,
            as_of=one.as_of.isoformat() if one.as_of else None,
            question=one.input,
            label=one.label,
            base=base,
            tuned=tuned,
            base_label=said(one, base),
            tuned_label=said(one, tuned),
        )
        for one, base, tuned in zip(records, *told, strict=True)
    ]


def said(record: Record, answer: str) -> str | None:
    """The label that a free answer says, None where it says none."""
    if record.kind == "analysis":
        return read_prediction(answer)
    word = answer.strip().split()[:1]
    return word[0] if record.kind == "mood" and word else None


def _written(model: Any, tokenizer: Any, asked: Sequence[Tokens], most_tokens: int) -> list[str]:
    """The greedy continuation of each question, in order."""
    end = tokenizer.eos_token_id
    fill = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    texts = []
    for first in range(0, len(asked), TOGETHER):
        rows = [list(one.ids[: one.answer]) for one in asked[first : first + TOGETHER]]
        width = max(map(len, rows))
        ids = torch.tensor([[fill] * (width - len(row)) + row for row in rows], device=model.device)
        seen = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
        with torch.inference_mode():
            told = model.generate(
                input_ids=ids,
                attention_mask=seen,
                max_new_tokens=most_tokens,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=fill,
            )
        for row in told[:, width:].tolist():
            kept = row[: row.index(end)] if end in row else row
            texts.append(tokenizer.decode(kept, skip_special_tokens=True))
    return texts
