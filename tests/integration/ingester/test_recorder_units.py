"""MPEG-TS whose PES packets are no single access units: every picture comes out, whole and at its time."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import NamedTuple

import av
import pytest

from services.ingester.recorder.mpegts import TsDemuxer
from shared.media.bitstream.nal import is_slice, split_sample
from shared.media.mp4.fragments import read_fragments
from shared.media.tracks import VideoCodec
from tests.support import fields
from tests.support import media_streams as media
from tests.support.media_recording import Recorded, pieces
from tests.support.ts_layouts import LAYOUTS, chunks, several
from tests.support.ts_mux import LEAD, Coded, Pes, coded, mux

SOURCES: dict[str, tuple[VideoCodec, tuple[str, ...]]] = {
    "plain": ("h264", ("-preset", "veryfast", "-bf", "0")),
    "reordered": ("h264", ("-preset", "veryfast", "-bf", "3", "-x264-params", "b-pyramid=normal:b-adapt=0")),
    "slices": ("h264", ("-preset", "ultrafast", "-x264-params", "slices=4:bframes=2:sliced-threads=0")),
    "hevc": ("hevc", ("-preset", "ultrafast", "-bf", "3", "-x265-params", "log-level=error:open-gop=1")),
    "hevc-slices": ("hevc", ("-preset", "ultrafast", "-x265-params", "log-level=error:slices=3")),
}
SECONDS = 2


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("units")
    found = {}
    for name, (codec, options) in SOURCES.items():
        found[name] = folder / f"{name}.mp4"
        encoder = "libx264" if codec == "h264" else "libx265"
        picture = f"testsrc2=size=160x128:rate=30:duration={SECONDS}"
        coding = ("-c:v", encoder, *options, "-pix_fmt", "yuv420p", "-g", "30", "-threads", "1")
        media.run("-v", "error", "-f", "lavfi", "-i", picture, *coding, found[name])
    return found


@pytest.fixture(scope="module")
def hashes(sources: dict[str, Path]) -> dict[str, list[str]]:
    """Each source's pictures."""
    return {name: [digest for _, digest in media.frame_hashes(path)] for name, path in sources.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("source", "delimiters"), [*((name, True) for name in SOURCES), *((name, False) for name in ("slices", "hevc"))]
)
def test_every_picture_comes_out(
    sources: dict[str, Path], hashes: dict[str, list[str]], source: str, layout: str, delimiters: bool, tmp_path: Path
) -> None:
    codec = SOURCES[source][0]
    units = coded(sources[source], codec, delimiters=delimiters)
    packets = LAYOUTS[layout](units)
    recorded = Recorded(tmp_path)
    summary = recorded.run("mpegts", pieces(bytes(mux(codec, packets, bounded=not delimiters)), 1316))
    assert (summary.damaged, summary.jumps) == (0, 0)
    made = media.frame_hashes(recorded.joined())
    assert [h for _, h in made] == hashes[source]
    assert [round((t - made[0][0]) * 30 / 1e6, 2) for t, _ in made] == list(range(len(made))), "evenly"


class Chunk(NamedTuple):
    """A frame of sound, for layouts."""

    stream: bytes
    pts: int

    @property
    def dts(self) -> int:
        return self.pts


def samples(recorded: Recorded) -> list[tuple[int, bytes]]:
    """Decoding times and payloads of all video samples."""
    found = []
    for info in recorded.segments:
        table = read_fragments(info.path).tables[1]
        data = info.path.read_bytes()
        rows = zip(table.dts.tolist(), table.offset.tolist(), table.size.tolist(), strict=True)
        found += [(dts, data[at : at + size]) for dts, at, size in rows]
    return found


def pictures_hit(packets: list[bytes], lost: set[int], units: list[Coded]) -> int:
    """Count the access units of which lost TS packets held a byte, given one video alone."""
    spans: list[tuple[int, int]] = []
    at = 0
    for u in units:
        spans.append((at, at + len(u.stream)))
        at += len(u.stream)
    hit: set[int] = set()
    at = 0
    for number, packet in enumerate(packets):
        if packet[1] & 0x1F != 1 or packet[2] != 0:
            continue
        body = packet[4:] if not packet[3] & 0x20 else packet[5 + packet[4] :]
        body = body[9 + body[8] :] if packet[1] & 0x40 else body
        if number in lost:
            hit |= {n for n, (start, end) in enumerate(spans) if start < at + len(body) and end > at}
        at += len(body)
    return len(hit)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("source", ["reordered", "slices", "hevc"])
