"""Feeds over a real loopback server: dates, encodings, markup, broken documents, redirects, conditional requests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loopback import Answer, Loopback, rss_config

from bot.adapters.company_names import symbols_of
from bot.adapters.retry import Retry
from bot.adapters.rss_articles import RssArticles, plain_text, stories_in
from bot.config import TAIPEI
from bot.core.headlines import Story
from bot.errors import BotError, ConfigError, DataMissing, Transient
from bot.ports import Validators

NOW = datetime(2025, 3, 5, 17, 0, tzinfo=TAIPEI)
NOTHING = Validators()


class StandingClock:
    def now(self) -> datetime:
        return NOW.astimezone(UTC)


def item(title: str = "台積電大漲", date: str = "Wed, 05 Mar 2025 08:00:00 GMT", link: str = "https://a.org/1") -> str:
    told = f"<pubDate>{date}</pubDate>" if date else ""
    return f"<item><title>{title}</title><link>{link}</link>{told}</item>"


def rss(*items: str, encoding: str = "utf-8", head: str = "<title>財經報</title>") -> bytes:
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><rss version="2.0"><channel>{head}{"".join(items)}</channel></rss>'
    )
    return text.encode("cp950" if encoding.lower() == "big5" else encoding)


def read(body: bytes, content_type: str = "application/rss+xml") -> list[Story]:
    return stories_in(body, {"content-type": content_type}, "https://a.org/feed", NOW, symbols_of)


def feed(loopback: Loopback, path: str = "/feed", **changes: Any) -> tuple[RssArticles, str]:
    url = loopback.url + path
    return RssArticles(rss_config(url, **changes), StandingClock(), symbols_of), url


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(Retry.__init__, "__kwdefaults__", {"first_pause_s": 0.0, "longest_pause_s": 0.01})


# --- what an entry becomes --------------------------------------------------------------------------------


def test_an_entry_is_a_story_with_its_companies() -> None:
    assert read(rss(item("台積電攜手聯電 (2330-TW)"))) == [
        Story(
            title="台積電攜手聯電 (2330-TW)",
            url="https://a.org/1",
            source="財經報",
            language="zh",
            published_at=datetime(2025, 3, 5, 16, 0, tzinfo=TAIPEI),
            fetched_at=NOW,
            symbols=("2330", "2303"),
        )
    ]


@pytest.mark.parametrize(
    ("date", "hour"),
    [
        ("Wed, 05 Mar 2025 14:05:00 +0800", 14),
        ("Wed, 05 Mar 2025 06:05:00 GMT", 14),
        ("2025-03-05T06:05:00Z", 14),
        ("2025-03-05T14:05:00+08:00", 14),
        ("2025-03-05 14:05:00", 14),  # no zone told: Taipei's
    ],
)
def test_times_are_read_with_their_zone_and_without_one_as_taipeis(date: str, hour: int) -> None:
    [story] = read(rss(item(date=date)))
    assert (story.published_at, story.dated) == (datetime(2025, 3, 5, hour, 5, tzinfo=TAIPEI), True)


@pytest.mark.parametrize(
    "date", ["", "soon", "Wed, 05 Mar 2025 18:00:00 +0800", "Thu, 01 Jan 1970 00:00:00 GMT", "2025-13-45", "99999999"]
)
def test_without_a_believable_time_a_headline_counts_from_its_fetching(date: str) -> None:
    [story] = read(rss(item(date=date)))
    assert (story.published_at, story.dated) == (NOW, False)


@pytest.mark.parametrize(
    ("title", "plain"),
    [
        ("<![CDATA[<b>台積電</b>大漲 &amp; 聯電]]>", "台積電大漲 & 聯電"),
        ("&lt;b&gt;台積電&lt;/b&gt;　大漲\n 再漲", "台積電 大漲 再漲"),
        ("<![CDATA[營收<10億 <script>alert(1)</script>]]>", "營收<10億"),
    ],
)
def test_markup_in_a_title_is_gone(title: str, plain: str) -> None:
    assert read(rss(item(title)))[0].title == plain


def test_entries_without_a_title_are_left_out_and_odd_links_too() -> None:
    told = rss(item(""), item("  "), "<item><description>x</description></item>", item(link="javascript:alert(1)"))
    [story] = read(told)
    assert (story.title, story.url) == ("台積電大漲", "")


def test_atom_and_rdf_are_read_too() -> None:
    atom = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en"><title>Wire</title>
      <entry><title type="html">TSMC &lt;i&gt;up&lt;/i&gt;</title><link href="https://b.org/2"/>
      <updated>2025-03-05T01:00:00Z</updated></entry></feed>"""
    [story] = read(atom.encode())
    assert (story.title, story.symbols, story.language, story.source) == ("TSMC up", ("2330",), "en", "Wire")
    rdf = """<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
      xmlns="http://purl.org/rss/1.0/"><channel><title>R</title></channel>
      <item><title>鴻海法說</title><link>https://c.org/3</link></item></rdf:RDF>"""
    assert read(rdf.encode())[0].symbols == ("2317",)


