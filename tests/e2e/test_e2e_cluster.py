"""The whole stack at a cluster of three brokers: nodes are killed and freeze under every connection, work goes on."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import framecode
from tests.support.cluster import PASSWORD, Cluster, Node, cluster
from tests.support.stack import StackUnderTest, publisher, stack, until
from tests.support.waiting import freeze

RATE = 30
SERVICES = 9
pytestmark = pytest.mark.soak  # elections of the broker take up to 10 s each, and there are many


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def live(nodes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    folder = tmp_path_factory.mktemp("stack")
    with stack(folder, REELAY_NATS_URL=nodes.urls, REELAY_NATS_REPLICAS="3") as running:
        yield running


def clients(node: Node) -> set[str]:
    """Name the services that are connected to a node."""
    with urllib.request.urlopen(f"http://127.0.0.1:{node.monitor}/connz?limit=200") as answer:
        return {client.get("name", "") for client in json.load(answer)["connections"]} - {""}


def readiness(live: StackUnderTest) -> tuple[int, dict[str, str]]:
    answer = live.api.get("/readyz")
    return answer.status_code, answer.json()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_nodes_go_one_by_one_while_a_stream_is_recorded(
    nodes: Cluster, live: StackUnderTest, programme: Path, tmp_path: Path, how: str
) -> None:
    moved: set[str] = set()
    victims = nodes.nodes if how == "killed" else nodes.nodes[:1]
    job = live.job(name=f"nodes are {how}")
    with publisher(programme, f"{job['stream_url']}/{job['stream_name']}", "flv", "-stream_loop", "-1"):
        until(lambda: live.state(job["id"]) == "processing", "the stream to be live")
        for node in victims:
            here = clients(node)
            if how == "killed":
                node.kill()
            else:
                assert node.process is not None
                freeze(node.process.pid)
            said = until(lambda: found if (found := readiness(live))[0] == 200 and "nodes" in found[1] else None,
                         "the gateway to go on with the others, and to say which node is silent", 90)[1]  # fmt: skip
            assert said["status"] == "warn"
            assert said["nodes"] == f"nats://{node.address} does not answer"
            others = [other for other in nodes.nodes if other is not node]
            until(lambda others=others: len(set().union(*map(clients, others))) == SERVICES, "all to be elsewhere", 60)
            moved |= here
            vod = live.finished(live.clip(job["id"], duration=1), 120)
            assert vod["gaps"] == []
            if how == "killed":
                node.start()
            else:
                assert node.process is not None
                os.kill(node.process.pid, signal.SIGCONT)
            node.wait()
            until(lambda: "nodes" not in readiness(live)[1], "the node to be back")
        whole = live.finished(live.clip(job["id"], stream_start_time=0, stream_end_time=10), 120)
    assert whole["gaps"] == []
    assert framecode.play(live.download(whole["jvod_id"], tmp_path / "whole.mp4")).numbers == list(range(10 * RATE))
    if how == "killed":
        assert len(moved) == SERVICES, "each service had a node killed that it was connected to"
    log = live.log()
    assert "broker.node.silent" in log
    assert "broker.node.answers" in log
    assert PASSWORD not in log
