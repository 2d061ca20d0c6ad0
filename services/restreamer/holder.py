"""One run that this instance plays: it follows the record, writes the playout record and publishes events (ADR 13)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

from structlog.stdlib import BoundLogger

from services.restreamer.beats import next_beat
from services.restreamer.decide import WANTED, over, playing, told
from services.restreamer.held_playout import HeldPlayout
from services.restreamer.inserts import Inserts
from services.restreamer.leases import Me
from services.restreamer.model import TargetSpec
from services.restreamer.playout import Ended, FileStarted, Playout, Report, Reporter, Snapshot, Started, Warned
from services.restreamer.records import RestreamRecords, restream_key
from services.restreamer.telling import Telling, at_the_end, shown
from services.restreamer.trail import Trails
from shared.broker.kv import Bucket, Stored
from shared.messages.restreams import PlaylistCursor, PlayoutRecord, RestreamRecord, State, TargetStatus
from shared.runtime.clock import Clock
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import open_url

LOOK: Final = timedelta(milliseconds=500)
JOIN: Final = timedelta(seconds=3)
LAST_WORDS: Final = timedelta(seconds=3)


MakePlayout = Callable[[RestreamRecord, Reporter], Playout]


@dataclass(frozen=True, slots=True)
class Tools:
    """What every holder of an instance shares."""

    records: RestreamRecords
    playouts: Bucket[PlayoutRecord]
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
    lease: Stored[PlayoutRecord]
    telling: Telling
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _wishes: list[RestreamRecord] = field(default_factory=list)
    _reports: list[Report] = field(default_factory=list)
    _leaving: bool = False
    _handing_over: bool = False
    _over: tuple[State, str] | None = None
    _goes_on: PlaylistCursor | None = None
    _sending: bool = False
    _early: FileStarted | None = None
    _playout: HeldPlayout = field(init=False)

    def __post_init__(self) -> None:
        tools = self.tools
        self._playout = HeldPlayout(tools.playouts, tools.vault, tools.clock, tools.me, self.lease, self.log)

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
                closed = await asyncio.to_thread(player.join, JOIN)
                state, reason = self._why()
                self.log.info("restream.left", state=state, reason=reason, closed=closed)
                self.tools.trails.end(self.key, keep=self._playout.lost)
            if not self._playout.lost:
                await self._let_go(player)

    def _why(self) -> tuple[str, str]:
        """Return the state that the run is left in, and why."""
        if self._playout.lost:
            return "lost", "another instance has taken it"
        if self._over:
            return self._over
        return self.record.state, "handed over" if self._handing_over else "the holder broke"

    def _reported(self, what: Report) -> None:
        self._reports.append(what)
        self._woken.set()

    async def _play(self, player: Playout, begun: RestreamRecord) -> None:
        playout, targets = self.lease.value, self._opened(begun)
        self._goes_on = playout.cursor if playout.source else None
        if not targets:
            self._finish("failed", "no target's URL can be read")
        else:
            player.start(
                begun.spec, targets, playout.cursor,
                spec_number=begun.spec_number, moved=playout.moved, paused=begun.paused,
            )  # fmt: skip
        self._playout.list_known(begun.spec_number, begun.spec.items)
        self._wishes.insert(0, begun)
        acted = begun.model_copy(update={"move": begun.move.model_copy(update={"number": playout.moved})})
        async with self.tools.inserts.watched(player.live, self.log) as watch:
            while not (self._leaving or self._playout.lost):
                while self._wishes:
                    acted = self._act(player, acted, self._wishes.pop(0))
                watch.follow(self.record.account, self.record.spec.live)
                self._take_reports(player)
                self._tell_targets(player)
                if self._playout.due:
                    await self._write(player, holder=self.tools.me.instance)
                self._woken.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(next_beat(LOOK)):
                        await self._woken.wait()

    def _act(self, player: Playout, acted: RestreamRecord, wanted: RestreamRecord) -> RestreamRecord:
        """Apply the differences between two records to the player; return the record that it now follows."""
        if wanted.spec_number != acted.spec_number:
            self._playout.list_known(wanted.spec_number, wanted.spec.items, player.snapshot().spec_number)
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
        at, before = report.cursor, self._goes_on
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
        """Write the last playout record, without a holder, after the last events are published."""
        self._take_reports(player)
        said = await self.telling.finished(LAST_WORDS)
        await self._write(player, holder="")
        self.log.info("restream.let_go", told=said)

    async def _write(self, player: Playout, holder: str) -> None:
        snap = player.snapshot()
        await self._playout.write(snap, holder, self.telling.number, self._shown(snap))

    def _shown(self, snap: Snapshot) -> tuple[TargetStatus, ...]:
        """Return the targets' states; after the run, their final ones."""
        if self._over and self._leaving:
            return tuple(at_the_end(shown(status), self.telling.sent) for status in snap.targets)
        return tuple(map(shown, snap.targets))


def _targets(player: Playout) -> list[TargetStatus]:
    return [shown(status) for status in player.snapshot().targets]
