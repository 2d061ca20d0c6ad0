"""Caption files as people's programs write them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.clipper.edits.captions import MOST_CUES, read_captions
from services.clipper.edits.lettering import USUAL, draw
from shared.errors import Rejected

VTT = """\ufeffWEBVTT - a title
X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0

STYLE
::cue { color: red }

NOTE 00:00:00.000 --> 00:00:09.000
never shown

intro
00:01.000 --> 00:02.500 line:10% align:start
<v Ann>Tom &amp; <i>Jerry</i></v>
second line

  00:02.000 --> 00:00:03.000
over the first

01:00:00.000 --> 01:00:01.000
an hour on"""

SRT = "1\r\n00:00:01,000 --> 00:00:02,500\r\n{\\an8}Tom & <b>Jerry</b>\r\nsecond line\r\n\r\n2\r\n"
SRT += "00:00:02,000 --> 00:00:03,000\r\nover the first\r\n\r\n100\r\n01:00:00,000 --> 01:00:01,000\r\nan hour on\r\n"
ONE, TWO = "Tom & Jerry\nsecond line", "over the first"
MOMENTS = [
    ("0", ""), ("0.999", ""), ("1", ONE), ("1.999", ONE), ("2", f"{ONE}\n{TWO}"), ("2.499", f"{ONE}\n{TWO}"),
    ("2.5", TWO), ("3", ""), ("3600.5", "an hour on"), ("3601", ""), ("99999", ""),
]  # fmt: skip


@pytest.mark.parametrize("text", [VTT, SRT, SRT.replace("\r\n", "\r"), VTT.replace("\n", "\r\n")])
def test_what_is_on_show_at_a_moment(text: str) -> None:
    captions = read_captions(text.encode())
    assert [(moment, captions.at(Fraction(moment))) for moment, _ in MOMENTS] == MOMENTS


OTHERS = {
    "of an older program": ("1\n00:00:01,0 --> 00:00:02,5\nZürich\n".encode("cp1252"), "Zürich"),
    "short fractions": (b"1\n0:00:01,000 --> 0:00:02,500\nx\n", "x"),
    "spaces in front": (b"WEBVTT\n\n00:01.000 --> 00:02.500\n   - so\n- it is\n", "- so\n- it is"),
    "no numbers": (b"00:00:01,000 --> 00:00:02,500\nx\n\n\n\n", "x"),
    "right to left": ("WEBVTT\n\n00:01.000 --> 00:02.500\nשלום\n".encode(), "שלום"),
    "entities": (b"WEBVTT\n\n00:01.000 --> 00:02.500\n1 &lt; 2 &nbsp;x\n", "1 < 2 x"),
    "control characters": (b"WEBVTT\n\n00:01.000 --> 00:02.500\na\x00\x1bb\n", "ab"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_odd_files(what: str) -> None:
    data, text = OTHERS[what]
    assert read_captions(data).at(Fraction(3, 2)) == text


BAD = [b"", b"WEBVTT\n\n", b"hello", b"1\n00:00:02,000 --> 00:00:01,000\nbackwards\n", b"1\n00:00:01 --> 00:00:02\nx\n"]


@pytest.mark.parametrize("data", BAD)
def test_files_without_captions(data: bytes) -> None:
    with pytest.raises(Rejected, match="neither WebVTT nor SRT"):
        read_captions(data)


def test_too_many_and_all_at_once() -> None:
    cue = "00:00:01,000 --> 09:00:00,000\nx\n\n"
    assert read_captions((cue * MOST_CUES).encode()).at(Fraction(5)).count("x") == 8
    with pytest.raises(Rejected, match="more than"):
        read_captions((cue * (MOST_CUES + 1)).encode())


@given(st.binary(max_size=300), st.text(max_size=300))
def test_no_file_does_more_than_be_refused(data: bytes, text: str) -> None:
    for content in (data, f"WEBVTT\n\n00:01.000 --> 00:02.000\n{text}\n\n{text}".encode(errors="ignore")):
        try:
            read_captions(content).at(Fraction(1))
        except Rejected:
            continue


@pytest.mark.parametrize(
    "text", ["x", "two\nlines", "a long line " * 30, "W" * 400, "é ß ł Ж Ω", "שלום", "日本", "\u202e"]
)
def test_letters_are_white_on_black_and_have_room(text: str) -> None:
    pixels = draw(text, 320, 12)
    assert pixels.shape[1] <= 320
    assert pixels.shape[0] < 180
    shown = pixels[pixels[..., 3] == 255][:, 0]
    if text != "\u202e":
        assert {0, 255} <= set(shown.tolist())


def test_a_font_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_bytes(b"no font")
    with pytest.raises(Rejected, match="font"):
        draw("x", 320, 12, str(tmp_path / "font.ttf"))
    if USUAL.exists():
        assert draw("x", 320, 12, str(USUAL)).size
