"""Asks an account's own HTTP server whether a player may play, or an encoder may publish (Flussonic's backends).

A question is a GET with parameters; the answer is its status and headers, the body is not read
(https://flussonic.com/doc/api/authorization). Every fault of the server is BackendSilent, and costs at most PATIENCE.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import httpx
from cachetools import LRUCache

from shared.errors import ReelayError
from shared.runtime.clock import Clock, to_ns
from shared.security.netguard.addresses import Networks
from shared.security.netguard.http import GuardedTransport

PATIENCE: Final = timedelta(seconds=3)
AT_ONCE: Final = 16
"""Questions of an account at the same time, so that one slow backend holds up its own account alone."""
WAITING: Final = 1000
QUEUE: Final = timedelta(seconds=1)
"""So many questions of an account wait for a slot, and so long: many players come at once when a match begins."""
MOST: Final = 512
FAULTS: Final = 3
"""After so many faults in a row a backend is left alone for PAUSE: those who ask get BackendSilent at once."""
PAUSE: Final = timedelta(seconds=2)
REMEMBERED: Final = 10_000
USUAL: Final = timedelta(seconds=180)
DENIED: Final = timedelta(seconds=10)
"""How long an answer without X-AuthDuration is kept: a yes as the vendor's servers do, a no more briefly."""
SHORTEST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(days=1)
LONGEST_USER: Final = 256
MOST_SESSIONS: Final = 100_000
AGENT: Final = "Reelay-Backend/1"
_ANYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_LATER: Final = frozenset({408, 425, 429})


class BackendSilent(ReelayError):  # noqa: N818  names what happened
    """A backend has not said yes or no: it is away, slow, broken, or asked too much. The message is for logs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a backend has said, and how long it holds; `most`: sessions that `user` may have at once, None: any."""

    allowed: bool
    holds: timedelta
    user: str = ""
    most: int | None = None


class Backends:
    """Asks backends. URLs of users reach `allowed` networks and public addresses, those of `trusted` any."""

    def __init__(self, allowed: Networks, clock: Clock, *trusted: str, tls: ssl.SSLContext | None = None) -> None:
        self._allowed = tuple(allowed)
        self._trusted = frozenset(filter(None, trusted))
        self._clock = clock
        self._tls = tls
        self._clients: dict[bool, httpx.AsyncClient] = {}
        self._users: Counter[str] = Counter()
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._faults: LRUCache[tuple[str, str], int] = LRUCache(REMEMBERED)
        self._paused: LRUCache[tuple[str, str], int] = LRUCache(REMEMBERED)
        self.patience = PATIENCE

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Close connections at the end of the block."""
        try:
            yield
        finally:
            for client in self._clients.values():
                await client.aclose()
            self._clients.clear()

    async def ask(self, account: str, url: str, params: Mapping[str, str], trace: str = "") -> Answer:
        """Ask a backend; BackendSilent."""
        known = account, url
        self._require_hope(known)
        async with self._slot(account):
            self._require_hope(known)  # it may have failed meanwhile
            try:
                answer = await self._asked(url, params, trace)
            except BackendSilent:
                self._faults[known] = faults = self._faults.get(known, 0) + 1
                if faults >= FAULTS:
                    self._paused[known] = self._clock.monotonic_ns() + to_ns(PAUSE)
                raise
        self._faults.pop(known, None)
        self._paused.pop(known, None)
        return answer

    def _require_hope(self, known: tuple[str, str]) -> None:
        if self._clock.monotonic_ns() < self._paused.get(known, 0):
            raise BackendSilent("it has failed repeatedly")

    @contextlib.asynccontextmanager
    async def _slot(self, account: str) -> AsyncIterator[None]:
        """Hold one of an account's slots while the block runs; BackendSilent when none gets free in time."""
        if self._users[account] >= AT_ONCE + WAITING:
            raise BackendSilent("the account has too many questions open")
        self._users[account] += 1
        try:
            slots = self._slots.setdefault(account, asyncio.Semaphore(AT_ONCE))
            try:
                async with asyncio.timeout(QUEUE.total_seconds()):
                    await slots.acquire()
            except TimeoutError as error:
                raise BackendSilent(f"the account has {AT_ONCE} questions open") from error
            try:
                yield
            finally:
                slots.release()
        finally:
            self._users[account] -= 1
            if not self._users[account]:
                del self._users[account], self._slots[account]

    async def _asked(self, url: str, params: Mapping[str, str], trace: str) -> Answer:
        headers = {"user-agent": AGENT, "accept": "*/*", "accept-encoding": "identity", "connection": "close"}
        if trace:
            headers["x-trace-id"] = trace
        try:
            async with asyncio.timeout(self.patience.total_seconds()):
                limit = httpx.Timeout(self.patience.total_seconds())
                request = self._client(url).stream("GET", with_params(url, params), headers=headers, timeout=limit)
                async with request as response:
                    return read_answer(response.status_code, response.headers)
        except TimeoutError as error:
            raise BackendSilent(f"no answer within {self.patience.total_seconds():g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise BackendSilent(type(error).__name__) from error
        except BackendSilent:
            raise
        except ReelayError as error:  # refused by netguard, or the host name is not found
            raise BackendSilent(str(error)[:200]) from error

    def _client(self, url: str) -> httpx.AsyncClient:
        trusted = url in self._trusted
        if trusted not in self._clients:
            transport = GuardedTransport(_ANYWHERE if trusted else self._allowed, verify=self._tls, most=MOST)
            self._clients[trusted] = httpx.AsyncClient(transport=transport, follow_redirects=False, trust_env=False)
        return self._clients[trusted]


def with_params(url: str, params: Mapping[str, str]) -> str:
    """Return a URL with parameters after its own."""
    parts = urlsplit(url)
    own = f"{parts.query}&" if parts.query else ""
    return urlunsplit(parts._replace(query=own + urlencode(params)))


def read_answer(status: int, headers: Mapping[str, str]) -> Answer:
    """Return what an answer says: 2xx yes, 4xx no. BackendSilent for others, also redirects, which nobody follows.

    Headers that are no sensible values count as not given.
    """
    allowed = 200 <= status < 300
    if not allowed and (not 400 <= status < 500 or status in _LATER):
        raise BackendSilent(f"status {status}")
    seconds = _number(headers.get("x-authduration", ""))
    holds = USUAL if allowed else DENIED
    if seconds is not None:
        holds = timedelta(seconds=min(seconds, LONGEST // timedelta(seconds=1)))
    user = headers.get("x-userid", "").strip()[:LONGEST_USER]
    most = _number(headers.get("x-max-sessions", ""))
    if headers.get("x-unique", "").strip().lower() in {"true", "1"}:
        most = 1
    return Answer(allowed, max(holds, SHORTEST), user, min(most, MOST_SESSIONS) if most else None)


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None
