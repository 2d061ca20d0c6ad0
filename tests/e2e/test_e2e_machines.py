"""Two machines at a cluster of three brokers, with S3, as docs/operations.md sets them up; one of them goes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from shared.broker.permissions import SERVICES, USERS, password_variable
from shared.broker.provision import USER
from tests.support.cluster import Cluster, cluster
from tests.support.s3 import s3_server
from tests.support.shared_bus import free_port
from tests.support.stack import StackUnderTest, publisher, until

pytestmark = pytest.mark.soak  # eighteen services
USERS_CONF = Path(__file__).resolve().parents[2] / "compose/nats/users.conf"
ADMIN = "rl_0123456789abcdefghijklmnopqrstuv"
PASSWORDS = {user: f"p{number:047}" for number, user in enumerate(USERS)}


@dataclass
class Machine:
    """Nine services with a disk, ports and an instance of their own."""

    folder: Path
    nodes: Cluster
    common: dict[str, str]
    http: int = field(default_factory=free_port)
    rtmp: int = field(default_factory=free_port)
    health: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in SERVICES})
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        addresses = ",".join(node.address for node in self.nodes.nodes)
        self.folder.mkdir()
        for name in SERVICES:
            environment = os.environ | self.common | {
                "REELAY_NATS_URL": f"nats://{name}:{PASSWORDS[name]}@{addresses}", "REELAY_DATA_DIR": str(self.folder),
                "REELAY_HTTP_PORT": str(self.http), "REELAY_RTMP_PORT": str(self.rtmp), "REELAY_SRT_PORT": "0",
                "REELAY_HEALTH_PORT": str(self.health[name]), "REELAY_INSTANCE": f"{self.folder.name}-{name}",
            }  # fmt: skip
            command = [sys.executable, "-m", f"services.{name.replace('-', '_')}"]
            with (self.folder / f"{name}.log").open("wb") as log:
                self.processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    def ready(self) -> bool:
        return all(httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200 for port in self.health.values())

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait(10)
        self.processes.clear()

    @contextmanager
    def client(self) -> Iterator[StackUnderTest]:
        base = f"http://127.0.0.1:{self.http}"
        with httpx.Client(base_url=base, headers={"X-API-KEY": ADMIN}, timeout=30) as api:
            yield StackUnderTest(self.folder, self.processes[0], api)


def test_a_machine_goes_and_the_other_has_everything(
    tmp_path: Path, programme: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user, password in PASSWORDS.items():
        monkeypatch.setenv(password_variable(user), password)
    with ExitStack() as stack:
        nodes = stack.enter_context(cluster(tmp_path / "brokers", users=USERS_CONF.read_text()))
        endpoint = stack.enter_context(s3_server("other"))
        common = {
            "REELAY_STORE": "s3://made-by-provisioning/live", "REELAY_S3_ENDPOINT": endpoint,
            "REELAY_SECRET_KEY": "of all machines", "REELAY_ADMIN_KEY": ADMIN, "REELAY_NATS_REPLICAS": "3",
        }  # fmt: skip
        provision = f"nats://{USER}:{PASSWORDS[USER]}@" + ",".join(node.address for node in nodes.nodes)
        subprocess.run(
            [sys.executable, "-m", "shared.broker.provision"], env=os.environ | common | {"REELAY_NATS_URL": provision},
            check=True, timeout=120,
        )  # fmt: skip
        machines = [Machine(tmp_path / name, nodes, common) for name in ("a", "b")]
        for machine in machines:
            stack.callback(machine.kill)
            machine.start()
        for machine in machines:
            until(machine.ready, f"machine {machine.folder.name}", 180)
        one, two = machines
        with one.client() as here, two.client() as there:
            job = here.job(name="two machines", reconnect_time=120)
            first, second = (f"rtmp://127.0.0.1:{machine.rtmp}/live/{job['stream_name']}" for machine in machines)
            with publisher(programme, first, "flv", "-stream_loop", "-1"):
                until(lambda: there.state(job["id"]) == "processing", "the stream to be live, seen elsewhere")
                clip = here.finished(there.clip(job["id"], duration=2), 120)
            assert clip["gaps"] == []
            one.kill()
            nodes.nodes[0].kill()
            until(lambda: enters(second, programme), "the encoder to go on elsewhere", 120)
            after = there.finished(there.clip(job["id"], duration=2), 180)
            assert after["made"]["frames"] > 30, "asked for when the programme was over, it may lack a part of its end"
            for made in (clip, after):
                assert len(there.download(made["jvod_id"], tmp_path / "clip.mp4").read_bytes()) == made["bytes"]
            names = until(lambda: found if len(found := shelf(there)) == 2 else None, "both in the library", 120)
            for name, size in names.items():
                assert len(there.api.get(f"/v1/library/{name}").content) == size
        assert not (two.folder / "media").exists()
        assert not (two.folder / "library").exists()


def enters(url: str, programme: Path) -> bool:
    """Publish the whole programme; False when the encoder is not let in yet."""
    with publisher(programme, url, "flv") as encoder:
        return encoder.wait(120) == 0


def shelf(there: StackUnderTest) -> dict[str, int]:
    return {file["name"]: file["bytes"] for file in there.get("/v1/library")["files"]}
