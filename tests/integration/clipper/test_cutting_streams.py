"""Kinds of streams: open GOPs, deep colour, slices, fields, wavering rates; and that seams leak nothing."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from math import log10
from pathlib import Path
from threading import Event
from typing import Literal

import av
import pytest

from services.clipper.cutting import EmptyCut, cut_exact, plan_cut, verify_clip
from services.clipper.cutting.decode import decode_rows
from services.clipper.cutting.samples import SampleReader
from shared.media.bitstream.nal import sei_type, split_sample
from shared.media.bitstream.params import nal_type, set_types
from shared.media.mp4.init import parse_init
from tests.support.framecode import payloads, play
from tests.support.framecode_record import Spec, play_recording, record

LENGTH = Fraction(4)
KINDS = {
    "hevc main10": (Spec("hevc", gop=30, seconds=LENGTH, pixels="yuv420p10le"), "smart"),
    "h264 high10": (Spec(gop=30, seconds=LENGTH, pixels="yuv420p10le"), "smart"),
    "h264 4:2:2": (Spec(gop=30, seconds=LENGTH, pixels="yuv422p"), "smart"),
    "h264 baseline": (Spec(gop=30, seconds=LENGTH, bframes=0, options=("-profile:v", "baseline")), "smart"),
    "h264 main": (Spec(gop=30, seconds=LENGTH, options=("-profile:v", "main")), "smart"),
    "h264 baseline, slices": (
        Spec(gop=30, seconds=LENGTH, bframes=0, encoder="slices=4:ref=3", options=("-profile:v", "baseline")),
        "smart",
    ),
    "h264 high 4:2:2, 10 bits": (Spec(gop=30, seconds=LENGTH, pixels="yuv422p10le"), "smart"),
    "h264 high 4:2:2, 10 bits, open gop": (
        Spec(gop=30, seconds=LENGTH, pixels="yuv422p10le", encoder="open-gop=1"),
        "smart",
    ),
    "h264 fields": (Spec(gop=30, seconds=LENGTH, encoder="tff=1"), "smart"),
    "h264 fields, bottom first, no b": (Spec(gop=30, seconds=LENGTH, bframes=0, encoder="bff=1"), "smart"),
    "h264 fields, open gop": (Spec(gop=30, seconds=LENGTH, encoder="tff=1:open-gop=1"), "smart"),
    "h264 fields, 4:2:2, 10 bits": (Spec(gop=30, seconds=LENGTH, pixels="yuv422p10le", encoder="tff=1"), "smart"),
    "h264 frames where fields may be": (Spec(gop=30, seconds=LENGTH, encoder="fake-interlaced=1"), "smart"),
    "h264 hrd": (
        Spec(gop=30, seconds=LENGTH, encoder="nal-hrd=cbr:vbv-maxrate=1000:vbv-bufsize=1000:aud=1:repeat-headers=1"),
        "smart",
    ),
    "h264 deep references": (Spec(gop=30, seconds=LENGTH, bframes=7, encoder="ref=6:b-pyramid=normal"), "smart"),
    "h264 open gop": (Spec(gop=30, seconds=LENGTH, encoder="open-gop=1"), "smart"),
    "h264 open gop, deep": (Spec(gop=30, seconds=LENGTH, bframes=5, encoder="open-gop=1:ref=5:b-adapt=0"), "smart"),
    "h264 open gop, no pyramid": (Spec(gop=30, seconds=LENGTH, encoder="open-gop=1:b-pyramid=none"), "smart"),
    "h264 open gop, no b": (Spec(gop=30, seconds=LENGTH, bframes=0, encoder="open-gop=1"), "smart"),
    "h264 open gop, main, cavlc, slices": (
        Spec(gop=30, seconds=LENGTH, encoder="open-gop=1:cabac=0:slices=3", options=("-profile:v", "main")),
        "smart",
    ),
    "h264 open gop, strict pyramid": (
        Spec(gop=30, seconds=LENGTH, bframes=3, encoder="open-gop=1:b-pyramid=strict:b-adapt=0"),
        "smart",
    ),
    "h264 intra refresh": (Spec(gop=30, seconds=LENGTH, bframes=0, encoder="intra-refresh=1"), "reencode"),
    "h264 intra refresh, 10 bits": (
        Spec(gop=30, seconds=LENGTH, bframes=0, pixels="yuv420p10le", encoder="intra-refresh=1"),
        "reencode",
    ),
    "hevc intra refresh": (
        Spec("hevc", gop=30, seconds=LENGTH, bframes=0, encoder="intra-refresh=1:open-gop=1"),
        "reencode",
    ),
    "hevc main10, cra with rasl": (
        Spec("hevc", gop=30, bframes=4, seconds=LENGTH, pixels="yuv420p10le", encoder="open-gop=1"),
        "smart",
    ),
    "hevc 4:2:2, 10 bits": (Spec("hevc", gop=30, seconds=LENGTH, pixels="yuv422p10le"), "smart"),
    "hevc main12": (Spec("hevc", gop=30, seconds=LENGTH, pixels="yuv420p12le"), "smart"),
    "hevc open gop": (Spec("hevc", gop=30, bframes=4, seconds=LENGTH, encoder="open-gop=1"), "smart"),
    "hevc leading pictures": (Spec("hevc", gop=30, bframes=4, seconds=LENGTH, encoder="radl=2:open-gop=0"), "smart"),
    "hevc slices": (Spec("hevc", gop=30, seconds=LENGTH, encoder="slices=2:weightp=1:wpp=1"), "smart"),
    "h264 wavering rate": (Spec(gop=30, seconds=LENGTH, stamps="vfr"), "smart"),
    "hevc wavering rate": (Spec("hevc", gop=30, seconds=LENGTH, stamps="vfr"), "smart"),
    "59.94 ms": (Spec(rate=Fraction(60000, 1001), gop=30, seconds=LENGTH / 2), "smart"),
    "23.976 90k": (Spec(rate=Fraction(24000, 1001), gop=24, seconds=LENGTH, stamps="90k"), "smart"),
    "no sound": (Spec(gop=30, seconds=LENGTH, audio=None), "smart"),
    "opus": (Spec(gop=30, seconds=LENGTH, audio="opus"), "smart"),
    "one gop": (Spec(gop=300, seconds=LENGTH), "reencode"),
}


@pytest.mark.parametrize("name", KINDS)
def test_any_stream_is_cut_by_the_frame(name: str, tmp_path: Path) -> None:
    spec, method = KINDS[name]
    recording = record(spec, tmp_path / "recording")
    last = spec.frames - 9
    plan = plan_cut(recording.source(), recording.time(17), recording.time(last))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(result, plan)
    seen = play(result.path, audio=spec.audio is not None)
    assert seen.numbers == list(range(17, last))
    assert seen.warnings == ""
    assert (result.method, result.damaged, bool(result.reason)) == (method, 0, True)
    if method == "smart":
        assert result.encoded < 30 + spec.bframes
    if spec.stamps == "vfr":
        assert result.rate is None
        assert result.duration == pytest.approx(float(recording.time(last) - recording.time(17)), abs=0.02)
    else:
        assert (result.rate, result.duration) == (spec.rate, (last - 17) / spec.rate)


@pytest.mark.parametrize("options", ["open-gop=1", "open-gop=1:cabac=0:ref=4", "open-gop=1:b-pyramid=none:slices=2"])
def test_open_gop_is_copied_bit_for_bit_from_any_point_on(options: str, tmp_path: Path) -> None:
    """Pictures behind an I picture that became an IDR picture decode to the recording's own."""
    recording = record(Spec(gop=30, seconds=LENGTH, bframes=3, encoder=options), tmp_path / "recording")
    original = play_recording(recording, tmp_path).digests
    for first, end in ((0, 100), (1, 77), (14, 31), (29, 95), (30, 62), (31, 111), (32, 93), (44, 119), (61, 118)):
        plan = plan_cut(recording.source(), recording.time(first), recording.time(end))
        result = cut_exact(plan, tmp_path / "clip.mp4")
        verify_clip(result, plan)
        seen = play(result.path)
        assert (seen.numbers, seen.warnings) == (list(range(first, end)), "")
        copied = [n for part in result.parts if part.kind == "copy" for n in range(part.first, part.first + part.count)]
        assert [seen.digests[n] for n in copied] == [original[first + n] for n in copied]
        assert result.encoded <= 34 + 4


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("frame", [0, 17, 30, 59])
def test_a_range_in_which_no_frame_begins_gives_the_one_on_show(codec: str, frame: int, tmp_path: Path) -> None:
    recording = record(Spec(codec, gop=30, seconds=Fraction(2)), tmp_path / "recording")
    inside = recording.time(frame) + Fraction(1, 90)
    plan = plan_cut(recording.source(), inside, inside + Fraction(1, 100))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(result, plan)
    seen = play(result.path)
    assert (seen.numbers, seen.warnings) == ([frame], "")
    assert (result.start, result.end) == (recording.time(frame), recording.time(frame) + Fraction(1, 30))
    with pytest.raises(EmptyCut):
        plan_cut(recording.source(), recording.time(60), recording.time(60) + Fraction(1, 100))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(("noise", "least"), [(0, 42), (20, 42), (100, 38)])
