"""`POST /v1/credentials/{id}/test`: what the exporter is asked, and what its answer, or none, comes to."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.js.errors import NotFoundError

from shared.broker.kv import Bucket
from shared.broker.streams import commands_of
from shared.messages.destinations import DESTINATION_PURPOSE
from shared.messages.exports import CredentialTest, CredentialTestRecord
from tests.support.api_gateway import Gateway, connected, gateway, until
from tests.support.nats import NatsServer

STORED: list[dict[str, Any]] = [
    {"credential_label": "bucket", "credential_type": "s3"},
    {"credential_label": "site", "credential_type": "ftp"},
    {"credential_label": "cloud", "credential_type": "videocloud", "account_id": "12"},
    {"credential_label": "cloud without", "credential_type": "videocloud"},
    {"credential_label": "push", "credential_type": "rtmp"},
]


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, secret_key="the same for each test here") as running:
        for fields in STORED:
            body = fields | {"credential_public": "user", "credential_private": "secret-word"}
            made = await running.http.post("/v1/credentials", json=body, headers={"Idempotency-Key": "once"})
            assert made.status_code == 201, made.text
        yield running


async def ask(api: Gateway, label: str, body: dict[str, Any] | None = None) -> httpx.Response:
    return await api.http.post(f"/v1/credentials/{label}/test", json=body)


async def asked(api: Gateway, seen: set[str]) -> CredentialTest:
    """Wait for the exporter's next command."""

    async def look() -> CredentialTest | None:
        try:
            message = await api.js().get_last_msg(commands_of("exporter"), f"{CredentialTest.channel}.main.*")
        except NotFoundError:
            return None
        command = CredentialTest.model_validate_json(message.data or b"")
        return None if command.test in seen else command

    found: CredentialTest = await until(look)
    seen.add(found.test)
    return found


TRIALS: list[tuple[str, dict[str, Any] | None, str, str, dict[str, Any]]] = [
    ("bucket", {"url": "s3://bucket/in/"}, "s3", "s3://bucket/in/reelay-test.mp4", {}),
    ("site", {"url": "ftp://example.com"}, "ftp", "ftp://example.com/reelay-test.mp4", {}),
    ("cloud", None, "videocloud", "", {"video": {"name": "reelay test"}, "ingest": {}}),
    (
        "cloud without", {"account_id": "34"}, "videocloud", "",
        {"account_id": "34", "video": {"name": "reelay test"}, "ingest": {}},
    ),
]  # fmt: skip


async def test_the_exporters_answer_is_the_answer(api: Gateway) -> None:
    seen: set[str] = set()
    vault = api.parts.service.vault
    async with connected("exporter", api.parts.service.settings) as exporter:
        results = Bucket(exporter.js, "credential_tests", CredentialTestRecord)
        for label, body, kind, url, options in TRIALS:
            for worked, error in ((True, ""), (False, "530 Login incorrect")):
                running = asyncio.create_task(ask(api, label, body))
                command = await asked(api, seen)
                spec = command.destination
                assert (spec.type, spec.credential, spec.export) == (kind, label, command.test)
                assert (vault.decrypt(spec.url, DESTINATION_PURPOSE) if spec.url else "") == url
                assert (json.loads(vault.decrypt(spec.options, DESTINATION_PURPOSE)) if options else {}) == options
                assert "secret-word" not in command.model_dump_json()
                result = CredentialTestRecord(account="main", test=command.test, worked=worked, error=error, at_ms=1)
                await results.create(f"main.{command.test}", result)
                answer = await running
                assert (answer.status_code, answer.json()) == (200, {"worked": worked, "error": error})


async def test_no_exporter_is_told_apart_from_a_destination_that_fails(api: Gateway) -> None:
    api.parts.trials.patience = timedelta(milliseconds=50)
    answer = await ask(api, "site", {"url": "ftp://example.com"})
    assert (answer.status_code, answer.json()["error_code"]) == (504, "NO_ANSWER")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_few_trials_run_at_once(api: Gateway) -> None:
    api.parts.trials.patience = timedelta(seconds=1)
    answers = await asyncio.gather(*(ask(api, "site", {"url": "ftp://example.com"}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [429, 429, 504, 504, 504, 504]


REFUSED: list[tuple[str, dict[str, Any] | None, int, str]] = [
    ("nobody", {"url": "ftp://example.com"}, 404, ""),
    ("site", None, 400, "url"),
    ("site", {"url": "s3://bucket/x"}, 400, "credentials"),
    ("site", {"url": "ftp://169.254.169.254"}, 400, "url"),
    ("cloud", {"url": "ftp://example.com"}, 400, "credentials"),
    ("cloud without", {}, 400, "videocloud.account_id"),
    ("cloud", {"videocloud": {"video": {"nam": "x"}}}, 400, "videocloud.video.name"),
    ("site", {"uri": "ftp://example.com"}, 400, "uri"),
    ("push", {"url": "ftp://example.com"}, 400, ""),
]


async def test_what_cannot_be_tried_is_refused_and_nobody_is_asked(api: Gateway) -> None:
    before = (await api.js().stream_info(commands_of("exporter"))).state.last_seq
    for label, body, status, field in REFUSED:
        answer = await ask(api, label, body)
        assert answer.status_code == status, (label, body, answer.text)
        if field:
            assert answer.json()["errors"][0]["field"] == field
    assert (await api.js().stream_info(commands_of("exporter"))).state.last_seq == before
