"""Damaged streams of real encoders: whatever is broken is damage, counted, and never a crash or an end."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from services.ingester.publication import MAX_OFFSET, Batch, NotMedia
from services.ingester.recorder.audio import AacSound, AdtsSplitter
from services.ingester.recorder.mpegts import TsDemuxer
from services.ingester.recorder.pictures import LengthPrefixed
from services.ingester.recorder.stamps import Stamps
from services.ingester.recorder.units import AccessUnits
from shared.errors import ReelayError
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from tests.support import fields
from tests.support import media_flv as flv
from tests.support import media_streams as media
from tests.support.media_recording import Recorded, frames_of, pieces
from tests.support.publishers_bytes import LAID, MADE, PARSERS, parsers, random_pieces, streams
from tests.support.sound_streams import several
from tests.support.spoil import STREAMS, Dice, some
from tests.support.ts_layouts import LAYOUTS
from tests.support.ts_mux import AUDIO, MAP, VIDEO, mux, section

RUNS = 6
SOUNDS = ("sounds.ts", "sounds.flv")
SMALL_RUNS = 150


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    found = streams(tmp_path_factory.mktemp("fuzz"))
    pairs = fields.frames(12)
    found["fields.ts"] = bytes(mux("h264", LAYOUTS["one"]([unit for pair in pairs for unit in pair])))
    found["sounds.ts"], found["sounds.flv"] = several("eng", "deu", "fra", ""), several("", "", "", "", form="flv")
    return found


def demux(name: str, data: bytes, dice: Dice) -> list[Batch]:
    def given() -> Iterator[Batch]:
        with contextlib.suppress(NotMedia):
            yield from frames_of("mpegts" if name.endswith("ts") else "flv", random_pieces(data, dice))

    return list(given())


@pytest.mark.parametrize("spoil", STREAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", [*MADE, *(f"h264-{lay}.ts" for lay in LAID), "fields.ts", *SOUNDS])
def test_damage_never_crashes(made: dict[str, bytes], name: str, spoil: Callable[[bytes, Dice], bytes]) -> None:
    dice = random.Random(f"{name} {spoil.__name__}")
    for _ in range(RUNS):
        batches = demux(name, spoil(made[name], dice), dice)
        assert all(a.damaged <= b.damaged for a, b in pairwise(batches))
        for frame in [frame for batch in batches for frame in batch.frames]:
            assert frame.payload
            assert abs(frame.offset) <= MAX_OFFSET
            assert frame.config.timescale > 0
            assert frame.duration >= 0
        assert not batches or len(batches[-1].contents.unsupported) < 50


@pytest.mark.parametrize("spoil", STREAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", SOUNDS)
def test_damaged_sounds_are_recorded_as_far_as_they_are_whole(
    made: dict[str, bytes], tmp_path: Path, name: str, spoil: Callable[[bytes, Dice], bytes]
) -> None:
    dice = random.Random(f"recorded {name} {spoil.__name__}")
    recorded = Recorded(tmp_path / "out")
    with contextlib.suppress(NotMedia):
        recorded.run("mpegts" if name.endswith("ts") else "flv", random_pieces(spoil(made[name], dice), dice))
    for segment in recorded.segments:
        tracks = parse_init(recorded.init(segment.init_number).read_bytes())
        tables = read_fragments(segment.path).tables
        assert set(tables) <= {track.track_id for track in tracks}
        assert all(bool((table.dts[1:] > table.dts[:-1]).all()) for table in tables.values())


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_raises_what_it_documents_and_nothing_else(made: dict[str, bytes], name: str) -> None:
    parser = next(parser for parser in parsers(made) if parser.name == name)
    for number in range(SMALL_RUNS):
        dice = random.Random(f"{name} {number}")
        data = some(dice.choice(parser.inputs), dice)
        try:
            parser.parse(data)
        except parser.allowed:
            continue


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("longer")
    return {name: media.encode(folder / name, video="h264-b", seconds=5, gop=15, size="96x64").read_bytes()
            for name in PARTS}  # fmt: skip


ERRORS = (
    ValueError("planted"),
    KeyError("planted"),
    IndexError("planted"),
    struct.error("planted"),
    ZeroDivisionError(),
)
PARTS = {
    "h264.flv": [(LengthPrefixed, "take"), (AacSound, "ready")],
    "h264.ts": [(AccessUnits, "take"), (AccessUnits, "announce"), (AdtsSplitter, "split"), (Stamps, "stamped")],
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(("name", "part"), [(n, p) for n, ps in PARTS.items() for p in ps], ids=str)
def test_whatever_a_demuxer_raises_is_damage_and_the_recording_goes_on(
    name: str, part: tuple[type, str], error: Exception, longer: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A fault of ours in one unit of a hundred costs that unit, not the encoder its recording."""
    owner, method = part
    real, calls = getattr(owner, method), [0]

    def sometimes(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] in {10, 11}:
            raise error
        return real(*arguments, **named)

    monkeypatch.setattr(owner, method, sometimes)
    recorded = Recorded(tmp_path)
    summary = recorded.run("mpegts" if name.endswith("ts") else "flv", pieces(longer[name], 3000))
    assert calls[0] > 11
    assert summary.damaged >= 2
    last = recorded.segments[-1]
    assert (last.start + last.duration) / last.timescale > 4.8, "it goes on to the end"


