"""Encrypted recordings and clips over HTTP: what is asked for is sent on, and no key is ever shown."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from services.clipper.writing import content_key
from shared.broker.kv import Bucket
from shared.messages.jobs import JobRecord
from tests.support.api_gateway import Gateway

KEY, KID = "00112233445566778899aabbccddeeff", "0f" * 16
GOOD: dict[str, Any] = {"scheme": "cenc", "key": KEY.upper(), "kid": KID.upper()}
BAD: list[tuple[Any, str]] = [
    ({"key": KEY}, "kid"), ({"kid": KID}, "key"), ({**GOOD, "key": KEY[:-1]}, "key"),
    ({**GOOD, "key": KEY[:-1] + "g"}, "key"), ({**GOOD, "kid": KID + "0"}, "kid"),
    ({**GOOD, "scheme": "cbcs"}, "scheme"),
    ({**GOOD, "iv": "00"}, "iv"), ("cenc", ""), ({**GOOD, "key": 5}, "key"),
]  # fmt: skip


async def asked(api: Gateway, job: str, **output: Any) -> httpx.Response:
    body = {"live_job_id": job, "outputs": [{"stream_start_time": 4, "stream_end_time": 14, **output}]}
    return await api.http.post("/v1/vods", json=body)


async def test_a_key_is_sealed_at_the_door_and_masked_in_answers(api: Gateway) -> None:
    job = (await api.job())["id"]
    await api.publish(job)
    clip = (await asked(api, job, encryption=GOOD)).json()["vod_jobs"][0]["jvod_id"]
    command = await api.command(clip)
    assert command.encryption is not None
    assert KEY not in command.model_dump_json().lower()
    opened = content_key(api.parts.service.vault, command.encryption)
    assert opened is not None
    assert (opened.key.hex(), opened.kid.hex()) == (KEY, KID)
    shown = await api.http.get(f"/v1/vods/{clip}")
    assert shown.json()["encryption"] == {"scheme": "cenc", "kid": KID}
    listed = await api.http.get("/v1/vods")
    assert not [text for text in (shown.text, listed.text) if KEY in text.lower()]
    plain = (await asked(api, job)).json()["vod_jobs"][0]["jvod_id"]
    assert (await api.command(plain)).encryption is None
    assert (await api.http.get(f"/v1/vods/{plain}")).json()["encryption"] is None


async def test_a_bad_key_is_named_and_not_repeated(api: Gateway) -> None:
    job = (await api.job())["id"]
    await api.publish(job)
    for encryption, field in BAD:
        answer = await asked(api, job, encryption=encryption)
        assert answer.status_code == 400, encryption
        assert answer.json()["errors"][0]["field"] == f"outputs[0].encryption.{field}".rstrip("."), encryption
        assert KEY[:20] not in answer.text.lower()
    for more in ({"mode": "instant"}, {"videocloud": {"video": {"name": "it"}}}):
        answer = await asked(api, job, encryption=GOOD, **more)
        assert answer.status_code == 400, answer.text
        assert answer.json()["errors"][0]["field"].startswith("outputs[0].")


@pytest.mark.parametrize("encrypted", [True, False, None])
async def test_a_job_says_whether_it_is_encrypted(api: Gateway, encrypted: bool | None) -> None:
    body = {} if encrypted is None else {"encrypted": encrypted}
    made = (await api.http.post("/v1/jobs", json=body)).json()
    assert made["encrypted"] is encrypted
    stored = await Bucket(api.js, "events", JobRecord).get(f"main.{made['id']}")
    assert stored is not None
    assert stored.value.encrypted is encrypted
    assert (await api.http.post("/v1/jobs", json={"encrypted": "perhaps"})).status_code == 400