# --- encodings --------------------------------------------------------------------------------------------


def test_big5_with_what_windows_added_to_it() -> None:
    """恒, 碁 and 裏 as cp950 has them; Python's big5 lacks the last."""
    [story] = read(rss(item("宏碁、恒耀 裏外皆漲 €"), encoding="big5"))
    assert (story.title, story.source) == ("宏碁、恒耀 裏外皆漲 €", "財經報")


def test_an_encoding_told_in_the_header_only() -> None:
    body = rss(item("緯創看旺")).replace(b' encoding="utf-8"', b"").decode().encode("cp950")
    assert read(body, "text/xml; charset=Big5")[0].title == "緯創看旺"


def test_utf16_and_a_byte_order_mark() -> None:
    assert read(rss(item("廣達"), encoding="utf-16"))[0].title == "廣達"
    assert read(b"\xef\xbb\xbf" + rss(item("廣達")))[0].title == "廣達"


def test_a_wrong_encoding_is_refused_and_not_stored_as_gibberish() -> None:
    with pytest.raises(DataMissing, match="Big5"):
        read(rss(item("廣達")).replace(b"utf-8", b"big5").replace("廣達".encode(), b"\xff\xfe\xfd"))
    with pytest.raises(BotError):
        read(rss(item("廣達")).replace("廣達".encode(), "廣達".encode("cp950")))


# --- broken documents -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "an empty answer"),
        (b"  \n", "an empty answer"),
        (b"<!DOCTYPE html><html><body>busy</body></html>", "HTML instead of a feed"),
        (rss(item(), item("聯電大跌"))[:-40], "cut off"),
        (b'{"articles": []}', "cut off"),
        (b"<x></rss>", "no feed"),
    ],
)
def test_what_is_no_whole_feed_is_tried_again(body: bytes, why: str) -> None:
    with pytest.raises(Transient, match=why):
        read(body)


def test_a_feed_with_bad_xml_is_read_as_far_as_it_can_be() -> None:
    """A bare & is the commonest mistake of all: feedparser's second parser reads past it."""
    titles = [story.title for story in read(rss(item("AT&T 台積電"), item("聯電", link="https://a.org/2?a=1&b=2")))]
    assert titles == ["AT&T 台積電", "聯電"]


@pytest.mark.parametrize("entity", ['x "aaaaaaaaaa"', 'x SYSTEM "file:///etc/hostname"', '% x SYSTEM "http://a.org/"'])
def test_a_document_with_entities_of_its_own_is_refused(entity: str) -> None:
    """They could grow without end, or read files of this machine."""
    body = rss(item("台積電 &x;")).replace(b"<rss", f"<!DOCTYPE rss [<!ENTITY {entity}>]><rss".encode(), 1)
    with pytest.raises(DataMissing, match="entities"):
        read(body)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 40))
@example(b"\x00", 120, 0)
@example(b"&", 120, 0)
def test_any_damage_is_a_typed_error_or_whole_stories(noise: bytes, at: int, cut: int) -> None:
    body = rss(item(), item("聯電大跌", link="https://a.org/2"))
    try:
        stories = read(body[:at] + noise + body[at + cut :])
    except (Transient, DataMissing):
        return
    for story in stories:
        assert story.title.strip()
        assert story.published_at <= story.fetched_at == NOW


