"""TLS to the two exchanges: full verification on every Python, for servers whose certificates need two allowances.

1. TWSE's and TPEx's certificates end in "TWCA Global Root CA", which has no Subject Key Identifier. Python 3.13 set
   VERIFY_X509_STRICT by default, and it refuses such a chain. We clear that flag for these two domains alone: chain,
   signatures, dates and host name are verified as they were up to Python 3.12.
   Source: python/cpython#107361 (comment of 2025-05-28); of certifi 2026.10.18's roots it is the only one without.
2. TPEx's server does not send the certificate between its own and the root. We fetch what is missing from the address
   that the server's certificate names (RFC 5280 4.2.2.1, as browsers do), for these two domains alone. It never
   becomes an anchor: a certificate that signs itself is refused, each must have signed the one before it, and
   VERIFY_X509_PARTIAL_CHAIN (also a default since 3.13) is cleared, so that a chain must end in one of certifi's roots.

The trusted roots are certifi's, the same on every machine; REQUESTS_CA_BUNDLE adds a company's own, as ever.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from bot.adapters.retry import Unreachable

if TYPE_CHECKING:
    from cryptography import x509

EXCHANGE_DOMAINS: Final = ("twse.com.tw", "tpex.org.tw")

# OpenSSL's X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY and _VERIFY_LEAF_SIGNATURE: a link of the chain is absent.
_CHAIN_IS_CUT: Final = frozenset({20, 21})
_LONGEST_CHAIN: Final = 4
_LARGEST_BYTES: Final = 64 * 1024  # a certificate has 1 to 3 KiB
_TIMEOUT_S: Final = 15.0

Fetch = Callable[[str], bytes]


def is_exchange(host: str) -> bool:
    """Whether `host` belongs to TWSE or TPEx, whose certificates need the allowances above."""
    host = host.rstrip(".").lower()
    return any(host == domain or host.endswith(f".{domain}") for domain in EXCHANGE_DOMAINS)


def client_context(*, exchange: bool, roots: str | None = None) -> ssl.SSLContext:
    """A context that verifies chain and host name against `roots` (a PEM file; certifi's when None).

    Fit for requests (by `VerifiedAdapter`) and for httpx (`verify=client_context(...)`). With `exchange` the first
    allowance holds; the second needs `complete_chain` or `VerifiedAdapter`.
    """
    import certifi

    context = ssl.create_default_context(cafile=roots or certifi.where())
    if exchange:
        context.verify_flags &= ~(ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN)
    return context


def complete_chain(context: ssl.SSLContext, host: str, port: int, *, fetch: Fetch, proxy: str | None = None) -> None:
    """Give `context` the certificates that the server at `host` ought to have sent itself.

    `context` must be one with `exchange=True`: what is fetched may link, it may not be trusted.

    Raises:
        Unreachable: the certificate names no issuer's address, or what lies there is no certificate that signed it.
    """
    if context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN:
        raise ValueError("a fetched certificate would be trusted by itself: VERIFY_X509_PARTIAL_CHAIN is set")
    for link in missing_links(_leaf_of(host, port, proxy), fetch):
        context.load_verify_locations(cadata=link)


def missing_links(leaf_der: bytes, fetch: Fetch) -> list[bytes]:
    """The certificates above `leaf_der` up to, not including, the root, as DER; each signed the one before it.

    Raises:
        Unreachable: as `complete_chain`.
    """
    from cryptography import x509

    below, links = x509.load_der_x509_certificate(leaf_der), list[bytes]()
    while len(links) < _LONGEST_CHAIN:
        address = _issuer_address(below)
        if address is None:
            break
        body = fetch(address)
        above = _certificate(body, address)
        if above.subject == above.issuer:
            break  # the root: ours to have, not theirs to send
        _check_link(below, above, address)
        links.append(above.public_bytes(_der()))
        below = above
    if not links:
        raise Unreachable("TLS: the chain of certificates is cut, and the certificate names no address of its issuer's")
    return links


def VerifiedAdapter(context: ssl.SSLContext, *, complete: bool, fetch: Fetch | None = None) -> Any:  # noqa: N802
    """A requests adapter that verifies with `context`, and with `complete` mends a cut chain once.

    A function, because requests is imported only when somebody asks the network something.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from requests.utils import select_proxy

    class Adapter(HTTPAdapter):
        """Hands `context` to urllib3's pools, direct and through proxies."""

        mended = not complete

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, ssl_context=context)

        def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
            return super().proxy_manager_for(proxy, **kwargs, ssl_context=context)

        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            """Send; when the chain is cut, complete it and send again. The request never left the first time."""
            try:
                return super().send(request, *args, **kwargs)
            except requests.exceptions.SSLError as error:
                if self.mended or not is_cut_chain(error):
                    raise
                parts = urlsplit(request.url)
                proxies: Mapping[str, str] = kwargs.get("proxies") or {}
                complete_chain(
                    context,
                    parts.hostname or "",
                    parts.port or 443,
                    fetch=fetch or partial(fetch_issuer, proxies=proxies),
                    proxy=select_proxy(request.url, proxies),
                )
                self.mended = True
                return super().send(request, *args, **kwargs)

    return Adapter()


