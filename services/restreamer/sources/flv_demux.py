"""An FLV file of this machine: FFmpeg opens and describes it, its usual tags are read without (ADR 20)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from av.packet import Packet as AvPacket

from services.restreamer.model import SourceError, Track
from services.restreamer.sources.demux import Demuxer, Demuxing, Flow, Raw
from services.restreamer.sources.files import LocalFile, Readable
from services.restreamer.sources.flv_run import Begin, Run, read_begin
from services.restreamer.sources.flv_seek import FlvFrom
from services.restreamer.sources.payloads import AsIs, Payload
from services.restreamer.sources.sniff import Container
from services.restreamer.sources.tracks import frame_duration
from services.restreamer.sources.watch import Watch


def demuxed(file: Readable, container: Container) -> Demuxing:
    """Open a container in this process. SourceError."""
    if isinstance(file, Watch) and isinstance(file.file, LocalFile) and container == "flv":
        begin = read_begin(file.file)
        file.file.seek(0)
        if begin is not None:
            return FlvDemuxer(file, file.file, begin)
    return Demuxer(file, container)


class FlvDemuxer(Demuxer):
    """Gives the frames that a Demuxer gives; from the first tag that is not usual on, it is one."""

    def __init__(self, watch: Watch, file: LocalFile, begin: Begin) -> None:
        super().__init__(watch, "flv")
        self._watch, self._local, self._begin = watch, file, begin
        self._tracks: dict[bytes, Track] = {}  # by their configuration
        self._end, self._created_ms = super().end, super().created_ms

    @property
    def end(self) -> int | None:
        """Give when the file ends, as FFmpeg has estimated."""
        return self._end

    @property
    def created_ms(self) -> int | None:
        """Give the wall clock of its creation, where the file tells one."""
        return self._created_ms

    def frames(self) -> Iterator[Raw]:
        """Give the frames from the first one on."""
        if self._is_usual():
            flows = [Flow.of(stream) for stream in (self._video_stream, self._audio_stream) if stream is not None]
            tracks = {flow.kind: self._track(flow, self._payloads[flow.stream.index]) for flow in flows}
            run = Run(self._local, self._begin, self._lengths(tracks.get("audio")))
            self._input.close()  # FFmpeg holds what it has looked at, 5 s of the file
            frames = run.frames()
            try:
                while tracks and (raw := next(frames, None)) is not None:
                    yield replace(raw, track=tracks.pop(raw.kind, None))
                yield from frames
            except SourceError as error:
                self._file.error = error
                return
            if run.stopped is None:
                return
            self._go_on(run.stopped)
        yield from super().frames()

    def _is_usual(self) -> bool:
        """Tell whether the tracks are what the file's configurations say, as far as the file was looked at."""
        begin, video, audio = self._begin, self._video_stream, self._audio_stream
        if self._watch.changed or video is None or (audio is not None) != bool(begin.aac):
            return False
        for stream, codec, config in ((video, "h264", begin.avc), (audio, "aac", begin.aac)):
            if stream is not None:
                payload = self._payloads[stream.index]
                known = stream.codec_context.name == codec and payload.config == config
                if not known or not isinstance(payload, AsIs):
                    return False
        return True

    def _lengths(self, audio: Track | None) -> tuple[int, int]:
        """Give how long a picture is by what FFmpeg tells of the first one, and a frame of sound by its codec."""
        stream = self._video_stream
        assert stream is not None  # noqa: S101  see `_is_usual`
        first = next(self._packets([stream]), None)
        told = 0 if first is None else Flow.of(stream).flicks(first.duration or 0)
        return told, (frame_duration(audio) if audio is not None else None) or 0

    def _go_on(self, at: int) -> None:
        """Have FFmpeg read from a tag on."""
        file = FlvFrom(self._watch, self._begin.head, at)
        self._watch.look_on(known=True)
        self._begin_with(file)

    def _track(self, flow: Flow, payload: Payload, packet: AvPacket[Any] | None = None) -> Track | None:
        """Describe a track: one that has not changed is as it was, whatever FFmpeg makes of its rate by now."""
        known = self._tracks.get(payload.config)
        if known is None:
            known = super()._track(flow, payload, packet)
            if known is not None:
                self._tracks[payload.config] = known
        flow.described, flow.length = payload.config, (frame_duration(known) if known is not None else None) or 0
        return known
