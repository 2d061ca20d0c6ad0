"""Still images of clips' files: the right frame, its shape, its colours, and formats that others read."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

import av
import numpy as np
import pytest

from services.clipper.images import frames
from services.clipper.images.encode import encode_image
from services.clipper.images.frames import find_frame, score
from services.clipper.images.pictures import picture
from services.clipper.images.tone import to_sdr
from shared.errors import Rejected
from shared.media.transcode.colours import Colours
from shared.messages.images import ImageFormat
from tests.support.framecode import HEIGHT, WIDTH, ffmpeg, paint, read_number
from tests.support.framecode_record import Spec, encode


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of 30 numbered frames each; pictures refer to later ones."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    encode(Spec(seconds=Fraction(4)), path)
    return path


def made(path: Path, at: Fraction | None, width: int | None = None, height: int | None = None) -> np.ndarray[Any, Any]:
    found = find_frame(path, at, Event())
    return picture(found, width, height)


def number(pixels: np.ndarray[Any, Any]) -> int:
    return read_number(pixels.mean(axis=2))


def ran(folder: Path, *options: str) -> Path:
    """Make a file with ffmpeg."""
    path = folder / "made.mp4"
    subprocess.run([ffmpeg(), "-v", "error", "-y", *options, str(path)], check=True, timeout=60)
    return path


POINTS = [
    (Fraction(0), 0), (Fraction(1), 30), (Fraction(59, 30), 59), (Fraction(2), 60), (Fraction("1.0333"), 31),
    (Fraction("1.05"), 31), (Fraction("3.999"), 119), (Fraction(99), 119),
]  # fmt: skip


@pytest.mark.parametrize(("at", "frame"), POINTS)
def test_the_image_is_that_of_the_frame_on_show(clip: Path, at: Fraction, frame: int) -> None:
    found = find_frame(clip, at, Event())
    assert number(picture(found, None, None)) == frame
    assert found.at == pytest.approx(frame / 30, abs=1e-4)


@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("quality", [1, 85, 100])
def test_formats_are_read_by_others_with_the_picture_in_them(
    clip: Path, tmp_path: Path, form: ImageFormat, quality: int
) -> None:
    path = tmp_path / f"image.{form}"
    pixels = made(clip, Fraction(2))
    path.write_bytes(encode_image(pixels, form, quality))
    command = [ffmpeg(), "-v", "error", "-i", str(path), "-pix_fmt", "gray", "-f", "rawvideo", "pipe:1"]
    seen = subprocess.run(command, capture_output=True, check=True, timeout=30)
    assert seen.stderr == b""
    grey = np.frombuffer(seen.stdout, np.uint8).reshape(HEIGHT, WIDTH)
    assert read_number(grey) == 60
    if quality == 100:
        assert float(np.abs(grey.astype(int) - pixels.mean(axis=2)).mean()) < 4


SIZES = [
    (None, None, 320, 180), (640, None, 640, 360), (None, 90, 160, 90), (16, None, 16, 16), (100, 100, 100, 100),
    (3840, None, 3840, 2160), (None, 3840, 3840, 2160),
]  # fmt: skip


@pytest.mark.parametrize(("width", "height", "wide", "high"), SIZES)
def test_sizes_keep_the_aspect_within_the_limits(
    clip: Path, width: int | None, height: int | None, wide: int, high: int
) -> None:
    assert made(clip, Fraction(1), width, height).shape == (high, wide, 3)


def test_wide_pixels_are_made_square_and_turned_pictures_upright(tmp_path: Path) -> None:
    stretched = ran(tmp_path, "-f", "lavfi", "-i", "testsrc2=s=720x576:d=1,setsar=64/45", "-c:v", "libx264")
    assert made(stretched, Fraction(0)).shape == (576, 1024, 3)
    flat = tmp_path / "flat.mp4"
    stretched.rename(flat)
    turned = ran(tmp_path, "-display_rotation", "90", "-i", str(flat), "-c", "copy")
    assert made(turned, Fraction(0)).shape == (1024, 576, 3)


def test_what_does_not_fit_is_cut_off_all_round(clip: Path) -> None:
    whole = made(clip, Fraction(1)).astype(int)
    for width, height, left, top in ((180, 180, 70, 0), (320, 90, 0, 45)):
        part = made(clip, Fraction(1), width, height).astype(int)
        assert np.abs(part - whole[top : top + height, left : left + width]).mean() < 2


# The size of a file's pictures and the shape of its pixels, and whether there are images of it.
SHAPES = [
    ("4096x16", "1/1", True), ("16x4096", "1/1", True), ("320x180", "8/1", True), ("320x180", "1/8", True),
    ("320x180", "9/1", False), ("320x180", "1/9", False), ("320x180", "100/1", False),
]  # fmt: skip


@pytest.mark.parametrize(("size", "pixels", "shown"), SHAPES)
def test_no_file_decides_how_much_memory_an_image_takes(tmp_path: Path, size: str, pixels: str, shown: bool) -> None:
    source = f"testsrc2=s={size}:d=0.2,setsar={pixels}:max=65535"
    path = ran(tmp_path, "-f", "lavfi", "-i", source, "-c:v", "libx264", "-pix_fmt", "yuv420p")
    if not shown:
        with pytest.raises(Rejected, match="times as wide"):
            made(path, Fraction(0), 1920, 1080)
        return
    for width, height in ((1920, 1080), (64, 3840), (3840, 64)):
        assert made(path, Fraction(0), width, height).shape == (height, width, 3)
    assert max(made(path, Fraction(0)).shape) <= 3840


def test_interlaced_pictures_are_woven_without_combs(tmp_path: Path) -> None:
    """A white bar that moves from field to field has no comb at its edge."""
    path = ran(
        tmp_path, "-f", "lavfi", "-i", "color=s=320x180:r=50:d=1[b];color=white:s=40x180:r=50:d=1[w];"
        "[b][w]overlay=x='n*6',interlace=scan=tff:lowpass=0", "-c:v", "libx264", "-flags", "+ildct+ilme",
    )  # fmt: skip
    found = find_frame(path, Fraction(1, 2), Event())
    assert found.frame.interlaced_frame

    def combs(luma: np.ndarray[Any, Any]) -> int:
        rows = luma.astype(int)
        return int((np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) // 2) > 100).sum())

    assert combs(found.frame.to_ndarray(format="gray")) > 500
    assert combs(picture(found, None, None)[..., 0]) < 20


@pytest.mark.parametrize(("matrix", "size"), [("bt709", "1280x720"), ("smpte170m", "320x240"), ("bt2020nc", "320x240")])
def test_colours_come_out_as_they_went_in(tmp_path: Path, matrix: str, size: str) -> None:
    path = ran(
        tmp_path, "-f", "lavfi", "-i", f"color=0xC83214:s={size}:d=0.2", "-vf",
        f"scale=out_color_matrix={matrix.replace('nc', '')},format=yuv444p", "-colorspace", matrix, "-c:v", "libx264",
    )  # fmt: skip
    pixels = made(path, Fraction(0))
    assert np.abs(pixels[10, 10].astype(int) - (200, 50, 20)).max() <= 4


def test_high_dynamic_range_is_mapped_to_what_a_screen_shows() -> None:
    """Reference white (203 cd/m2: 58 % of PQ, 75 % of HLG) is nearly white, brighter is not clipped, black is black."""
    for transfer, white in ((16, 0.58), (18, 0.75)):
        levels = np.array([0, white / 2, white, 1.0])
        pixels = np.repeat(np.round(levels * 65535).astype(np.uint16)[None, :, None], 3, axis=2)
        mapped = to_sdr(pixels, Colours(9, 9, transfer))[0]
        assert np.ptp(mapped.astype(int), axis=1).max() <= 2  # grey stays grey
        black, dark, bright, most = mapped[:, 0].tolist()
        assert black <= 2
        assert 20 < dark < 140
        assert 225 < bright < 250 <= most


def test_the_best_of_ten_is_sharp_and_not_black(tmp_path: Path) -> None:
    """Black, then blurred, then sharp from 3 s to 4 s, then a fade to white."""
    path = ran(
        tmp_path, "-f", "lavfi", "-i", "color=black:s=320x180:r=30:d=2", "-f", "lavfi", "-i",
        "testsrc2=s=320x180:r=30:d=1,gblur=20", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30:d=1", "-f", "lavfi", "-i",
        "color=white:s=320x180:r=30:d=1", "-filter_complex", "[0][1][2][3]concat=n=4", "-c:v", "libx264",
    )  # fmt: skip
    found = find_frame(path, None, Event())
    assert 3 <= found.at < 4
    black = ran(tmp_path, "-f", "lavfi", "-i", "color=black:s=320x180:r=30:d=2", "-c:v", "libx264")
    dark = find_frame(black, None, Event())
    assert score(dark.frame) < 0


def test_a_clip_of_sound_alone_has_no_image(tmp_path: Path) -> None:
    path = ran(tmp_path, "-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac")
    with pytest.raises(Rejected, match="no pictures"):
        find_frame(path, None, Event())


def test_pictures_beyond_the_limit_are_not_decoded(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_PIXELS", WIDTH * HEIGHT // 2)
    with pytest.raises(Rejected, match="can be decoded"):
        find_frame(clip, Fraction(1), Event())


def test_a_painted_frame_is_scored_above_its_blur() -> None:
    sharp = av.VideoFrame.from_ndarray(paint(5), format="gray")
    soft = sharp.reformat(width=40, height=22).reformat(width=WIDTH, height=HEIGHT)
    assert score(sharp) > score(soft) > 0
