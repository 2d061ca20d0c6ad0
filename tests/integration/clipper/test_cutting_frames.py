"""AV1 and VP9: exact to the frame, copied bit for bit where that can be, and said where it cannot."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from services.clipper.cutting import CutSource, Run, cut_exact, cut_fast, plan_cut, verify_clip
from services.gateway.delivery.codecs import codecs_of
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from tests.support.framecode import payloads, play
from tests.support.framecode_record import Recording, Spec, play_recording, record

GOP, FRAMES = 25, 100
POINTS = {
    "on key frames": (25, 75), "one after": (26, 76), "one before": (24, 74), "inside GOPs": (13, 87),
    "in one GOP": (55, 63),
}  # fmt: skip
NO_ENCODER = "the stream cannot be joined: its picture format has no encoder here"
PQ = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc"
# Codec, pixel format, options of the encoder, whether ends alone can be encoded again, the clip's codecs otherwise.
STREAMS = {
    "av1": ("av1", "yuv420p", "", True, ""),
    "av1-10": ("av1", "yuv420p10le", PQ, True, ""),
    "vp9": ("vp9", "yuv420p", "-colorspace bt709", True, ""),
    "vp9-10": ("vp9", "yuv420p10le", "-profile:v 2", False, "av01.0.00M.10"),
}


def recorded(codec: str, pixels: str, options: str, folder: Path) -> Recording:
    return record(Spec(codec, Fraction(30), 0, GOP, Fraction(FRAMES, 30), "ms", pixels=pixels, encoder=options), folder)


@pytest.mark.parametrize("name", STREAMS)
def test_every_frame_asked_for_and_no_other(name: str, tmp_path: Path) -> None:
    codec, pixels, options, joins, other = STREAMS[name]
    recording = recorded(codec, pixels, options, tmp_path / "recording")
    original = play_recording(recording, tmp_path).digests
    for point, (first, end) in POINTS.items():
        out = tmp_path / f"{point}.mp4"
        plan = plan_cut(recording.source(), recording.time(first), recording.time(end))
        result = cut_exact(plan, out)
        verify_clip(result, plan)
        seen = play(out)
        assert (seen.numbers, seen.warnings) == (list(range(first, end)), ""), point
        copied = [n for part in result.parts if part.kind == "copy" for n in range(part.first, part.first + part.count)]
        assert [seen.digests[n] for n in copied] == [original[first + n] for n in copied]
        assert set(payloads(out)[result.encoded :]) <= set(payloads(tmp_path / "whole.mp4"))
        head = -first % GOP if first // GOP < (end - 1) // GOP else end - first
        assert result.encoded == (head if joins or not head else end - first), point
        if result.encoded and not joins:
            assert (result.method, result.reason) == ("reencode", NO_ENCODER)
            assert codecs_of(parse_init(out.read_bytes())[:1]) == other
    plan = plan_cut(recording.source(), recording.time(30), recording.time(40))
    fast = cut_fast(plan, tmp_path / "fast.mp4")
    verify_clip(fast, plan)
    assert play(fast.path).digests == original[: fast.frames]
    assert fast.method == "copy"


def test_ends_look_like_the_recording_to_a_decoder(tmp_path: Path) -> None:
    for name in ("av1-10", "vp9"):
        codec, pixels, options, *_ = STREAMS[name]
        recording = recorded(codec, pixels, options, tmp_path / name)
        plan = plan_cut(recording.source(), recording.time(13), recording.time(60))
        cut_exact(plan, tmp_path / f"{name}.mp4")
        with av.open(str(tmp_path / f"{name}.mp4")) as clip:
            frames = list(clip.decode(video=0))
        told = {(f.format.name, f.color_range, f.colorspace, f.color_primaries, f.color_trc) for f in frames}
        assert len(told) == 1, name
        assert (frames[0].format.name, len(frames)) == (pixels, 47)


def test_ranges_over_streams_of_two_codecs(tmp_path: Path) -> None:
    first = recorded("av1", "yuv420p", "", tmp_path / "first")
    second = record(Spec("h264", gop=GOP, seconds=Fraction(2), bframes=0, first_number=FRAMES), tmp_path / "second")
    runs = first.run(), Run(second.init, second.segments, Fraction(FRAMES, 30), "b" * 32)
    plan = plan_cut(CutSource(runs), first.time(40), Fraction(FRAMES + 30, 30))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(result, plan)
    assert play(result.path).numbers == list(range(40, FRAMES + 30))
    assert (result.method, "the streams of the range differ" in result.reason) == ("smart", True)


def test_an_encoder_that_comes_back_with_other_settings_is_copied(tmp_path: Path) -> None:
    """Its sequence header differs; its key frames have it, and forget what was before."""
    first = recorded("av1", "yuv420p", "", tmp_path / "first")
    spec = Spec(
        "aom", gop=GOP, seconds=Fraction(2), bframes=0, first_number=FRAMES, encoder="-usage realtime -cpu-used 8"
    )
    second = record(spec, tmp_path / "second")
    runs = first.run(), Run(second.init, second.segments, Fraction(FRAMES, 30), "b" * 32)
    plan = plan_cut(CutSource(runs), first.time(40), Fraction(FRAMES + 30, 30))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(result, plan)
    seen = play(result.path)
    assert (seen.numbers, seen.warnings) == (list(range(40, FRAMES + 30)), "")
    assert (result.method, result.encoded) == ("smart", 10)


def test_a_format_that_no_encoder_here_makes(tmp_path: Path) -> None:
    options = "-usage realtime -cpu-used 8"
    spec = Spec("aom", Fraction(30), 0, GOP, Fraction(2), pixels="yuv444p", encoder=options)
    recording = record(spec, tmp_path / "recording")
    plan = plan_cut(recording.source(), recording.time(13), recording.time(40))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(result, plan)
    seen = play(result.path)
    assert (seen.numbers, seen.warnings, result.reason) == (list(range(13, 40)), "", NO_ENCODER)
    whole = cut_exact(plan_cut(recording.source(), recording.time(25), recording.time(40)), tmp_path / "whole-gop.mp4")
    assert (whole.method, play(whole.path).numbers) == ("copy", list(range(25, 40)))


@pytest.mark.parametrize("name", ["av1", "vp9"])
def test_damage_in_the_recording_stays_damage_in_the_clip(name: str, tmp_path: Path) -> None:
    codec, pixels, options, *_ = STREAMS[name]
    recording = recorded(codec, pixels, options, tmp_path / "recording")
    for spoilt in (20, 40):  # one that is encoded again, and one that is copied
        table = read_fragments(recording.segments[0].path).tables[1]
        with recording.segments[0].path.open("r+b") as file:
            file.seek(int(table.offset[spoilt]))
            file.write(b"\xff" * int(table.size[spoilt]))
    plan = plan_cut(recording.source(), recording.time(13), recording.time(90))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    assert (result.frames, result.method, result.encoded) == (77, "smart", 12)
    assert 1 <= result.damaged <= 5  # up to the next key frame, where others refer to it
    verify_clip(result, plan)
