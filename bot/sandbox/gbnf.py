"""llama.cpp's grammars, as far as they are regular: turned into one regular expression.

Source: ggml-org/llama.cpp, grammars/README.md.
"""

from __future__ import annotations

import json
import re
from typing import Final

from bot.errors import Refused

_RULE: Final = re.compile(r"^\s*([a-zA-Z][a-zA-Z0-9-]*)\s*::=", re.MULTILINE)
_PIECE: Final = re.compile(
    r'\s*(?:(?P<literal>"(?:[^"\\]|\\.)*")|(?P<set>\[(?:[^\]\\]|\\.)*\])|(?P<name>[a-zA-Z][a-zA-Z0-9-]*)'
    r"|(?P<sign>[()|*+?]|\{\d+(?:,\d*)?\}))"
)
_DEEPEST: Final = 20


def regex_of(grammar: str) -> str:
    """The regular expression of the texts that `grammar` allows, from its rule `root`.

    Raises:
        Refused: it has no root, calls itself, or uses what is not understood here.
    """
    starts = list(_RULE.finditer(grammar))
    ends = [*(start.start() for start in starts[1:]), len(grammar)]
    rules = {start[1]: grammar[start.end() : end].strip() for start, end in zip(starts, ends, strict=False)}
    if "root" not in rules:
        raise Refused("failed to parse grammar: no rule root")
    return _expression("root", rules, 0)


def _expression(name: str, rules: dict[str, str], depth: int) -> str:
    """The regular expression of the rule `name`, with every rule it calls written out."""
    if name not in rules or depth > _DEEPEST:
        raise Refused(f"failed to parse grammar: the rule {name} is absent or calls itself")
    told, rest = "", rules[name]
    while rest:
        piece = _PIECE.match(rest)
        if piece is None:
            raise Refused(f"failed to parse grammar: near {rest[:20]!r}")
        rest = rest[piece.end() :].lstrip()
        if piece["literal"]:
            told += f"(?:{re.escape(json.loads(piece['literal']))})"
        elif piece["name"]:
            told += f"(?:{_expression(piece['name'], rules, depth + 1)})"
        else:
            told += (piece["set"] or piece["sign"]).replace("(", "(?:")
    return told
