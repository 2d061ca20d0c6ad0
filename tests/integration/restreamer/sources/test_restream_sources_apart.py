"""Strangers' files in children: read as in process, each bounded, and what breaks one is an error of its file alone."""

from __future__ import annotations

import gc
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from services.restreamer.model import FLICKS, SourceError
from services.restreamer.sources.apart.children import Children, children
from services.restreamer.sources.apart.confined import Bounds
from services.restreamer.sources.apart.demuxing import Apart
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.sniff import Container
from services.restreamer.sources.frames import Raw
from services.restreamer.sources.origins.files import LocalFile
from services.restreamer.sources.pictures import decode
from tests.support.bombs import bomb, pids
from tests.support.media_streams import run
from tests.support.source_server import Server, source_server
from tests.support.sources import FORMS, access_to, encode_each, numbers, opened
from tests.support.waiting import wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[Container, Path]:
    """Six seconds in each container."""
    return encode_each(tmp_path_factory.mktemp("films"))


@pytest.fixture
def family() -> Iterator[Children]:
    """Children that no other test has."""
    made = Children()
    made.start()
    yield made
    made.close()


def local(path: Path) -> LocalFile:
    return LocalFile(os.open(path, os.O_RDONLY))


def only(family: Children) -> int:
    (pid,) = pids(family)
    return pid


def facts(demuxer: Demuxer | Apart) -> tuple[object, ...]:
    return (
        demuxer.container, demuxer.has_video, demuxer.has_audio, demuxer.end, demuxer.shown_from, demuxer.video_end,
        demuxer.created_ms, demuxer.broken, demuxer.cover(),
    )  # fmt: skip


@pytest.mark.parametrize("container", FORMS)
def test_a_child_gives_what_a_demuxer_gives(films: dict[Container, Path], container: Container) -> None:
    ours, theirs = Demuxer(local(films[container]), container), Apart(local(films[container]), container, stop=Event())
    assert facts(ours) == facts(theirs)
    assert list(ours.frames()) == list(theirs.frames())
    for at in (3, 1, 5):
        assert ours.seek(at * FLICKS) == theirs.seek(at * FLICKS)
        first, its = ours.frames(), theirs.frames()
        for _ in range(at * 20):  # and leave the rest, which a child may be in the midst of
            assert next(first, None) == next(its, None)
    ours.close()
    theirs.close()


