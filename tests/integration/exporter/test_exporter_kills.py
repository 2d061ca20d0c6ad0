"""An exporter that is killed in the middle of an upload to a real server: the next one sends what is missing, once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.broker.kv import Bucket
from shared.messages.credentials import (
    CREDENTIAL_PURPOSE,
    CredentialRecord,
    CredentialType,
    credential_id,
    credential_key,
)
from shared.messages.destinations import DESTINATION_PURPOSE, DestinationSpec, DestinationType
from shared.messages.exports import ExportDeliver
from shared.security.secrets import Vault
from tests.support.export_desk import ACCOUNT, LANE, Desk, desk
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import SECRET, apply, child, idle, new_id, send
from tests.support.uploads import MIB, noise
from tests.support.waiting import comes
from tests.support.web_line import line
from tests.support.web_servers import PASSWORD, USER, rclone_webdav, weed_s3
from tests.support.web_servers import Bucket as Films

SIZE = 64 * MIB
PART = 8 * MIB  # four at once: when the line stops, some have arrived
VAULT = Vault(SECRET.encode())


@dataclass(frozen=True)
class Site:
    """A running server: how it is named through a line, what it has, and how much of it no other try need send."""

    type: DestinationType
    credential: CredentialType
    port: int
    url: Callable[[int], str]
    body: Callable[[], bytes | None]
    leftovers: Callable[[], list[str]]
    kept: Callable[[], int]


@contextmanager
def bucket(folder: Path) -> Iterator[Site]:
    with weed_s3(folder) as server:
        yield Site(
            "s3", "s3", int(server.endpoint.rpartition(":")[2]), lambda _: f"s3://{server.name}/clip.mp4",
            lambda: server.body("clip.mp4") if "clip.mp4" in server.names() else None, server.unfinished,
            lambda: sum(row["Size"] for row in _parts(server)),
        )  # fmt: skip


def _parts(server: Films) -> list[dict[str, Any]]:
    (upload,) = server.client.list_multipart_uploads(Bucket=server.name)["Uploads"]
    named = {"Bucket": server.name, "Key": "clip.mp4", "UploadId": upload["UploadId"]}
    return server.client.list_parts(**named).get("Parts", [])


@contextmanager
def webdav(folder: Path) -> Iterator[Site]:
    with rclone_webdav(folder) as server:
        yield Site(
            "http", "http", server.port, lambda port: f"webdav://127.0.0.1:{port}/clip.mp4",
            lambda: server.files().get("clip.mp4"), lambda: [name for name in server.files() if name != "clip.mp4"],
            lambda: 0,
        )  # fmt: skip


async def ordered(at: Desk, site: Site, port: int) -> ExportDeliver:
    """Store credentials and a file; return the command to deliver it through a line."""
    name = new_id()
    await Bucket(lambda: at.js, "credentials", CredentialRecord).create(
        credential_key(ACCOUNT, name),
        CredentialRecord(
            account=ACCOUNT, credential=credential_id(name), name=name, type=site.credential, public=USER,
            secret=VAULT.encrypt(PASSWORD, CREDENTIAL_PURPOSE), created_ms=0, changed_ms=0,
            endpoint=f"http://127.0.0.1:{port}" if site.type == "s3" else "",
        ),
    )  # fmt: skip
    export, data = new_id(), noise(SIZE)
    key = f"clips/{ACCOUNT}/{export}/frame.mp4"
    at.store.put(key, data)
    spec = DestinationSpec(
        export=export, type=site.type, url=VAULT.encrypt(site.url(port), DESTINATION_PURPOSE), shown="there",
        credential=name, file_name="clip.mp4",
    )  # fmt: skip
    return ExportDeliver(
        account=ACCOUNT, export=export, clip=export, accuracy="frame", source_key=key, bytes=SIZE,
        sha256=hashlib.sha256(data).hexdigest(), destination=spec,
    )  # fmt: skip


@pytest.mark.parametrize("running", [bucket, webdav])
async def test_the_next_exporter_sends_what_is_missing(
    nats: NatsServer, tmp_path: Path, running: Callable[[Path], Iterator[Site]]
) -> None:
    (tmp_path / "server").mkdir()
    with ExitStack() as stack:
        site: Site = stack.enter_context(running(tmp_path / "server"))  # type: ignore[arg-type]
        async with desk(nats, tmp_path) as at, line(site.port, hold_after=SIZE * 3 // 4) as held:
            await apply(at.js, LANE, timedelta(seconds=1))
            order = await ordered(at, site, held.port)
            await send(at.js, order)
            given = {"REELAY_ALLOW_NETS": "127.0.0.0/8"}
            with child(at.service.settings, tmp_path / "log", "tests.support.exporter_child", **given):
                await held.full.wait()
            assert site.body() is None  # nothing of it is seen
            held.end()
            held.hold_after = 0
            held.held.set()
            await comes(lambda: held.idle)
            held.to_server, kept = 0, site.kept()
            assert kept >= (PART if site.type == "s3" else 0)
            with child(at.service.settings, tmp_path / "log", "tests.support.exporter_child", **given):

                async def delivered() -> bool:  # told after it is recorded
                    return ("delivered", "frame") in await at.told(order.export)

                await until(delivered, 60)
                sent = held.to_server
                await until(lambda: idle(at.js, LANE), 60)  # on a busy machine it comes twice, and is not killed again
            assert (await at.record(order.export)).state == "delivered"
            assert site.body() == noise(SIZE)
            assert site.leftovers() == []
            assert sent < SIZE - kept + MIB
            assert [one for one in await at.told(order.export) if one[0] != "started"] == [("delivered", "frame")]
            await apply(at.js, LANE, timedelta(seconds=30))
