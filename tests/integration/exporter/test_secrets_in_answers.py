"""Servers that say back what they were given: no secret of it reaches the error that users and webhooks see."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest

from services.exporter.destinations.base import Order
from services.exporter.destinations.http import HttpMaker
from services.exporter.destinations.s3 import S3Maker
from shared.errors import DestinationFailed
from shared.runtime.clock import SystemClock
from tests.support.uploads import LOOPBACK, Kept, MemoryFile, credential, order
from tests.support.web_peer import Call, Said, peer

TLS = httpx.create_ssl_context()
HTTP, S3 = HttpMaker.of(LOOPBACK, TLS, SystemClock()), S3Maker.of(LOOPBACK, TLS)
FILE = MemoryFile(b"a small film")
LOGIN = credential("http", "desk", "pass&word one")
SECRETS = (
    "pass&word one", "pass%26word", "pass&amp;word", "ZGVzazpwYXNzJndvcmQgb25l", "tok-of-today", "f00dbeef",
    "client-secret", "Y2xpZW50OmNsaWVudC1zZWNyZXQ=",
)  # fmt: skip


def fields_back(call: Call) -> Said:
    """Say the login back, as a debugging server does."""
    said = f"<p>no: {call.fields.get('authorization')} at {call.target}</p>"
    return Said(500, said.encode())


def token_then(handle: Callable[[Call], Said]) -> Callable[[Call], Said]:
    def answer(call: Call) -> Said:
        return Said(200, b'{"access_token": "tok-of-today"}') if call.path == "/token" else handle(call)

    return answer


def refused_token(call: Call) -> Said:
    return Said(401, f'{{"error": "invalid_client", "error_description": "{call.fields["authorization"]}"}}'.encode())


def moved(call: Call) -> Said:
    return Said(301, fields={"Location": f"http://else.example/{quote('pass&word one', safe='')}?{call.target}"})


def asks_otherwise(call: Call) -> Said:
    return Said(401, fields={"WWW-Authenticate": f"{call.fields['authorization'].partition(' ')[2]} realm=x"})


def in_html(_call: Call) -> Said:
    return Said(500, b"<p>the password pass&amp;word one or pass&word  one is wrong</p>" + b"x" * 180)


def of_s3(_call: Call) -> Said:
    body = "<Error><Code>SignatureDoesNotMatch</Code><Message>used pass&amp;word one</Message></Error>"
    return Said(403, body.encode(), {"Content-Type": "application/xml"})


def oauth(url: str) -> Order:
    return order(f"{url}/x.mp4", credential("oauth", "client", "client-secret", url=f"{url}/token"))


CASES: dict[str, tuple[Callable[[Call], Said], Callable[[str], Order]]] = {
    "basic": (fields_back, lambda url: order(f"{url}/x.mp4", LOGIN)),
    "webdav": (fields_back, lambda url: order(f"{url}/x.mp4".replace("http", "webdav"), LOGIN)),
    "bearer": (token_then(fields_back), oauth),
    "refused client": (refused_token, oauth),
    "signed": (fields_back, lambda url: order(f"{url}/x.mp4?X-Amz-Signature=f00dbeef")),
    "redirect": (moved, lambda url: order(f"{url}/x.mp4?sig=f00dbeef", LOGIN)),
    "challenge": (asks_otherwise, lambda url: order(f"{url}/x.mp4", LOGIN)),
    "page": (in_html, lambda url: order(f"{url}/x.mp4", LOGIN)),
    "s3": (of_s3, lambda url: order("s3://films/x.mp4", credential("s3", "AKID", "pass&word one", endpoint=url))),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_is_said_back_is_hidden(case: tuple[Callable[[Call], Said], Callable[[str], Order]]) -> None:
    handle, asked = case
    async with peer(handle) as server:
        made = asked(server.url)
        with pytest.raises(DestinationFailed) as caught:
            await (S3 if made.url.startswith("s3") else HTTP)(made).put(FILE, Kept())
    assert "***" in str(caught.value)
    assert not [secret for secret in SECRETS if secret in str(caught.value)]