def test_encoded_edges_look_like_the_recording(codec: str, noise: int, least: int, tmp_path: Path) -> None:
    bound = ("-b:v", "1M", "-maxrate", "1M", "-bufsize", "1M")
    filters = ("-vf", f"noise=alls={noise}:allf=t") if noise else ()
    recording = record(Spec(codec, gop=30, seconds=LENGTH, options=(*bound, *filters)), tmp_path / "recording")
    plan = plan_cut(recording.source(), recording.time(17), recording.time(100))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    with SampleReader(plan.exact.spans[0].video.table) as reader:
        (span,) = plan.exact.spans
        shown = decode_rows(span.video, span.frames, reader, Event())
        frames = [found.frame.to_ndarray(format="gray").astype(float) for found in shown if found.frame]
    with av.open(str(result.path)) as container:
        made = [frame.to_ndarray(format="gray").astype(float) for frame in container.decode(video=0)]
    edges = [n for p in result.parts if p.kind == "encode" for n in range(p.first, p.first + p.count)]
    errors = [float(((frames[n] - made[n]) ** 2).mean()) for n in edges]
    ratios = [10 * log10(255**2 / max(error, 1e-9)) for error in errors]
    assert sum(ratios) / len(ratios) >= least
    assert min(ratios) >= least - 2


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_seams_leak_nothing_of_the_encoder(codec: str, tmp_path: Path) -> None:
    """No signature, no parameter sets between pictures; one sample entry that holds both streams' sets."""
    recording = record(Spec(codec, gop=30, seconds=LENGTH), tmp_path / "recording")
    plan = plan_cut(recording.source(), recording.time(17), recording.time(100))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    config = parse_init(result.path.read_bytes())[0]
    kind: Literal["h264", "hevc"] = "h264" if codec == "h264" else "hevc"
    assert config.sample_entry[4:8] == (b"avc1" if codec == "h264" else b"hvc1")
    source = set(payloads(_whole(recording.init, [s.path for s in recording.segments], tmp_path)))
    made = [sample for sample in _samples(result.path) if _digest(sample) not in source]
    assert len(made) == result.encoded
    for sample in made:
        for nal in split_sample(sample, 4):
            assert nal_type(kind, nal) not in set_types(kind)
            assert sei_type(kind, nal) is None
    assert b"x264" not in b"".join(made)
    assert b"x265" not in b"".join(made)


