"""Headlines of RSS and Atom feeds: fetched with our own HTTP, read by feedparser from bytes.

feedparser would fetch by itself, without a time-out or a limit; it never sees an address here.
"""

from __future__ import annotations

import codecs
import logging
import re
import time
from calendar import timegm
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from bot.adapters.door import Door, check_status, is_loopback, shown
from bot.adapters.retry import Unreachable
from bot.config import TAIPEI, RssConfig
from bot.core.headlines import Story, dated_or_not, language_of
from bot.errors import ConfigError, DataMissing, Refused, Transient
from bot.ports import Clock, FeedAnswer, Validators

log = logging.getLogger(__name__)
SymbolsOf = Callable[[str], tuple[str, ...]]

_REDIRECTS: Final = 3
_CHUNK: Final = 16_384
_SLOWEST: Final = 4  # a whole answer may take this many times the time-out of one read
_AGENT: Final = "twtrader (+feedparser)"
# A document that ends so is whole; one that doesn't was cut off, and its last headline with it.
_WHOLE: Final = re.compile(rb"</(?:rss|feed|(?:\w+:)?RDF)\s*>\s*(?:<!--.*?-->\s*)*$", re.DOTALL | re.IGNORECASE)
_TAIL: Final = 4096  # bytes
_DECLARED: Final = re.compile(rb"""^\s*<\?xml[^>]*?encoding=["']([A-Za-z0-9_.:-]+)["']""")
_CHARSET: Final = re.compile(r"charset=[\"']?([\w.:-]+)", re.IGNORECASE)
_BARE_AMPERSAND: Final = re.compile(
    rb"(<!\[CDATA\[.*?\]\]>)|&(?!#\d{1,7};|#[xX][0-9A-Fa-f]{1,6};|\w{1,31};)", re.DOTALL
)
_BIG5: Final = frozenset({"big5", "big-5", "big5-hkscs", "cp950", "x-x-big5", "csbig5"})
# Windows' code page first: it is what Taiwanese sites write when they say Big5.
_BIG5_CODECS: Final = ("cp950", "big5hkscs")
# What feedparser falls back on when nothing fits. Source: feedparser's documentation, "Character encoding detection"
_GUESSES: Final = frozenset({"windows-1252", "iso-8859-2"})
# "+0800", "+08:00", "Z", "GMT" ... at the end: the time says where it was taken.
_ZONED: Final = re.compile(r"(?:[+-]\d{2}:?\d{2}|Z|\b[A-Z]{2,4})\s*(?:\([^)]*\))?$")


