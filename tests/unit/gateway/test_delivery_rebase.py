"""Segments of our recorder, with reordered pictures, laid out one after the other: as MP4 and as a transport stream."""

import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from services.gateway.delivery.index.entries import IndexEntry
from services.gateway.delivery.mpegts import TsMuxer
from services.gateway.delivery.rebase import SEAM, Layout, empty_slot, index_box, lead_of, moved, slot_size
from services.ingester.recorder.model import SegmentInfo
from shared.media.mp4.boxes import Mp4Error, children
from shared.media.mp4.init import parse_init
from tests.support.hls_media import FFMPEG, play
from tests.support.media_recording import Recorded, pieces

SECONDS, RATE = 8, 25


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("recording")
    command = [
        FFMPEG, "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s=320x180:r={RATE}", "-f", "lavfi", "-i",
        "sine=r=48000", "-t", str(SECONDS), "-c:v", "libx264", "-g", "50", "-bf", "3", "-pix_fmt", "yuv420p",
        "-c:a", "aac", "-f", "mpegts", "-",
    ]  # fmt: skip
    data = subprocess.run(command, check=True, timeout=60, capture_output=True).stdout
    made = Recorded(folder)
    made.run("mpegts", pieces(data))
    assert len(made.segments) == SECONDS // 2
    return made


def entry_of(info: SegmentInfo, session: str) -> IndexEntry:
    return IndexEntry(
        log=info.sequence, number=info.sequence, seams=0, session=session, track="primary-1", sequence=info.sequence,
        key=str(info.path), init_key=f"{session}/init-{info.init_number}.mp4", start=info.start,
        duration=info.duration, timescale=info.timescale, origin_ms=0, lead=0, wall_start_ms=info.wall_start_ms,
        bytes=info.bytes, discontinuity=info.discontinuity, independent=info.independent,
    )  # fmt: skip


def test_parts_of_two_sessions_play_as_one_without_a_warning(recording: Recorded, tmp_path: Path) -> None:
    init = recording.init().read_bytes()
    tracks = parse_init(init)
    entries = [entry_of(info, name) for name in ("a", "b") for info in recording.segments[1:]]
    layout = Layout()
    laid = [layout.lay(entry) for entry in entries]
    assert [one.seam for one in laid] == [False, False, False, True, False, False]
    length = sum(Fraction(entry.duration, entry.timescale) for entry in entries[:3])
    assert laid[3].shift - laid[0].shift == length + SEAM
    lead = lead_of(Path(entries[0].key).read_bytes(), tracks, entries[0])
    assert lead >= 0
    media = [moved(Path(one.entry.key).read_bytes(), tracks, one.shift + lead) for one in laid]
    assert [len(data) for data in media] == [entry.bytes for entry in entries]
    video = next(track for track in tracks if track.kind == "video")
    file = tmp_path / "joined.mp4"
    file.write_bytes(init + index_box(video, laid, slot_size(20)) + b"".join(media))
    assert play(str(file)) == (2 * 6 * RATE, "")
    muxer = TsMuxer()
    stream = tmp_path / "joined.ts"
    parts = [muxer.segment(init, data, seam=one.seam) for data, one in zip(media, laid, strict=True)]
    stream.write_bytes(b"".join(parts) + muxer.close())
    assert muxer.segment(init, media[0], seam=False) == b"", "it has ended"
    frames, said = play(str(stream))
    assert frames == 2 * 6 * RATE
    assert "error" not in said.lower()
    assert "non monotonically" not in said


def test_an_index_is_left_out_where_it_would_not_fit(recording: Recorded) -> None:
    video = parse_init(recording.init().read_bytes())[0]
    layout, entry = Layout(), entry_of(recording.segments[0], "a")
    one = layout.lay(entry)
    exact, wide = slot_size(1), slot_size(100)
    for slot in (exact, wide):
        made = index_box(video, [one], slot)
        assert len(made) == slot
        assert [box.kind for box in children(made)] == [b"sidx", b"free"]
    empty = empty_slot(wide)
    assert [(box.kind, len(empty)) for box in children(empty)] == [(b"free", wide)]
    assert index_box(video, [], wide) == empty
    assert index_box(video, [one] * 101, wide) == empty
    assert index_box(video, [one] * 65_536, slot_size(70_000)) == empty_slot(slot_size(65_535))
    assert index_box(video, [replace(one, entry=replace(entry, bytes=1 << 31))], wide) == empty


@pytest.mark.parametrize("data", [b"\0\0\0\x08moof\0\0\0\x10traf", b"\0\0\0\x10moof\0\0\0\x08traf", b"xx"])
def test_what_is_no_segment_is_refused(recording: Recorded, data: bytes) -> None:
    tracks = parse_init(recording.init().read_bytes())
    with pytest.raises(Mp4Error):
        moved(data, tracks, Fraction(1))
    with pytest.raises(Mp4Error):
        lead_of(data, tracks, entry_of(recording.segments[0], "a"))
