"""Our own labelled headlines, Chinese and English, about companies that do not exist: training/headlines/*.jsonl.

They are for learning, and so are none of the hard cases. A company's headlines stand all on one side, so that what is
learned of a name can't help on the test side.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files
from typing import Final, Literal

import msgspec

from training.labelled import Corpus, Labelled, Removed, same_text

Language = Literal["en", "zh-TW"]
Kind = Literal["plain", "mixed", "sarcasm", "context", "negation", "numbers"]
KINDS: Final[tuple[Kind, ...]] = ("plain", "mixed", "sarcasm", "context", "negation", "numbers")
LICENCE: Final = "MIT"
TEST_SHARE: Final = 0.2  # of the companies
# The first number with which 10 to 30 % of each kind, label and language are tested on; it is not to change.
_SALT: Final = 358


class Headline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A headline about `company`, what it means for the price of its share, and in which way it is to be read."""

    text: str
    label: Literal["positive", "neutral", "negative"]
    kind: Kind
    language: Language
    company: str

    @property
    def labelled(self) -> Labelled:
        """The same for learning and scoring: in all, in its language and in its kind."""
        return Labelled(self.text, self.label, groups=(self.language, self.kind))


@lru_cache(maxsize=1)
def own_headlines() -> tuple[Headline, ...]:
    """All of them: the files by name, each in its own order."""
    folder = files("training").joinpath("headlines")
    told = sorted((one for one in folder.iterdir() if one.name.endswith(".jsonl")), key=lambda one: one.name)
    return tuple(headline for file in told for headline in headlines_in(file.read_bytes()))


def headlines_in(told: bytes) -> list[Headline]:
    """The headlines of one file, a JSON object a line.

    Raises:
        msgspec.DecodeError: a line is none.
    """
    return msgspec.json.Decoder(Headline).decode_lines(told)


def is_tested(company: str) -> bool:
    """Whether `company` stands on the test side: by its name alone, so that new headlines move no old ones."""
    digest = hashlib.sha256(f"{_SALT}:{same_text(company)}".encode()).digest()
    return int.from_bytes(digest[:4]) < TEST_SHARE * 2**32


def own(language: Language | None = None) -> Corpus:
    """The corpus of all our headlines, or of those in `language`."""
    sides: dict[bool, list[Labelled]] = {False: [], True: []}
    for one in own_headlines():
        if language in {None, one.language}:
            sides[is_tested(one.company)].append(one.labelled)
    name = "own" if language is None else f"own_{language[:2]}"
    return Corpus(name=name, licence=LICENCE, train=tuple(sides[False]), test=tuple(sides[True]), removed=Removed())
