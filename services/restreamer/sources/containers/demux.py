"""FFmpeg's demuxers over file objects: the caller chooses the demuxer, and it opens nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet as AvPacket
from av.stream import Disposition
from av.video.stream import VideoStream

from services.restreamer.model import FLICKS, SourceError, Track
from services.restreamer.sources.containers.flow import Flow, in_flicks, scale_of
from services.restreamer.sources.containers.memory import bound_allocations
from services.restreamer.sources.containers.payloads import AsIs, ByteStream, Payload, payload_of
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.containers.tracks import (
    audio_track,
    frame_duration,
    rate_of,
    told_colours,
    video_track,
)
from services.restreamer.sources.containers.upright import decoded_colours, decoded_turn, is_upright
from services.restreamer.sources.frames import Raw
from services.restreamer.sources.origins.files import Readable
from services.restreamer.sources.origins.guarded import Guarded
from shared.media.transcode.turns import Turn

BUFFER: Final = 1 << 16
_TURNING: Final = frozenset(("mp4", "matroska"))
"""Containers that store the rotation and colours of pictures."""
_DECODED: Final = ",".join(sorted(name for name in av.codecs_available if not name.startswith(("h264", "hevc"))))
"""Decoders that FFmpeg may use to describe a track, which takes 25 ms of a core for 1080p. H.264 and HEVC are left out:
their parameter sets suffice, except in Matroska, whose missing decode times FFmpeg derives from the decoder's delay.
"""
_OPTIONS: Final[dict[str, dict[str, str]]] = {
    "mp4": {"enable_drefs": "0", "use_absolute_path": "0", "ignore_chapters": "1", "codec_whitelist": _DECODED},
    "flv": {"codec_whitelist": _DECODED},
    "mpegts": {"codec_whitelist": _DECODED},
}


class Demuxer:
    """An opened container: its first video and audio, and their frames. All methods raise SourceError.

    When the file breaks off, `frames` yields all whole frames before that, and `broken` is the reason.
    """

    def __init__(self, file: Readable, container: Container) -> None:
        self.container: Container = container
        self._certain = False  # pictures are not rotated, known without decoding one
        self._turn: Turn | None = None if container in _TURNING else ""  # known with the first keyframe
        self._file = Guarded(file)
        self._input = _opened(self._file, container)
        try:
            self._video_stream, self._audio_stream = _chosen(self._input)
            self._payloads = {
                stream.index: payload_of(stream.codec_context.name, bytes(stream.codec_context.extradata or b""))
                for stream in (self._video_stream, self._audio_stream)
                if stream is not None
            }
        except BaseException:
            self._input.close()
            raise

    @property
    def broken(self) -> SourceError | None:
        """The error with which the file broke off."""
        return self._file.error

    @property
    def has_video(self) -> bool:
        """Whether there is a video track."""
        return self._video_stream is not None

    @property
    def has_audio(self) -> bool:
        """Whether there is an audio track."""
        return self._audio_stream is not None

    @property
    def end(self) -> int | None:
        """When the file ends, as the container says or FFmpeg estimates."""
        length = self._input.duration
        if not length or length < 0:
            return None
        return ((self._input.start_time or 0) + length) * FLICKS // av.time_base

    @property
    def shown_from(self) -> int | None:
        """When presentation of an mp4 starts by its edit list; None for other containers."""
        stream = self._video_stream or self._audio_stream
        if self.container != "mp4" or stream is None or stream.start_time is None:
            return None
        return max(in_flicks(stream.start_time, scale_of(stream)), 0)

    @property
    def video_end(self) -> int | None:
        """When an mp4's video ends by its index."""
        stream = self._video_stream
        if self.container != "mp4" or stream is None or not stream.duration:
            return None
        return in_flicks((stream.start_time or 0) + stream.duration, scale_of(stream))

    @property
    def created_ms(self) -> int | None:
        """The wall clock of the file's creation, if the file has one."""
        text = self._input.metadata.get("creation_time", "")
        try:
            made = datetime.fromisoformat(text)
        except ValueError:
            return None
        made = made if made.tzinfo else made.replace(tzinfo=UTC)
        return int(made.timestamp() * 1000) if made.year > 1971 else None  # 0 of 1904 or 1970: not set

    @property
    def has_cover(self) -> bool:
        """Whether the file is audio-only with a cover picture."""
        return self._video_stream is None and bool(self._covers())

    def _covers(self) -> list[VideoStream]:
        return [s for s in self._input.streams.video if s.disposition & Disposition.attached_pic]

    def cover(self) -> bytes | None:
        """Return the cover picture of an audio-only file; call this before `frames`."""
        covers = self._covers()
        if self._video_stream is not None or not covers:
            return None
        packet = next(_read(self._input, covers[:1], self._file), None)
        return bytes(packet) if packet is not None else None

    def seek(self, at: int) -> bool:
        """Seek to about `at` or before; return False when the file is not seekable."""
        stream = self._video_stream or self._audio_stream
        if stream is None or stream.time_base is None:
            return False
        base = stream.time_base
        try:
            self._input.seek(at * base.denominator // (FLICKS * base.numerator), stream=stream)
        except (av.FFmpegError, OSError):
            return False
        return True

    def frames(self) -> Iterator[Raw]:
        """Yield the frames in file order, from the position of the last `seek`."""
        streams = [s for s in (self._video_stream, self._audio_stream) if s is not None]
        flows = {stream.index: Flow.of(stream) for stream in streams}
        for packet in self._packets(streams):
            flow = flows[packet.stream_index]
            payload, key = self._payloads[packet.stream_index], packet.is_keyframe
            if next(packet.iter_sidedata(), None) is not None and packet.has_sidedata("new_extradata"):
                payload = self._renewed(flow, payload, bytes(packet.get_sidedata("new_extradata")))
            data = bytes(packet) if payload.__class__ is AsIs else payload.take(bytes(packet), key=key)
            dts, pts = packet.dts, packet.pts
            if dts is not None:
                dts = (dts * flow.numerator + flow.half) // flow.denominator
            if pts is not None:
                pts = (pts * flow.numerator + flow.half) // flow.denominator
            else:  # a PES packet dates its first frame only
                pts = flow.following if dts is None else dts
            if not data or pts is None:
                continue
            track = None
            if flow.described is not payload.config and flow.described != payload.config:
                track = self._track(flow, payload, packet)
            length = flow.length or flow.flicks(packet.duration or 0)
            flow.following = pts + length
            yield Raw(flow.kind, dts, pts, length, key or flow.kind == "audio", data, track)

    def _packets(self, streams: Sequence[VideoStream | AudioStream]) -> Iterator[AvPacket[Any]]:
        return _read(self._input, streams, self._file)

    def _renewed(self, flow: Flow, payload: Payload, news: bytes) -> Payload:
        """Return the payload for a configuration that comes with a frame."""
        if news != payload.config:
            payload = self._payloads[flow.stream.index] = payload_of(flow.stream.codec_context.name, news)
        return payload

    def _track(self, flow: Flow, payload: Payload, packet: AvPacket[Any] | None = None) -> Track | None:
        """Return a track for a new configuration; None until the rotation of its pictures is known."""
        stream = flow.stream
        if isinstance(stream, VideoStream) and self._turn is None:
            if packet is None or not packet.is_keyframe:
                return None
            if self.container == "mp4" and stream.codec_context.name == "h264" and isinstance(payload, AsIs):
                self._certain = is_upright(self._file.file, stream.id, bytes(packet))
            self._turn = "" if self._certain else decoded_turn(stream, packet)
        flow.described = payload.config
        track = _described(stream, payload, self._turn or "")
        if self.container in _TURNING and isinstance(stream, VideoStream):
            colours = told_colours(stream)
            track = replace(track, colours=decoded_colours(payload.config, colours) if self._certain else colours)
        flow.length = frame_duration(track) or 0
        return track

    def close(self) -> None:
        """Close the container; the file stays open."""
        self._input.close()


def _opened(file: Guarded, container: Container) -> InputContainer:
    bound_allocations()
    options = {"protocol_whitelist": "none", **_OPTIONS.get(container, {})}
    try:
        return av.open(
            file, "r", format=container, options=options, metadata_errors="replace", buffer_size=BUFFER, io_open=_refuse
        )
    except (av.FFmpegError, ValueError) as error:
        raise file.error or SourceError(f"the {container} cannot be read: {_words(error)}") from error


def _refuse(*_: Any) -> NoReturn:
    raise SourceError("the file refers to another file")


def _chosen(opened: InputContainer) -> tuple[VideoStream | None, AudioStream | None]:
    """Return the first video (not a cover picture) and the first audio that have a decoder."""
    videos = [s for s in opened.streams.video if not s.disposition & Disposition.attached_pic and _known(s)]
    sounds = [s for s in opened.streams.audio if _known(s)]
    if not videos and not sounds:
        raise SourceError("the file has neither video nor sound that can be decoded")
    return videos[0] if videos else None, sounds[0] if sounds else None


def _known(stream: VideoStream | AudioStream) -> bool:
    return stream.codec_context is not None and bool(stream.codec_context.name) and stream.time_base is not None


def _read(
    opened: InputContainer, streams: Sequence[VideoStream | AudioStream], file: Guarded
) -> Iterator[AvPacket[Any]]:
    """Yield whole packets up to the end, or up to the break in the file."""
    packets = opened.demux(streams)
    last: dict[int, AvPacket[Any]] = {}
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            if file.error is not None:
                return
            raise SourceError(f"the file cannot be read on: {_words(error)}") from error
        except IndexError:  # at the end, PyAV fails on tracks that appeared after the file was opened
            return
        if packet is None:
            return
        # In MPEG-TS a frame counts as corrupt after any break in the counters, as between concatenated files.
        if not packet.size or (packet.is_corrupt and opened.format.name != "mpegts"):
            continue
        if file.torn:  # the last packet of each track is incomplete, and FFmpeg does not report it
            index = packet.stream.index
            last[index], packet = packet, last.get(index)
        if packet is not None:
            yield packet


def _described(stream: VideoStream | AudioStream, payload: Payload, turn: Turn) -> Track:
    codec = payload.codec if isinstance(payload, ByteStream) else stream.codec_context.codec.canonical_name
    if isinstance(stream, VideoStream):
        return video_track(codec, payload.config, rate_of(stream), stream, turn)
    return audio_track(codec, payload.config, stream)


def _words(error: Exception) -> str:
    """Return FFmpeg's error text without the arguments of the call."""
    return str(getattr(error, "strerror", "") or type(error).__name__)