def test_encoded_pictures_keep_the_scenes_colour(tmp_path: Path) -> None:
    """HDR10: what describes the colour comes before the first encoded picture as before the recording's own."""
    display = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    colour = f"{display}:hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    spec = Spec("hevc", gop=30, seconds=LENGTH / 2, pixels="yuv420p10le", encoder=colour)
    recording = record(spec, tmp_path / "recording")
    plan = plan_cut(recording.source(), recording.time(17), recording.time(50))
    result = cut_exact(plan, tmp_path / "clip.mp4")
    verify_clip(result, plan)
    with av.open(str(result.path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 33
    for frame in frames:
        assert frame.side_data.get("MASTERING_DISPLAY_METADATA") is not None
        assert frame.side_data.get("CONTENT_LIGHT_LEVEL") is not None
        assert (frame.format.name, frame.color_trc, frame.color_primaries) == ("yuv420p10le", 16, 9)


def _whole(init: Path, segments: list[Path], folder: Path) -> Path:
    path = folder / "whole.mp4"
    path.write_bytes(init.read_bytes() + b"".join(segment.read_bytes() for segment in segments))
    return path


def _samples(clip: Path) -> list[bytes]:
    with av.open(str(clip)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def _digest(sample: bytes) -> str:
    return hashlib.md5(sample).hexdigest()