def test_a_lost_packet_costs_the_pictures_it_hit(
    sources: dict[str, Path], source: str, layout: str, tmp_path: Path
) -> None:
    codec = SOURCES[source][0]
    units = coded(sources[source], codec)
    whole = {tuple(n for n in u.nals if is_slice(codec, n)): u.dts for u in units}
    for seed in range(4):
        packets = mux(codec, LAYOUTS[layout](units), bounded=bool(seed & 1)).packets
        dice = random.Random(seed)
        lost = {dice.randrange(len(packets) // 4, len(packets) - 30) for _ in range(3)}
        recorded = Recorded(tmp_path / str(seed))
        summary = recorded.run("mpegts", pieces(b"".join(p for n, p in enumerate(packets) if n not in lost), 1316))
        made = [(dts, tuple(n for n in split_sample(data, 4) if is_slice(codec, n))) for dts, data in samples(recorded)]
        assert summary.damaged >= 1
        assert all(slices in whole for _, slices in made), "no picture that lacks a part"
        assert len(units) - len(made) <= pictures_hit(packets, lost, units) + len(lost)
        off = [abs(dts - whole[slices] + units[0].dts) for dts, slices in made]
        assert max(off) <= 3000 * len(lost), "two losses between stamps leave open when a picture is due"


@pytest.mark.parametrize("delimiters", [True, False], ids=["delimiters", "bare"])
@pytest.mark.parametrize("references", [True, False], ids=["references", "none"])
@pytest.mark.parametrize("layout", ["field-a-packet", "stamped-once", "frame-a-packet", "two-frames", "chunks-200"])
def test_both_fields_of_a_frame_are_one_picture(
    layout: str, references: bool, delimiters: bool, tmp_path: Path
) -> None:
    pairs = fields.frames(12, delimiters=delimiters, references=references)
    single = [unit for pair in pairs for unit in pair]
    packets = {
        "field-a-packet": lambda: LAYOUTS["one"](single),
        "stamped-once": lambda: [p if n % 2 == 0 else Pes(p.data) for n, p in enumerate(LAYOUTS["one"](single))],
        "frame-a-packet": lambda: LAYOUTS["two-in-one"](single),
        "two-frames": lambda: several(4)(single),
        "chunks-200": lambda: LAYOUTS["chunks-300"](single),
    }[layout]()
    recorded = Recorded(tmp_path)
    summary = recorded.run("mpegts", pieces(bytes(mux("h264", packets)), 1316))
    assert summary.damaged == 0
    made = samples(recorded)
    assert [dts for dts, _ in made] == [n * fields.FRAME for n in range(12)]
    with av.open(str(recorded.joined())) as container:
        pictures = [f.to_ndarray() for f in container.decode(video=0)]
    assert [(p[0, 0], p[1, 0]) for p in pictures] == [(40 + 5 * n, 42 + 5 * n) for n in range(12)]


@pytest.mark.parametrize("layout", ["one", "three-in-one", "halves", "sevenths", "chunks-300", "chunks-1000"])
def test_sound_may_run_over_packets(layout: str, sources: dict[str, Path], tmp_path: Path) -> None:
    aac = tmp_path / "sound.aac"
    media.run("-v", "error", "-f", "lavfi", "-i", f"sine=duration={SECONDS}:sample_rate=48000", "-b:a", "96k", aac)
    data, frames = aac.read_bytes(), []
    while data:
        size = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        frames.append(Chunk(data[:size], LEAD + 1920 * len(frames)))
        data = data[size:]
    audio = LAYOUTS[layout](frames)
    recorded = Recorded(tmp_path / "out")
    video = LAYOUTS["one"](coded(sources["plain"], "h264"))
    summary = recorded.run("mpegts", pieces(bytes(mux("h264", video, audio=audio)), 1316))
    assert summary.damaged == 0
    found, ticks = [], []
    for info in recorded.segments:
        table = read_fragments(info.path).tables[2]
        whole = info.path.read_bytes()
        found += [whole[at : at + size] for at, size in zip(table.offset.tolist(), table.size.tolist(), strict=True)]
        ticks += table.dts.tolist()
    wanted = [frame.stream[7:] for frame in frames]
    assert found == wanted[-len(found) :]
    assert len(found) > len(wanted) - 6, "only what came before the first picture is left out"
    assert {b - a for a, b in itertools.pairwise(ticks)} == {1024}


@pytest.mark.parametrize("source", ["reordered", "hevc"])
def test_stamps_stay_with_their_pictures_wherever_packets_are_cut(sources: dict[str, Path], source: str) -> None:
    """A start code may lie across packets: its unit began in the first, whose stamp it has."""
    codec = SOURCES[source][0]
    units = coded(sources[source], codec)
    for size in range(190, 230):
        demuxer = TsDemuxer()
        frames = [*demuxer.feed(bytes(mux(codec, chunks(size)(units), bounded=True))), *demuxer.flush()]
        assert demuxer.damaged == 0
        assert [(f.dts, f.dts + f.offset) for f in frames] == [(u.dts, u.pts) for u in units], size
