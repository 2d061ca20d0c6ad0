"""Stored credentials over HTTP: made, read, changed, removed; secrets go in and never come out."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.broker.kv import Bucket
from shared.messages.credentials import CREDENTIAL_PURPOSE, CredentialRecord, credential_key
from tests.support.api_gateway import Gateway, gateway
from tests.support.nats import NatsServer

SECRET = "hunter2-is-the-secret"
KEY_BLOB = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n"
PATH = "/v1/credentials"


@pytest.fixture
async def api(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(nats, tmp_path, account_rate=0) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_secret_is_logged(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    logged = capfd.readouterr()
    assert SECRET not in logged.out + logged.err


class Client:
    """One account's calls."""

    def __init__(self, api: Gateway, account: str) -> None:
        self.api = api
        self.account = account

    async def call(self, method: str, path: str = "", body: Any = None, **headers: str) -> httpx.Response:
        headers = {"X-Reelay-Account": self.account, **{k.replace("_", "-"): v for k, v in headers.items()}}
        answer = await self.api.http.request(method, PATH + path, json=body, headers=headers)
        assert SECRET not in answer.text
        return answer

    async def store(self, label: str, kind: str = "s3", **fields: Any) -> dict[str, Any]:
        answer = await self.call("POST", body=fields_of(label, kind, **fields))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def listed(self) -> list[dict[str, Any]]:
        return list((await self.call("GET")).json()["credentials"])

    async def secret(self, label: str, field: str = "secret") -> str:
        """Open a stored secret, as the exporter does."""
        for stored in await Bucket(self.api.js, "credentials", CredentialRecord).items(self.account):
            if stored.value.name == label:
                return self.api.parts.service.vault.decrypt(getattr(stored.value, field), CREDENTIAL_PURPOSE)
        raise AssertionError(label)


def fields_of(label: str, kind: str = "s3", **fields: Any) -> dict[str, Any]:
    return {
        "credential_label": label, "credential_type": kind, "credential_public": "user", "credential_private": SECRET,
        **fields,
    }  # fmt: skip


TYPES: list[tuple[str, dict[str, Any]]] = [
    ("s3", {"endpoint": "https://s3.example.com", "region": "eu-central-1", "path_style": False,
            "session_token": SECRET}),
    ("ftp", {"tls": "explicit"}), ("ftp", {"tls": "implicit-unverified", "credential_private": ""}),
    ("sftp", {"host_key": f"ssh-ed25519 {KEY_BLOB} somebody@host"}),
    ("sftp", {"host_key": f"SHA256:{'a' * 43}", "credential_private": PEM}),
    ("sftp", {"host_key": f"256 SHA256:{'a' * 43} files.example.com (ED25519)"}),
    ("sftp", {"host_key": f"# files.example.com:22 SSH-2.0-x\n[files.example.com]:22 ssh-ed25519 {KEY_BLOB}\n"
              f"|1|c2FsdA==|aGFzaA== ssh-ed25519 {KEY_BLOB}\n\nSHA256:{'b' * 43}"}),
    ("http", {}), ("http", {"host": "example.com", "credential_default_for_type": True}),
    ("rtmp", {}), ("oauth", {"oauth_settings": {"url": f"https://example.com/token?key={SECRET}"}}),
    ("videocloud", {"account_id": "4590388311111"}),
]  # fmt: skip


async def test_each_type_is_stored_and_shown_without_its_secrets(api: Gateway) -> None:
    client = Client(api, "types")
    for number, (kind, fields) in enumerate(TYPES):
        label = f"{kind} no. {number}"
        made = await client.store(label, kind, **fields)
        assert (made["credential_label"], made["credential_type"], made["user_id"]) == (label, kind, "types")
        private = fields.get("credential_private", SECRET)
        assert made["credential_private"] == ("*" * 8 + private.strip()[-2:] if private else "")
        hidden = {"credential_private", "session_token", "oauth_settings"}
        assert {k: made[k] for k in fields if k not in hidden} == {k: v for k, v in fields.items() if k not in hidden}
        for by in (label, made["credential_id"]):
            assert (await client.call("GET", f"/{by}")).json() == made
        if private:
            assert await client.secret(label) == private
    listed = await client.call("GET")
    assert listed.json()["user_id"] == "types"
    assert len(listed.json()["credentials"]) == len(TYPES)
    assert await client.secret("s3 no. 0", "session_token") == SECRET
    raw = [m.value for m in await Bucket(api.js, "credentials", CredentialRecord).items("types")]
    assert SECRET not in repr(raw) + "".join(record.model_dump_json() for record in raw)
    assert await Client(api, "others").listed() == []


