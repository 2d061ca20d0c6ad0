"""What is packed before its time has come is what would be packed then, or is not used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from services.restreamer.model import Track, Unit
from services.restreamer.targets.rtmp.ahead import AheadPacker
from services.restreamer.targets.rtmp.pack import RtmpPacker
from services.restreamer.targets.shared_muxer import SharedMuxer
from services.restreamer.targets.srt.ts import TsPacker
from services.restreamer.targets.terms import Tracks
from tests.support.media_streams import encode
from tests.support.restream_units import AAC, AVC, picture, sound, units_of


@pytest.mark.parametrize("packer", [RtmpPacker, TsPacker])
@pytest.mark.parametrize("codecs", [("h264-b", "aac"), ("hevc", "opus")], ids="-".join)
def test_what_was_packed_ahead_is_what_would_have_been_packed(
    codecs: tuple[str, str], packer: type[RtmpPacker | TsPacker], tmp_path: Path
) -> None:
    """Whether it is used or not, as after a cut that has thrown another configuration away."""
    source = encode(tmp_path / "source.mp4", video=codecs[0], audio=codecs[1], seconds=4, gop=30)
    batches: list[list[Unit]] = []
    for unit in units_of(source, loops=2):
        if unit.kind == "video" or unit.track is not None:
            batches.append([])
        batches[-1].append(unit)
    one, other, ahead, used = SharedMuxer(packer(), Tracks()), SharedMuxer(packer(), Tracks()), AheadPacker(), 0
    for number, batch in enumerate(batches):
        if number == len(batches) // 2:
            thrown_away = replace(sound(0), track=replace(AAC, sample_rate=44100))
            assert ahead.pack([thrown_away], wanted=True) is None
        ready = ahead.pack(batch, wanted=True)
        used += ready is not None and ready.fits(other.tracks)
        assert one.feed(batch) == other.feed(batch, ready if packer is RtmpPacker else None)
    assert len(batches) // 3 < used < len(batches) * 2 // 3 + len(batches) // 3
    assert [block.data for block in one.start()] == [block.data for block in other.start()]


@pytest.mark.parametrize(
    ("video", "audio"),
    [
        (AVC, None),
        (None, AAC),
        (AVC, replace(AAC, codec="vorbis")),
        (replace(AVC, codec="vp9", config=b""), AAC),
    ],
)
def test_what_rtmp_cannot_carry_or_dates_by_what_was_before_is_not_packed_ahead(
    video: Track | None, audio: Track | None
) -> None:
    ahead = AheadPacker()
    for unit, track in ((picture(0, key=True), video), (sound(0), audio)):
        if track is not None:
            assert ahead.pack([replace(unit, track=track)], wanted=True) is None
    assert ahead.pack([picture(40), sound(40)], wanted=True) is None
