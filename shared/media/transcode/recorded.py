"""Tracks of recorded segments, in the form that decoders take."""

from __future__ import annotations

from dataclasses import replace

from shared.media.bitstream.opus import OpusHead
from shared.media.mp4.entries import codec_record
from shared.media.tracks import SELF_DESCRIBED, TrackConfig
from shared.media.transcode.streams import Track


def recorded_track(config: TrackConfig) -> Track:
    """Return a recorded track for decoding from any packet on: with Opus, no samples are skipped at the start."""
    record = b"" if config.codec in SELF_DESCRIBED else codec_record(config)
    if config.codec == "opus":
        record = replace(OpusHead.read_dops(record), preskip=0).write()
    return Track(
        config.kind, config.codec, record,
        config.width, config.height, sample_rate=config.sample_rate, channels=config.channels,
    )  # fmt: skip
