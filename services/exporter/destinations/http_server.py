"""One web server as a destination sees it: requests with its login, each connection to a checked address."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from services.exporter.destinations.base import Order, SourceFile, Transfer
from services.exporter.destinations.hidden import of_login, of_query
from services.exporter.destinations.http_body import ANSWER_S, CONNECT_S, BodySender, Reply
from services.exporter.destinations.http_errors import refused, translated
from shared.errors import DestinationFailed, Rejected
from shared.security.netguard.addresses import Networks
from shared.security.netguard.http import GuardedTransport, guarded_client, read_at_most
from shared.security.netguard.urls import check_url

AGENT: Final = "Reelay/1"
PATIENCE_S: Final = 30
"""The longest pause that a server may ask for within one try."""
READ_LIMIT: Final = 64 << 10
ASK_S: Final = 60.0
"""How long a question may take in all, its answer read."""
UNAUTHORIZED: Final = 401
_WORKING: Final = frozenset({"MOVE"})  # some servers copy
_WEB: Final = {"http": "http", "https": "https", "webdav": "http", "webdavs": "https"}
Lookup = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Login:
    """What is sent as Authorization: Basic, or Bearer with a token that is fetched; `forget` drops it when refused."""

    user: str = ""
    password: str = ""
    bearer: Lookup | None = None
    forget: Callable[[], None] | None = None

    def __repr__(self) -> str:
        """Return a text without secrets."""
        return "Login()"

    async def field(self) -> dict[str, str]:
        """Return the request's field; empty where there is no login."""
        if self.bearer is not None:
            return {"authorization": f"Bearer {await self.bearer()}"}
        if not self.user and not self.password:
            return {}
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"authorization": f"Basic {pair}"}


@dataclass(frozen=True, slots=True)
class Web:
    """What connects: to addresses that may be reached, trusting what `tls` trusts."""

    allowed: Networks
    tls: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class WebFile:
    """A URL without login, as HTTP has it; `shown` as users may see it."""

    url: str
    shown: str

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def at(self, path: str) -> WebFile:
        """Return another path of the same server; the query stays."""
        kept = urlsplit(self.url)
        return WebFile(kept._replace(path=path).geturl(), urlsplit(self.shown)._replace(path=path).geturl())

    @property
    def path(self) -> str:
        """The path, percent-encoded."""
        return urlsplit(self.url).path


def read_url(order: Order, allowed: Networks) -> tuple[WebFile, Login]:
    """Return where an order's file goes, and the login that its URL holds; DestinationFailed (final)."""
    try:
        checked = check_url(order.url, schemes=_WEB, allowed=allowed, credentials=True)
    except Rejected as error:
        raise DestinationFailed(f"the URL: {error}", final=True) from None
    parts = urlsplit(checked.url)
    path = parts.path or "/"
    path = path + order.file_name if path.endswith("/") else path
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=path)
    url = bare._replace(scheme=_WEB[parts.scheme]).geturl()
    login = Login(unquote(parts.username or ""), unquote(parts.password or ""))
    return WebFile(url, bare._replace(query="").geturl()), login


class WebServer:
    """Requests to one server."""

    def __init__(self, web: Web, login: Login) -> None:
        self._web = web
        self._login = login
        self._sender = BodySender(web.allowed, web.tls)
        self._token = ""

    async def _login_field(self) -> dict[str, str]:
        field = await self._login.field()
        if self._login.bearer is not None:
            self._token = field["authorization"].removeprefix("Bearer ")
        return field

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown."""
        return (*of_login(self._login.user, self._login.password), self._token)

    @property
    def allowed(self) -> Networks:
        """Networks that may be reached besides public addresses."""
        return self._web.allowed

    def stranger(self) -> WebServer:
        """Return the same without the login, for where a redirect leads."""
        return WebServer(self._web, Login())

    def fault(self, at: WebFile, doing: str, reply: Reply) -> DestinationFailed:
        """Return the fault for an answer."""
        return refused(at.shown, doing, reply, secrets=(*self.secrets, *of_query(at.url)))

    async def ask(self, method: str, at: WebFile, content: bytes = b"", **fields: str) -> Reply:
        """Make a small request, and return the answer; fields' names with _ for -. Follow no redirect.

        Where a token is refused, which may end before its time, ask once more with another.
        """
        reply = await self._ask(method, at, content, **fields)
        return await self._ask(method, at, content, **fields) if self._renews(reply) else reply

    def _renews(self, reply: Reply) -> bool:
        if reply.status != UNAUTHORIZED or self._login.forget is None:
            return False
        self._login.forget()
        return True

    async def _ask(self, method: str, at: WebFile, content: bytes = b"", **fields: str) -> Reply:
        whole = ANSWER_S if method in _WORKING else ASK_S
        times = httpx.Timeout(whole, connect=CONNECT_S, write=CONNECT_S)
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        with translated(at.shown):
            login = await self._login_field()
            transport = GuardedTransport(self._web.allowed, verify=self._web.tls)
            # The client's times are those of one read each: a byte now and then would hold it for ever.
            async with asyncio.timeout(whole), guarded_client(transport, timeout=times) as client:
                head = {"user-agent": AGENT, "accept-encoding": "identity", **login, **named}
                async with client.stream(method, at.url, headers=head, content=content) as answer:
                    body = await read_at_most(answer, READ_LIMIT)
                    return Reply(answer.status_code, dict(answer.headers), body)

    async def put(self, at: WebFile, file: SourceFile, transfer: Transfer, content_type: str) -> Reply:
        """Send the file, once more when the server asks for a short pause, or for another token."""
        reply = await self._put(at, file, transfer, content_type)
        if self._renews(reply):
            reply = await self._put(at, file, transfer, content_type)
        after = reply.fields.get("retry-after", "")
        if reply.status in {429, 503} and after.isdecimal() and int(after) <= PATIENCE_S:
            await asyncio.sleep(int(after))
            reply = await self._put(at, file, transfer, content_type)
        return reply

    async def _put(self, at: WebFile, file: SourceFile, transfer: Transfer, content_type: str) -> Reply:
        with translated(at.shown):
            login = await self._login_field()
            fields = [("user-agent", AGENT), ("content-type", content_type), *login.items()]
            reply = await self._sender.send("PUT", at.url, fields, file, transfer)
        if 200 <= reply.status < 300 and not reply.whole:
            text = f"{at.shown}: the server said yes (HTTP {reply.status}) before it had the whole file"
            raise DestinationFailed(text)
        return reply


def with_user(login: Login, order: Order) -> Login:
    """Return the URL's login, or else that of the stored credentials."""
    if login.user or login.password or order.credential is None:
        return login
    return replace(login, user=order.credential.record.public, password=order.credential.private)
