from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from loopback import Answer, Loopback

from bot.adapters.door import Door, checked_base_url, exchange_session, is_loopback, shown
from bot.errors import ConfigError, DataMissing

OK = {"stat": "OK"}


def door_to(url: str, **changes: Any) -> Door:
    return Door("twse", url, **({"timeout_s": 5.0, "attempts": 4} | changes))


def read(door: Door) -> dict[str, Any]:
    return door.ask("2330 2025-03", lambda: door.get_json("/a/b", {"q": "台積電"}))


def test_asks_the_configured_address_and_answers_the_json(loopback: Loopback) -> None:
    loopback.tell(OK)
    assert read(door_to(loopback.url + "/prefix/")) == OK
    [request] = loopback.requests
    assert (request.path, request.params) == ("/prefix/a/b", {"q": "台積電"})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(b"<html>banned</html>"), "HTML instead of JSON"),
        (Answer(b'{"stat":"OK","da'), "a broken answer instead of JSON"),
        (Answer(b"\xff\xfe{"), "a broken answer instead of JSON"),
        (Answer(b""), "an empty answer"),
        (Answer([1]), "JSON, but no object"),
        (Answer(b'{"stat"', promised=99), "the answer broke off"),
        (Answer(b"", status=428), "HTTP 428"),
        (Answer(b"", status=503), "HTTP 503"),
        (Answer(b"", status=403), "HTTP 403"),
        (Answer(b"", status=302, headers={"Location": "https://elsewhere.example"}), "HTTP 302, a redirect"),
        (Answer(b"", status=429, headers={"Retry-After": "7"}), "HTTP 429, come back in 7 s"),
        (
            Answer(b"", status=429, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}),
            "HTTP 429, come back in ",
        ),
        (Answer(b"", status=429, headers={"Retry-After": "soon"}), "HTTP 429"),
    ],
)
def test_tries_again_when_the_answer_may_be_better_next_time(loopback: Loopback, answer: Answer, reason: str) -> None:
    loopback.tell(answer, OK)
    if "2100" in answer.headers.get("Retry-After", ""):
        with pytest.raises(DataMissing, match=reason):
            read(door_to(loopback.url))
        return
    assert read(door_to(loopback.url)) == OK
    loopback.tell(answer)
    with pytest.raises(DataMissing) as failed:
        read(door_to(loopback.url))
    assert str(failed.value) == f"twse at {loopback.url}: 2330 2025-03: {reason}, 4 tries"


def test_does_not_repeat_a_question_that_the_server_does_not_know(loopback: Loopback) -> None:
    loopback.tell(Answer(b"", status=404))
    with pytest.raises(DataMissing, match=r"2330 2025-03: HTTP 404$"):
        read(door_to(loopback.url))
    assert len(loopback.requests) == 1


def test_a_server_that_never_answers_is_left_after_the_time_out(loopback: Loopback) -> None:
    loopback.tell(Answer(silent=True))
    with pytest.raises(DataMissing, match=r"2330 2025-03: no answer within 0.1 s, 2 tries$"):
        read(door_to(loopback.url, timeout_s=0.1, attempts=2))


def test_an_unreachable_feed_is_named_in_one_line_and_then_gets_one_try_each_until_it_answers(
    loopback: Loopback,
) -> None:
    loopback.close()
    door = door_to(loopback.url)
    with pytest.raises(DataMissing) as failed:
        read(door)
    assert str(failed.value) == f"twse at {loopback.url}: 2330 2025-03: connection refused, 4 tries"
    with pytest.raises(DataMissing, match=r"connection refused, 1 try$"):
        read(door)


def test_a_proxy_of_the_environment_does_not_stand_before_loopback(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    loopback.tell(OK)
    assert read(door_to(loopback.url)) == OK


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
@pytest.mark.parametrize("session", ["requests", "exchange"])
def test_a_certificate_that_nobody_signed_is_refused(loopback: Loopback, tmp_path: Path, session: str) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run([*command.split(), "-keyout", "key", "-out", "cert"], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    loopback._server.socket = context.wrap_socket(loopback._server.socket, server_side=True)
    url = loopback.url.replace("http", "https")
    opened = {"open_session": lambda: exchange_session(url)} if session == "exchange" else {}
    with pytest.raises(DataMissing, match=r"TLS: self.signed certificate"):
        read(door_to(url, attempts=1, **opened))
    assert loopback.requests == []


@pytest.mark.parametrize("url", ["", "twse.com.tw", "ftp://a.example", "http://", "http://[", "http://a:99999"])
def test_refuses_what_is_no_address_and_names_the_key(url: str) -> None:
    with pytest.raises(ConfigError, match=r"`feeds\.twse\.base_url` must be an address"):
        door_to(url)


def test_shows_addresses_without_password() -> None:
    assert shown("https://user:secret@a.example:8443/x/?key=1") == "https://a.example:8443/x"
    assert checked_base_url("http://a.example/", "k") == "http://a.example"


def test_knows_this_machine() -> None:
    assert [is_loopback(f"http://{host}") for host in ("127.0.0.1:8", "localhost", "[::1]:5", "a.example")] == [
        True,
        True,
        True,
        False,
    ]
