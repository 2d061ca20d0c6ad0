"""The request samples of Brightcove's page "Creating VOD Clips", each sent as it stands with ids filled in."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from shared.messages.destinations import DESTINATION_PURPOSE
from shared.security.webhooks import open_url
from tests.support.api_gateway import Gateway, gateway
from tests.support.nats import NatsServer

SAMPLES: Final = Path(__file__).parents[2] / "support" / "clip_samples"
CREDENTIALS: Final = (
    {
        "credential_label": "USER_VIDEOCLOUD_CREDENTIAL_LABEL", "credential_type": "videocloud",
        "credential_public": "client", "credential_private": "client secret", "account_id": "4590388311111",
    },
    {
        "credential_label": "s3-credentials", "credential_type": "s3", "credential_public": "AKIAEXAMPLE",
        "credential_private": "secret key",
    },
)  # fmt: skip
VIDEO: Final = {"name": "One Minute Clip", "tags": ["live", "clip"]}
CLOUD: Final = {"type": "videocloud", "url": "videocloud:4590388311111"}
BUCKET: Final = {"type": "s3", "url": "s3://YOUR_BUCKET_NAME/file_name.mp4"}


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, secret_key="the same for each test here") as running:
        for one in CREDENTIALS:
            made = await running.http.post("/v1/credentials", json=one, headers={"Idempotency-Key": "samples"})
            assert made.status_code == 201, made.text
        yield running


def sample(name: str, *changes: tuple[str, str]) -> str:
    text = (SAMPLES / f"{name}.json").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


async def live_job(api: Gateway) -> str:
    job = str((await api.job())["id"])
    await api.publish(job, ago_ms=600_000)
    return job


# The sample, what it makes of the destination, and the options that the exporter reads.
TAKEN: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("1-stream-times", CLOUD, {"video": VIDEO, "ingest": {"capture-images": True}}),
    (
        "3-start-and-duration", CLOUD,
        {"video": VIDEO, "ingest": {"capture-images": True, "profile": "valid-ingest-profile-name"}},
    ),
    ("4-duration", CLOUD, {"video": VIDEO, "ingest": {"capture-images": True}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "to", "options"), TAKEN, ids=[t[0] for t in TAKEN])
async def test_a_sample_is_taken(api: Gateway, name: str, to: dict[str, str], options: dict[str, Any]) -> None:
    job, text = await live_job(api), sample(name)
    answer = await api.http.post("/v1/vods", content=text.replace("PUT-LIVE-JOB-ID-HERE", job))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["live_job_id"] == job
    assert [one["label"] for one in made["vod_jobs"]] == [json.loads(text)["outputs"][0]["label"]]
    clip = made["vod_jobs"][0]["jvod_id"]
    command, vault = await api.command(clip), api.parts.service.vault
    (spec,) = command.destinations
    assert json.loads(vault.decrypt(spec.options, DESTINATION_PURPOSE)) == options
    assert command.selection.end - command.selection.start == 60
    assert [open_url(vault, one.url) for one in command.notifications] == [
        "https://myserver.com/api/notification_listener?type=jvod" for _ in command.notifications
    ]
    assert bool(command.notifications) == ("notifications" in text)
    shown = (await api.http.get(f"/v1/vods/{clip}")).json()
    assert (shown["jvod_type"], shown["jvod_url"], shown["media_url"]) == (to["type"], to["url"], None)


async def test_the_epoch_sample_is_of_its_own_day(api: Gateway) -> None:
    job = await live_job(api)
    as_it_stands = sample("2-epoch-times", ("PUT-LIVE-JOB-ID-HERE", job))
    answer = await api.http.post("/v1/vods", content=as_it_stands)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "outputs[0].start_time")
    now_s = api.clock.now_ms() // 1000
    api.clock.ahead_ms = 120_000  # so that the pair lies within created_at and now
    times = (("1516652694", str(now_s + 10)), ("1516652754", str(now_s + 70)))
    today = sample("2-epoch-times", ("PUT-LIVE-JOB-ID-HERE", job), *times)
    answer = await api.http.post("/v1/vods", content=today)
    assert answer.status_code == 201, answer.text


MALFORMED = [
    ("5-timecodes", "line 19 column 20"),  # closes `outputs` after `notifications`
    ("6-s3", "line 12 column 1"),  # a comma behind the last member, and an empty job id
]


@pytest.mark.parametrize(("name", "where"), MALFORMED, ids=[m[0] for m in MALFORMED])
async def test_a_malformed_sample_is_a_400_that_says_where(api: Gateway, name: str, where: str) -> None:
    answer = await api.http.post("/v1/vods", content=sample(name).replace("PUT-LIVE-JOB-ID-HERE", await live_job(api)))
    assert (answer.status_code, answer.json()["error_code"]) == (400, "MALFORMED_JSON")
    assert where in answer.json()["detail"]


async def test_the_bucket_sample_mended_is_taken(api: Gateway) -> None:
    job = await live_job(api)
    empty = await api.http.post("/v1/vods", content=sample("6-s3", ("],\n}", "]\n}")))
    assert (empty.status_code, empty.json()["errors"][0]["field"]) == (400, "live_job_id")
    mended = sample("6-s3", ("],\n}", "]\n}"), ('"live_job_id":""', f'"live_job_id":"{job}"'))
    answer = await api.http.post("/v1/vods", content=mended)
    assert answer.status_code == 201, answer.text
    clip = answer.json()["vod_jobs"][0]["jvod_id"]
    (shown,) = (await api.http.get(f"/v1/vods/{clip}")).json()["destinations"]
    assert shown == BUCKET | {
        "id": clip, "credentials": "s3-credentials", "state": "waiting", "accuracy": None, "location": "",
        "error": "", "sent_bytes": None,
    }  # fmt: skip
