"""Making the video of an exact clip: choosing the parts to copy, and encoding the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event

import av
import numpy as np

from services.clipper.cutting.assemble import VideoPart, copied_part, steady_rate
from services.clipper.cutting.decode import decode_rows
from services.clipper.cutting.entering import check_entry, counted_rows, counted_samples
from services.clipper.cutting.frame_encoder import FrameEncoder
from services.clipper.cutting.gops import (
    NOTHING,
    Split,
    beside_at,
    decode_start,
    nals_at,
    scene_at,
    split_span,
    with_beside,
)
from services.clipper.cutting.plan import ClipSpan
from services.clipper.cutting.prints import Print, fingerprint
from services.clipper.cutting.progress import RENDERING, note
from services.clipper.cutting.samples import SampleReader, Spool
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.nal import break_link, join_sample
from shared.media.bitstream.params import nal_type, set_types
from shared.media.bitstream.records import length_size_of, video_codec, with_gaps
from shared.media.model import Int64s
from shared.media.mp4.boxes import Mp4Error
from shared.media.seams.encode import JoiningEncoder, Style
from shared.media.seams.errors import CutError
from shared.media.seams.forms import pixel_format
from shared.media.seams.source import Video, same_stream
from shared.media.tracks import FRAME_CODECS, TrackConfig

Encoder = JoiningEncoder | FrameEncoder


@dataclass(frozen=True, slots=True)
class Rendered:
    """A clip's video parts in order, the track that they make, and details for the report."""

    parts: tuple[VideoPart, ...]
    config: TrackConfig
    extra_entries: tuple[bytes, ...] = ()
    reason: str = ""
    damaged: int = 0
    prints: tuple[Print, ...] = ()


def render(spans: Sequence[ClipSpan], spool: Spool, stop: Event, *, alone: str = "") -> Rendered:
    """Copy what can be copied of the spans and encode the rest into `spool`, or everything when nothing can be joined.

    `alone`: why everything is encoded from the start. CutError when the encoder fails, Stopped when `stop` is set.
    """
    try:
        try:
            return _Renderer(spans, spool, stop, alone).run()
        except (BitstreamError, Mp4Error) as error:
            return _Renderer(spans, spool, stop, alone=f"the stream cannot be joined: {error}").run()
    except av.error.FFmpegError as error:
        raise CutError(f"encoder: {error.strerror}") from error


