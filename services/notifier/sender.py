"""One HTTP request to a receiver."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from services.notifier.forms import Form
from services.notifier.retries import Outcome, Policy
from services.notifier.signature import headers
from services.notifier.tokens import Tokens
from shared.errors import ReelayError, Unavailable
from shared.runtime.clock import Clock
from shared.security.netguard.http import GuardedTransport, read_at_most

AGENT: Final = "Reelay-Webhooks/1"
BODY_LIMIT: Final = 16 * 1024
BODY_WITHIN: Final = timedelta(seconds=1)
UNAUTHORIZED: Final = 401
LONGEST_RETRY_AFTER: Final = timedelta(hours=4)


@dataclass(frozen=True, slots=True)
class Recipient:
    """The URL of a receiver, which may hold user and password, and the secret that signs its requests.

    `credentials`: the id of those of `account` that give the token for its requests; empty: it wants none.
    """

    url: str
    secret: str
    account: str = ""
    credentials: str = ""


class Sender:
    """Posts payloads. Follows no redirect, keeps no cookie and no connection, reads at most `BODY_LIMIT` bytes."""

    def __init__(self, transport: GuardedTransport, clock: Clock, policy: Policy, tokens: Tokens) -> None:
        self._tokens = tokens
        self._transport = transport
        self._clock = clock
        self._policy = policy

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Close open connections at the end."""
        async with self._transport:
            yield

    async def send(self, target: Recipient, delivery: str, body: bytes, form: Form) -> Outcome:
        """Try once. Return an Outcome for whatever the receiver does; raise nothing for it."""
        began = self._clock.monotonic_ns()
        outcome = await self._try(target, delivery, body, form)
        took = (self._clock.monotonic_ns() - began) // 1_000_000
        return replace(outcome, took_ms=took)

    async def _try(self, target: Recipient, delivery: str, body: bytes, form: Form) -> Outcome:
        seconds = self._policy.whole.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                if target.credentials:
                    return await self._with_token(target, delivery, body, form)
                return await self._post(target, delivery, body, form)
        except TimeoutError:
            return Outcome(error=f"no answer within {seconds:g} s")
        except httpx.ConnectTimeout:
            return Outcome(error=f"no connection within {self._policy.connect.total_seconds():g} s", reached=False)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reached = not isinstance(error, httpx.ConnectError)
            return Outcome(error=f"{type(error).__name__}: {error}"[:300].rstrip(": "), reached=reached)
        except Unavailable:  # the broker, and nothing that the receiver did
            raise
        except ReelayError as error:  # refused by netguard, or the host name is not found
            return Outcome(error=str(error)[:300], reached=False)

    async def _with_token(self, target: Recipient, delivery: str, body: bytes, form: Form) -> Outcome:
        """Send with a token; with another one, once, when the receiver refuses it."""
        times, refused = self._times(), ""
        for last in (False, True):
            token = await self._tokens.of(target.account, target.credentials, target.url, times, refused=refused)
            outcome = await self._post(target, delivery, body, form, token)
            if outcome.status != UNAUTHORIZED or last:
                break
            refused = token
        return outcome

    def _times(self) -> httpx.Timeout:
        return httpx.Timeout(self._policy.whole.total_seconds(), connect=self._policy.connect.total_seconds())

    async def _post(self, target: Recipient, delivery: str, body: bytes, form: Form, token: str = "") -> Outcome:
        fields = {
            "content-type": "application/json",
            "user-agent": AGENT,
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
        }
        url, basic = _split_login(target.url)
        login = {"authorization": f"Bearer {token}"} if token else basic
        signed = login | headers(target.secret, delivery, self._clock.now_ms(), body)
        request = httpx.Request(
            "POST", url, headers=fields | signed, content=body, extensions={"timeout": self._times().as_dict()}
        )
        response = await self._transport.handle_async_request(request)
        said = b""
        try:
            with contextlib.suppress(httpx.HTTPError, TimeoutError):  # the status is known already
                async with asyncio.timeout(BODY_WITHIN.total_seconds()):
                    said = await read_at_most(response, BODY_LIMIT)
        finally:
            await response.aclose()
        return _outcome(response, said, form)


def _split_login(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without its user and password, and the header that carries them (Basic, RFC 7617)."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    user, _, password = login.partition(":")
    text = f"{unquote(user)}:{unquote(password)}"
    return urlunsplit(parts._replace(netloc=host)), {
        "authorization": f"Basic {base64.b64encode(text.encode()).decode()}"
    }


def _outcome(response: httpx.Response, said: bytes, form: Form) -> Outcome:
    status = response.status_code
    if form.accepted(status, said):
        return Outcome(status, delivered=True)
    error = "HTTP 200 without a body" if status == 200 and not said.strip() else f"HTTP {status}"
    after = response.headers.get("retry-after", "")
    pause = min(timedelta(seconds=int(after)), LONGEST_RETRY_AFTER) if after.isdecimal() and len(after) < 9 else None
    return Outcome(status, error, pause)