BAD: list[tuple[dict[str, Any], str]] = [
    ({"credential_label": ""}, "credential_label"),
    ({"credential_label": " x"}, "credential_label"),
    ({"credential_label": "a\nb"}, "credential_label"),
    ({"credential_label": "0" * 32}, "credential_label"),
    ({"credential_label": "x" * 129}, "credential_label"),
    ({"credential_type": "zencoder"}, "credential_type"),
    ({"credential_public": ""}, "credential_public"),
    ({"credential_public": "x" * 1025}, "credential_public"),
    ({"credential_public": "a\r\nb"}, "credential_public"),
    ({"credential_private": None}, "credential_private"),
    ({"credential_private": "x" * 16_001}, "credential_private"),
    ({"credential_private": "a\nb"}, "credential_private"),
    ({"credential_private": "\u00fc" * 8001}, "credential_private"),
    ({"endpoint": "ftp://example.com"}, "endpoint"),
    ({"endpoint": "http://169.254.169.254"}, "endpoint"),
    ({"region": "eu central"}, "region"),
    ({"session_token": "a\nb"}, "session_token"),
    ({"tls": "explicit"}, "tls"),
    ({"credential_type": "ftp", "tls": "maybe"}, "tls"),
    ({"credential_type": "ftp", "endpoint": "https://example.com"}, "endpoint"),
    ({"credential_type": "sftp", "host_key": "ssh-ed25519 AAAA"}, "host_key"),
    ({"credential_type": "sftp", "host_key": f"ssh-rsa {KEY_BLOB}"}, "host_key"),
    ({"credential_type": "sftp", "host_key": f"SHA256:{'a' * 43}\nMD5:00:11"}, "host_key"),
    ({"credential_type": "sftp", "host_key": f"@revoked * ssh-ed25519 {KEY_BLOB}"}, "host_key"),
    ({"credential_type": "sftp", "host_key": "# nothing"}, "host_key"),
    ({"credential_type": "oauth"}, "oauth_settings"),
    ({"credential_type": "oauth", "oauth_settings": {"url": "x"}}, "oauth_settings.url"),
    ({"credential_type": "videocloud", "account_id": "../1"}, "account_id"),
    ({"credential_type": "http", "account_id": "1"}, "account_id"),
    ({"credential_type": "http", "credential_default_for_type": True}, "host"),
    ({"credential_type": "ftp", "host": "https://example.com"}, "host"),
    ({"host": "example.com"}, "host"),
]


async def test_what_does_not_fit_is_named_and_not_stored(api: Gateway) -> None:
    client = Client(api, "bad")
    for fields, field in BAD:
        answer = await client.call("POST", body={**fields_of("x"), **fields})
        assert answer.status_code == 400, fields
        assert answer.json()["errors"][0]["field"] == field, answer.text
    for body in ({}, {"credential_label": "x"}, {**fields_of("x"), "name": "y"}):
        assert (await client.call("POST", body=body)).status_code == 400
    assert await client.listed() == []


async def test_a_change_touches_what_is_given_and_a_new_name_keeps_the_id(api: Gateway) -> None:
    client = Client(api, "changes")
    made = await client.store("first", endpoint="https://s3.example.com", session_token="token-of-today")
    await client.store("other", "ftp")
    changed = (await client.call("PUT", "/first", {"region": "eu-west-1", "credential_label": "renamed"})).json()
    assert changed == made | {
        "region": "eu-west-1", "credential_label": "renamed", "name": "renamed", "modified_at": changed["modified_at"],
    }  # fmt: skip
    assert await client.secret("renamed") == SECRET
    assert (await client.call("GET", "/first")).status_code == 404
    path = f"/{made['credential_id']}"
    sent_back = (await client.call("PUT", path, changed)).json()  # as it was read, its secret masked
    assert sent_back == changed | {"modified_at": sent_back["modified_at"]}
    assert await client.secret("renamed") == SECRET
    assert await client.secret("renamed", "session_token") == "token-of-today"
    assert (await client.call("PUT", path, {"credential_private": "another one"})).json()["credential_private"] == (
        "********ne"
    )
    assert await client.secret("renamed") == "another one"
    assert await client.secret("renamed", "session_token") == "token-of-today"
    assert (await client.call("PUT", path, {"credential_label": "other"})).status_code == 409
    assert (await client.call("PUT", "/nobody", {"region": "x"})).status_code == 404
    assert (await client.call("PUT", path, {"tls": "explicit"})).json()["errors"][0]["field"] == "tls"
    again = await client.store("first")
    assert again["credential_id"] != made["credential_id"]
    assert (await client.call("POST", body=fields_of("renamed"))).status_code == 409
    for by in (path, "/first", "/other"):
        assert (await client.call("DELETE", by)).status_code == 204
        assert (await client.call("DELETE", by)).status_code == 404
    assert await client.listed() == []


async def test_one_of_a_type_is_the_default(api: Gateway) -> None:
    client = Client(api, "defaults")
    for label, kind in (("a", "s3"), ("b", "s3"), ("c", "ftp")):
        await client.store(label, kind, credential_default_for_type=True)
    await client.store("d", "ftp")

    async def defaults() -> list[str]:
        return [one["credential_label"] for one in await client.listed() if one["credential_default_for_type"]]

    assert await defaults() == ["b", "c"]
    await client.call("PUT", "/a", {"credential_default_for_type": True})
    assert await defaults() == ["a", "c"]
    await client.call("PUT", "/a", {"credential_default_for_type": False})
    assert await defaults() == ["c"]
    both = [client.call("PUT", f"/{label}", {"credential_default_for_type": True}) for label in ("a", "b")]
    assert [answer.status_code for answer in await asyncio.gather(*both)] == [200, 200]
    assert len([label for label in await defaults() if label != "c"]) == 1