class RssArticles:
    """Reads the feeds of the config."""

    def __init__(self, config: RssConfig, clock: Clock, symbols_of: SymbolsOf) -> None:
        """`clock` tells `fetched_at`, `symbols_of` what a title speaks of.

        Raises:
            ConfigError: an address is none, or not https (http is for loopback only).
        """
        for url in config.urls:
            parts = urlsplit(url)
            if not parts.hostname or not _is_safe(url):
                raise ConfigError(f"`feeds.rss.urls`: {url!r} must be an address like https://example.org/feed.xml")
        self._config = config
        self._clock = clock
        self._symbols_of = symbols_of
        self._doors: dict[str, _FeedDoor] = {}

    @property
    def urls(self) -> tuple[str, ...]:
        """The feeds."""
        return self._config.urls

    def read(self, url: str, known: Validators) -> FeedAnswer:
        """The stories of the feed at `url`; none, and not `changed`, when the server says it is as `known`.

        Raises:
            DataMissing: no trustworthy answer, retries included.
        """
        door = self._door(url)
        return door.ask(f"feed {shown(url)}", lambda: self._read(door, url, known))

    def close(self) -> None:
        """Close the connections."""
        for door in self._doors.values():
            door.close()

    def _door(self, url: str) -> _FeedDoor:
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.netloc}"
        if host not in self._doors:
            self._doors[host] = _FeedDoor("rss", host, timeout_s=self._config.timeout_s, attempts=self._config.attempts)
        return self._doors[host]

    def _read(self, door: _FeedDoor, url: str, known: Validators) -> FeedAnswer:
        page = door.page(url, known, self._config.limit_kib * 1024)
        fetched_at = self._clock.now().astimezone(TAIPEI)
        if page is None:
            return FeedAnswer(stories=(), validators=known, fetched_at=fetched_at, changed=False)
        stories = stories_in(page.body, page.headers, url, fetched_at, self._symbols_of)
        validators = Validators(etag=page.headers.get("etag", ""), last_modified=page.headers.get("last-modified", ""))
        return FeedAnswer(stories=tuple(stories), validators=validators, fetched_at=fetched_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """A body and its headers, names in lower case."""

    body: bytes
    headers: Mapping[str, str]


class _FeedDoor(Door):
    """A door that asks "has it changed?", reads no more than it must, and follows a redirect on the same host."""

    def page(self, url: str, known: Validators, limit: int) -> _Page | None:
        """What one GET answers; None when it hasn't changed.

        Raises:
            Transient: no answer, or one that may be better next time.
            Refused: too large, a redirect elsewhere, or the server doesn't know the feed.
        """
        for _ in range(_REDIRECTS + 1):
            answer = self._once(url, known, limit)
            if not isinstance(answer, str):
                return answer
            url = _followed(url, answer)
        raise Refused(f"more than {_REDIRECTS} redirects")

    def _once(self, url: str, known: Validators, limit: int) -> _Page | str | None:
        """The page, the address of a redirect, or None when nothing has changed."""
        import requests

        asked = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified, "User-Agent": _AGENT}
        headers = {name: value for name, value in asked.items() if value}
        until = time.monotonic() + _SLOWEST * self._timeout_s
        try:
            with self._session.get(
                url, headers=headers, timeout=self._timeout_s, allow_redirects=False, stream=True
            ) as response:
                if response.status_code == HTTPStatus.NOT_MODIFIED:
                    return None
                if response.is_redirect:
                    return str(response.headers["Location"])
                check_status(response)
                body = bytearray()
                for chunk in response.iter_content(_CHUNK):
                    body += chunk
                    if len(body) > limit:
                        raise Refused(f"larger than {limit // 1024} KiB")
                    if time.monotonic() > until:
                        raise Unreachable(f"not all there within {_SLOWEST * self._timeout_s:g} s")
                return _Page(
                    body=bytes(body), headers={name.lower(): value for name, value in response.headers.items()}
                )
        except requests.Timeout as error:
            raise Unreachable(f"no answer within {self._timeout_s:g} s") from error
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise Transient("the answer broke off") from error
        except requests.RequestException as error:
            raise Unreachable("the connection failed") from error


def _followed(url: str, location: str) -> str:
    """Where a redirect leads, if it stays with the host, `www.` apart, and doesn't leave https.

    Raises:
        Refused: it doesn't.
    """
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    same_host = _host(old.hostname) == _host(new.hostname) and (old.port == new.port or old.scheme != new.scheme)
    if not same_host or not _is_safe(target) or (old.scheme == "https" and new.scheme != "https"):
        raise Refused(f"redirects to {shown(target)}: if you trust it, write that address into `feeds.rss.urls`")
    return target


def _host(name: str | None) -> str:
    return (name or "").removeprefix("www.")


def _is_safe(url: str) -> bool:
    return urlsplit(url).scheme == "https" or (urlsplit(url).scheme == "http" and is_loopback(url))


# --- reading ----------------------------------------------------------------------------------------------


def stories_in(
    body: bytes, headers: Mapping[str, str], url: str, fetched_at: datetime, symbols_of: SymbolsOf
) -> list[Story]:
    """The stories of a feed's document, in its order. Entries without a title are left out.

    Raises:
        Transient: cut off, empty, or no feed at all: a server in trouble answers with a page of HTML.
        DataMissing: in an encoding that nobody can tell, or with entities that could grow or read files.
    """
    import feedparser

    if not body.strip():
        raise Transient("an empty answer")
    text, content_type = _as_utf8(body, headers.get("content-type", ""))
    if not _WHOLE.search(text[-_TAIL:]):
        raise Transient("HTML instead of a feed" if b"<html" in text[:_TAIL].lower() else "a feed that was cut off")
    if b"<!entity" in text.lower():
        raise DataMissing(f"feed {shown(url)}: it defines entities of its own, which no headline needs")
    headers = {"content-type": content_type, "content-location": url}
    try:
        told = feedparser.parse(BytesIO(_with_whole_ampersands(text)), response_headers=headers)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as broken:
        # Found by our fuzz: feedparser 6.0.14 falls over odd bytes in the XML declaration.
        raise Transient(f"a feed that can't be read ({type(broken).__name__})") from broken
    trouble = told.get("bozo_exception")
    if isinstance(trouble, feedparser.CharacterEncodingOverride) and told.encoding in _GUESSES:
        raise DataMissing(f"feed {shown(url)}: its characters aren't in the encoding that it names")
    if not told.version:
        raise Transient("no feed")
    if told.bozo:
        log.info("rss: %s: %s", shown(url), trouble)
    feed_source = plain_text(told.feed.get("title", "")) or (urlsplit(url).hostname or "")
    language = str(told.feed.get("language", "")).split("-")[0].lower()
    found = [_story(entry, feed_source, language, fetched_at, symbols_of) for entry in told.entries]
    return [story for story in found if story is not None]


