"""What pictures look like where they are shown: upright, in their aspect, whole instead of fields, in their colours."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from shared.media.transcode.turns import TURNS, turn_of
from shared.messages.restreams import Encoding
from tests.support.framecode import beep_starts
from tests.support.playout_files import Clip, make
from tests.support.playout_pictures import combing, corners, disc, fields, flat, run, shown
from tests.support.playout_stage import Stage, item, spec
from tests.support.playout_watched import sound_of

# How FFmpeg's options turn a file, and the colours of its quarters that FFmpeg's own players then show.
TURNED = {
    "90": (("-display_rotation:v", "270"), "BRWG"),
    "180": (("-display_rotation:v", "180"), "WBGR"),
    "270": (("-display_rotation:v", "90"), "GWRB"),
    "mirrored": (("-display_hflip:v",), "GRWB"),
    "upside down": (("-display_vflip:v",), "BWRG"),
    "transposed": (("-display_rotation:v", "90", "-display_vflip:v"), "RBGW"),
    "transversed": (("-display_rotation:v", "90", "-display_hflip:v"), "WGBR"),
}
X264 = ("-c:v", "libx264", "-preset", "ultrafast")
FIELDS = {
    "h264.mp4": (*X264, "-flags", "+ildct+ilme", "-x264-params", "tff=1"),
    "h264.ts": (*X264, "-flags", "+ildct+ilme", "-x264-params", "tff=1"),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-b:v", "8M"),
    "prores.mov": ("-c:v", "prores_ks", "-flags", "+ildct+ilme"),
}


def play(*paths: Path, encoding: Encoding | None = None) -> Stage:
    stage = Stage(speed=32)
    stage.play(spec(*(item(path) for path in paths), encoding=encoding))
    assert not stage.warnings()
    stage.check()
    return stage


@pytest.mark.parametrize(("turn", "suffix"), [*((turn, "mp4") for turn in TURNED), ("90", "mov"), ("270", "mkv")])
def test_a_turned_file_is_upright_first_and_later(turn: str, suffix: str, tmp_path: Path) -> None:
    plain = corners(tmp_path / "plain.mp4")
    options, expected = TURNED[turn]
    turned = tmp_path / f"turned.{suffix}"
    run(*options, "-i", plain, "-c", "copy", turned)
    size = (180, 320) if len(expected) and TURNS[turn].swaps else (320, 180)  # type: ignore[index]  its own names
    first = play(turned)
    assert {(s.frame.width, s.frame.height) for s in shown(first.pictures)} == {size}
    assert {s.corners for s in shown(first.pictures)} == {expected}
    assert [(file.how, file.reason) for file in first.files()] == [("conformed", TURNS[turn].text)]  # type: ignore[index]
    later = play(plain, turned, plain)
    seen = shown(later.pictures)
    assert [file.how for file in later.files()] == ["copied", "conformed", "copied"]
    assert {(s.frame.width, s.frame.height) for s in seen} == {(320, 180)}
    if not TURNS[turn].swaps:  # type: ignore[index]
        assert [s.corners for s in seen] == ["RGBW"] * 25 + [expected] * 25 + ["RGBW"] * 25
        return
    pillar = seen[30].rgb
    wide = 180 * 180 // 320 // 2 * 2
    assert pillar[:, : (320 - wide) // 2 - 2].max() < 40
    assert pillar[:, (320 + wide) // 2 + 2 :].max() < 40
    inner = pillar[:, (320 - wide) // 2 : (320 + wide) // 2]
    quarters = [inner[y, x] > 128 for y in (45, 135) for x in (wide // 4, 3 * wide // 4)]
    plainly = {"R": (1, 0, 0), "G": (0, 1, 0), "B": (0, 0, 1), "W": (1, 1, 1)}
    assert [tuple(map(int, quarter)) for quarter in quarters] == [plainly[letter] for letter in expected]


def test_an_angle_between_quarters_is_the_nearest_one() -> None:
    unit = 1 << 16
    cases = [
        ((unit, 0, 0, unit), ""),
        ((unit, 3000, -3000, unit), ""),
        ((-3000, unit, -unit, 3000), "90"),
        ((0, 0, 0, 0), ""),
    ]
    for (a, b, c, d), expected in cases:
        assert turn_of(np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()) == expected
    assert turn_of(b"short") == ""


def test_a_turn_that_the_pictures_themselves_tell_is_heeded_where_they_are_encoded(tmp_path: Path) -> None:
    plain = corners(tmp_path / "plain.mp4")
    told = tmp_path / "told.ts"
    run("-i", plain, "-c", "copy", "-bsf:v", "h264_metadata=display_orientation=insert:rotate=180", told)
    assert {s.corners for s in shown(play(told, encoding=Encoding()).pictures)} == {"WBGR"}


ASPECTS = [((720, 576), Fraction(16, 11)), ((720, 576), Fraction(12, 11)), ((320, 360), Fraction(2)),
           ((640, 180), Fraction(1, 2)), ((320, 180), Fraction(4, 3))]  # fmt: skip


@pytest.mark.parametrize(("size", "aspect"), ASPECTS)
def test_what_is_round_stays_round_where_pixels_are_not_square(
    size: tuple[int, int], aspect: Fraction, tmp_path: Path
) -> None:
    squeezed, square = disc(tmp_path / "a.mp4", size, aspect), disc(tmp_path / "b.mp4", (480, 270), Fraction(1))
    for files in ((squeezed, square), (square, squeezed)):
        stage = play(*files)
        assert [file.how for file in stage.files()] == ["copied", "conformed"]
        seen = shown(stage.pictures)
        assert len(seen) == 50
        assert all(abs(s.disc[0] - 1) < Fraction(4, 100) for s in seen)
        assert len({s.aspect for s in seen}) == 1  # one geometry for the whole output
        ratio = size[0] * aspect / size[1] / Fraction(480, 270)
        bars = [sum(s.disc[1]) > 4 for s in (seen[5], seen[45])]
        assert bars == [False, abs(ratio - 1) > Fraction(1, 50)]


@pytest.mark.parametrize(
    "encoding", [Encoding(), Encoding(width=640), Encoding(height=360), Encoding(width=300, height=300)]
)
def test_what_is_encoded_as_asked_for_has_square_pixels(encoding: Encoding, tmp_path: Path) -> None:
    stage = play(disc(tmp_path / "a.mp4", (720, 576), Fraction(16, 11)), encoding=encoding)
    seen = shown(stage.pictures)
    assert {s.aspect for s in seen} == {1}
    assert all(abs(s.disc[0] - 1) < Fraction(4, 100) for s in seen)
    if not (encoding.width and encoding.height):
        assert not sum(seen[5].disc[1])


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9"])
def test_an_aspect_that_only_the_container_tells_is_kept(codec: str, tmp_path: Path) -> None:
    encoder = {
        "h264": X264,
        "hevc": ("-c:v", "libx265", "-x265-params", "log-level=none"),
        "vp9": ("-c:v", "libvpx-vp9"),
    }
    square = disc(tmp_path / "plain.mkv", (320, 360), Fraction(2), *encoder[codec])
    told = tmp_path / "told.mkv"
    bare = ("-bsf:v", f"{codec}_metadata=sample_aspect_ratio=1/1") if codec != "vp9" else ()
    run("-i", square, "-c", "copy", *bare, "-aspect", "16:9", told)
    stage = play(told)
    assert [file.how for file in stage.files()] == ["conformed"]
    assert all(abs(s.disc[0] - 1) < Fraction(4, 100) for s in shown(stage.pictures))
    if codec != "vp9":
        assert [file.how for file in play(square).files()] == ["copied"]


# Each kind of file in one order of its fields, both orders among them; `make soak` takes them all.
ALWAYS = {("h264.mp4", "top"), ("h264.ts", "bottom"), ("mpeg2.ts", "top"), ("prores.mov", "bottom")}
ORDERS = [
    pytest.param(name, first, id=f"{name}-{first}", marks=[] if (name, first) in ALWAYS else [pytest.mark.soak])
    for name in FIELDS
    for first in ("top", "bottom")
]


@pytest.mark.parametrize(("name", "first"), ORDERS)
def test_fields_become_whole_pictures_where_they_are_encoded(name: str, first: str, tmp_path: Path) -> None:
    options = list(FIELDS[name])
    if first == "bottom":
        options = [option.replace("tff=1", "bff=1") for option in options]
    path = fields(tmp_path / name, *options, first=first)
    if name.startswith("h264"):
        copied = play(path)
        assert copied.files()[0].how == "copied"
        assert all(combing(s.frame) > 3 for s in shown(copied.pictures)[5:45])
    for encoding in (Encoding(), Encoding(width=320, height=180), Encoding(rate_num=50)):
        stage = play(path, encoding=encoding)
        seen = shown(stage.pictures)
        assert len(seen) == (100 if encoding.rate_num else 50)
        assert max(combing(s.frame) for s in seen) < 0.5
        places = [int(np.argmax(s.frame.to_ndarray(format="gray")[100].astype(int) > 120)) for s in seen[1:30]]
        step = seen[0].frame.width * 20 // 640
        if not encoding.rate_num:
            assert all(
                abs((after - before) % (640 * step // 20) - step) <= 2
                for before, after in pairwise(places)
                if before and after
            )


def test_progressive_pictures_are_not_touched_by_deinterlacing(tmp_path: Path) -> None:
    stage = play(make(Clip(60), tmp_path / "file"), encoding=Encoding())
    assert stage.numbers() == list(range(60))


def params(text: str) -> tuple[str, ...]:
    return (*X264, "-x264-params", text)


FULL = "scale=out_color_matrix=bt709:out_range=full,format=yuv420p"
COLOURS: dict[str, tuple[tuple[str, ...], tuple[int, int, int]]] = {
    "limited.mp4": (("-pix_fmt", "yuv420p", *X264), (2, 2, 2)),
    "full.mp4": (("-pix_fmt", "yuvj420p", *X264), (2, 2, 2)),
    "bt709.mp4": (
        ("-vf", "scale=out_color_matrix=bt709,format=yuv420p",
         *params("colormatrix=bt709:colorprim=bt709:transfer=bt709")), (1, 1, 1)),
    "full709.mp4": (("-vf", FULL, *params("fullrange=on:colormatrix=bt709:colorprim=bt709:transfer=bt709")), (1, 1, 1)),
    "pq.mp4": (
        ("-vf", "scale=out_color_matrix=bt2020,format=yuv420p10le",
         *params("colormatrix=bt2020nc:colorprim=bt2020:transfer=smpte2084")), (9, 9, 16)),
    "422.mp4": (("-pix_fmt", "yuv422p10le", *X264), (2, 2, 2)),
    "444.mp4": (("-pix_fmt", "yuv444p", *X264), (2, 2, 2)),
    "rgb.mov": (("-c:v", "png"), (6, 2, 2)),
    "4444.mov": (("-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le"), (2, 2, 2)),
    "mjpeg.mov": (("-c:v", "mjpeg", "-pix_fmt", "yuvj420p"), (5, 2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("height", [180, 720])
def test_colours_stay_what_they_are(name: str, height: int, tmp_path: Path) -> None:
    options, expected = COLOURS[name]
    path = flat(tmp_path / name, *options)
    for video in ("libx264", "libx265", "libvpx-vp9", "libvpx") if height == 180 else ("libx264",):
        seen = shown(play(path, encoding=Encoding(video=video, width=height * 16 // 9, height=height)).pictures)[10]
        assert np.abs(seen.rgb[height // 2, height // 2].astype(int) - (0x20, 0x30, 0x80)).max() <= 4, video
        assert seen.frame.color_range != 2
        told = (int(seen.frame.colorspace), int(seen.frame.color_primaries), int(seen.frame.color_trc))
        if video in ("libx264", "libx265") and height == 180:
            assert told == expected


def test_a_full_range_file_is_right_between_others(tmp_path: Path) -> None:
    limited = flat(tmp_path / "limited.mp4", *COLOURS["limited.mp4"][0], size=(640, 360))
    full = flat(tmp_path / "full.mp4", *COLOURS["full.mp4"][0])
    whole = flat(tmp_path / "whole.mp4", *COLOURS["full.mp4"][0], size=(640, 360))
    stage = play(limited, full, whole)
    assert [file.how for file in stage.files()] == ["copied", "conformed", "copied"]
    for seen in shown(stage.pictures):
        assert np.abs(seen.rgb[180, 320].astype(int) - (0x20, 0x30, 0x80)).max() <= 4


ALPHA = {
    "prores.mov": ("-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le"),
    "png.mov": ("-c:v", "png"),
    "qtrle.mov": ("-c:v", "qtrle", "-pix_fmt", "argb"),
}


@pytest.mark.parametrize("name", ALPHA)
def test_what_is_transparent_is_black(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    source = "color=red:s=320x180:r=25,format=rgba,geq=r=200:g=60:b=40:a='if(lt(X,160),255,0)'"
    run("-f", "lavfi", "-i", source, "-t", 1, *ALPHA[name], path)
    rgb = shown(play(path).pictures)[10].rgb.astype(int)
    assert np.abs(rgb[90, 80] - (200, 60, 40)).max() <= 6
    assert rgb[90, 240].max() <= 6


CODECS = {
    "prores-sowt.mov": ("-c:v", "prores_ks", "-c:a", "pcm_s16le"),
    "prores4444-in24.mov": ("-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le", "-c:a", "pcm_s24be"),
    "h264-twos.mov": (*X264, "-c:a", "pcm_s16be"),
    "h264-lpcm.mov": (*X264, "-c:a", "pcm_s24le"),
    "h264-float.mov": (*X264, "-c:a", "pcm_f32le"),
    "mjpeg-u8.mov": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_u8"),
    "png-alaw.mov": ("-c:v", "png", "-c:a", "pcm_alaw"),
    "raw.mov": ("-c:v", "rawvideo", "-pix_fmt", "uyvy422", "-c:a", "pcm_s32le"),
    "dnxhr.mov": (
        "-s",
        "640x360",
        "-c:v",
        "dnxhd",
        "-profile:v",
        "dnxhr_sq",
        "-pix_fmt",
        "yuv422p",
        "-c:a",
        "pcm_s16le",
    ),
    "mpeg4-mp3.mp4": ("-c:v", "mpeg4", "-q:v", "3", "-c:a", "libmp3lame"),
    "alac.mp4": (*X264, "-c:a", "alac"),
    "eac3.mp4": (*X264, "-c:a", "eac3"),
    "mpeg2-ac3.ts": ("-c:v", "mpeg2video", "-q:v", "3", "-c:a", "ac3"),
    "mpeg2-mp2.ts": ("-c:v", "mpeg2video", "-q:v", "3", "-c:a", "mp2"),
    "h264-pcm.mkv": (*X264, "-c:a", "pcm_s16le"),
    "ffv1-flac.mkv": ("-c:v", "ffv1", "-c:a", "flac"),
    "vp8-vorbis.mkv": ("-c:v", "libvpx", "-b:v", "2M", "-c:a", "libvorbis"),
    "flv1.flv": ("-c:v", "flv", "-q:v", "3", "-ar", "44100", "-c:a", "libmp3lame"),
    "h264-adpcm.mov": (*X264, "-c:a", "adpcm_ima_qt"),
}


@pytest.fixture(scope="module")
def lossless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of numbered pictures and beeps."""
    return make(Clip(60, codec="ffv1", audio="pcm_s16le", suffix=".mkv"), tmp_path_factory.mktemp("lossless") / "plain")


@pytest.mark.parametrize("name", CODECS)
def test_what_can_be_decoded_is_played_frame_by_frame_and_heard(name: str, lossless: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    run("-i", lossless, *CODECS[name], path)
    stage = play(path)
    assert stage.files()[0].how == "transcoded"
    assert stage.numbers() == list(range(60))
    _, sound = sound_of(stage.sounds)
    heard = beep_starts(sound)
    assert len(heard) == 2
    assert all(abs(at - second * 48_000) <= 1300 for second, at in enumerate(heard))
