"""The whole path on a real stack: a real encoder in, rewound, clipped twice, delivered and announced."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from services.cli.demo_cast import receiver
from tests.support import framecode
from tests.support.stack import FFMPEG, StackUnderTest, publisher, until

RATE = 30
BEEP_EVERY = framecode.AUDIO_RATE
AAC_FRAME = 1024


def url_of(job: dict[str, str], protocol: str) -> tuple[str, str]:
    if protocol == "rtmp":
        return f"{job['stream_url']}/{job['stream_name']}", "flv"
    return job["srt_url"], "mpegts"


def check_content(clip: Path, first: int, frames: int) -> None:
    """Every number in order, none missing, none extra; each beep within one AAC frame of its picture."""
    seen = framecode.play(clip)
    assert seen.numbers == list(range(first, first + frames))
    assert seen.warnings == ""
    starts = framecode.beep_starts(seen.sound)
    expected = [second * BEEP_EVERY - first * BEEP_EVERY // RATE for second in range(first // RATE, 60)]
    inside = [at for at in expected if 0 < at < frames * BEEP_EVERY // RATE - framecode.BEEP_SAMPLES]
    found = [min(starts, key=lambda s, at=at: abs(s - at)) for at in inside]
    assert inside
    assert all(abs(at - got) <= AAC_FRAME for at, got in zip(inside, found, strict=True)), (inside, starts)


@pytest.mark.parametrize("protocol", ["rtmp", "srt"])
def test_live_in_clip_out(live: StackUnderTest, programme: Path, tmp_path: Path, protocol: str) -> None:
    with receiver() as hooks:
        hooks.secret = live.post("/v1/webhooks", {"url": hooks.url, "events": ["clips.*"]})["secret"]
        job = live.job()
        with publisher(programme, *url_of(job, protocol)):
            until(lambda: live.state(job["id"]) == "processing", "the stream to be live")
            clip = live.clip(job["id"], stream_start_time=4.5, stream_end_time=9.5, wait=True)
            fast = until(lambda: live.get(f"/v1/vods/{clip}")["accuracy"], "the fast file", 40)
            assert fast in {"segment", "frame"}
            made = live.finished(clip)
        assert made["accuracy"] == "frame"
        assert made["method"] == "smart"
        assert made["made"]["frames"] == 150
        file = live.download(clip, tmp_path / "clip.mp4")
        assert hashlib.sha256(file.read_bytes()).hexdigest() == made["sha256"]
        # RTMP and SRT both begin at the programme's first frame.
        check_content(file, 135, 150)
        library = live.folder / made["location"]
        assert library.read_bytes() == file.read_bytes()
        ready = hooks.wait("clips.frame_accurate.ready", timedelta(seconds=20))
        assert ready is not None
        assert ready.signed
        order = [r.body["type"] for r in hooks.received if r.body["data"]["clip"] == clip]
        assert order.index("clips.segment_accurate.ready") < order.index("clips.frame_accurate.ready")
        until(lambda: live.state(job["id"]) == "disconnected", "the end of the stream to be noticed")


def test_dvr_plays_in_a_real_player(live: StackUnderTest, programme: Path) -> None:
    job = live.job()
    with publisher(programme, *url_of(job, "rtmp"), "-t", "7"):
        until(lambda: live.state(job["id"]) == "disconnected", "the stream to have come and gone")
    live.api.put(f"/v1/jobs/{job['id']}/stop").raise_for_status()
    until(lambda: live.state(job["id"]) == "finished", "the job to finish")
    urls = live.post(f"/v1/jobs/{job['id']}/playback", {"expires_in": 600})
    hls = next(v for v in urls.values() if isinstance(v, str) and ".m3u8" in v)
    command = [FFMPEG, "-v", "warning", "-xerror", "-i", hls, "-map", "0:v:0", "-fps_mode", "passthrough"]
    played = subprocess.run(
        [*command, "-pix_fmt", "gray", "-f", "rawvideo", "-"], capture_output=True, timeout=60, check=False
    )
    assert played.returncode == 0, played.stderr.decode()
    size = framecode.WIDTH * framecode.HEIGHT
    pictures = framecode.np.frombuffer(played.stdout, framecode.np.uint8).reshape(-1, framecode.HEIGHT, framecode.WIDTH)
    assert len(played.stdout) % size == 0
    numbers = [framecode.read_number(picture) for picture in pictures]
    whole = 6 * RATE  # the encoder was cut off in decode order: behind it a picture may be missing
    assert numbers[:whole] == list(range(whole))


@pytest.mark.parametrize("protocol", ["rtmp", "srt"])
def test_wrong_secret_is_refused_and_never_logged(live: StackUnderTest, programme: Path, protocol: str) -> None:
    job = live.job()
    secret = "thisisnotthesecretatall"
    wrong = {"stream_url": job["stream_url"], "stream_name": secret}
    srt = job["srt_url"].split("passphrase=")
    wrong["srt_url"] = srt[0] + f"passphrase={secret}"
    with publisher(programme, *url_of(wrong, protocol)) as process:
        assert process.wait(40) != 0
    assert live.state(job["id"]) in {"standby", "waiting"}
    assert secret not in live.log()
    assert job["stream_name"] not in live.log()
    assert not list((live.folder / "media").rglob(f"{job['id']}/**/*.m4s"))
