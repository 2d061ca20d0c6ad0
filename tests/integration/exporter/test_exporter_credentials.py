"""Which credentials a destination gets, in clear, and what a test of them tells."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext

from services.exporter import app, trial
from services.exporter.workshop import Workshop
from shared.broker.kv import Bucket
from shared.errors import DestinationFailed
from shared.messages.credentials import CREDENTIAL_PURPOSE, CredentialRecord, CredentialType, credential_id
from shared.messages.destinations import DESTINATION_PURPOSE, DestinationSpec, DestinationType
from shared.messages.exports import CredentialTest, CredentialTestRecord
from shared.security.secrets import SecretUnreadable, Vault
from shared.security.webhooks import seal_url
from tests.support.nats import NatsServer
from tests.support.recordings import connected, until
from tests.support.shared_bus import SECRET, idle, new_id, send, served, settings_for
from tests.support.wild_destination import Place

VAULT = Vault(SECRET.encode())
TYPES: tuple[DestinationType, ...] = ("library", "s3", "ftp", "http", "sftp", "videocloud")


@dataclass
class Safe:
    """An account's stored credentials, as a gateway writes them, and what makes destinations from them."""

    js: JetStreamContext
    account: str = field(default_factory=new_id)
    place: Place = field(default_factory=Place)

    @property
    def bucket(self) -> Bucket[CredentialRecord]:
        return Bucket(lambda: self.js, "credentials", CredentialRecord)

    @property
    def workshop(self) -> Workshop:
        return Workshop(dict.fromkeys(TYPES, self.place.make), self.bucket, VAULT)

    async def store(self, name: str, kind: CredentialType, *, made_as: str = "", **more: Any) -> None:
        made = credential_id(made_as or name)
        record = CredentialRecord(
            account=self.account, credential=made, name=name, type=kind, public=f"user of {name}",
            secret=VAULT.encrypt(f"secret of {name}", CREDENTIAL_PURPOSE), created_ms=0, changed_ms=0, **more,
        )  # fmt: skip
        await self.bucket.create(f"{self.account}.{made}", record)

    async def given(self, kind: DestinationType, credential: str = "", **more: Any) -> str | None:
        """Make a destination, and return the secret that it was given."""
        spec = DestinationSpec(export=new_id(), type=kind, credential=credential, file_name="a.mp4", **more)
        await self.workshop.make(self.account, spec, "frame")
        found = self.place.orders[-1].credential
        return found.private if found else None


@asynccontextmanager
async def safe(nats: NatsServer) -> AsyncIterator[Safe]:
    async with connected(nats.url) as js:
        yield Safe(js)


async def test_which_are_used(nats: NatsServer) -> None:
    async with safe(nats) as at:
        await at.store("bucket", "s3")
        await at.store("usual", "s3", default_for_type=True)
        await at.store("site", "ftp")
        await at.store("new name", "ftp", made_as="old name")
        await at.store("old name", "ftp", made_as="another")
        await at.store("token", "oauth", url=seal_url(VAULT, "https://id.example.com/?client=1"))
        other = Safe(at.js, place=at.place)
        await other.store("theirs", "ftp", default_for_type=True)
        for kind, name, secret in (
            ("s3", "bucket", "bucket"), ("s3", "", "usual"), ("ftp", "site", "site"), ("ftp", "new name", "new name"),
            ("ftp", "old name", "old name"), ("http", "token", "token"),
        ):  # fmt: skip
            assert await at.given(kind, name) == f"secret of {secret}", (kind, name)  # type: ignore[arg-type]
        assert await at.given("ftp") is None, "no default of this type; another account's is not ours"
        user, nobody = (VAULT.encrypt(f"s3://{name}bucket/a", DESTINATION_PURPOSE) for name in ("me:mine@", ""))
        assert await at.given("s3", url=user) is None, "the URL's own user comes before the default"
        assert await at.given("s3", url=nobody) == "secret of usual"
        assert await at.given("s3", "bucket", url=user) == "secret of bucket"
        assert await at.given("library", "bucket") is None
        for kind, name, why in (
            ("s3", "nobody", "no stored credentials of the name nobody"), ("ftp", "theirs", "no stored credentials"),
            ("sftp", "site", "of the type ftp, not sftp"), ("s3", "token", "of the type oauth, not s3"),
        ):  # fmt: skip
            with pytest.raises(DestinationFailed, match=why) as refused:
                await at.given(kind, name)  # type: ignore[arg-type]
            assert refused.value.final


