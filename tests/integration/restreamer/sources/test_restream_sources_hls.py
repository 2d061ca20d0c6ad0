"""Playlists: segments of both kinds, ranges, keys, discontinuities, and what is refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from services.restreamer.model import FLICKS, SourceError
from services.restreamer.sources import Access, resolve_range
from shared.messages.restreams import Range
from tests.support.framecode_record import Spec, encode
from tests.support.source_server import Server, source_server
from tests.support.sources import access_to, check_times, numbers, opened, seconds

ALL = list(range(300))
TS: tuple[str, ...] = ()
FMP4 = ("-hls_segment_type", "fmp4")
ONE_FILE = ("-hls_flags", "single_file")


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds as playlists of each kind, a folder each."""
    folder = tmp_path_factory.mktemp("lists")
    keys = folder / "key"
    keys.write_bytes(secrets.token_bytes(16))
    info = folder / "key-info"
    info.write_text(f"key\n{keys}\n")
    kinds = {
        "ts": TS, "fmp4": FMP4, "ranges": ONE_FILE, "fmp4-ranges": (*FMP4, *ONE_FILE),
        "sealed": ("-hls_key_info_file", str(info)),
    }  # fmt: skip
    for kind, options in kinds.items():
        (folder / kind).mkdir()
        hls = ("-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", *options)
        encode(Spec(seconds=Fraction(10), options=hls), folder / kind / "list.m3u8")
    (folder / "sealed" / "key").write_bytes(keys.read_bytes())
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    with source_server() as made:
        yield made


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return access_to(tmp_path)


def serve(server: Server, folder: Path, at: str = "/x") -> str:
    for file in folder.iterdir():
        server.put(f"{at}/{file.name}", file.read_bytes())
    return server.url(f"{at}/list.m3u8")


@pytest.mark.parametrize("kind", ["ts", "fmp4", "ranges", "fmp4-ranges", "sealed"])
def test_pictures_come_in_order_over_the_borders_of_segments(
    server: Server, lists: Path, access: Access, kind: str
) -> None:
    found = opened("url", serve(server, lists / kind), access)
    packets = list(found.packets(0))
    check_times(packets)
    assert numbers(found.video, packets) == ALL
    sound = [p for p in packets if p.kind == "audio"]
    steps = {b.pts - a.pts for a, b in pairwise(sound)}
    assert max(steps) - min(steps) < FLICKS // 500
    assert found.resumes is None
    assert found.duration is not None
    assert abs(found.duration - seconds(10)) < seconds(0.5)
    found.close()


@pytest.mark.parametrize("kind", ["ts", "fmp4", "sealed"])
def test_a_time_is_found_without_reading_what_comes_before(
    server: Server, lists: Path, access: Access, kind: str
) -> None:
    found = opened("url", serve(server, lists / kind), access)
    server.requests.clear()
    packets = list(found.packets(seconds(7)))
    assert packets[0].pts <= seconds(7)
    first = next(p for p in packets if p.kind == "video")
    assert first.key
    assert abs(first.pts - seconds(6)) < FLICKS // 1000
    assert numbers(found.video, packets) == ALL[180:]
    assert not any("1." in path for path, _ in server.requests)  # the second segment
    assert numbers(found.video, found.packets(0)) == ALL
    found.close()


