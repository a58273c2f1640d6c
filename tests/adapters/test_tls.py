"""A loopback server with certificates made here, asked through the real adapter, door and requests."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from authority import Signed, signed
from loopback import Answer, Loopback

from bot.adapters import tls
from bot.adapters.door import Door
from bot.adapters.retry import Unreachable
from bot.adapters.tls import VerifiedAdapter, client_context, complete_chain, is_exchange
from bot.errors import DataMissing

DEFAULTS_SINCE_3_13 = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
AS_MADE = ssl.create_default_context
HOST = "127.0.0.1"


def is_strict(context: ssl.SSLContext) -> bool:
    return bool(context.verify_flags & ssl.VERIFY_X509_STRICT)


@pytest.fixture(params=["this Python's defaults", "the defaults since 3.13"], autouse=True)
def _defaults(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything holds with the verify flags that Python 3.13 and 3.14 begin with, too."""
    if "3.13" in request.param:

        def strict(*args: Any, **kwargs: Any) -> ssl.SSLContext:
            context = AS_MADE(*args, **kwargs)
            context.verify_flags |= DEFAULTS_SINCE_3_13
            return context

        monkeypatch.setattr(ssl, "create_default_context", strict)


@pytest.fixture
def authority() -> Iterator[Loopback]:
    """The HTTP server on which an authority puts its certificates."""
    server = Loopback()
    server.tell(Answer(b"", status=404))
    yield server
    server.close()


ROOT = signed("our root", ca=True, identifier=False)
STRANGER = signed("a stranger's root", ca=True, identifier=False)


class Exchange:
    """A server behind TLS and what asks it."""

    def __init__(self, server: Loopback, authority: Loopback, folder: Path) -> None:
        self.server, self.authority, self.folder = server, authority, folder
        self.url = server.url.replace("http", "https")
        self.port = server._server.server_port
        (folder / "roots.pem").write_bytes(ROOT.pem)
        server.tell({"stat": "OK"})

    def shows(self, leaf: Signed, *above: Signed) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*leaf.write(self.folder, *above))
        self.server._server.socket = context.wrap_socket(self.server._server.socket, server_side=True)

    def context(self, *, exchange: bool = True) -> ssl.SSLContext:
        return client_context(exchange=exchange, roots=str(self.folder / "roots.pem"))

    def session(self, *, exchange: bool = True) -> requests.Session:
        session = requests.Session()
        session.mount("https://", VerifiedAdapter(self.context(exchange=exchange), complete=exchange))
        return session

    def ask(self, *, exchange: bool = True) -> Any:
        door = Door("tpex", self.url, timeout_s=5, attempts=1, open_session=partial(self.session, exchange=exchange))
        try:
            return door.ask("2330", lambda: door.get_json("", {}))
        finally:
            door.close()

    def refused(self, why: str, *, exchange: bool = True) -> None:
        with pytest.raises(DataMissing, match=why):
            self.ask(exchange=exchange)
        assert self.server.requests == []

    def middle(self, **more: Any) -> Signed:
        """An intermediate certificate, not sent by the server, which lies at the authority."""
        middle = signed("middle", ROOT, ca=True, **more)
        self.authority.tell(Answer(middle.der))
        return middle


@pytest.fixture
def exchange(loopback: Loopback, authority: Loopback, tmp_path: Path) -> Exchange:
    return Exchange(loopback, authority, tmp_path)


def test_a_root_without_key_identifier_is_borne_with_for_the_exchanges_only(exchange: Exchange) -> None:
    exchange.shows(signed("leaf", ROOT, host=HOST))
    assert exchange.ask() == {"stat": "OK"}
    assert exchange.authority.requests == []
    if is_strict(ssl.create_default_context()):
        with pytest.raises(DataMissing, match="Missing Subject Key Identifier"):
            exchange.ask(exchange=False)


def test_a_cut_chain_is_mended_from_the_address_in_the_certificate_once(exchange: Exchange) -> None:
    middle = exchange.middle()
    exchange.shows(signed("leaf", middle, host=HOST, issuer_at=exchange.authority.url + "/middle.crt"))
    session = exchange.session()
    for _ in range(2):
        assert session.get(exchange.url).json() == {"stat": "OK"}
    session.close()
    assert [asked.path for asked in exchange.authority.requests] == ["/middle.crt"]


def test_two_missing_links_are_fetched_one_by_one(exchange: Exchange) -> None:
    at = exchange.authority.url
    upper = signed("upper", ROOT, ca=True)
    lower = signed("lower", upper, ca=True, issuer_at=at + "/upper.crt")
    exchange.authority.tell(Answer(lower.pem), Answer(upper.der))
    exchange.shows(signed("leaf", lower, host=HOST, issuer_at=at + "/lower.crt"))
    assert exchange.ask() == {"stat": "OK"}
    assert [asked.path for asked in exchange.authority.requests] == ["/lower.crt", "/upper.crt"]


def test_httpx_verifies_with_the_same_context(exchange: Exchange) -> None:
    middle = exchange.middle()
    exchange.shows(signed("leaf", middle, host=HOST, issuer_at=exchange.authority.url))
    context = exchange.context()
    with httpx.Client(verify=context) as client, pytest.raises(httpx.ConnectError, match="local issuer"):
        client.get(exchange.url)
    complete_chain(context, HOST, exchange.port, fetch=partial(tls.fetch_issuer, proxies={}))
    with httpx.Client(verify=context) as client:
        assert client.get(exchange.url).json() == {"stat": "OK"}


