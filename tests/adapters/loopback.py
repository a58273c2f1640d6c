"""A loopback server that answers what a test tells it to, and feeds configured to ask it."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from bot.config import ExchangeFeedConfig, FeedsConfig, NewsFeedConfig, RssConfig

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. `promised` is a Content-Length that the body doesn't keep; `silent` never answers."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    silent: bool = False

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Loopback:
    """Answers the told answers in turn, the last one for ever; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[Request] = []
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def tell(self, *answers: Any) -> None:
        self.answers = [one if isinstance(one, Answer) else Answer(one) for one in answers]

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                params = dict(parse_qsl(parts.query, keep_blank_values=True))
                loopback.requests.append(Request(self.command, parts.path, params, dict(self.headers), body))
                answer = loopback.answers.pop(0) if len(loopback.answers) > 1 else loopback.answers[0]
                if answer.silent:
                    loopback.over.wait(10)
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(answer.promised or len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_POST = do_GET  # noqa: N815  (http.server's name)

            def log_message(self, *args: Any) -> None:
                pass

        return Handler


def exchange_config(url: str, **changes: Any) -> ExchangeFeedConfig:
    knobs = {"requests_per_window": 1000, "window_s": 0.001, "timeout_s": 5.0, "attempts": 4} | changes
    return ExchangeFeedConfig(base_url=url, **knobs)


def news_config(url: str, **changes: Any) -> NewsFeedConfig:
    budget = {"languages": ("zh", "en"), "requests_per_day": 100}
    knobs = {**budget, "lookback_days": 3, "page_size": 20, "timeout_s": 5.0, "attempts": 3, **changes}
    return NewsFeedConfig(base_url=url, **knobs)


def rss_config(*urls: str, **changes: Any) -> RssConfig:
    return RssConfig(urls=urls, **{"timeout_s": 5.0, "attempts": 3, "limit_kib": 64, **changes})


def feeds_config(url: str, **changes: Any) -> FeedsConfig:
    board = exchange_config(url, **changes)
    return FeedsConfig(twse=board, tpex=board, newsapi=news_config(url), rss=rss_config())


def recorded(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))