@dataclass(eq=False)
class _Renderer:
    spans: Sequence[ClipSpan]
    spool: Spool
    stop: Event
    alone: str = ""
    parts: list[VideoPart] = field(default_factory=list)
    prints: list[Print] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    damaged: int = 0
    done: int = 0
    counted: bool = False

    def run(self) -> Rendered:
        target = main_config(self.spans)
        encoder = self._encoder(target)
        for span in self.spans:
            with SampleReader(span.video.table) as reader:
                self._span(span, target, encoder, reader)
        if self.counted:
            target = replace(target, sample_entry=with_gaps(target))
        copied = any(part.kind == "copy" for part in self.parts)
        config = encoder.track(target, copied=copied)
        reasons = "; ".join(dict.fromkeys(reason for reason in self.reasons if reason))
        return Rendered(tuple(self.parts), config, (), reasons, self.damaged, tuple(self.prints))

    def _encoder(self, target: TrackConfig) -> Encoder:
        if target.codec in FRAME_CODECS:
            return FrameEncoder(self._style(target), alone=bool(self.alone))
        return JoiningEncoder(self._style(target), self._inner_sets(target), alone=bool(self.alone))

    def _inner_sets(self, target: TrackConfig) -> list[bytes]:
        """Return the parameter sets that the recording repeats between its pictures."""
        found: list[bytes] = []
        codec = video_codec(target)
        for span in self.spans:
            if not same_stream(span.video.config, target):
                continue
            with SampleReader(span.video.table) as reader:
                syncs = span.frames[span.video.table.sync[span.frames]][:1].tolist()
                nals = [nal for row in syncs for nal in nals_at(span.video, row, reader)]
            found += [nal for nal in nals if nal_type(codec, nal) in set_types(codec)]
        return found

    def _style(self, target: TrackConfig) -> Style:
        alike = [span.video for span in self.spans if same_stream(span.video.config, target)]
        rate = steady_rate(self.spans) or max(video.nominal for video in alike).limit_denominator(1001)
        depth, busiest = max(video.depth for video in alike), max(map(peak, alike))
        return Style(target, rate, depth, busiest, live=False)

    def _span(self, span: ClipSpan, target: TrackConfig, encoder: Encoder, reader: SampleReader) -> None:
        split = self._split(span, target, reader)
        if len(split.head) or len(split.tail):
            self.reasons.append(split.reason or "a point lies inside a GOP")
        self._encode(span, split.head, target, encoder, reader)
        rows = split.copy
        if len(rows) and self.parts:
            self._remember(span, rows[:1], reader)
        if split.broken and len(rows) and self.parts:
            self._broken(span, rows[:1], reader)
            rows = rows[1:]
        if split.entered:
            counted = counted_rows(span, rows, reader)
            self._counted(span, counted, reader)
            rows = rows[len(counted) :]
        if len(rows):
            self._add(copied_part(span, rows))
        self._encode(span, split.tail, target, encoder, reader)

    def _remember(self, span: ClipSpan, rows: Int64s, reader: SampleReader) -> None:
        """Note what the first copied picture looks like: a decoder that was set up by others may spoil it silently."""
        found = next(decode_rows(span.video, rows, reader, self.stop))
        if found.whole and found.frame is not None:
            self.prints.append(Print(self.done, fingerprint(found.frame)))

    def _split(self, span: ClipSpan, target: TrackConfig, reader: SampleReader) -> Split:
        """Return what to copy and what to encode of a span."""
        if self.alone:
            return Split(span.frames, NOTHING, NOTHING, reason=self.alone)
        if not same_stream(span.video.config, target):
            return Split(span.frames, NOTHING, NOTHING, reason="the streams of the range differ")
        split = split_span(span, reader)
        if split.entered:
            try:
                check_entry(span, counted_rows(span, split.copy, reader), reader, self.stop)
            except (BitstreamError, Mp4Error):
                return split_span(span, reader, recovery=False)
        return split

    def _counted(self, span: ClipSpan, rows: Int64s, reader: SampleReader) -> None:
        """Copy pictures, renumbered from the first of them on."""
        at, sync = span.video.at[rows], span.video.table.sync[rows].tolist()
        self._add(self._spooled(span, "copy", at, counted_samples(span, rows, reader, self.stop), sync))
        self.counted = True

    def _add(self, part: VideoPart) -> None:
        self.parts.append(part)
        self.done += len(part.at)
        self._note(0)

    def _note(self, more: int) -> None:
        """Record how many frames are made, `more` of the part in work."""
        note(self.stop, RENDERING, self.done + more, sum(len(span.frames) for span in self.spans))

    def _broken(self, span: ClipSpan, rows: Int64s, reader: SampleReader) -> None:
        """Copy a CRA picture, marked as a broken link."""
        size = length_size_of(span.video.config)
        sample = join_sample(break_link(nals_at(span.video, int(rows[0]), reader)), size)
        self._add(self._spooled(span, "copy", span.video.at[rows], [sample], [True]))

    def _encode(
        self, span: ClipSpan, rows: Int64s, target: TrackConfig, encoder: Encoder, reader: SampleReader
    ) -> None:
        if not len(rows):
            return
        video = span.video
        shown = np.sort(video.at[rows])
        first = decode_start(video, int(shown[0]), reader)
        scene = scene_at(video, first, reader) if video.config.codec == target.codec else ()
        frames = ahead(self._frames(span, rows, encoder.pixels, reader, target))
        pictures = encoder.encode(frames, scene)
        order, sizes, offsets, sync = [], [], [], []
        kept = video.config.codec == target.codec == encoder.codec
        by_time = rows[np.argsort(video.at[rows])].tolist()
        for picture in pictures:
            payload = picture.payload
            if kept:
                payload = with_beside(target, payload, beside_at(video, by_time[picture.frame], reader))
            offsets.append(self.spool.append(payload))
            sizes.append(len(payload))
            order.append(picture.frame)
            sync.append(picture.sync)
            self._note(len(order))
        if sorted(order) != list(range(len(rows))):
            raise CutError(f"encoder gave {len(order)} pictures for {len(rows)} frames")
        self._add(
            VideoPart(
                "encode",
                span,
                shown[np.array(order)],
                np.array(sync, np.bool_),
                np.array(sizes, np.int64),
                np.array(offsets, np.int64),
                np.zeros(len(order), np.int64),
                (self.spool.path,),
            )
        )

    def _spooled(
        self, span: ClipSpan, kind: str, at: Int64s, samples: Iterable[bytes], sync: Sequence[bool]
    ) -> VideoPart:
        pieces = [(self.spool.append(sample), len(sample)) for sample in samples]
        return VideoPart(
            "copy" if kind == "copy" else "encode",
            span,
            at,
            np.array(sync, np.bool_),
            np.array([size for _, size in pieces], np.int64),
            np.array([offset for offset, _ in pieces], np.int64),
            np.zeros(len(pieces), np.int64),
            (self.spool.path,),
        )

    def _frames(
        self, span: ClipSpan, rows: Int64s, pixels: str, reader: SampleReader, target: TrackConfig
    ) -> Iterator[av.VideoFrame]:
        """Decode the frames `rows` in the target's picture size, and count damaged ones."""
        ends = (self.done, self.done + len(rows) - 1)
        for number, found in enumerate(decode_rows(span.video, rows, reader, self.stop), self.done):
            self.damaged += not found.whole
            frame = _fitted(found.frame or black(span.video.config), target, pixels)
            if number in ends:
                self.prints.append(Print(number, fingerprint(frame)))
            yield frame


