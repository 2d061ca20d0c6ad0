"""Readiness tells in words when the store takes nothing, and the bucket is made by provisioning."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from shared.runtime.service import Service, make_service, readiness
from shared.store.opening import open_store
from shared.store.watch import READERS, WRITERS, StoreWatch
from tests.support.nats import NatsServer
from tests.support.s3 import s3_server
from tests.support.shared_bus import free_port, running, settings_for
from tests.support.stack import until as wait


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server("reelay") as server:
        yield server


def of(nats: NatsServer, folder: Path, name: str, **more: Any) -> Service:
    return make_service(name, settings_for(nats, folder, **more))


@pytest.mark.parametrize("name", sorted(WRITERS | READERS | {"exporter", "scheduler"}))
async def test_a_store_that_works_is_not_told_of_and_keeps_one_object(
    nats: NatsServer, endpoint: str, tmp_path: Path, name: str
) -> None:
    for more in ({}, {"store": f"s3://reelay/{tmp_path.name}", "s3_endpoint": endpoint}):
        async with running(of(nats, tmp_path, name, **more)) as service:
            assert await readiness(service) == {}
            assert service.notes() == {}
            left = [info.key for info in open_store(service.settings).list("")] if more else []
            writes = name in WRITERS | {"exporter"}
            assert left == ([f"ready/{name}"] if more and writes else [])
    media = tmp_path / "media"
    assert not media.exists() or not list(media.iterdir())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"store": "s3://nowhere"}, "the store failed: there is no such bucket (NoSuchBucket)"),
        ({"s3_endpoint": "nobody", "store": "s3://reelay"}, "the store failed: nothing answers at its endpoint"),
        ({"store": "file"}, "the store failed: Not a directory"),
    ],
)
@pytest.mark.parametrize("name", ["ingester", "clipper", "gateway", "restreamer"])
async def test_one_that_does_not_is_a_fault_with_its_reason(
    nats: NatsServer, endpoint: str, tmp_path: Path, name: str, more: dict[str, str], words: str
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        given = {"s3_endpoint": endpoint} | more
        if more["store"] == "file":
            given["store"] = str(tmp_path / "file")
            (tmp_path / "file").write_text("no folder")
        if given["s3_endpoint"] == "nobody":
            given["s3_endpoint"] = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with running(of(nats, tmp_path, name, **given)) as service:
            found = await readiness(service)
            assert found["store"].startswith(words)
            assert set(found) == {"store"}


async def test_who_goes_on_without_s3_warns_once_it_has_worked(nats: NatsServer, tmp_path: Path) -> None:
    """An ingester records into `spool/` meanwhile: a balancer must not take it out."""
    with s3_server("reelay") as away:
        async with (
            running(of(nats, tmp_path, "ingester", store="s3://reelay", s3_endpoint=away)) as ingester,
            running(of(nats, tmp_path, "clipper", store="s3://reelay", s3_endpoint=away)) as clipper,
        ):
            client = boto3.client("s3", endpoint_url=away)
            for entry in client.list_objects_v2(Bucket="reelay").get("Contents", []):
                client.delete_object(Bucket="reelay", Key=entry["Key"])
            client.delete_bucket(Bucket="reelay")
            for service in (ingester, clipper):
                await service.store_watch.look()
            assert await readiness(ingester) == {}
            assert "no such bucket" in ingester.notes()["store"]
            assert "no such bucket" in (await readiness(clipper))["store"]
            client.create_bucket(Bucket="reelay")
            for service in (ingester, clipper):
                await service.store_watch.look()
            assert (await readiness(clipper), ingester.notes()) == ({}, {})


async def test_a_store_that_hangs_is_told_of_and_not_asked_again_meanwhile(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.store.watch.PATIENCE", timedelta(milliseconds=200))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        watch = StoreWatch("clipper", settings_for(nats, tmp_path, store="s3://reelay", s3_endpoint=endpoint))
        await watch.look()
        first = watch._running
        assert watch.faults() == {"store": "does not answer"}
        await watch.look()
        assert watch._running is first


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_provisioning_makes_the_bucket(nats: NatsServer, endpoint: str, tmp_path: Path, region: str) -> None:
    name = f"made-{region}"
    environment = os.environ | {
        "REELAY_NATS_URL": nats.url, "REELAY_STORE": f"s3://{name}/deep/er", "REELAY_S3_ENDPOINT": endpoint,
        "AWS_DEFAULT_REGION": region, "REELAY_DATA_DIR": str(tmp_path),
    }  # fmt: skip
    for made in (1, 0):
        done = subprocess.run(
            [sys.executable, "-m", "shared.broker.provision"], env=environment, capture_output=True, text=True,
            timeout=60,
            check=True,
        )  # fmt: skip
        assert done.stderr.count("provision.bucket.made") == made
    boto3.client("s3", endpoint_url=endpoint).head_bucket(Bucket=name)
    nobody = environment | {"REELAY_S3_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    done = subprocess.run(
        [sys.executable, "-m", "shared.broker.provision"],
        env=nobody,
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    assert "provision.bucket.failed" in done.stderr
    assert "nothing answers at its endpoint" in done.stderr


def test_readyz_of_a_process_says_it(nats: NatsServer, endpoint: str, tmp_path: Path) -> None:
    port, health = free_port(), free_port()
    environment = os.environ | {
        "REELAY_NATS_URL": nats.url, "REELAY_STORE": "s3://nowhere", "REELAY_S3_ENDPOINT": endpoint,
        "REELAY_DATA_DIR": str(tmp_path), "REELAY_HTTP_PORT": str(port), "REELAY_HEALTH_PORT": str(health),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "services.gateway"], env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for asked in (health, port):

            def said(asked: int = asked) -> dict[str, Any]:
                try:
                    found = httpx.get(f"http://127.0.0.1:{asked}/readyz")
                except httpx.TransportError:
                    return {}
                body: dict[str, Any] = found.json() if found.status_code == 503 else {}
                return body if "store" in body else {}

            assert "there is no such bucket" in wait(said, "readyz to tell of the store")["store"]
    finally:
        process.kill()
        process.wait(10)
