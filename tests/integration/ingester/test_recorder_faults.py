"""Garbage, lost packets, a full disk, a kill -9: what was recorded stays, and the error says what happened."""

from __future__ import annotations

import contextlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.ingester.publication import NotMedia
from services.ingester.recorder.model import RecorderLimits
from services.ingester.recorder.recover import recover
from shared.media.mp4.fragments import read_fragments
from shared.media.segment_head import SegmentHead, build_head
from shared.store.base import StoreFull
from tests.support import media_flv as flv
from tests.support import media_streams as media
from tests.support.media_recording import Recorded, pieces, undated

ROOT = Path(__file__).parents[3]
HEAD = SegmentHead(0, 0, 0, 1, 0, discontinuity=False)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("faults")
    return {kind: media.encode(folder / f"s.{suffix}", video="h264-b", seconds=5, gop=30, size="160x90").read_bytes()
            for kind, suffix in (("flv", "flv"), ("mpegts", "ts"))}  # fmt: skip


def whole(recorded: Recorded) -> None:
    """What was handed over is whole, and agrees with the disk."""
    for info in recorded.segments:
        assert read_fragments(info.path).valid == (info.bytes,)
    assert undated(recover(recorded.folder)) == undated(recorded.segments)


@pytest.mark.parametrize("kind", ["flv", "mpegts"])
def test_garbage_from_the_start_is_an_error(kind: str, tmp_path: Path) -> None:
    dice = random.Random(7)
    noise = dice.randbytes(3 << 20)
    if kind == "flv":  # messages of noise
        noise = flv.join(flv.Tag(dice.choice((flv.AUDIO, flv.VIDEO)), n, dice.randbytes(999)) for n in range(500))
    recorded = Recorded(tmp_path)
    with pytest.raises(NotMedia):
        recorded.run(kind, pieces(noise))
    assert recorded.segments == []
    assert recorded.run(kind, []).segments == 0, "nothing at all is a clean end"


def test_garbage_in_the_middle_keeps_what_came_before(sources: dict[str, bytes], tmp_path: Path) -> None:
    for kind, data in sources.items():
        recorded = Recorded(tmp_path / kind)
        dice, cut = random.Random(7), len(data) * 3 // 4
        if kind == "mpegts":
            with pytest.raises(NotMedia):
                recorded.run(kind, pieces(data[:cut] + dice.randbytes(2 << 20)))
        else:  # messages go on to be messages, whatever is in them
            tags = flv.split(data)
            noise = [flv.Tag(flv.VIDEO, 3100 + n, b"\x27\1\0\0\0" + dice.randbytes(999)) for n in range(500)]
            summary = recorded.run(kind, pieces(flv.join([*(tag for tag in tags if tag.time < 3100), *noise])))
            assert summary.damaged > 400
        assert 3 < sum(s.duration for s in recorded.segments) / 90_000 < 4.5
        made = [h for _, h in media.frame_hashes(recorded.joined())]
        wanted = tmp_path / f"s.{'flv' if kind == 'flv' else 'ts'}"
        wanted.write_bytes(data)
        usual = [h for _, h in media.frame_hashes(wanted)]
        assert len(made) > 90
        assert made[:-3] == usual[: len(made) - 3], "the last frames may lack one that they refer to"
        whole(recorded)


@pytest.mark.parametrize("kind", ["flv", "mpegts"])
def test_damaged_bytes_end_or_pass_but_never_crash(kind: str, sources: dict[str, bytes], tmp_path: Path) -> None:
    dice = random.Random(11)
    for attempt in range(25):
        data = bytearray(sources[kind][:150_000])
        for _ in range(dice.choice((1, 5, 60))):
            at = dice.randrange(len(data))
            data[at] = dice.randrange(256)
        if attempt % 5 == 0:
            at = dice.randrange(len(data))
            del data[at : at + dice.randrange(1, 4000)]
        recorded = Recorded(tmp_path / str(attempt))
        with contextlib.suppress(NotMedia):
            recorded.run(kind, pieces(bytes(data), dice.randrange(500, 50_000)))
        for info in recorded.segments:
            assert read_fragments(info.path).valid == (info.bytes,)
            assert info.start >= 0
            assert info.duration > 0


