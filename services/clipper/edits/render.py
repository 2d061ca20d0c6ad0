"""Making the video of a clip whose pictures are edited: all of them are decoded, edited and encoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from threading import Event

import av
import numpy as np

from services.clipper.cutting.assemble import USUAL_TIMESCALE, VideoPart, steady_rate
from services.clipper.cutting.decode import decode_rows
from services.clipper.cutting.gops import decode_start
from services.clipper.cutting.plan import ClipSpan
from services.clipper.cutting.prints import Print, fingerprint
from services.clipper.cutting.render import Rendered, ahead, black, main_config, peak
from services.clipper.cutting.samples import SampleReader, Spool
from services.clipper.edits.graph import Edit, EditGraph, Looks
from shared.media.mp4.entries import entry_child, video_config
from shared.media.seams.errors import CutError
from shared.media.tracks import TrackConfig, VideoCodec, has_nals
from shared.media.transcode.colours import Colours
from shared.media.transcode.deinterlace import Deinterlacer
from shared.media.transcode.errors import TranscodeError
from shared.media.transcode.picture_encoder import Coded, PictureEncoder, pixels_of, usual_bitrate
from shared.media.transcode.shape import Shape, plain_pixels
from shared.media.transcode.streams import FLICKS
from shared.media.transcode.turns import told_by

HALF_MS = Fraction(1, 2000)
"""Captions are timed in ms, and one that begins with a frame may be up to half of one late."""
RICHER = 2
"""How many times the recording's highest bit rate, by area, an edited picture may have: it is its second encoding."""


def render_edited(
    spans: Sequence[ClipSpan], spool: Spool, stop: Event, edit: Edit, every: Sequence[ClipSpan] = ()
) -> Rendered:
    """Decode, edit and encode all frames of the spans into `spool`; each span begins with a keyframe.

    `every` are all spans of the clip, those without pictures too: captions count its time.
    CutError when the encoder fails, Stopped when `stop` is set.
    """
    try:
        return _Editing(spans, spool, stop, edit, _begins(every or spans)).run()
    except av.error.FFmpegError as error:
        raise CutError(f"encoder: {error.strerror}") from error
    except TranscodeError as error:
        raise CutError(str(error)) from error


