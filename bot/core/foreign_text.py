"""Text that others wrote, made harmless: to store, to show, and (with bot/core/prompt.py) to ask a model about."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MOST_MARKS: Final = 3  # combining marks on one letter; no script stacks more, a flood of them is an attack

# Characters that are drawn as nothing and yet are no control, format or unassigned ones: what could hide a text (256
# variation selectors are an alphabet) or fake a blank. Source: Unicode 15.0, Default_Ignorable_Code_Point; U+2800.
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# NUL ends SQLite's strings half-way; a lone surrogate, which JSON can carry, is no character and has no UTF-8.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """`text` as a database can keep and find it: without NUL and lone surrogates."""
    return _UNSTORABLE.sub("", text)


def one_line(text: str) -> str:
    """`text` as it may be shown: one line, without what moves a cursor, turns the direction round or is not seen."""
    kept: list[str] = []
    marks = 0
    for one in _UNSEEN.sub("", text):
        kind = unicodedata.category(one)[0]
        marks = marks + 1 if kind == "M" else 0
        if one.isspace():
            kept.append(" ")
        elif kind != "C" and marks <= MOST_MARKS:
            kept.append(one)
    return " ".join("".join(kept).split())