def peak(video: Video) -> int:
    """Return a video's highest bit rate over one second."""
    count = max(min(round(video.nominal), len(video.at)), 1)
    reached = np.cumsum(np.append(0, video.table.size))
    return int(8 * (reached[count:] - reached[:-count]).max() * video.nominal / count)


def ahead(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Decode each frame in a thread while the one before it is encoded."""
    with ThreadPoolExecutor(1, "cut-decode") as pool:
        upcoming = pool.submit(next, frames, None)
        while (frame := upcoming.result()) is not None:
            upcoming = pool.submit(next, frames, None)
            yield frame


def main_config(spans: Sequence[ClipSpan]) -> TrackConfig:
    """Choose the stream whose parameters a clip takes: the one with the largest picture, then with most frames."""

    def weight(config: TrackConfig) -> tuple[int, int]:
        alike = (len(span.frames) for span in spans if same_stream(span.video.config, config))
        return config.width * config.height, sum(alike)

    return max((span.video.config for span in spans), key=weight)


def _fitted(frame: av.VideoFrame, target: TrackConfig, pixels: str) -> av.VideoFrame:
    """Return the frame in the target's picture size and a pixel format."""
    if (frame.width, frame.height) == (target.width, target.height) and frame.format.name.replace("j", "") == pixels:
        return frame
    return frame.reformat(width=target.width, height=target.height, format=pixels)


def black(config: TrackConfig) -> av.VideoFrame:
    """Return a black picture, used when nothing can be decoded."""
    empty = av.VideoFrame(config.width, config.height, "rgb24")
    empty.planes[0].update(bytes(empty.planes[0].buffer_size))
    return empty.reformat(format=pixel_format(config))
