"""The recording loop: one thread, from a publication's frames to segments, until they end."""

from __future__ import annotations

from collections.abc import Iterable

from services.ingester.publication import Batch, Contents
from services.ingester.recorder.damage import is_sound
from services.ingester.recorder.model import PathOf, RecorderLimits, Sink, Summary
from services.ingester.recorder.session import Session
from services.ingester.recorder.stats import PublisherStats
from shared.errors import ReelayError, Unavailable
from shared.runtime.logging import get_logger

log = get_logger()


def record(
    batches: Iterable[Batch],
    sink: Sink,
    path_of: PathOf,
    limits: RecorderLimits | None = None,
    *,
    stats: PublisherStats | None = None,
) -> Summary:
    """Record frames until they end, and tell how it went; blocks its thread.

    `path_of` says where files go; `sink` hears of each segment once it lies there whole; `stats` is kept current.
    Whatever ends the recording, all that was whole before is handed over. Raises what `batches` raises, StoreFull when
    the disk is full, Unavailable when it fails otherwise, and what `sink` raises.
    """
    session = Session(path_of, sink, limits or RecorderLimits())
    return _Recording(session, stats or PublisherStats()).run(batches)


class _Recording:
    def __init__(self, session: Session, stats: PublisherStats) -> None:
        self._session = session
        self._stats = stats
        self._contents = Contents()
        self._video = self._audio = False
        self._framed = False
        self._unsound = 0

    def run(self, batches: Iterable[Batch]) -> Summary:
        try:
            for batch in batches:
                self._take(batch)
            self._session.finish()
        except Unavailable:
            self._session.abandon()
            raise
        except ReelayError:
            self._session.finish()
            raise
        finally:
            self._session.release()
        return self._summary()

    def _take(self, batch: Batch) -> None:
        arrival, frames, contents, size, damaged = batch
        stats, session = self._stats, self._session
        stats.bytes += size
        if contents is not self._contents or (frames and not self._framed):
            self._framed = self._framed or bool(frames)
            self._look(contents)
        for frame in frames:
            if not is_sound(frame):
                self._unsound += 1
                continue
            stats.take(frame, arrival.ms)
            session.take(frame, arrival, expects_video=self._video, expects_audio=self._audio)
        frames.clear()  # or they would be kept until the next ones have come
        stats.damaged = damaged + self._unsound
        stats.jumps = session.jumps

    def _look(self, contents: Contents) -> None:
        """Tell of what the stream is known to hold, once something of it is recorded."""
        self._contents = contents
        if self._framed:
            expected = contents.expected
            self._video, self._audio = "video" in expected, "audio" in expected
            self._stats.announced = tuple(kind for kind in ("video", "audio") if kind in expected)
            if contents.unsupported:
                self._stats.meet(contents.unsupported)

    def _summary(self) -> Summary:
        summary = Summary(
            segments=self._session.segments,
            bytes=self._session.bytes,
            damaged=self._stats.damaged,
            jumps=self._session.jumps,
            unsupported=self._contents.unsupported,
        )
        log.info("recorder.ended", segments=summary.segments, bytes=summary.bytes, damaged=summary.damaged,
                 jumps=summary.jumps)  # fmt: skip
        return summary
