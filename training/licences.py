"""The licences of what something was trained on, as one text: "tfns: MIT; files of prices: daily quotes"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# Where one source ends and the next one begins: a licence may hold a semicolon of its own, a source's name holds none.
_NEXT: Final = re.compile(r"; (?=[^;:]+: )")


def joined_licences(told: Iterable[str]) -> str:
    """All of `told` as one text, each source with its licence once, in the order of their first mention.

    Each is a source with its licence, a licence alone, or a text that this joined before.
    """
    return "; ".join(dict.fromkeys(part for one in told for part in _NEXT.split(one)))