def test_another_server_gets_no_fetching(exchange: Exchange) -> None:
    middle = exchange.middle()
    exchange.shows(signed("leaf", middle, host=HOST, issuer_at=exchange.authority.url))
    exchange.refused("local issuer certificate", exchange=False)
    assert exchange.authority.requests == []


@pytest.mark.parametrize("mended", [False, True])
def test_a_wrong_host_name_is_refused(exchange: Exchange, *, mended: bool) -> None:
    middle = exchange.middle()
    leaf = signed("leaf", middle, host="www.twse.com.tw", issuer_at=exchange.authority.url)
    exchange.shows(leaf, *([] if mended else [middle]))
    exchange.refused("IP address mismatch")


@pytest.mark.parametrize("days", [(-9, -1), (1, 9)])
def test_a_certificate_out_of_date_is_refused(exchange: Exchange, days: tuple[int, int]) -> None:
    middle = exchange.middle()
    exchange.shows(signed("leaf", middle, host=HOST, issuer_at=exchange.authority.url, days=days))
    exchange.refused("expired" if days[0] < 0 else "not yet valid")


def test_a_certificate_that_signs_itself_is_refused(exchange: Exchange) -> None:
    exchange.shows(signed("leaf", host=HOST, issuer_at=exchange.authority.url))
    exchange.refused("self.signed certificate")


def test_a_chain_to_an_unknown_root_is_refused_even_when_all_its_links_can_be_fetched(exchange: Exchange) -> None:
    middle = signed("middle", STRANGER, ca=True)
    exchange.authority.tell(Answer(middle.der))
    exchange.shows(signed("leaf", middle, host=HOST, issuer_at=exchange.authority.url))
    exchange.refused("unable to get")


def test_a_root_cannot_be_fetched(exchange: Exchange) -> None:
    """The certificate names a stranger's root as its issuer: fetched and trusted, it would open the door."""
    exchange.authority.tell(Answer(STRANGER.der))
    exchange.shows(signed("leaf", STRANGER, host=HOST, issuer_at=exchange.authority.url))
    exchange.refused("names no address of its issuer")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (lambda: Answer(b"", status=404), "HTTP 404"),
        (lambda: Answer(b"x" * 70_000), "65537 bytes"),
        (lambda: Answer(b"<html>"), "is no certificate"),
        (lambda: Answer(signed("middle", ROOT, ca=True).der), "did not sign it"),
        (lambda: Answer(signed("other", ROOT, ca=True).der), "did not sign it"),
    ],
)
def test_what_is_no_issuer_is_refused_by_name(exchange: Exchange, found: Callable[[], Answer], why: str) -> None:
    middle = signed("middle", ROOT, ca=True)
    exchange.authority.tell(found())
    exchange.shows(signed("leaf", middle, host=HOST, issuer_at=exchange.authority.url + "/m.crt"))
    exchange.refused(rf"tpex at https://127.0.0.1:\d+: 2330: TLS: .*/m.crt.*{why}")


@pytest.mark.parametrize(("more", "why"), [({"ca": False}, "may not sign"), ({"days": (-9, -1)}, "out of date")])
def test_an_issuer_that_may_not_sign_is_refused_by_name(exchange: Exchange, more: Any, why: str) -> None:
    middle = signed("middle", ROOT, **({"ca": True} | more))
    exchange.authority.tell(Answer(middle.der))
    exchange.shows(signed("leaf", middle, host=HOST, issuer_at=exchange.authority.url))
    exchange.refused(why)


def test_a_certificate_without_address_says_so(exchange: Exchange) -> None:
    exchange.shows(signed("leaf", exchange.middle(), host=HOST))
    exchange.refused("names no address of its issuer")


def test_a_context_that_would_trust_a_link_by_itself_is_not_completed(exchange: Exchange) -> None:
    context = exchange.context(exchange=False)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with pytest.raises(ValueError, match="PARTIAL_CHAIN"):
        complete_chain(context, HOST, exchange.port, fetch=lambda _: b"")


def test_a_server_that_is_gone_is_unreachable(exchange: Exchange) -> None:
    exchange.server.close()
    with pytest.raises(Unreachable, match="shows no certificate"):
        complete_chain(exchange.context(), HOST, exchange.port, fetch=lambda _: b"")


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("www.twse.com.tw", True),
        ("OPENAPI.TWSE.COM.TW.", True),
        ("tpex.org.tw", True),
        ("twse.com.tw.example.org", False),
        ("nottwse.com.tw", False),
        ("", False),
    ],
)
def test_the_allowances_are_for_two_domains(host: str, *, ours: bool) -> None:
    assert is_exchange(host) is ours
    flags = client_context(exchange=ours).verify_flags
    assert bool(flags & ssl.VERIFY_X509_STRICT) is (not ours and is_strict(ssl.create_default_context()))


def test_twca_is_a_trusted_root() -> None:
    """Without it no exchange's chain could be verified at all."""
    roots = client_context(exchange=True).get_ca_certs()
    names = [dict(part[0] for part in one["subject"]).get("commonName") for one in roots]
    assert "TWCA Global Root CA" in names
