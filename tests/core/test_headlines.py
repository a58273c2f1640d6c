from __future__ import annotations

from datetime import timedelta

import pytest
from builders import THURSDAY, at

from bot.core.headlines import dated_or_not, language_of, plain_title, plain_url


def test_one_title_however_it_is_written() -> None:
    assert plain_title("台積電ＡＤＲ　大漲 - Second Paper", "Second Paper") == plain_title(" 台積電adr 大漲", "Wire")
    assert plain_title("台積電大漲", "") != plain_title("台積電大跌", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://www.example.org/a/1?id=7&utm_source=rss&fbclid=x",
        "http://example.org/a/1/?id=7#top",
        "https://EXAMPLE.org/a/1?id=7",
    ],
)
def test_one_address_however_it_is_linked(url: str) -> None:
    assert plain_url(url) == "example.org/a/1?id=7"


def test_another_query_or_path_is_another_article() -> None:
    told = ["https://a.org/1?id=7", "https://a.org/1?id=8", "https://a.org/2?id=7", "https://a.org/1", "", "http://["]
    assert len({plain_url(url) for url in told}) == len(told)


def test_a_time_that_cannot_be_is_none() -> None:
    now = at(THURSDAY, "17:00")
    hour = timedelta(hours=1)
    assert dated_or_not(now - hour, now) == (now - hour, True)
    assert dated_or_not(now, now) == (now, True)
    for impossible in (None, now + hour, now.replace(year=1970)):
        assert dated_or_not(impossible, now) == (now, False)


def test_language_by_script() -> None:
    assert (language_of("TSMC beats"), language_of("TSMC 財報")) == ("en", "zh")
