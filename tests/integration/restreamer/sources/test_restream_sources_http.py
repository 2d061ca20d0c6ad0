"""Files behind HTTP servers that misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from services.restreamer.model import Packet, SourceError
from services.restreamer.sources import Access, Stopped
from services.restreamer.sources.origins import files
from shared.media.mp4.boxes import children
from tests.support.framecode_record import Spec, encode
from tests.support.source_server import Mode, Server, source_server
from tests.support.sources import QUICK, access_to, check_times, numbers, opened, seconds

FRAMES = 180
ALL = list(range(FRAMES))
MIB = 1 << 20


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Six seconds of numbered pictures and beeps, in each container; `mp4` has its moov at the end."""
    folder = tmp_path_factory.mktemp("media")
    made = {
        "mp4": (), "fast.mp4": ("-movflags", "+faststart"), "ts": (), "flv": (), "mkv": (),
    }  # fmt: skip
    for name, options in made.items():
        encode(Spec(options=options), folder / f"a.{name}")
    return {name: (folder / f"a.{name}").read_bytes() for name in made}


@pytest.fixture
def server() -> Iterator[Server]:
    with source_server() as made:
        yield made


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return access_to(tmp_path)


def read(url: str, access: Access, start: float = 0) -> tuple[list[Packet], list[int]]:
    """Read a URL to its end; gives packets and the numbers on the pictures."""
    found = opened("url", url, access)
    try:
        packets = list(found.packets(seconds(start)))
        check_times(packets)
        return packets, numbers(found.video, packets)
    finally:
        found.close()


@pytest.mark.parametrize("kind", ["mp4", "fast.mp4", "ts", "flv", "mkv"])
def test_a_file_is_read_by_ranges_whatever_its_name_is(
    server: Server, media: dict[str, bytes], access: Access, kind: str
) -> None:
    url = server.put("/video.html", media[kind])
    packets, seen = read(url, access)
    assert seen == ALL
    assert any(p.kind == "audio" for p in packets)
    _, later = read(url, access, start=3)
    assert later == ALL[60:]  # from the keyframe at 2 s on


@pytest.mark.parametrize("kind", ["fast.mp4", "ts", "flv", "mkv"])
def test_a_server_without_ranges_is_read_in_sequence_again_and_again(
    server: Server, media: dict[str, bytes], access: Access, kind: str
) -> None:
    found = opened("url", server.put("/a", media[kind], "plain"), access)
    assert numbers(found.video, found.packets(0)) == ALL
    assert numbers(found.video, found.packets(seconds(4.5))) == ALL[120:]
    assert numbers(found.video, found.packets(0)) == ALL
    found.close()


def test_the_first_packet_of_a_large_file_with_its_index_at_the_end_takes_little_of_it(
    server: Server, media: dict[str, bytes], access: Access
) -> None:
    data = media["mp4"]
    mdat = next(box for box in children(data) if box.kind == b"mdat")
    grown = mdat.end - mdat.start + 60 * MIB
    large = data[: mdat.start] + grown.to_bytes(4, "big") + data[mdat.start + 4 : mdat.end]
    url = server.put("/a.mp4", large + bytes(60 * MIB) + data[mdat.end :])
    found = opened("url", url, access)
    first = next(iter(found.packets(0)))
    assert first.kind in {"video", "audio"}
    assert server.sent < 3 * MIB
    assert numbers(found.video, found.packets(0)) == ALL
    found.close()


@pytest.mark.parametrize("mode", ["flaky", "busy", "slow"])
def test_a_broken_transfer_goes_on_at_its_byte(
    server: Server, media: dict[str, bytes], access: Access, mode: Mode
) -> None:
    _, seen = read(server.put("/a.mp4", media["mp4"], mode, times=2), access)
    assert seen == ALL
    _, seen = read(server.put("/a.ts", media["ts"], mode, times=2), access)
    assert seen == ALL
    assert any(wanted.startswith("bytes=0-") for _, wanted in server.requests)


