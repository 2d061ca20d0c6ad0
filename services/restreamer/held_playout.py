"""The playout record of a run that this instance holds: written each second, until another instance takes the run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from structlog.stdlib import BoundLogger

from services.restreamer.leases import Me
from services.restreamer.playout import Snapshot
from services.restreamer.resuming import mark
from shared.broker.kv import Bucket, Conflict, Stored
from shared.errors import Unavailable
from shared.messages.restreams import Item, PlayoutRecord, TargetStatus
from shared.runtime.clock import Clock
from shared.security.secrets import Vault

WRITE_EVERY_NS: Final = 900_000_000  # with every second look
WRITE: Final = timedelta(seconds=1)


@dataclass(slots=True)
class HeldPlayout:
    """Writes a run's playout record. `lost`: another instance has taken the run."""

    playouts: Bucket[PlayoutRecord]
    vault: Vault
    clock: Clock
    me: Me
    lease: Stored[PlayoutRecord]
    log: BoundLogger
    lost: bool = False
    _played_before_ms: int = field(init=False)
    _run: int = field(init=False)
    _lists: dict[int, tuple[Item, ...]] = field(default_factory=dict)
    _marked: tuple[tuple[int, int], str] = ((-1, -1), "")
    _written_ns: int = 0

    def __post_init__(self) -> None:
        self._played_before_ms, self._run = self.lease.value.played_ms, self.lease.value.run

    def list_known(self, number: int, items: tuple[Item, ...], oldest: int = 0) -> None:
        """Record a list that positions may refer to from now on; drop those before number `oldest`."""
        self._lists = {known: listed for known, listed in self._lists.items() if known >= oldest}
        self._lists[number] = items

    @property
    def due(self) -> bool:
        """Return whether a second has passed since the last write."""
        return not self._written_ns or self.clock.monotonic_ns() - self._written_ns >= WRITE_EVERY_NS

    async def write(self, snap: Snapshot, holder: str, number: int, targets: tuple[TargetStatus, ...]) -> None:
        """Write the playout record. A write that the broker does not take is left to the next one."""
        self._written_ns = self.clock.monotonic_ns()
        changes: dict[str, Any] = {
            "holder": holder, "cursor": snap.cursor, "spec_number": snap.spec_number, "moved": snap.moved,
            "source": self._mark(snap), "played_ms": self._played_before_ms + snap.played_ms,
            "at_ms": self.clock.now_ms(),
            "number": number, "file": snap.file, "how": snap.how or "", "live": snap.live, "targets": targets,
        }  # fmt: skip
        try:
            async with asyncio.timeout(WRITE.total_seconds()):
                await self._replace(self.lease.value.model_copy(update=changes))
        except (Unavailable, TimeoutError) as error:
            self.log.info("restream.playout.not_written", error=type(error).__name__)

    async def _replace(self, value: PlayoutRecord) -> None:
        try:
            self.lease = await self.playouts.replace(self.lease, value)
        except Conflict:
            await self._regain(value)

    async def _regain(self, value: PlayoutRecord) -> None:
        """After a conflict: an earlier write of ours may have arrived unnoticed; otherwise the run is lost."""
        key = self.lease.key
        stored = await self.playouts.get(key)
        if stored is None:
            self.lease = Stored(key, value, await self.playouts.create(key, value))
        elif self.me.owns(stored.value) and stored.value.run == self._run:
            self.lease = await self.playouts.replace(stored, value)
        else:
            self.log.warning("restream.lost", to=stored.value.holder)
            self.lost = True

    def _mark(self, snap: Snapshot) -> str:
        """Return the keyed hash of the source that plays."""
        items, at = self._lists.get(snap.spec_number, ()), (snap.spec_number, snap.cursor.item)
        if self._marked[0] != at:
            known = snap.cursor.item < len(items)
            self._marked = at, mark(self.vault, items[snap.cursor.item].source) if known else ""
        return self._marked[1]
