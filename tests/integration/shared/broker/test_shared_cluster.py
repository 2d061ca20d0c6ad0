"""Services at a cluster of three real brokers: a node that goes takes nothing with it but its own name."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from services.gateway.identity import keys_cli
from shared.broker.kv import Bucket
from shared.broker.mirror import Mirror
from shared.broker.permissions import SERVICES
from shared.broker.provision import provision_url
from shared.broker.streams import BUCKETS, STREAMS
from shared.messages.keys import IngestKey
from shared.runtime.service import Service, make_service, readiness
from shared.runtime.settings import Settings
from tests.support.cluster import PASSWORD, Cluster, cluster
from tests.support.recordings import until
from tests.support.shared_bus import SECRET, free_port, running
from tests.support.waiting import freeze


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


def with_a_dead_one(nodes: Cluster) -> str:
    return f"{nodes.nodes[0].url},127.0.0.1:{free_port()},{nodes.nodes[1].address}"


async def test_provisioning_and_keys_use_whichever_node_answers(
    nodes: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    urls = with_a_dead_one(nodes)
    await provision_url(urls, 3)
    create = ["create", "--scope", "admin", "--account", "main"]
    monkeypatch.setenv("REELAY_NATS_URL", urls)
    assert await asyncio.to_thread(keys_cli.main, create) == 0
    assert capsys.readouterr().out.strip()
    monkeypatch.setenv("REELAY_NATS_URL", f"nats://u:{PASSWORD}@127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    assert await asyncio.to_thread(keys_cli.main, create) == 1
    told = capsys.readouterr().err
    assert told.count("nats://127.0.0.1:") == 2
    assert PASSWORD not in told
    monkeypatch.delenv("REELAY_NATS_URL")
    async with running(make_service("scheduler", Settings(data_dir=tmp_path, nats_url=urls, secret_key=SECRET))) as at:
        for stream in [*(s.name for s in STREAMS), *(f"KV_{b.name}" for b in BUCKETS)]:
            assert (await at.js().stream_info(stream)).config.num_replicas == 3, stream


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_all_services_go_on_when_a_node_goes(nodes: Cluster, tmp_path: Path, how: str) -> None:
    await provision_url(nodes.urls, 3)
    settings = Settings(data_dir=tmp_path, nats_url=nodes.urls, secret_key=SECRET)
    async with AsyncExitStack() as stack:
        at = [await stack.enter_async_context(running(make_service(name, settings))) for name in SERVICES]
        gateway = next(service for service in at if service.name == "gateway")
        bucket = Bucket(gateway.js, "keys", IngestKey)
        mirrors = [Mirror(s.js, "keys", IngestKey) for s in at if s.name in {"gateway", "ingester"}]
        for mirror in mirrors:
            await stack.enter_async_context(mirror.running())
            await mirror.wait_current()
        victim = nodes.at(port_of(gateway))
        assert victim.process is not None
        if how == "killed":
            victim.kill()
        else:
            freeze(victim.process.pid)
        try:
            for service in at:
                await until(lambda service=service: left(service, victim.port), 90)
                await until(lambda service=service: works(service, victim.address), 90)
            name = f"ingest.{uuid4().hex}"
            await bucket.create(name, IngestKey(account="main", event="0" * 32))
            for mirror in mirrors:
                await until(lambda mirror=mirror: knows(mirror, name), 60)
        finally:
            if how == "frozen":
                os.kill(victim.process.pid, signal.SIGCONT)
            else:
                victim.start()
            victim.wait()
        for service in at:
            await until(lambda service=service: says_nothing(service), 60)


def port_of(service: Service) -> int:
    url = service.js()._nc.connected_url
    return url.port if url is not None and url.port else 0


async def left(service: Service, port: int) -> bool:
    return port_of(service) not in {0, port}


async def works(service: Service, silent: str) -> bool:
    return await readiness(service) == {} and service.notes() == {"nodes": f"nats://{silent} does not answer"}


async def says_nothing(service: Service) -> bool:
    return await readiness(service) == {} and service.notes() == {}


async def knows(mirror: Mirror[IngestKey], name: str) -> bool:
    return mirror.get(name) is not None
