"""Several sound tracks as HLS renditions: listed as players need them, each playable alone and with the pictures."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from services.gateway.delivery.selection import selected_init, selected_segment
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from tests.integration.gateway.test_delivery_recorded import record
from tests.integration.ingester.test_recorder_sound_tracks import without
from tests.support import media_streams
from tests.support.framecode import AUDIO_RATE, ffmpeg
from tests.support.hls_check import attributes, read_media
from tests.support.hls_media import play
from tests.support.hls_server import HlsServer, hls_server
from tests.support.media_recording import Recorded, pieces
from tests.support.nats import NatsServer
from tests.support.recordings import new_event, publish
from tests.support.sound_streams import BEEP_STEP, FPS, SECONDS, clear_starts, several


@pytest.fixture
async def server(nats: NatsServer, tmp_path: Path) -> AsyncIterator[HlsServer]:
    async with hls_server(nats.url, tmp_path) as running:
        yield running


async def recorded(server: HlsServer, folder: Path, data: bytes) -> str:
    event, source = new_event(), folder / "source.ts"
    source.write_bytes(data)
    await publish(server.js, record(server, event, source, 0, "mpegts"))
    await server.job(event, "finished")
    return event


def listed(text: str) -> tuple[list[dict[str, str]], list[tuple[dict[str, str], str]]]:
    """Return the sounds, and the variants with their URIs."""
    lines = text.splitlines()
    media = [attributes(line.partition(":")[2]) for line in lines if line.startswith("#EXT-X-MEDIA:")]
    return media, [
        (attributes(line.partition(":")[2]), lines[at + 1])
        for at, line in enumerate(lines) if line.startswith("#EXT-X-STREAM-INF:")
    ]  # fmt: skip


def sound(url: str, *select: str) -> list[int]:
    """Play a URL with ffmpeg; return where beeps begin."""
    command = [ffmpeg(), "-v", "error", "-xerror", "-i", url, *(select or ("-map", "0:a:0")), "-af", "pan=mono|c0=c0"]
    done = subprocess.run([*command, "-ar", str(AUDIO_RATE), "-f", "s16le", "-"], capture_output=True, check=True)
    return clear_starts(np.frombuffer(done.stdout, np.int16))


def played(url: str) -> tuple[int, int]:
    """Play pictures and all sounds with ffmpeg, without a warning; return the pictures and the number of sounds."""
    command = [ffmpeg(), "-v", "warning", "-xerror", "-i", url, "-map", "0", "-fps_mode", "passthrough"]
    done = subprocess.run([*command, "-f", "framemd5", "-"], capture_output=True, check=True)
    assert done.stderr == b""
    lines = done.stdout.decode().splitlines()
    kinds = {line.split()[1].rstrip(":"): line.split()[2] for line in lines if line.startswith("#media_type")}
    rows = [line.split(",")[0] for line in lines if not line.startswith("#")]
    (video,) = (stream for stream, kind in kinds.items() if kind == "video")
    return rows.count(video), len(set(rows)) - 1


async def test_sounds_are_renditions_in_groups_by_codec(server: HlsServer, tmp_path: Path) -> None:
    event = await recorded(server, tmp_path, several("eng", "deu", "fra", ""))
    for name in ("index.m3u8", "dvr.m3u8"):
        media, variants = listed(await server.text(server.url(event, name)))
        assert [(m["GROUP-ID"], m["NAME"], m.get("LANGUAGE"), m["DEFAULT"]) for m in media] == [
            ("sound-1", "English", "en", "YES"), ("sound-2", "German", "de", "YES"),
            ("sound-3", "French", "fr", "YES"), ("sound-3", "Sound 4", None, "NO"),
        ]  # fmt: skip
        assert {m["TYPE"] for m in media} == {"AUDIO"}
        assert {m["CHANNELS"] for m in media} == {"1"}
        assert [v["CODECS"].split(",")[1] for v, _ in variants] == ["mp4a.40.2", "ac-3", "mp4a.6B"]
        assert [v["AUDIO"] for v, _ in variants] == ["sound-1", "sound-2", "sound-3"]
        assert {uri for _, uri in variants} == {"primary-1-dvr-v.m3u8"}
        assert {v["RESOLUTION"] for v, _ in variants} == {"320x180"}


async def test_each_rendition_plays_alone_and_all_keep_time(server: HlsServer, tmp_path: Path) -> None:
    event = await recorded(server, tmp_path, several("eng", "deu", "fra"))
    whole = read_media(await server.text(server.url(event, "primary-1-dvr.m3u8")))
    for part in ("v", "a2", "a3", "a4"):
        playlist = read_media(await server.text(server.url(event, f"primary-1-dvr-{part}.m3u8")))
        assert [(one.micros, one.number) for one in playlist.parts] == [(one.micros, one.number) for one in whole.parts]
        assert all("?only=" in one.uri and "?only=" in one.init for one in playlist.parts)
    assert await asyncio.to_thread(play, server.url(event, "primary-1-dvr-v.m3u8")) == (SECONDS * FPS, "")
    muxed = [
        await asyncio.to_thread(sound, server.url(event, "primary-1-dvr.m3u8"), "-map", f"0:a:{n}") for n in range(3)
    ]
    for number in range(3):
        alone = await asyncio.to_thread(sound, server.url(event, f"primary-1-dvr-a{number + 2}.m3u8"))
        assert alone == muxed[number]
        assert alone[1] - number * BEEP_STEP == pytest.approx(AUDIO_RATE, abs=1200)
    assert await asyncio.to_thread(played, server.url(event)) == (SECONDS * FPS, 3)


async def test_sounds_without_pictures_are_renditions_too(server: HlsServer, tmp_path: Path) -> None:
    radio = tmp_path / "radio.ts"
    media_streams.run("-v", "error", "-i", "pipe:", "-map", "0:a", "-c", "copy", "-f", "mpegts", radio,
                      data=several("eng", "deu"))  # fmt: skip
    event = await recorded(server, tmp_path, radio.read_bytes())
    media, variants = listed(await server.text(server.url(event)))
    assert [(m["LANGUAGE"], m["URI"]) for m in media] == [
        ("en", "primary-1-dvr-a2.m3u8"), ("de", "primary-1-dvr-a3.m3u8"),
    ]  # fmt: skip
    assert [(v["CODECS"], uri) for v, uri in variants] == [
        ("mp4a.40.2", "primary-1-dvr-a2.m3u8"), ("ac-3", "primary-1-dvr-a3.m3u8"),
    ]  # fmt: skip
    for number in range(2):
        beeps = await asyncio.to_thread(sound, server.url(event, f"primary-1-dvr-a{number + 2}.m3u8"))
        assert len(beeps) >= 5
        assert beeps[1] - beeps[0] == pytest.approx(AUDIO_RATE, abs=4)


async def test_one_sound_stays_with_the_pictures(server: HlsServer, tmp_path: Path) -> None:
    event = await recorded(server, tmp_path, several("eng"))
    media, variants = listed(await server.text(server.url(event)))
    assert (media, [uri for _, uri in variants]) == ([], ["primary-1-dvr.m3u8"])


async def test_a_rendition_that_has_ended_goes_on_without_a_sound(server: HlsServer, tmp_path: Path) -> None:
    event = await recorded(server, tmp_path, without(several("eng", "deu", "fra"), 0x102, 0.4))
    assert await asyncio.to_thread(played, server.url(event)) == (SECONDS * FPS, 3)
    assert len(await asyncio.to_thread(sound, server.url(event, "primary-1-dvr-a3.m3u8"))) in (2, 3)
    assert len(await asyncio.to_thread(sound, server.url(event, "primary-1-dvr-a4.m3u8"))) >= 5


async def test_a_track_that_a_session_lacks_is_its_first_one(server: HlsServer, tmp_path: Path) -> None:
    event = new_event()
    for number, languages in enumerate((("eng", "deu"), ("eng",), ("eng", "deu"))):
        source = tmp_path / f"{number}.ts"
        source.write_bytes(several(*languages))
        await publish(server.js, record(server, event, source, number * 20_000, "mpegts"))
    await server.job(event, "finished")
    playlist = read_media(await server.text(server.url(event, "primary-1-dvr-a3.m3u8")))
    asked = [one.uri.partition("?only=")[2] for one in playlist.parts]
    assert sorted(set(asked)) == ["2", "3"]
    assert asked.index("2") == 3


@pytest.mark.parametrize("file", ["init-0.mp4?only=9", "00000000.m4s?only=9", "00000000.m4s?only=0"])
async def test_tracks_that_are_not_there_are_not_found(server: HlsServer, tmp_path: Path, file: str) -> None:
    event = await recorded(server, tmp_path, several("eng"))
    playlist = read_media(await server.text(server.url(event, "primary-1-dvr.m3u8")))
    folder = playlist.parts[0].uri.rpartition("/")[0]
    answer = await server.http.get(server.url(event, f"{folder}/{file}"))
    assert answer.status_code == (400 if file.endswith("=0") else 404)


def test_what_is_cut_out_is_what_was_put_in(tmp_path: Path) -> None:
    made = Recorded(tmp_path / "recorded")
    made.run("mpegts", pieces(several("eng", "deu", "fra")))
    tracks = parse_init(made.init().read_bytes())
    for track in tracks:
        assert parse_init(selected_init(tracks, track.track_id)) == [track]
        for segment in made.segments:
            alone, data = tmp_path / "alone.m4s", segment.path.read_bytes()
            alone.write_bytes(selected_segment(data, track))
            got, whole = read_fragments(alone).tables, read_fragments(segment.path).tables[track.track_id]
            assert list(got) == [track.track_id]
            own = got[track.track_id]
            for column in ("dts", "pts", "duration", "size", "sync"):
                assert np.array_equal(getattr(own, column), getattr(whole, column))
            cut = alone.read_bytes()
            for mine, theirs, size in zip(own.offset, whole.offset, own.size, strict=True):
                assert cut[mine : mine + size] == data[theirs : theirs + size]
