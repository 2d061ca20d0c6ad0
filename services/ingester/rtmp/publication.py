"""A stream being published: a file of FLV bytes that is read while it arrives."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from services.ingester.prospects import hopeful
from services.ingester.publication import Arrival, Batch, Frame, NothingRecordable
from services.ingester.recorder.flv import FlvDemuxer
from services.ingester.refusals import PublishRefused
from services.ingester.rtmp.aggregate import split_aggregate
from services.ingester.rtmp.codecs import CodecWatch
from services.ingester.rtmp.limits import RtmpLimits
from services.ingester.rtmp.link import Link
from services.ingester.rtmp.metadata import DataEvent, read_data, sanitise
from services.ingester.rtmp.request import PublishRequest
from services.ingester.rtmp.runs import FlvRuns
from services.ingester.spoken import spoken
from shared.messages.live import EndReason
from shared.rtmp import chunks
from shared.rtmp.chunks import Message
from shared.rtmp.commands import COMMANDS, read_values
from shared.rtmp.cursor import Value
from shared.rtmp.errors import LimitExceeded, PeerGone, ProtocolError
from shared.runtime.clock import Clock
from shared.runtime.logging import get_logger

log = get_logger()

Grant = TypeVar("Grant")
_READ: Final = 1 << 19
"""No less than there is ready at once: each turn costs something of its own."""

_ENDING = ("FCUnpublish", "deleteStream", "closeStream")
_NS = 1_000_000_000


class Publication(Generic[Grant]):
    """What `on_publish` gets: a blocking file object with FLV bytes, for `av.open(publication, format="flv")`.

    The stream is cut into runs. Within a run the tracks, their codecs and their codec parameters never change: each
    begins with an FLV header that names just its tracks, the metadata and the sequence headers. When the encoder
    changes any of these, or a further track appears, `read` answers b"" (the demuxer sees the end of a file) and
    `next_run` goes on with a fresh FLV header, so that a recorder opens a demuxer and writes an init segment a run:

        while True:
            options = dict(publication.options)
            with av.open(publication, format="flv", buffer_size=131072, options=options) as container:
                record(container)
            if not publication.next_run():
                break

    Timestamps are RTMP's: ms, modulo 2**32, not restarted by a run. FFmpeg's demuxer undoes the first wrap of a run
    (times go on above 2**32, or begin below 0 within the last minute before it), not a later one: differences modulo
    2**32 are always right. All methods but `close` belong to one thread; none raises for what the peer does.
    """

    format = "flv"
    options: Mapping[str, str] = MappingProxyType({"fpsprobesize": "0", "analyzeduration": "2000000"})
    """Demuxer options: the headers say all, so frames need not be held back to guess a frame rate."""

    def __init__(self, link: Link, grant: Grant, request: PublishRequest, limits: RtmpLimits, clock: Clock) -> None:
        self.grant = grant
        self.request = request
        self.end_reason: EndReason | None = None
        self.cause = ""
        """Why it has ended, in the protocol's words, for the log."""
        self.refusal: PublishRefused | None = None
        """What the publisher is to be told, when nothing of its stream can be recorded."""
        self.events: deque[DataEvent] = deque(maxlen=limits.events)
        """Timed data messages (onCuePoint, onFI ...), oldest first; take them with popleft."""
        self.damaged = 0
        """Messages that could not be read, of which nothing is in the stream."""
        self._link = link
        self._codecs = CodecWatch()
        self._limits = limits
        self._clock = clock
        self._closed = False
        self._silence_ns = int(limits.silence.total_seconds() * _NS)
        self._runs = FlvRuns(
            track_wait_ns=int(limits.track_wait.total_seconds() * _NS),
            hold=limits.track_wait_bytes,
            most=limits.runs,
        )
        self._block = b""  # bytes of the current run
        self._offset = 0  # how many of them were read
        self._heard_ns = clock.monotonic_ns()
        self._quiet_ns = 0  # waited for media so long; the consumer's own time does not count

    @property
    def peer(self) -> str:
        """Where the publisher is, as `address:port`."""
        return self.request.peer

    @property
    def bytes_received(self) -> int:
        """All bytes of the connection so far."""
        return self._link.bytes_received

    @property
    def codecs(self) -> tuple[str, ...]:
        """Codecs of the tracks known so far, video first, as FOURCCs (avc1, hvc1, mp4a, Opus ...)."""
        return self._runs.codecs

    @property
    def unfit(self) -> tuple[str, ...]:
        """Tracks that cannot be recorded, as `video-av01`."""
        return self._codecs.unfit

    @property
    def dropped_frames(self) -> int:
        """Frames that came before the sequence header they need."""
        return self._runs.dropped

    @property
    def heard_ns(self) -> int:
        """The clock's monotonic time when media last came."""
        return self._heard_ns

    @property
    def lost_packets(self) -> int:
        """TCP loses none."""
        return 0

    def frames(self) -> Iterator[Batch]:
        """Wait for frames until the publication ends; NothingRecordable when it cannot be recorded."""
        self._heard_ns = self._clock.monotonic_ns()
        return hopeful(self._demuxed())

    def _demuxed(self) -> Iterator[Batch]:
        demuxer = FlvDemuxer()
        while True:
            while data := self.read(_READ):
                yield self._batch(demuxer.feed(data), demuxer, len(data))
            if not self.next_run():
                break
            demuxer.next_run()
        yield self._batch(demuxer.flush(), demuxer, 0)
        if self.refusal is not None:
            raise NothingRecordable(frozenset(map(spoken, self.unfit)))

    def _batch(self, frames: list[Frame], demuxer: FlvDemuxer, size: int) -> Batch:
        arrival = Arrival(self._clock.monotonic_ns(), self._clock.now_ms())
        return Batch(arrival, frames, demuxer.contents, size, demuxer.damaged + self.damaged)

    def readable(self) -> bool:
        """Tell io's protocol that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell io's protocol that it cannot seek."""
        return False

    def read(self, size: int = -1) -> bytes:
        """Wait for bytes of the current run and give up to `size` of them (size < 0: all that are ready).

        b"" is the end of the run: by a change of parameters (`next_run` gives more), unpublish, disconnect,
        silence, a fault of the peer or `close`.
        """
        left = len(self._block) - self._offset
        if not left:
            self._block, self._offset = self._fill(), 0
            left = len(self._block)
        if self._closed:
            return b""
        if not self._offset and (size < 0 or left <= size):
            block, self._block = self._block, b""
            return block
        end = len(self._block) if size < 0 else self._offset + size
        part = self._block[self._offset : end]
        self._offset += len(part)
        return part

    def next_run(self) -> bool:
        """Go on with the next run; wait until there is one. False when the publication has ended.

        What was not read of the current run is dropped.
        """
        self._block = b""
        self._offset = 0
        while self._fill():
            pass
        self._runs.advance()
        while not self._closed and not self._runs.started:
            if self.end_reason is not None:
                return False
            self._pump()
        return not self._closed

    def close(self) -> None:
        """End the publication at once, from any thread: a waiting `read` answers b""."""
        self._closed = True
        self._link.transport.abort()

    def finish(self) -> None:
        """Note that the consumer has returned; the connection calls it."""
        self._end("stopped", "closed" if self._closed else "consumer")

    def begin(self, accept: Callable[[], None], messages: list[Message]) -> None:
        """Accept the publisher, take what it sent together with its wish; the connection calls it."""
        self._guard(accept)
        self._guard(lambda: self._route(messages))

    def _fill(self) -> bytes:
        """Return bytes of the current run; none at its end."""
        runs = self._runs
        while not self._closed:
            data = runs.take()
            if data:
                return data
            if runs.over or self.end_reason is not None:
                break
            self._pump()
        return b""

    def _pump(self) -> None:
        """Receive once; end the publication when there is reason to."""
        self._guard(self._receive)
        if self._quiet_ns > self._silence_ns:
            self._end("silent", "silent")

    def _receive(self) -> None:
        began_ns = self._clock.monotonic_ns()
        messages = self._link.receive()
        self._quiet_ns += self._clock.monotonic_ns() - began_ns
        if messages:
            self._route(messages)

    def _guard(self, action: Callable[[], None]) -> None:
        """Do something that the peer's doing may make fail; its failure is the publication's end."""
        try:
            action()
        except PeerGone:
            if self._closed:
                self._end("stopped", "closed")
            else:
                self._end("disconnected", "disconnected")
        except ProtocolError as error:
            self._end("bad_media", "protocol", str(error))
        except LimitExceeded as error:
            self._end("bad_media", "limit", str(error))

    def _end(self, reason: EndReason, cause: str, detail: str = "") -> None:
        if self.end_reason is not None:
            return
        self.end_reason, self.cause = reason, cause
        self._runs.seal()
        self._runs.finish()
        log.info(
            "rtmp.publish.ended",
            peer=self.peer,
            reason=cause,
            detail=detail,
            bytes_received=self.bytes_received,
            dropped_frames=self.dropped_frames,
        )

    def _route(self, messages: list[Message]) -> None:
        now_ns = self._clock.monotonic_ns()
        for message in messages:
            kind = message.kind
            if kind in (chunks.VIDEO, chunks.AUDIO):
                if self._codecs.look(kind, message.payload, now_ns):
                    self._give_up()
                    return
                if self._runs.media(kind, message.timestamp, message.payload, now_ns):
                    self._heard_ns, self._quiet_ns = now_ns, 0
            elif kind == chunks.AGGREGATE:
                self._route(self._parts(message))
            elif not self._other(message):
                self._end("unpublished", "unpublished")
                return
        self._runs.seal()

    def _give_up(self) -> None:
        """End it because nothing of it can be recorded."""
        tracks = ", ".join(map(spoken, self.unfit)) or "this stream"
        self.refusal = PublishRefused(f"{tracks} cannot be recorded", "unsupported")
        self._end("bad_media", "unsupported", ", ".join(self.unfit))

    def _parts(self, message: Message) -> list[Message]:
        """Take an aggregate apart; one that is cut short is damage, and no reason to end a live stream."""
        try:
            return split_aggregate(message)
        except ProtocolError:
            self.damaged += 1
            return []

    def _other(self, message: Message) -> bool:
        """Take a data message or command; False when it ends the publication. No bad one ends a live stream."""
        if message.kind in (chunks.DATA_AMF0, chunks.DATA_AMF3):
            if len(message.payload) <= self._limits.data:
                self._data(read_data(message.timestamp, self._values(message)))
        elif message.kind in COMMANDS:
            values = self._values(message)
            return not values or values[0] not in _ENDING
        return True

    def _values(self, message: Message) -> list[Value]:
        limits = self._limits
        return read_values(message, depth=limits.amf_depth, values=limits.amf_values, strict=False)

    def _data(self, event: DataEvent | None) -> None:
        if event is None:
            return
        if event.name == "onMetaData":
            described = sanitise(event)
            self._codecs.announce(described)
            self._runs.metadata(described)
        else:
            self.events.append(event)