@dataclass(eq=False)
class _Editing:
    spans: Sequence[ClipSpan]
    spool: Spool
    stop: Event
    edit: Edit
    begins: Mapping[int, Fraction]
    parts: list[VideoPart] = field(default_factory=list)
    prints: list[Print] = field(default_factory=list)
    damaged: int = 0
    done: int = 0
    config: TrackConfig | None = None

    def run(self) -> Rendered:
        shape, colours = self._shape()
        for span in self.spans:
            with SampleReader(span.video.table) as reader:
                self._span(span, shape, colours, reader)
        if self.config is None:
            raise CutError("there are no pictures to edit")
        return Rendered(tuple(self.parts), self.config, (), self.edit.reason, self.damaged, tuple(self.prints))

    def _shape(self) -> tuple[Shape, Colours]:
        """Return what all pictures become, by the first one of the stream that a clip takes its parameters from."""
        target = main_config(self.spans)
        span = next(span for span in self.spans if span.video.config is target)
        with SampleReader(span.video.table) as reader:
            frame, looks = _keyframe(span, reader, self.stop)
        part = self.edit.of(frame, looks)
        rate = steady_rate(self.spans) or max(span.video.nominal for span in self.spans).limit_denominator(1001)
        pixels = plain_pixels(frame.format.name)
        plain = Shape(_codec(target, pixels), part.wide, part.high, pixels, rate)
        area = Fraction(part.width * part.height, max(frame.width * frame.height, 1))
        own = int(RICHER * area * max(peak(span.video) for span in self.spans))
        shape = Shape(
            plain.video, plain.width, plain.height, plain.pixels, rate, bitrate=max(usual_bitrate(plain), own)
        )
        return shape, Colours.of(frame).encoded(shape.video, frame.height, shape.height)

    def _span(self, span: ClipSpan, shape: Shape, colours: Colours, reader: SampleReader) -> None:
        encoder = PictureEncoder(shape, colours)
        codec: VideoCodec = "hevc" if shape.video == "hevc" else "h264"
        config = video_config(codec, encoder.track.config, USUAL_TIMESCALE)
        if self.config is not None and config.sample_entry != self.config.sample_entry:
            raise CutError("encoder changed its parameter sets between two ranges")
        self.config = config
        shown = np.sort(span.video.at[span.frames])
        sizes: list[int] = []
        offsets: list[int] = []
        order: list[int] = []
        sync: list[bool] = []
        for picture in _coded(encoder, ahead(self._frames(span, shape, colours, reader))):
            offsets.append(self.spool.append(picture.data))
            sizes.append(len(picture.data))
            order.append(picture.slot)
            sync.append(picture.key)
        if sorted(order) != list(range(len(shown))):
            raise CutError(f"encoder gave {len(order)} pictures for {len(shown)} frames")
        at, zeros = shown[np.array(order)], np.zeros(len(order), np.int64)
        table = np.array(sync, np.bool_), np.array(sizes, np.int64), np.array(offsets, np.int64), zeros
        self.parts.append(VideoPart("encode", span, at, *table, (self.spool.path,)))
        self.done += len(order)

    def _frames(self, span: ClipSpan, shape: Shape, colours: Colours, reader: SampleReader) -> Iterator[av.VideoFrame]:
        """Yield the span's frames as they are encoded, and note what the first and the last one look like."""
        graph, (_, looks) = EditGraph(self.edit, shape, pixels_of(shape), colours), _keyframe(span, reader, self.stop)
        ends = (self.done, self.done + len(span.frames) - 1)
        times = np.sort(span.video.at[span.frames]).tolist()
        offset = self.begins[id(span)] - span.start
        frames = self._progressive(span, shape.rate, reader)
        for number, (at, frame) in enumerate(zip(times, frames, strict=True), self.done):
            fitted = graph.fit(frame, looks, self.edit.said(span.video.time(at) + offset + HALF_MS))
            if number in ends:
                self.prints.append(Print(number, fingerprint(fitted)))
            yield fitted

    def _progressive(self, span: ClipSpan, rate: Fraction, reader: SampleReader) -> Iterator[av.VideoFrame]:
        """Decode the span's frames, one for one without interlacing; count damaged ones."""
        progressive = Deinterlacer()
        for number, found in enumerate(decode_rows(span.video, span.frames, reader, self.stop)):
            self.damaged += not found.whole
            frame = found.frame or black(span.video.config)
            frame.pts = int(number * FLICKS / rate)
            yield from progressive.push(frame)
        yield from progressive.finish()


def _begins(spans: Sequence[ClipSpan]) -> dict[int, Fraction]:
    """Return when each span, by its id, begins in the clip, s."""
    found: dict[int, Fraction] = {}
    at = Fraction(0)
    for span in spans:
        found[id(span)] = at
        at += span.end - span.start
    return found


def _coded(encoder: PictureEncoder, frames: Iterator[av.VideoFrame]) -> Iterator[Coded]:
    for slot, frame in enumerate(frames):
        yield from encoder.push(slot, frame)
    yield from encoder.finish()


def _keyframe(span: ClipSpan, reader: SampleReader, stop: Event) -> tuple[av.VideoFrame, Looks]:
    """Decode the keyframe that a span's first frame refers to: it tells how all of them are turned."""
    video = span.video
    row = decode_start(video, int(video.at[span.frames].min()), reader)
    frame = next(decode_rows(video, np.array([row]), reader, stop)).frame or black(video.config)
    return frame, Looks(_pixel(video.config), told_by(frame))


def _pixel(config: TrackConfig) -> Fraction:
    """Return how many times as wide as high a track's pixels are, by its sample entry (ISO/IEC 14496-12, 12.1.4)."""
    entry = config.sample_entry
    told = entry_child(entry, b"pasp")
    wide, high = (1, 1) if told is None else struct.unpack_from(">II", entry, told.body)
    return Fraction(wide, high) if wide and high else Fraction(1)


def _codec(config: TrackConfig, pixels: str) -> VideoCodec:
    """Return the codec of edited pictures: their own, or for AV1 and VP9 one that plays anywhere, by their depth."""
    if has_nals(config.codec):
        return config.codec
    return "hevc" if pixels.endswith("le") else "h264"
