"""The admin key of the settings: the same for all gateways, stored nowhere, changed by a restart, refused when weak."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from shared.broker.kv import Bucket
from shared.messages.keys import ApiKeyRecord
from shared.runtime.settings import Settings
from tests.support.api_gateway import Gateway, gateway
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import until

FIRST, SECOND = "rl_0123456789abcdefghijklmnopqrstuv", "rl_zyxwvutsrqponmlkjihgfedcba9876543210"
WEAK = [
    ("short0123456789", "at least 32 characters"),
    ("a" * 40, "at least 10 different characters"),
    ("0123456789abcdef" * 9, "at most 128 characters"),
    ("0123456789abcdef with spaces in it 0123", "without spaces"),
    ("0123456789abcdéf0123456789abcdef", "ASCII"),
]


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


async def status(api: Gateway, key: str) -> int:
    answer: httpx.Response = await api.http.get("/v1/keys", headers={"X-API-KEY": key})
    return answer.status_code


async def answers(api: Gateway) -> bool:
    return (await api.http.get("/readyz")).status_code == 200


async def test_all_gateways_take_it_and_nothing_of_it_is_kept(
    nats: NatsServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{FIRST}\n")
    async with (
        gateway(nats, tmp_path / "a", admin_key=FIRST) as one,
        gateway(nats, tmp_path / "b", admin_key_file=str(file)) as two,
    ):
        for api in (one, two):
            assert await status(api, FIRST) == 200
            assert await status(api, SECOND) == 401
            assert not (api.folder / "admin.key").exists()
        made = (await one.http.post("/v1/keys", json={"scopes": ["jobs:read"], "account": "acme"})).json()
        assert await Bucket(one.js, "keys", ApiKeyRecord).items("api") != []
        assert [r.value.label for r in await Bucket(one.js, "keys", ApiKeyRecord).items("api")] == [""]
        nats.kill()
        assert (await two.http.get("/v1/keys")).status_code == 503, "it is known without the broker"
        assert await status(two, SECOND) == 503
        nats.start()
        for api in (one, two):
            await until(lambda api=api: answers(api))
    async with gateway(nats, tmp_path / "a", admin_key=SECOND) as again:
        assert await status(again, SECOND) == 200
        assert await status(again, FIRST) == 401
        assert (await again.http.get("/v1/jobs", headers={"X-API-KEY": made["key"]})).status_code == 200
    said = capfd.readouterr()
    assert FIRST not in said.out + said.err
    assert SECOND not in said.out + said.err


async def test_one_that_was_made_before_stays_and_is_told_of(nats: NatsServer, tmp_path: Path) -> None:
    async with gateway(nats, tmp_path / "a") as before:
        former = before.admin
    async with gateway(nats, tmp_path / "a", admin_key=FIRST) as api:
        assert await status(api, former) == 200
        ident = next(k["id"] for k in (await api.http.get("/v1/keys")).json()["keys"])
        assert (await api.http.delete(f"/v1/keys/{ident}")).status_code == 204
        assert await status(api, former) == 401
        assert await status(api, FIRST) == 200


@pytest.mark.parametrize(("key", "why"), WEAK)
def test_a_weak_one_is_refused_in_words_that_do_not_show_it(tmp_path: Path, key: str, why: str) -> None:
    file = tmp_path / "secret"
    file.write_text(key)
    for given in ({"admin_key": key}, {"admin_key_file": str(file)}):
        with pytest.raises(ValidationError) as refused:
            Settings.model_validate(given)
        assert key not in str(refused.value)
        assert why in str(refused.value) or "is not text" in str(refused.value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"REELAY_ADMIN_KEY": "hunter2"}, "REELAY_ADMIN_KEY.*at least 32 characters"),
        ({"REELAY_ADMIN_KEY": FIRST, "REELAY_ADMIN_KEY_FILE": __file__}, "REELAY_ADMIN_KEY_FILE.*set one of them"),
        ({"REELAY_ADMIN_KEY_FILE": "/nowhere"}, "REELAY_ADMIN_KEY_FILE.*cannot be read"),
    ],
)
def test_the_process_says_why_it_does_not_start(tmp_path: Path, given: dict[str, str], why: str) -> None:
    for module, more in (("services.gateway", []), ("services.cli", ["up"])):
        done = subprocess.run(
            [sys.executable, "-m", module, *more], env=os.environ | {"REELAY_DATA_DIR": str(tmp_path)} | given,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 1
        assert "Traceback" not in said
        assert "hunter2" not in said
        assert FIRST not in said
        assert re.search(why, said), said
