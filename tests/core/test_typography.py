"""One way to type a text: by hand, and whatever comes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.typography import tidied


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        # As linguists cut sentences.
        ("Profit rose to EUR 8.2 mn , up 20 % .", "Profit rose to EUR 8.2 mn, up 20%."),
        ("The company 's sales did n't fall , they 've grown", "The company's sales didn't fall, they've grown"),
        ("we 're sure : they 'll sell !", "we're sure: they'll sell!"),
        ("`` We are pleased '' , he said", '" We are pleased ", he said'),
        ("Oyj ( HEL : SAA1V ) said ; why ?", "Oyj (HEL: SAA1V) said; why?"),
        ("sales of EUR74 .8 m and EUR995 ,000", "sales of EUR74.8 m and EUR995,000"),
        # A blank that means something.
        ("calls +35% .19", "calls +35% .19"),
        ("up .5 on the day", "up .5 on the day"),
        (".DJI and .SPX slip", ".DJI and .SPX slip"),
        ("the 'smart' phone", "the 'smart' phone"),
        ("an off (on) switch", "an off (on) switch"),
        # Links.
        ("$AAPL beats https://t.co/a1B2c3", "$AAPL beats"),
        ("https://t.co/a1 $AAPL beats, see http://x.org/?q=1&r=%20#top.", "$AAPL beats, see."),
        ("More at www.basware.com and WWW.EXAMPLE.ORG", "More at and"),
        ("Prothious ( www.prothious.com ) employs 1,000", "Prothious employs 1,000"),
        ("Read more: https://t.co/bdKk... https://t.co/PG84", "Read more:"),
        ("(https://en.wikipedia.org/wiki/A_(b)) up", "up"),
        ("ewww. that hurts; http: no link, www. neither", "ewww. that hurts; http: no link, www. neither"),
        ("http ://a.tw/1 up", "up"),  # a link only once its blank is gone
        # Nothing but links.
        ("https://t.co/a1B2c3", ""),
        ("http://a.tw/1 - (www.b.tw), https://c.tw!", ""),
        # What was no link stays, be it as little.
        (":)", ":)"),
        ("🚀 https://t.co/a1B2c3", "🚀"),
        ("$ https://t.co/a1B2c3", "$"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_by_hand(typed: str, told: str) -> None:
    assert tidied(typed) == told


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("台積電第三季營收年增 30 % , 創新高 !", "台積電第三季營收年增 30 % , 創新高 !"),
        ("「利多」 ( 2330 ) ''大漲'' : 法人看好", "「利多」 ( 2330 ) ''大漲'' : 法人看好"),
        ("TSMC 's 董事會", "TSMC 's 董事會"),
        ("詳見https://reurl.cc/abc123營收創新高", "詳見 營收創新高"),
        ("詳見https://reurl.cc/abc123,營收創新高", "詳見 ,營收創新高"),
        ("股東會 www.tsmc.com 公告", "股東會 公告"),
        ("https://zh.wikipedia.org/wiki/台積電", "台積電"),
    ],
)
def test_chinese_loses_its_links_only(typed: str, told: str) -> None:
    assert tidied(typed) == told


PARTS = st.lists(
    st.sampled_from(
        ["https://t.co/a", "http://", "www.", "www.a.tw", "(", ")", "( ", " )", "''", "'", "`", "``", " 's", " n't", " .",
         " ,", " %", " :", "http", "//a", "...", ".", "5", "up", "營收", " ", "  ", "\n", "\u0301", "\u3000", "🚀", ":)", "ps://b"]
    )
    | st.text(max_size=4),
    max_size=25,
).map("".join)  # fmt: skip


@given(PARTS)
def test_whatever_comes_gets_no_longer_and_is_tidied_once_for_all(text: str) -> None:
    told = tidied(text)

    assert len(told) <= len(text)
    assert tidied(told) == told
    assert told == " ".join(told.split())
    assert not re.search(r"https?://[a-z0-9]|\bwww\.[a-z0-9]", told, re.ASCII)


@given(PARTS)
def test_nothing_is_added_and_nothing_changes_its_place(text: str) -> None:
    """What is told stands in the text in this order; only a quote may stand for two marks."""
    marks = str.maketrans("'`", '""')
    left = iter(text.translate(marks))

    assert all(one == " " or one in left for one in tidied(text).translate(marks))


@given(st.lists(st.sampled_from(["營收", "年增 30 %", "TSMC 's", " , ", "''", "``", " ( ", " ) ", "!", " ", "up"])))
def test_chinese_without_a_link_is_only_set_in_one_line(parts: list[str]) -> None:
    text = "".join([*parts, "漲"])

    assert tidied(text) == " ".join(text.split())
