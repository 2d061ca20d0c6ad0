"""Origins that fail for a while, forget, expire, or answer in odd forms: what can be read is read, to the frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from services.restreamer.model import Media, Packet, SourceError
from services.restreamer.sources import Access, Spool, open_media
from shared.store.reserve import Reserve
from tests.support.framecode_record import Spec, encode
from tests.support.outages import BRIEF, HASTY, PATIENT, collect, comes_back, seen
from tests.support.source_server import Mode, Server, source_server
from tests.support.sources import access_to, numbers, opened, seconds, source
from tests.support.waiting import wait_until

ALL = list(range(450))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Fifteen seconds of numbered pictures and beeps, in each container; `mp4` has its moov at the end."""
    folder = tmp_path_factory.mktemp("media")
    made = {"mp4": (), "fast.mp4": ("-movflags", "+faststart"), "ts": (), "flv": (), "mkv": ()}
    for name, options in made.items():
        encode(Spec(seconds=Fraction(15), options=options), folder / f"a.{name}")
    return {name: (folder / f"a.{name}").read_bytes() for name in made}


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


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["mp4", "fast.mp4", "ts", "flv", "mkv"])
def test_an_origin_that_is_down_for_a_while_in_mid_file_loses_nothing(
    server: Server, media: dict[str, bytes], access: Access, kind: str, part: float
) -> None:
    url = server.put("/a", media[kind], breaks_at=int(len(media[kind]) * part))
    back = comes_back(server)
    assert seen(opened("url", url, access)) == ALL
    back.join()
    assert server.refused >= 3


def test_an_origin_that_is_down_when_a_file_is_opened_is_waited_for(
    server: Server, media: dict[str, bytes], access: Access
) -> None:
    server.down = True
    back = comes_back(server, after=6)
    assert seen(opened("url", server.put("/a", media["ts"]), access)) == ALL
    back.join()


