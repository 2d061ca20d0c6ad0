"""The recording loop: one thread, from the encoder's bytes to segments, until the bytes end."""

from __future__ import annotations

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
from services.ingester.recorder.session import Session
from shared.clock import Clock
from shared.errors import ReelayError, Unavailable
from shared.logging import get_logger

log = get_logger()
READ = 1 << 17


def record(
    source: Source, sink: Sink, place: Place, clock: Clock, stop: Stop, limits: RecorderLimits | None = None
) -> Summary:
    """Record until the source ends or `stop` is set, and tell how it went; blocks its thread.

    `place` says where files go; `sink` hears of each segment once it lies there whole. Whatever ends the recording, all
    that was whole before is handed over. Raises NotMedia for bytes that are not the container or hold no track
    that can be recorded, StoreFull when the disk is full, Unavailable when it fails otherwise, and what `sink` raises.
    """
    demuxer = FlvDemuxer() if source.format == "flv" else TsDemuxer()
    recording = _Recording(source, demuxer, Session(place, sink, limits or RecorderLimits()), clock)
    recording.undecided = (limits or RecorderLimits()).undecided_bytes
    return recording.run(stop)


class _Recording:
    def __init__(self, source: Source, demuxer: FlvDemuxer | TsDemuxer, session: Session, clock: Clock) -> None:
        self.undecided = 0
        self._source = source
        self._demuxer = demuxer
        self._session = session
        self._clock = clock
        self._seen = 0
        self._framed = False

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
                self._take(self._demuxer.feed(data))
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
        for frame in frames:
            self._session.take(frame, arrival, expects_video=video, expects_audio=audio)

    def _check(self, *, at_end: bool = False) -> None:
        """End a recording that has nothing to record."""
        if self._framed or (not at_end and self._seen < self.undecided):
            return
        others = ", ".join(sorted(self._demuxer.unsupported))
        if at_end and not others:
            return  # nothing was sent, or not enough to tell
        raise NotMedia(f"no track that can be recorded{' among ' + others if others else ''}")

    def _summary(self, stop: Stop) -> Summary:
        summary = Summary(
            reason="stopped" if stop.is_set() else "ended",
            segments=self._session.segments,
            bytes=self._session.bytes,
            damaged=self._demuxer.damaged,
            jumps=self._session.jumps,
            unsupported=frozenset(self._demuxer.unsupported),
        )
        log.info("recorder.ended", reason=summary.reason, segments=summary.segments, bytes=summary.bytes,
                 damaged=summary.damaged, jumps=summary.jumps)  # fmt: skip
        return summary
