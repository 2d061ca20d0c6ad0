"""A whole event by a client that was written for Brightcove's Live API: nothing but host and key differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import boto3
import httpx
import pytest

from tests.support import framecode
from tests.support.brightcove_client import LiveApi, LiveApiError
from tests.support.s3 import s3_server
from tests.support.stack import StackUnderTest, publisher, until

SAMPLES: Final = Path(__file__).parents[1] / "support" / "clip_samples"
BUCKET: Final = "their-clips"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server(BUCKET) as running:
        yield running


@pytest.fixture
def theirs(live: StackUnderTest) -> Iterator[LiveApi]:
    scopes = ["jobs:write", "vods:write", "credentials"]
    key = live.post("/v1/keys", {"scopes": scopes, "dialect": "brightcove"})["key"]
    with httpx.Client(base_url=live.api.base_url, headers={"X-API-KEY": key}, timeout=30) as http:
        yield LiveApi(http)


def sample(name: str, job: str, **changes: Any) -> dict[str, Any]:
    """Return a request of their page "Creating VOD Clips" with its ids and places filled in, to a bucket."""
    body: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text().replace("PUT-LIVE-JOB-ID-HERE", job))
    (output,) = body["outputs"]
    del output["videocloud"]
    output.pop("notifications", None)
    output |= {"url": f"s3://{BUCKET}/{name}.mp4", "credentials": "bucket", **changes}
    return body


def finished(theirs: LiveApi, clip: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        shown = theirs.clip(clip)
        assert shown["jvod_state"] not in {"failed", "error", "cancelled"}, shown
        assert (shown["jvod_state"] == "finished") == (shown["jvod_finished_at"] > 0)
        return shown if shown["jvod_finished_at"] else None

    return dict(until(ended, f"clip {clip} to finish"))


def numbers(endpoint: str, name: str, folder: Path) -> list[int]:
    """Return the numbers that the pictures of a clip in the bucket show."""
    boto3.client("s3", endpoint_url=endpoint).download_file(BUCKET, f"{name}.mp4", str(folder / f"{name}.mp4"))
    seen = framecode.play(folder / f"{name}.mp4")
    assert seen.warnings == ""
    return list(seen.numbers)


def check_lists(theirs: LiveApi, job: str, clips: list[str]) -> None:
    """The clips, of which the second is the last one in the bucket, are found page by page and by filters."""
    assert [one["jvod_id"] for one in theirs.clips(job, page_size=1)] == clips
    since, states = f"ge:{theirs.clip(clips[1])['jvod_created_at']}", "[finished,failed]"
    found = list(theirs.clips(created_at=since, jvod_state=states, jvod_type="s3"))
    assert [one["jvod_id"] for one in found] == clips[1:2]
    assert job in [one["id"] for one in theirs.jobs(state="'finished'", sort_dir="desc")]


def test_an_event_from_its_job_to_its_clips(
    live: StackUnderTest, theirs: LiveApi, endpoint: str, programme: Path, tmp_path: Path
) -> None:
    bucket = theirs.create_credentials("bucket", "s3", "testing", "testing")
    theirs.update_credentials(bucket, endpoint=endpoint)  # theirs has no such field: the bucket is not at AWS
    assert theirs.credentials()[bucket]["credential_private"] == "********ng"
    job, url, name = theirs.create_job(reconnect_time=60, label="Final")
    assert theirs.job(job)["state"] == "standby"
    with publisher(programme, f"{url}/{name}", "flv", "-t", "10"):
        until(lambda: theirs.job(job)["state"] == "processing", "the stream to be live")
        shown = until(lambda: theirs.job(job)["input_media_file"]["video_codec"] and theirs.job(job), "its measures")
        assert shown["input_media_file"]["height"] == framecode.HEIGHT
        (recent,) = theirs.create_clips(sample("4-duration", job, duration=2))
        until(lambda: theirs.job(job)["state"] == "disconnected", "the stream to have come and gone")
    assert finished(theirs, recent)["jvod_reported_duration_s"] <= 2
    (clip,) = theirs.create_clips(sample("3-start-and-duration", job, stream_start_time="2", duration=4))
    made = finished(theirs, clip)
    assert (made["jvod_type"], made["jvod_url"]) == ("s3", f"s3://{BUCKET}/3-start-and-duration.mp4")
    assert (made["jvod_duration_s"], made["jvod_reported_duration_s"]) == (4, 4)
    assert (made["jvod_start_time_relative_s"], made["jvod_end_time_relative_s"]) == (2, 6)
    assert numbers(endpoint, "3-start-and-duration", tmp_path) == list(range(60, 180))
    ask = {"mode": "instant", "stream_start_time": 2, "stream_end_time": 6}
    (instant,) = theirs.create_clips({"live_job_id": job, "outputs": [ask]})
    assert httpx.get(theirs.clip(instant)["jvod_url"]).text.startswith("#EXTM3U")
    assert finished(theirs, instant)["jvod_type"] == "instant"
    theirs.stop(job)
    ended = until(lambda: (found := theirs.job(job))["state"] == "finished" and found, "the job to finish")
    assert ended["state_history"][0]["state"] == "standby"
    assert ended["finished_at"].endswith("Z")
    check_lists(theirs, job, [recent, clip, instant])
    theirs.delete_credentials(bucket)
    assert bucket not in theirs.credentials()


def test_what_is_wrong_is_told_in_their_words(theirs: LiveApi) -> None:
    with pytest.raises(LiveApiError, match="Requested resource does not exist") as missing:
        theirs.job("0" * 32)
    assert (missing.value.status, missing.value.code) == (404, "NOT_FOUND")
    job, _, _ = theirs.create_job()
    with pytest.raises(LiveApiError, match="nothing has been published") as early:
        theirs.create_clips({"live_job_id": job, "outputs": [{"duration": 5}]})
    assert early.value.status == 400
    with pytest.raises(LiveApiError, match="reconnect_time"):
        theirs.create_job(reconnect_time=7201)
