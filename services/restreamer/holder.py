"""One run that this instance plays: it follows the record, writes the place record and publishes events (ADR 13)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from structlog.stdlib import BoundLogger

from services.restreamer.beats import until_beat
from services.restreamer.decide import WANTED, over, playing, told
from services.restreamer.inserts import Inserts
from services.restreamer.leases import Me
from services.restreamer.model import TargetSpec
from services.restreamer.places import mark
from services.restreamer.playout import Ended, FileStarted, Playout, Report, Reporter, Snapshot, Started, Warned
from services.restreamer.records import Records, restream_key
from services.restreamer.telling import Telling, at_the_end, shown
from services.restreamer.trail import Trails
from shared.broker.kv import Bucket, Conflict, Stored
from shared.errors import Unavailable
from shared.messages.restreams import Item, Place, PlaceRecord, RestreamRecord, State, TargetStatus
from shared.runtime.clock import Clock
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import open_url

LOOK_S: Final = 0.5
WRITE_EVERY_NS: Final = 900_000_000  # with every second look
WRITE_S: Final = 1.0
JOIN_S: Final = 3.0
LAST_WORDS_S: Final = 3.0


MakePlayout = Callable[[RestreamRecord, Reporter], Playout]


@dataclass(frozen=True, slots=True)
class Tools:
    """What every holder of an instance shares."""

    records: Records
    places: Bucket[PlaceRecord]
    inserts: Inserts
    vault: Vault
    clock: Clock
    me: Me
    make: MakePlayout
    trails: Trails


@dataclass(slots=True)
class Holder:
    """Holds a run from its claim, which wrote `lease`, until it ends, is lost or is handed over."""

    tools: Tools
    record: RestreamRecord
    lease: Stored[PlaceRecord]
    telling: Telling
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _wishes: list[RestreamRecord] = field(default_factory=list)
    _reports: list[Report] = field(default_factory=list)
    _lists: dict[int, tuple[Item, ...]] = field(default_factory=dict)
    _marked: tuple[tuple[int, int], str] = ((-1, -1), "")
    _lost: bool = False
    _leaving: bool = False
    _handing_over: bool = False
    _over: tuple[State, str] | None = None
    _written_ns: int = 0
    _played_before_ms: int = 0
    _goes_on: Place | None = None
    _sending: bool = False
    _early: FileStarted | None = None

    @property
    def log(self) -> BoundLogger:
        """The run's log."""
        return self.telling.log

    @property
    def key(self) -> str:
        """The restream's key."""
        return restream_key(self.record.account, self.record.restream)

    def follow(self, record: RestreamRecord | None) -> None:
        """Handle the current record. When it names another run, or is gone, leave this run and keep its own record."""
        if record is None or record.run != self.record.run:
            self._leave(("stopped", "another run is wanted" if record else "it was removed"))
        elif record.state not in WANTED:
            self._leave((record.state, record.reason))
        else:
            self.record = record
            self._wishes.append(record)
        self._woken.set()

    def _leave(self, over: tuple[State, str]) -> None:
        self._over = self._over or over
        self._leaving = True

    def hand_over(self) -> None:
        """Ask to leave the run so that another instance continues it."""
        self._handing_over = self._leaving = True
        self._woken.set()

    async def run(self) -> None:
        """Play until the run is over, lost or handed over."""
        loop = asyncio.get_running_loop()

        def report(what: Report) -> None:
            loop.call_soon_threadsafe(self._reported, what)

        begun = self.record
        player = self.tools.make(begun, report)
        async with self.telling.running():
            try:
                await self._play(player, begun)
            finally:
                player.stop()
                closed = await asyncio.to_thread(player.join, JOIN_S)
                state, reason = self._why()
                self.log.info("restream.left", state=state, reason=reason, closed=closed)
                self.tools.trails.end(self.key, keep=self._lost)
            if not self._lost:
                await self._let_go(player)

    def _why(self) -> tuple[str, str]:
        """Return the state that the run is left in, and why."""
        if self._lost:
            return "lost", "another instance has taken it"
        if self._over:
            return self._over
        return self.record.state, "handed over" if self._handing_over else "the holder broke"

    def _reported(self, what: Report) -> None:
        self._reports.append(what)
        self._woken.set()

    async def _play(self, player: Playout, begun: RestreamRecord) -> None:
        place, targets = self.lease.value, self._opened(begun)
        self._played_before_ms, self._goes_on = place.played_ms, place.place if place.source else None
        if not targets:
            self._finish("failed", "no target's URL can be read")
        else:
            player.start(
                begun.spec, targets, place.place,
                spec_number=begun.spec_number, moved=place.moved, paused=begun.paused,
            )  # fmt: skip
        self._lists[begun.spec_number] = begun.spec.items
        self._wishes.insert(0, begun)
        acted = begun.model_copy(update={"move": begun.move.model_copy(update={"number": place.moved})})
        async with self.tools.inserts.watched(player.live, self.log) as watch:
            while not (self._leaving or self._lost):
                while self._wishes:
                    acted = self._act(player, acted, self._wishes.pop(0))
                watch.follow(self.record.account, self.record.spec.live)
                self._take_reports(player)
                self._tell_targets(player)
                await self._write(player, holder=self.tools.me.instance)
                self._woken.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(until_beat(LOOK_S)):
                        await self._woken.wait()

    def _act(self, player: Playout, acted: RestreamRecord, wanted: RestreamRecord) -> RestreamRecord:
        """Apply the differences between two records to the player; return the record that it now follows."""
        if wanted.spec_number != acted.spec_number:
            now = player.snapshot().spec_number
            self._lists = {number: items for number, items in self._lists.items() if number >= now}
            self._lists[wanted.spec_number] = wanted.spec.items
            player.update(wanted.spec, wanted.spec_number, wait_current=wanted.wait_current)
        if (wanted.spec.targets, wanted.spec.tries) != (acted.spec.targets, acted.spec.tries):
            player.set_targets(self._opened(wanted))
        if wanted.move.number > acted.move.number:
            player.move(wanted.move)
        if wanted.paused != acted.paused:
            (player.pause if wanted.paused else player.unpause)()
        return wanted

    def _take_reports(self, player: Playout) -> None:
        reports, self._reports = ([] if self._over else self._reports), []  # nothing is reported after the end
        for report in reports:
            match report:
                case Started():
                    self._started(player)
                case FileStarted() if not self._sending:
                    self._early = report  # it plays to nobody yet
                case FileStarted():
                    self._file_started(report)
                case Warned():
                    self.telling.warned(self.record, report)
                case Ended():
                    self._finish("failed" if report.failed else "ended", report.reason, _targets(player))

    def _tell_targets(self, player: Playout) -> None:
        """Publish targets' states, and record to which media was sent; not after the run's end."""
        if self._leaving or self._over:
            return
        if news := self.telling.targets(self.record, _targets(player)):
            self._note(news)

    def _note(self, statuses: Sequence[TargetStatus]) -> None:
        self._change(partial(told, run=self.record.run, statuses=tuple(statuses)))

    def _started(self, player: Playout) -> None:
        """Publish that media is sent, and to whom; then the file that plays."""
        self._sending = True
        self._change(partial(playing, run=self.record.run, now_ms=self.tools.clock.now_ms()))
        self._tell_targets(player)
        early, self._early = self._early, None
        if early is not None:
            self._file_started(early)

    def _file_started(self, report: FileStarted) -> None:
        """Publish that a file plays, unless the previous holder had started it."""
        at, before = report.place, self._goes_on
        if not report.live:
            self._goes_on = None
            if before and (at.item, at.loop, at.range) == (before.item, before.loop, before.range):
                return
        self.telling.file(self.record, report)

    def _finish(self, state: State, reason: str, statuses: Sequence[TargetStatus] = ()) -> None:
        """Record the targets' states, then that the run is over; the lease is kept until that is written."""
        run, now_ms = self.record.run, self.tools.clock.now_ms()
        why = next((f"{status.shown}: {status.error}" for status in statuses if status.error), "")
        self._over = state, reason
        self._note(statuses)

        def ended(old: RestreamRecord | None) -> RestreamRecord | None:
            made = over(old, run, state, reason, now_ms, why)
            if made is not None:
                self._over = made.state, made.reason or "all of the list was played"
            return made

        self._change(ended)
        self.telling.add(self._ended)

    async def _ended(self) -> None:
        self._leaving = True
        self._woken.set()

    def _change(self, how: Callable[[RestreamRecord | None], RestreamRecord | None]) -> None:
        self.telling.add(partial(self.tools.records.change, self.key, how))

    def _opened(self, record: RestreamRecord) -> list[TargetSpec]:
        """Open the targets' URLs; one that cannot be read is left out and reported."""
        found = []
        for target in record.spec.targets:
            try:
                url = open_url(self.tools.vault, target.url)
            except SecretUnreadable:
                self.telling.warned(record, Warned(f"the URL of target {target.shown} can't be read"))
                continue
            found.append(TargetSpec(target.target, url, target.shown, record.spec.tries))
        return found

    async def _let_go(self, player: Playout) -> None:
        """Write the last place record, without a holder, after the last events are published."""
        self._take_reports(player)
        said = await self.telling.finished(LAST_WORDS_S)
        self._written_ns = 0
        await self._write(player, holder="")
        self.log.info("restream.let_go", told=said)

    async def _write(self, player: Playout, holder: str) -> None:
        """Write the place record once a second. A write that the broker does not take is left to the next one."""
        now_ns = self.tools.clock.monotonic_ns()
        if self._written_ns and now_ns - self._written_ns < WRITE_EVERY_NS:
            return
        self._written_ns = now_ns
        value = self._place(player.snapshot(), holder)
        try:
            async with asyncio.timeout(WRITE_S):
                await self._replace(value)
        except (Unavailable, TimeoutError) as error:
            self.log.info("restream.place.not_written", error=type(error).__name__)

    async def _replace(self, value: PlaceRecord) -> None:
        try:
            self.lease = await self.tools.places.replace(self.lease, value)
        except Conflict:
            await self._regain(value)

    async def _regain(self, value: PlaceRecord) -> None:
        """After a conflict: an earlier write of ours may have arrived unnoticed; otherwise the run is lost."""
        stored = await self.tools.places.get(self.key)
        if stored is None:
            revision = await self.tools.places.create(self.key, value)
            self.lease = Stored(self.key, value, revision)
        elif self.tools.me.owns(stored.value) and stored.value.run == self.record.run:
            self.lease = await self.tools.places.replace(stored, value)
        else:
            self.log.warning("restream.lost", to=stored.value.holder)
            self._lost = True

    def _place(self, snap: Snapshot, holder: str) -> PlaceRecord:
        earlier = self.lease.value
        changes: dict[str, Any] = {
            "holder": holder, "place": snap.place, "spec_number": snap.spec_number, "moved": snap.moved,
            "source": self._mark(snap), "played_ms": self._played_before_ms + snap.played_ms,
            "at_ms": self.tools.clock.now_ms(),
            "number": self.telling.number, "file": snap.file, "how": snap.how or "", "live": snap.live,
            "targets": self._shown(snap),
        }  # fmt: skip
        return earlier.model_copy(update=changes)

    def _shown(self, snap: Snapshot) -> tuple[TargetStatus, ...]:
        """Return the targets' states; after the run, their final ones."""
        if self._over and self._leaving:
            return tuple(at_the_end(shown(status), self.telling.sent) for status in snap.targets)
        return tuple(map(shown, snap.targets))

    def _mark(self, snap: Snapshot) -> str:
        """Return the keyed hash of the source that plays."""
        items, at = self._lists.get(snap.spec_number, ()), (snap.spec_number, snap.place.item)
        if self._marked[0] != at:
            known = snap.place.item < len(items)
            self._marked = at, mark(self.tools.vault, items[snap.place.item].source) if known else ""
        return self._marked[1]


def _targets(player: Playout) -> list[TargetStatus]:
    return [shown(status) for status in player.snapshot().targets]
