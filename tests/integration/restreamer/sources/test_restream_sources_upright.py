"""MP4 files are told as turned or not without decoding a picture, where that is certain: as a decoded one tells."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from services.restreamer.sources.containers import demux
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.origins.files import LocalFile
from tests.support.media_streams import encode, run

PLAIN: Final = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
HALF: Final = struct.pack(">9i", -(1 << 16), 0, 0, 0, -(1 << 16), 0, 0, 0, 1 << 30)
Make = Callable[[Path, Path], None]


def copied(*options: str, before: tuple[str, ...] = ()) -> Make:
    return lambda film, out: run("-v", "error", *before, "-i", film, "-c", "copy", *options, out) and None


def patched(number: int) -> Make:
    """Turn by one of the matrices: of the movie, of its first track, of its second."""

    def make(film: Path, out: Path) -> None:
        data, at = film.read_bytes(), -1
        for _ in range(number + 1):
            at = data.index(PLAIN, at + 1)
        out.write_bytes(data[:at] + HALF + data[at + len(HALF) :])

    return make


COLOURS: Final = "h264_metadata="
BT709: Final = "colour_primaries=1:transfer_characteristics=1:matrix_coefficients=1"
HDR: Final = "video_full_range_flag=1:colour_primaries=9:transfer_characteristics=16:matrix_coefficients=9"
ORIENTED: Final = "h264_metadata=display_orientation=insert:rotate=90"
FILES: Final[dict[str, tuple[Make, str, bool]]] = {
    "plain": (copied(), "", False),
    "index first": (copied("-movflags", "faststart"), "", False),
    "in fragments": (copied("-movflags", "frag_keyframe+empty_moov"), "", False),
    "sound first": (copied("-map", "0:a", "-map", "0:v"), "", False),
    "BT.709": (copied("-bsf:v", COLOURS + BT709), "", False),
    "HDR, full range": (copied("-bsf:v", COLOURS + HDR), "", False),
    "range alone": (copied("-bsf:v", COLOURS + "video_full_range_flag=0"), "", False),
    "oblong pixels": (copied("-bsf:v", COLOURS + "sample_aspect_ratio=7/5:overscan_appropriate_flag=1"), "", False),
    "turned": (copied(before=("-display_rotation:v", "90")), "270", True),
    "mirrored": (copied(before=("-display_hflip:v",)), "mirrored", True),
    "turned as a movie": (patched(0), "180", True),
    "turned as a track": (patched(1), "180", True),
    "its sound is turned": (patched(2), "", False),
    "turned by its pictures": (copied("-bsf:v", ORIENTED), "270", True),
}


@pytest.mark.parametrize("case", FILES)
def test_nothing_is_decoded_where_it_is_certain(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, turn, looks = FILES[case]
    film, out = encode(tmp_path / "film.mp4", video="h264-b", seconds=1, size="160x96"), tmp_path / "out.mp4"
    make(film, out)
    decoded: list[str] = []

    def decoding(*asked: Any) -> str:
        decoded.append(decode(*asked))
        return decoded[-1]

    decode = demux.decoded_turn
    monkeypatch.setattr(demux, "decoded_turn", decoding)
    told = []
    for certain in (True, False):
        if not certain:
            monkeypatch.setattr(demux, "is_upright", lambda *_: False)
        demuxer = Demuxer(LocalFile(os.open(out, os.O_RDONLY)), "mp4")
        told.append([raw.track for raw in demuxer.frames() if raw.track is not None])
        demuxer.close()
    assert told[0] == told[1]
    assert len(decoded) == 1 + looks
    assert next(track.turn for track in told[0] if track.kind == "video") == turn