def test_lost_mpegts_packets_cost_their_frames_alone(sources: dict[str, bytes], tmp_path: Path) -> None:
    data = sources["mpegts"]
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    dice = random.Random(3)
    kept = [p for at, p in enumerate(packets) if at < 300 or dice.random() > 0.005]
    recorded = Recorded(tmp_path)
    summary = recorded.run("mpegts", pieces(b"".join(kept)))
    assert summary.damaged > 0
    assert summary.jumps == 0
    assert sum(s.duration for s in recorded.segments) == pytest.approx(5 * 90_000, abs=9000)
    frames = sum(len(read_fragments(s.path).tables[1]) for s in recorded.segments)
    assert 150 - summary.damaged <= frames < 150
    whole(recorded)


def test_packets_sent_twice_and_bytes_between_packets_change_nothing(sources: dict[str, bytes], tmp_path: Path) -> None:
    data = sources["mpegts"]
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    results = []
    for name, changed in (
        ("plain", data),
        ("twice", b"".join(p * (2 if i % 7 == 0 and p[3] & 0x30 == 0x10 else 1) for i, p in enumerate(packets))),
        ("between", b"\x47\0\1\2" + b"".join(p + (b"noise" if i % 50 == 0 else b"") for i, p in enumerate(packets))),
    ):
        recorded = Recorded(tmp_path / name)
        recorded.run("mpegts", pieces(changed))
        results.append([s.path.read_bytes()[len(build_head(HEAD)) :] for s in recorded.segments])  # dates lie before
    assert results[0] == results[1] == results[2]


def test_a_stream_without_a_usable_track_is_an_error(tmp_path: Path) -> None:
    sound = media.encode(tmp_path / "s.flv", video=None, audio="aac", seconds=1)
    body = [t._replace(body=b"\xb2" + t.body[1:]) for t in flv.split(sound.read_bytes()) if t.kind == flv.AUDIO]
    with pytest.raises(NotMedia, match="Speex audio"):
        Recorded(tmp_path / "speex").run("flv", pieces(flv.join(body, 4)))
    mpeg2 = tmp_path / "mpeg2.ts"
    media.run("-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64", "-t", "1", "-c:v", "mpeg2video", mpeg2)
    with pytest.raises(NotMedia, match="MPEG-2"):
        Recorded(tmp_path / "mpeg2").run("mpegts", pieces(mpeg2.read_bytes()))
    endless = [flv.header(1), *(flv.encode(flv.Tag(flv.VIDEO, 40 * i, b"\x22" + bytes(60_000))) for i in range(20))]
    with pytest.raises(NotMedia, match=r"H\.263 video"):
        Recorded(tmp_path / "endless").run("flv", endless, undecided=1 << 20)


