"""A live job sent on to RTMP and SRT targets: before its stream, through a killed restreamer, until it is stopped."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from socket import SOCK_DGRAM
from typing import Any

import httpx
import pytest

from services.cli.demo_cast import receiver as hooks_of
from tests.support import nginx_rtmp
from tests.support.framecode import play
from tests.support.restream_receiver import in_order, receiver
from tests.support.restream_targets import SECRET, ffmpeg_srt, free_port, needs_srt
from tests.support.stack import StackUnderTest, publisher, until

RATE = 30


def outputs(live: StackUnderTest, job: str) -> dict[str, dict[str, Any]]:
    return {one["rtmp_out_id"]: one for one in live.get(f"/v1/jobs/{job}/rtmpouts")["rtmp_outs"]}


def test_a_job_is_sent_on_until_it_ends(live: StackUnderTest, programme: Path, tmp_path: Path) -> None:
    """Two targets, one stopped by hand; the encoder leaves and comes back, the restreamer is killed in between."""
    with receiver() as peer, hooks_of() as hooks:
        job = live.job(notifications=[{"url": hooks.url, "event": "rtmp_output_state_changed"}])
        rtmp = f"{job['stream_url']}/{job['stream_name']}"
        made = {key: live.post(f"/v1/jobs/{job['id']}/rtmpouts", {"url": peer.url(key)}) for key in ("one", "two")}
        assert {one["state"] for one in made.values()} == {"starting"}
        assert made["one"]["url"].endswith("/live/***")

        def state(key: str) -> str:
            return str(outputs(live, job["id"])[made[key]["rtmp_out_id"]]["state"])

        with publisher(programme, rtmp, "flv"):
            for key in made:
                peer.wait_pictures(key, 2 * RATE)
                until(lambda key=key: state(key) == "connected", "the output to be connected")
            stopped = live.api.put(f"/v1/jobs/{job['id']}/rtmpouts/{made['two']['rtmp_out_id']}/stop")
            assert stopped.status_code == 200
            until(lambda: state("two") == "finished", "the output to be stopped")
            former = live.kill9("restreamer")
            peer.wait_pictures("one", 2 * RATE, 1)
            live.wait_restarted("restreamer", former)
        until(lambda: live.state(job["id"]) == "disconnected", "the encoder to leave")
        with publisher(programme, rtmp, "flv"):
            until(lambda: live.state(job["id"]) == "processing", "the encoder to be back")
            before = peer.pictures("one", 1)
            peer.wait_pictures("one", before + 2 * RATE, 1)
            live.api.put(f"/v1/jobs/{job['id']}/stop").raise_for_status()
        until(lambda: state("one") == "finished", "the output to end with its job")
        assert len(peer.publications("two")) == 1
        first, second = peer.numbers("one", 0, tmp_path), peer.numbers("one", 1, tmp_path)
        assert in_order(first)
        seam = next(at for at, (a, b) in enumerate(pairwise(second)) if b < a - RATE)
        assert (in_order(second[: seam + 1]), in_order(second[seam + 1 :])) == (True, True)
        assert second[0] >= first[-1] - RATE, "the next holder goes on with what is live"
        assert second[seam + 1] <= 2 * RATE, "the encoder's second session is sent from its newest keyframe"
        until(lambda: [r.body["state"] for r in hooks.received].count("finished") == 2, "the notifications")
        told = [r.body for r in hooks.received]
        assert {one["event"] for one in told} == {"rtmp_output_state_changed"}
        assert {one["job_id"] for one in told} == {job["id"]}
        mine = [one["state"] for one in told if one["rtmp_out_id"] == made["two"]["rtmp_out_id"]]
        assert mine == ["starting", "connected", "finished"]
        assert peer.url("one").encode() not in b"".join(str(one).encode() for one in told)


def test_in_their_dialect_to_a_real_server(live: StackUnderTest, programme: Path, tmp_path: Path) -> None:
    if missing := nginx_rtmp.missing():
        pytest.skip(missing)
    key = live.post("/v1/keys", {"scopes": ["jobs:write"], "dialect": "brightcove"})["key"]
    with (
        nginx_rtmp.nginx_rtmp(tmp_path) as server,
        httpx.Client(base_url=live.api.base_url, headers={"X-API-KEY": key}, timeout=30) as theirs,
    ):
        job = theirs.post("/v1/jobs", json={"live_stream": True}).json()
        with publisher(programme, f"{job['stream_url']}/{job['stream_name']}", "flv"):
            until(lambda: live.state(job["id"]) == "processing", "the stream to be live")
            url = f"rtmp://127.0.0.1:{server.port}/live/secret-name"
            made = theirs.post(f"/v1/jobs/{job['id']}/rtmpouts", json={"url": url}).json()
            assert made["connection_info"] == {
                "host": "127.0.0.1", "port": server.port, "application": "live", "streamName": "********me",
            }  # fmt: skip

            def listed() -> dict[str, Any]:
                (one,) = theirs.get(f"/v1/jobs/{job['id']}/rtmpouts").json()
                return dict(one)

            until(lambda: listed()["state"] == "connected", "the output to be connected")
            stopped = theirs.put(f"/v1/jobs/{job['id']}/rtmpouts/{made['rtmp_out_id']}/stop")
            assert stopped.json() == {"message": f"RTMP out {made['rtmp_out_id']} deleted successfully"}
            until(lambda: listed()["state"] == "finished", "the output to end")
        assert "secret-name" not in theirs.get(f"/v1/jobs/{job['id']}/rtmpouts").text
        assert "secret-name" not in live.log()
        refused = theirs.post(f"/v1/jobs/{job['id']}/rtmpouts", json={"url": "rtmp://169.254.169.254/live/x"})
        assert refused.status_code == 400
        theirs.put(f"/v1/jobs/{job['id']}/stop")
        until(lambda: live.state(job["id"]) == "finished", "the job to finish")
        late = theirs.post(f"/v1/jobs/{job['id']}/rtmpouts", json={"url": url})
        assert (late.status_code, late.json()["message"]) == (409, "the job is finished")


@needs_srt
def test_to_an_encrypted_srt_listener(live: StackUnderTest, programme: Path, tmp_path: Path) -> None:
    port, kept = free_port(SOCK_DGRAM), tmp_path / "kept.ts"
    job = live.job()
    listening = ffmpeg_srt(f"srt://127.0.0.1:{port}?mode=listener&passphrase={SECRET}&listen_timeout=60000000", kept)
    try:
        with publisher(programme, f"{job['stream_url']}/{job['stream_name']}", "flv"):
            made = live.post(f"/v1/jobs/{job['id']}/rtmpouts", {"url": f"srt://127.0.0.1:{port}?passphrase={SECRET}"})
            until(lambda: kept.exists() and kept.stat().st_size > 1 << 18, "what is sent on")
            assert outputs(live, job["id"])[made["rtmp_out_id"]]["state"] == "connected"
            live.api.put(f"/v1/jobs/{job['id']}/rtmpouts/{made['rtmp_out_id']}/stop").raise_for_status()
            listening.wait(60)
    finally:
        listening.kill()
        listening.wait()
    seen = play(kept)
    assert len(seen.numbers) > 2 * RATE
    assert in_order(seen.numbers)
    assert SECRET not in str(live.get(f"/v1/jobs/{job['id']}/rtmpouts")) + live.log()
    live.api.put(f"/v1/jobs/{job['id']}/stop").raise_for_status()
