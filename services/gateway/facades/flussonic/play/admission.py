"""Lets players in, as a stream's backend says (ADR 33)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from services.gateway.domain.errors import TooMany
from services.gateway.facades.flussonic.models import ON_PLAY
from services.gateway.facades.flussonic.play.session import COUNTED, USUAL_KEYS, Player, Session, Table
from services.gateway.http.problems import ApiError
from shared.runtime.clock import Clock, to_ns
from shared.runtime.logging import get_logger
from shared.runtime.tasks import end_task
from shared.security.backends import Answer, Backends, BackendSilent
from shared.security.peers import Budget, network_of
from shared.security.secrets import Vault

log = get_logger()
PURPOSE: Final = "play-session"
AGAIN: Final = timedelta(seconds=10)
"""So long what a backend said last holds on while it is silent; then it is asked again."""
NEW_AT_ONCE: Final = 200
NEW_AGAIN: Final = timedelta(milliseconds=20)
"""New sessions of an account from one network: at first, and then."""
_NO_STORE: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Rule:
    """What is set about the players of a stream."""

    url: str
    keys: tuple[str, ...] = USUAL_KEYS
    most: int | None = None
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Admitted:
    """A player that was let in: its account's table and its session; `goes_on` is asked while it is sent a stream."""

    admission: Admission
    account: str
    rule: Rule
    session: Session

    def goes_on(self) -> bool:
        """Return whether the player may still play; asks the backend beside when it is time."""
        return self.admission.goes_on(self)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the session open while the block runs."""
        self._hold(1)
        try:
            yield
        finally:
            self._hold(-1)

    def _hold(self, more: int) -> None:
        now = self.session.seen_ns = self.admission.clock.monotonic_ns()
        self.session.held += more
        self.admission.table(self.account).place(self.session, now)


@dataclass(slots=True)
class Admission:
    """The sessions of this gateway. `usual` is the URL that is asked where a stream has none."""

    backends: Backends
    vault: Vault
    clock: Clock
    usual: str = ""
    _tables: defaultdict[str, Table] = field(init=False, default_factory=lambda: defaultdict(Table))
    _asking: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _strangers: Budget = field(init=False)

    def __post_init__(self) -> None:
        self._strangers = Budget(NEW_AT_ONCE, NEW_AGAIN, self.clock)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask while the block runs."""
        async with self.backends.running():
            try:
                yield
            finally:
                for task in list(self._asking):
                    await end_task(task)

    def table(self, account: str) -> Table:
        """Return the sessions of an account."""
        return self._tables[account]

    def rule_of(self, config: Mapping[str, Any]) -> Rule | None:
        """Return what is set about a stream's players; None: nobody is asked about them."""
        given = config.get(ON_PLAY) or {}
        url = str(given.get("url") or self.usual)
        if not url:
            return None
        keys = tuple(given.get("session_keys") or USUAL_KEYS)
        return Rule(url, keys, given.get("max_sessions"), bool(given.get("soft_limitation")))

    async def admit(self, account: str, rule: Rule, player: Player) -> Admitted:
        """Let a player in; ApiError: 403 when it may not play, 503 when that is not known; TooMany."""
        now = self.clock.monotonic_ns()
        table = self._tables[account]
        session = table.open(self._ident(account, rule, player), player, now)
        if session.asked == 0 and session.asking is None:
            who = account, network_of(player.ip)
            if not self._strangers.take(who):
                table.drop(session)
                raise TooMany("TOO_MANY_SESSIONS", "too many new sessions from your network", self._strangers.wait(who))
        if session.until_ns <= now:
            asking = self._ask(account, rule, session)
            if not session.allowed:  # who plays already is not held up
                await asyncio.shield(asking)
        if not session.allowed:
            if session.asked == 0:
                raise ApiError(503, "it is not known at the moment whether you may play this", headers={
                    **_NO_STORE, "Retry-After": "2",
                })  # fmt: skip
            raise ApiError(403, "you may not play this", headers=_NO_STORE)
        return Admitted(self, account, rule, session)

    def goes_on(self, player: Admitted) -> bool:
        """Return whether a player that is being sent a stream may still play."""
        session, now, table = player.session, self.clock.monotonic_ns(), self._tables[player.account]
        table.touch(session, now)
        if session.until_ns <= now:
            self._ask(player.account, player.rule, session)
        return session.allowed and table.knows(session)

    def _ask(self, account: str, rule: Rule, session: Session) -> asyncio.Task[None]:
        """Ask about a session, once for all its requests that come meanwhile."""
        if session.asking is None:
            session.asking = asyncio.create_task(self._asked(account, rule, session))
            self._asking.add(session.asking)
            session.asking.add_done_callback(self._asking.discard)
            self._tables[account].place(session, self.clock.monotonic_ns())
        return session.asking

    async def _asked(self, account: str, rule: Rule, session: Session) -> None:
        try:
            await self._answered(account, rule, session)
        finally:
            session.asking = None
            self._tables[account].place(session, self.clock.monotonic_ns())

    async def _answered(self, account: str, rule: Rule, session: Session) -> None:
        try:
            answer = await self.backends.ask(account, rule.url, self._params(account, session), session.player.trace)
        except BackendSilent as error:
            log.warning("play.backend.silent", account=account, stream=session.player.name, reason=str(error))
            if session.asked == 0:
                self._tables[account].drop(session)
            session.until_ns = self.clock.monotonic_ns() + to_ns(AGAIN)
            return
        session.asked += 1
        self._apply(account, rule, session, answer)

    def _apply(self, account: str, rule: Rule, session: Session, answer: Answer) -> None:
        """Record an answer; sessions beyond the user's limit go: denied as long as their answers hold, or forgotten."""
        now, player = self.clock.monotonic_ns(), session.player
        session.allowed, session.until_ns = answer.allowed, now + to_ns(answer.holds)
        session.user = answer.user or player.token or player.ip
        table = self._tables[account]
        table.place(session, now)
        most = answer.most or rule.most
        if not answer.allowed or most is None or player.proto not in COUNTED or not table.knows(session):
            return
        for other in table.beyond(session, most, now):
            log.info("play.session.closed", account=account, stream=other.player.name, session_id=other.ident)
            other.allowed = False
            if rule.soft:
                table.drop(other)
            table.place(other, now)

    def _params(self, account: str, session: Session) -> dict[str, str]:
        now, player = self.clock.monotonic_ns(), session.player
        of_stream, of_all = self._tables[account].clients(player.name, now)
        return {
            "name": player.name, "proto": player.proto, "ip": player.ip, "token": player.token,
            "request_type": "update_session" if session.asked else "new_session",
            "request_number": str(session.asked), "session_id": session.ident,
            "stream_clients": str(of_stream), "total_clients": str(of_all),
            "duration": str((now - session.opened_ns) // 1_000_000_000), "user_agent": player.user_agent,
            "referer": player.referer, "qs": player.qs,
        }  # fmt: skip

    def _ident(self, account: str, rule: Rule, player: Player) -> str:
        """Return a session's id, the same in all gateways; it tells nothing of the token."""
        text = repr((account, rule.url, player.name, *(getattr(player, key) for key in sorted(rule.keys))))
        return str(uuid.UUID(bytes=hashlib.sha256(self.vault.sign(text, PURPOSE).encode()).digest()[:16]))
