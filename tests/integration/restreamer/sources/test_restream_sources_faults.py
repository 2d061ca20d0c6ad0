"""Sources that lie, dawdle or attack: each is named in words, nothing waits for ever, nothing grows without bound."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from services.restreamer.model import Media, SourceError
from services.restreamer.sources import Access, pictures
from services.restreamer.sources.origins import http
from shared.media.mp4.boxes import children
from tests.support.framecode_record import Spec, encode
from tests.support.rtmp_certificate import make_contexts
from tests.support.source_server import Mode, Server, source_server
from tests.support.sources import ACCOUNT, QUICK, access_to, numbers, opened

ALL = list(range(180))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Six seconds that can be read from its start to its end."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    encode(Spec(options=("-movflags", "+faststart")), path)
    return path.read_bytes()


@pytest.fixture
def server() -> Iterator[Server]:
    with source_server() as made:
        yield made


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return access_to(tmp_path)


def seen(media: Media) -> list[int]:
    try:
        return numbers(media.video, media.packets(0))
    finally:
        media.close()


@pytest.mark.parametrize(("mode", "why"), [("drip", "next to nothing came"), ("drip-head", "did not answer within")])
def test_a_byte_now_and_then_is_no_progress(server: Server, film: bytes, access: Access, mode: Mode, why: str) -> None:
    hasty = replace(access, limits=replace(QUICK, patience=timedelta(milliseconds=300)))
    with pytest.raises(SourceError, match=why):
        opened("url", server.put("/a.mp4", film, mode), hasty)
    assert len(server.requests) == QUICK.tries


@pytest.mark.parametrize("mode", ["", "plain"])
def test_reading_goes_on_at_the_byte_where_it_ended(server: Server, film: bytes, access: Access, mode: Mode) -> None:
    assert seen(opened("url", server.put("/a.mp4", film, mode, halves=1), access)) == ALL
    wanted = [re.fullmatch(r"bytes=(\d+)-\d*", text) for _, text in server.requests[:2]]
    asked = min(len(film), access.limits.block)
    assert [int(found[1]) for found in wanted if found] == [0, asked // 2 if not mode else len(film) // 2]


def test_a_server_may_send_less_than_was_asked_for(server: Server, film: bytes, access: Access) -> None:
    strict = replace(access, limits=replace(QUICK, tries=1))
    assert seen(opened("url", server.put("/a.mp4", film, most=1 << 14), strict)) == ALL
    with pytest.raises(SourceError, match="less than it says"):  # but not next to nothing, again and again
        opened("url", server.put("/b.mp4", film, most=1), strict)


def test_bytes_behind_an_answer_are_nobody_s(server: Server, film: bytes, access: Access) -> None:
    small = replace(access, limits=replace(QUICK, block=1 << 15, ahead=1))
    assert seen(opened("url", server.put("/a.mp4", film, surplus=b"HTTP/1.1 200 OK\r\n"), small)) == ALL


@pytest.mark.parametrize(
    ("data", "why"), [(b"PK\3\4" + bytes(999), "a ZIP"), (b"", "empty"), (b"\n<!DOCTYPE html>", "a web page")]
)
@pytest.mark.parametrize("mode", ["", "plain"])
def test_what_is_no_video_is_named(server: Server, access: Access, data: bytes, why: str, mode: Mode) -> None:
    with pytest.raises(SourceError, match=why):
        opened("url", server.put("/a.mp4", data, mode), access)


def test_a_certificate_that_nobody_vouches_for_is_named_and_not_asked_for_again(
    film: bytes, access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving, trusting = make_contexts(tmp_path)
    with source_server(serving) as server:
        url = server.put("/a.mp4", film)
        with pytest.raises(SourceError, match="certificate is not trusted") as caught:
            opened("url", url, access)
        assert caught.value.lasting
        monkeypatch.setattr(http, "_tls", lambda: trusting)
        assert seen(opened("url", url, access)) == ALL


def test_a_name_of_a_private_address_is_not_called(
    server: Server, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    redirect = server.put("/a.mp4", b"", "redirect", location="http://there.example.com/b.mp4?token=hidden")
    for url in ("http://inside.example.com/a.mp4?token=hidden", redirect):
        with pytest.raises(SourceError, match="no address that may be reached") as caught:
            opened("url", url, access)
        assert "hidden" not in str(caught.value)
    assert asked == ["inside.example.com", "there.example.com"]


def test_a_redirect_to_what_is_no_url_is_named(server: Server, access: Access) -> None:
    url = server.put("/a.mp4", b"", "redirect", location="http://[hidden/b.mp4")
    with pytest.raises(SourceError, match="no URL") as caught:
        opened("url", url, access)
    assert "hidden" not in str(caught.value)


def test_an_index_of_a_thousand_million_frames_takes_no_memory(film: bytes, tmp_path: Path) -> None:
    """Twelve bytes of an mp4 say how many frames it has; FFmpeg makes an entry of 40 bytes for each."""
    access = access_to(tmp_path)
    (access.library / ACCOUNT).mkdir(parents=True)
    bomb = bytearray(film)
    count = 1 << 25
    struct.pack_into(">II", bomb, bomb.find(b"stsz") + 8, 1, count)
    at = bomb.find(b"stsc") + 8
    struct.pack_into(">IIII", bomb, at, 1, 1, count, 1)
    assert any(box.kind == b"moov" for box in children(bytes(bomb)))
    (access.library / ACCOUNT / "bomb.mp4").write_bytes(bomb)
    script = (
        "import resource, sys; from pathlib import Path; from services.restreamer.model import SourceError\n"
        "from tests.support.sources import access_to, opened\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: list(opened('library', 'bomb.mp4', access_to(Path(sys.argv[1]))).packets(0))\n"
        "except SourceError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=Path(__file__).parents[4])
    assert int(done.stdout) < 300 << 10  # KiB


def test_kept_watermarks_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(data: bytes, _side: int) -> pictures.StillImage:
        return pictures.StillImage("png", data, np.zeros((10, 10, 4), np.uint8))

    monkeypatch.setattr(pictures, "decode", decode)
    monkeypatch.setattr(pictures, "MOST_BYTES", 1000)
    cache = pictures.PictureCache()
    for place in ("a", "b", "c"):
        cache.add(place, place.encode(), 10)
    assert [cache.known(place) is not None for place in ("a", "b", "c")] == [False, True, True]
