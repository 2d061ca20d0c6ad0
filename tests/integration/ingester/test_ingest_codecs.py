"""What cannot be recorded: who sends nothing else is told at once, the rest of a stream is recorded, all is told."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.gateway.delivery.codecs import codecs_of
from shared.media.mp4.init import parse_init
from shared.messages.sessions import PublisherStatus
from tests.support.ingest_desk import ingesting, lines, statuses, warned
from tests.support.media_streams import FFMPEG
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.sessions_desk import Desk

AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-g", "15")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "15")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "15")
MPEG2, SORENSON = ("-c:v", "mpeg2video", "-g", "15"), ("-c:v", "flv1", "-g", "15")
NO_VIDEO, NO_SOUND = ("-vn",), ("-an",)
AAC, MP2, AC3 = ("-c:a", "aac"), ("-c:a", "mp2"), ("-c:a", "ac3")
NELLY, DTS = ("-c:a", "nellymoser", "-ar", "22050", "-ac", "1"), ("-c:a", "dca", "-strict", "-2")


@contextmanager
def encoder(url: str, form: str, *codecs: str) -> Iterator[subprocess.Popen[str]]:
    """Encode a minute in real time."""
    command = [
        FFMPEG, "-hide_banner", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=s=160x90:r=15:d=60", "-re",
        "-f", "lavfi", "-i", "sine=r=44100:d=60", *codecs, "-f", form, url,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def last(at: Desk) -> PublisherStatus:
    """Wait until the job's publisher has ended; give what was told last."""

    async def look() -> PublisherStatus | None:
        found = await statuses(at)
        return found[0] if found and found[0].ended_ms is not None else None

    status: PublisherStatus = await until(look)
    return status


async def side_by_side(cases: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all at once: each is a job of its own, and most of its time is the stream's."""
    async with asyncio.TaskGroup() as group:
        for case in cases:
            group.create_task(case)


async def test_rtmp_without_anything_to_record_is_refused_in_words(nats: NatsServer, tmp_path: Path) -> None:
    cases: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        ((*SORENSON, *NO_SOUND), ("Sorenson H.263 video",)),
        ((*NO_VIDEO, *NELLY), ("Nellymoser audio",)),
    ]

    async def check(at: Desk, codecs: tuple[str, ...], tracks: tuple[str, ...]) -> None:
        await at.job()
        with encoder(f"rtmp://127.0.0.1:{at.rtmp}/live/{at.key}", "flv", *codecs) as process:
            _, said = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode != 0
        assert f"Server error: Publishing was refused: {', '.join(tracks)} cannot be recorded." in said, codecs
        [event] = await until(lambda: warned(at))
        assert (event.tracks, event.recorded, event.protocol) == (tracks, False, "rtmp")
        status = await last(at)
        assert (status.unsupported, status.reason) == (tracks, "bad_media")
        assert await at.segments() == []

    async with ingesting(nats, tmp_path, tmp_path) as (at, _):
        await side_by_side(check(at.next(), *case) for case in cases)


async def test_rtmp_is_recorded_as_far_as_it_can_be(nats: NatsServer, tmp_path: Path) -> None:
    cases = [((*SORENSON, *AAC), "Sorenson H.263 video", "aac"), ((*H264, *NELLY), "Nellymoser audio", "h264")]

    async def check(at: Desk, codecs: tuple[str, ...], track: str, kept: str) -> None:
        await at.job()
        with encoder(f"rtmp://127.0.0.1:{at.rtmp}/live/{at.key}", "flv", *codecs):
            await until(at.segments, 60)
            [event] = await until(lambda: warned(at))
            assert (event.tracks, event.recorded) == ((track,), True)
        status = await last(at)
        assert (status.unsupported, status.reason) == ((track,), "disconnected")
        assert f"{track} cannot be recorded" in status.warnings
        assert kept in (status.video_codec, status.audio_codec)
        told = [line for line in lines(tmp_path) if line.get("session") == status.session]
        assert {"session.unsupported", "session.closed", "rtmp.publish.ended"} <= {line["event"] for line in told}
        assert {(line["job"], line["account"], line["service"]) for line in told} == {(at.event, "main", "ingester")}

    async with ingesting(nats, tmp_path, tmp_path) as (at, _):
        await side_by_side(check(at.next(), *case) for case in cases)


