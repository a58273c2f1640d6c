"""Which companies a headline speaks of: names, short names, English names, nicknames and codes -> symbols.

A headline is a handful of characters without blanks between words, and many Taiwanese companies are named like
ordinary words (世界 "world", 創意 "idea", 統一 "uniform"). So each name has a grade that says how much else must
stand around it before it counts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final


class Grade(IntEnum):
    """How much a name says by itself."""

    CODED = 0  # means something else nearly always (三星 is Samsung): counts only beside its own code
    WORD = 1  # an ordinary word: counts with business words behind it, beside its code, or in a list of companies
    CAREFUL = 2  # two characters that other words may contain: counts where a word begins
    SURE = 3  # counts anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """What a text may mean: one symbol, several (貨櫃三雄), or none, when it is something that only looks so."""

    symbols: tuple[str, ...]
    grade: Grade


@dataclass(frozen=True, kw_only=True)
class Names:
    """All names, by their plain text (`plain`), and the symbols that may be told by code; ADRs by their own ticker."""

    by_text: Mapping[str, Name]
    symbols: frozenset[str]
    adrs: Mapping[str, str]

    @cached_property
    def lengths(self) -> Mapping[str, tuple[int, ...]]:
        """The lengths of the names that begin with a character, longest first."""
        found: dict[str, set[int]] = {}
        for text in self.by_text:
            found.setdefault(text[0], set()).add(len(text))
        return {first: tuple(sorted(lengths, reverse=True)) for first, lengths in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hit:
    """A name at `begin`..`end` of the headline."""

    begin: int
    end: int
    name: Name

    @property
    def rank(self) -> tuple[int, int, int]:
        """Of two that overlap, the longer one counts, then the surer, then the first."""
        return (self.begin - self.end, -self.name.grade, self.begin)


# 2330-TW, 2330.TW, 2330TW, TW-2330, 2330-TWO, and the same in parentheses; funds have up to six characters.
# Source: the headlines of ../shared/data/news write (2330-TW); Yahoo writes 2330.TW and 6488.TWO.
_TICKER: Final = re.compile(
    r"(?<![0-9A-Za-z])(\d{4,6}[A-Z]?)[-. ]?TWO?(?![A-Za-z])|(?<![A-Za-z])TW[-:](\d{4,6}[A-Z]?)(?!\d)"
)
_ADR: Final = re.compile(r"(?<![A-Za-z])([A-Z]{2,5})[-.]US(?![A-Za-z])")
# 0050, 00878, 00679B: no other number in a headline begins with two zeros and is that long.
_FUND: Final = re.compile(r"(?<![0-9A-Za-z.,:/%-])(00\d{2,4}[A-Z]?)(?![0-9A-Za-z.,:/%-]|年|點|元|萬|億|張)")
# A code directly behind a name, "高雄銀(2836)", or before it, "3035智原".
_CODE_BEHIND: Final = re.compile(r"\s?[(\[]\s?(\d{4,6}[A-Z]?)(?:[-.]TWO?)?\s?[)\]]")
# 三星(005930-KR), 中石化(600028-CN): somebody else of that name.
_FOREIGN_BEHIND: Final = re.compile(r"\s?[(\[]\s?[0-9A-Z.]{1,6}[-.](?:US|HK|CN|KR|JP|SG|DE|UK|SS|SZ)\b")
_CODE_BEFORE: Final = re.compile(r"(?<![0-9A-Za-z.,])(\d{4,6}[A-Z]?)[)\]]?\s?$")

_BREAKS: Final = frozenset(" 、，,。;:〈〉《》「」『』【】()[]!?-–—~/|&+．.…⊕丶·‧\"'><《》*")
# What stands before a company in the middle of a phrase. Collected from headlines outside the labelled set.
_BEFORE: Final = re.compile(
    "(?:攜手?|結盟|聯手|偕|加碼|減碼|投資|入股|收購|併購?|合併|買超?|賣超?|大砍|敲進|敲出|狂掃|回補|調節|出脫|清倉|提款|押寶|持有|"
    "看好|看旺|點名|按讚|力挺|挺|帶動|帶旺|激勵|助攻|助|超車|超越|勝|挑戰|追趕|鎖定|新增|刪除|剔除|納入|加入|傳|遭|繼|除了|"
    "廠|商|股|龍頭|大廠|應鏈|金雞|旗下|公司|大股東|轉投資|集團|概念|族群|指標|權王|股王|股后|成份|建商|百貨|通路|新兵|外資|投信|法人|"
    "及|與|和|或|由|搭|奪|採用|打進|打入|取得|導入|成為|上調|下修|上修|調升|調降|目標價|訪|控|告|獨董|接任|參與|委託)$"
)
# What a business headline says of its subject. Collected likewise.
_BEHIND: Final = re.compile(
    r"\s?(?:-KY|\(?\d{4}-TW|法說|股東會|營運展望|展望〉|Q[1-4]|\d{1,2}月(?:營收|自結|每股|獲利|EPS)|元月營收|營收|自結|每股|EPS|"
    r"(?:去年|今年|全年|上半年|下半年|首季|上季|前[一二三四五六七八九十\d]+[季月])"
    r"(?:Q[1-4]|EPS|每股|營收|獲利|純益|稅後|純損|虧損|毛利|賺|賠|轉盈|轉虧|\d{1,2}月營收|股利|配)|"
    r"股價|周漲|周跌|漲停|跌停|董座|總座|董事會|擬配|配息|配發|除息|現增|現金增資|減資|庫藏股|股利|獲利|毛利率|純益|ADR|"
    r"(?:估|擬)(?:Q[1-4]|今年|明年|斥|發行|發債|現增))"
)
# An own entity that carries its parent's name: 第一金投信 is not 第一金; nor is a fund's class in USD the fund.
_SUBSIDIARY: Final = re.compile(
    r"\+櫃?U|投信|投顧|人壽|產險|期貨|租賃|創投|證券|銀行|生醫|大學|基金會|文教|慈善|醫院|學院|酒店|飯店"
)
_LIST_SIGNS: Final = frozenset("、及與和 ")
# Names are compared with each other: 10,000 of them in one headline of 50,000 characters took ten seconds. Real
# headlines and NewsAPI's descriptions are shorter.
MOST_CHARS: Final = 1_000
_WORD_LIST_SIGNS: Final = _LIST_SIGNS - {" "}


def plain(text: str) -> str:
    """A headline or name for comparison: full-width forms are half-width, 臺 is 台; case stays (MSI is no msi).

    The exchange marks a par value other than 10 TWD with *, which says nothing here.
    """
    return unicodedata.normalize("NFKC", text).replace("臺", "台").replace("*", "").strip()


def mentioned(title: str, names: Names) -> tuple[str, ...]:
    """The symbols that `title` speaks of, each once, in the order of their first mention.

    Only its first MOST_CHARS characters are read. Pure, and it never guesses from a bare four-digit number: 2330 may be
    points, a year or a price.
    """
    text = plain(title[:MOST_CHARS])
    chosen = _not_overlapping(_hits(text, names))
    counted = [hit for hit in chosen if hit.name.symbols and _counts(hit, text)]
    counted = _with_neighbours(counted, chosen, text)
    found = [(hit.begin, symbol) for hit in counted for symbol in hit.name.symbols]
    found += [(begin, symbol) for begin, symbol in _tickers(text, names) if symbol in names.symbols]
    return tuple(dict.fromkeys(symbol for _, symbol in sorted(found, key=lambda one: one[0])))


def _hits(text: str, names: Names) -> Iterator[_Hit]:
    """Every name in `text`, overlapping ones too. Latin letters count as whole words only."""
    for begin, first in enumerate(text):
        for length in names.lengths.get(first, ()):
            end = begin + length
            name = names.by_text.get(text[begin:end])
            if name is not None and end <= len(text) and not _cuts_a_word(text, begin, end):
                yield _Hit(begin=begin, end=end, name=name)


def _cuts_a_word(text: str, begin: int, end: int) -> bool:
    """Whether a Latin word or number goes on beyond begin..end."""
    return any(0 < edge < len(text) and _is_latin(text[edge - 1]) and _is_latin(text[edge]) for edge in (begin, end))


def _is_latin(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _not_overlapping(hits: Iterable[_Hit]) -> list[_Hit]:
    """The longest names first, none sharing a character with another, in the order of the headline."""
    chosen: list[_Hit] = []
    for hit in sorted(hits, key=lambda one: one.rank):
        if all(hit.end <= other.begin or other.end <= hit.begin for other in chosen):
            chosen.append(hit)
    return sorted(chosen, key=lambda one: one.begin)


def _counts(hit: _Hit, text: str) -> bool:
    """Whether the name counts by itself, without its neighbours."""
    code = _code_beside(hit, text)
    if code is not None:
        return code in hit.name.symbols
    if _SUBSIDIARY.match(text, hit.end):
        return False
    if hit.name.grade is Grade.SURE:
        return True
    if hit.name.grade is Grade.CAREFUL:
        return _begins_a_word(hit, text)
    return hit.name.grade is Grade.WORD and _begins_a_word(hit, text) and bool(_BEHIND.match(text, hit.end))


def _begins_a_word(hit: _Hit, text: str) -> bool:
    """Whether a word may begin where the name begins."""
    return hit.begin == 0 or text[hit.begin - 1] in _BREAKS or bool(_BEFORE.search(text[: hit.begin]))


def _code_beside(hit: _Hit, text: str) -> str | None:
    """Its own code, "" for a foreign one, or None: no code, or a number that is none of its codes (a year, a price)."""
    if _FOREIGN_BEHIND.match(text, hit.end) and not _ADR.search(text, hit.end):
        return ""
    behind, before = _CODE_BEHIND.match(text, hit.end), _CODE_BEFORE.search(text[: hit.begin])
    told = [found[1] for found in (behind, before) if found and found[1] in hit.name.symbols]
    return told[0] if told else None


def _with_neighbours(counted: list[_Hit], chosen: list[_Hit], text: str) -> list[_Hit]:
    """`counted`, and the names in one list with one of them: 智原、創意 makes 創意 a company, 華碩技嘉 技嘉."""
    found = list(counted)
    while True:
        new = [
            hit
            for hit in chosen
            if hit not in found
            and hit.name.symbols
            and hit.name.grade > Grade.CODED
            and not _SUBSIDIARY.match(text, hit.end)
            and any(_in_one_list(hit, other, text) for other in found)
        ]
        if not new:
            return found
        found += new


def _in_one_list(hit: _Hit, other: _Hit, text: str) -> bool:
    """Whether nothing, or one sign of a list, stands between the two. An ordinary word must begin and end there."""
    first, second = (hit, other) if hit.begin < other.begin else (other, hit)
    between = text[first.end : second.begin].removeprefix("-KY")
    if hit.name.grade is Grade.CAREFUL:
        return between == "" or between in _LIST_SIGNS
    begins = hit is second or _begins_a_word(hit, text)
    return begins and (
        (between == "" and hit is first) or (between in _WORD_LIST_SIGNS and _ends_a_word(text, hit.end))
    )


def _ends_a_word(text: str, end: int) -> bool:
    return end == len(text) or text[end] in _BREAKS or text[end] in "等及與和" or bool(_BEHIND.match(text, end))


def _tickers(text: str, names: Names) -> Iterator[tuple[int, str]]:
    """Codes written as such: 2330-TW, TSM-US, 0050."""
    for found in _TICKER.finditer(text):
        yield found.start(), found[1] or found[2]
    for found in _ADR.finditer(text):
        if found[1] in names.adrs:
            yield found.start(), names.adrs[found[1]]
    for found in _FUND.finditer(text):
        yield found.start(), found[1]