def test_an_origin_that_stays_away_is_given_up_with_one_line_and_no_traceback(
    server: Server, media: dict[str, bytes], hasty: Access, capfd: pytest.CaptureFixture[str]
) -> None:
    url = server.put("/a.mp4", media["fast.mp4"], breaks_at=len(media["fast.mp4"]) * 3 // 4) + "?token=hidden"
    found = opened("url", url, hasty)
    with pytest.raises(SourceError, match="connection") as caught:
        list(found.packets(0))
    assert not caught.value.lasting
    found.close()
    told = "".join(capfd.readouterr())
    assert "Traceback" not in told
    assert "dropped" not in told
    assert told.count("source.given_up") == 1
    assert "/a.mp4" in told
    assert "hidden" not in told


@pytest.mark.parametrize("kind", ["fast.mp4", "ts", "flv", "mkv"])
def test_all_whole_pictures_before_a_break_are_given(
    server: Server, media: dict[str, bytes], hasty: Access, kind: str
) -> None:
    data = media[kind]
    found = opened("url", server.put("/a", data, "plain", breaks_at=len(data) * 3 // 4), hasty)
    packets: list[Packet] = []
    with pytest.raises(SourceError, match="connection"):
        collect(found.packets(0), packets)
    got = numbers(found.video, packets)
    assert len(got) > 300
    assert got[:-3] == ALL[: len(got) - 3]  # of the last ones, some may have waited for others to be decoded
    found.close()


FORMS: list[Mode] = ["plain", "gzip", "unknown", "no-parts", "chunked", "old"]


@pytest.mark.parametrize("mode", FORMS)
@pytest.mark.parametrize("kind", ["mp4", "fast.mp4", "ts"])
def test_forms_of_answers(server: Server, media: dict[str, bytes], access: Access, kind: str, mode: Mode) -> None:
    assert seen(opened("url", server.put("/a", media[kind], mode), access)) == ALL


@pytest.mark.parametrize("kind", ["mp4", "fast.mp4", "ts", "flv", "mkv"])
def test_a_url_may_expire_once_its_file_is_open(
    server: Server, media: dict[str, bytes], access: Access, kind: str
) -> None:
    found = opened("url", server.put("/a", media[kind]), access)
    server.files["/a"].mode = "expired"
    assert seen(found) == ALL


def test_a_later_part_of_a_file_whose_url_has_expired_is_reached_through_what_lies_before_it(
    server: Server, media: dict[str, bytes], brief: Access
) -> None:
    found = opened("url", server.put("/a", media["fast.mp4"]), brief)
    server.files["/a"].mode = "expired"
    assert seen(found, start=12.5) == ALL[360:]


def test_a_url_that_expires_and_a_connection_that_breaks_are_too_much_together(
    server: Server, media: dict[str, bytes], brief: Access
) -> None:
    data = media["flv"]
    found = opened("url", server.put("/a", data, waits_at=len(data) // 2, breaks_at=len(data) // 2), brief)
    server.files["/a"].mode = "expired"
    server.files["/a"].go.set()
    wait_until(lambda: server.down, 10)
    server.down = False
    with pytest.raises(SourceError, match="refused"):
        list(found.packets(0))
    found.close()


def test_a_signed_place_behind_a_redirect_is_asked_for_anew(
    server: Server, media: dict[str, bytes], access: Access
) -> None:
    data = media["flv"]
    server.put("/signed1", data, breaks_at=len(data) // 2)
    server.put("/signed2", data)
    url = server.put("/a", b"", "redirect", location="/signed1")
    found = opened("url", url, access)
    server.files["/signed1"].mode = "expired"
    server.files["/a"].location = "/signed2"
    back = comes_back(server)
    assert seen(found) == ALL
    back.join()
    assert "/signed2" in [path for path, _ in server.requests]


def test_a_place_that_worked_is_asked_when_what_led_there_says_no(
    server: Server, media: dict[str, bytes], access: Access
) -> None:
    data = media["flv"]
    server.put("/signed", data, breaks_at=len(data) // 2)
    found = opened("url", server.put("/a", b"", "redirect", location="/signed"), access)
    server.files["/a"].mode = "expired"
    back = comes_back(server)
    assert seen(found) == ALL
    back.join()


@pytest.mark.parametrize(
    ("then", "fits"),
    [
        ({"mode": "plain"}, True),  # it forgets ranges, and sends all
        ({"mode": "plain", "tag": ""}, True),
        ({"tag": '"2"', "changed": "Mon, 01 Jan 2024 00:00:00 GMT"}, True),  # another server of the same name
        ({"tag": '"2"', "changed": "Mon, 01 Jan 2024 00:00:01 GMT"}, False),
        ({"tag": '"2"'}, False),
        ({"mode": "heedless", "tag": '"2"'}, False),  # it sends a part of another file
        ({"more": "one byte"}, False),  # whatever its tag says
        ({"more": "one byte", "tag": ""}, False),
        ({"mode": "missing"}, False),
        ({"mode": "redirect", "location": "http://10.0.0.1/a"}, False),
    ],
)
def test_what_may_differ_when_reading_goes_on(
    server: Server, media: dict[str, bytes], brief: Access, then: dict[str, Any], fits: bool
) -> None:
    data = media["flv"]
    first = {"changed": "Mon, 01 Jan 2024 00:00:00 GMT"} if "changed" in then else {}
    half = len(data) // 2
    found = opened("url", server.put("/a", data, breaks_at=half, waits_at=half, **first), brief)
    file = server.files["/a"]
    more = then.get("more", "")
    changed = first | {name: value for name, value in then.items() if name != "more"}
    server.put("/a", data + more.encode(), **changed)
    file.go.set()
    wait_until(lambda: server.down, 10)
    server.down = False
    if fits:
        assert seen(found) == ALL
        return
    with pytest.raises(SourceError):
        list(found.packets(0))
    found.close()


def test_what_is_read_through_where_ranges_are_forgotten_is_bounded(
    server: Server, media: dict[str, bytes], brief: Access
) -> None:
    half = len(media["flv"]) // 2
    strict = replace(brief, limits=replace(BRIEF, skip=half - 1))
    found = opened("url", server.put("/a", media["flv"], breaks_at=half, waits_at=half), strict)
    file = server.files["/a"]
    server.put("/a", media["flv"], "plain")
    file.go.set()
    wait_until(lambda: server.down, 10)
    server.down = False
    with pytest.raises(SourceError, match="no ranges") as caught:
        seen(found)
    assert not caught.value.lasting


def test_a_server_that_is_asked_to_be_left_alone_for_a_moment_is(
    server: Server, media: dict[str, bytes], access: Access
) -> None:
    assert seen(opened("url", server.put("/a", media["ts"], "busy", times=4), access)) == ALL


def late(server: Server, data: bytes, access: Access, told: list[str]) -> Media:
    return open_media(source("url", server.put("/a.mp4", data, "plain")), access, Event(), told.append)


def test_an_index_at_the_end_without_ranges_is_fetched_whole_and_leaves_nothing(
    server: Server, media: dict[str, bytes], access: Access, tmp_path: Path
) -> None:
    told: list[str] = []
    spooling = replace(access, spool=Spool(tmp_path / "spool", Reserve(tmp_path, 1 << 20)))
    found = late(server, media["mp4"], spooling, told)
    assert list((tmp_path / "spool").iterdir()) == []
    assert numbers(found.video, found.packets(seconds(12.5))) == ALL[360:]
    assert seen(found) == ALL
    assert len(server.requests) == 1
    assert len(told) == 1
    assert "fetched whole" in told[0]


def full(_: Path) -> tuple[int, int, int]:
    return 1 << 30, 1 << 30, 1 << 10


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda access: replace(access, limits=replace(PATIENT, spool=0)), "moov.*end"),
        (lambda access: replace(access, limits=replace(PATIENT, spool=1 << 15)), "larger than"),
        (lambda access: replace(access, spool=Spool(None, Reserve(Path("/"), 1 << 20, full))), "too little room"),
        (lambda access: replace(access, spool=Spool(Path("/proc/none"))), "cannot be fetched whole"),
    ],
)
def test_what_is_fetched_whole_is_bounded(
    server: Server, media: dict[str, bytes], access: Access, change: Callable[[Access], Access], why: str
) -> None:
    with pytest.raises(SourceError, match=why):
        late(server, media["mp4"], change(access), [])