@given(st.text(max_size=200))
def test_plain_text_never_fails_and_is_one_line(text: str) -> None:
    assert "\n" not in plain_text(text)


# --- over the wire ----------------------------------------------------------------------------------------


def test_asks_whether_it_has_changed(loopback: Loopback) -> None:
    rss_feed, url = feed(loopback)
    headers = {"ETag": '"v1"', "Last-Modified": "Wed, 05 Mar 2025 08:00:00 GMT"}
    loopback.tell(Answer(rss(item()), headers=headers), Answer(status=304))
    first = rss_feed.read(url, NOTHING)
    assert first.changed
    assert first.validators == Validators(etag='"v1"', last_modified="Wed, 05 Mar 2025 08:00:00 GMT")
    assert "If-None-Match" not in loopback.requests[0].headers
    second = rss_feed.read(url, first.validators)
    assert (second.changed, second.stories, second.validators) == (False, (), first.validators)
    asked = loopback.requests[1].headers
    assert (asked["If-None-Match"], asked["If-Modified-Since"]) == ('"v1"', "Wed, 05 Mar 2025 08:00:00 GMT")


def test_a_redirect_on_the_same_host_is_followed(loopback: Loopback) -> None:
    rss_feed, url = feed(loopback)
    loopback.tell(Answer(status=301, headers={"Location": "/new"}), Answer(rss(item())))
    assert len(rss_feed.read(url, NOTHING).stories) == 1
    assert [one.path for one in loopback.requests] == ["/feed", "/new"]


@pytest.mark.parametrize(
    "target", ["https://evil.example/feed", "http://169.254.169.254/latest", "file:///etc/passwd", "//evil.example/x"]
)
def test_a_redirect_elsewhere_is_refused_and_named(loopback: Loopback, target: str) -> None:
    rss_feed, url = feed(loopback)
    loopback.tell(Answer(status=302, headers={"Location": target}))
    with pytest.raises(DataMissing, match=r"redirects to .*feeds\.rss\.urls"):
        rss_feed.read(url, NOTHING)
    assert len(loopback.requests) == 1


def test_a_circle_of_redirects_ends(loopback: Loopback) -> None:
    rss_feed, url = feed(loopback)
    loopback.tell(Answer(status=302, headers={"Location": "/feed"}))
    with pytest.raises(DataMissing, match="more than 3 redirects"):
        rss_feed.read(url, NOTHING)
    assert len(loopback.requests) == 4


def test_what_is_too_large_is_refused(loopback: Loopback) -> None:
    rss_feed, url = feed(loopback, limit_kib=1)
    loopback.tell(rss(item("台" * 2000)))
    with pytest.raises(DataMissing, match="larger than 1 KiB"):
        rss_feed.read(url, NOTHING)
    assert len(loopback.requests) == 1


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (Answer(b"<html></html>"), "HTML instead of a feed"),
        (Answer(status=503), "HTTP 503"),
        (Answer(rss(item()), promised=10_000), "broke off"),
    ],
)
def test_trouble_is_tried_again_and_then_told_in_one_line(loopback: Loopback, bad: Answer, why: str) -> None:
    rss_feed, url = feed(loopback, attempts=2)
    loopback.tell(bad, Answer(rss(item())))
    assert len(rss_feed.read(url, NOTHING).stories) == 1
    loopback.tell(bad)
    with pytest.raises(DataMissing, match=rf"^rss at {loopback.url}: feed {url}: .*{why}.*, 2 tries$"):
        rss_feed.read(url, NOTHING)


def test_a_silent_server_is_given_up(loopback: Loopback) -> None:
    rss_feed, url = feed(loopback, timeout_s=0.1, attempts=1)
    loopback.tell(Answer(silent=True))
    with pytest.raises(DataMissing, match=r"no answer within 0\.1 s"):
        rss_feed.read(url, NOTHING)


@pytest.mark.parametrize("url", ["http://example.org/feed", "example.org/feed", "ftp://example.org/", "file:///x", ""])
def test_an_address_that_is_not_https_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match=r"`feeds\.rss\.urls`"):
        RssArticles(rss_config(url), StandingClock(), symbols_of)