def _story(entry: Any, source: str, language: str, fetched_at: datetime, symbols_of: SymbolsOf) -> Story | None:
    """One entry; None when it has no headline."""
    title = plain_text(entry.get("title", ""))
    if not title:
        return None
    published_at, dated = dated_or_not(_moment(entry), fetched_at)
    link = str(entry.get("link", "") or "")
    own_source = plain_text(entry.get("source", {}).get("title", "")) if isinstance(entry.get("source"), dict) else ""
    return Story(
        title=title,
        url=link if urlsplit(link).scheme in {"http", "https"} else "",
        source=own_source or source,
        language=language or language_of(title),
        published_at=published_at,
        fetched_at=fetched_at,
        symbols=symbols_of(title),
        dated=dated,
    )


def _moment(entry: Any) -> datetime | None:
    """When the entry says that it was published, else updated; None when it says neither so that one can read it.

    A time without a zone is Taipei's: the feeds that leave it out are Taiwanese, and reading it as UTC would put the
    headline 8 hours into the future.
    """
    for name in ("published", "updated"):
        parsed, raw = entry.get(f"{name}_parsed"), str(entry.get(name, "")).strip()
        if parsed is None:
            continue
        try:
            read = datetime.fromtimestamp(timegm(parsed), UTC)
            return (read if _ZONED.search(raw) else read.replace(tzinfo=TAIPEI)).astimezone(TAIPEI)
        except (ValueError, OverflowError):
            continue
    return None


def _as_utf8(body: bytes, content_type: str) -> tuple[bytes, str]:
    """The document and its content type; one that says Big5 is decoded here and told as UTF-8.

    feedparser tries Python's "big5", which lacks what Windows added to it, and then guesses a Western encoding.

    Raises:
        DataMissing: it says Big5 and isn't.
    """
    in_header, in_body = _CHARSET.search(content_type), _DECLARED.match(body)
    if body[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return _told_as_utf8(body.decode("utf-16", errors="replace"))
    declared = (in_header[1] if in_header else in_body[1].decode("ascii") if in_body else "").lower()
    if declared not in _BIG5:
        return body, content_type
    for codec in _BIG5_CODECS:
        try:
            return _told_as_utf8(body.decode(codec))
        except UnicodeDecodeError:
            continue
    raise DataMissing("a feed that says Big5, and isn't")


def _told_as_utf8(text: str) -> tuple[bytes, str]:
    """The document without the declaration of its old encoding, and its new content type."""
    plain = re.sub(r"^\s*<\?xml[^>]*\?>", "", text.removeprefix("\ufeff"))
    return plain.encode(), "application/xml; charset=utf-8"


def _with_whole_ampersands(text: bytes) -> bytes:
    """The document with each bare & written out: feedparser would make AT&T; of AT&T."""
    return _BARE_AMPERSAND.sub(lambda found: found[1] or b"&amp;", text)


class _TextOnly(HTMLParser):
    """Collects the text between tags, scripts and styles apart."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._skipping = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Skip what is for machines."""
        del attrs
        self._skipping = tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:
        """Text again."""
        del tag
        self._skipping = False

    def handle_data(self, data: str) -> None:
        """Keep it."""
        if not self._skipping:
            self.parts.append(data)


def plain_text(marked_up: Any) -> str:
    """A title without tags and entities, blanks made one."""
    reader = _TextOnly()
    reader.feed(str(marked_up or ""))
    reader.close()
    return " ".join("".join(reader.parts).split())
