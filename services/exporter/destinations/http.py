"""Web servers: one PUT of a file (http, https), or WebDAV, which can also name, check and move."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from secrets import token_hex
from typing import Final
from urllib.parse import urljoin, urlsplit

from services.exporter.destinations.base import Destination, Order, SourceFile, Transfer
from services.exporter.destinations.http_body import Reply
from services.exporter.destinations.http_server import Login, Web, WebFile, WebServer, read_url, with_user
from services.exporter.destinations.http_webdav import DavDestination
from services.exporter.destinations.oauth import Tokens
from services.exporter.destinations.telling import waiting
from shared.errors import DestinationFailed, Rejected
from shared.runtime.clock import Clock
from shared.security.netguard.addresses import Networks
from shared.security.netguard.urls import check_url

TAKEN: Final = frozenset({200, 201, 202, 204})
_MOVED: Final = frozenset({307, 308})
_DAV: Final = frozenset({"webdav", "webdavs"})
# What tells that a server answered about a file, and not a program about itself.
_OF_FILES: Final = ("last-modified", "etag")


@dataclass(frozen=True, slots=True)
class HttpMaker:
    """Makes the destinations of http, https, webdav and webdavs."""

    web: Web
    clock: Clock

    @classmethod
    def of(cls, allowed: Networks, tls: ssl.SSLContext, clock: Clock) -> HttpMaker:
        """Return a maker whose connections go to checked addresses and trust what `tls` trusts."""
        return cls(Web(tuple(allowed), tls), clock)

    def __call__(self, order: Order) -> Destination:
        """Return the destination; DestinationFailed (final) when the order cannot be read."""
        at, login = read_url(order, self.web.allowed)
        server = WebServer(self.web, self._login(order, login))
        content_type = str(order.options.get("content_type") or "")
        if urlsplit(order.url).scheme.lower() in _DAV:
            return DavDestination(server, at, f"{order.export[:12]}-{order.accuracy}", content_type)
        return HttpDestination(server, at, content_type)

    def _login(self, order: Order, login: Login) -> Login:
        if order.credential is None or order.credential.record.type != "oauth":
            return with_user(login, order)
        record = order.credential.record
        tokens = Tokens(self.web, self.clock, record.url, record.public, order.credential.private)
        return Login(bearer=tokens.get, forget=tokens.drop)


@dataclass(frozen=True, slots=True)
class HttpDestination:
    """A URL that takes a file by PUT. What the server does with the bytes until it has them all is its own."""

    server: WebServer
    at: WebFile
    content_type: str = ""

    async def put(self, file: SourceFile, transfer: Transfer) -> str:
        """Send the file in one request, which a 307 or 308 may lead elsewhere once; check its length if told."""
        server, at = self.server, self.at
        reply = await self._sent(server, at, file, transfer)
        if reply.status in _MOVED:
            at = self._elsewhere(reply)
            server = server if at.origin == self.at.origin else server.stranger()
            reply = await self._sent(server, at, file, transfer)
        if reply.status not in TAKEN:
            raise self.server.fault(at, "PUT", reply)
        async with waiting(transfer, file.size):
            length = await self._length(server, at)
        if length not in {None, file.size}:
            raise DestinationFailed(f"{at.shown}: the server took the file, but has {length} of its {file.size} bytes")
        return self.at.shown

    async def _sent(self, server: WebServer, at: WebFile, file: SourceFile, transfer: Transfer) -> Reply:
        return await server.put(at, file, transfer, self.content_type or file.content_type)

    def _elsewhere(self, reply: Reply) -> WebFile:
        """Return where a redirect leads; never from https to http."""
        to = urljoin(self.at.url, reply.fields.get("location", ""))
        schemes = ("https",) if self.at.url.startswith("https:") else ("http", "https")
        try:
            url = check_url(to, schemes=schemes, allowed=self.server.allowed).url
        except Rejected as error:
            raise DestinationFailed(f"{self.at.shown}: where the server redirects to: {error}", final=True) from None
        return WebFile(url, urlsplit(url)._replace(query="").geturl())

    async def holds(self, file: SourceFile) -> bool:
        """Return whether the server tells a file of this size."""
        return await self._length(self.server, self.at) == file.size

    async def _length(self, server: WebServer, at: WebFile) -> int | None:
        """Return the length that the server tells of a file; None where it tells none."""
        reply = await server.ask("HEAD", at)
        told = reply.fields.get("content-length", "")
        about_a_file = any(name in reply.fields for name in _OF_FILES)
        return int(told) if reply.status == 200 and about_a_file and told.isdecimal() and len(told) < 19 else None

    async def discard(self, transfer: Transfer) -> None:
        """Do nothing: a plain PUT leaves nothing that has a name of its own."""

    async def test(self) -> None:
        """Write a small file beside the final name, and remove it; with a query (a signed URL), ask for the file."""
        if urlsplit(self.at.url).query:
            reply = await self.server.ask("HEAD", self.at)
            if reply.status == 401:
                raise self.server.fault(self.at, "HEAD", reply)
            return
        beside = self.at.at(f"{self.at.path.rpartition('/')[0]}/reelay-test-{token_hex(4)}.txt")
        reply = await self.server.ask("PUT", beside, b"test", content_type="text/plain")
        if reply.status not in TAKEN | _MOVED:
            raise self.server.fault(beside, "PUT", reply)
        await self.server.ask("DELETE", beside)