def test_a_discontinuity_is_a_seam_where_times_go_on(
    server: Server, lists: Path, access: Access, tmp_path: Path
) -> None:
    other = Spec(seconds=Fraction(4), first_number=300, bframes=0, codec="hevc", audio=None)
    hls = ("-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod")
    (tmp_path / "b").mkdir()
    encode(Spec(**{**other.__dict__, "options": hls}), tmp_path / "b" / "b.m3u8")
    url = serve(server, lists / "ts")
    serve(server, tmp_path / "b")
    text = server.files["/x/list.m3u8"].data.decode().replace("#EXT-X-ENDLIST\n", "#EXT-X-DISCONTINUITY\n")
    text += (tmp_path / "b" / "b.m3u8").read_text().split("#EXTM3U\n", 1)[1]
    server.put("/x/list.m3u8", text.encode())
    found = opened("url", url, access)
    first = found.video
    packets = list(found.packets(0))
    assert numbers(first, packets) == ALL
    seam = found.resumes
    assert seam is not None
    assert seam == max(p.pts + p.duration for p in packets if p.kind == "video")
    assert abs(seam - seconds(10)) < FLICKS // 1000
    assert found.video is not None
    assert (found.video.codec, found.audio) == ("hevc", None)
    after = list(found.packets(seam))
    assert after[0].pts == seam
    assert numbers(found.video, after) == list(range(300, 420))
    assert found.resumes is None
    again = list(found.packets(seconds(12.5)))  # straight into the second run
    assert numbers(found.video, again) == list(range(360, 420))
    assert numbers(first, found.packets(seconds(9))) == ALL[240:]
    found.close()


def test_the_wall_clock_of_a_playlist_finds_its_segments(server: Server, lists: Path, access: Access) -> None:
    url = serve(server, lists / "ts")
    head, *parts = server.files["/x/list.m3u8"].data.decode().split("#EXTINF")
    dated = [
        f"#EXT-X-PROGRAM-DATE-TIME:2024-05-01T{10 + (n >= 3)}:00:{2 * n:02}.000+02:00\n#EXTINF{part}"
        for n, part in enumerate(parts)
    ]
    server.put("/x/list.m3u8", (head + "".join(dated)).encode())
    found = opened("url", url, access)
    assert found.wall_start_ms == 1_714_550_400_000
    hour = 3_600_000
    wall = Range(clock="wall", start=found.wall_start_ms + hour + 7000, end=found.wall_start_ms + hour + 9000)
    start, end = resolve_range(found, wall)
    assert (round(start / FLICKS, 2), round((end or 0) / FLICKS, 2)) == (7.0, 9.0)
    found.close()


def test_a_live_list_is_what_it_holds_now(server: Server, lists: Path, access: Access) -> None:
    url = serve(server, lists / "ts")
    text = server.files["/x/list.m3u8"].data.decode()
    server.put("/x/list.m3u8", "#EXTINF".join(text.split("#EXTINF")[:3]).encode())
    found = opened("url", url, access)
    assert numbers(found.video, found.packets(0)) == ALL[:120]
    found.close()


def test_large_segments_of_a_second_run_are_entered_at_once(server: Server, lists: Path, access: Access) -> None:
    """The segment in play, the one that is sought and its run's first are open together."""
    url = serve(server, lists / "ts")
    stuffing = (bytes((0x47, 0x1F, 0xFF, 0x10)) + bytes(184)) * 50_000
    for path, file in server.files.items():
        file.data += stuffing if path.endswith(".ts") else b""
    text = server.files["/x/list.m3u8"].data.decode()
    again = text.split("#EXTM3U\n", 1)[1]
    server.put("/x/list.m3u8", text.replace("#EXT-X-ENDLIST", f"#EXT-X-DISCONTINUITY\n{again}").encode())
    found = opened("url", url, access)
    first = next(p for p in found.packets(seconds(17)) if p.kind == "video")
    assert abs(first.pts - seconds(16)) < FLICKS // 1000
    found.close()


@pytest.mark.parametrize("sealed", [True, False])
def test_a_key_before_the_init_segment_seals_that_too(
    server: Server, lists: Path, access: Access, *, sealed: bool
) -> None:
    url, key, vector = serve(server, lists / "fmp4"), secrets.token_bytes(16), secrets.token_bytes(16)
    server.put("/x/key", key)
    for path, file in server.files.items():
        if path.endswith(".m4s") or (sealed and path.endswith(".mp4")):
            pad = 16 - len(file.data) % 16
            cipher = Cipher(algorithms.AES128(key), modes.CBC(vector)).encryptor()
            file.data = cipher.update(file.data + bytes((pad,)) * pad) + cipher.finalize()
    text = server.files["/x/list.m3u8"].data.decode()
    line = f'#EXT-X-KEY:METHOD=AES-128,URI="key",IV=0x{vector.hex()}\n'
    server.put("/x/list.m3u8", text.replace("#EXT-X-MAP", f"{line}#EXT-X-MAP").encode())
    found = opened("url", url, access)
    assert numbers(found.video, found.packets(0)) == ALL
    found.close()


