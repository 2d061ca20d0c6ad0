"""Who calls: sessions are verified, started and ended; and which account a call acts for."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from nats.js import JetStreamContext
from pydantic import Field

from services.gateway.domain.errors import TooMany
from services.gateway.domain.quotas import NUMBER_AGAIN
from services.gateway.facades.kaltura import ks
from services.gateway.facades.kaltura.errors import KalturaError
from services.gateway.facades.kaltura.values import Fields
from services.gateway.identity.partners import MEDIA_SERVERS, Partners
from shared.broker import buckets
from shared.broker.kv import Bucket, Conflict
from shared.messages.base import Record
from shared.runtime.clock import Clock

MOST_ENDED: Final = 1000
DAY_S: Final = 86_400
LONGEST_S: Final = 315_360_000
"""Ten years: a KS that would hold longer is not made."""
Stranger = Callable[[], None]


class EndedKs(Record):
    """A KS that was ended: bucket `nonces`, under `ks.<partner>.<sha256 of what is signed>`, until it has expired."""

    until_s: int = Field(ge=0)


@dataclass(frozen=True, slots=True)
class Caller:
    """A call's session, and the partner that it acts for: its own, or, of media servers, the one that it names."""

    account: str
    partner: int
    session: ks.Session
    text: str = field(repr=False)
    chosen: bool = True
    """Whether the partner is known: media servers may name none."""

    @property
    def own(self) -> int:
        """The partner of the session."""
        return self.session.partner

    @property
    def is_engine(self) -> bool:
        """Whether media servers call."""
        return self.own == MEDIA_SERVERS

    @property
    def is_admin(self) -> bool:
        """Whether the session is an administrator's."""
        return self.session.kind == ks.ADMIN


class Sessions:
    """Verifies a KS at each call: its partner may have been removed, and it may have been ended."""

    def __init__(self, jetstream: Callable[[], JetStreamContext], partners: Partners, clock: Clock) -> None:
        self._ended = Bucket(jetstream, buckets.NONCES, EndedKs)
        self._partners = partners
        self._clock = clock

    async def caller(self, text: str, partner: str, address: str, stranger: Stranger) -> Caller:
        """Return who calls with a KS, for the partner that the call names ("" for none). Raise KsRefused, KalturaError.

        `stranger` is called before the broker is asked about a KS that is not valid by what is known; it may raise.
        """
        session, account = await self._verified(text, address, stranger)
        if not partner or partner == str(session.partner):
            return Caller(account, session.partner, session, text, chosen=session.partner != MEDIA_SERVERS)
        if session.partner != MEDIA_SERVERS or session.kind != ks.ADMIN:
            raise KalturaError("SERVICE_FORBIDDEN", SERVICE="partner", ACTION=partner)
        digits = partner.isascii() and partner.isdecimal() and len(partner) < 12
        found = await self._partners.find(int(partner), stranger) if digits else None
        if found is None:
            raise ks.KsRefused(ks.INVALID_PARTNER)
        return Caller(found.account, found.partner, session, text)

    async def _verified(self, text: str, address: str, stranger: Stranger) -> tuple[ks.Session, str]:
        number, now_s = ks.partner_of(text), self.now_s()
        if not self._is_remembered(number, text, address):
            stranger()
        record = await self._partners.find(number)
        if record is None:
            raise ks.KsRefused(ks.INVALID_PARTNER)
        session = ks.read(text, self._partners.secret(record), now_s, address)
        if await self._ended.get(_key(session.partner, text)):
            raise ks.KsRefused(ks.LOGOUT)
        return session, record.account

    def _is_remembered(self, number: int, text: str, address: str) -> bool:
        """Return whether a KS is valid by what is in memory; KsRefused when its partner has made it, but it is not."""
        remembered = self._partners.remembered(number)
        try:
            if remembered is not None:
                ks.read(text, self._partners.secret(remembered), self.now_s(), address)
        except ks.KsRefused as error:
            if error.number != ks.INVALID_STR:
                raise
            return False
        return remembered is not None

    async def start(self, fields: Fields, stranger: Stranger) -> str:
        """Return a KS for who knows a partner's secret. KalturaError, TooMany."""
        secret, partner = fields.need("secret"), fields.number("partnerId", 0)
        kind = fields.choice("type", ks.USER, "KalturaSessionType", {ks.USER, ks.WIDGET, ks.ADMIN})
        expiry = fields.number("expiry", DAY_S, least=1, most=LONGEST_S)
        user = fields.text("userId", longest=ks.LONGEST_USER)
        remembered = self._partners.remembered(partner)
        if remembered is None or not _same(self._partners.secret(remembered), secret):
            stranger()
        record = await self._partners.find(partner)
        if record is None or not _same(self._partners.secret(record), secret):
            raise KalturaError("START_SESSION_ERROR", PARTNER_ID=str(partner))
        try:
            privileges = ks.privileges_of(fields.text("privileges", longest=1000))
        except ValueError as error:
            raise KalturaError("INVALID_PARAMETERS", WHY=str(error)) from error
        session = ks.Session(partner, kind, self.now_s() + expiry, user, privileges)
        return ks.make(session, secret, secrets.token_bytes(16))

    async def end(self, caller: Caller) -> None:
        """End a KS: it is refused from now on. TooMany."""
        now_s, there = self.now_s(), await self._ended.items(f"ks.{caller.own}")
        for stored in (one for one in there if one.value.until_s < now_s):
            await self._ended.delete(stored.key)
            there.remove(stored)
        if len(there) >= MOST_ENDED:
            raise TooMany("QUOTA_EXCEEDED", f"a partner has at most {MOST_ENDED} ended sessions", NUMBER_AGAIN)
        try:
            await self._ended.create(_key(caller.own, caller.text), EndedKs(until_s=caller.session.expiry_s))
        except Conflict:
            return  # another call has ended it

    def now_s(self) -> int:
        """Return the time, s since the epoch."""
        return self._clock.now_ms() // 1000


def _key(partner: int, text: str) -> str:
    """Return the key of an ended KS."""
    return f"ks.{partner}.{hashlib.sha256(ks.identity(text)).hexdigest()}"


def _same(secret: str, given: str) -> bool:
    return hmac.compare_digest(secret.encode(), given.encode())
