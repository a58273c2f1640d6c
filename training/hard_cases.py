"""120 headlines that are easy to misread, written for this project about companies that do not exist.

Half Traditional Chinese, half English; of each language 12 a kind and 20 a label. A label is what the headline means
for the share price of the named company. Never train on them: `train promote` asks an adapter for all of them.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Final, Literal

import msgspec

from training.own_headlines import Headline

Kind = Literal["mixed", "sarcasm", "context", "negation", "numbers"]
KINDS: Final[tuple[Kind, ...]] = ("mixed", "sarcasm", "context", "negation", "numbers")


class HardCase(Headline, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A headline that is easy to misread, and why its label is right."""

    kind: Kind
    reason: str


@lru_cache(maxsize=1)
def hard_cases() -> tuple[HardCase, ...]:
    """All of them, in the order of the file."""
    told = files("training").joinpath("hard_cases.json").read_bytes()
    return msgspec.json.decode(told, type=tuple[HardCase, ...])