def test_of_thousands_of_segments_those_are_read_that_are_played(server: Server, lists: Path, access: Access) -> None:
    url = serve(server, lists / "ts")
    parts = [f"#EXTINF:2.0,\nlist{n % 5}.ts\n" for n in range(20_000)]
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n"
    runs = "#EXT-X-DISCONTINUITY\n".join("".join(parts[at : at + 5]) for at in range(0, len(parts), 5))
    server.put("/x/list.m3u8", f"{head}{runs}#EXT-X-ENDLIST\n".encode())
    found = opened("url", url, access)
    assert found.duration == seconds(40_000)
    server.requests.clear()
    packets = found.packets(seconds(35_006.5))
    assert abs(next(p for p in packets if p.kind == "video").pts - seconds(35_006)) < FLICKS // 1000
    assert len(server.requests) < 4
    found.close()


MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n"
NESTED = "#EXTM3U\n#EXTINF:2,\nother.m3u8?x=1\n"
HIDDEN = "#EXTM3U\n#EXTINF:2,\nsegment.ts\n"
AWAY = "#EXTM3U\n#EXTINF:2,\nhttp://10.1.2.3/a.ts\n"
LOCAL = "#EXTM3U\n#EXTINF:2,\nfile:///etc/passwd\n"
ODD = "#EXTM3U\n#EXTINF:2,\nhttp://[a/b.ts\n"
DRM = '#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n#EXTINF:2,\na.ts\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [(MASTER, "other playlists"), (NESTED, "other playlists"), (HIDDEN, "other playlists"), (AWAY, "not be reached"),
     (LOCAL, "refused"), (DRM, "encrypted"), (ODD, "no URL")],
)  # fmt: skip
def test_what_a_playlist_may_not_refer_to(server: Server, access: Access, text: str, why: str) -> None:
    server.put("/segment.ts", MASTER.encode())
    with pytest.raises(SourceError, match=why):
        opened("url", server.put("/list.m3u8", text.encode()), access)


@pytest.mark.parametrize("pids", [(), ("-streamid", "0:300", "-streamid", "1:301")], ids=["same", "other"])
def test_another_codec_without_a_word_in_the_playlist_is_a_seam(
    server: Server, lists: Path, access: Access, pids: tuple[str, ...], tmp_path: Path
) -> None:
    options = (
        "-f",
        "hls",
        "-hls_time",
        "2",
        "-hls_playlist_type",
        "vod",
        "-hls_segment_filename",
        str(tmp_path / "b%d.ts"),
    )
    encode(Spec(seconds=Fraction(4), codec="hevc", first_number=300, options=(*options, *pids)), tmp_path / "b.m3u8")
    segments = [path for folder in (lists / "ts", tmp_path) for path in sorted(folder.glob("*.ts"))]
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:3"]
    for path in segments:
        server.put(f"/x/{path.name}", path.read_bytes())
        lines += ["#EXTINF:2.0,", path.name]
    server.put("/x/list.m3u8", "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode())
    found = opened("url", server.url("/x/list.m3u8"), access)
    before = found.video
    assert numbers(before, list(found.packets(0)))[:297] == ALL[:297]
    assert found.resumes is not None
    assert abs(found.resumes - 10 * FLICKS) < FLICKS // 5
    packets = list(found.packets(found.resumes))
    assert (before and before.codec, found.video and found.video.codec) == ("h264", "hevc")
    assert numbers(found.video, packets) == list(range(300, 420))
    assert any(packet.kind == "audio" for packet in packets)
    found.close()
