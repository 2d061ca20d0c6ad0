"""Pictures at in and out points, encoded so that they continue what is copied (ADR 10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import av

from services.restreamer.model import Packet, Track
from services.restreamer.playout.order.programme import TOLERANCE
from services.restreamer.playout.reading.measure import Sample
from shared.media.bitstream.errors import BitstreamError
from shared.media.bitstream.nal import split_sample
from shared.media.bitstream.params import nal_type, set_types
from shared.media.bitstream.records import video_codec, with_sets
from shared.media.bitstream.sei import static_sei
from shared.media.mp4.entries import codec_record, video_config
from shared.media.seams.encode import Encoded, JoiningEncoder, Seam, Style
from shared.media.seams.errors import CutError
from shared.media.tracks import TrackConfig
from shared.media.transcode.decoder import PictureDecoder

Coded = tuple[int, bool, bytes]
"""Presentation time, keyframe, data."""


class Seams:
    """Encodes frames of a copied track; one seam at a time. MediaError where they cannot be joined to it."""

    def __init__(self, track: Track, sample: Sample, *, tail: bool) -> None:
        self._plain = track
        self._config = _entry(track)
        style = Style(self._config, sample.rate, min(sample.depth, 2), sample.bitrate)
        self._encoder = JoiningEncoder(style, _inner_sets(self._config, sample))
        self._decoder: PictureDecoder | None = None
        self._seam: Seam | None = None
        self._times: list[int] = []
        self._latest = self._start = -1
        self._hole = sample.hole
        self._before: av.VideoFrame | None = None
        if tail:
            self._prepare(sample)

    @property
    def track(self) -> Track:
        """The track with the parameter sets of file and encoder; the plain one while nothing was encoded."""
        if not self._encoder.sets:
            return self._plain
        entry = with_sets(self._config, self._encoder.sets, keep=True)
        return replace(self._plain, config=codec_record(replace(self._config, sample_entry=entry)))

    @property
    def latest(self) -> int:
        """Return the latest presentation time of the decoded pictures."""
        return self._latest

    def decode(self, packets: Iterable[Packet], start: int, limit: int | None) -> list[Coded]:
        """Decode packets, and encode those frames that are shown from `start` up to `limit`."""
        coded: list[Coded] = []
        self._start = start
        for packet in packets:
            if self._decoder is None:
                self._begin(packet)
            assert self._decoder is not None  # noqa: S101  made above
            coded += self._encode(self._decoder.push(packet), start, limit)
        return coded

    def close(self, limit: int | None) -> list[Coded]:
        """End the seam; return its last pictures, up to `limit`."""
        if self._decoder is None or self._seam is None:
            return []
        coded = self._encode(self._decoder.finish(), self._start, limit)
        if limit is not None:
            coded += self._staying(limit, self._start)
        coded += self._coded(self._seam.finish())
        self._decoder = self._seam = None
        return coded

    def _begin(self, packet: Packet) -> None:
        codec = video_codec(self._config)
        self._decoder = PictureDecoder(self._plain)
        try:
            lead = static_sei(codec, split_sample(packet.data, 4))
        except BitstreamError:
            lead = []
        self._seam, self._times, self._latest, self._before = self._encoder.seam(lead), [], -1, None

    def _encode(self, frames: Iterator[av.VideoFrame], start: int, limit: int | None) -> list[Coded]:
        coded: list[Coded] = []
        for frame in frames:
            at = frame.pts or 0
            self._latest = max(self._latest, at)
            if at < start - TOLERANCE:
                self._before = frame
                continue
            coded += self._staying(at, start)
            if limit is None or at < limit - TOLERANCE:
                coded += self._push(at, frame)
        return coded

    def _staying(self, at: int, start: int) -> list[Coded]:
        """Encode the picture that is on screen at `start`, if the next one comes only at `at`."""
        before, self._before = self._before, None
        return self._push(start, before) if before is not None and at - start > self._hole else []

    def _push(self, at: int, frame: av.VideoFrame) -> list[Coded]:
        assert self._seam is not None  # noqa: S101  begun before
        self._times.append(at)
        return self._coded(self._seam.push(frame))

    def _coded(self, pictures: Iterator[Encoded]) -> list[Coded]:
        return [(self._times[picture.frame], picture.sync, picture.payload) for picture in pictures]

    def _prepare(self, sample: Sample) -> None:
        """Decode the first picture, to know the encoder's parameter sets before they are needed."""
        key = sample.first_key
        if key is None:
            return
        decoder = PictureDecoder(self._plain)
        frame = next((frame for frames in (decoder.push(key), decoder.finish()) for frame in frames), None)
        if frame is None:
            raise CutError("the first picture cannot be decoded")
        self._encoder.prepare(frame)


def _entry(track: Track) -> TrackConfig:
    return video_config("hevc" if track.codec == "hevc" else "h264", track.config, 90_000)


def _inner_sets(config: TrackConfig, sample: Sample) -> list[bytes]:
    """Find parameter sets that the file repeats before its pictures."""
    codec = video_codec(config)
    if sample.first_key is None:
        return []
    try:
        nals = split_sample(sample.first_key.data, 4)
    except BitstreamError:
        return []
    return [nal for nal in nals if nal_type(codec, nal) in set_types(codec)]
