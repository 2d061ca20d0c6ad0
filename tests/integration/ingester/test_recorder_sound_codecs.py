"""MPEG audio, AC-3, E-AC-3 and Opus from real encoders: recorded packet by packet as they came."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from services.gateway.delivery.codecs import codecs_of
from services.ingester.recorder.mpegts import TsDemuxer
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from tests.support import media_streams as media
from tests.support.media_recording import Recorded, pieces
from tests.support.sound_streams import CODINGS, clear_starts, coded, heard, stream
from tests.support.ts_mux import AUDIO, Pes, TsMux


def packets(path: Path, form: str | None = None) -> list[bytes]:
    with av.open(str(path), format=form) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("name", CODINGS)
def test_sound_is_recorded_as_it_came(name: str, tmp_path: Path) -> None:
    coding, source = CODINGS[name], tmp_path / "source"
    source.write_bytes(stream(coding))
    recorded = Recorded(tmp_path / "out")
    summary = recorded.run(coding.form, pieces(source.read_bytes(), 1316))
    assert (summary.damaged, summary.unsupported) == (0, frozenset())
    assert {s.init_number for s in recorded.segments} == {0}
    track = parse_init(recorded.init().read_bytes())[1]
    assert (track.codec, track.sample_rate) == (coding.codec.replace("mp2", "mp3"), coding.rate)
    assert codecs_of([track]) == coding.named
    tables = [read_fragments(s.path).tables[2] for s in recorded.segments]
    ticks = np.concatenate([t.dts for t in tables])
    steps = np.diff(ticks)
    assert np.abs(steps - coding.packet).max() <= 1, "ms of RTMP are put on the grid of samples"
    rounding = 4 if coding.form == "mpegts" else coding.rate // 1000  # the first stamp may be a ms off
    assert abs(int(ticks[-1] - ticks[0]) - coding.packet * (len(ticks) - 1)) <= rounding
    joined = recorded.joined()
    assert media.warnings(joined) == ""
    if coding.codec != "aac":  # ADTS headers go
        assert packets(joined) == packets(source, coding.form)[: len(ticks)]
        assert len(packets(source, coding.form)) - len(ticks) <= 1
    assert clear_starts(heard(joined)) == clear_starts(heard(source))
    with av.open(str(joined)) as container, av.open(str(source), format=coding.form) as before:
        assert container.streams.audio[0].codec_context.layout == before.streams.audio[0].codec_context.layout
        times = [[p.pts * p.time_base for p in c.demux(video=0) if p.pts is not None] for c in (container, before)]
    assert len(times[0]) == len(times[1])


ELEMENTARY = {
    "mp3": (0x03, b"", ("-c:a", "libmp3lame", "-b:a", "128k"), "mp3"),
    "mp2": (0x04, b"", ("-c:a", "mp2"), "mp2"),
    "ac3": (0x81, b"", ("-c:a", "ac3"), "ac3"),
    "ac3 of DVB": (0x06, b"\x0a\x04deu\0\x6a\x01\0", ("-c:a", "ac3"), "ac3"),
    "ac3 by the type of eac3": (0x87, b"", ("-c:a", "ac3"), "ac3"),
    "eac3": (0x87, b"\xcc\x02\xc0\x40", ("-c:a", "eac3"), "eac3"),
    "eac3 of Blu-ray": (0x84, b"", ("-c:a", "eac3"), "eac3"),
    "eac3 by the type of ac3": (0x81, b"", ("-c:a", "eac3"), "eac3"),
}


def frames_of(name: str) -> list[bytes]:
    _, _, options, form = ELEMENTARY[name]
    sine = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=3")
    plain = ("-write_xing", "0", "-id3v2_version", "0") if form == "mp3" else ()
    data = io.BytesIO(media.run("-v", "error", *sine, *options, *plain, "-f", form, "-"))
    with av.open(data, format="mp3" if form == "mp2" else form) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("size", [100, 184, 1000, 5000], ids=lambda size: f"packets of {size}")
@pytest.mark.parametrize("name", ELEMENTARY)
def test_frames_are_found_wherever_packets_begin_and_end(name: str, size: int) -> None:
    kind, descriptors, _, codec = ELEMENTARY[name]
    frames = frames_of(name)
    data, length = b"".join(frames), 1152 if codec.startswith("mp") else 1536
    begins = np.cumsum([0, *map(len, frames)])
    out, demuxer = TsMux(), TsDemuxer()
    out.tables([(kind, AUDIO, descriptors)])
    for at in range(0, len(data), size):
        first = int(np.searchsorted(begins, at))  # the first frame that begins in this packet
        stamped = first < len(frames) and begins[first] < at + size
        stamp = 90_000 + first * length * 90 // 48 if stamped else None
        out.pes(AUDIO, Pes(data[at : at + size], stamp), bounded=True, kind=0xBD)
    got = [frame for piece in pieces(bytes(out), 1316) for frame in demuxer.feed(piece)] + demuxer.flush()
    assert [frame.payload for frame in got] == frames
    assert {(frame.config.codec, frame.duration) for frame in got} == {(codec, length)}
    off = [frame.dts - 90_000 - number * length * 90 / 48 for number, frame in enumerate(got)]
    assert max(map(abs, off)) <= 1
    assert demuxer.damaged == 0


@pytest.mark.parametrize("name", ELEMENTARY)
def test_lost_packets_cost_the_frames_they_were_of(name: str) -> None:
    kind, descriptors, _, codec = ELEMENTARY[name]
    frames = frames_of(name)
    length = 1152 if codec.startswith("mp") else 1536
    out, demuxer = TsMux(), TsDemuxer()
    out.tables([(kind, AUDIO, descriptors)])
    begun = len(out.packets)
    for number, frame in enumerate(frames):
        out.pes(AUDIO, Pes(frame, 90_000 + number * length * 90 // 48), bounded=True, kind=0xBD)
    kept = [p for number, p in enumerate(out.packets) if number < begun or number % 37]
    got = demuxer.feed(b"".join(kept)) + demuxer.flush()
    assert len(frames) // 2 < len(got) < len(frames)
    assert demuxer.damaged
    assert {frame.config.codec for frame in got} == {codec}
    for frame in got:  # each is one of those sent, at its own time
        number = round((frame.dts - 90_000) * 48 / 90 / length)
        assert frame.payload == frames[number]
        assert abs(frame.dts - 90_000 - number * length * 90 / 48) <= 1


def test_a_change_of_channels_is_a_new_description_and_goes_on(tmp_path: Path) -> None:
    sound = ("-c:a", "ac3", "-b:a", "192k")
    both = [tmp_path / f"{channels}.ts" for channels in (2, 6)]
    for path, channels in zip(both, ("2", "6"), strict=True):
        path.write_bytes(coded((*sound, "-ac", channels), "mpegts"))
    recorded = Recorded(tmp_path / "out")
    media.run("-v", "error", "-i", f"concat:{both[0]}|{both[1]}", "-map", "0", "-c", "copy", tmp_path / "joined.ts")
    summary = recorded.run("mpegts", pieces((tmp_path / "joined.ts").read_bytes(), 1316))
    assert summary.unsupported == frozenset()
    inits = sorted({s.init_number for s in recorded.segments})
    assert [parse_init(recorded.init(n).read_bytes())[1].channels for n in inits] == [2, 6]