SUBTITLES = "1\n00:00:01,000 --> 00:00:02,000\nGoal\n\n2\n00:00:03,000 --> 00:00:04,000\nAgain\n"
OTHERS: dict[str, tuple[Container, tuple[str, ...]]] = {
    "text.mp4": ("mp4", ("-c:s", "mov_text")),
    "timecode.mp4": ("mp4", ("-sn", "-timecode", "01:00:00:00")),
    "chapters.mp4": ("mp4", ("-c:s", "mov_text", "-timecode", "01:00:00:00", "-disposition:s", "default")),
    "text.mkv": ("matroska", ("-c:s", "srt")),
    "styled.mkv": ("matroska", ("-c:s", "ass", "-attach", "SUBTITLES", "-metadata:s:t", "mimetype=text/plain")),
    "webvtt.mkv": ("matroska", ("-c:s", "webvtt")),
    "dvb.ts": ("mpegts", ("-sn", "-f", "mpegts", "-mpegts_flags", "+system_b", "-metadata", "service_name=x")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_tracks_that_nobody_plays_break_no_child(films: dict[Container, Path], name: str, tmp_path: Path) -> None:
    container, options = OTHERS[name]
    titles, path = tmp_path / "titles.srt", tmp_path / name
    titles.write_text(SUBTITLES)
    more = [str(titles) if option == "SUBTITLES" else option for option in options]
    run("-i", films["mp4"], "-i", titles, "-map", "0", "-map", "1", "-c", "copy", *more, path)
    ours, theirs = Demuxer(local(path), container), Apart(local(path), container, stop=Event())
    assert facts(ours) == facts(theirs)
    assert list(ours.frames()) == list(theirs.frames())
    ours.close()
    theirs.close()


def test_a_track_that_comes_up_in_the_middle_breaks_no_child(films: dict[Container, Path], tmp_path: Path) -> None:
    """FLV lists no tracks: FFmpeg opens one for the first tag of a kind, here of text."""
    data = films["flv"].read_bytes()
    head, tags, at = data[:13], list[bytes](), 13
    while at < len(data):
        end = at + 15 + int.from_bytes(data[at + 1 : at + 4], "big")
        tags.append(data[at:end])
        at = end
    text = b"\2\0\x0aonTextData" + b"\x08\0\0\0\1\0\4text\2\0\4Goal\0\0\x09"
    middle = len(tags) // 2
    path = tmp_path / "text.flv"
    tag = b"\x12" + len(text).to_bytes(3, "big") + tags[middle][4:8] + bytes(3) + text
    tags.insert(middle, tag + len(tag).to_bytes(4, "big"))
    path.write_bytes(head + b"".join(tags))
    ours, theirs = Demuxer(local(path), "flv"), Apart(local(path), "flv", stop=Event())
    assert list(ours.frames()) == list(theirs.frames())
    ours.close()
    theirs.close()


@pytest.mark.parametrize("container", FORMS)
def test_frames_come_before_the_bytes_that_follow_them_are_waited_for(
    films: dict[Container, Path], container: Container
) -> None:
    given: list[Raw] = []

    class Slow(LocalFile):
        asked = 0

        def read(self, size: int) -> bytes:
            if given:
                self.asked += 1
            assert len(given) >= 10 * self.asked  # with 4 KiB at a time some come of each few
            return super().read(min(size, 1 << 15))

    demuxer = Apart(Slow(os.open(films[container], os.O_RDONLY)), container, stop=Event())
    for frame in demuxer.frames():
        given.append(frame)
        if len(given) == 30:
            break
    demuxer.close()


def test_a_child_has_no_descriptor_but_its_line_and_no_right_to_more(
    films: dict[Container, Path], family: Children
) -> None:
    demuxer = Apart(local(films["mp4"]), "mp4", stop=Event(), family=family)
    process = Path(f"/proc/{only(family)}")
    links = {link.name: str(link.readlink()) for link in (process / "fd").iterdir()}
    assert {name for name in links if links[name] != "/dev/null"} == {"3"}
    assert links["3"].startswith("socket:")
    limits = {line[:26].strip(): line[26:47].strip() for line in (process / "limits").read_text().splitlines()}
    for name in ("Max open files", "Max file size", "Max core file size", "Max processes"):
        assert limits[name] == "0"
    for name in ("Max address space", "Max data size"):
        assert 512 * MIB < int(limits[name]) < 2048 * MIB
    assert int(limits["Max cpu time"]) <= 20
    status = (process / "status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Uid:\t0" not in status
    assert (process / "oom_score_adj").read_text().strip() == "1000"
    assert b"REELAY" not in Path(f"/proc/{family.zygote}/environ").read_bytes()
    demuxer.close()


def test_a_child_that_is_killed_is_an_error_of_its_file_alone(films: dict[Container, Path], family: Children) -> None:
    demuxer = Apart(local(films["mpegts"]), "mpegts", stop=Event(), family=family)
    other = Apart(local(films["mpegts"]), "mpegts", stop=Event(), family=family)
    frames = demuxer.frames()
    next(frames)
    os.kill(pids(family)[0], signal.SIGKILL)
    with pytest.raises(SourceError, match="its reader was killed") as failed:
        list(frames)
    assert not failed.value.lasting
    assert len(list(other.frames())) > 100
    demuxer.close()
    other.close()
    wait_until(lambda: not pids(family))


def test_a_zygote_that_is_killed_is_started_anew(films: dict[Container, Path], family: Children) -> None:
    demuxer = Apart(local(films["mp4"]), "mp4", stop=Event(), family=family)
    child = only(family)
    assert family.zygote is not None
    os.kill(family.zygote, signal.SIGKILL)
    wait_until(lambda: not is_alive(child))
    with pytest.raises(SourceError):
        list(demuxer.frames())
    assert list(Apart(local(films["mp4"]), "mp4", stop=Event(), family=family).frames())


def is_alive(pid: int) -> bool:
    try:
        return "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_no_child_outlives_its_parent(films: dict[Container, Path]) -> None:
    script = (
        "import os, sys, time; from threading import Event\n"
        "from services.restreamer.sources.apart.children import children\n"
        "from services.restreamer.sources.apart.demuxing import Apart\n"
        "from services.restreamer.sources.origins.files import LocalFile\n"
        "opened = Apart(LocalFile(os.open(sys.argv[1], os.O_RDONLY)), 'mp4', stop=Event())\n"
        "zygote = children().zygote\n"
        "print(zygote, open(f'/proc/{zygote}/task/{zygote}/children').read(), flush=True)\n"
        "Event().wait()\n"
    )
    command = [sys.executable, "-c", script, str(films["mp4"])]
    root = Path(__file__).parents[4]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout is not None
        found = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(found) == 2
        assert all(map(is_alive, found))
        parent.kill()
    wait_until(lambda: not any(map(is_alive, found)))


def test_forty_children_at_once_leave_nothing_behind(films: dict[Container, Path], family: Children) -> None:
    Apart(local(films["mp4"]), "mp4", stop=Event(), family=family).close()
    wait_until(lambda: not pids(family))
    gc.collect()  # what other tests have left open
    handles = len(list(Path("/proc/self/fd").iterdir()))
    files = [local(films["mp4"]) for _ in range(40)]
    demuxers = [Apart(file, "mp4", stop=Event(), family=family) for file in files]
    flows = [demuxer.frames() for demuxer in demuxers]
    assert len(pids(family)) == 40
    for _ in range(50):
        assert len({next(flow).pts for flow in flows}) == 1
    for demuxer, file in zip(demuxers, files, strict=True):
        demuxer.close()
        file.close()
    wait_until(lambda: not pids(family))
    assert len(list(Path("/proc/self/fd").iterdir())) == handles
    assert len(list(Path(f"/proc/{family.zygote}/fd").iterdir())) < 10


def test_a_zygote_without_descriptors_starts_no_more_and_keeps_those_it_has(
    films: dict[Container, Path], family: Children
) -> None:
    first = Apart(local(films["mp4"]), "mp4", stop=Event(), family=family)
    assert family.zygote is not None
    held = len(list(Path(f"/proc/{family.zygote}/fd").iterdir()))
    resource.prlimit(family.zygote, resource.RLIMIT_NOFILE, (held + 2, held + 2))
    others = []
    with pytest.raises(SourceError, match="could not be started") as refused:
        others += [Apart(local(films["mp4"]), "mp4", stop=Event(), family=family) for _ in range(4)]
    assert not refused.value.lasting
    assert len(list(first.frames())) > 100
    first.close()
    Apart(local(films["mp4"]), "mp4", stop=Event(), family=family).close()  # there is room again


@pytest.mark.parametrize("samples", [6_000_000, 10_000_000])
def test_an_index_that_no_memory_holds_costs_its_child_alone(family: Children, tmp_path: Path, samples: int) -> None:
    path = tmp_path / "bomb.mp4"
    path.write_bytes(bomb(12, samples))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    demuxer = Apart(local(path), "mp4", stop=Event(), family=family)
    status = Path(f"/proc/{only(family)}/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    demuxer.close()
    assert peak < (Bounds().memory >> 10) + (128 << 10)  # KiB, with what all share
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_picture_that_no_memory_holds_costs_its_child_alone(family: Children) -> None:
    del family

    def part(kind: int, body: bytes) -> bytes:
        return bytes((0xFF, kind)) + struct.pack(">H", len(body) + 2) + body

    def frame(kind: int, side: int) -> bytes:
        return part(kind, struct.pack(">BHHB", 8, side, side, 3) + b"".join(bytes((n, 0x11, 0)) for n in (1, 2, 3)))

    tables = part(0xDB, b"\0" + b"\1" * 64) + part(0xC4, b"\0" + bytes((0, 1) + (0,) * 14) + b"\0")
    tables += part(0xC4, b"\x10" + bytes((0, 1) + (0,) * 14) + b"\0")
    scan = part(0xDA, bytes((3, 1, 0, 2, 0, 3, 0, 0, 63, 0))) + bytes(2000)
    end = b"\xff\xd9"
    for kind in (0xC0, 0xC2):
        with pytest.raises(SourceError, match="two sizes"):
            decode(b"\xff\xd8" + tables + frame(0xC0, 64) + frame(kind, 16000) + scan + end, 4096)
        with pytest.raises(SourceError, match="two sizes"):  # behind the first one's scan
            decode(b"\xff\xd8" + tables + frame(0xC0, 64) + scan + frame(kind, 16000) + scan + end, 4096)
    with pytest.raises(SourceError, match="at most 4096"):
        decode(b"\xff\xd8" + tables + frame(0xC2, 16000) + scan + end, 4096)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children().start(Bounds(memory=64 * MIB))
    try:
        with pytest.raises(SourceError):
            decode(b"\xff\xd8" + tables + frame(0xC2, 4000) + scan + end, 4096)
    finally:
        children().start(Bounds())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_child_that_computes_for_too_long_is_ended(films: dict[Container, Path], tmp_path: Path) -> None:
    endless = tmp_path / "endless.mkv"  # whose clusters are looked for, byte by byte, where there are none
    endless.write_bytes(films["matroska"].read_bytes()[: 1 << 16])
    os.truncate(endless, 1 << 42)
    family = Children(Bounds(cpu=timedelta(seconds=1)))
    try:
        demuxer = Apart(local(endless), "matroska", stop=Event(), family=family)
        with pytest.raises(SourceError, match="computing"):
            list(demuxer.frames())
        demuxer.close()
    finally:
        family.close()


def test_what_a_file_by_url_plays_after_its_reader_was_killed(films: dict[Container, Path], tmp_path: Path) -> None:
    with source_server() as server:
        check_killed_and_played(server, films, tmp_path)


def check_killed_and_played(server: Server, films: dict[Container, Path], tmp_path: Path) -> None:
    url = server.put("/a.ts", films["mpegts"].read_bytes())
    media = opened("url", url, access_to(tmp_path))
    packets = media.packets(0)
    assert next(packets)
    for pid in pids(children()):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(SourceError, match="was killed"):
        list(packets)
    media.close()
    again = opened("url", url, access_to(tmp_path))
    assert numbers(again.video, again.packets(0)) == list(range(180))
    again.close()
    wait_until(lambda: not pids(children()))
