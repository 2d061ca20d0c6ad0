"""The recording loop: one thread, from the encoder's bytes to segments, until the bytes end."""

from __future__ import annotations

from services.ingester.recorder.damage import is_sound
from services.ingester.recorder.flv import FlvDemuxer
from services.ingester.recorder.model import (
    Arrival,
    Frame,
    NotMedia,
    Place,
    RecorderLimits,
    Sink,
    Source,
    Stop,
    Summary,
)
from services.ingester.recorder.mpegts import TsDemuxer
from services.ingester.recorder.names import is_media
from services.ingester.recorder.session import Session
from services.ingester.recorder.stats import PublisherStats
from shared.errors import ReelayError, Unavailable
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()
READ = 1 << 19
"""No less than a source has ready at once: each turn costs something of its own."""
HOPELESS_NS = 3_000_000_000
"""For so long a container that names only what cannot be recorded may come to name more."""


class NothingRecordable(NotMedia):
    """The container holds tracks, and none that can be recorded."""


def record(
    source: Source,
    sink: Sink,
    place: Place,
    clock: Clock,
    stop: Stop,
    limits: RecorderLimits | None = None,
    *,
    stats: PublisherStats | None = None,
) -> Summary:
    """Record until the source ends or `stop` is set, and tell how it went; blocks its thread.

    `place` says where files go; `sink` hears of each segment once it lies there whole; `stats` is kept current.
    Whatever ends the recording, all
    that was whole before is handed over. Raises NotMedia for bytes that are not the container or hold no track
    that can be recorded, StoreFull when the disk is full, Unavailable when it fails otherwise, and what `sink` raises.
    """
    demuxer = FlvDemuxer() if source.format == "flv" else TsDemuxer()
    session = Session(place, sink, limits or RecorderLimits())
    recording = _Recording(source, demuxer, session, clock, stats or PublisherStats())
    recording.undecided = (limits or RecorderLimits()).undecided_bytes
    return recording.run(stop)


class _Recording:
    def __init__(
        self,
        source: Source,
        demuxer: FlvDemuxer | TsDemuxer,
        session: Session,
        clock: Clock,
        stats: PublisherStats,
    ) -> None:
        self.undecided = 0
        self._source = source
        self._demuxer = demuxer
        self._session = session
        self._clock = clock
        self._stats = stats
        self._seen = 0
        self._framed = False
        self._unsound = 0
        self._hopeless_since_ns: int | None = None

    def run(self, stop: Stop) -> Summary:
        try:
            self._pump(stop)
            self._take(self._demuxer.flush())
            self._check(at_end=True)
            self._session.finish()
        except Unavailable:
            self._session.abandon()
            raise
        except ReelayError:
            self._session.finish()
            raise
        finally:
            self._session.release()
        return self._summary(stop)

    def _pump(self, stop: Stop) -> None:
        while not stop.is_set():
            data = self._source.read(READ)
            if data:
                self._seen += len(data)
                self._stats.bytes = self._seen
                self._take(self._demuxer.feed(data))
                self._stats.damaged = self._damaged
                self._check()
            elif not self._goes_on():
                return

    def _goes_on(self) -> bool:
        """Move on to an FLV source's next run, when it has one."""
        following = getattr(self._source, "next_run", None)
        if following is None or not isinstance(self._demuxer, FlvDemuxer) or not following():
            return False
        self._demuxer.next_run()
        return True

    def _take(self, frames: list[Frame]) -> None:
        if not frames:
            return
        self._framed = True
        arrival = Arrival(self._clock.monotonic_ns(), self._clock.now_ms())
        video, audio = self._demuxer.expects("video"), self._demuxer.expects("audio")
        self._stats.announced = ("video",) * video + ("audio",) * audio
        for frame in frames:
            if not is_sound(frame):
                self._unsound += 1
                continue
            self._stats.take(frame, arrival.ms)
            self._session.take(frame, arrival, expects_video=video, expects_audio=audio)
        self._stats.jumps = self._session.jumps

    @property
    def _damaged(self) -> int:
        """Count what could not be read, or not be stored."""
        return self._demuxer.damaged + self._unsound + int(getattr(self._source, "damaged", 0))

    def _check(self, *, at_end: bool = False) -> None:
        """Tell of tracks that cannot be recorded; end a recording that has nothing else."""
        others = self._demuxer.unsupported
        if self._framed:
            if others:
                self._stats.meet(others)
            return
        hopeless = any(map(is_media, others)) and self._is_hopeless(at_end=at_end)
        if hopeless or (not at_end and self._seen >= self.undecided):
            self._stats.meet(others, warn=False)
            among = ", ".join(self._stats.unsupported)
            kind = NothingRecordable if others else NotMedia
            raise kind(f"no track that can be recorded{' among ' + among if among else ''}")

    def _is_hopeless(self, *, at_end: bool) -> bool:
        """Tell whether nothing has been announced that can be recorded, for a while or until the end.

        Of RTMP its server judges, but at the end.
        """
        told = at_end or isinstance(self._demuxer, TsDemuxer)
        if not told or self._demuxer.expects("video") or self._demuxer.expects("audio"):
            self._hopeless_since_ns = None
            return False
        now_ns = self._clock.monotonic_ns()
        self._hopeless_since_ns = self._hopeless_since_ns or now_ns
        return at_end or now_ns - self._hopeless_since_ns >= HOPELESS_NS

    def _summary(self, stop: Stop) -> Summary:
        summary = Summary(
            reason="stopped" if stop.is_set() else "ended",
            segments=self._session.segments,
            bytes=self._session.bytes,
            damaged=self._damaged,
            jumps=self._session.jumps,
            unsupported=frozenset(self._demuxer.unsupported),
        )
        log.info("recorder.ended", reason=summary.reason, segments=summary.segments, bytes=summary.bytes,
                 damaged=summary.damaged, jumps=summary.jumps)  # fmt: skip
        return summary
