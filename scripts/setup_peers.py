"""Fetches servers that tests need and no Python package contains: nginx with RTMP and WebDAV, FTP and SFTP servers.

And a client library that is in no lock: Kaltura's.

It is unpacked below .venv, not installed: no rights are needed and no service starts. Where it cannot be fetched, the
tests that need it say so and are skipped. REELAY_SETUP_APT=0 forbids it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from setup_clients import fetch_kaltura
from setup_host import Apt, Host, say
from setup_servers import fetch_servers

PEERS = Path(__file__).resolve().parent.parent / ".venv" / "peers"
NGINX = ("nginx", "libnginx-mod-rtmp")
PROGRAM, PROGRAM_PACKAGE = "usr/sbin/nginx", "nginx-core"  # for releases whose package nginx is empty
MODULE = "usr/lib/nginx/modules/ngx_rtmp_module.so"
DAV, DAV_MODULE = "libnginx-mod-http-dav-ext", "usr/lib/nginx/modules/ngx_http_dav_ext_module.so"


def fetch_nginx(host: Host, apt: Apt, peers: Path) -> bool:
    """Fetch nginx into `peers`, unless it or the system's own is there; return whether one is there now."""
    if host.exists(peers / "nginx" / MODULE) or (host.has("nginx") and host.exists(Path("/") / MODULE)):
        return True
    say("fetching nginx with its RTMP module for the tests (nothing is installed)")
    peers.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=peers) as name:
        folder = Path(name)
        whole = all(apt.fetch(package, folder) for package in NGINX)
        if whole and not host.exists(folder / PROGRAM):
            whole = apt.fetch(PROGRAM_PACKAGE, folder)
        if not whole or not host.exists(folder / PROGRAM) or not host.exists(folder / MODULE):
            say(f"it could not be had: tests that publish to it are skipped. To have it: {apt.advice(' '.join(NGINX))}")
            return False
        shutil.copytree(folder / "usr", peers / "nginx" / "usr", dirs_exist_ok=True)
    return True


def fetch_dav(host: Host, apt: Apt, peers: Path) -> bool:
    """Fetch nginx's WebDAV module beside the nginx in `peers`, or the system's; return whether it is there now."""
    if host.exists(peers / "nginx" / DAV_MODULE) or (host.has("nginx") and host.exists(Path("/") / DAV_MODULE)):
        return True
    peers.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=peers) as name:
        folder = Path(name)
        if not host.exists(peers / "nginx" / PROGRAM) or not apt.fetch(DAV, folder):
            say(f"nginx's WebDAV module could not be had: its tests are skipped. To have it: {apt.advice(DAV)}")
            return False
        shutil.copytree(folder / "usr", peers / "nginx" / "usr", dirs_exist_ok=True)
    return True


def main() -> int:
    """Fetch the missing servers; tests run without them, too."""
    host = Host()
    if os.environ.get("REELAY_SETUP_APT", "1") != "0":
        apt = Apt(host)
        fetch_nginx(host, apt, PEERS)
        fetch_dav(host, apt, PEERS)
        fetch_servers(host, apt, PEERS)
    fetch_kaltura(host, PEERS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
