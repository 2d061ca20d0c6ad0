"""Access tokens for receivers that want them: by client credentials (RFC 6749, 4.4), kept until they expire.

A request is never sent without its token: a receiver would answer 401, and the delivery be lost for the wrong reason.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from cachetools import LRUCache

from shared.broker.kv import Bucket
from shared.errors import DestinationFailed
from shared.messages.credentials import CREDENTIAL_PURPOSE, CredentialRecord, is_for
from shared.runtime.clock import Clock
from shared.security.netguard.http import GuardedTransport, read_at_most
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import open_url

MOST: Final = 1000
BODY_LIMIT: Final = 64 * 1024
EARLY_S: Final = 30
USUAL_S: Final = 300
NS: Final = 10**9
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_CODE: Final = re.compile(r"[a-z_]{1,40}")


@dataclass(slots=True)
class Known:
    """The token of one pair of credentials, as they were at `changed_ms`."""

    changed_ms: int = -1
    token: str = ""
    ends_ns: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Tokens:
    """Fetches tokens. One that is known is given at once; many deliveries that want one wait for one request."""

    def __init__(
        self, credentials: Bucket[CredentialRecord], vault: Vault, transport: GuardedTransport, clock: Clock
    ) -> None:
        self._credentials, self._vault, self._transport, self._clock = credentials, vault, transport, clock
        self._known: LRUCache[tuple[str, str], Known] = LRUCache(MOST)

    async def of(self, account: str, credential: str, url: str, times: httpx.Timeout, *, refused: str = "") -> str:
        """Return the token for a receiver's URL; `refused` is one that the receiver has refused.

        DestinationFailed when there is none to be had; errors of httpx and netguard, Unavailable.
        """
        record = await self._record(account, credential, url)
        known = self._known.setdefault((account, credential), Known())
        async with known.lock:
            stale = known.changed_ms != record.changed_ms or self._clock.monotonic_ns() >= known.ends_ns
            if not known.token or stale or known.token == refused:
                known.token = ""
                known.token, lasts_s = await self._fetch(record, times)
                known.changed_ms = record.changed_ms
                known.ends_ns = self._clock.monotonic_ns() + max(1, lasts_s - EARLY_S) * NS
            return known.token

    async def _record(self, account: str, credential: str, url: str) -> CredentialRecord:
        stored = await self._credentials.get(f"{account}.{credential}")
        if stored is None or stored.value.type != "oauth":
            raise DestinationFailed("the credentials of this receiver were deleted, or are of another type by now")
        if not is_for(stored.value, url):
            raise DestinationFailed(f"the credentials of this receiver are for the host {stored.value.host} alone")
        return stored.value

    async def _fetch(self, record: CredentialRecord, times: httpx.Timeout) -> tuple[str, int]:
        """Return a new token, and how long it lasts (s)."""
        try:
            url, secret = open_url(self._vault, record.url), self._vault.decrypt(record.secret, CREDENTIAL_PURPOSE)
        except SecretUnreadable as error:
            raise DestinationFailed("the credentials cannot be opened with this SECRET_KEY") from error
        login = base64.b64encode(f"{record.public}:{secret}".encode()).decode()
        fields = {
            "authorization": f"Basic {login}", "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json", "connection": "close",
        }  # fmt: skip
        asked = httpx.Request(
            "POST",
            url,
            headers=fields,
            content=b"grant_type=client_credentials",
            extensions={"timeout": times.as_dict()},
        )
        response = await self._transport.handle_async_request(asked)
        try:
            said = _read(await read_at_most(response, BODY_LIMIT))
        finally:
            await response.aclose()
        token = said.get("access_token")
        if response.status_code != 200 or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            code = str(said.get("error", ""))
            more = f" ({code})" if _CODE.fullmatch(code) else ""
            raise DestinationFailed(f"the token server answers HTTP {response.status_code}{more}, and no token")
        lasts = said.get("expires_in")
        return token, lasts if isinstance(lasts, int) and 0 < lasts < 1 << 31 else USUAL_S


def _read(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
