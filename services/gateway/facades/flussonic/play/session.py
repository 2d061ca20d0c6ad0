"""Sessions of players: what one is, and which of them a limit closes."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from shared.runtime.clock import to_ns

Proto = Literal["hls", "mpegts", "mp4", "jpeg", "json"]
IDLE: Final = timedelta(seconds=60)
"""A player that has asked for nothing for so long has left."""
IDLE_NS: Final = to_ns(IDLE)
MOST_PLAYING: Final = 50_000
MOST_SILENT: Final = 10_000
"""So many sessions of an account are remembered in which somebody plays, and others: denied, or left. Of those beyond,
whoever was silent longest is asked about again, unless a stream is being sent."""
COUNTED: Final = frozenset({"hls", "mpegts", "mp4"})
USUAL_KEYS: Final = ("name", "ip", "proto", "token")


@dataclass(frozen=True, slots=True)
class Player:
    """What is known of a player by its request."""

    name: str
    ip: str
    proto: Proto
    token: str
    user_agent: str = ""
    referer: str = ""
    qs: str = field(default="", compare=False)
    trace: str = field(default="", compare=False)


@dataclass(eq=False, slots=True)
class Session:
    """A player's session. `held`: streams that are being sent, which keep it open. `asking`: the question about it."""

    ident: str
    player: Player
    opened_ns: int
    seen_ns: int
    asked: int = 0
    allowed: bool = False
    until_ns: int = 0
    user: str = ""
    held: int = 0
    asking: asyncio.Task[None] | None = None


class Table:
    """The sessions of one account. However many there are, a player's request costs the same.

    After a session was changed, `place` sorts it in: somebody plays, or it is silent. It is neither while it is asked
    about, so that the answer is not lost.
    """

    def __init__(self) -> None:
        self._all: dict[str, Session] = {}
        self._playing: OrderedDict[Session, None] = OrderedDict()  # not the held ones; silent longest first
        self._silent: OrderedDict[Session, None] = OrderedDict()
        self._users: dict[str, set[Session]] = {}
        self._user_of: dict[Session, str] = {}  # those in which somebody plays
        self._clients: Counter[str] = Counter()

    def open(self, ident: str, player: Player, now_ns: int) -> Session:
        """Return a session, made if need be, as the one that was heard last."""
        session = self._all.get(ident)
        if session is None:
            self._make_room(now_ns)
            session = self._all[ident] = Session(ident, player, now_ns, now_ns)
        self.touch(session, now_ns)
        return session

    def touch(self, session: Session, now_ns: int) -> None:
        """Note that somebody asks for something, or is sent it."""
        session.seen_ns = now_ns
        if session in self._playing:
            self._playing.move_to_end(session)
        elif not session.held:
            self.place(session, now_ns)

    def place(self, session: Session, now_ns: int) -> None:
        """Sort a session in."""
        self._remove(session)
        if not self.knows(session):
            return
        if session.allowed and (session.held or now_ns - session.seen_ns < IDLE_NS):
            self._user_of[session] = session.user
            if session.player.proto in COUNTED:
                self._users.setdefault(session.user, set()).add(session)
            self._clients[session.player.name] += 1
            if not session.held:
                self._playing[session] = None
        elif session.asking is None and session.asked:
            self._silent[session] = None

    def drop(self, session: Session) -> None:
        """Forget a session: it is asked about again as a new one."""
        if self.knows(session):
            del self._all[session.ident]
            self._remove(session)

    def knows(self, session: Session) -> bool:
        """Return whether a session is still this one."""
        return self._all.get(session.ident) is session

    def clients(self, name: str, now_ns: int) -> tuple[int, int]:
        """Return in how many sessions somebody plays a stream, and any."""
        self._part(now_ns)
        return self._clients[name], len(self._user_of)

    def beyond(self, session: Session, most: int, now_ns: int) -> list[Session]:
        """Return the other sessions of a session's user that have to go so that it has at most `most`, the oldest."""
        self._part(now_ns)
        alike = self._users.get(session.user, set())
        more = len(alike) - (session in alike) + 1 - most
        if more <= 0:
            return []
        return heapq.nsmallest(more, alike - {session}, key=lambda one: one.opened_ns)

    def _remove(self, session: Session) -> None:
        self._playing.pop(session, None)
        self._silent.pop(session, None)
        user = self._user_of.pop(session, None)
        if user is None:
            return
        if session.player.proto in COUNTED:
            self._users[user].discard(session)
            if not self._users[user]:
                del self._users[user]
        self._clients[session.player.name] -= 1
        if not self._clients[session.player.name]:
            del self._clients[session.player.name]

    def _part(self, now_ns: int) -> None:
        """Sort out who has left."""
        while self._playing and now_ns - (oldest := next(iter(self._playing))).seen_ns >= IDLE_NS:
            self.place(oldest, now_ns)

    def _make_room(self, now_ns: int) -> None:
        """Drop what has ended, and of too many, those that were silent longest."""
        self._part(now_ns)
        while len(self._playing) >= MOST_PLAYING:
            self.drop(next(iter(self._playing)))
        while self._silent:
            oldest = next(iter(self._silent))
            if oldest.until_ns >= now_ns and len(self._silent) < MOST_SILENT:
                return
            self.drop(oldest)
