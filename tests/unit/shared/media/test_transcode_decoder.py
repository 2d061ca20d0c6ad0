"""What decoders are opened for is bounded, by what a container says and by what the coded data say themselves."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from shared.media.transcode import decoder as decoding
from shared.media.transcode.decoder import PictureDecoder, SoundDecoder
from shared.media.transcode.errors import Undecodable
from shared.media.transcode.streams import Packet, Track


@pytest.mark.parametrize(
    ("track", "words"),
    [
        (Track("video", "mjpeg", b"", 20_000, 64), "20000x64 pixels"),
        (Track("video", "mjpeg", b"", 8192, 8192), "8192x8192 pixels"),
        (Track("audio", "pcm_s16le", b"", sample_rate=48000, channels=65), "65 channels"),
        (Track("audio", "pcm_s16le", b"", sample_rate=4_000_000, channels=2), "4000000 samples a second"),
        (Track("video", "aac", b"", 64, 64), "aac has no pictures"),
        (Track("audio", "h264", b"", sample_rate=48000, channels=2), "h264 has no sound"),
        (Track("video", "smoke signals", b"", 64, 64), "smoke signals cannot be decoded"),
    ],
)
def test_a_track_that_nothing_decodes_is_refused_in_words(track: Track, words: str) -> None:
    with pytest.raises(Undecodable, match=words):
        PictureDecoder(track) if track.kind == "video" else SoundDecoder(track)


def coded(side: int) -> bytes:
    """Encode a picture."""
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width = encoder.height = side
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8)).reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


def test_a_picture_that_is_larger_than_its_container_says_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    packets = [Packet("video", at, at, 1, True, coded(side)) for at, side in enumerate((64, 256, 64))]
    track = Track("video", "mjpeg", b"", 64, 64)
    assert [frame.width for packet in packets for frame in PictureDecoder(track).push(packet)] == [64, 256, 64]
    monkeypatch.setattr(decoding, "_BOUNDS", {"max_pixels": str(128 * 128)})
    decoder = PictureDecoder(track)
    assert [frame.width for packet in packets for frame in decoder.push(packet)] == [64, 64]
    assert decoder.damaged == 1


def test_a_packet_that_is_too_large_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LARGEST_PACKET", 100)
    decoder = PictureDecoder(Track("video", "mjpeg", b"", 64, 64))
    assert not list(decoder.push(Packet("video", 0, 0, 1, True, coded(64))))
    assert decoder.damaged == 1
