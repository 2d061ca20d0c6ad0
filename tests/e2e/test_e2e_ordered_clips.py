"""Clips that are ordered with their job, on the whole stack: a real encoder, killed services, and what comes out."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from services.cli.demo_cast import receiver
from tests.support import framecode
from tests.support.stack import StackUnderTest, publisher, until


def test_they_are_made_when_their_job_is_stopped(live: StackUnderTest, programme: Path, tmp_path: Path) -> None:
    """Gateway and clipper are killed while the clips wait; each is made once, and told once."""
    with receiver() as hooks:
        hooks.secret = live.post("/v1/webhooks", {"url": hooks.url, "events": ["clips.*"]})["secret"]
        wanted = {"first": {"stream_start_time": 1, "stream_end_time": 2}, "last": {"duration": 1}}
        beyond = {"live_stream": False, "label": "beyond", "stream_start_time": 900, "duration": 5}
        outputs = [{"live_stream": False, "label": label, **asked} for label, asked in wanted.items()]
        job = live.job(outputs=[*outputs, beyond])
        clips = {one["label"]: one["jvod_id"] for one in job["vod_jobs"]}

        def states() -> set[str]:
            return {one["jvod_state"] for one in live.get(f"/v1/jobs/{job['id']}/vods")["vod_jobs"]}

        with publisher(programme, f"{job['stream_url']}/{job['stream_name']}", "flv", "-t", "6"):
            until(lambda: live.state(job["id"]) == "processing", "the stream to be live")
            for name in ("clipper", "gateway"):
                live.wait_restarted(name, live.kill9(name))
            until(lambda: live.state(job["id"]) == "disconnected", "the stream to end")
        assert states() == {"waiting_finish_live"}
        until(lambda: live.api.put(f"/v1/jobs/{job['id']}/stop").is_success, "the job to be stopped")
        made = {label: live.finished(clips[label]) for label in wanted}
        failed = until(lambda: _ended(live, clips["beyond"]), "the clip of nothing to fail")
        assert (failed["jvod_state"], failed["made"]) == ("failed", None)
        assert "begins after the stream's end" in failed["error"]
        shown = {label: framecode.play(live.download(clips[label], tmp_path / f"{label}.mp4")) for label in wanted}
        assert shown["first"].numbers == list(range(30, 60))
        first, last = shown["last"].numbers[0], shown["last"].numbers[-1]
        assert shown["last"].numbers == list(range(first, last + 1))
        assert (28 <= last + 1 - first <= 31, 178 <= last <= 182) == (True, True), (first, last)
        assert made["first"]["gaps"] == []
        for clip in clips.values():
            until(lambda clip=clip: hooks_of(hooks, clip)[-1:] in (["finished"], ["failed"]), "the last webhook")
            told = hooks_of(hooks, clip)
            assert told == ["waiting_finish_live", *told[1:]]
            assert len(told) == len(set(told))


def hooks_of(hooks: object, clip: str) -> list[str]:
    """Return the states of a clip that its account's webhook was told of."""
    bodies = [r.body for r in hooks.received]  # type: ignore[attr-defined]
    return [b["data"]["state"] for b in bodies if b["data"]["clip"] == clip and b["type"] == "clips.state_changed"]


def _ended(live: StackUnderTest, clip: str) -> dict[str, object] | None:
    vod = live.get(f"/v1/vods/{clip}")
    return vod if vod["jvod_state"] in {"finished", "failed", "cancelled", "error"} else None


def test_they_go_with_a_job_that_is_cancelled(live: StackUnderTest, programme: Path) -> None:
    with receiver() as hooks:
        asked = {"live_stream": False, "duration": 1, "notifications": [hooks.url]}
        job = live.job(outputs=[asked])
        (clip,) = [one["jvod_id"] for one in job["vod_jobs"]]
        with publisher(programme, f"{job['stream_url']}/{job['stream_name']}", "flv"):
            until(lambda: live.state(job["id"]) == "processing", "the stream to be live")
            later = live.clip(job["id"], stream_start_time=1, stream_end_time=600, wait=True)
            live.api.put(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
            dropped = [until(lambda one=one: _ended(live, one), "the clip to be dropped") for one in (clip, later)]
            assert [one["jvod_state"] for one in dropped] == ["cancelled"] * 2
        until(lambda: [r.body.get("jvod_state") for r in hooks.received][-1:] == ["cancelled"], "the notification")
        assert hooks.wait("clips.state_changed", timedelta(seconds=1))
        assert [r.body["jvod_id"] for r in hooks.received] == [clip] * 2