async def test_a_label_belongs_to_one_however_many_ask_at_once(api: Gateway) -> None:
    client = Client(api, "race")
    answers = await asyncio.gather(*(client.call("POST", body=fields_of("same", region=f"r{n}")) for n in range(6)))
    assert sorted(a.status_code for a in answers) == [201, 409, 409, 409, 409, 409]
    for n in range(4):
        await client.store(f"c{n}")
    renames = [client.call("PUT", f"/c{n}", {"credential_label": "wanted"}) for n in range(4)]
    assert sorted(a.status_code for a in await asyncio.gather(*renames)) == [200, 409, 409, 409]
    labels = [one["credential_label"] for one in await client.listed()]
    assert len(labels) == len(set(labels)) == 5


async def test_a_repeated_request_with_its_key_is_answered_as_the_first(api: Gateway) -> None:
    client, body = Client(api, "again"), fields_of("x", endpoint="https://S3.example.com")
    answers = [await client.call("POST", body=body, Idempotency_Key="k") for _ in range(2)]
    assert [a.status_code for a in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    other = await client.call("POST", body={**body, "credential_private": "another"}, Idempotency_Key="k")
    assert other.status_code == 409
    assert (await client.call("POST", body=body)).status_code == 409
    assert (await client.call("POST", body=body, Idempotency_Key="a b")).status_code == 400


async def test_an_account_has_a_hundred(api: Gateway) -> None:
    client = Client(api, "hundred")
    await asyncio.gather(*(client.store(f"c{n}", "ftp") for n in range(100)))
    assert (await client.call("POST", body=fields_of("one more"))).status_code == 409
    own = {"access_key": "a", "secret_key": SECRET}
    assert (await client.call("PUT", "/one-more", own)).status_code == 409
    assert (await client.call("PUT", "/c5", {"tls": "explicit"})).status_code == 200


async def test_our_own_words_make_and_replace_keys_of_buckets(api: Gateway) -> None:
    client = Client(api, "own")
    body = {"access_key": "AKIA1", "secret_key": SECRET, "region": "eu-west-1", "endpoint": "https://s3.example.com"}
    made = (await client.call("PUT", "/ours", body)).json()
    assert (made["name"], made["type"], made["access_key"], made["region"]) == ("ours", "s3", "AKIA1", "eu-west-1")
    record = await Bucket(api.js, "credentials", CredentialRecord).get(credential_key("own", "ours"))
    assert record
    assert record.value.name == "ours"
    replaced = (await client.call("PUT", "/ours", {"access_key": "AKIA2", "secret_key": "another"})).json()
    assert (replaced["credential_id"], replaced["access_key"]) == (made["credential_id"], "AKIA2")
    assert (replaced["region"], replaced["endpoint"], replaced["created_at"]) == ("us-east-1", "", made["created_at"])
    assert await client.secret("ours") == "another"
    assert (await client.call("PUT", "/new", {"access_key": "a"})).status_code == 404
    assert (await client.call("PUT", f"/{'0' * 32}", body)).status_code == 400
    assert (await client.call("PUT", "/ours", {**body, "name": "theirs"})).json()["errors"][0]["field"] == "name"
    both = await asyncio.gather(*(client.call("PUT", "/at-once", body) for _ in range(4)))
    assert [answer.status_code for answer in both] == [200] * 4
    assert json.dumps(await client.listed()).count("at-once") == 2


ODD: list[Any] = [None, True, 5, 1.5, "", "\u0000", "\u00fc" * 300, "x" * 20_000, [], {"url": 5}, [SECRET]]


async def test_whatever_is_sent_is_answered_and_never_with_an_error_of_ours(api: Gateway) -> None:
    client = Client(api, "odd")
    fields = [*fields_of("x"), "name", "type", "access_key", "secret_key", "credential_default_for_type", "endpoint",
              "region", "path_style", "session_token", "host_key", "tls", "host", "account_id",
              "oauth_settings"]  # fmt: skip
    await client.store("there")
    for number, (field, value) in enumerate((f, v) for f in fields for v in ODD):
        kind = TYPES[number % len(TYPES)][0]
        answer = await client.call("POST", body={**fields_of(f"n{number}", kind), field: value})
        assert answer.status_code in {201, 400, 409}, (field, value, answer.text)
        if answer.status_code == 201:
            await client.call("DELETE", f"/{answer.json()['credential_id']}")
        answer = await client.call("PUT", "/there", {field: value} if field != "credential_label" else {"name": value})
        assert answer.status_code in {200, 400, 404, 409}, (field, value, answer.text)
        if answer.status_code == 200 and answer.json()["name"] != "there":
            await client.call("PUT", f"/{answer.json()['credential_id']}", {"name": "there"})
