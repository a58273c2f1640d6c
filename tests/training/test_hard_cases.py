"""The hard headlines: balanced, each once, nobody's real news, and none that the model is shown in its questions."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from bot.adapters.company_names import symbols_of
from bot.core import prompt
from training.hard_cases import KINDS, HardCase, hard_cases

CASES = hard_cases()


def plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(one for one in folded if one.isalnum())


def of(**told: str) -> list[HardCase]:
    return [one for one in CASES if all(getattr(one, name) == value for name, value in told.items())]


def test_there_are_60_in_each_language_balanced_over_kinds_and_labels() -> None:
    assert len(CASES) == 120
    cells = Counter((one.language, one.kind, one.label) for one in CASES)
    assert cells == {
        (language, kind, label): 4 for language in ("en", "zh-TW") for kind in KINDS for label in prompt.LABELS
    }


def test_a_chinese_headline_is_chinese_and_an_english_one_is_not() -> None:
    for one in CASES:
        assert bool(re.search(r"[\u4e00-\u9fff]", one.text)) == (one.language == "zh-TW"), one.text


def test_every_headline_names_its_company_is_read_whole_and_has_a_reason_of_one_line() -> None:
    for one in CASES:
        assert one.company in one.text
        assert len(one.text) <= prompt.TITLE_CHARS
        assert one.reason
        assert "\n" not in one.reason


def test_no_headline_and_no_company_stands_there_twice() -> None:
    assert len({plain(one.text) for one in CASES}) == 120
    assert len({one.company for one in CASES}) == 120


def test_no_headline_is_among_those_that_the_model_is_shown_or_corrected_by() -> None:
    shown = re.findall(r"Headline: (.+)\n", prompt.SENTIMENT_PREFIX)
    assert len(shown) == 6
    asked_with = {plain(text) for text in (*shown, *prompt.REFERENCE_TITLES)}
    for one in CASES:
        assert plain(one.text) not in asked_with


def test_no_headline_speaks_of_a_company_that_is_listed_in_taiwan() -> None:
    assert {one.text: found for one in CASES if (found := symbols_of(one.text))} == {}


def test_no_single_word_gives_the_label_away() -> None:
    """What fools a word counter is what the set is for: its obvious words must stand under other labels too."""
    up, down = (
        r"record|beat|growth|profit|新高|成長|獲利",
        r"loss|los[et]|fall|collapse|slump|cut|recall|虧|減|崩跌|失敗|下修",
    )
    for words, obvious in ((up, "positive"), (down, "negative")):
        said = [one.label for one in CASES if re.search(words, one.text, re.IGNORECASE)]
        assert len(said) >= 20
        assert Counter(said)[obvious] <= 0.6 * len(said)
