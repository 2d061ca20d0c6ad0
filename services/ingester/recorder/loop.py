"""The recording loop: one thread turns a publication's frames into segments until the frames end."""

from __future__ import annotations

from collections.abc import Iterable

from services.ingester.publication import Batch, Contents
from services.ingester.recorder.damage import is_sound
from services.ingester.recorder.model import PathOf, RecorderLimits, Sink, Summary
from services.ingester.recorder.session import Session
from services.ingester.recorder.stats import PublisherStats
from shared.errors import ReelayError, Unavailable
from shared.media.cenc.key import ContentKey
from shared.runtime.logging import get_logger

log = get_logger()


def record(
    batches: Iterable[Batch],
    sink: Sink,
    path_of: PathOf,
    limits: RecorderLimits | None = None,
    *,
    stats: PublisherStats | None = None,
    key: ContentKey | None = None,
) -> Summary:
    """Record frames until they end, and return a summary; blocks its thread.

    `path_of` returns where files go; `sink` gets each segment once it is complete on disk; `stats` is kept current.
    With a `key`, segments are encrypted. However the recording ends, all complete segments are handed over. Raises what
    `batches` raises, StoreFull when the disk is full, Unavailable when it fails otherwise, and what `sink` raises.
    """
    session = Session(path_of, sink, limits or RecorderLimits(), key)
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
            session.take(
                frame, arrival, expects_video=self._video, expects_audio=self._audio, further=self._contents.further
            )
        stats.damaged = damaged + self._unsound
        stats.jumps = session.jumps

    def _look(self, contents: Contents) -> None:
        """Record the stream's known contents in the statistics, once its first frames have come."""
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
