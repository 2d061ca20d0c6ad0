"""Syntax of users' URLs, and the normal form in which they are kept."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

import idna

from shared.errors import Rejected
from shared.security.netguard.addresses import HOW_TO_ALLOW, Address, AddressRefused, Networks, is_reachable

LONGEST_URL: Final = 2048
DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ftp": 21, "ftps": 990, "rtmp": 1935, "rtmps": 443}
_LONGEST_HOST: Final = 253
# Control characters and blanks, and the backslash, which browsers read as a slash.
_UNFIT: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# inet_aton takes a host that ends in a number for an IPv4 address, in any spelling.
# https://url.spec.whatwg.org/#ends-in-a-number-checker
_NUMBER: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)")
_LOOPBACK: Final = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))


class UrlRefused(Rejected):
    """The URL is malformed or of an unsupported kind; the message is written for the requester."""


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """A checked URL. `url` is its normal form: ASCII, lower-case scheme and host, no trailing dot."""

    url: str
    scheme: str
    host: str
    port: int | None
    address: Address | None


def check_url(url: str, *, schemes: Collection[str], allowed: Networks, credentials: bool = False) -> CheckedUrl:
    """Check syntax and, when the host is written as an address, the address; names are checked on connecting.

    `credentials` allows user:password@. Raise UrlRefused or AddressRefused; both are Rejected.
    """
    parts = _split(url)
    if parts.scheme not in schemes:
        raise UrlRefused(f"the scheme must be one of: {', '.join(sorted(schemes))}")
    user, at, _ = parts.netloc.rpartition("@")
    if at and not credentials:
        raise UrlRefused("the URL must not carry a user or a password")
    if parts.fragment or url.endswith("#"):
        raise UrlRefused("the URL must not have a fragment (#)")
    host, address = _host(parts)
    port = _port(parts)
    _check_literal(host, address, tuple(allowed))
    shown = f"[{host}]" if ":" in host else host
    authority = f"{_escaped(user)}{at}{shown}" + (f":{port}" if port is not None else "")
    query = f"?{_escaped(parts.query)}" if parts.query else ""
    whole = f"{parts.scheme}://{authority}{_escaped(parts.path)}{query}"
    if len(whole) > LONGEST_URL:
        raise UrlRefused(f"the URL must have at most {LONGEST_URL} characters")
    return CheckedUrl(whole, parts.scheme, host, port or DEFAULT_PORTS.get(parts.scheme), address)


def _split(url: str) -> SplitResult:
    if len(url) > LONGEST_URL:
        raise UrlRefused(f"the URL must have at most {LONGEST_URL} characters")
    if _UNFIT.search(url):  # urlsplit would drop some of them silently
        raise UrlRefused("the URL must not contain blanks, control characters or backslashes")
    try:
        parts = urlsplit(url)
    except ValueError:  # its text holds parts of the URL
        raise UrlRefused("not a URL: scheme://host... is expected") from None
    if not parts.netloc:
        raise UrlRefused("not a URL: scheme://host... is expected")
    return parts


def _port(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError as error:
        raise UrlRefused("the port must be a number from 1 to 65535") from error
    if port == 0:
        raise UrlRefused("the port must be a number from 1 to 65535")
    return port


def _host(parts: SplitResult) -> tuple[str, Address | None]:
    """Return the host in its normal form, and its address when it is written as one."""
    host = parts.hostname or ""
    if "[" in parts.netloc or ":" in host:
        if "%" in host:  # a zone names an interface of this machine
            raise UrlRefused("the host must not have a zone (%)")
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise UrlRefused("the host is not an IPv6 address") from error
        return address.compressed, address
    name = _ascii(host).removesuffix(".")
    labels = name.split(".")
    if len(name) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("the host is not a name or an address")
    if not _NUMBER.fullmatch(labels[-1]):
        return name, None
    try:
        v4 = ipaddress.IPv4Address(name)
    except ValueError as error:
        raise UrlRefused("an IPv4 address is written as four decimal numbers") from error
    return str(v4), v4


def _ascii(host: str) -> str:
    """Return an international name in ASCII, mapped as in browsers (UTS #46)."""
    if host.isascii():
        return host.lower()
    try:
        return idna.encode(host, uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise UrlRefused("the host is not a valid international name") from error


def _check_literal(host: str, address: Address | None, allowed: Networks) -> None:
    local = host == "localhost" or host.endswith(".localhost")  # RFC 6761, 6.3: always loopback
    candidates = _LOOPBACK if local else (address,) if address else ()
    if candidates and not any(is_reachable(candidate, allowed) for candidate in candidates):
        raise AddressRefused(f"the URL points to an address that may not be reached from here; {HOW_TO_ALLOW}")


def _escaped(text: str) -> str:
    """Percent-encode characters outside ASCII; keep existing encodings."""
    return quote(text, safe="%/:=&?~+!$,;'@()*[]\"<>^`{|}")
