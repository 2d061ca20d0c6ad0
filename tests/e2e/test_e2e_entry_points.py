"""Static entry points on the whole stack: a real encoder is refused, let in, disconnected, and let in again."""

from __future__ import annotations

import subprocess
from pathlib import Path

from services.cli.demo_cast import receiver
from tests.support import framecode
from tests.support.stack import FFMPEG, StackUnderTest, publisher, until


def refused(programme: Path, url: str, container: str) -> str:
    """Publish, and return what the encoder says when it is refused."""
    command = [FFMPEG, "-hide_banner", "-loglevel", "error", "-re", "-i", str(programme), "-c", "copy", "-f", container]
    done = subprocess.run([*command, url], capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode
    return done.stderr.decode()


def test_it_lets_its_encoder_in_while_it_is_active(live: StackUnderTest, programme: Path, tmp_path: Path) -> None:
    with receiver() as hooks:
        key = live.post("/v1/keys", {"scopes": ["jobs:write"], "dialect": "brightcove"})["key"]
        body = {"live_stream": True, "static": True, "notifications": [hooks.url]}
        theirs = {"X-API-KEY": key}
        job = live.api.post("/v1/jobs", json=body, headers=theirs).json()
        rtmp = f"{job['stream_url']}/{job['stream_name']}"
        srt = live.get(f"/v1/jobs/{job['id']}")["srt_url"]

        def put(how: str) -> None:
            assert live.api.put(f"/v1/jobs/{job['id']}/{how}", headers=theirs).json() == {"id": job["id"]}

        assert "the entry point is not active" in refused(programme, rtmp, "flv")
        refused(programme, srt, "mpegts")
        for round_, container in enumerate(("flv", "mpegts")):
            put("activate")
            with publisher(programme, rtmp if container == "flv" else srt, container) as encoder:
                until(lambda: live.state(job["id"]) == "processing", "the stream to be live")
                clip = live.clip(job["id"], stream_start_time=1, stream_end_time=2, wait=True)
                made = live.finished(clip)
                put("deactivate")
                assert encoder.wait(20) != 0, "it is disconnected"
            until(lambda: live.state(job["id"]) == "standby", "the entry point to be inactive")
            assert made["asked"] == {"clock": "stream", "start": 1.0, "end": 2.0, "duration": 1.0}
            assert (made["made"]["in_point"], made["gaps"]) == (1.0, [])
            seen = framecode.play(live.download(clip, tmp_path / f"{round_}.mp4"))
            assert seen.numbers == list(range(30, 60)), "stream time counts from each activation"
        assert "the entry point is not active" in refused(programme, rtmp, "flv")
        last = {"event": "state_changed", "job_id": job["id"], "account_id": "main", "state": "standby"}
        until(lambda: [r.body["state"] for r in hooks.received].count("standby") == 3, "the notifications")
        told = [r.body for r in hooks.received]
        assert {name: told[-1][name] for name in last} == last
        round_trip = ["waiting", "processing", "finishing", "standby"]
        assert [one["state"] for one in told] == ["standby", *round_trip * 2]
        assert [one["sep_state"] for one in told[1:5]] == ["ready", "ready", "deactivation_in_progress", "ready"]
