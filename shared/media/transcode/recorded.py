"""Tracks of recorded segments, as decoders take them."""

from __future__ import annotations

from shared.media.mp4.entries import codec_record, opus_head
from shared.media.tracks import TrackConfig
from shared.media.transcode.streams import Track


def recorded_track(config: TrackConfig) -> Track:
    """Describe a recorded track that is decoded from any packet on: of Opus nothing is skipped at the beginning."""
    record = codec_record(config)
    return Track(
        config.kind, config.codec, opus_head(record, preskip=0) if config.codec == "opus" else record,
        config.width, config.height, sample_rate=config.sample_rate, channels=config.channels,
    )  # fmt: skip
