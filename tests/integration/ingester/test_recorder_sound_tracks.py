"""Several sound tracks from real encoders: all recorded, each to the sample, and none troubles another."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from shared.media.cenc.clear import clear_init, clear_segment
from shared.media.cenc.key import ContentKey
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from tests.support import media_streams as media
from tests.support.framecode import AUDIO_RATE
from tests.support.media_recording import Piece, Recorded, pieces
from tests.support.sealed import FOLDER, KEYS, secrets_of, shows
from tests.support.sound_streams import BEEP_STEP, clear_starts, heard, several
from tests.support.ts_mux import stamp

LANGUAGES = ("eng", "deu", "fra", "")
FIRST_SOUND = 0x101  # FFmpeg's PIDs
PACKET = 188


def without(data: bytes, pid: int, since: float = 0, until: float = 1) -> bytes:
    """Leave out the packets of a PID, from a part of the stream on to another part of it."""
    packets = [data[at : at + PACKET] for at in range(0, len(data), PACKET)]
    first, end = int(len(packets) * since), int(len(packets) * until)
    return b"".join(
        packet for number, packet in enumerate(packets)
        if not first <= number < end or (packet[1] & 31) << 8 | packet[2] != pid
    )  # fmt: skip


def recording(data: bytes, folder: Path, key: ContentKey | None = None) -> Recorded:
    recorded = Recorded(folder, key=key)
    parts: list[Piece] = []
    for piece in pieces(data, PACKET * 200):
        parts += [piece, 20]
    recorded.run("mpegts", parts)
    return recorded


def ticks(recorded: Recorded, track: int) -> list[int]:
    tables = [read_fragments(s.path).tables.get(track) for s in recorded.segments]
    return [int(tick) for table in tables if table is not None for tick in table.dts]


def tracks(recorded: Recorded, number: int = 0) -> list[tuple[int, str, str]]:
    return [(t.track_id, t.codec, t.language) for t in parse_init(recorded.init(number).read_bytes())]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_all_are_recorded_with_their_languages(count: int, tmp_path: Path) -> None:
    source = tmp_path / "source.ts"
    source.write_bytes(several(*LANGUAGES[:count]))
    recorded = recording(source.read_bytes(), tmp_path / "out")
    codecs = ("aac", "ac3", "mp3", "mp3")
    expected = [(2 + n, codecs[n], LANGUAGES[n]) for n in range(count)]
    assert {s.init_number for s in recorded.segments} == {0}
    assert tracks(recorded) == [(1, "h264", ""), *expected]
    joined = recorded.joined()
    assert media.warnings(joined) == ""
    with av.open(str(joined)) as container:
        assert [s.metadata.get("language", "und") for s in container.streams.audio] == [
            language or "und" for language in LANGUAGES[:count]
        ]
    for number in range(count):
        assert clear_starts(heard(joined, number)) == clear_starts(heard(source, number))
        assert len(clear_starts(heard(joined, number))) >= 5


def test_all_are_encrypted_and_come_out_as_they_came_in(tmp_path: Path) -> None:
    data, key = several(*LANGUAGES), KEYS.fresh(FOLDER)
    clear, sealed = recording(data, tmp_path / "clear"), recording(data, tmp_path / "sealed", key)
    secrets = secrets_of(clear)
    assert secrets
    assert not shows(b"".join(info.path.read_bytes() for info in sealed.segments), secrets)
    shown = clear_init(sealed.init().read_bytes())
    shown += b"".join(clear_segment(info.path.read_bytes(), key.key) for info in sealed.segments)
    (tmp_path / "shown.mp4").write_bytes(shown)
    for number in range(len(LANGUAGES)):
        assert np.array_equal(heard(tmp_path / "shown.mp4", number), heard(clear.joined(), number))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_multitrack_of_enhanced_rtmp_is_recorded(count: int, tmp_path: Path) -> None:
    source = tmp_path / "source.flv"
    source.write_bytes(several(*[""] * count, form="flv"))
    recorded = Recorded(tmp_path / "out")
    summary = recorded.run("flv", pieces(source.read_bytes(), 4096))
    assert (summary.damaged, summary.unsupported) == (0, frozenset())
    codecs = ("aac", "ac3", "opus", "mp3")
    assert {s.init_number for s in recorded.segments} == {0}
    assert tracks(recorded) == [(1, "h264", ""), *((2 + n, codecs[n], "") for n in range(count))]
    joined = recorded.joined()
    assert media.warnings(joined) == ""
    for number in range(count):
        got, wanted = clear_starts(heard(joined, number)), clear_starts(heard(source, number))
        assert len(got) >= 5
        assert np.abs(np.subtract(got, wanted[: len(got)])).max() <= AUDIO_RATE // 1000
        delay = [at - AUDIO_RATE * second for second, at in enumerate(beeps_of(recorded, 2 + number))]
        assert max(delay) - min(delay) <= AUDIO_RATE // 1000  # the grid settles from rounded stamps
        assert abs(delay[-1] - beeps_of(recorded, 2)[-1] + AUDIO_RATE * 5) < AUDIO_RATE // 30, "codecs' delays"


def beeps_of(recorded: Recorded, track: int) -> list[int]:
    """Return when beeps begin (samples of 48 kHz, by the recording's time line), less the track's own delay."""
    at, sound = ticks(recorded, track), heard(recorded.joined(), track - 2)
    length = int(np.median(np.diff(at)))  # a packet's; players count samples, holes or not
    return [at[beep // length] + beep % length - (track - 2) * BEEP_STEP for beep in clear_starts(sound)]


def test_a_track_that_vanishes_troubles_nobody(tmp_path: Path) -> None:
    data = several("eng", "deu", "fra")
    whole, torn = recording(data, tmp_path / "whole"), recording(without(data, FIRST_SOUND + 1, 0.5), tmp_path / "torn")
    for track in (1, 2, 4):
        assert ticks(torn, track) == ticks(whole, track)
    assert [(s.start, s.duration, s.init_number) for s in torn.segments] == [
        (s.start, s.duration, s.init_number) for s in whole.segments
    ]
    got, all_of_it = ticks(torn, 3), ticks(whole, 3)
    assert len(all_of_it) // 3 < len(got) < len(all_of_it) * 2 // 3
    assert got == all_of_it[: len(got)]


def test_a_track_that_comes_back_is_where_it_was(tmp_path: Path) -> None:
    data = several("eng", "deu", "fra")
    whole = recording(data, tmp_path / "whole")
    torn = recording(without(data, FIRST_SOUND + 1, 0.3, 0.6), tmp_path / "torn")
    got = ticks(torn, 3)
    assert set(got) <= set(ticks(whole, 3))
    assert got[-1] == ticks(whole, 3)[-1]
    assert int(np.diff(got).max()) > AUDIO_RATE
    assert ticks(torn, 2) == ticks(whole, 2)


def test_a_track_that_comes_late_joins_with_the_next_segment(tmp_path: Path) -> None:
    data = several("eng", "deu", "fra")
    whole, late = (
        recording(data, tmp_path / "whole"),
        recording(without(data, FIRST_SOUND + 2, 0, 0.5), tmp_path / "late"),
    )
    assert [track[0] for track in tracks(late)] == [1, 2, 3]
    assert [track[0] for track in tracks(late, 1)] == [1, 2, 3, 4]
    for track in (1, 2, 3):
        assert ticks(late, track) == ticks(whole, track)
    got = ticks(late, 4)
    assert got
    assert set(got) <= set(ticks(whole, 4))
    assert [s.start for s in late.segments] == [s.start for s in whole.segments]


def test_the_first_track_may_vanish_too(tmp_path: Path) -> None:
    data = several("eng", "deu")
    whole, torn = recording(data, tmp_path / "whole"), recording(without(data, FIRST_SOUND, 0.5), tmp_path / "torn")
    for track in (1, 3):
        assert ticks(torn, track) == ticks(whole, track)
    assert ticks(torn, 2) == ticks(whole, 2)[: len(ticks(torn, 2))]


def later(data: bytes, ticks: int) -> bytes:
    """Move all time stamps of a stream (90 kHz)."""
    made = bytearray(data)
    for at in range(0, len(made), PACKET):
        if not made[at + 1] & 0x40:
            continue
        pes = at + (5 + made[at + 4] if made[at + 3] & 0x20 else 4)
        if made[pes : pes + 3] != b"\0\0\1":
            continue
        for place, mark in ((pes + 9, made[pes + 7] & 0x80), (pes + 14, made[pes + 7] & 0x40)):
            if mark:
                old = made[place : place + 5]
                time = (old[0] >> 1 & 7) << 30 | old[1] << 22 | (old[2] >> 1) << 15 | old[3] << 7 | old[4] >> 1
                made[place : place + 5] = stamp(old[0] >> 4, time + ticks)
    return bytes(made)


@pytest.mark.parametrize("jump_s", [-6, -5, 1, 3600], ids=lambda s: f"{s} s beside the end")
def test_a_jump_of_the_clock_moves_all_tracks_alike(jump_s: int, tmp_path: Path) -> None:
    data = several("eng", "deu", "fra")
    recorded = recording(data + later(data, (6 + jump_s) * 90_000), tmp_path / "out")
    main = beeps_of(recorded, 2)
    assert len(main) >= 10
    assert len({s.init_number for s in recorded.segments}) == 1
    for track in (3, 4):
        near = [min(abs(at - beep) for beep in main) for at in beeps_of(recorded, track)]
        assert len(near) >= 10
        assert max(near) <= AUDIO_RATE // 30, near  # codecs' delays, and what was cut off at the end
