"""The recorder behind the real servers, fed by real ffmpeg publishers."""

from __future__ import annotations

import subprocess
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from services.ingester.recorder.loop import record
from services.ingester.srt import SrtGrant, SrtLimits, SrtListener, SrtPublication
from shared.runtime.clock import SystemClock
from tests.support import media_streams as media
from tests.support.media_recording import Recorded
from tests.support.rtmp_encoder import publish
from tests.support.rtmp_server import Stream, rtmp_server


@pytest.mark.parametrize(("video", "audio"), [("h264-b", "aac"), ("hevc", "opus")])
def test_rtmp_is_recorded_to_the_last_frame(tmp_path: Path, video: str, audio: str) -> None:
    source = media.encode(tmp_path / "s.flv", video=video, audio=audio, seconds=4, gop=30)
    recorded = Recorded(tmp_path / "out")

    def keep(stream: Stream) -> None:
        record(stream.publication.frames(), recorded, recorded.place)

    with rtmp_server(record=keep) as (server, ingest):
        assert publish(source, f"rtmp://127.0.0.1:{server.port}/live/key") == 0
        ingest.stream().wait()
    made, wanted = (media.frame_hashes(p) for p in (recorded.joined(), source))
    assert [h for _, h in made] == [h for _, h in wanted]
    assert media.warnings(recorded.joined()) == ""
    assert len(recorded.segments) == 2


def test_srt_is_recorded(tmp_path: Path) -> None:
    source = media.encode(tmp_path / "s.ts", video="h264-b", seconds=4, gop=30)
    recorded = Recorded(tmp_path / "out")

    ended = threading.Event()

    def keep(publication: SrtPublication) -> None:
        record(publication.frames(), recorded, recorded.place)
        ended.set()

    listener = SrtListener("127.0.0.1", 0, lambda _: SrtGrant(None), keep, SrtLimits(), SystemClock())
    listener.start()
    try:
        url = f"srt://127.0.0.1:{listener.port}?streamid=key"
        command = [media.FFMPEG, "-v", "error", "-re", "-i", source, "-map", "0", "-c", "copy", "-f", "mpegts", url]
        subprocess.run(command, check=True, timeout=120, stdin=subprocess.DEVNULL)
        assert ended.wait(60)
    finally:
        listener.stop(timedelta(seconds=20))
    made, wanted = ([h for _, h in media.frame_hashes(p)] for p in (recorded.joined(), source))
    assert len(made) > 100, "a caller that hangs up may take its last packets with it"
    assert made[:-3] == wanted[: len(made) - 3]
