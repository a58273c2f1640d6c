"""120 headlines that are easy to misread, written for this project about companies that do not exist.

Half Traditional Chinese, half English; of each language 12 a kind and 20 a label. A label is what the headline means
for the share price of the named company. Never train on them: `train promote` asks an adapter for all of them.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Final, Literal

import msgspec

Kind = Literal["mixed", "sarcasm", "context", "negation", "numbers"]
KINDS: Final[tuple[Kind, ...]] = ("mixed", "sarcasm", "context", "negation", "numbers")


class HardCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A headline about `company`, its label, of what kind it is, and why the label is right."""

    text: str
    label: Literal["positive", "neutral", "negative"]
    kind: Kind
    language: Literal["en", "zh-TW"]
    company: str
    reason: str


@lru_cache(maxsize=1)
def hard_cases() -> tuple[HardCase, ...]:
    """All of them, in the order of the file."""
    told = files("training").joinpath("hard_cases.json").read_bytes()
    return msgspec.json.decode(told, type=tuple[HardCase, ...])