def is_cut_chain(error: BaseException) -> bool:
    """Whether `error` comes from a chain that lacks a link, and from nothing else that is wrong with it."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            break
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen.verify_code in _CHAIN_IS_CUT
        inner = getattr(seen, "reason", None) or (seen.args[0] if seen.args else None)
        seen = inner if isinstance(inner, BaseException) else seen.__cause__ or seen.__context__
    return False


def fetch_issuer(address: str, proxies: Mapping[str, str]) -> bytes:
    """What lies at `address`, over plain HTTP as RFC 5280 has it: a signature guards it, not the connection.

    Raises:
        Unreachable: nothing does, or far too much.
    """
    import requests

    try:
        with requests.get(address, timeout=_TIMEOUT_S, stream=True, proxies=dict(proxies)) as response:
            body = response.raw.read(_LARGEST_BYTES + 1, decode_content=True)
            status = response.status_code
    except (requests.RequestException, OSError) as error:
        raise Unreachable(f"TLS: the issuer's certificate at {address} can't be had: {error}") from error
    if status != http.client.OK or len(body) > _LARGEST_BYTES:
        raise Unreachable(f"TLS: the issuer's certificate at {address} can't be had: HTTP {status}, {len(body)} bytes")
    return bytes(body)


def _leaf_of(host: str, port: int, proxy: str | None) -> bytes:
    """The certificate that the server shows, DER.

    Nothing is sent over this connection and nothing believed of it: it only tells where to look for the issuer.

    Raises:
        Unreachable: nobody answers any more.
    """
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    through = urlsplit(proxy) if proxy else None
    connection = http.client.HTTPSConnection(
        through.hostname or "" if through else host,
        (through.port or 8080) if through else port,
        timeout=_TIMEOUT_S,
        context=unverified,
    )
    if through:
        connection.set_tunnel(host, port, _proxy_headers(through.username, through.password))
    try:
        connection.connect()
        shown = connection.sock.getpeercert(binary_form=True)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"TLS: {host} shows no certificate: {error}") from error
    finally:
        connection.close()
    if not shown:
        raise Unreachable(f"TLS: {host} shows no certificate")
    return bytes(shown)


def _proxy_headers(user: str | None, password: str | None) -> dict[str, str]:
    from requests.auth import _basic_auth_str

    return {"Proxy-Authorization": _basic_auth_str(unquote(user), unquote(password or ""))} if user else {}


def _issuer_address(certificate: x509.Certificate) -> str | None:
    """Where the certificate says that its issuer's lies; only http, since https would need a chain again."""
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID

    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    addresses = [
        told.access_location.value
        for told in access
        if told.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(told.access_location, x509.UniformResourceIdentifier)
    ]
    return next((address for address in addresses if address.startswith("http://")), None)


def _certificate(body: bytes, address: str) -> x509.Certificate:
    """The certificate in `body`, DER or PEM.

    Raises:
        Unreachable: it is none.
    """
    from cryptography import x509

    try:
        if body.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(body)
        return x509.load_der_x509_certificate(body)
    except ValueError as error:
        raise Unreachable(f"TLS: what lies at {address} is no certificate") from error


def _check_link(below: x509.Certificate, above: x509.Certificate, address: str) -> None:
    """Refuse a certificate that may not sign, did not sign `below`, or is out of date.

    OpenSSL checks all this again in the handshake; this makes the message name the culprit, and keeps what is
    useless out of the context.

    Raises:
        Unreachable: says which.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    why = ""
    try:
        if not above.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            why = "may not sign"
        below.verify_directly_issued_by(above)
    except x509.ExtensionNotFound:
        why = "may not sign"
    except (ValueError, TypeError, InvalidSignature):
        why = "did not sign it"
    if not above.not_valid_before_utc <= datetime.now(UTC) <= above.not_valid_after_utc:
        why = "is out of date"
    if why:
        raise Unreachable(f"TLS: the issuer's certificate at {address} {why}")


def _der() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER
