"""One way to type a text: links, quotes and blanks as a newspaper sets them, so that a model reads only the words.

Labelled sentences come as linguists cut them ("did n't", "`` up ''", "20 %", "( NASDAQ : X )"), tweets with links that
say nothing, headlines as printed. What a model learned of one way of typing it then knows of the others.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# All characters of a link are ASCII (RFC 3986), so Chinese goes on right after one; what ends a sentence or closes a
# bracket is not its last character, three points after it are what was cut off. A bracket around a link goes with it.
_LINK: Final = r"(?:https?://|(?<![A-Za-z0-9])www\.)[!-~]*[#$%&*+/0-9=@A-Z_a-z~-](?:\.\.\.)?"
_LINKS: Final = re.compile(rf"\(\s*{_LINK}\s*\)+|{_LINK}", re.IGNORECASE | re.ASCII)
# The Penn Treebank's quotes, which Financial PhraseBank has too.
_QUOTES: Final = re.compile("``|''")
# A point before a letter or digit ends nothing (".DJI", "up .5"), but in "EUR74 .8 m" it stands within a number.
_BLANK_BEFORE: Final = re.compile(r" +(?=[,;:!?%)]|\.(?!\w)|(?:'s|n't|'re|'ll|'ve)\b)|(?<=\d) +(?=\.\d)")
_BLANK_AFTER: Final = re.compile(r"(?<=\() +")
_CHINESE: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def tidied(text: str) -> str:
    """`text` in one line, without links, and typed in one way; "" where it is nothing but links and punctuation.

    Quotes like `` and '' become ", no blank stands before , . ; : ! ? % ) and clipped words ('s n't 're 'll 've), none
    after (. A text with Chinese in it loses its links only. Never longer than `text`; tidied again it stays the same.
    """
    told = " ".join(text.split())
    while (again := _once(told)) != told:  # each change makes it shorter
        told = again
    return told


def _once(text: str) -> str:
    """`text`, its blanks single, after one round of the rules; a blank in a link's place keeps its neighbours apart."""
    unlinked = " ".join(_LINKS.sub(" ", text).split())
    if unlinked != text and not any(unicodedata.category(one)[0] in "LNS" for one in unlinked):
        return ""
    if _CHINESE.search(unlinked):
        return unlinked
    return _BLANK_AFTER.sub("", _BLANK_BEFORE.sub("", _QUOTES.sub('"', unlinked)))