def test_every_answer_that_breaks_in_its_middle_still_brings_some(
    server: Server, media: dict[str, bytes], access: Access
) -> None:
    quick = replace(access, limits=replace(QUICK, pause=timedelta(milliseconds=1), tries=50))
    _, seen = read(server.put("/a.ts", media["ts"], "reset"), quick)
    assert seen == ALL


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("missing", "not found"),
        ("html", "wrong type"),
        ("silent", "did not answer within 1 s"),
        ("redirect", "redirects"),
    ],
)
def test_what_cannot_be_had_is_told_in_words(
    server: Server, media: dict[str, bytes], access: Access, mode: Mode, text: str
) -> None:
    url = server.put("/a.mp4", media["mp4"], mode, location="/a.mp4") + "?token=secret"
    with pytest.raises(SourceError, match=text) as caught:
        opened("url", url, access)
    assert "secret" not in str(caught.value)


def test_a_redirect_into_a_private_network_is_refused(server: Server, access: Access) -> None:
    url = server.put("/a.mp4", b"", "redirect", location="http://10.0.0.1/latest/meta-data")
    with pytest.raises(SourceError, match="may not be reached"):
        opened("url", url, access)
    with pytest.raises(SourceError, match="may not be reached"):
        opened("url", server.url("/a.mp4"), replace(access, allowed=()))
    assert len(server.requests) == 1  # the second was never sent


def test_other_protocols_are_refused(access: Access) -> None:
    for url in ("file:///etc/passwd", "rtmp://127.0.0.1/a/b", "concat:a|b", "subfile,,start,0,end,9,,:/etc/passwd"):
        with pytest.raises(SourceError):
            opened("url", url, access)


def test_a_truncated_mp4_is_played_as_far_as_it_goes_then_named(
    server: Server, media: dict[str, bytes], access: Access
) -> None:
    data = media["fast.mp4"]
    found = opened("url", server.put("/a.mp4", data[: len(data) * 2 // 3]), access)
    packets: list[Packet] = []
    with pytest.raises(SourceError, match="cut short"):
        packets.extend(found.packets(0))
    found.close()


def test_a_server_that_sends_less_than_it_says_is_given_up_after_some_tries(
    server: Server, media: dict[str, bytes], access: Access
) -> None:
    once = replace(access, limits=replace(QUICK, tries=1))
    with pytest.raises(SourceError, match=r"broke|less"):
        opened("url", server.put("/a.mp4", media["mp4"], "cut"), once)


def test_a_stop_ends_a_wait_at_once(server: Server, media: dict[str, bytes], access: Access) -> None:
    patient = replace(access, limits=replace(QUICK, patience=timedelta(seconds=60)))
    stop, ended = threading.Event(), threading.Event()

    def work() -> None:
        with pytest.raises(Stopped):
            opened("url", server.put("/a.mp4", media["mp4"], "silent"), patient, stop)
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not server.requests:
        time.sleep(0.01)
    stop.set()
    assert ended.wait(10)
    thread.join()


def test_redirects_lead_to_the_file(server: Server, media: dict[str, bytes], access: Access) -> None:
    server.put("/b.mp4", media["mp4"])
    url = server.put("/a.mp4", b"", "redirect", location="/b.mp4?signed=1")
    _, seen = read(url, access)
    assert seen == ALL


def test_memory_stays_bounded_while_a_file_is_read(
    server: Server, media: dict[str, bytes], access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    store = files.BlockFile._store

    def count(file: files.BlockFile, at: int, piece: bytes) -> None:
        store(file, at, piece)
        kept.append(sum(len(block) for block in file._blocks.values()))

    monkeypatch.setattr(files.BlockFile, "_store", count)
    small = replace(access, limits=replace(QUICK, block=1 << 12, ahead=4, blocks=8))
    _, seen = read(server.put("/a.mp4", media["mp4"]), small)
    assert seen == ALL
    assert max(kept) <= 8 << 12


@pytest.mark.parametrize("kind", ["mp4", "fast.mp4", "ts", "flv", "mkv"])
def test_reading_on_takes_one_request(server: Server, media: dict[str, bytes], access: Access, kind: str) -> None:
    small = replace(access, limits=replace(QUICK, block=1 << 13, blocks=4))
    found = opened("url", server.put("/a", media[kind]), small)
    asked = len(server.requests)
    assert numbers(found.video, found.packets(0)) == ALL
    assert len(server.requests) == asked
    found.close()