async def test_av1_and_vp9_are_recorded_from_enhanced_rtmp(nats: NatsServer, tmp_path: Path) -> None:
    async def check(at: Desk, codecs: tuple[str, ...], kept: str, named: str) -> None:
        await at.job()
        with encoder(f"rtmp://127.0.0.1:{at.rtmp}/live/{at.key}", "flv", *codecs, *AAC):
            [first, *_] = await until(at.segments, 60)
        status = await last(at)
        assert (status.video_codec, status.audio_codec, status.unsupported) == (kept, "aac", ())
        assert (status.width, status.height, status.damaged_frames, status.dropped_frames) == (160, 90, 0, 0)
        tracks = parse_init(await asyncio.to_thread(at.store.get, first.init_key))
        assert codecs_of(tracks) == f"{named},mp4a.40.2"

    async with ingesting(nats, tmp_path, tmp_path) as (at, _):
        await side_by_side([
            check(at.next(), AV1, "av1", "av01.0.00M.08"), check(at.next(), VP9, "vp9", "vp09.00.10.08"),
        ])  # fmt: skip


async def test_srt_is_recorded_as_far_as_it_can_be(nats: NatsServer, tmp_path: Path) -> None:
    cases: list[tuple[tuple[str, ...], tuple[str, ...], str]] = [
        ((*MPEG2, *DTS), ("DTS audio", "MPEG-2 video"), ""),
        ((*NO_VIDEO, *DTS), ("DTS audio",), ""),
        ((*H264, *DTS), ("DTS audio",), "h264"),
        ((*MPEG2, *AC3), ("MPEG-2 video",), "ac3"),
        ((*MPEG2, *MP2), ("MPEG-2 video",), "mp2"),
    ]

    async def check(at: Desk, srt: int, codecs: tuple[str, ...], tracks: tuple[str, ...], kept: str) -> None:
        await at.job()
        query = f"pkt_size=1316&connect_timeout=20000&streamid={at.event}&passphrase={at.key}"
        with encoder(f"srt://127.0.0.1:{srt}?{query}", "mpegts", *codecs) as process:
            [event] = await until(lambda: warned(at), 60)
            assert (event.tracks, event.recorded, event.protocol) == (tracks, bool(kept), "srt")
            if kept:
                await until(at.segments, 60)
            else:
                assert await asyncio.to_thread(process.wait, 60) != 0  # it is disconnected
        status = await last(at)
        assert status.unsupported == tracks
        assert kept in (status.video_codec, status.audio_codec)
        assert status.reason == ("disconnected" if kept else "bad_media")
        told = [line for line in lines(tmp_path) if line.get("session") == status.session]
        assert {"srt.publish.ended", "session.closed"} <= {line["event"] for line in told}
        assert {(line["job"], line["account"]) for line in told} == {(at.event, "main")}

    async with ingesting(nats, tmp_path, tmp_path) as (at, srt):
        await side_by_side(check(at.next(), srt, *case) for case in cases)


async def test_the_sound_tracks_of_a_program_are_told_with_their_languages(nats: NatsServer, tmp_path: Path) -> None:
    more = ("-f", "lavfi", "-i", "sine=f=880:r=48000:d=60", "-map", "0", "-map", "1", "-map", "2")
    named = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu")

    async def known(at: Desk) -> PublisherStatus | None:
        return next((one for one in await statuses(at) if len(one.sounds) == 2), None)

    async with ingesting(nats, tmp_path, tmp_path) as (at, srt):
        await at.job()
        query = f"pkt_size=1316&connect_timeout=20000&streamid={at.event}&passphrase={at.key}"
        codecs = (*more, *H264, "-c:a:0", "aac", "-c:a:1", "ac3", *named)
        with encoder(f"srt://127.0.0.1:{srt}?{query}", "mpegts", *codecs):
            await until(at.segments, 60)
            status = await until(lambda: known(at), 60)
        assert [(one.codec, one.language, one.sample_rate, one.channels) for one in status.sounds] == [
            ("aac", "eng", 44_100, 1), ("ac3", "deu", 48_000, 1),
        ]  # fmt: skip
        assert (status.audio_codec, status.sample_rate, status.unsupported) == ("aac", 44_100, ())
