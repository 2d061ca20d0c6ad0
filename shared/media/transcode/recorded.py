"""Tracks of recorded segments, in the form that decoders take."""

from __future__ import annotations

from dataclasses import replace

from shared.media.bitstream.opus import OpusHead
from shared.media.bitstream.picture_form import PictureForm
from shared.media.bitstream.vp9 import read_vpcc
from shared.media.mp4.entries import codec_record
from shared.media.tracks import SELF_DESCRIBED, TrackConfig
from shared.media.transcode.colours import FULL, LIMITED, UNKNOWN
from shared.media.transcode.streams import Track

UNTOLD = (0, UNKNOWN, UNKNOWN, UNKNOWN)


def recorded_track(config: TrackConfig) -> Track:
    """Return a recorded track for decoding from any packet on: with Opus, no samples are skipped at the start."""
    record, colours = b"" if config.codec in SELF_DESCRIBED else codec_record(config), UNTOLD
    if config.codec == "opus":
        record = replace(OpusHead.read_dops(record), preskip=0).write()
    elif config.codec == "vp9":
        colours = colours_of(read_vpcc(record, config.width, config.height))
        record = b""  # frames tell all else that a decoder needs
    track = Track(config.kind, config.codec, record, config.width, config.height, colours=colours)
    return replace(track, sample_rate=config.sample_rate, channels=config.channels)


def colours_of(form: PictureForm) -> tuple[int, int, int, int]:
    """Return the range, matrix, primaries and transfer that a record tells, as FFmpeg numbers them."""
    if form.colour is None:
        return UNTOLD
    return FULL if form.colour.full else LIMITED, form.colour.matrix, form.colour.primaries, form.colour.transfer
