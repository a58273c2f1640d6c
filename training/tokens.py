"""Records as token ids, cut exactly as the engine cuts the same question when it trades."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from bot.core import prompt
from bot.errors import Refused
from training.analysis import WEEK_LABELS
from training.packs import Tokens
from training.records import Record

LABEL_SETS: Final[Mapping[str, tuple[str | None, ...]]] = {
    "prices": (None,),
    "mood": prompt.LABELS,
    "analysis": WEEK_LABELS,
}


def encode_records(tokenizer: Any, records: Iterable[Record], max_length: int, side: str) -> list[Tokens]:
    """Every record as ids; `side` names the file in errors.

    Raises:
        Refused: one is longer than `max_length` tokens, has no answer, a label outside its set, or a mood's answer is
            not one token.
    """
    end = tokenizer.eos_token_id
    encoded: list[Tokens] = []
    for line, record in enumerate(records, start=1):
        asked = _question_ids(tokenizer, record)
        answered = _ids(tokenizer, record.output)
        if record.kind == "analysis" and end is not None:  # free text must learn where to stop
            answered = [*answered, end]
        where = f"{side} line {line} ({record.kind}{f', {record.symbol} {record.as_of}' if record.symbol else ''})"
        if record.label not in LABEL_SETS[record.kind]:
            raise Refused(f"{where}: label {record.label!r} is none of {', '.join(map(str, LABEL_SETS[record.kind]))}")
        if record.kind == "mood" and record.output != f" {record.label}":
            raise Refused(f"{where}: the answer {record.output!r} is not its label {record.label!r}")
        if not asked or not answered:
            raise Refused(f"{where}: no question or no answer")
        if len(asked) + len(answered) > max_length:
            have = len(asked) + len(answered)
            raise Refused(f"{where}: {have} tokens, and train.max_length is {max_length}")
        if record.kind == "mood" and len(answered) != 1:
            raise Refused(f"{where}: this model's tokenizer cuts the label{record.output!r} in {len(answered)} tokens")
        encoded.append(Tokens(ids=(*asked, *answered), answer=len(asked)))
    return encoded


def _question_ids(tokenizer: Any, record: Record) -> list[int]:
    """The question's ids. The engine reads what many questions share once, so it cuts them after that; here too."""
    first = prompt.QUESTION_PREFIX if record.kind == "prices" else prompt.TUNED_MOOD_PREFIX
    if record.kind != "analysis" and record.input.startswith(first):
        return _ids(tokenizer, first, start=True) + _ids(tokenizer, record.input.removeprefix(first))
    return _ids(tokenizer, record.input, start=True)


def _ids(tokenizer: Any, text: str, *, start: bool = False) -> list[int]:
    """Token ids; nothing in `text` becomes a special token. `start` adds the model's own first token, if it has one."""
    ids: list[int] = tokenizer(text, add_special_tokens=start, split_special_tokens=True)["input_ids"]
    return ids
