"""A stream being published: its messages as they arrive, and how it ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from services.ingester.prospects import hopeful
from services.ingester.publication import Arrival, Batch, NothingRecordable
from services.ingester.refusals import PublishRefused
from services.ingester.rtmp.aggregate import split_aggregate
from services.ingester.rtmp.codecs import CodecWatch
from services.ingester.rtmp.frames import MediaFrames, Taker
from services.ingester.rtmp.limits import RtmpLimits
from services.ingester.rtmp.link import Link
from services.ingester.rtmp.metadata import DataEvent, read_data, sanitise, timecode_of
from services.ingester.rtmp.request import PublishRequest
from shared.messages.live import EndReason
from shared.rtmp import chunks
from shared.rtmp.chunks import Message
from shared.rtmp.commands import COMMANDS, read_values
from shared.rtmp.cursor import Value
from shared.rtmp.errors import LimitExceeded, PeerGone, ProtocolError
from shared.runtime.clock import Clock, to_ns
from shared.runtime.logging import get_logger

log = get_logger()

Grant = TypeVar("Grant")

_ENDING = ("FCUnpublish", "deleteStream", "closeStream")


class Publication(Generic[Grant]):
    """The stream of one publisher that `on_publish` gets, read in the consumer's thread.

    Frames' times are unwrapped RTMP timestamps (ms, modulo 2**32). All methods except `close` belong to one thread;
    none raises for what the peer does, except for NotMedia from `frames`.
    """

    def __init__(self, link: Link, grant: Grant, request: PublishRequest, limits: RtmpLimits, clock: Clock) -> None:
        self.grant = grant
        self.request = request
        self.end_reason: EndReason | None = None
        self.cause = ""
        """Why it ended, in the protocol's terms, for the log."""
        self.refusal: PublishRefused | None = None
        """The refusal sent to the publisher when nothing of its stream can be recorded."""
        self.events: deque[DataEvent] = deque(maxlen=limits.events)
        """Timed data messages (onCuePoint, onFI ...), oldest first; take them with popleft."""
        self.damaged = 0
        """The number of unreadable messages, which are dropped."""
        self._link = link
        self._codecs = CodecWatch()
        self._limits = limits
        self._clock = clock
        self._closed = False
        self._silence_ns = to_ns(limits.silence)
        self._early: list[Message] = []  # received together with the publish command
        self._taker: Taker | None = None
        self._heard_ns = clock.monotonic_ns()
        self._quiet_ns = 0  # how long it has waited for media; the consumer's own time does not count

    @property
    def peer(self) -> str:
        """The publisher's address, as `address:port`."""
        return self.request.peer

    @property
    def bytes_received(self) -> int:
        """All bytes of the connection so far."""
        return self._link.bytes_received

    @property
    def codecs(self) -> tuple[str, ...]:
        """The codecs of the tracks known so far, video first, as FOURCCs (avc1, hvc1, mp4a, Opus ...)."""
        return self._taker.codecs if self._taker else ()

    @property
    def unfit(self) -> tuple[str, ...]:
        """The display names of tracks that cannot be recorded: "AV1 video"."""
        return self._codecs.unfit

    @property
    def dropped_frames(self) -> int:
        """The number of frames that came before the sequence header they need."""
        return self._taker.dropped if self._taker else 0

    @property
    def heard_ns(self) -> int:
        """The clock's monotonic time of the last media."""
        return self._heard_ns

    @property
    def lost_packets(self) -> int:
        """Always 0: TCP loses no packets."""
        return 0

    def frames(self) -> Iterator[Batch]:
        """Yield frames until the publication ends; raises NothingRecordable when it cannot be recorded."""
        self._heard_ns = self._clock.monotonic_ns()
        return hopeful(self._frames())

    def _frames(self) -> Iterator[Batch]:
        limits = self._limits
        wait_ns = to_ns(limits.track_wait)
        media = MediaFrames(track_wait_ns=wait_ns, hold=limits.track_wait_bytes, most=limits.runs)
        for _ in self.receive(media):
            for frames, contents, size in media.take():
                yield Batch(self._now(), frames, contents, size, self.damaged + media.damaged)
        yield Batch(self._now(), [], media.contents, 0, self.damaged + media.damaged)
        if self.refusal is not None:
            raise NothingRecordable(frozenset(self.unfit))

    def _now(self) -> Arrival:
        return Arrival(self._clock.monotonic_ns(), self._clock.now_ms())

    def receive(self, taker: Taker) -> Iterator[None]:
        """Pass the media messages to `taker` until the publication ends; yield before each read.

        It ends when the publisher unpublishes, disconnects, falls silent or breaks the protocol, or by `close`, after
        which the last messages are dropped.
        """
        self._taker = taker
        self._guard(self._route_early)
        while not self._closed:
            yield
            if self.end_reason is not None:
                return
            self._pump()
        self._end("stopped", "closed")

    def close(self) -> None:
        """End the publication at once, from any thread."""
        self._closed = True
        self._link.transport.abort()

    def finish(self) -> None:
        """Record that the consumer has returned; called by the connection."""
        self._end("stopped", "closed" if self._closed else "consumer")

    def begin(self, accept: Callable[[], None], messages: list[Message]) -> None:
        """Accept the publisher, and keep the messages it sent with its publish command; called by the connection."""
        self._guard(accept)
        self._early = messages

    def _pump(self) -> None:
        """Receive once; end the publication when it is silent too long."""
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
        """Run an action that the peer may make fail; a failure ends the publication."""
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
        if self._taker is not None:
            self._taker.finish()
        log.info(
            "rtmp.publish.ended",
            peer=self.peer,
            reason=cause,
            detail=detail,
            bytes_received=self.bytes_received,
            dropped_frames=self.dropped_frames,
        )

    def _route_early(self) -> None:
        early, self._early = self._early, []
        self._route(early)

    def _route(self, messages: list[Message]) -> None:
        now_ns, taker = self._clock.monotonic_ns(), self._taker
        if taker is None or self.end_reason is not None:
            return
        for message in messages:
            kind = message.kind
            if kind in (chunks.VIDEO, chunks.AUDIO):
                if self._codecs.look(kind, message.payload, now_ns):
                    self._give_up()
                    return
                if taker.media(kind, message.timestamp, message.payload, now_ns):
                    self._heard_ns, self._quiet_ns = now_ns, 0
            elif kind == chunks.AGGREGATE:
                self._route(self._parts(message))
                if self.end_reason is not None:
                    return
            elif not self._other(message):
                self._end("unpublished", "unpublished")
                return

    def _give_up(self) -> None:
        """End the publication because nothing of it can be recorded."""
        tracks = ", ".join(self.unfit) or "this stream"
        self.refusal = PublishRefused(f"{tracks} cannot be recorded", "unsupported")
        self._end("bad_media", "unsupported", ", ".join(self.unfit))

    def _parts(self, message: Message) -> list[Message]:
        """Return an aggregate's messages; one that is cut short counts as damage, and does not end a live stream."""
        try:
            return split_aggregate(message)
        except ProtocolError:
            self.damaged += 1
            return []

    def _other(self, message: Message) -> bool:
        """Take a data message or command; return False when it ends the publication. A bad one does not end it."""
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
            if self._taker is not None:
                self._taker.metadata(described)
            return
        label = timecode_of(event)
        if label is not None and self._taker is not None:
            self._taker.timecode(event.timestamp, label)
        self.events.append(event)
