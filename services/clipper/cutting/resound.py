"""Encoding a clip's sound when its spans cannot share a track: other codecs, rates or channels."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from threading import Event

import av
import numpy as np

from services.clipper.cutting.audio import AudioPart, lay_audio
from services.clipper.cutting.plan import ClipSpan
from services.clipper.cutting.samples import SampleReader, Spool
from shared.media.model import SampleTable
from shared.media.mp4.entries import aac_config
from shared.media.seams.errors import CutError, Stopped
from shared.media.seams.silence import AAC_FRAME, layout_of
from shared.media.seams.source import Audio
from shared.media.transcode.decoder import SoundDecoder
from shared.media.transcode.recorded import recorded_track
from shared.media.transcode.resampled import Resampled
from shared.media.transcode.sound_run import Samples, open_sound_encoder
from shared.media.transcode.streams import FLICKS, Packet

BITRATE = 96_000  # per channel
RATES = (32000, 44100, 48000)


def can_encode(spans: Sequence[ClipSpan]) -> bool:
    """Return whether the spans have sound, and of a form that can be encoded."""
    rate, channels = _form(spans)
    return rate in RATES and layout_of(channels) is not None


def _form(spans: Sequence[ClipSpan]) -> tuple[int, int]:
    """Return the rate to encode the sound at, the first one if it is usual, and its most channels; or zeros."""
    configs = [span.piece.audio.config for span in spans if span.piece.audio is not None]
    if not configs:
        return 0, 0
    first = configs[0].sample_rate
    return first if first in RATES else RATES[-1], max(config.channels for config in configs)


def encode_sound(spans: Sequence[ClipSpan], spool: Spool, stop: Event) -> Audio:
    """Decode the spans' sound, lay it on the clip's time line with silence in holes, and encode it as AAC.

    The packets go into `spool`; their times are clip time. Stopped when `stop` is set.
    """
    rate, channels = _form(spans)
    layout = layout_of(channels)
    if layout is None or rate not in RATES:
        raise CutError(f"sound of {channels} channels at {rate} Hz cannot be joined with other sound")
    context = open_sound_encoder("aac", rate, layout, BITRATE * channels)
    encoded = _Encoded(context, spool)
    fifo = av.AudioFifo()
    for frame in _timeline(spans, rate, layout, stop):
        fifo.write(frame)
        while (block := fifo.read(AAC_FRAME)) is not None:
            encoded.push(block)
    if (rest := fifo.read(0, partial=True)) is not None:
        encoded.push(rest)
    encoded.push(None)
    language = next((span.piece.audio.config.language for span in spans if span.piece.audio is not None), "")
    config = replace(aac_config(bytes(context.extradata or b"")), language=language)
    table = encoded.table()
    return Audio(config, table, table.pts, Fraction(0))


class _Encoded:
    """Encodes frames; the packets go to disk at once, and of each three numbers stay in memory."""

    def __init__(self, context: av.AudioCodecContext, spool: Spool) -> None:
        self._context, self._spool = context, spool
        self._at, self._sizes, self._offsets = array("q"), array("q"), array("q")

    def push(self, frame: av.AudioFrame | None) -> None:
        """Encode a frame, or what is left."""
        for packet in self._context.encode(frame):
            self._at.append(packet.pts or 0)
            self._sizes.append(packet.size)
            self._offsets.append(self._spool.append(bytes(packet)))

    def table(self) -> SampleTable:
        """Return the packets, in ticks of the rate."""
        at, sizes, offsets = (np.array(numbers, np.int64) for numbers in (self._at, self._sizes, self._offsets))
        usual, zeros = np.full(len(at), AAC_FRAME, np.int64), np.zeros(len(at), np.int64)
        return SampleTable(at, at, usual, sizes, np.ones(len(at), np.bool_), offsets, zeros, (self._spool.path,))


def _timeline(spans: Sequence[ClipSpan], rate: int, layout: str, stop: Event) -> Iterator[av.AudioFrame]:
    """Yield the clip's sound without a hole, from 0 to its end, as frames with times in samples."""
    cursor = 0
    clip_time = Fraction(0)
    for span in spans:
        begin = round(clip_time * rate)
        clip_time += span.end - span.start
        end = round(clip_time * rate)
        for part in lay_audio([span]):
            for at, sound in _decoded(part, rate, layout, stop):
                first, last = max(begin + at, cursor), min(begin + at + sound.shape[1], end)
                if first < last:
                    yield from _silence(cursor, first, rate, layout, sound.shape[0])
                    yield _frame(sound[:, first - begin - at : last - begin - at], first, rate, layout)
                    cursor = last
        channels = len(av.AudioLayout(layout).channels)
        yield from _silence(cursor, end, rate, layout, channels)
        cursor = end


def _silence(start: int, end: int, rate: int, layout: str, channels: int) -> Iterator[av.AudioFrame]:
    for at in range(start, end, rate):
        yield _frame(np.zeros((channels, min(rate, end - at)), np.float32), at, rate, layout)


def _frame(sound: Samples, at: int, rate: int, layout: str) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout=layout)
    frame.sample_rate = rate
    frame.time_base = Fraction(1, rate)
    frame.pts = at
    return frame


def _decoded(part: AudioPart, rate: int, layout: str, stop: Event) -> Iterator[tuple[int, Samples]]:
    """Decode a part's packets and yield (sample at which the sound begins, relative to the span; sound at `rate`)."""
    config = part.audio.config
    sound = Resampled(SoundDecoder(recorded_track(config)), layout, rate)
    with SampleReader(part.audio.table) as reader:
        for row, at in zip(part.rows.tolist(), part.at.tolist(), strict=True):
            if stop.is_set():
                raise Stopped("stopped while decoding sound")
            moment = at * FLICKS // config.timescale
            for piece in sound.push(Packet("audio", moment, moment, 0, key=True, data=reader.read(row))):
                yield piece.stretch * rate // FLICKS + piece.count, piece.samples
    for piece in sound.finish():
        yield piece.stretch * rate // FLICKS + piece.count, piece.samples
