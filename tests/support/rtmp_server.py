"""An RTMP server that keeps what is published to it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from services.ingester.publication import Batch, Frame, Kind
from services.ingester.rtmp import Publication, PublishRequest, RtmpLimits, RtmpServer
from shared.runtime.clock import Clock, SystemClock
from tests.support.rtmp_client import number_of
from tests.support.rtmp_flv import FlvFile

HOUR = timedelta(hours=1)
QUICK = RtmpLimits(
    handshake=HOUR, setup=HOUR, silence=HOUR, part=timedelta(milliseconds=50), linger=timedelta(milliseconds=200)
)
"""No timeout on a slow machine ends a connection; a SteppedClock triggers them."""
PATIENT = RtmpLimits(handshake=HOUR, setup=HOUR, silence=HOUR)
"""The defaults otherwise."""
LIMIT = timedelta(seconds=20)


class SteppedClock(SystemClock):
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def monotonic_ns(self) -> int:
        """Return the machine's time plus what it was set forward."""
        return super().monotonic_ns() + self.ahead_ns

    def step(self, by: timedelta) -> None:
        """Set it forward."""
        self.ahead_ns += int(by.total_seconds() * 1e9)


class StandingClock(SteppedClock):
    """A clock that moves only by a test's steps: however slow the machine, nothing else times out."""

    def __init__(self) -> None:
        super().__init__()
        self._began_ns = SystemClock().monotonic_ns()

    def monotonic_ns(self) -> int:
        """Return when it started, plus what it was set forward."""
        return self._began_ns + self.ahead_ns


@dataclass
class Stream:
    """One publication: its frames, or the FLV bytes of each run (`record_flv`), and how it ended."""

    key: str
    publication: Publication[str]
    batches: list[Batch] = field(default_factory=list)
    runs: list[bytearray] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def frames(self, kind: Kind = "video") -> list[Frame]:
        """Give the frames of a track so far."""
        return [frame for batch in list(self.batches) for frame in batch.frames if frame.config.kind == kind]

    def numbered(self, kind: Kind = "video") -> list[tuple[int, int]]:
        """Give (time in ms, number) of the numbered frames so far."""
        return [(frame.dts // 90, number_of(frame.payload, kind)) for frame in self.frames(kind)]

    def wait(self) -> Stream:
        """Wait until it has ended."""
        assert self.done.wait(60), "the publication did not end"
        return self


class Ingest:
    """Consumer and authorizer of a test's server; all keys but "wrong..." may publish."""

    def __init__(self, record: Callable[[Stream], None] | None = None) -> None:
        self.asked: list[PublishRequest] = []
        self.streams: list[Stream] = []
        self._record = record or record_frames
        self._changed = threading.Condition()

    def authorize(self, request: PublishRequest) -> str | None:
        """Decide by the key."""
        self.asked.append(request)
        return None if request.stream_name.startswith("wrong") else request.stream_name

    def on_publish(self, publication: Publication[str]) -> None:
        """Read a publication to its end."""
        stream = Stream(publication.grant, publication)
        with self._changed:
            self.streams.append(stream)
            self._changed.notify_all()
        try:
            self._record(stream)
        finally:
            stream.done.set()

    def stream(self, key: str = "key") -> Stream:
        """Wait for the latest publication with a key."""

        def find() -> Stream | None:
            return next((stream for stream in reversed(self.streams) if stream.key == key), None)

        with self._changed:
            found = self._changed.wait_for(find, timeout=30)
        assert found is not None, f"nothing was published to {key}"
        return found


def record_frames(stream: Stream) -> None:
    """Keep all frames."""
    for batch in stream.publication.frames():
        stream.batches.append(batch)


def record_flv(stream: Stream) -> None:
    """Keep the FLV bytes of all runs."""
    file = FlvFile(stream.publication)
    while True:
        run = bytearray()
        stream.runs.append(run)
        while data := file.read(65536):
            run += data
        if not file.next_run():
            return


def last_frame(stream: Stream) -> int:
    """Give the number of the frame read last, -1 before the first one."""
    found = stream.numbered()
    return found[-1][1] if found else -1


@contextmanager
def rtmp_server(
    limits: RtmpLimits = QUICK,
    *,
    record: Callable[[Stream], None] | None = None,
    tls: ssl.SSLContext | None = None,
    clock: Clock | None = None,
) -> Iterator[tuple[RtmpServer[str], Ingest]]:
    """Run a server on a free port; stop it at the end, and check that no thread is left."""
    ingest = Ingest(record)
    server = RtmpServer("127.0.0.1", 0, ingest.authorize, ingest.on_publish, limits, clock, tls=tls)
    server.start()
    try:
        yield server, ingest
    finally:
        assert server.stop(LIMIT), "a thread is left"
