"""The sandbox's headlines as an RSS 2.0 feed that knows "has it changed?". Source: rssboard.org/rss-specification."""

from __future__ import annotations

import re
from datetime import timedelta
from email.utils import format_datetime
from hashlib import sha256
from typing import Final
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.sandbox.news import Headline
from bot.sandbox.world import world_behind

_DAYS: Final = timedelta(days=3)
_ITEMS: Final = 100
_SOURCE: Final = "沙盒快訊"
# What no XML may hold, not even escaped. Source: XML 1.0, 2.2 Characters
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(headlines: list[Headline]) -> bytes:
    """The feed of `headlines`, newest first, in UTF-8; its own language is that of most, so none is told."""
    items = "".join(
        f"<item><title>{escape(_NOT_XML.sub('', one.title))}</title><link>{escape(one.url)}</link>"
        f'<guid isPermaLink="false">{escape(one.url)}</guid>'
        f"<pubDate>{format_datetime(one.published_at)}</pubDate></item>"
        for one in headlines
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0"><channel>'
        f"<title>{_SOURCE}</title><link>https://news.sandbox.invalid/</link><description>{_SOURCE}</description>"
        f"{items}</channel></rss>\n"
    ).encode()


async def _headlines(request: Request) -> Response:
    world = world_behind(request)
    now = world.now()
    body = document(world.news.published(now - _DAYS, now)[:_ITEMS])
    etag = f'"{sha256(body).hexdigest()[:16]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    return Response(body, media_type="application/rss+xml; charset=utf-8", headers={"ETag": etag})


RSS_ROUTES: Final = [Route("/headlines.xml", _headlines)]
