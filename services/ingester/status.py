"""A publisher's status for operators, written to the broker every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from services.ingester.publication import Publication
from services.ingester.recorder.stats import PublisherStats
from shared.broker.kv import Bucket, Stored
from shared.errors import Unavailable
from shared.messages.live import EndReason
from shared.messages.sessions import PublisherStatus, SessionRecord, SoundTrack, status_key, status_prefix
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
FIRST: Final = timedelta(seconds=1)
EVERY: Final = timedelta(seconds=5)
KEPT: Final = 16
"""How many publishers of a job are shown; earlier ones are in the session records only."""
OLD_KEYFRAME_MS: Final = 15_000
SHOWN_UP_MS: Final = 8_000
"""How long an announced track may take to appear."""
_NS: Final = 1_000_000_000
_VIDEO_SCALE: Final = 90_000


@dataclass(slots=True)
class _Counted:
    """The counters at a monotonic time."""

    at_ns: int
    bytes: int
    steps: int
    ticks: int


class Monitor:
    """Builds a publisher's status from the counters that its thread keeps; used only by the event loop."""

    def __init__(self, session: SessionRecord, publication: Publication, stats: PublisherStats, clock: Clock) -> None:
        self._session = session
        self._publication = publication
        self._stats = stats
        self._clock = clock
        self._since_ms = clock.now_ms()
        self._before = self._count()
        self._rates = (0.0, 0)
        self.job = (session.account, session.event)
        self.key = ""
        """The status' key, once one is chosen."""

    def look(self, reason: EndReason | None = None) -> PublisherStatus:
        """Return the status, with the rates since the previous call. With a reason it is the last status."""
        stats, now_ms = self._stats, self._clock.now_ms()
        frame_rate, bitrate = self._measure()
        status = PublisherStatus(
            account=self._session.account, event=self._session.event, session=self._session.session,
            protocol=self._session.protocol, peer=str(self._publication.peer)[:64],
            since_ms=self._since_ms, updated_ms=now_ms, ended_ms=now_ms if reason else None, reason=reason,
            video_codec=stats.video_codec, audio_codec=stats.audio_codec, width=stats.width, height=stats.height,
            frame_rate=frame_rate, sample_rate=stats.sample_rate, channels=stats.channels, bitrate=bitrate,
            sounds=_sounds(stats),
            bytes=stats.bytes, frames=stats.frames, keyframes=stats.keyframes, last_keyframe_ms=stats.last_keyframe_ms,
            jumps=stats.jumps, damaged_frames=stats.damaged,
            dropped_frames=self._publication.dropped_frames, lost_packets=self._publication.lost_packets,
            unsupported=stats.unsupported,
        )  # fmt: skip
        return status.model_copy(update={"warnings": warnings_of(status, stats.announced)})

    def _count(self) -> _Counted:
        stats = self._stats
        return _Counted(self._clock.monotonic_ns(), stats.bytes, stats.steps, stats.step_ticks)

    def _measure(self) -> tuple[float, int]:
        """Return pictures and bits a second since the last measurement; the last rates within half a second of it."""
        now, before = self._count(), self._before
        if now.at_ns - before.at_ns >= _NS // 2:
            ticks = now.ticks - before.ticks
            frame_rate = round((now.steps - before.steps) * _VIDEO_SCALE / ticks, 3) if ticks else 0.0
            self._rates = (frame_rate, (now.bytes - before.bytes) * 8 * _NS // (now.at_ns - before.at_ns))
            self._before = now
        return self._rates


def _sounds(stats: PublisherStats) -> tuple[SoundTrack, ...]:
    sounds = stats.sounds
    return tuple(
        SoundTrack(codec=one.codec, language=one.language, sample_rate=one.sample_rate, channels=one.channels)
        for one in (sounds[number] for number in sorted(sounds))
    )


def warnings_of(status: PublisherStatus, announced: Sequence[str] = ()) -> tuple[str, ...]:
    """Return human-readable warnings about a stream; `announced`: the kinds of tracks that it announces."""
    found = [f"{track} cannot be recorded" for track in status.unsupported]
    if status.updated_ms - status.since_ms > SHOWN_UP_MS:
        if "video" in announced and not status.video_codec:
            found.append("no picture: none came that decoding can begin with (a keyframe with its parameter sets)")
        if "audio" in announced and not status.audio_codec:
            found.append("no sound, though the stream announces some")
    since = status.last_keyframe_ms or status.since_ms
    if status.video_codec and status.updated_ms - since > OLD_KEYFRAME_MS:
        found.append(f"no keyframe for {(status.updated_ms - since) // 1000} s: playback and clips begin at keyframes")
    if status.jumps:
        found.append(f"the encoder's time stamps jumped ({status.jumps} times)")
    if status.damaged_frames:
        found.append(f"{status.damaged_frames} frames came damaged and were left out")
    if status.lost_packets:
        found.append(f"{status.lost_packets} packets were lost on the way: a larger latency may help")
    return tuple(found[:8])


class Statuses:
    """Writes statuses to the bucket. While the broker is unavailable, writes are skipped without waiting."""

    def __init__(self, bucket: Bucket[PublisherStatus]) -> None:
        self._bucket = bucket

    async def follow(self, monitor: Monitor) -> None:
        """Write a publisher's status until the task is cancelled."""
        pause = FIRST
        while True:
            await asyncio.sleep(pause.total_seconds())
            await self._write(monitor, monitor.look())
            pause = EVERY

    async def close(self, monitor: Monitor, reason: EndReason) -> None:
        """Write the publisher's last status."""
        await self._write(monitor, monitor.look(reason))

    async def lost(self, session: SessionRecord, reason: EndReason, at_ms: int) -> None:
        """Record the end of a session whose ingester was killed; Unavailable."""
        for stored in await self._kept(session.account, session.event):
            if stored.value.session == session.session and stored.value.ended_ms is None:
                ended = stored.value.model_copy(update={"ended_ms": at_ms, "reason": reason})
                await self._bucket.change(stored.key, partial(_instead, ended))

    async def _kept(self, account: str, event: str) -> list[Stored[PublisherStatus]]:
        keys = await self._bucket.keys(status_prefix(account, event))
        found = await asyncio.gather(*map(self._bucket.get, keys))
        return [stored for stored in found if stored is not None]

    async def _write(self, monitor: Monitor, status: PublisherStatus) -> None:
        try:
            monitor.key = monitor.key or await self._key_of(monitor)
            await self._bucket.change(monitor.key, lambda _: status)
        except Unavailable as error:
            log.info("status.not_written", error=str(error))

    async def _key_of(self, monitor: Monitor) -> str:
        """Return a free key, or the key of the job's oldest publisher."""
        kept = await self._kept(*monitor.job)
        if len(kept) >= KEPT:
            return min(kept, key=lambda stored: stored.value.since_ms).key
        taken = {stored.key for stored in kept}
        return next(key for number in range(KEPT) if (key := status_key(*monitor.job, number)) not in taken)


def _instead(status: PublisherStatus, _before: PublisherStatus | None) -> PublisherStatus:
    """Return the new status, ignoring the previous one."""
    return status
