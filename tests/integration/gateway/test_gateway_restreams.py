"""Restreams over the native API: what is asked becomes commands, what is known is shown without secrets."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.broker.kv import Bucket
from shared.broker.streams import commands_of
from shared.messages.credentials import CREDENTIAL_PURPOSE, CredentialRecord
from shared.messages.restream_commands import RestreamCommand, Retarget, Seek, Update
from shared.messages.restreams import (
    FLICKS,
    PlaylistCursor,
    PlayoutRecord,
    RestreamRecord,
    TargetStatus,
)
from shared.security.webhooks import open_url
from tests.support.api_gateway import Gateway, gateway
from tests.support.nats import NatsServer

ASKED: dict[str, Any] = {
    "name": "best of",
    "sources": [
        {"url": "https://example.com/a.mp4?token=hush", "ranges": [{"start": 1.5, "end": "4"}]},
        {"url": "reelay:clip/" + "0" * 32},
        {"url": "s3://bucket/b.mp4", "credentials": "ours", "watermark": {"url": "https://example.com/logo.png"}},
    ],
    "targets": [{"url": "rtmp://example.com/live/secretkey"}, {"url": "srt://example.com:9000?passphrase=0123456789"}],
    "loop": 2,
    "index": 2,
    "encoding": {"kbps": 900, "frame_rate": "29.97"},
}


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path) as running:
        yield running
        await running.js().purge_stream(commands_of("restreamer"), subject="restreams.command.>")


async def last_command(api: Gateway, ident: str) -> RestreamCommand:
    message = await api.js().get_last_msg(commands_of("restreamer"), f"restreams.command.main.{ident}")
    return RestreamCommand.model_validate_json(message.data or b"")


async def taken_up(api: Gateway, ident: str, **changes: Any) -> RestreamRecord:
    """Play the restreamer: write the record that the start asks for."""
    command = await last_command(api, ident)
    assert command.spec is not None
    record = RestreamRecord(
        account="main", restream=ident, spec=command.spec, state="playing", created_ms=command.at_ms,
        changed_ms=command.at_ms, started_ms=command.at_ms,
    ).model_copy(update=changes)  # fmt: skip
    await Bucket(api.js, "restreams", RestreamRecord).change(f"main.{ident}", lambda _: record)
    return record


async def test_a_restream_is_ordered_with_all_that_was_asked(api: Gateway) -> None:
    answer = await api.http.post("/v1/restreams", json=ASKED)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert shown["state"] == "starting"
    assert "hush" not in answer.text
    assert "secretkey" not in answer.text
    assert "0123456789" not in answer.text
    assert [t["url"] for t in shown["targets"]] == ["rtmp://example.com/live/***", "srt://example.com:9000?***"]
    assert (shown["loop"], shown["index"], shown["retries"], shown["live"]) == (2, 2, 3, None)
    assert (shown["encoding"]["kbps"], shown["encoding"]["frame_rate"]) == (900, "30000/1001")
    command = await last_command(api, shown["id"])
    spec = command.spec
    assert spec is not None
    assert (command.verb, spec.loops, spec.first, spec.tries) == ("start", 2, 1, 3)
    assert [(r.start, r.end) for r in spec.items[0].ranges] == [(FLICKS * 3 // 2, 4 * FLICKS)]
    assert [item.source.kind for item in spec.items] == ["url", "clip", "s3"]
    assert spec.encoding is not None
    assert (spec.encoding.kbps, spec.encoding.rate_num, spec.encoding.rate_den) == (900, 30000, 1001)
    assert "secretkey" not in command.model_dump_json()
    again = (await api.http.get(f"/v1/restreams/{shown['id']}")).json()  # nobody has taken it up
    assert again == shown


async def test_it_is_shown_with_its_place_and_its_targets(api: Gateway) -> None:
    ident = (await api.http.post("/v1/restreams", json=ASKED)).json()["id"]
    record = await taken_up(api, ident)
    first = record.spec.targets[0]
    place = PlayoutRecord(
        account="main", restream=ident, run=1, holder="one", cursor=PlaylistCursor(item=2, loop=1, at=FLICKS * 5 // 2),
        at_ms=record.created_ms, played_ms=12_500, file="s3://bucket/b.mp4", how="copied",
        targets=(TargetStatus(target=first.target, shown=first.shown, state="live", since_ms=1, connects=1),),
    )  # fmt: skip
    await Bucket(api.js, "playouts", PlayoutRecord).create(f"main.{ident}", place)
    shown = (await api.http.get(f"/v1/restreams/{ident}")).json()
    assert (shown["state"], [t["state"] for t in shown["targets"]]) == ("playing", ["live", "waiting"])
    expected = {"source": 3, "range": 1, "loop": 2, "position": 2.5, "played": 12.5, "how": "copied", "live": False}
    assert expected.items() <= shown["position"].items()
    listed = (await api.http.get("/v1/restreams", params={"state": "playing"})).json()["restreams"]
    assert shown in listed
    elsewhere = {"X-Reelay-Account": "other"}
    assert (await api.http.get(f"/v1/restreams/{ident}", headers=elsewhere)).status_code == 404
    assert (await api.http.put(f"/v1/restreams/{ident}/stop", headers=elsewhere)).status_code == 404


async def test_every_wish_becomes_its_command(api: Gateway) -> None:
    ident = (await api.http.post("/v1/restreams", json=ASKED)).json()["id"]
    await taken_up(api, ident)
    for path, body, verb in (
        ("pause", None, "pause"),
        ("skip", None, "skip"),
        ("seek", {"source": 3, "position": "7.25"}, "seek"),
        ("targets", {"targets": [{"url": "rtmp://example.com/live/other"}]}, "targets"),
        ("sources", {"sources": [{"url": "https://example.com/c.mp4"}], "wait_current": True}, "update"),
        ("resume", None, "resume"),
        ("stop", None, "stop"),
    ):
        answer = await api.http.put(f"/v1/restreams/{ident}/{path}", json=body)
        assert answer.status_code == 202, answer.text
        command = await last_command(api, ident)
        assert command.verb == verb
        if verb == "seek":
            assert command.order == Seek(item=2, at=FLICKS * 29 // 4)
        if verb == "targets":
            assert isinstance(command.order, Retarget)
            assert [target.shown for target in command.order.targets] == ["rtmp://example.com/live/***"]
        if verb == "update":
            assert isinstance(command.order, Update)
            assert command.order.wait_current
            assert len(command.order.items) == 1
    await taken_up_again(api, ident)
    assert (await api.http.put(f"/v1/restreams/{ident}/pause")).status_code == 409
    assert (await api.http.put(f"/v1/restreams/{ident}/resume")).status_code == 202
    assert (await last_command(api, ident)).verb == "resume"


async def test_what_the_state_does_not_allow_is_a_409_and_a_second_stop_is_none(api: Gateway) -> None:
    late = ASKED | {"start_time": api.clock.now_ms() + 600_000}
    ident = (await api.http.post("/v1/restreams", json=late)).json()["id"]
    for path, body in (("pause", None), ("skip", None), ("seek", {"source": 1})):
        answer = await api.http.put(f"/v1/restreams/{ident}/{path}", json=body)
        assert (answer.status_code, answer.json()["detail"]) == (409, "the restream is scheduled")
    assert (await last_command(api, ident)).verb == "start"
    await taken_up(api, ident, state="stopped")
    answer = await api.http.put(f"/v1/restreams/{ident}/stop")
    assert (answer.status_code, answer.json()["state"]) == (202, "stopped")
    assert (await last_command(api, ident)).verb == "start"


async def test_a_repeated_skip_with_a_key_is_one(api: Gateway) -> None:
    ident = (await api.http.post("/v1/restreams", json=ASKED)).json()["id"]
    once = {"Idempotency-Key": "again"}
    for headers in (once, once, {}):
        assert (await api.http.put(f"/v1/restreams/{ident}/skip", headers=headers)).status_code == 202
    info = await api.js().stream_info(commands_of("restreamer"), subjects_filter=f"restreams.command.main.{ident}")
    assert (info.state.subjects or {}) == {f"restreams.command.main.{ident}": 3}  # the start, and two


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("seek", {"source": 4}, "source"),
        ("seek", {"source": 0}, "source"),
        ("seek", {"source": 1, "position": -1}, "position"),
        ("seek", {"source": 1, "position": 99_999_999_999}, "position"),
        ("sources", {"sources": [{"url": "https://e.com/a"}], "index": 2}, "index"),
        ("sources", {"sources": []}, "sources"),
        ("targets", {"targets": []}, "targets"),
        ("targets", {"targets": [{"url": "http://e.com/live/x"}]}, "targets[0].url"),
    ],
)
async def test_what_is_bad_in_a_wish_is_named(api: Gateway, path: str, body: dict[str, Any], why: str) -> None:
    ident = (await api.http.post("/v1/restreams", json=ASKED)).json()["id"]
    answer = await api.http.put(f"/v1/restreams/{ident}/{path}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == why


async def test_scopes_decide_who_may_read_and_order(api: Gateway) -> None:
    ident = (await api.http.post("/v1/restreams", json=ASKED)).json()["id"]
    for scopes, read, write in (
        (["restreams:read"], 200, 403),
        (["restreams:write"], 200, 202),
        (["vods:write"], 403, 403),
    ):
        key = (await api.http.post("/v1/keys", json={"scopes": scopes})).json()["key"]
        headers = {"X-API-KEY": key}
        assert (await api.http.get(f"/v1/restreams/{ident}", headers=headers)).status_code == read
        assert (await api.http.get("/v1/restreams", headers=headers)).status_code == read
        for path in ("skip", "stop"):
            assert (await api.http.put(f"/v1/restreams/{ident}/{path}", headers=headers)).status_code == write
        made = await api.http.post("/v1/restreams", json=ASKED, headers=headers)
        assert made.status_code == (201 if write == 202 else 403)
    assert (await api.http.get("/v1/restreams", headers={"X-API-KEY": ""})).status_code == 401


async def taken_up_again(api: Gateway, ident: str) -> None:
    """Play the restreamer: the run is over."""
    bucket = Bucket(api.js, "restreams", RestreamRecord)
    await bucket.change(f"main.{ident}", lambda old: old and old.model_copy(update={"state": "stopped"}))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sources": []}, "sources"),
        ({"targets": []}, "targets"),
        ({"sources": [{"url": "s3://bucket/b.mp4"}]}, "sources[0].url"),
        ({"sources": [{"url": "reelay:library/../../etc/passwd"}]}, "sources[0].url"),
        ({"sources": [{"url": "reelay:clip/12"}]}, "sources[0].url"),
        ({"sources": [{"url": "file:///etc/passwd"}]}, "sources[0].url"),
        ({"sources": [{"url": "https://e.com/a", "ranges": [{"start": 5, "end": 5}]}]}, "sources[0].ranges[0]"),
        ({"sources": [{"url": "https://e.com/a", "ranges": [{"start": 5, "wall_start": 5}]}]}, "sources[0].ranges[0]"),
        ({"targets": [{"url": "rtmp://127.0.0.1/live/x"}]}, "targets[0].url"),
        ({"targets": [{"url": "rtmp://user@e.com/live/x"}]}, "targets[0].url"),
        ({"targets": [{"url": "rtmp://e.com/live/"}]}, "targets[0].url"),
        ({"targets": [{"url": "rtmp://e.com/live2?backup=1/"}]}, "targets[0].url"),
        ({"targets": [{"url": "srt://user:pw@e.com:9000"}]}, "targets[0].url"),
        ({"index": 4}, "index"),
        ({"encoding": {"frame_rate": "0/0"}}, "encoding.frame_rate"),
        ({"encoding": {"width": 641}}, "encoding.width"),
        ({"end_time": 1000}, "end_time"),
        ({"live": {"job_id": "x"}}, "live.job_id"),
    ],
)
async def test_what_is_bad_is_named(api: Gateway, change: dict[str, Any], why: str) -> None:
    answer = await api.http.post("/v1/restreams", json=ASKED | change)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == why


async def test_a_live_job_of_nobody_s_is_a_404(api: Gateway) -> None:
    answer = await api.http.post("/v1/restreams", json=ASKED | {"live": {"job_id": "0" * 32}})
    assert answer.status_code == 404


async def test_the_same_request_with_the_same_key_is_one_restream(api: Gateway) -> None:
    once = {"Idempotency-Key": "again"}
    first, second = [(await api.http.post("/v1/restreams", json=ASKED, headers=once)).json() for _ in range(2)]
    assert first["id"] == second["id"]
    subject = f"restreams.command.main.{first['id']}"
    info = await api.js().stream_info(commands_of("restreamer"), subjects_filter=subject)
    assert (info.state.subjects or {}) == {subject: 1}
    await taken_up(api, first["id"], state="stopped")
    assert (await api.http.post("/v1/restreams", json=ASKED, headers=once)).json()["state"] == "stopped"


async def test_credentials_are_kept_without_being_given_out(api: Gateway) -> None:
    body = {"access_key": "AK", "secret_key": "very-hush", "endpoint": "https://s3.example.com"}
    answer = await api.http.put("/v1/credentials/ours", json=body)
    assert answer.status_code == 200, answer.text
    listed = await api.http.get("/v1/credentials")
    assert [c["name"] for c in listed.json()["credentials"]] == ["ours"]
    assert "very-hush" not in answer.text + listed.text
    stored = (await Bucket(api.js, "credentials", CredentialRecord).items("main"))[0].value
    assert "very-hush" not in json.dumps(stored.model_dump())
    assert api.parts.service.vault.decrypt(stored.secret, CREDENTIAL_PURPOSE) == "very-hush"
    private = body | {"endpoint": "http://169.254.169.254/"}
    assert (await api.http.put("/v1/credentials/ours", json=private)).status_code == 400
    assert (await api.http.delete("/v1/credentials/ours")).status_code == 204
    assert (await api.http.delete("/v1/credentials/ours")).status_code == 404


async def test_a_source_s_user_and_password_are_taken_and_shown_to_nobody(api: Gateway) -> None:
    url = "https://ann%40league:pass%3Aword@example.com/a.mp4?token=hush"
    asked = ASKED | {
        "index": 1,
        "sources": [{"url": url, "watermark": {"url": "http://bob:pass@example.com/logo.png"}}],
    }
    answer = await api.http.post("/v1/restreams", json=asked)
    assert answer.status_code == 201, answer.text
    assert answer.json()["sources"] == ["https://***@example.com/a.mp4?***"]
    command = await last_command(api, answer.json()["id"])
    assert command.spec is not None
    assert open_url(api.parts.service.vault, command.spec.items[0].source.location) == url
    shown = answer.text + command.model_dump_json() + (await api.http.get("/v1/restreams")).text
    assert not any(secret in shown for secret in ("ann", "pass", "bob", "hush"))
    for ftp in ("ftp://ann:pass@example.com/a.mp4", "file://ann:pass@example.com/a.mp4"):
        refused = await api.http.post("/v1/restreams", json=ASKED | {"index": 1, "sources": [{"url": ftp}]})
        assert refused.status_code == 400
        assert "pass" not in refused.text


async def test_every_target_of_a_task_that_is_over_is_over(api: Gateway) -> None:
    ident = (await api.http.post("/v1/restreams", json=ASKED)).json()["id"]
    waiting = (await api.http.get(f"/v1/restreams/{ident}")).json()["targets"]
    assert {target["state"] for target in waiting} == {"waiting"}
    record = await taken_up(api, ident)
    first, second = record.spec.targets
    place = PlayoutRecord(
        account="main", restream=ident, run=1, holder="killed", cursor=PlaylistCursor(), at_ms=record.created_ms,
        targets=(
            TargetStatus(target=first.target, shown=first.shown, state="live", since_ms=1, sent_bytes=7),
            TargetStatus(target=second.target, shown=second.shown, state="failed", since_ms=1, error="refused"),
        ),
    )  # fmt: skip
    await Bucket(api.js, "playouts", PlayoutRecord).create(f"main.{ident}", place)
    for state in ("ended", "stopped", "failed"):
        await taken_up(api, ident, state=state, finished_ms=record.created_ms)
        told = (await api.http.get(f"/v1/restreams/{ident}")).json()["targets"]
        assert [(t["state"], t["error"]) for t in told] == [("removed", ""), ("failed", "refused")]


async def test_pages_hold_each_restream_once_in_order_taken_up_or_not(api: Gateway) -> None:
    made = [(await api.http.post("/v1/restreams", json=ASKED | {"name": str(n)})).json()["id"] for n in range(7)]
    for number, ident in enumerate(made):
        at_ms = 1_700_000_000_000 + number
        state = "ended" if number % 2 else "playing"
        if number < 5:
            command = await last_command(api, ident)
            await taken_up(api, ident, state=state, created_ms=at_ms, changed_ms=at_ms, commands=(command.command,))
        if number < 4:
            await api.js().purge_stream(commands_of("restreamer"), subject=f"restreams.command.main.{ident}")

    async def listed(**asked: Any) -> list[str]:
        found: list[str] = []
        token = None
        while True:
            page = {"start_token": token} if token else {}
            answer = await api.http.get("/v1/restreams", params={"page_size": 2, **asked, **page})
            assert answer.status_code == 200, answer.text
            found += [restream["id"] for restream in answer.json()["restreams"]]
            if (token := answer.json()["next_token"]) is None:
                return [ident for ident in found if ident in made]

    assert await listed(sort_dir="asc") == made
    assert await listed(sort="modified_at") == made[::-1]
    assert await listed(state="playing") == [made[4], made[2], made[0]]
    assert await listed(state="starting", sort_dir="asc") == made[5:]
    await Bucket(api.js, "restreams", RestreamRecord).delete(f"main.{made[2]}")
    assert await listed(sort_dir="asc") == [ident for ident in made if ident != made[2]]
