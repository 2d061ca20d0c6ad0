"""Clips' destinations over HTTP: requests, views and filters; clipper and exporter are played by hand."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.broker.kv import Bucket
from shared.broker.streams import commands_of
from shared.messages.clips import ClipCreate, ClipDelivery
from shared.messages.destinations import DESTINATION_PURPOSE, export_id
from shared.messages.exports import ExportAbort, ExportRecord
from shared.security.webhooks import open_url
from tests.support.api_gateway import Gateway, connected, gateway
from tests.support.nats import NatsServer

SECRET = "hunter2-of-the-url"
EIGHT = [{"url": f"ftp://example.com/{n}.mp4"} for n in range(8)]


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, secret_key="the same for each test here") as running:
        for label, kind in (
            ("bucket", "s3"),
            ("site", "ftp"),
            ("cloud", "videocloud"),
            ("web", "http"),
            ("vault", "sftp"),
        ):
            fields = {
                "credential_label": label, "credential_type": kind, "credential_public": "user",
                "credential_private": SECRET, **({"host_key": f"SHA256:{'a' * 43}"} if kind == "sftp" else {}),
            }  # fmt: skip
            made = await running.http.post("/v1/credentials", json=fields, headers={"Idempotency-Key": "once"})
            assert made.status_code == 201, made.text
        yield running


@pytest.fixture(autouse=True)
def nothing_secret_is_logged(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    logged = capfd.readouterr()
    assert SECRET not in logged.out + logged.err


async def live_job(api: Gateway) -> str:
    job = str((await api.job())["id"])
    await api.publish(job)
    return job


async def ask(api: Gateway, job: str, *outputs: dict[str, Any], **more: Any) -> httpx.Response:
    outputs = tuple({"duration": 5, **output} for output in outputs)
    return await api.http.post("/v1/vods", json={"live_job_id": job, "outputs": outputs}, **more)


async def clip_of(api: Gateway, job: str, **output: Any) -> ClipCreate:
    answer = await ask(api, job, output)
    assert answer.status_code == 201, answer.text
    return await api.command(answer.json()["vod_jobs"][0]["jvod_id"])


async def shown(api: Gateway, clip: str) -> dict[str, Any]:
    return dict((await api.http.get(f"/v1/vods/{clip}")).json())


async def test_one_output_goes_to_several_destinations(api: Gateway) -> None:
    asked = [
        {"url": f"ftp://user:{SECRET}@example.com/in/"}, {"library": True},
        {"url": "s3://bucket/a/", "credentials": "bucket", "storage_class": "STANDARD_IA", "metadata": {"a": SECRET}},
        {"videocloud": {"account_id": "7", "video": {"name": SECRET}}, "credentials": "cloud"},
    ]  # fmt: skip
    command = await clip_of(api, await live_job(api), label="goal", destinations=asked)
    name = f"goal-{command.clip}.mp4"
    assert SECRET not in command.model_dump_json()
    vault = api.parts.service.vault
    assert vault.decrypt(command.destinations[0].url, DESTINATION_PURPOSE) == (
        f"ftp://user:{SECRET}@example.com/in/{name}"
    )
    assert json.loads(vault.decrypt(command.destinations[2].options, DESTINATION_PURPOSE)) == {
        "storage_class": "STANDARD_IA", "metadata": {"a": SECRET},
    }  # fmt: skip
    view = await shown(api, command.clip)
    assert SECRET not in json.dumps(view)
    assert [(d["id"], d["type"], d["url"], d["credentials"], d["state"]) for d in view["destinations"]] == [
        (command.clip, "ftp", f"ftp://example.com/in/{name}", None, "waiting"),
        (export_id(command.clip, 1), "library", None, None, "waiting"),
        (export_id(command.clip, 2), "s3", f"s3://bucket/a/{name}", "bucket", "waiting"),
        (export_id(command.clip, 3), "videocloud", "videocloud:7", "cloud", "waiting"),
    ]
    assert (view["jvod_type"], view["jvod_url"]) == ("ftp", f"ftp://example.com/in/{name}")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"url": "s3://bucket/x"}, ".credentials"),
    ({"url": "s3://bucket/x", "credentials": "nobody"}, ".credentials"),
    ({"url": "s3://bucket/x", "credentials": "site"}, ".credentials"),
    ({"url": "ftp://169.254.169.254/x"}, ".url"),
    ({"url": "gopher://example.com"}, ".url"),
    ({"url": f"s3://key:{SECRET}@bucket/x", "credentials": "bucket"}, ".url"),
    ({"url": ""}, ".url"),
    ({"url": 5}, ".url"),
    ({"url": "ftp://example.com/" + "x" * 2048}, ".url"),
    ({"url": "ftp://example.com/x", "destinations": [{"library": True}]}, ".url"),
    ({"url": "ftp://example.com/x", "videocloud": {"video": {"name": "x"}}}, ".videocloud"),
    ({"credentials": "bucket"}, ".credentials"),
    ({"destinations": []}, ".destinations"),
    ({"destinations": [*EIGHT, {"library": True}]}, ".destinations"),
    ({"destinations": [{}]}, ".destinations[0]"),
    ({"destinations": [{"library": False}]}, ".destinations[0].library"),
    ({"destinations": [{"library": True, "url": "ftp://example.com/x"}]}, ".destinations[0]"),
    ({"destinations": [{"library": True, "credentials": "bucket"}]}, ".destinations[0].credentials"),
    ({"destinations": [EIGHT[0], {"url": "ftp://example.com/x", "acl": "private"}]}, ".destinations[1].acl"),
    ({"destinations": [EIGHT[0], {"url": "ftp://example.com/x", "pasive": True}]}, ".destinations[1].pasive"),
    ({"destinations": [EIGHT[0], EIGHT[0]]}, ".destinations[1]"),
    ({"destinations": [{"url": "s3://bucket/x", "credentials": "bucket", "sse": "x"}]}, ".destinations[0].sse"),
    ({"videocloud": {"video": {"name": "x"}}, "credentials": "cloud"}, ".videocloud.account_id"),
    ({"videocloud": {"video": {"name": "x", "colour": 1}}, "credentials": "cloud"}, ".videocloud.video.colour"),
    ({"videocloud": {"video": {}}, "credentials": "cloud"}, ".videocloud.video.name"),
    (
        {"videocloud": {"video": {"name": "x"}, "ingest": {"master": {"url": "x"}}}, "credentials": "cloud"},
        ".videocloud.ingest.master",
    ),
]


async def test_a_bad_destination_is_named_and_nothing_is_sent(api: Gateway) -> None:
    job = await live_job(api)
    before = (await api.js().stream_info(commands_of("clipper"))).state.last_seq
    for output, field in BAD:
        answer = await ask(api, job, {}, output)
        assert answer.status_code == 400, (field, answer.text)
        assert answer.json()["errors"][0]["field"] == f"outputs[1]{field}", answer.text
        assert SECRET not in answer.text
    both = await ask(api, job, {"url": "x://y"}, {"destinations": [EIGHT[0], {"url": "z"}]})
    fields = [e["field"] for e in both.json()["errors"]]
    assert fields == ["outputs[0].url", "outputs[1].destinations[1].url"]
    assert (await api.js().stream_info(commands_of("clipper"))).state.last_seq == before


async def test_views_follow_each_destination(api: Gateway, nats: NatsServer) -> None:
    command = await clip_of(api, await live_job(api), destinations=[EIGHT[0], {"library": True}])
    first, second = (spec.export for spec in command.destinations)
    deliveries = (
        ClipDelivery(export=first, state="failed", error="530 Login incorrect"),
        ClipDelivery(export=second, state="delivered", accuracy="frame", location="library"),
    )
    file = api.put_file(command, b"exact", "frame", method="smart")
    await api.write_clip(command, state="failed", file=file, deliveries=deliveries, error="ftp: 530")
    async with connected("exporter", api.parts.service.settings) as exporter:
        await Bucket(exporter.js, "exports", ExportRecord).create(
            f"main.{first}",
            ExportRecord(account="main", export=first, clip=command.clip, state="failed", accuracy="frame",
                         sent=123, bytes=5, changed_ms=1),
        )  # fmt: skip
    view = await shown(api, command.clip)
    found = [(d["state"], d["accuracy"], d["location"], d["error"], d["sent_bytes"]) for d in view["destinations"]]
    assert found == [("failed", None, "", "530 Login incorrect", 123), ("delivered", "frame", "library", "", None)]
    assert (view["jvod_type"], view["jvod_url"]) == ("ftp", "ftp://example.com/0.mp4")
    assert (await api.http.get(view["media_url"])).content == b"exact"
    listed = (await api.http.get("/v1/vods", params={"jvod_state": "failed", "page_size": 1000})).json()["vod_jobs"]
    (line,) = [one for one in listed if one["jvod_id"] == command.clip]
    assert [d["sent_bytes"] for d in line["destinations"]] == [None, None]


async def test_lists_are_filtered_by_the_type_of_the_first_destination(api: Gateway) -> None:
    job, made = await live_job(api), {}
    cloud = {"videocloud": {"account_id": "7", "video": {"name": "x"}}, "credentials": "cloud"}
    asked: dict[str, dict[str, Any]] = {
        "s3": {"url": "s3://bucket/x", "credentials": "bucket"}, "ftp": {"url": "ftps://example.com"},
        "sftp": {"url": "sftp://u:p@example.com", "credentials": "vault"},
        "http": {"url": "webdav://example.com/x"}, "videocloud": cloud,
        "folder": {"url": "file:///x.mp4"}, "library": {"destinations": [{"library": True}, EIGHT[0]]},
    }  # fmt: skip
    for kind, output in asked.items():
        made[kind] = await clip_of(api, job, **output)
    for taken_up in (False, True):
        for kind, command in made.items():
            if taken_up:
                await api.write_clip(command)
            answer = await api.http.get("/v1/vods", params={"jvod_type": kind, "page_size": 1000})
            ours = [one["jvod_id"] for one in answer.json()["vod_jobs"] if one["job_id"] == job]
            assert ours == [command.clip], (kind, taken_up)
    assert (await api.http.get("/v1/vods", params={"jvod_type": "tape"})).status_code == 400


async def test_one_destination_is_aborted(api: Gateway) -> None:
    command = await clip_of(api, await live_job(api), destinations=EIGHT[:3])
    path = f"/v1/vods/{command.clip}/destinations"
    first, second, third = (spec.export for spec in command.destinations)
    assert (await api.http.delete(f"{path}/{second}")).status_code == 202  # no exporter has taken it up yet
    sent = await api.js().get_last_msg(commands_of("exporter"), f"{ExportAbort.channel}.main.{second}")
    assert ExportAbort.model_validate_json(sent.data or b"").clip == command.clip
    async with connected("exporter", api.parts.service.settings) as exporter:
        exports = Bucket(exporter.js, "exports", ExportRecord)
        for export, state in ((second, "aborted"), (first, "delivered"), (third, "delivered")):
            record = ExportRecord.model_validate(
                {"account": "main", "export": export, "clip": command.clip, "state": state, "accuracy": "segment",
                 "changed_ms": 1}
            )  # fmt: skip
            await exports.create(f"main.{export}", record)
    assert (await api.http.delete(f"{path}/{second}")).status_code == 204
    deliveries = (
        ClipDelivery(export=first, state="delivered", accuracy="frame"), ClipDelivery(export=second, state="aborted"),
        ClipDelivery(export=third, state="delivered", accuracy="segment"),
    )  # fmt: skip
    await api.write_clip(command, deliveries=deliveries)
    assert (await api.http.delete(f"{path}/{first}")).status_code == 409  # has the exact file
    assert (await api.http.delete(f"{path}/{third}")).status_code == 202  # the exact file is still to come
    assert (await api.http.delete(f"{path}/{'0' * 32}")).status_code == 404
    elsewhere = await api.http.delete(f"{path}/{third}", headers={"X-Reelay-Account": "other"})
    assert elsewhere.status_code == 404


HOOK = "https://example.com/hook?x=1"
BAD_NOTIFICATIONS: list[tuple[dict[str, Any], str]] = [
    ({"url": HOOK, "credentials": "nobody"}, "credentials"),
    ({"url": HOOK, "credentials": "site"}, "credentials"),
    ({"url": HOOK, "credentials": 5}, "credentials"),
    ({"url": "https://a:b@example.com", "credentials": "web"}, "credentials"),
    ({"url": "https://example.com/" + "x" * 2020, "credentials": "web"}, "credentials"),
    ({"url": "https://a:b@169.254.169.254/x"}, "url"),
]


async def test_notifications_carry_user_and_password(api: Gateway) -> None:
    job = await live_job(api)
    asked = [{"url": HOOK, "credentials": "web"}, f"https://u:{SECRET}@example.com/hook"]
    command = await clip_of(api, job, notifications=asked)
    urls = [open_url(api.parts.service.vault, one.url) for one in command.notifications]
    assert urls == [f"https://user:{SECRET}@example.com/hook?x=1", f"https://u:{SECRET}@example.com/hook"]
    assert SECRET not in command.model_dump_json()
    for one, field in BAD_NOTIFICATIONS:
        answer = await ask(api, job, {"notifications": [HOOK, one]})
        assert answer.status_code == 400, one
        assert answer.json()["errors"][0]["field"] == f"outputs[0].notifications[1].{field}"


async def test_a_repeated_request_with_its_key_names_the_same_exports(api: Gateway) -> None:
    job, key = await live_job(api), {"Idempotency-Key": "several"}
    answers = [await ask(api, job, {"destinations": EIGHT}, headers=key) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