def table(kind: int, pids: dict[int, int], version: int) -> bytes:
    """Give a TS packet with a PAT (0) or a PMT (2) of PIDs (for a PMT: by stream types)."""
    if kind == 0:
        rows = b"".join(b"\0\1" + struct.pack(">H", 0xE000 | pid) for pid in pids)
        body, pid = b"\0\1" + bytes((0xC1 | version << 1,)) + b"\0\0" + rows, 0
    else:
        rows = b"".join(struct.pack(">BHH", stream, 0xE000 | pid, 0xF000) for pid, stream in pids.items())
        body, pid = b"\0\1" + bytes((0xC1 | version << 1,)) + b"\0\0\xe1\0\xf0\0" + rows, MAP
    data = b"\0" + section(kind, body)
    return struct.pack(">BHB", 0x47, 0x4000 | pid, 0x10) + data.ljust(184, b"\xff")


@pytest.mark.parametrize("wrong", [VIDEO, AUDIO, 0, 1, 0x1FFF], ids=hex)
def test_a_map_that_takes_a_tracks_place_is_damage(made: dict[str, bytes], wrong: int) -> None:
    """A damaged PAT names a track's PID, then the right one comes again; the map changes, and changes back."""
    data = made["h264.ts"]
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    usual = [packet for packet in packets[:20] if packet[1] & 0x40 and packet[4:6] in (b"\0\0", b"\0\2")][:2]
    middle = len(packets) // 3
    spoiled = [table(0, {wrong: 0}, 3), usual[0], table(2, {AUDIO: 0x0F}, 4), usual[1]]

    def times(data: bytes) -> list[int]:
        frames = [frame for batch in demux("h264.ts", data, random.Random(1)) for frame in batch.frames]
        return [frame.dts for frame in frames if frame.config.kind == "video"]

    pictures = times(b"".join([*packets[:middle], *spoiled, *packets[middle:]]))
    assert pictures[-1] == times(data)[-1]
    assert len(pictures) >= 10


RATE_16M = bytes.fromhex("17ffffff88")  # LC of 16,777,215 Hz, two channels
HERTZ_1 = bytes.fromhex("178000008880")


@pytest.mark.parametrize("config", [RATE_16M, HERTZ_1], ids=["too high", "too low"])
def test_a_sample_rate_that_no_sound_has_is_damage(config: bytes, made: dict[str, bytes], tmp_path: Path) -> None:
    """What nothing can be told of would be recorded and never listed."""
    tags = [tag._replace(body=tag.body[:2] + config) if tag.kind == flv.AUDIO and tag.is_config else tag
            for tag in flv.split(made["h264.flv"])]  # fmt: skip
    recorded = Recorded(tmp_path)
    summary = recorded.run("flv", pieces(flv.join(tags)))
    assert summary.damaged == 1
    assert all(segment.timescale == 90_000 for segment in recorded.segments)
    assert media.warnings(recorded.joined()) == ""


def test_errors_of_ours_stay_errors_of_ours() -> None:
    """NotMedia ends a recording, and is no damage."""
    assert issubclass(NotMedia, ReelayError)
    with pytest.raises(NotMedia):
        TsDemuxer().feed(random.Random(1).randbytes(2 << 20))
