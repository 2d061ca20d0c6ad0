"""Real servers that files are delivered to: SeaweedFS, rclone's S3 and WebDAV, nginx with WebDAV."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from services.exporter.destinations.base import Credential
from tests.support.shared_bus import free_port
from tests.support.uploads import credential
from tests.support.waiting import wait_until

USER, PASSWORD = "AKIDREELAY", "a secret/of+ours"
BIN = Path(sys.executable).parent
PEERS = Path(__file__).resolve().parents[2] / ".venv" / "peers" / "nginx"
DAV_MODULE = "usr/lib/nginx/modules/ngx_http_dav_ext_module.so"
_NGINX = """
{module}
{user}
daemon off;
master_process off;
error_log {folder}/error.log warn;
pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 8m;
    dav_ext_lock_zone zone=locks:1m;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/root;
        location / {{
            auth_basic "files";
            auth_basic_user_file {folder}/users;
            dav_methods PUT DELETE MKCOL COPY MOVE;
            dav_ext_methods PROPFIND OPTIONS;
            create_full_put_path off;
        }}
    }}
}}
"""


@dataclass
class Bucket:
    """A bucket of a real server, seen by a plain client."""

    endpoint: str
    name: str
    client: Any
    process: subprocess.Popen[bytes]

    def credentials(self, **more: Any) -> Credential:
        """Return stored credentials for it."""
        return credential("s3", USER, PASSWORD, **{"endpoint": self.endpoint, **more})

    def body(self, key: str) -> bytes:
        """Return an object's bytes."""
        found: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return found

    def names(self) -> list[str]:
        """Return the keys of all objects."""
        rows = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return [row["Key"] for row in rows]

    def unfinished(self) -> list[str]:
        """Return the keys of unfinished uploads."""
        try:
            rows = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        except self.client.exceptions.NoSuchUpload:  # rclone's way to say that there are none
            return []
        return [row["Key"] for row in rows]


def plain_client(endpoint: str, trusted: str = "") -> Any:
    """Return boto3's client, as anybody has it; `trusted` is a file of authorities besides the usual ones."""
    config = Config(
        s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
        response_checksum_validation="when_required", retries={"total_max_attempts": 3},
    )  # fmt: skip
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=USER, aws_secret_access_key=PASSWORD,
        region_name="us-east-1", config=config, verify=trusted or None,
    )  # fmt: skip


@contextmanager
def weed_s3(folder: Path) -> Iterator[Bucket]:
    """Run SeaweedFS with its S3 server, which checks signatures."""
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    identity = {
        "name": "reelay", "credentials": [{"accessKey": USER, "secretKey": PASSWORD}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }  # fmt: skip
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    words = [f"-{name}.port={port}" for name, port in ports.items()]
    words += [f"-{name}.port.grpc={free_port()}" for name in ports]
    words += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.max=8", "-master.volumeSizeLimitMB=1024"]
    command = [
        str(BIN / "weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-filer",
        f"-s3.config={folder / 's3.json'}", "-master.telemetry=false", "-s3.autoCreateBucket=false", *words,
    ]  # fmt: skip
    with _running(command, folder, ports["s3"]) as process:
        yield _bucket(f"http://127.0.0.1:{ports['s3']}", process)


@contextmanager
def rclone_s3(folder: Path) -> Iterator[Bucket]:
    """Run `rclone serve s3`, which checks signatures."""
    port = free_port()
    (folder / "files").mkdir()
    command = [
        str(BIN / "rclone"), "serve", "s3", str(folder / "files"), "--addr", f"127.0.0.1:{port}",
        "--auth-key", f"{USER},{PASSWORD}", "--config", str(folder / "none"),
    ]  # fmt: skip
    with _running(command, folder, port) as process:
        yield _bucket(f"http://127.0.0.1:{port}", process)


def _bucket(endpoint: str, process: subprocess.Popen[bytes]) -> Bucket:
    client = plain_client(endpoint)

    def made() -> bool:
        with suppress(Exception):  # the filer is not there yet
            client.create_bucket(Bucket="films")
            client.put_object(Bucket="films", Key="probe", Body=b"probe")
            client.delete_object(Bucket="films", Key="probe")
            return True
        assert process.poll() is None
        return False

    wait_until(made, 60)
    return Bucket(endpoint, "films", client, process)


@dataclass
class DavServer:
    """A running WebDAV server and its folder."""

    port: int
    root: Path
    process: subprocess.Popen[bytes]

    def url(self, path: str, scheme: str = "webdav") -> str:
        """Return a URL of a file."""
        return f"{scheme}://127.0.0.1:{self.port}/{path}"

    def credentials(self, password: str = PASSWORD) -> Credential:
        """Return stored credentials for it."""
        return credential("http", USER, password)

    def files(self) -> dict[str, bytes]:
        """Return all files, by their paths."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in found}


@contextmanager
def rclone_webdav(folder: Path) -> Iterator[DavServer]:
    """Run `rclone serve webdav`."""
    port = free_port()
    root = folder / "root"
    root.mkdir()
    command = [
        str(BIN / "rclone"), "serve", "webdav", str(root), "--addr", f"127.0.0.1:{port}", "--user", USER,
        "--pass", PASSWORD, "--config", str(folder / "none"), "--dir-cache-time", "0s",
    ]  # fmt: skip
    with _running(command, folder, port) as process:
        yield DavServer(port, root, process)


def nginx_missing() -> str:
    """Return why there is no nginx with WebDAV; empty: there is one."""
    return "" if _nginx() else "nginx with its WebDAV module is missing (scripts/setup_peers.py fetches it)"


def _nginx() -> tuple[str, Path] | None:
    fetched = PEERS / "usr/sbin/nginx"
    if fetched.exists() and (PEERS / DAV_MODULE).exists():
        return str(fetched), PEERS / DAV_MODULE
    installed, module = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin"), Path("/") / DAV_MODULE
    return (installed, module) if installed and module.exists() else None


@contextmanager
def nginx_webdav(folder: Path) -> Iterator[DavServer]:
    """Run nginx with WebDAV. It makes no collection by itself, and takes files of up to 8 MiB."""
    found = _nginx()
    assert found, nginx_missing()
    port = free_port()
    (folder / "root").mkdir()
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    module = f"load_module {found[1]};"
    config.write_text(_NGINX.format(module=module, user=user, folder=folder, port=port))
    command = [found[0], "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    with _running(command, folder, port) as process:
        yield DavServer(port, folder / "root", process)


@contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "server.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=clean, cwd=folder)

    def listens() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    try:
        wait_until(listens, 60)
        yield process
    finally:
        process.kill()
        process.wait()
