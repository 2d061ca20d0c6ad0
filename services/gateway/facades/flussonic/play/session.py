"""Sessions of players: what one is, and which of them a limit closes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from shared.runtime.clock import to_ns

Proto = Literal["hls", "mpegts", "mp4", "jpeg", "json"]
IDLE: Final = timedelta(seconds=60)
"""A player that has asked for nothing for so long has left."""
MOST_EACH: Final = 10_000
"""So many sessions of an account are remembered; of those beyond, whoever was silent longest is asked about again."""
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
    """A player's session. `held`: streams that are being sent, which keep it open."""

    ident: str
    player: Player
    opened_ns: int
    seen_ns: int
    asked: int = 0
    allowed: bool = False
    until_ns: int = 0
    user: str = ""
    held: int = 0

    def lives(self, now_ns: int) -> bool:
        """Return whether somebody plays."""
        return self.allowed and (self.held > 0 or now_ns - self.seen_ns < to_ns(IDLE))


class Table:
    """The sessions of one account, those that were silent longest first."""

    def __init__(self) -> None:
        self._all: OrderedDict[str, Session] = OrderedDict()

    def open(self, ident: str, player: Player, now_ns: int) -> Session:
        """Return a session, made if need be, as the one that was heard last."""
        session = self._all.get(ident)
        if session is None:
            session = self._all[ident] = Session(ident, player, now_ns, now_ns)
            self._make_room(now_ns)
        session.seen_ns = now_ns
        self._all.move_to_end(ident)
        return session

    def drop(self, session: Session) -> None:
        """Forget a session: it is asked about again as a new one."""
        if self._all.get(session.ident) is session:
            del self._all[session.ident]

    def knows(self, session: Session) -> bool:
        """Return whether a session is still this one."""
        return self._all.get(session.ident) is session

    def living(self, now_ns: int) -> Iterator[Session]:
        """Yield the sessions in which somebody plays, those that were silent longest first."""
        return (one for one in self._all.values() if one.lives(now_ns))

    def beyond(self, session: Session, most: int, now_ns: int) -> list[Session]:
        """Return the other sessions of a session's user that have to go so that it has at most `most`, the oldest."""
        others = [
            one for one in self.living(now_ns)
            if one is not session and one.user == session.user and one.player.proto in COUNTED
        ]  # fmt: skip
        others.sort(key=lambda one: one.opened_ns)
        return others[: max(len(others) + 1 - most, 0)]

    def _make_room(self, now_ns: int) -> None:
        """Drop what has ended, and of too many, those that were silent longest."""
        while self._all:
            oldest = next(iter(self._all.values()))
            over = oldest.until_ns < now_ns and not oldest.lives(now_ns) and oldest.asked > 0
            if not over and len(self._all) <= MOST_EACH:
                return
            del self._all[oldest.ident]