def test_an_end_anywhere_leaves_all_that_was_read(sources: dict[str, bytes], tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    fed = pieces(sources["flv"], 20_000)
    recorded.run("flv", fed[: len(fed) // 2])
    assert 1 < sum(s.duration for s in recorded.segments) / 90_000 < 4
    whole(recorded)


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the kernel refuse to write files beyond `size`, as a full disk does: first in part, then wholly."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_keeps_the_whole_parts(sources: dict[str, bytes], tmp_path: Path) -> None:
    usual = Recorded(tmp_path / "usual")
    usual.run("flv", pieces(sources["flv"]))
    limit = usual.segments[0].bytes * 3 // 4
    recorded = Recorded(tmp_path / "full")
    with file_size_limit(limit), pytest.raises(StoreFull):
        recorded.run("flv", pieces(sources["flv"]))
    (info,) = recorded.segments
    assert limit // 3 < info.bytes <= limit
    assert info.path.stat().st_size == info.bytes
    assert usual.segments[0].path.read_bytes().startswith(info.path.read_bytes())
    assert 40_000 < info.duration < usual.segments[0].duration
    assert media.warnings(recorded.joined()) == ""
    whole(recorded)


def test_a_disk_that_is_full_from_the_start_leaves_nothing(sources: dict[str, bytes], tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    (tmp_path / "00000000.m4s").symlink_to("/dev/full")
    with pytest.raises(StoreFull):
        recorded.run("flv", pieces(sources["flv"]))
    assert recorded.segments == []
    assert [p.name for p in tmp_path.iterdir()] == ["init-0.mp4"]


def test_an_init_segment_is_there_whole_or_not_at_all(sources: dict[str, bytes], tmp_path: Path) -> None:
    """The disk takes a part of it: players would find it under its name, and keep it."""
    for limit in (1, 100, 500):
        recorded = Recorded(tmp_path / str(limit))
        with file_size_limit(limit), pytest.raises(StoreFull):
            recorded.run("flv", pieces(sources["flv"]))
        assert recorded.segments == []
        assert not list(recorded.folder.iterdir()), "nothing, and no draft"


def test_an_init_segment_is_never_seen_half_written(
    sources: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, or read, in the middle of the write."""
    seen: list[list[str]] = []
    write = Path.write_bytes

    def torn(path: Path, data: bytes) -> int:
        written = write(path, data[: len(data) // 2])
        seen.append([found.name for found in path.parent.glob("init-*.mp4")])
        return write(path, data) if written else 0

    monkeypatch.setattr(Path, "write_bytes", torn)
    recorded = Recorded(tmp_path)
    recorded.run("flv", pieces(sources["flv"]))
    assert seen == [[]]
    assert recorded.init().is_file()


def test_what_lies_on_the_disk_can_be_salvaged_at_any_moment(sources: dict[str, bytes], tmp_path: Path) -> None:
    """After every read: nothing that came more than a part (and what sound waits for) before is only in memory."""
    tags = flv.split(sources["flv"])
    folder, copy = tmp_path / "live", tmp_path / "copy"
    recorded = Recorded(folder)
    worst: list[int] = []

    def look(now: int) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        last = max(copy.glob("*.m4s"), default=None)
        if last is not None and now % 3 == 0:  # torn by a kill in the middle of a write
            last.write_bytes(last.read_bytes() + b"\0\0\1\0moof" + bytes(90))
        found = recover(copy)
        ends = found[-1].start + found[-1].duration if found else 0
        worst.append(now - ends // 90)
        for info in found:
            assert read_fragments(info.path).valid == (info.path.stat().st_size,)
        again = recover(copy, after=found[-1].sequence - 1 if found else -1)
        assert [s.sha256 for s in again] == [s.sha256 for s in found[-1:]]

    def stream() -> Iterator[bytes]:
        yield flv.header()
        for tag in tags:
            if tag.kind == flv.VIDEO and tag.time > 200 and tag.time % 5 == 0:
                look(tag.time)
            yield flv.encode(tag)

    recorded.run("flv", stream())
    assert len(worst) > 20
    assert max(worst) <= 700, "a part of 0.5 s, and a frame or a few"


PROGRAM = """
import sys
from pathlib import Path
from tests.support.media_recording import Recorded
Recorded(Path(sys.argv[1])).run("flv", iter(lambda: sys.stdin.buffer.raw.read(65536), b""))
"""


def test_a_kill_loses_at_most_the_part_in_hand(sources: dict[str, bytes], tmp_path: Path) -> None:
    tags = flv.split(sources["flv"])
    fed = [t for t in tags if t.time < 3300]
    folder = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], cwd=ROOT, stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    assert child.stdin is not None
    try:
        child.stdin.write(flv.join(fed))
        child.stdin.flush()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            files = sorted(folder.glob("*.m4s"))
            tables = read_fragments(files).tables if files else {}
            if 1 in tables and tables[1].dts[-1] >= 2.9 * 90_000:
                break
            assert child.poll() is None
            time.sleep(0.05)  # the condition is on the disk: nothing tells of it
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    found = recover(folder)
    assert found[-1].start + found[-1].duration >= 2.7 * 90_000
    joined = folder / "joined.mp4"
    joined.write_bytes((folder / "init-0.mp4").read_bytes() + b"".join(s.path.read_bytes() for s in found))
    assert media.warnings(joined) == ""
    wanted = tmp_path / "s.flv"
    wanted.write_bytes(sources["flv"])
    made = [h for _, h in media.frame_hashes(joined)]
    assert len(made) >= 80
    usual = [h for _, h in media.frame_hashes(wanted)]
    assert made[:-3] == usual[: len(made) - 3], "the end of an unfinished GOP may lack frames that it refers to"


def test_a_part_may_not_grow_without_bound(sources: dict[str, bytes], tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.run("flv", pieces(sources["flv"]), RecorderLimits(part=timedelta(hours=1), part_bytes=8000))
    for info in recorded.segments:
        data = info.path.read_bytes()
        assert data.count(b"moof") > 2
    whole(recorded)