async def test_a_login_goes_to_its_own_host_alone(nats: NatsServer) -> None:
    async with safe(nats) as at:
        await at.store("web", "http", default_for_type=True, host="home.example.com")
        await at.store("site", "ftp", default_for_type=True, host="home.example.com", tls="explicit")
        await at.store("token", "oauth", url=seal_url(VAULT, "https://id.example.com/"), host="home.example.com")
        await at.store("hostless", "http")
        for kind, name, url, secret in (
            ("http", "", "https://home.example.com/a", "web"), ("http", "", "https://mine.example/a", None),
            ("http", "", "https://home.example.com/a?X-Amz-Signature=1", None), ("http", "", "", None),
            ("http", "web", "webdavs://home.example.com/a?x=1", "web"), ("ftp", "", "ftp://mine.example/a", None),
            ("ftp", "", "ftps://home.example.com:990/a", "site"),
            ("http", "hostless", "http://any.example/", "hostless"),
            ("http", "token", "https://home.example.com/a", "token"),
        ):  # fmt: skip
            sealed = VAULT.encrypt(url, DESTINATION_PURPOSE) if url else ""
            expected = f"secret of {secret}" if secret else None
            assert await at.given(kind, name, url=sealed) == expected, (kind, name, url)  # type: ignore[arg-type]
        for kind, name in (("http", "web"), ("http", "token"), ("ftp", "site")):
            sealed = VAULT.encrypt(f"{kind}://mine.example/a", DESTINATION_PURPOSE)
            with pytest.raises(DestinationFailed, match=r"for the host home\.example\.com alone") as refused:
                await at.given(kind, name, url=sealed)  # type: ignore[arg-type]
            assert refused.value.final


async def test_where_the_url_has_the_login_a_default_tells_how_the_server_is_known(nats: NatsServer) -> None:
    async with safe(nats) as at:
        await at.store("site", "ftp", default_for_type=True, tls="explicit")
        await at.store("vault", "sftp", default_for_type=True, host_key="SHA256:x")
        await at.store("web", "http", default_for_type=True, host="home.example.com")
        for kind, known in (("ftp", ("explicit", "")), ("sftp", ("", "SHA256:x"))):
            url = VAULT.encrypt(f"{kind}://me:mine@home.example.com/a", DESTINATION_PURPOSE)
            assert await at.given(kind, url=url) == ""  # type: ignore[arg-type]
            found = at.place.orders[-1].credential
            assert found
            assert (found.record.tls, found.record.host_key) == known
            assert (found.record.public, found.record.secret) == ("", "")
        url = VAULT.encrypt("https://me:mine@home.example.com/a", DESTINATION_PURPOSE)
        assert await at.given("http", url=url) is None


async def test_what_a_destination_is_made_from(nats: NatsServer) -> None:
    async with safe(nats) as at:
        token = VAULT.encrypt("token", CREDENTIAL_PURPOSE)
        await at.store("bucket", "s3", session_token=token, endpoint="https://s3.example.com", region="eu-1")
        url, options = "s3://bucket/a.mp4?x=secret", json.dumps({"storage_class": "GLACIER"})
        sealed = {
            name: VAULT.encrypt(text, DESTINATION_PURPOSE) for name, text in {"url": url, "options": options}.items()
        }
        await at.given("s3", "bucket", **sealed)
        order = at.place.orders[-1]
        assert (order.url, order.options, order.account) == (url, {"storage_class": "GLACIER"}, at.account)
        assert order.credential
        assert order.credential.record.session_token == "token"
        assert "secret" not in repr(order)
        assert "secret" not in repr(order.credential)
        await at.given("s3", "bucket")
        assert (at.place.orders[-1].url, at.place.orders[-1].options) == ("", {})
        other = Vault(b"another installation's").encrypt(url, DESTINATION_PURPOSE)
        with pytest.raises(SecretUnreadable):
            await at.given("s3", "bucket", url=other)
        with pytest.raises(DestinationFailed, match="sftp cannot be used"):
            await Workshop({}, at.bucket, VAULT).make(
                at.account, DestinationSpec(export=new_id(), type="sftp", file_name="a"), "frame"
            )


@pytest.mark.parametrize(
    ("behaves", "credential", "error"),
    [
        ({}, "bucket", ""),
        ({"tested": "403 SignatureDoesNotMatch"}, "bucket", "403 SignatureDoesNotMatch"),
        ({"stuck": True}, "bucket", "the destination did not answer within 0 s"),
        ({}, "nobody", "there are no stored credentials of the name nobody"),
    ],
)
async def test_a_test_says_what_is_wrong(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaves: dict[str, Any], credential: str,
    error: str,
) -> None:  # fmt: skip
    async with safe(nats) as at:
        await at.store("bucket", "s3")
        for name, value in behaves.items():
            setattr(at.place, name, value)
        monkeypatch.setattr(app, "makers", lambda *_: {"s3": at.place.make})
        monkeypatch.setattr(trial, "LONGEST", timedelta(milliseconds=300))
        test = new_id()
        spec = DestinationSpec(export=test, type="s3", credential=credential, file_name="a.mp4")
        async with served("exporter", app.build, settings_for(nats, tmp_path)):
            sequence = await send(
                at.js, CredentialTest(account=at.account, test=test, destination=spec, at_ms=1), times=2
            )
            await until(lambda: idle(at.js, "exporter-test", sequence))
        found = await Bucket(lambda: at.js, "credential_tests", CredentialTestRecord).get(f"{at.account}.{test}")
        assert found is not None
        assert (found.value.worked, found.value.error) == (not error, error)
        assert at.place.files == {}
