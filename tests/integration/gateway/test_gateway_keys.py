"""API keys: made, listed, revoked, expired, and ended; the admin's, and the command line."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from services.gateway.identity import keys_cli
from services.gateway.identity.keys import bucket_key, new_key_text
from shared.broker.kv import Bucket
from shared.messages.keys import ApiKeyRecord
from tests.support.api_gateway import Gateway, gateway, make_key, until, with_key
from tests.support.nats import NatsServer


async def test_the_admin_key_is_private_hashed_and_told_once(
    nats: NatsServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with gateway(nats, tmp_path) as api:
        file = tmp_path / "admin.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        stored = await Bucket(api.js, "keys", ApiKeyRecord).get(bucket_key(api.admin))
        assert stored is not None
        assert api.admin not in stored.value.model_dump_json()
    told = capfd.readouterr()
    assert told.out.count(api.admin) == 1
    assert api.admin not in told.err
    async with gateway(nats, tmp_path) as again:
        assert again.admin == api.admin
        assert (await again.http.get("/v1/jobs")).status_code == 200
        key_id = next(
            k["id"] for k in (await again.http.get("/v1/keys")).json()["keys"] if k["id"] == stored.value.key_id
        )
        assert (await again.http.delete(f"/v1/keys/{key_id}")).status_code == 204
    assert api.admin not in capfd.readouterr().out
    with pytest.raises(AssertionError):  # a revoked admin key stays revoked over a restart
        async with gateway(nats, tmp_path) as third:
            assert (await third.http.get("/v1/jobs")).status_code == 200


async def test_a_revoked_or_expired_key_is_refused_at_once_by_every_instance(
    api: Gateway, nats: NatsServer, tmp_path: Path
) -> None:
    async with gateway(nats, tmp_path / "second") as second:
        made = await make_key(api, "jobs:read")
        for instance in (api, second):
            assert (await with_key(instance, made["key"], "GET", "/v1/jobs")).status_code == 200
        assert (await api.http.delete(f"/v1/keys/{made['id']}")).status_code == 204
        assert (await with_key(api, made["key"], "GET", "/v1/jobs")).status_code == 401

        async def refused() -> bool:
            return (await with_key(second, made["key"], "GET", "/v1/jobs")).status_code == 401

        await until(refused)
        assert (await api.http.delete(f"/v1/keys/{made['id']}")).status_code == 404
        soon = await make_key(api, "jobs:read", expires_at=api.clock.now_ms() + 60_000)
        assert (await with_key(api, soon["key"], "GET", "/v1/jobs")).status_code == 200
        api.clock.ahead_ms = 61_000
        assert (await with_key(api, soon["key"], "GET", "/v1/jobs")).status_code == 401


async def test_keys_are_listed_in_pages(api: Gateway) -> None:
    headers = {"X-Reelay-Account": "pages"}
    made = [(await make_key(api, "jobs:read", account="pages", label=str(n)))["id"] for n in range(5)]
    await api.http.delete(f"/v1/keys/{made[1]}", headers=headers)
    found: list[str] = []
    token: str | None = ""
    while token is not None:
        page = {"start_token": token} if token else {}
        answer = (await api.http.get("/v1/keys", params={"page_size": 2, **page}, headers=headers)).json()
        found += [key["id"] for key in answer["keys"]]
        token = answer["next_token"]
    assert sorted(found) == sorted([made[0], *made[2:]])
    assert len((await api.http.get("/v1/keys", headers=headers)).json()["keys"]) == 4
    assert (await api.http.get("/v1/keys", params={"start_token": "%"}, headers=headers)).status_code == 400


async def test_records_of_revoked_and_expired_keys_end_after_a_month(api: Gateway) -> None:
    bucket = Bucket(api.js, "keys", ApiKeyRecord)
    now = api.clock.now_ms()
    revoked = await make_key(api, "jobs:read")
    expired = await make_key(api, "admin", expires_at=now + 60_000)
    good = await make_key(api, "jobs:read")
    assert (await api.http.delete(f"/v1/keys/{revoked['id']}")).status_code == 204
    admin = next(k["id"] for k in (await api.http.get("/v1/keys")).json()["keys"] if k["label"] == "admin")
    await make_key(api, "admin")
    await api.parts.keys.revoke("main", admin)

    async def there() -> list[bool]:
        texts = [revoked["key"], expired["key"], good["key"], api.admin]
        return [await bucket.get(bucket_key(text)) is not None for text in texts]

    api.clock.ahead_ms = 29 * 86_400_000
    assert await api.parts.keys.expire() == 0
    assert await there() == [True] * 4
    api.clock.ahead_ms = 31 * 86_400_000
    assert await api.parts.keys.expire() >= 2
    assert await there() == [False, False, True, True], "the admin key's text is in a file: it must not come back"
    assert (await with_key(api, revoked["key"], "GET", "/v1/jobs")).status_code == 401
    assert (await with_key(api, good["key"], "GET", "/v1/jobs")).status_code == 200


@pytest.mark.parametrize(
    ("fields", "stays"),
    [
        ({"revoked": True}, False),
        ({"revoked": True, "scopes": ("admin",)}, True),
        ({"revoked": True, "scopes": ("admin",), "revoked_ms": 1}, False),
        ({"revoked": True, "revoked_ms": 1, "kept": True}, True),
        ({}, True),
    ],
)
async def test_records_of_older_versions_end_too_but_admin_keys_that_a_file_may_hold(
    api: Gateway, fields: dict[str, Any], stays: bool
) -> None:
    text = new_key_text()
    bucket = Bucket(api.js, "keys", ApiKeyRecord)
    old = ApiKeyRecord(account="old", key_id="0" * 32, scopes=("jobs:read",), created_ms=1).model_copy(update=fields)
    await bucket.create(bucket_key(text), old)
    await api.parts.keys.expire()
    assert (await bucket.get(bucket_key(text)) is not None) == stays
    if stays:
        await bucket.delete(bucket_key(text))


async def test_the_command_line_makes_lists_and_revokes_keys(
    api: Gateway, nats: NatsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REELAY_NATS_URL", nats.url)
    capsys.readouterr()
    argv = [
        "create",
        "--scope",
        "vods:read",
        "--scope",
        "jobs:read",
        "--account",
        "cli",
        "--label",
        "ci",
        "--days",
        "2",
    ]
    assert await asyncio.to_thread(keys_cli.main, argv) == 0
    key = capsys.readouterr().out.strip()
    assert (await with_key(api, key, "GET", "/v1/jobs")).status_code == 200
    assert await asyncio.to_thread(keys_cli.main, ["list", "--account", "cli"]) == 0
    listed = capsys.readouterr().out
    assert "vods:read,jobs:read" in listed
    assert key not in listed
    revoke = ["revoke", listed.split()[0], "--account", "cli"]
    assert await asyncio.to_thread(keys_cli.main, revoke) == 0
    assert await asyncio.to_thread(keys_cli.main, revoke) == 1

    async def refused() -> bool:
        return (await with_key(api, key, "GET", "/v1/jobs")).status_code == 401

    await until(refused)
    assert await asyncio.to_thread(keys_cli.main, ["create", "--scope", "admin", "--account", "main"]) == 0
    made = capsys.readouterr().out.strip()
    assert (await with_key(api, made, "GET", "/v1/keys")).status_code == 200
    for bad in (["create"], ["create", "--scope", "root"], ["create", "--scope", "admin", "--account", "A"], []):
        with pytest.raises(SystemExit):
            keys_cli.main(bad)
    monkeypatch.setenv("REELAY_NATS_URL", "nats://127.0.0.1:9")
    capsys.readouterr()
    assert await asyncio.to_thread(keys_cli.main, ["list"]) == 1
    assert "is the stack up?" in capsys.readouterr().err
