"""Recorded segments as packets on stream time, whose zero is the event's first frame (shared/media/timeline.py)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from threading import Event

import numpy as np

from services.restreamer.model import FLICKS, Packet, SourceError, Track
from services.restreamer.sources.access import Gone, Limits, stored
from services.restreamer.sources.containers.tracks import audio_track, video_track
from shared.errors import MediaError
from shared.media.bitstream.mpeg_audio import HEADER, read_mpeg_audio
from shared.media.bitstream.opus import OpusHead
from shared.media.bitstream.picture_form import pixel_name
from shared.media.cenc.clear import PROBE, clear_segment, segment_kid
from shared.media.model import SampleTable
from shared.media.mp4.entries import codec_record
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from shared.media.seams.forms import form_of
from shared.media.seams.grid import find_grid
from shared.media.tracks import FRAME_CODECS, SELF_DESCRIBED, TrackConfig
from shared.media.transcode.recorded import colours_of
from shared.messages.media import SegmentWritten
from shared.security.content_keys import ContentKeys, KeyUnknown, folder_of
from shared.store import MediaStore
from shared.store.local import LocalStore


@dataclass(frozen=True, slots=True)
class Clock:
    """Maps a session's ticks to stream time: tick `zero` of timescale `scale` is shown at `origin_ms`."""

    origin_ms: int
    zero: int
    scale: int

    @classmethod
    def of(cls, segment: SegmentWritten) -> Clock:
        """Return the clock of a segment's session."""
        return cls(segment.origin_ms, segment.zero, segment.timescale)

    @property
    def shift(self) -> int:
        """Flicks to add to a track's own time."""
        return self.origin_ms * (FLICKS // 1000) - round(Fraction(self.zero * FLICKS, self.scale))


@dataclass(frozen=True, slots=True)
class Row:
    """A sample's offset in its segment's file, and its times in flicks of stream time."""

    kind: int
    dts: int
    pts: int
    duration: int
    key: bool
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Init:
    """The first video and audio track of an init segment."""

    video: TrackConfig | None
    audio: TrackConfig | None

    @classmethod
    def read(cls, data: bytes) -> Init:
        """Return the tracks of an init segment; raise Gone when it is broken."""
        try:
            tracks = parse_init(data)
        except MediaError as error:
            raise Gone("the recording's init segment cannot be read") from error
        return cls(
            next((t for t in tracks if t.kind == "video"), None), next((t for t in tracks if t.kind == "audio"), None)
        )

    def heard(self, path: Path, rows: Sequence[Row]) -> Init:
        """Return the tracks with the layer of MPEG audio, which its packets tell; OSError."""
        first = next((row for row in rows if row.kind), None)
        if self.audio is None or self.audio.codec != "mp3" or first is None:
            return self
        with path.open("rb", buffering=0) as file:
            frame = read_mpeg_audio(os.pread(file.fileno(), HEADER, first.offset))
        return self if frame is None else replace(self, audio=replace(self.audio, codec=frame.codec))

    def tracks(self, rate: Fraction | None) -> tuple[Track | None, Track | None]:
        """Return the descriptions of both tracks."""
        try:
            video = _video(self.video, rate) if self.video else None
            audio = _audio(self.audio) if self.audio else None
        except MediaError as error:
            raise Gone("the recording's init segment cannot be read") from error
        return video, audio


def _video(config: TrackConfig, rate: Fraction | None) -> Track:
    if config.codec not in FRAME_CODECS:
        return video_track(config.codec, codec_record(config), rate)
    form = form_of(config)
    track = Track("video", config.codec, codec_record(config), config.width, config.height)
    return replace(track, pixels=pixel_name(form.chroma, form.depth), rate=rate, colours=colours_of(form))


def _audio(config: TrackConfig) -> Track:
    record = b"" if config.codec in SELF_DESCRIBED else codec_record(config)
    if config.codec == "opus":
        record = OpusHead.read_dops(record).write()
    track = audio_track(config.codec, record)
    return Track(
        "audio", config.codec, record, sample_rate=track.sample_rate or config.sample_rate, channels=config.channels
    )


def read_rows(path: Path, init: Init, shift: int) -> tuple[list[Row], Fraction | None]:
    """Return a segment's complete samples by decode time, and its frame rate; raise MediaError, OSError."""
    tables = read_fragments(path).tables
    rows: list[Row] = []
    rate = None
    for kind, config in enumerate((init.video, init.audio)):
        table = tables.get(config.track_id) if config is not None else None
        if config is not None and table is not None and len(table):
            rows += _rows(kind, config.timescale, table, shift)
            rate = _rate(table, config.timescale) if not kind else rate
    rows.sort(key=lambda row: (row.dts, row.kind))
    return rows, rate


def _rows(kind: int, scale: int, table: SampleTable, shift: int) -> Iterator[Row]:
    for dts, pts, length, sync, offset, size in zip(
        *(column.tolist() for column in (table.dts, table.pts, table.duration, table.sync, table.offset, table.size)),
        strict=True,
    ):
        at = dts * FLICKS // scale
        until = (dts + length) * FLICKS // scale
        yield Row(kind, at + shift, pts * FLICKS // scale + shift, until - at, bool(kind) or sync, offset, size)


def _rate(table: SampleTable, scale: int) -> Fraction | None:
    grid = find_grid(np.unique(table.pts), scale)
    if grid is not None:
        return grid.rate
    usual = int(np.median(table.duration))
    return Fraction(scale, usual) if usual > 0 else None


def read_packets(path: Path, rows: Sequence[Row]) -> Iterator[Packet]:
    """Yield the samples as packets; raise Gone when the file is gone or too short."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Gone("a segment of the recording cannot be read") from error
    try:
        for row in rows:
            data = os.pread(handle, row.size, row.offset)
            if len(data) < row.size:
                raise Gone("a segment of the recording is cut short")
            yield Packet("audio" if row.kind else "video", row.dts, row.pts, row.duration, row.key, data)
    except OSError as error:
        raise Gone("a segment of the recording cannot be read") from error
    finally:
        os.close(handle)


@contextlib.contextmanager
def local_file(store: MediaStore, key: str, limits: Limits, stop: Event) -> Iterator[Path]:
    """Yield a small object as a local file; raise SourceError."""
    if isinstance(store, LocalStore):
        yield store.path(key)
        return
    data = stored(lambda: store.get(key), stop, limits.patience)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")


@contextlib.contextmanager
def clear_file(path: Path, key: str, keys: ContentKeys) -> Iterator[Path]:
    """Yield a segment's file; of an encrypted one, a decrypted one in memory. Raise SourceError without its key."""
    try:
        with path.open("rb", buffering=0) as file:
            kid = segment_kid(file.read(PROBE))
        data = clear_segment(path.read_bytes(), keys.find(folder_of(key), kid).key) if kid else b""
    except KeyUnknown as error:
        raise SourceError(str(error)) from error
    except (OSError, MediaError) as error:
        raise Gone("a segment of the recording cannot be read") from error
    if not kid:
        yield path
        return
    with os.fdopen(os.memfd_create("segment", os.MFD_CLOEXEC), "wb", buffering=0) as file:
        file.write(data)
        yield Path(f"/proc/self/fd/{file.fileno()}")
