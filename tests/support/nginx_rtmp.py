"""A real nginx with its RTMP module, which records what is published to it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection

from tests.support.shared_bus import free_port
from tests.support.waiting import wait_until

_PEERS = Path(__file__).resolve().parents[2] / ".venv" / "peers" / "nginx"
_MODULE = "usr/lib/nginx/modules/ngx_rtmp_module.so"
_CONFIG = """
load_module {module};
{user}
daemon off;
master_process off;
error_log {folder}/error.log info;
pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
rtmp {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        chunk_size 4096;
        ping 500ms;
        application live {{ live on; record all; record_path {folder}; }}
        application closed {{ live on; deny publish all; }}
    }}
}}
"""


def missing() -> str:
    """Return why there is no nginx; empty: there is one."""
    return "" if _find() else "nginx with its RTMP module is missing (scripts/setup_peers.py fetches it)"


def _find() -> tuple[str, Path] | None:
    fetched = _PEERS / "usr/sbin/nginx"
    if fetched.exists() and (_PEERS / _MODULE).exists():
        return str(fetched), _PEERS / _MODULE
    installed, module = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin"), Path("/") / _MODULE
    return (installed, module) if installed and module.exists() else None


@dataclass
class Nginx:
    """A running server; `kill` ends it and `again` starts it on the same port."""

    port: int
    folder: Path
    command: list[str]
    process: subprocess.Popen[bytes]

    def recorded(self, name: str) -> Path:
        """Return the path of a stream's recording."""
        return self.folder / f"{name}.flv"

    def kill(self) -> None:
        """Kill it without a clean shutdown."""
        self.process.kill()
        self.process.wait()

    def again(self) -> None:
        """Start it again."""
        self.process = _start(self.command, self.port)


@contextmanager
def nginx_rtmp(folder: Path) -> Iterator[Nginx]:
    """Run a server on a free port."""
    found = _find()
    assert found, missing()
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(module=found[1], user=user, folder=folder, port=port))
    command = [found[0], "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    nginx = Nginx(port, folder, command, _start(command, port))
    try:
        yield nginx
    finally:
        nginx.kill()


def _start(command: list[str], port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def listens() -> bool:
        assert process.poll() is None, (process.stderr.read() if process.stderr else b"").decode()
        with suppress(OSError), create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    wait_until(listens)
    return process
