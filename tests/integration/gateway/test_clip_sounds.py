"""A clip of several sound tracks, played from the recording's segments: each is a rendition of the clip's own."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from pathlib import Path
from urllib.parse import urljoin

import httpx

from services.clipper.cutting import Segment
from tests.integration.gateway.test_clip_playback import Live
from tests.integration.gateway.test_delivery_sounds import listed, played, sound
from tests.support.api_gateway import Gateway
from tests.support.clipper_desk import Desk
from tests.support.framecode_record import Recording, Spec
from tests.support.hls_check import read_media
from tests.support.media_recording import Recorded, pieces
from tests.support.sound_streams import FPS, several


async def test_a_clip_has_the_recordings_sounds_as_renditions(api: Gateway, tmp_path: Path) -> None:
    made = Recorded(tmp_path / "recorded")
    made.run("mpegts", pieces(several("eng", "deu", "fra")))
    segments = tuple(Segment(info.path, info.start, info.duration) for info in made.segments)
    recording = Recording(Spec(), made.init(), segments, (Fraction(made.segments[0].keyframes[0], 90000),))
    job = (await api.job())["id"]
    live = Live(api, Desk(api.js(), api.parts.service.settings, job, api.clock.now_ms() - 60_000))
    await api.publish(job)
    await live.desk.announce(live.desk.session(recording))
    clip = await live.clip(stream_start_time=2.5, stream_end_time=3.5)
    url = (await live.view(clip))["playlist_url"]
    async with httpx.AsyncClient() as nobody:
        media, variants = listed((await nobody.get(url)).text)
        assert [m["NAME"] for m in media] == ["English", "German", "French"]
        assert [m["URI"] for m in media] == [f"hls/primary-1-a{number}.m3u8" for number in (2, 3, 4)]
        assert {uri for _, uri in variants} == {"hls/primary-1-v.m3u8"}
        for name in ("v", "a2", "a3", "a4"):
            answer = await nobody.get(urljoin(url, f"hls/primary-1-{name}.m3u8"))
            assert answer.status_code == 200, answer.text
            assert [part.uri.rpartition("/")[2][:12] for part in read_media(answer.text).parts] == ["00000001.m4s"]
        for name in ("a9", "b", ""):
            assert (await nobody.get(urljoin(url, f"hls/primary-1-{name}.m3u8"))).status_code == 404
    assert await asyncio.to_thread(played, url) == (2 * FPS, 3)
    assert len(await asyncio.to_thread(sound, urljoin(url, "hls/primary-1-a3.m3u8"))) == 2
