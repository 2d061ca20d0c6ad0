"""Playlists whose segments fail, expire or are gone: what can be read is read, to the frame, at its time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from threading import Event

import pytest

from services.restreamer.model import FLICKS, SourceError
from services.restreamer.sources import Access, open_media
from tests.support.framecode_record import Spec, encode
from tests.support.outages import BRIEF, HASTY, PATIENT, comes_back, seen
from tests.support.source_server import Mode, Server, source_server
from tests.support.sources import access_to, numbers, opened, seconds, source

LISTED = list(range(300))


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds as playlists of five segments, a folder each."""
    folder = tmp_path_factory.mktemp("lists")
    for kind, options in {"ts": (), "fmp4": ("-hls_segment_type", "fmp4")}.items():
        (folder / kind).mkdir()
        hls = ("-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", *options)
        encode(Spec(seconds=Fraction(10), options=hls), folder / kind / "list.m3u8")
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    with source_server() as made:
        yield made


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return access_to(tmp_path, limits=PATIENT)


@pytest.fixture
def brief(tmp_path: Path) -> Access:
    return access_to(tmp_path, limits=BRIEF)


@pytest.fixture
def hasty(tmp_path: Path) -> Access:
    return access_to(tmp_path, limits=HASTY)


def test_a_playlist_may_come_packed(server: Server, lists: Path, access: Access) -> None:
    url = serve(server, lists / "ts")
    server.files["/x/list.m3u8"].mode = "gzip"
    assert seen(opened("url", url, access)) == LISTED


def serve(server: Server, folder: Path, query: str = "") -> str:
    for file in folder.iterdir():
        server.put(f"/x/{file.name}", file.read_bytes(), query=query)
    return server.url("/x/list.m3u8")


def names(lists: Path, kind: str) -> list[str]:
    return [line for line in (lists / kind / "list.m3u8").read_text().splitlines() if not line.startswith("#")]


def without(*gone: int) -> list[int]:
    return [number for number in LISTED if number // 60 not in gone]


@pytest.mark.parametrize(
    ("mode", "gone"),
    [
        ("missing", (0,)), ("missing", (2,)), ("missing", (4,)), ("missing", (0, 1)), ("missing", (1, 3)),
        ("missing", (3, 4)), ("forbidden", (2, 3)), ("html", (0,)), ("html", (2,)), ("busy", (2,)), ("silent", (2, 3)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["ts", "fmp4"])
def test_only_segments_that_cannot_be_had_are_left_out(
    server: Server, lists: Path, hasty: Access, kind: str, gone: tuple[int, ...], mode: Mode
) -> None:
    url = serve(server, lists / kind)
    for number in gone:
        server.files[f"/x/{names(lists, kind)[number]}"].mode = mode
        server.files[f"/x/{names(lists, kind)[number]}"].times = 1000
    told: list[str] = []
    found = open_media(source("url", url), hasty, Event(), told.append)
    assert seen(found) == without(*gone)
    assert len(told) == len(gone)
    assert all(
        f"segment {n + 1} of the playlist ({names(lists, kind)[n]})" in t for n, t in zip(gone, told, strict=True)
    )


@pytest.mark.parametrize("kind", ["ts", "fmp4"])
def test_what_follows_a_hole_keeps_its_time(server: Server, lists: Path, brief: Access, kind: str) -> None:
    url = serve(server, lists / kind)
    server.files[f"/x/{names(lists, kind)[2]}"].mode = "missing"
    found = opened("url", url, brief)
    list(found.packets(0))
    assert found.resumes is not None
    assert abs(found.resumes - seconds(6)) < FLICKS // 50
    assert numbers(found.video, found.packets(found.resumes)) == LISTED[180:]
    assert numbers(found.video, found.packets(seconds(8.5))) == LISTED[240:]
    assert numbers(found.video, found.packets(seconds(3))) == LISTED[60:120]
    found.close()
    again = opened("url", url, brief)
    assert seen(again, start=5) == LISTED[180:]  # into the hole


@pytest.mark.parametrize("kind", ["ts", "fmp4"])
@pytest.mark.parametrize("gone", [0, 2, 4])
def test_a_segment_that_breaks_off_for_good_gives_its_whole_pictures(
    server: Server, lists: Path, hasty: Access, kind: str, gone: int
) -> None:
    url = serve(server, lists / kind)
    data = server.files[f"/x/{names(lists, kind)[gone]}"].data
    server.put(f"/x/{names(lists, kind)[gone]}", data, "plain", halves=1000)
    got = seen(opened("url", url, hasty))
    rest = [number for number in got if number // 60 == gone]
    assert [number for number in got if number // 60 != gone] == without(gone)
    assert rest[:-3] == list(range(gone * 60, gone * 60 + len(rest) - 3))


def test_a_missing_init_segment_is_named(server: Server, lists: Path, brief: Access) -> None:
    url = serve(server, lists / "fmp4")
    server.files["/x/init.mp4"].mode = "missing"
    with pytest.raises(SourceError, match=r"segments 1 to 5 of the playlist \(init.mp4\).*not found"):
        opened("url", url, brief)


def test_too_many_missing_segments_in_a_row_are_as_good_as_none(server: Server, lists: Path, hasty: Access) -> None:
    url = serve(server, lists / "ts")
    many = "".join(f"#EXTINF:2,\ngone{n}.ts\n" for n in range(30))
    text = server.files["/x/list.m3u8"].data.decode().replace("#EXT-X-ENDLIST\n", many)
    server.put("/x/list.m3u8", text.encode())
    found = opened("url", url, hasty)
    with pytest.raises(SourceError, match=r"segment 16 of the playlist \(gone10.ts\)"):
        seen(found)


def test_an_outage_in_a_playlist_is_waited_for(server: Server, lists: Path, access: Access) -> None:
    url = serve(server, lists / "ts")
    third = server.files[f"/x/{names(lists, 'ts')[2]}"]
    third.breaks_at = len(third.data) // 2
    back = comes_back(server)
    assert seen(opened("url", url, access)) == LISTED
    back.join()


@pytest.mark.parametrize("redirected", [False, True])
def test_a_playlist_whose_segments_have_expired_is_read_anew(
    server: Server, lists: Path, brief: Access, redirected: bool
) -> None:
    url = serve(server, lists / "ts")
    text = server.files["/x/list.m3u8"].data
    if redirected:
        url = server.put("/list", b"", "redirect", location="/x/list.m3u8")
    told: list[str] = []
    found = open_media(source("url", url), brief, Event(), told.append)
    for name in names(lists, "ts"):
        data = server.files[f"/x/{name}"].data
        server.put(f"/x/{name}", data, "expired")
        server.put(f"/y/{name}", data)
    if redirected:
        server.put("/y/list.m3u8", text)
        server.files["/list"].location = "/y/list.m3u8"
    else:
        server.put("/x/list.m3u8", text.replace(b"list", b"../y/list"))
    assert seen(found) == LISTED
    assert told == []


@pytest.mark.parametrize("kind", ["ts", "fmp4"])
def test_a_playlist_s_query_goes_with_its_segments_where_it_must(
    server: Server, lists: Path, brief: Access, kind: str
) -> None:
    url = serve(server, lists / kind, query="token=abc")
    assert seen(opened("url", f"{url}?token=abc", brief)) == LISTED
    other = [path for path, _ in server.requests if path.endswith((".ts", ".m4s"))]
    assert len(other) <= len(set(other)) + 1  # it is found out once
